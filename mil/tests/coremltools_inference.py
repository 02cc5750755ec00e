"""Writes coremltools_inference.json: what coremltools infers, or refuses, for calls of the operations in the op table.

    python mil/tests/coremltools_inference.py > mil/tests/coremltools_inference.json

Needs coremltools 9.0 (see conformance/README.md). `mil/tests/inference.rs` holds the op table to the answers.

Each case is {op, opset, args: {name: ARG or [ARG, ..]}, result}, where ARG is {dtype, shape, values?} with "?" for a size
known only at prediction, and result is a list of types, or null where coremltools refuses the call.
"""

import itertools
import json
import logging
import sys

logging.disable(logging.CRITICAL)

import numpy as np  # noqa: E402
from coremltools.converters.mil._deployment_compatibility import AvailableTarget  # noqa: E402
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import Function, get_new_symbol, types  # noqa: E402

TARGETS = {
    "ios15": AvailableTarget.iOS15,
    "ios16": AvailableTarget.iOS16,
    "ios17": AvailableTarget.iOS17,
    "ios18": AvailableTarget.iOS18,
}
DTYPES = {
    "fp16": types.fp16, "fp32": types.fp32, "int8": types.int8, "uint8": types.uint8, "int16": types.int16,
    "uint16": types.uint16, "int32": types.int32, "bool": types.bool,
}
SUB_BYTE = {
    "uint1": types.np_uint1_dtype, "uint2": types.np_uint2_dtype, "uint3": types.np_uint3_dtype,
    "uint4": types.np_uint4_dtype, "uint6": types.np_uint6_dtype, "int4": types.np_int4_dtype,
}
NUMPY = {
    "fp16": np.float16, "fp32": np.float32, "int8": np.int8, "uint8": np.uint8, "int16": np.int16,
    "uint16": np.uint16, "int32": np.int32, "uint32": np.uint32, "bool": np.bool_, **SUB_BYTE,
}
FLOATS = ["fp16", "fp32"]
NUMBERS = [*FLOATS, "int32"]


def x(dtype, *shape):
    """A value computed at prediction."""
    return {"dtype": dtype, "shape": list(shape)}


def c(dtype, values):
    """A constant."""
    array = np.array(values, dtype=NUMPY.get(dtype, object))
    return {"dtype": dtype, "shape": list(array.shape), "values": array.flatten().tolist()}


def zeros(dtype, *shape):
    """A constant of zeros."""
    return c(dtype, np.zeros(shape, dtype=np.int64))


def i(value):
    return c("int32", value)


def s(text):
    return {"dtype": "string", "shape": [], "values": [text]}


def b(value):
    return c("bool", value)


def build(arg, inputs):
    """A constant for the builder, or the name of a function input."""
    if "values" in arg:
        if arg["dtype"] == "string":
            return arg["values"][0]
        array = np.array(arg["values"], dtype=NUMPY[arg["dtype"]]).reshape(arg["shape"])
        return array if arg["shape"] else array.dtype.type(array.item()) if arg["dtype"] not in SUB_BYTE else array
    name = f"in{len(inputs)}"
    shape = [get_new_symbol() if size == "?" else size for size in arg["shape"]]
    inputs[name] = mb.placeholder(shape=shape, dtype=DTYPES[arg["dtype"]])
    return name


def plain(ty):
    """A type as JSON."""
    if types.is_tensor(ty):
        shape = ["?" if not isinstance(size, (int, np.integer)) else int(size) for size in ty.get_shape()]
        return {"dtype": types.builtin_to_string(ty.get_primitive()), "shape": shape}
    return {"dtype": types.builtin_to_string(ty), "shape": []}


def answer(op, opset, args):
    inputs = {}
    built = {}
    for name, arg in args.items():
        built[name] = [build(a, inputs) for a in arg] if isinstance(arg, list) else build(arg, inputs)
    try:
        with Function(inputs, opset_version=TARGETS[opset]) as function:
            def resolve(value):
                return function.inputs[value] if isinstance(value, str) and value in inputs else value
            kwargs = {
                name: [resolve(v) for v in value] if isinstance(value, list) else resolve(value)
                for name, value in built.items()
            }
            out = getattr(mb, op)(**kwargs)
    except Exception:  # whatever it raises, it is a refusal
        return None
    return [plain(var.sym_type) for var in (out if isinstance(out, (list, tuple)) else [out])]


CASES = []


def case(op, opsets=("ios15", "ios16", "ios17", "ios18"), **args):
    for opset in [opsets] if isinstance(opsets, str) else opsets:
        CASES.append({"op": op, "opset": opset, "args": args})


NEW = ("ios17", "ios18")
ALL = ("ios16", "ios18")


