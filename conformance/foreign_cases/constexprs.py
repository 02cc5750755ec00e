"""Compressed weights of both generations. Each decoded weight is added to the input, so that its values come out.

The expected values follow the definitions (scale · (q − offset), table look-up, mask), not any implementation. Sizes are odd
on purpose: sub-byte streams straddle bytes and end in padding.
"""

import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

from .case import Family, integers, normal, uniform

OLD = Family("constexpr_attributes", [("ios16", np.float16), ("ios16", np.float32), ("ios17", np.float16)])
NEW = Family("constexpr_inputs", [("ios18", np.float16), ("ios18", np.float32)])


def typed(values, dtype):
    """An array of a MIL integer type, sub-byte ones included."""
    return np.asarray(values).astype(types.nptype_from_builtin(types.string_to_builtin(dtype)))


def const(values, dtype):
    """A const op: sub-byte arrays lose their type when given to an op directly."""
    return mb.const(val=typed(values, dtype))


def pack(values, bits):
    """One little-endian bit stream, the first element in the lowest bits."""
    flat = np.asarray(values, np.uint8).reshape(-1, 1)
    stream = np.unpackbits(flat, axis=1, bitorder="little")[:, :bits].reshape(-1)
    return np.packbits(stream, bitorder="little")


def f16(values):
    return np.asarray(values).astype(np.float16).astype(np.float64)


def decoded(family, op, name, weight, expect, shape, **more):
    """Adds the decoded weight to x. `weight(f)` builds it, `expect(x)` gives x plus the weight in f64.

    Scales and tables are f16 numbers in either float type, so the weight is the same number for both.
    """
    family.add(
        op,
        name,
        lambda f, x: mb.add(x=x, y=weight(f)),
        expect,
        {"x": normal(name, *shape, scale=0.25)},
        **more,
    )


# ---- iOS 16 and 17: parameters are attributes -------------------------------------------------------------------------------


def affine(name, dtype, shape, axis, scale, zero):
    low, high = (-128, 128) if dtype == "int8" else (0, 256)
    q = integers(name, *shape, low=low, high=high)
    column = [1] * len(shape)
    column[axis] = -1

    def spread(v):
        return np.asarray(v, np.float64).reshape(column) if np.ndim(v) else np.float64(v)

    decoded(
        OLD,
        "constexpr_affine_dequantize",
        name,
        lambda f: mb.constexpr_affine_dequantize(
            quantized_data=typed(q, dtype), zero_point=typed(zero, dtype), scale=f(scale) if np.ndim(scale) == 0 else np.asarray(scale).astype(f), axis=np.int32(axis)
        ),
        lambda x: x + spread(f16(scale)) * (q - spread(zero)),
        shape,
        since="ios16",
        until="ios17",
    )


affine("affine_int8_scalar", "int8", (5, 7), 0, 0.0078125, 3)
affine("affine_uint8_scalar", "uint8", (5, 7), 0, 0.0078125, 131)
affine("affine_int8_axis0", "int8", (5, 7), 0, f16(uniform("affine0", 5, low=0.001, high=0.02)), [0, 1, -2, 3, -4])
affine("affine_uint8_axis1", "uint8", (5, 7, 1, 1), 1, f16(uniform("affine1", 7, low=0.001, high=0.02)), [100, 120, 128, 130, 90, 140, 128])
affine("affine_int8_axis_last", "int8", (3, 2, 11), -1, f16(uniform("affine2", 11, low=0.001, high=0.02)), 0)


def lut_old(bits, shape):
    name = f"lut_{bits}bit"
    indices = integers(name, *shape, low=0, high=2**bits)
    table = f16(normal(name + "t", 2**bits))
    decoded(
        OLD,
        "constexpr_lut_to_dense",
        name,
        lambda f: mb.constexpr_lut_to_dense(indices=pack(indices, bits), lut=table.astype(f), shape=np.array(shape, np.uint32)),
        lambda x: x + table[indices],
        shape,
        since="ios16",
        until="ios17",
    )


for bits in (1, 2, 4, 6, 8):
    lut_old(bits, (5, 7))


def sparse_old(name, shape, density):
    mask = uniform(name, *shape) < density
    values = f16(normal(name + "v", int(mask.sum())))
    dense = np.zeros(shape)
    dense[mask] = values
    decoded(
        OLD,
        "constexpr_sparse_to_dense",
        name,
        lambda f: mb.constexpr_sparse_to_dense(
            nonzero_data=values.astype(f), mask=np.packbits(mask.reshape(-1), bitorder="little"), shape=np.array(shape, np.uint32)
        ),
        lambda x: x + dense,
        shape,
        since="ios16",
        until="ios17",
    )


sparse_old("sparse_half", (5, 7), 0.5)
sparse_old("sparse_few", (3, 4, 5), 0.1)


