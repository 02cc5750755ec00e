# /// script
# requires-python = ">=3.11"
# dependencies = ["coremltools==9.0", "numpy<2.4"]
# ///
"""Executes a package with numpy, as Apple's reader understands it, against PyTorch's recorded outputs.

    python conformance/execute.py PACKAGE --expected RECORDED.safetensors [--precision f32|as-written] [--max-abs X] [--min-psnr DB]

The program is loaded by coremltools (Apple's names, types and weights) and every operation is computed with numpy, so
neither corer's reader nor its runtime has a part in it. `f32` computes in single precision throughout; `as-written` rounds
every result to the type the program declares. For small packages: it is slow. Exits with 1 when a limit is missed.
"""

import argparse
import json
import logging
import math
import struct
import sys

logging.disable(logging.WARNING)

import numpy as np
from coremltools.converters.mil.frontend.milproto import load as milproto
from coremltools.converters.mil.mil import types
from coremltools.models.utils import load_spec

erf = np.vectorize(math.erf, otypes=[np.float32])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def gelu(op, v):
    x = v(op.x)
    if op.mode.val == "EXACT":
        return 0.5 * x * (1 + erf(x / np.float32(math.sqrt(2))))
    return 0.5 * x * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))


def conv(op, v):
    """Along the last axis, the others untouched: dense layers, and convolutions over tokens."""
    x, w, groups = v(op.x), v(op.weight), int(op.groups.val)
    assert all(size == 1 for size in w.shape[2:-1]) and all(s == 1 for s in op.strides.val), "one axis, stride 1"
    if op.pad_type.val == "custom":
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [tuple(int(p) for p in op.pad.val[-2:])])
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[-1], axis=-1)
    parts = zip(np.split(windows, groups, 1), np.split(w.reshape(*w.shape[:2], w.shape[-1]), groups, 0))
    y = np.concatenate([np.einsum("oik,bi...k->bo...", part, window, optimize=True) for window, part in parts], 1)
    return y if op.bias is None else y + v(op.bias).reshape(1, -1, *[1] * (x.ndim - 2))


def layer_norm(op, v):
    x = v(op.x)
    axes = tuple(int(a) % x.ndim for a in op.axes.val)
    mean = x.mean(axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axes, keepdims=True)
    shape = [x.shape[i] if i in axes else 1 for i in range(x.ndim)]
    y = (x - mean) / np.sqrt(var + np.float32(op.epsilon.val))
    y = y if op.gamma is None else y * v(op.gamma).reshape(shape)
    return y if op.beta is None else y + v(op.beta).reshape(shape)


def attention(op, v):
    q, k = v(op.query), v(op.key)
    scores = q @ k.swapaxes(-1, -2) / np.float32(math.sqrt(q.shape[-1]))
    return softmax(scores + (v(op.attn_mask) if op.attn_mask is not None else 0), -1) @ v(op.value)


def slice_by_index(op, v):
    x = v(op.x)
    begin, end = op.begin.val, op.end.val
    whole = [m.val if m is not None else [False] * x.ndim for m in (op.begin_mask, op.end_mask)]
    cuts = [slice(None if whole[0][i] else int(begin[i]), None if whole[1][i] else int(end[i])) for i in range(x.ndim)]
    return x[tuple(cuts)]


def matmul(op, v):
    x, y = v(op.x), v(op.y)
    return (x.swapaxes(-1, -2) if op.transpose_x.val else x) @ (y.swapaxes(-1, -2) if op.transpose_y.val else y)


def linear(op, v):
    y = v(op.x) @ v(op.weight).T
    return y if op.bias is None else y + v(op.bias)


def reduce(function):
    return lambda op, v: function(v(op.x), tuple(int(a) for a in op.axes.val), bool(op.keep_dims.val))


def unary(function):
    return lambda op, v: function(v(op.x))


def binary(function):
    return lambda op, v: function(v(op.x), v(op.y))