def linear():
    for dtype in NUMBERS + ["bool"]:
        case("linear", ALL, x=x(dtype, 2, 3, 4), weight=zeros(dtype, 5, 4), bias=zeros(dtype, 5))
    case("linear", ALL, x=x("fp16", "?", 4), weight=zeros("fp16", 5, 4))
    case("linear", ALL, x=x("fp16", 2, "?"), weight=zeros("fp16", 5, 4))
    case("linear", ALL, x=x("fp16", 4), weight=zeros("fp16", 5, 4))
    case("linear", ALL, x=x("fp16", 2, 3), weight=zeros("fp16", 5, 4))
    case("linear", ALL, x=x("fp16", 2, 4), weight=zeros("fp16", 5, 4), bias=zeros("fp16", 4))
    case("linear", ALL, x=x("fp16", 2, 4), weight=zeros("fp32", 5, 4), bias=zeros("fp32", 5))
    case("linear", ALL, x=x("fp16", 2, 4), weight=zeros("fp32", 5, 4), bias=zeros("fp16", 5))
    case("linear", ALL, x=x("fp16", 2, 4), weight=zeros("fp16", 5, 4, 1))
    case("linear", ALL, x=x("fp16", 2, 4), weight=x("fp16", 5, 4))


def matmul():
    shapes = [
        ((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (6, 4, 5)), ((3, 4), (3, 5)), ((2, 3, 4), (3, 4, 5)),
        (("?", 3, 4), (2, 4, 5)), (("?", 3, 4), ("?", 4, 5)), ((2, "?", 4), (2, 4, "?")), ((4,), (4, 5)),
    ]
    for a, y in shapes:
        case("matmul", "ios16", x=x("fp32", *a), y=x("fp32", *y))
    for ta, ty in itertools.product([False, True], repeat=2):
        a = (2, 4, 3) if ta else (2, 3, 4)
        y = (2, 5, 4) if ty else (2, 4, 5)
        case("matmul", "ios16", x=x("fp16", *a), y=x("fp16", *y), transpose_x=b(ta), transpose_y=b(ty))
    case("matmul", ALL, x=x("fp16", 3, 4), y=x("fp32", 4, 5))
    case("matmul", ALL, x=x("fp16", 3, 4), y=zeros("fp32", 4, 5))
    case("matmul", ALL, x=zeros("fp32", 3, 4), y=x("fp16", 4, 5))
    case("matmul", ALL, x=zeros("fp32", 3, 4), y=zeros("fp16", 4, 5))
    case("matmul", ALL, x=x("int32", 3, 4), y=x("int32", 4, 5))
    case("matmul", ALL, x=x("bool", 3, 4), y=x("bool", 4, 5))
    case("matmul", "ios16", x=x("fp16", 4), y=x("fp16", 4, 5), transpose_x=b(True))


def einsum():
    good = ["nchw,nwhu->nchu", "abcd,adce->abce", "nchw,nwhr->nchr"]
    bad = ["bhid,bhjd->bhij", "nchw,nwhu->nchw", "nchw,nwhu", "chw,whu->chu", ""]
    for equation in good + bad:
        case("einsum", values=[x("fp16", 2, 3, 4, 5), x("fp16", 2, 5, 4, 7)], equation=s(equation))
    for a, y in [
        ((2, 3, 1, 5), (2, 5, 4, 7)), ((1, 3, 4, 5), (2, 5, 1, 7)), ((2, 3, 4, 5), (2, 6, 4, 7)), ((2, 3, 4, 5), (3, 5, 4, 7)),
        ((2, 3, 4, 5), (2, 5, 3, 7)), ((2, 3, "?", 5), (2, 5, "?", 7)), ((2, 3, 4, "?"), (2, 5, 4, "?")),
        ((3, 4, 5), (5, 4, 7)),
    ]:
        case("einsum", "ios16", values=[x("fp32", *a), x("fp32", *y)], equation=s("nchw,nwhu->nchu"))
    case("einsum", "ios16", values=[x("fp32", 3, 4, 5), x("fp32", 5, 4, 7)], equation=s("chw,whr->chr"))
    case("einsum", "ios16", values=[x("fp32", 3, 4, 5), x("fp32", 5, 1, 7)], equation=s("chw,whu->chu"))
    case("einsum", "ios16", values=[x("fp32", 3, 4, 5), x("fp16", 5, 1, 7)], equation=s("chw,whu->chu"))
    case("einsum", "ios16", values=[x("fp32", 3, 4, 5)], equation=s("chw,whu->chu"))


def attention():
    op = "scaled_dot_product_attention"

    def qkv(q, k, v, **mask):
        case(op, ("ios17", "ios18"), query=x("fp16", *q), key=x("fp16", *k), value=x("fp16", *v), **mask)

    base = ((2, 4, 5, 8), (2, 4, 6, 8), (2, 4, 6, 9))
    qkv(*base)
    for mask in [(6,), (5, 6), (1, 6), (2, 1, 1, 6), (2, 4, 5, 6), (4, 1, 6), (5, 1), (3, 6), (1, 2, 4, 5, 6), (2, 4, "?", 6)]:
        qkv(*base, attn_mask=x("fp16", *mask))
    for dtype in ["bool", "fp32", "int32"]:
        qkv(*base, attn_mask=x(dtype, 5, 6))
    qkv((5, 8), (6, 8), (6, 9))
    qkv((2, 5, 8), (2, 6, 8), (2, 6, 9))
    qkv((2, 5, 8), (2, 6, 7), (2, 6, 9))
    qkv((2, 5, 8), (2, 6, 8), (2, 7, 9))
    qkv((2, 5, 8), (1, 6, 8), (2, 6, 9))
    qkv(("?", 5, 8), ("?", 6, 8), ("?", 6, 9))
    case(op, "ios18", query=x("fp16", 2, 5, 8), key=x("fp32", 2, 6, 8), value=x("fp16", 2, 6, 9))


def conv():
    w = zeros("fp16", 6, 4, 3, 3)
    a = x("fp16", 1, 4, 9, 10)
    case("conv", x=a, weight=w)
    for kind in ["valid", "same", "same_lower", "custom", "full"]:
        case("conv", x=a, weight=w, pad_type=s(kind), strides=i([2, 3]), pad=i([1, 2, 0, 1]))
        case("conv", "ios16", x=a, weight=w, pad_type=s(kind), dilations=i([2, 1]))
    for shape in [(1, 4, 2, 10), ("?", 4, 9, 10), (1, 4, "?", 10), (1, 5, 9, 10), (1, 4, 9)]:
        case("conv", "ios16", x=x("fp16", *shape), weight=w)
    case("conv", "ios16", x=x("fp16", 1, 4, 9), weight=zeros("fp16", 6, 4, 3))
    case("conv", "ios16", x=x("fp16", 1, 4, 9, 8, 7), weight=zeros("fp16", 6, 4, 3, 2, 1))
    case("conv", "ios16", x=a, weight=zeros("fp16", 6, 2, 1, 1), groups=i(2))
    case("conv", "ios16", x=a, weight=zeros("fp16", 8, 1, 1, 1), groups=i(4))
    case("conv", "ios16", x=a, weight=zeros("fp16", 6, 2, 1, 1), groups=i(3))
    case("conv", ALL, x=a, weight=zeros("fp16", 6, 4, 1, 1), bias=zeros("fp16", 6))
    case("conv", ALL, x=a, weight=zeros("fp16", 6, 4, 1, 1), bias=zeros("fp16", 4))
    case("conv", ALL, x=a, weight=zeros("fp16", 6, 4, 1, 1), bias=x("fp16", 6))
    case("conv", ALL, x=a, weight=zeros("fp32", 6, 4, 1, 1))
    case("conv", ALL, x=a, weight=x("fp16", 6, 4, 3, 3))
    case("conv", "ios16", x=a, weight=x("fp16", 6, 4, 3, 3), dilations=i([2, 2]))
    case("conv", "ios16", x=x("int32", 1, 4, 9, 10), weight=zeros("int32", 6, 4, 3, 3))


def norms():
    a = x("fp16", 2, 3, 4)
    for axes, shape in [([-1], (4,)), ([1, 2], (3, 4)), ([2, 1], (3, 4)), ([1], (3,)), ([0], (2,)), ([3], (4,)), ([-4], (4,)), ([-1], (3,))]:
        case("layer_norm", "ios16", x=a, axes=i(axes), gamma=zeros("fp16", *shape), beta=zeros("fp16", *shape), epsilon=c("fp16", 1e-5))
    case("layer_norm", "ios16", x=a)
    case("layer_norm", "ios16", x=x("fp16", 1, "?", 4), axes=i([1]), gamma=zeros("fp16", 9), beta=zeros("fp16", 9))
    case("layer_norm", ALL, x=a, axes=i([-1]), gamma=zeros("fp32", 4), beta=zeros("fp32", 4))
    case("layer_norm", ALL, x=a, axes=i([-1]), epsilon=c("fp32", 1e-5))
    case("layer_norm", ALL, x=a, axes=i([-1]), gamma=zeros("fp32", 4), beta=zeros("fp16", 4))
    case("layer_norm", "ios16", x=x("int32", 2, 4), axes=i([-1]))
    case("batch_norm", ALL, x=x("fp16", 1, 3, 4, 5), mean=zeros("fp16", 3), variance=zeros("fp16", 3), gamma=zeros("fp16", 3))
    case("batch_norm", ALL, x=x("fp16", 1, 3, 4, 5), mean=zeros("fp32", 3), variance=zeros("fp32", 3))
    case("instance_norm", ALL, x=x("fp16", 1, 3, 4, 5), gamma=zeros("fp16", 3), beta=zeros("fp16", 3), epsilon=c("fp16", 1e-5))
    for shape in [(2, 3), (2, 3, 4), (2, 3, 4, 5)]:
        case("l2_norm", "ios16", x=x("fp32", *shape), epsilon=c("fp32", 1e-6))


def unary():
    names = (
        "abs acos asin atan atanh ceil cos cosh erf exp exp2 floor round sign sin sinh sqrt square tan logical_not relu relu6 "
        "sigmoid silu softplus softsign tanh"
    ).split()
    for name in names:
        for dtype in NUMBERS + ["bool", "int8"]:
            case(name, ALL, x=x(dtype, 2, "?"))
    for name in ["log", "rsqrt", "inverse"]:
        case(name, ALL, x=x("fp16", 2, 3), epsilon=c("fp16", 1e-4))
        case(name, ALL, x=x("fp16", 2, 3), epsilon=c("fp32", 1e-4))
        case(name, ALL, x=x("int32", 2, 3))
    for name in ["elu", "leaky_relu", "thresholded_relu"]:
        case(name, ALL, x=x("fp16", 2, 3), alpha=c("fp16", 0.5))
        case(name, ALL, x=x("fp16", 2, 3), alpha=c("fp32", 0.5))
    for name in ["clamped_relu", "linear_activation", "scaled_tanh", "sigmoid_hard", "clip"]:
        case(name, ALL, x=x("fp16", 2, 3), alpha=c("fp16", 0.5), beta=c("fp16", 1.0))
        case(name, ALL, x=x("fp16", 2, 3), alpha=c("fp32", 0.5), beta=c("fp32", 1.0))
        case(name, ALL, x=x("fp16", 2, 3), alpha=c("fp32", 0.5), beta=c("fp16", 1.0))
    case("clip", ALL, x=x("fp16", 2), alpha=c("fp16", 1.0), beta=c("fp16", 1.0))
    case("threshold", ALL, x=x("int32", 2), alpha=c("int32", 3))
    for shape in [(2, 3, 4), (2, 3, 4, 5), (2, 3), (1, 2, 4)]:
        case("prelu", "ios16", x=x("fp16", *shape), alpha=c("fp16", [0.5, 0.5, 0.5]))
        case("softplus_parametric", "ios16", x=x("fp16", *shape), alpha=zeros("fp16", 3), beta=zeros("fp16", 3))
    for mode in ["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION", "exact", "NONE"]:
        case("gelu", "ios16", x=x("fp16", 2, 3), mode=s(mode))
    case("gelu", "ios16", x=x("int32", 2, 3))
    case("softmax", "ios16", x=x("fp16", 2, 3))
    case("softmax", "ios16", x=x("fp16", 2, 3), axis=i(1))
    for source in ["fp16", "fp32", "int32", "bool", "int8", "uint16"]:
        for target in ["fp16", "fp32", "int32", "bool", "int8", "uint8", "int16", "uint16", "int64", "fp64", "x"]:
            case("cast", ALL, x=x(source, 2, 3), dtype=s(target))


def binary():
    names = (
        "add floor_div maximum minimum mod mul pow real_div sub equal greater greater_equal less less_equal not_equal "
        "logical_and logical_or logical_xor"
    ).split()
    for name in names:
        good = "bool" if name.startswith("logical") else "fp16"
        for a, y in [((2, 3), (3,)), ((2, 1), (1, 3)), ((2, 3), (2, 4)), (("?", 3), (2, 1)), (("?", 3), (1, 1)), (("?", 3), ("?", 3))]:
            case(name, "ios16", x=x(good, *a), y=x(good, *y))
        for dtype in ["fp32", "int32", "bool", "int8"]:
            case(name, "ios18", x=x(dtype, 2), y=x(dtype, 2))
        case(name, "ios18", x=x("fp16", 2), y=x("fp32", 2))
        case(name, "ios18", x=x("fp16", 2), y=c("fp16", 2.0))
    for a, y in [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3))]:
        case("select", "ios16", cond=x("bool", 2, 3), a=x("fp16", *a), b=x("fp16", *y))
    case("select", "ios16", cond=x("bool", 2, 3), a=x("fp16", 2, 3), b=x("int32", 2, 3))
    case("select", "ios16", cond=x("int32", 2, 3), a=x("fp16", 2, 3), b=x("fp16", 2, 3))
    case("select", "ios18", cond=x("bool", 2, 3), a=x("int8", 2, 3), b=x("int8", 2, 3))