def widened(family, since, until):
    values = f16(normal("constexpr_cast", 5, 7))

    def build(f, x):
        w = mb.constexpr_cast(source_val=values.astype(np.float16), output_dtype="fp32")
        return mb.add(x=x, y=w if f is np.float32 else mb.cast(x=w, dtype="fp16"))

    x = normal("constexpr_cast_x", 5, 7, scale=0.25)
    family.add("constexpr_cast", "constexpr_cast", build, lambda x: x + values, {"x": x}, infer=False, since=since, until=until)


widened(OLD, "ios16", "ios17")


# ---- iOS 18: parameters are inputs ------------------------------------------------------------------------------------------

RANGES = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}


def repeat_to(values, shape):
    """Spreads one value per block over the block, on every axis."""
    for axis, (have, want) in enumerate(zip(values.shape, shape)):
        values = np.repeat(values, want // have, axis=axis)
    return values


def blockwise(name, dtype, shape, blocks, offset):
    """blocks: the shape of scale and offset. offset: None, "same" (the data's type) or "float"."""
    scale = f16(uniform(name + "s", *blocks, low=0.01, high=0.1))
    if dtype in RANGES:
        low, high = RANGES[dtype]
        data = integers(name, *shape, low=low, high=high).astype(np.float64)
        zero = integers(name + "o", *blocks, low=low, high=high).astype(np.float64)
    else:
        data, zero = f16(normal(name, *shape)), f16(normal(name + "o", *blocks))
    if offset == "float":
        zero = f16(normal(name + "of", *blocks))

    def weight(f):
        more = {}
        if offset == "float" or (offset == "same" and dtype == "float"):
            more = {"offset": zero.astype(f)}
        elif offset == "same":
            more = {"offset": const(zero, dtype)}
        stored = data.astype(f) if dtype == "float" else const(data, dtype)
        return mb.constexpr_blockwise_shift_scale(data=stored, scale=scale.astype(f), **more)

    shift = repeat_to(zero, shape) if offset else 0.0
    decoded(
        NEW,
        "constexpr_blockwise_shift_scale",
        name,
        weight,
        lambda x: x + repeat_to(scale, shape) * (data - shift),
        shape,
        since="ios18",
    )


for dtype in ("int4", "uint4", "int8", "uint8"):
    blockwise(f"blockwise_{dtype}_tensor", dtype, (5, 7), (1, 1), None)
    blockwise(f"blockwise_{dtype}_channel", dtype, (5, 7), (5, 1), "same")
    blockwise(f"blockwise_{dtype}_block", dtype, (3, 12), (3, 3), "same")
    blockwise(f"blockwise_{dtype}_block_both", dtype, (6, 8, 1, 1), (2, 4, 1, 1), "float")
blockwise("blockwise_float_data", "float", (5, 7), (5, 1), "same")
blockwise("blockwise_int4_small_inline", "int4", (3, 3), (3, 1), "same")


def lut_new(name, bits, shape, groups, vector=1, vector_axis=None):
    """shape: of the indices. groups: tables per axis."""
    indices = integers(name, *shape, low=0, high=2**bits)
    table = f16(normal(name + "t", *groups, 2**bits, vector))

    def weight(f):
        more = {} if vector_axis is None else {"vector_axis": np.int32(vector_axis)}
        return mb.constexpr_lut_to_dense(indices=const(indices, f"uint{bits}"), lut=table.astype(f), **more)

    full = look_up(indices, table, vector_axis)
    decoded(NEW, "constexpr_lut_to_dense", name, weight, lambda x: x + full, full.shape, since="ios18")


def look_up(indices, table, vector_axis):
    """The definition, element by element."""
    groups, vector = table.shape[: indices.ndim], table.shape[-1]
    shape = list(indices.shape)
    if vector_axis is not None:
        shape[vector_axis] *= vector
    out = np.zeros(shape)
    for at in np.ndindex(*indices.shape):
        group = tuple(a * g // n for a, g, n in zip(at, groups, indices.shape))
        for v in range(vector):
            to = list(at)
            if vector_axis is not None:
                to[vector_axis] = at[vector_axis] * vector + v
            out[tuple(to)] = table[(*group, indices[at], v)]
    return out


for bits in (1, 2, 3, 4, 6, 8):
    lut_new(f"lut_uint{bits}", bits, (5, 7), (1, 1))
    lut_new(f"lut_uint{bits}_groups", bits, (6, 10), (3, 1))
lut_new("lut_uint4_blocks", 4, (6, 10), (2, 5))
lut_new("lut_uint2_rank4", 2, (6, 3, 1, 1), (2, 1, 1, 1))
lut_new("lut_uint3_small_inline", 3, (3, 3), (1, 1))
lut_new("lut_vector2_axis0", 4, (3, 7), (1, 1), vector=2, vector_axis=0)
lut_new("lut_vector4_axis1", 2, (5, 3), (1, 1), vector=4, vector_axis=1)
lut_new("lut_vector2_groups", 3, (4, 6), (2, 1), vector=2, vector_axis=1)


def mask_of(name, shape, density=0.5):
    return (uniform(name + "m", *shape) < density).astype(np.int32)


def dense_of(mask, values):
    out = np.zeros(mask.shape)
    out[mask != 0] = values
    return out


def sparse_new(name, shape, density=0.5):
    mask = mask_of(name, shape, density)
    values = f16(normal(name, int(mask.sum())))
    decoded(
        NEW,
        "constexpr_sparse_to_dense",
        name,
        lambda f: mb.constexpr_sparse_to_dense(nonzero_data=values.astype(f), mask=const(mask, "uint1")),
        lambda x: x + dense_of(mask, values),
        shape,
        since="ios18",
    )


sparse_new("sparse_uint1_mask", (5, 7))
sparse_new("sparse_uint1_rank4", (6, 3, 1, 1), 0.25)


def joint_lut_int8():
    """A table of int8 whose values are scaled afterwards: palettised and quantised."""
    indices = integers("joint_lut", 6, 10, low=0, high=16)
    table = integers("joint_lut_t", 1, 1, 16, 1, low=-128, high=128)
    scale = f16(uniform("joint_lut_s", 6, 1, low=0.01, high=0.1))

    def weight(f):
        q = mb.constexpr_lut_to_dense(indices=const(indices, "uint4"), lut=typed(table, "int8"))
        return mb.constexpr_blockwise_shift_scale(data=q, scale=scale.astype(f))

    full = table[0, 0, :, 0][indices] * scale
    decoded(NEW, "constexpr_lut_to_dense", "joint_lut_int8_scale", weight, lambda x: x + full, full.shape, since="ios18")


def joint_table_scaled():
    """A table that is itself stored in int8: the scale op feeds the look-up."""
    indices = integers("joint_table", 6, 10, low=0, high=16)
    table = integers("joint_table_t", 1, 1, 16, 1, low=-128, high=128)
    scale = f16(np.full((1, 1, 1, 1), 0.03125))

    def weight(f):
        t = mb.constexpr_blockwise_shift_scale(data=typed(table, "int8"), scale=scale.astype(f))
        return mb.constexpr_lut_to_dense(indices=const(indices, "uint4"), lut=t)

    full = (table[0, 0, :, 0] * 0.03125)[indices]
    decoded(NEW, "constexpr_lut_to_dense", "joint_scaled_table", weight, lambda x: x + full, full.shape, since="ios18")


def joint_sparse_lut(name, bits, vector=1, vector_axis=None):
    """Palettised non-zeros: two outputs, mask and values, made dense by a second op."""
    mask = mask_of(name, (6, 7))
    indices = integers(name, int(mask.sum()), low=0, high=2**bits)
    table = f16(normal(name + "t", 1, 1, 2**bits, vector))

    def weight(f):
        more = {} if vector_axis is None else {"vector_axis": np.int32(vector_axis)}
        m, v = mb.constexpr_lut_to_sparse(
            indices_mask=const(mask, "uint1"), indices_nonzero_data=const(indices, f"uint{bits}"), lut=table.astype(f), **more
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=v, mask=m)

    dense_indices = dense_of(mask, indices).astype(np.int32)
    full = look_up(dense_indices, table, vector_axis)
    spread = mask if vector_axis is None else np.repeat(mask, vector, axis=vector_axis)
    full = full * spread
    decoded(NEW, "constexpr_lut_to_sparse", name, weight, lambda x: x + full, full.shape, since="ios18")


def joint_sparse_scale(name, dtype, offset):
    mask = mask_of(name, (6, 8))
    low, high = RANGES[dtype]
    values = integers(name, int(mask.sum()), low=low, high=high)
    scale = f16(uniform(name + "s", 6, 2, low=0.01, high=0.1))
    zero = integers(name + "o", 6, 2, low=low, high=high)

    def weight(f):
        more = {"offset": const(zero, dtype)} if offset else {}
        m, v = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=const(mask, "uint1"), nonzero_data=const(values, dtype), scale=scale.astype(f), **more
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=v, mask=m)

    shift = repeat_to(zero, mask.shape) if offset else 0
    full = mask * repeat_to(scale, mask.shape) * (dense_of(mask, values) - shift)
    decoded(NEW, "constexpr_sparse_blockwise_shift_scale", name, weight, lambda x: x + full, full.shape, since="ios18")


joint_lut_int8()
joint_table_scaled()
joint_sparse_lut("sparse_lut_uint1", 1)
joint_sparse_lut("sparse_lut_uint3", 3)
joint_sparse_lut("sparse_lut_uint4", 4)
joint_sparse_lut("sparse_lut_vector2", 2, vector=2, vector_axis=0)
for dtype in ("int4", "uint4", "int8", "uint8"):
    joint_sparse_scale(f"sparse_scale_{dtype}", dtype, offset=dtype != "int8")
widened(NEW, "ios18", "ios18")
