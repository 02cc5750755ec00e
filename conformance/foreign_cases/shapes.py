"""Ops that move, pick, make or order values."""

import numpy as np
from coremltools.converters.mil import Builder as mb

from .case import Family, integers, normal

FAMILY = Family("shapes")
X = normal("shapes", 2, 3, 4, 5)
I32 = integers("shapes_int", 3, 4, low=-100, high=100)


def add(op, name, build, expect, inputs=None, **more):
    FAMILY.add(op, name, build, expect, {"x": X} if inputs is None else inputs, **more)


add("transpose", "transpose", lambda f, x: mb.transpose(x=x, perm=[0, 2, 3, 1]), lambda x: x.transpose(0, 2, 3, 1))
add("transpose", "transpose_negative", lambda f, x: mb.transpose(x=x, perm=[-1, 0, -2, 1]), lambda x: x.transpose(3, 0, 2, 1))
add("transpose", "transpose_int32", lambda f, x: mb.transpose(x=x, perm=[1, 0]), lambda x: x.T, {"x": I32})
add("reshape", "reshape", lambda f, x: mb.reshape(x=x, shape=[6, 20]), lambda x: x.reshape(6, 20))
add("reshape", "reshape_infer", lambda f, x: mb.reshape(x=x, shape=[2, -1, 2, 5]), lambda x: x.reshape(2, -1, 2, 5))
add("expand_dims", "expand_dims", lambda f, x: mb.expand_dims(x=x, axes=[1]), lambda x: x[:, None], {"x": X[0, 0]})
add(
    "expand_dims",
    "expand_dims_several",
    lambda f, x: mb.expand_dims(x=x, axes=[0, -1]),
    lambda x: x[None, ..., None],
    {"x": X[0, 0]},
)
add("squeeze", "squeeze", lambda f, x: mb.squeeze(x=x, axes=[1]), lambda x: x[:, 0], {"x": X[:, :1]})
add("squeeze", "squeeze_several", lambda f, x: mb.squeeze(x=x, axes=[-1, 0]), lambda x: x[0, ..., 0], {"x": X[:1, ..., :1]})
add("squeeze", "squeeze_all", lambda f, x: mb.squeeze(x=x), np.squeeze, {"x": X[:1, :, :1]})
add("flatten2d", "flatten2d", lambda f, x: mb.flatten2d(x=x, axis=2), lambda x: x.reshape(6, 20))
add("concat", "concat", lambda f, x, y: mb.concat(values=(x, y, x), axis=1), lambda x, y: np.concatenate([x, y, x], 1), {"x": X, "y": X[:, :2]})
add("concat", "concat_last", lambda f, x, y: mb.concat(values=(x, y), axis=-1), lambda x, y: np.concatenate([x, y], -1), {"x": X, "y": X[..., :2]})
add(
    "concat",
    "concat_interleave",
    lambda f, x, y: mb.concat(values=(x, y), axis=1, interleave=True),
    lambda x, y: np.stack([x, y], 2).reshape(2, 6, 4, 5),
    {"x": X, "y": normal("interleave", 2, 3, 4, 5)},
    infer=False,  # theirs forgets to interleave
)
add("stack", "stack", lambda f, x, y: mb.stack(values=(x, y), axis=1), lambda x, y: np.stack([x, y], 1), {"x": X, "y": -X})
add("split", "split_equal", lambda f, x: mb.split(x=x, num_splits=2, axis=2), lambda x: np.split(x, 2, 2))
add("split", "split_sizes", lambda f, x: mb.split(x=x, split_sizes=[1, 3, 1], axis=-1), lambda x: np.split(x, [1, 4], -1))
add("tile", "tile", lambda f, x: mb.tile(x=x, reps=[1, 2, 1, 3]), lambda x: np.tile(x, [1, 2, 1, 3]))
add("reverse", "reverse", lambda f, x: mb.reverse(x=x, axes=[1, -1]), lambda x: x[:, ::-1, :, ::-1])
add("reverse", "reverse_all", lambda f, x: mb.reverse(x=x), lambda x: x[::-1, ::-1, ::-1, ::-1])