def reductions():
    names = "l1_norm l2_norm log_sum log_sum_exp max mean min prod sum sum_square".split()
    for name in ["reduce_" + n for n in names]:
        for axes in [None, [0], [-1], [0, 2], [-1, -2], [0, 1, 2]]:
            for keep in [True, False]:
                args = {} if axes is None else {"axes": i(axes)}
                case(name, "ios16", x=x("fp16", 2, "?", 4), keep_dims=b(keep), **args)
        for dtype in ["int32", "bool"]:
            case(name, "ios18", x=x(dtype, 2, 3), axes=i([0]))
    case("reduce_sum", "ios16", x=x("fp16", 2, 3, 4), axes=i([3]), keep_dims=b(False))
    for name in ["reduce_argmax", "reduce_argmin"]:
        for axis, keep in itertools.product([None, 0, -1, 1], [True, False]):
            args = {} if axis is None else {"axis": i(axis)}
            case(name, "ios16", x=x("fp16", 2, 3, 4), keep_dims=b(keep), **args)
        for dtype in ["int32", "uint16", "int8"]:
            case(name, ALL, x=x("fp16", 2, 3, 4), output_dtype=s(dtype))


def gathers():
    for indices in [(5,), (5, 6), (2, 3), ("?",)]:
        for axis in [0, 1, -1, 3]:
            case("gather", "ios16", x=x("fp16", 2, 3, 4), indices=x("int32", *indices), axis=i(axis))
    for dtype in ["int32", "int16", "uint16", "int8", "uint8", "fp16"]:
        for data in ["fp16", "int32", "int8", "uint16", "bool"]:
            case("gather", x=x(data, 9, 4), indices=x(dtype, 5))
            case("gather_along_axis", x=x(data, 9, 4), indices=x(dtype, 5, 4))
            case("gather_nd", x=x(data, 9, 4), indices=x(dtype, 5, 1))
    for batch, axis, indices in [(1, 1, (2, 5)), (1, 2, (2, 5, 6)), (2, 2, (2, 3, 7)), (3, 2, (2, 3, 4)), (2, 2, (2,))]:
        case("gather", ("ios15", "ios16", "ios18"), x=x("fp16", 2, 3, 4), indices=x("int32", *indices), axis=i(axis), batch_dims=i(batch))
    case("gather", ("ios16", "ios17"), x=x("fp16", 9, 4), indices=x("int32", 5), validate_indices=b(True))
    case("gather", "ios17", x=x("fp16", 9, 4), indices=i([1, 12]), validate_indices=b(True))
    case("gather", "ios16", x=x("fp16", 9, 4), indices=i(3))
    case("gather", "ios16", x=x("fp16", 9), indices=i(3))
    for indices in [(5, 4), (9, 4), (5, 3), (5,)]:
        case("gather_along_axis", "ios16", x=x("fp16", 9, 4), indices=x("int32", *indices), axis=i(0))
    for depth in [1, 2, 3, 4]:
        case("gather_nd", "ios16", x=x("fp16", 2, 3, 4), indices=x("int32", 7, depth))
    case("gather_nd", "ios16", x=x("fp16", 2, 3, 4), indices=x("int32", 2, 7, 1), batch_dims=i(1))
    case("gather_nd", "ios16", x=x("fp16", 2, 3, 4), indices=x("int32", 2, 7, 3), batch_dims=i(1))