RULES = {
    "conv": conv,
    "layer_norm": layer_norm,
    "scaled_dot_product_attention": attention,
    "slice_by_index": slice_by_index,
    "matmul": matmul,
    "linear": linear,
    "gelu": gelu,
    "cast": lambda op, v: v(op.x).astype(np.float32 if op.dtype.val.startswith("fp") else np.int32),
    "gather": lambda op, v: v(op.x)[v(op.indices)],
    "softmax": lambda op, v: softmax(v(op.x), int(op.axis.val)),
    "transpose": lambda op, v: v(op.x).transpose([int(i) for i in op.perm.val]),
    "reshape": lambda op, v: v(op.x).reshape([int(i) for i in op.shape.val]),
    "expand_dims": lambda op, v: v(op.x).reshape(op.outputs[0].shape),
    "squeeze": lambda op, v: v(op.x).reshape(op.outputs[0].shape),
    "einsum": lambda op, v: np.einsum(op.equation.val, *[v(x) for x in op.values], optimize=True),
    "concat": lambda op, v: np.concatenate([v(x) for x in op.values], int(op.axis.val)),
    "split": lambda op, v: np.split(v(op.x), int(op.num_splits.val), int(op.axis.val)),
    "cumsum": lambda op, v: v(op.x).cumsum(int(op.axis.val), dtype=v(op.x).dtype),
    "not_equal": lambda op, v: v(op.x) != v(op.y),
    "reduce_sum": reduce(lambda x, axes, keep: x.sum(axes, keepdims=keep)),
    "reduce_max": reduce(lambda x, axes, keep: x.max(axes, keepdims=keep)),
    "reduce_l2_norm": reduce(lambda x, axes, keep: np.sqrt((x**2).sum(axes, keepdims=keep))),
    "tanh": unary(np.tanh),
    "relu": unary(lambda x: np.maximum(x, 0)),
    "sigmoid": unary(sigmoid),
    "silu": unary(lambda x: x * sigmoid(x)),
    "sqrt": unary(np.sqrt),
    "identity": unary(lambda x: x),
    "add": binary(np.add),
    "sub": binary(np.subtract),
    "mul": binary(np.multiply),
    "real_div": binary(np.divide),
    "maximum": binary(np.maximum),
}


def load_tensors(path):
    """The tensors of a safetensors file, which is a header of JSON and bytes."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    dtypes = {"F32": np.float32, "I32": np.int32}
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def run(function, inputs, as_written):
    values = dict(inputs)

    def value(var):
        if var.name in values:
            return values[var.name]
        array = np.asarray(var.val)
        return array.astype(np.float32) if array.dtype.kind == "f" else array

    for op in function.operations:
        if op.op_type == "const":
            continue
        results = RULES[op.op_type](op, value)
        for var, result in zip(op.outputs, results if isinstance(results, (tuple, list)) else [results]):
            if as_written and var.dtype == types.fp16:
                result = result.astype(np.float16).astype(np.float32)
            assert tuple(result.shape) == tuple(var.shape), (op.name, result.shape, var.shape)
            values[var.name] = result
    return {var.name: value(var) for var in function.outputs}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("package")
    parser.add_argument("--expected", required=True)
    parser.add_argument("--precision", choices=["f32", "as-written"], default="f32")
    parser.add_argument("--max-abs", type=float)
    parser.add_argument("--min-psnr", type=float)
    arguments = parser.parse_args()

    spec = load_spec(arguments.package)
    weights = arguments.package.rstrip("/") + "/Data/com.apple.CoreML/weights"
    function = milproto.load(spec, spec.specificationVersion, weights).functions["main"]
    recorded = load_tensors(arguments.expected)
    rows = recorded["input.input_ids"].shape[0]
    length = function.inputs["input_ids"].shape[1]
    mask = recorded["input.attention_mask"].astype(bool)
    found = {}
    for row in range(rows):
        inputs = {name: recorded[f"input.{name}"][row : row + 1] for name in function.inputs}
        assert inputs["input_ids"].shape[1] == length, "recorded at another length"
        for name, result in run(function, inputs, arguments.precision == "as-written").items():
            found.setdefault(name, []).append(result[0])
    failed = False
    for name, results in found.items():
        wanted, got = recorded[f"output.{name}"], np.stack(results)
        finite = bool(np.isfinite(got).all())
        if wanted.ndim >= 2 and wanted.shape[:2] == mask.shape:
            wanted, got = wanted[mask], got[mask]
        error = np.abs(wanted.astype(np.float64) - got)
        mse = float((error**2).mean())
        psnr = float("inf") if mse == 0 else float(10 * np.log10(np.abs(wanted).max() ** 2 / mse))
        verdict = {"output": name, "max_abs": float(error.max()), "psnr": round(psnr, 2), "finite": finite}
        print(json.dumps(verdict))
        failed |= not finite
        failed |= arguments.max_abs is not None and error.max() > arguments.max_abs
        failed |= arguments.min_psnr is not None and psnr < arguments.min_psnr
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