add(
    "pad",
    "pad_constant",
    lambda f, x: mb.pad(x=x, pad=[0, 0, 1, 2, 0, 1, 3, 0], mode="constant", constant_val=f(1.5)),
    lambda x: np.pad(x, [(0, 0), (1, 2), (0, 1), (3, 0)], constant_values=1.5),
)
add(
    "pad",
    "pad_constant_last_axes",
    lambda f, x: mb.pad(x=x, pad=[1, 2], mode="constant", constant_val=f(0)),
    lambda x: np.pad(x, [(0, 0), (0, 0), (0, 0), (1, 2)]),
)
# The unused constant is stated: the default the writer would state is fp32 whatever x is.
add("pad", "pad_reflect", lambda f, x: mb.pad(x=x, pad=[1, 2, 2, 1], mode="reflect", constant_val=f(0)), lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (2, 1)], mode="reflect"))
add("pad", "pad_replicate", lambda f, x: mb.pad(x=x, pad=[1, 2, 2, 1], mode="replicate", constant_val=f(0)), lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (2, 1)], mode="edge"))

add("slice_by_index", "slice", lambda f, x: mb.slice_by_index(x=x, begin=[0, 1, 1, 0], end=[2, 3, 4, 4]), lambda x: x[0:2, 1:3, 1:4, 0:4])
add(
    "slice_by_index",
    "slice_strides",
    lambda f, x: mb.slice_by_index(x=x, begin=[0, 0, 0, 0], end=[2, 3, 4, 5], stride=[1, 2, 1, 2]),
    lambda x: x[:, ::2, :, ::2],
)
add(
    "slice_by_index",
    "slice_masks",
    lambda f, x: mb.slice_by_index(
        x=x, begin=[1, 1, 9, 0], end=[0, 2, 0, -1], begin_mask=[False, False, True, True], end_mask=[True, False, True, False]
    ),
    lambda x: x[1:, 1:2, :, :-1],
)
add(
    "slice_by_index",
    "slice_squeeze",
    lambda f, x: mb.slice_by_index(
        x=x, begin=[0, -1, 0, 2], end=[0, 0, 0, 0], begin_mask=[True, False, True, False], end_mask=[True, False, True, False],
        squeeze_mask=[False, True, False, True],
    ),
    lambda x: x[:, -1, :, 2],
)
add(
    "slice_by_index",
    "slice_backwards",
    lambda f, x: mb.slice_by_index(
        x=x, begin=[0, 0, -1, 4], end=[2, 3, 0, 0], stride=[1, 1, -1, -2], end_mask=[False, False, True, False]
    ),
    lambda x: x[0:2, 0:3, -1::-1, 4:0:-2],
)
add("slice_by_size", "slice_by_size", lambda f, x: mb.slice_by_size(x=x, begin=[0, 1, 2, 0], size=[1, 2, -1, 4]), lambda x: x[0:1, 1:3, 2:, 0:4])