def shapes():
    for target in [[6, 4], [24], [-1], [2, -1], [0, 0, -1], [0, -1, 2], [5, -1], [-1, -1], [0, 12], [2, 3, 2, 2], [1, 24, 1]]:
        case("reshape", "ios16", x=x("fp16", 2, 3, 4), shape=i(target))
        case("reshape", "ios16", x=x("fp16", "?", 3, 4), shape=i(target))
    case("reshape", ALL, x=x("fp16", 2, 3, 4), shape=c("int16", [6, 4]))
    case("reshape", ALL, x=x("int8", 2, 3, 4), shape=i([6, 4]))
    case("reshape", "ios16", x=x("fp16", 2, 3, 4), shape=x("int32", 2))
    for axes in [[0], [-1], [0, 1], [1, 3], [4], [-4], [-5], [0, -1]]:
        case("expand_dims", "ios16", x=x("fp16", 2, "?", 4), axes=i(axes))
    for shape, axes in [((1, 3, 1), None), ((1, 3, 1), [0]), ((1, 3, 1), [-1, 0]), ((1, 3, 1), [2]), ((1, 3, 1), [3]), ((1, "?"), [0]), ((1, 1), None)]:
        case("squeeze", "ios16", x=x("fp16", *shape), **({} if axes is None else {"axes": i(axes)}))
    for perm in [[0, 1, 2], [2, 0, 1], [-1, 0, 1], [0, 1], [0, 1, 3]]:
        case("transpose", "ios16", x=x("fp16", 2, "?", 4), perm=i(perm))
    for axes in [[0], [-1, 0]]:
        case("reverse", "ios16", x=x("fp16", 2, 3), axes=i(axes))
    for axis in [0, 1, 2, -1]:
        case("flatten2d", "ios16", x=x("fp16", 2, 3, 4), axis=i(axis))
    for op, args in [("expand_dims", {"axes": i([0])}), ("squeeze", {"axes": i([0])}), ("transpose", {"perm": i([1, 0])}), ("reverse", {"axes": i([0])}), ("shape", {}), ("identity", {}), ("flatten2d", {})]:
        for dtype in DTYPES:
            case(op, ALL, x=x(dtype, 1, 3), **args)


