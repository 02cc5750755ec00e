"""Packages that are not one op after another: a classifier, flexible shapes, several functions, every dtype of const."""

import json
import tempfile
from pathlib import Path

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

from foreign_cases.case import integers, normal
from foreign_cases.linear import softmax
from foreign_packages import convert, save_tensors


def one_function(inputs, target, body):
    """A program with one function; `body` gets its inputs and gives its outputs."""
    program = Program()
    with Function(inputs, opset_version=target) as function:
        function.set_outputs(body(**function.inputs))
        program.add_function("main", function)
    return program


def named(var, name):
    var.name = name
    return var


def record(out, name, tensors, ops):
    save_tensors(out / f"{name}.safetensors", tensors, {"ops": json.dumps(ops, sort_keys=True)})
    return {"package": name, "cases": len(ops), "agreed_with_coremltools": 0, "ops": sorted(set(ops.values()))}


def classifier(out):
    """A label and a dictionary of probabilities; recorded as the probabilities in class order and the winner's index."""
    name, labels = "classifier-ios16-fp32", ["negative", "neutral", "positive"]
    weight, x = normal("classifier_w", 3, 12), normal("classifier", 1, 12)

    def body(x):
        logits = mb.linear(x=x, weight=weight.astype(np.float32), bias=np.zeros(3, np.float32))
        return [named(mb.softmax(x=logits, axis=-1), "probabilities")]

    program = one_function({"x": mb.placeholder(shape=(1, 12), dtype=types.fp32)}, ct.target.iOS16, body)
    config = ct.ClassifierConfig(labels, predicted_feature_name="label")
    convert(program, ct.target.iOS16, out / f"{name}.mlpackage", classifier_config=config)
    probabilities = softmax(x.astype(np.float32) @ weight.astype(np.float32).T, -1)
    return record(
        out,
        name,
        {"input.x": x, "output.label_probs": probabilities[0], "output.label_index": np.array(probabilities.argmax())},
        {"label_probs": "classify", "label_index": "classify"},
    )


def flexible(out, name, dimension, lengths):
    """Two lengths of one package whose sequence dimension is not fixed."""
    table, weight = normal("flexible_table", 20, 8), normal("flexible_w", 6, 8)

    def body(ids):
        h = mb.gather(x=table.astype(np.float32), indices=ids, axis=0)
        y = mb.linear(x=h, weight=weight.astype(np.float32), bias=np.zeros(6, np.float32))
        return [named(mb.reduce_mean(x=y, axes=[1], keep_dims=False), "mean"), named(mb.softmax(x=y, axis=-1), "each")]

    from coremltools.converters.mil.mil import get_new_symbol

    program = one_function({"ids": mb.placeholder(shape=(1, get_new_symbol()), dtype=types.int32)}, ct.target.iOS17, body)
    inputs = [ct.TensorType(name="ids", shape=dimension, dtype=np.int32)]
    convert(program, ct.target.iOS17, out / f"{name}.mlpackage", inputs=inputs)
    tensors, ops = {}, {}
    for length in lengths:
        ids = integers(f"flexible{length}", 1, length, low=0, high=20)
        y = table.astype(np.float32).astype(np.float64)[ids] @ weight.astype(np.float32).astype(np.float64).T
        tensors |= {f"length{length}.input.ids": ids, f"length{length}.output.mean": y.mean(1), f"length{length}.output.each": softmax(y, -1)}
        ops |= {f"length{length}.mean": "reduce_mean", f"length{length}.each": "softmax"}
    return record(out, name, tensors, ops)


def enumerated_shapes(out):
    shapes = ct.EnumeratedShapes(shapes=[(1, 16), (1, 8), (1, 32)], default=(1, 16))
    return flexible(out, "enumerated-ios17-fp32", shapes, [8, 16, 32])


def range_shapes(out):
    return flexible(out, "range-ios17-fp32", ct.Shape(shape=(1, ct.RangeDim(2, 64, default=16))), [5, 64])


def functions(out):
    """Two functions with one weight in common, stored once."""
    name = "functions-ios18-fp16"
    weight = normal("functions_w", 9, 24).astype(np.float16)
    x = normal("functions", 4, 24).astype(np.float16)

    def program(scale):
        def body(x):
            y = mb.linear(x=x, weight=weight, bias=np.zeros(9, np.float16))
            return [named(mb.mul(x=y, y=np.float16(scale)), "y")]

        return one_function({"x": mb.placeholder(shape=x.shape, dtype=types.fp16)}, ct.target.iOS18, body)

    with tempfile.TemporaryDirectory() as tmp:
        descriptor = ct.utils.MultiFunctionDescriptor()
        for key, scale in [("plain", 1), ("double", 2)]:
            convert(program(scale), ct.target.iOS18, Path(tmp) / f"{key}.mlpackage")
            descriptor.add_function(str(Path(tmp) / f"{key}.mlpackage"), "main", key)
        descriptor.default_function_name = "plain"
        ct.utils.save_multifunction(descriptor, str(out / f"{name}.mlpackage"))
    y = x.astype(np.float64) @ weight.astype(np.float64).T
    tensors = {f"{key}.{k}": v for key, s in [("plain", 1), ("double", 2)] for k, v in [("input.x", x), ("output.y", s * y)]}
    return record(out, name, tensors, {"plain.y": "linear", "double.y": "mul"})


def const_dtypes(out):
    """Consts of every integer type an iOS 18 package may hold, inline and in the file, read through a cast to int32."""
    name = "consts-ios18-fp32"
    ranges = {
        "int8": (-128, 128),
        "uint8": (0, 256),
        "int16": (-(2**15), 2**15),
        "uint16": (0, 2**16),
        "int32": (-(2**31), 2**31 - 1),
    }
    x = np.zeros(1, np.int32)
    expected = {}

    def body(x):
        outputs = []
        for dtype, (low, high) in ranges.items():
            for size in (3, 33):
                key = f"{dtype}_{size}"
                expected[key] = integers(key, size, low=low, high=high)
                value = mb.const(val=expected[key].astype(dtype))
                value = value if dtype == "int32" else mb.cast(x=value, dtype="int32")
                outputs.append(named(mb.add(x=value, y=x), key))
        flags = integers("bools", 21, low=0, high=2)
        expected["bool_21"] = flags
        outputs.append(named(mb.add(x=mb.cast(x=mb.const(val=flags.astype(bool)), dtype="int32"), y=x), "bool_21"))
        return outputs

    program = one_function({"x": mb.placeholder(shape=x.shape, dtype=types.int32)}, ct.target.iOS18, body)
    convert(program, ct.target.iOS18, out / f"{name}.mlpackage")
    tensors = {"input.x": x} | {f"output.{k}": v for k, v in expected.items()}
    return record(out, name, tensors, {k: "const" for k in expected})


SPECIALS = [classifier, enumerated_shapes, range_shapes, functions, const_dtypes]