TABLE = {"x": normal("table", 11, 6)}
ROWS = integers("rows", 2, 4, low=0, high=11)
add("gather", "gather_rows", lambda f, x, i: mb.gather(x=x, indices=i, axis=0), lambda x, i: x[i], TABLE | {"i": ROWS})
add("gather", "gather_const_table", lambda f, i, x: mb.gather(x=x, indices=i, axis=0), lambda i, x: x[i], {"i": ROWS}, consts=TABLE)
add("gather", "gather_last", lambda f, x, i: mb.gather(x=x, indices=i, axis=-1), lambda x, i: x[..., i], {"x": X, "i": integers("g", 3, low=0, high=5)})
add("gather", "gather_scalar", lambda f, x: mb.gather(x=x, indices=np.int32(2), axis=1), lambda x: x[:, 2])
add("gather", "gather_int32", lambda f, x, i: mb.gather(x=x, indices=i, axis=1), lambda x, i: x[:, i], {"x": I32, "i": integers("gi", 5, low=0, high=4)})
add(
    "gather",
    "gather_negative",
    lambda f, x, i: mb.gather(x=x, indices=i, axis=0),
    lambda x, i: x[i],
    TABLE | {"i": integers("gn", 5, low=-11, high=11)},
    until="ios16",  # from iOS 17 on a negative index is out of bounds
)
add(
    "gather",
    "gather_batch_dims",
    lambda f, x, i: mb.gather(x=x, indices=i, axis=2, batch_dims=1),
    lambda x, i: np.stack([x[b][:, i[b]] for b in range(2)]),
    {"x": X, "i": integers("gb", 2, 3, low=0, high=4)},
    since="ios16",
)
for small in ("uint16", "int16"):
    add(
        "gather",
        f"gather_{small}",
        lambda f, x, i, small=small: mb.gather(x=x, indices=mb.cast(x=i, dtype=small), axis=0, validate_indices=False),
        lambda x, i: x[i],
        TABLE | {"i": ROWS},
        since="ios17",
    )
add(
    "gather_along_axis",
    "gather_along_axis",
    lambda f, x, i: mb.gather_along_axis(x=x, indices=i, axis=1),
    lambda x, i: np.take_along_axis(x, i, 1),
    {"x": X, "i": integers("gaa", 2, 6, 4, 5, low=0, high=3)},
)
add(
    "gather_nd",
    "gather_nd",
    lambda f, x, i: mb.gather_nd(x=x, indices=i),
    lambda x, i: x[i[..., 0], i[..., 1]],
    {"x": X, "i": np.stack([integers("nd0", 3, low=0, high=2), integers("nd1", 3, low=0, high=3)], -1)},
)
add(
    "gather_nd",
    "gather_nd_batch_dims",
    lambda f, x, i: mb.gather_nd(x=x, indices=i, batch_dims=1),
    lambda x, i: np.stack([x[b][i[b][:, 0], i[b][:, 1]] for b in range(2)]),
    {"x": X, "i": np.stack([integers("ndb0", 2, 4, low=0, high=3), integers("ndb1", 2, 4, low=0, high=4)], -1)},
    since="ios16",
)

for exclusive in (False, True):
    for reverse in (False, True):
        name = "cumsum" + ("_exclusive" if exclusive else "") + ("_reverse" if reverse else "")

        def cumsum(x, exclusive=exclusive, reverse=reverse):
            x = x[:, ::-1] if reverse else x
            total = np.cumsum(x, 1) - (x if exclusive else 0)
            return total[:, ::-1] if reverse else total

        add(
            "cumsum",
            name,
            lambda f, x, e=exclusive, r=reverse: mb.cumsum(x=x, axis=1, exclusive=e, reverse=r),
            cumsum,
            infer=not exclusive,  # theirs raises
        )