def slices():
    for shape in [(10, 8), ("?", 8)]:
        for begin, end, stride in [
            ([0, 0], [5, 8], None), ([2, 1], [9, 7], [2, 3]), ([-5, 0], [-1, 8], None), ([9, 7], [2, 0], [-2, -3]),
            ([0, 0], [20, 8], None), ([3, 0], [3, 8], None), ([0, 0], [10, 8], [1, 1]),
        ]:
            args = {} if stride is None else {"stride": i(stride)}
            case("slice_by_index", "ios16", x=x("fp16", *shape), begin=i(begin), end=i(end), **args)
        for begin_mask, end_mask, squeeze in itertools.product([[True, True], [False, True]], [[True, True], [True, False]], [None, [True, False], [True, True]]):
            args = {} if squeeze is None else {"squeeze_mask": b(squeeze)}
            case("slice_by_index", "ios16", x=x("fp16", *shape), begin=i([1, 2]), end=i([4, 5]), begin_mask=b(begin_mask), end_mask=b(end_mask), **args)
        for begin, size in [([0, 0], [3, 4]), ([2, 1], [-1, -1]), ([0, 0], [-1, 8]), ([5, 5], [5, 3])]:
            case("slice_by_size", "ios16", x=x("fp16", *shape), begin=i(begin), size=i(size))
    case("slice_by_index", "ios16", x=x("fp16", 10, 8), begin=i([0]), end=i([1, 2]))
    case("slice_by_index", "ios16", x=x("fp16", 10, 8), begin=x("int32", 2), end=x("int32", 2))
    case("slice_by_size", "ios16", x=x("fp16", 10, 8), begin=x("int32", 2), size=i([3, 4]))
    case("slice_by_size", "ios16", x=x("fp16", 10, 8), begin=x("int32", 2), size=x("int32", 2))
    case("slice_by_size", "ios16", x=x("fp16", 10, 8), begin=i([1]), size=i([3]))


def joins():
    for axis in [0, 1, -1, -3, 2]:
        case("concat", "ios16", values=[x("fp16", 2, 3), x("fp16", 2, 3)], axis=i(axis))
        case("stack", "ios16", values=[x("fp16", 2, 3), x("fp16", 2, 3)], axis=i(axis))
    case("concat", "ios16", values=[x("fp16", 2, 3), x("fp16", 2, 4), x("fp16", 2, 5)], axis=i(1))
    case("concat", "ios16", values=[x("fp16", 2, 3), x("fp16", 3, 3)], axis=i(1))
    case("concat", "ios16", values=[x("fp16", 2, "?"), x("fp16", 2, 4)], axis=i(1))
    case("concat", "ios16", values=[x("fp16", "?", 3), x("fp16", 2, 4)], axis=i(1))
    case("concat", "ios16", values=[x("fp16", 2, 3), x("fp32", 2, 3)], axis=i(1))
    case("concat", "ios16", values=[x("fp16", 2, 3), x("fp16", 2, 3)], axis=i(0), interleave=b(True))
    case("concat", "ios16", values=[x("fp16", 2, 3), x("fp16", 4, 3)], axis=i(0), interleave=b(True))
    case("concat", "ios16", values=[x("fp16", 2, 3)], axis=i(0))
    case("concat", "ios16", values=[x("fp16", 2, 3), x("fp16", 2)], axis=i(0))
    case("stack", "ios16", values=[x("fp16", 2, 3), x("fp16", 2, 4)], axis=i(0))
    case("stack", "ios16", values=[x("fp16", 2, "?"), x("fp16", 2, 4)], axis=i(0))
    for args in [{"num_splits": i(3)}, {"num_splits": i(4)}, {"split_sizes": i([1, 5])}, {"split_sizes": i([1, 2, 3]), "num_splits": i(3)}, {}]:
        for axis in [1, -1]:
            case("split", "ios16", x=x("fp16", 2, 6), axis=i(axis), **args)
            case("split", "ios18", x=x("int8", 2, 6), axis=i(axis), **args)
    for reps in [[2, 3], [1, 1], [0, 1], [2], [1, 2, 3]]:
        case("tile", "ios16", x=x("fp16", 2, "?"), reps=i(reps))
    case("tile", "ios16", x=x("fp16", 2, 3), reps=x("int32", 2))
    for pad in [[1, 2, 3, 4], [1, 2], [0, 0, 0, 0], [-1, 0], [1, 1, 1, 1, 1, 1], [1]]:
        for mode in ["constant", "reflect", "replicate", "wrap"]:
            case("pad", "ios16", x=x("fp16", 5, 6), pad=i(pad), mode=s(mode), constant_val=c("fp16", 0.0))
    case("pad", "ios16", x=x("fp16", 5, 6), pad=x("int32", 4), mode=s("constant"), constant_val=c("fp16", 0.0))
    case("pad", "ios16", x=x("fp16", 5, 6), pad=x("int32", 2), mode=s("constant"), constant_val=c("fp16", 0.0))
    case("pad", "ios18", x=x("int32", 5, 6), pad=i([1, 1]), constant_val=c("int32", 0))