add(
    "band_part",
    "band_part",
    lambda f, x: mb.band_part(x=x, lower=1, upper=2),
    lambda x: x * [[int(j - i <= 2 and i - j <= 1) for j in range(5)] for i in range(4)],
)
add(
    "band_part",
    "band_part_lower",
    lambda f, x: mb.band_part(x=x, lower=-1, upper=0),
    np.tril,
)
add("fill", "fill", lambda f, x: mb.add(x=x, y=mb.fill(shape=[3, 1, 5], value=f(0.75))), lambda x: x + 0.75)
add("fill_like", "fill_like", lambda f, x: mb.fill_like(ref_tensor=x, value=f(0.75)), lambda x: np.full(x.shape, 0.75), since="ios16")
add("shape", "shape", lambda f, x: mb.shape(x=x), lambda x: np.array(x.shape))
add(
    "range_1d",
    "range_1d",
    lambda f, x: mb.add(x=x, y=mb.range_1d(start=np.int32(2), end=np.int32(13), step=np.int32(3))),
    lambda x: x + np.array([2, 5, 8, 11]),
    {"x": I32},
)
add(
    "one_hot",
    "one_hot",
    lambda f, i: mb.one_hot(indices=i, one_hot_vector_size=6, axis=-1, on_value=f(2.5), off_value=f(-0.5)),
    lambda i: np.where(np.arange(6) == i[..., None], 2.5, -0.5),
    {"i": integers("hot", 2, 4, low=0, high=6)},
)
add(
    "one_hot",
    "one_hot_axis",
    lambda f, i: mb.one_hot(indices=i, one_hot_vector_size=6, axis=1, on_value=np.int32(1), off_value=np.int32(0)),
    lambda i: (np.arange(6)[None, :, None] == i[:, None]).astype(np.int32),
    {"i": integers("hot1", 2, 4, low=0, high=6)},
)
for ascending in (False, True):
    suffix = "_ascending" if ascending else ""
    order = lambda x, axis, a=ascending: np.argsort(x if a else -x, axis=axis, kind="stable")  # noqa: E731
    add("argsort", "argsort" + suffix, lambda f, x, a=ascending: mb.argsort(x=x, axis=1, ascending=a), lambda x, o=order: o(x, 1))

    def top(x, o=order):
        i = o(x, 2)[:, :, :3]
        return [np.take_along_axis(x, i, 2), i]

    add("topk", "topk" + suffix, lambda f, x, a=ascending: mb.topk(x=x, k=3, axis=2, ascending=a), top)
add(
    "topk",
    "topk_values_only",
    lambda f, x: mb.topk(x=x, k=2, axis=-1, sort=True, return_indices=False),
    lambda x: -np.sort(-x, -1)[..., :2],
    since="ios16",
    infer=False,
)
add(
    "topk",
    "topk_uint16",
    lambda f, x: mb.topk(x=x, k=2, axis=-1, output_indices_dtype="uint16"),
    lambda x: [-np.sort(-x, -1)[..., :2], np.argsort(-x, -1)[..., :2]],
    since="ios17",
    infer=False,
)

# Consts of every kind that an ordinary package holds, small ones inline and large ones in the file.
for size in (3, 40):
    for kind, values in [
        ("float", normal(f"const{size}", size)),
        ("int32", integers(f"consti{size}", size, low=-(2**30), high=2**30)),
    ]:
        add("const", f"const_{kind}_{size}", lambda f, x, c: mb.add(x=x, y=c), lambda x, c: x + c, {"x": np.zeros(size, values.dtype)}, consts={"c": values})

# Quantise and dequantise activations (iOS 17).
for dtype, zero in [(np.int8, -3), (np.uint8, 120)]:
    name = np.dtype(dtype).name
    info = np.iinfo(dtype)

    def quantized(x, scale, zero=zero, info=info):
        return np.clip(np.round(x / scale) + zero, info.min, info.max)

    add(
        "quantize",
        f"quantize_{name}",
        lambda f, x, name=name, dtype=dtype, zero=zero: mb.cast(
            x=mb.quantize(input=x, scale=f(0.0625), zero_point=dtype(zero), output_dtype=name), dtype="int32"
        ),
        lambda x, q=quantized: q(x, 0.0625),
        {"x": normal(f"quantize{name}", 2, 3, 4, scale=4)},
        since="ios17",
        infer=False,
    )
    add(
        "dequantize",
        f"dequantize_{name}",
        lambda f, x, scale, name=name: mb.dequantize(input=mb.cast(x=x, dtype=name), scale=scale, axis=1),
        lambda x, scale: x * scale[None, :, None],
        {"x": integers(f"dequantize{name}", 2, 3, 4, low=max(info.min, -100), high=100)},
        consts={"scale": np.array([0.5, 0.25, 2.0])},
        since="ios17",
        infer=False,
    )