def others():
    for value in [c("fp16", 1.0), c("int32", 1), b(True)]:
        case("fill", "ios16", shape=i([2, 3]), value=value)
        case("fill_like", ("ios15", "ios16"), ref_tensor=x("int32", 2, "?"), value=value)
    case("fill", "ios16", shape=x("int32", 3), value=c("fp16", 1.0))
    for start, end, step in [(0, 10, 3), (5, 0, -2), (0, 9, 3)]:
        case("range_1d", "ios16", start=i(start), end=i(end), step=i(step))
        case("range_1d", "ios16", start=c("fp32", start), end=c("fp32", end), step=c("fp32", step))
    case("range_1d", "ios16", start=i(0), end=c("fp32", 2.0), step=i(1))
    for axis in [None, 0, 1, -1, -3, -4, 3]:
        args = {} if axis is None else {"axis": i(axis)}
        case("one_hot", "ios16", indices=x("int32", 2, "?"), one_hot_vector_size=i(7), on_value=c("fp16", 1.0), off_value=c("fp16", 0.0), **args)
    case("one_hot", "ios16", indices=x("int32", 2), one_hot_vector_size=i(7))
    case("one_hot", "ios16", indices=x("int32", 2), one_hot_vector_size=i(7), on_value=c("fp16", 1.0), off_value=c("int32", 0))
    for dtype in ["fp16", "int32", "bool", "int8"]:
        case("band_part", ALL, x=x(dtype, 4, 4), lower=i(-1), upper=i(0))
        case("cumsum", ALL, x=x(dtype, 4, 4), axis=i(1), exclusive=b(False), reverse=b(True))
        case("topk", x=x(dtype, 4, 5), k=i(2), axis=i(0), ascending=b(False))
        case("argsort", "ios16", x=x(dtype, 4, 5), axis=i(0))
    for k in [1, 5, 6]:
        case("topk", "ios16", x=x("fp16", 4, 5), k=i(k), axis=i(-1))
    case("topk", x=x("fp16", 4, 5), k=i(2), return_indices=b(False))
    case("topk", x=x("fp16", 4, 5), k=i(2), sort=b(False))
    for dtype in ["int32", "uint16", "int16"]:
        case("topk", NEW, x=x("fp16", 4, 5), k=i(2), output_indices_dtype=s(dtype))
    for op, source, args in [
        ("quantize", "fp16", {"output_dtype": s("int8")}), ("quantize", "fp16", {"output_dtype": s("uint8")}),
        ("quantize", "fp16", {"output_dtype": s("int32")}), ("dequantize", "int8", {}), ("dequantize", "uint8", {}), ("dequantize", "int32", {}),
    ]:
        zero = "uint8" if source == "uint8" or args.get("output_dtype", {}).get("values") == ["uint8"] else "int8"
        case(op, ALL, input=x(source, 2, 3), scale=c("fp16", 0.5), **args)
        case(op, ALL, input=x(source, 2, 3), scale=c("fp32", 0.5), **args)
        case(op, "ios17", input=x(source, 2, 3), scale=c("fp16", 0.5), zero_point=c(zero, 1), **args)
        case(op, "ios17", input=x(source, 2, 3), scale=c("fp16", [0.5] * 3), zero_point=c(zero, [1] * 3), axis=i(1), **args)
        case(op, "ios17", input=x(source, 2, 3), scale=c("fp16", [0.5] * 2), axis=i(1), **args)
        case(op, "ios17", input=x(source, 2, 3), scale=c("fp16", [0.5] * 3), **args)
        case(op, "ios17", input=x(source, 2, 3), scale=c("fp16", 0.5), axis=i(1), **args)
        case(op, "ios17", input=x(source, 2, 3), scale=c("fp16", [0.5] * 3), zero_point=c(zero, 1), axis=i(1), **args)


def compressed():
    for scale, zero in [((), ()), ((3,), (3,)), ((3,), ()), ((4,), ()), ((3, 1), ())]:
        for dtype, z in [("int8", "int8"), ("uint8", "uint8"), ("int8", "fp32"), ("int32", "int8")]:
            case("constexpr_affine_dequantize", ("ios15", "ios16", "ios18"), quantized_data=zeros(dtype, 3, 4), zero_point=zeros(z, *zero), scale=zeros("fp16", *scale), axis=i(0))
    case("constexpr_affine_dequantize", "ios16", quantized_data=zeros("int8", 3, 4), zero_point=zeros("int8"), scale=zeros("fp16"), axis=i(2))
    for dtype in ["fp32", "fp16", "int32"]:
        case("constexpr_cast", ALL, source_val=zeros("fp16", 3, 4), output_dtype=s(dtype))
    for entries, count in [(2, 3), (4, 5), (16, 10), (64, 15), (256, 20), (8, 8), (4, 6)]:
        case("constexpr_lut_to_dense", "ios16", indices=zeros("uint8", count), lut=zeros("fp16", entries), shape=c("uint32", [4, 5]))
    for mask, values in [([0b101, 0b1], 3), ([0b101, 0b1], 4), ([0b101], 2), ([0b101, 0b10000000], 3)]:
        case("constexpr_sparse_to_dense", "ios16", nonzero_data=zeros("fp16", values), mask=c("uint8", mask), shape=c("uint32", [3, 4]))
    for scale, offset in [((3, 4), None), ((3, 1), (3, 1)), ((1, 2), None), ((2, 1), None), ((3,), None), ((3, 1), (1, 1)), ((1, 1), (1, 1))]:
        for dtype, z in [("int8", "int8"), ("int4", "int4"), ("uint4", "uint4"), ("int4", "fp16"), ("int4", "int8"), ("fp16", "fp16")]:
            args = {} if offset is None else {"offset": zeros(z, *offset)}
            case("constexpr_blockwise_shift_scale", ("ios17", "ios18"), data=zeros(dtype, 3, 4), scale=zeros("fp16", *scale), **args)
    for dtype, entries in [("uint1", 2), ("uint2", 4), ("uint3", 8), ("uint4", 16), ("uint6", 64), ("uint8", 256), ("uint4", 4), ("int4", 16)]:
        for groups in [(1, 1), (3, 1), (1, 2), (2, 1), (1,)]:
            case("constexpr_lut_to_dense", "ios18", indices=zeros(dtype, 3, 4), lut=zeros("fp16", *groups, entries, 1))
    for axis in [None, 0, 1, -1, 2]:
        args = {} if axis is None else {"vector_axis": i(axis)}
        case("constexpr_lut_to_dense", "ios18", indices=zeros("uint2", 3, 4), lut=zeros("int8", 1, 1, 4, 2), **args)
        mask = c("uint1", [[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]])
        case("constexpr_lut_to_sparse", "ios18", indices_mask=mask, indices_nonzero_data=zeros("uint2", 5), lut=zeros("fp16", 1, 1, 4, 2), **args)
        case("constexpr_lut_to_sparse", "ios18", indices_mask=mask, indices_nonzero_data=zeros("uint2", 5), lut=zeros("fp16", 1, 1, 4, 1), **args)
    for values in [5, 6]:
        mask = c("uint1", [[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]])
        for dtype in ["fp16", "int8", "int4", "int32"]:
            case("constexpr_sparse_to_dense", "ios18", nonzero_data=zeros(dtype, values), mask=mask)
            case("constexpr_sparse_blockwise_shift_scale", "ios18", data_mask=mask, nonzero_data=zeros(dtype, values), scale=zeros("fp16", 3, 1))


for family in [linear, matmul, einsum, attention, conv, norms, unary, binary, reductions, gathers, shapes, slices, joins, others, compressed]:
    family()

sys.stdout.write("[\n")
for position, entry in enumerate(CASES):
    entry["result"] = answer(**entry)
    sys.stdout.write((",\n" if position else "") + json.dumps(entry))
sys.stdout.write("\n]\n")
