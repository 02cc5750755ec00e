"""Shows that apple_reader.py refuses what is wrong: every case breaks one thing in a good package.

    .cache/venv-reader/bin/python conformance/apple_reader_test.py
"""

import shutil
import sys
import tempfile
from pathlib import Path

import apple_reader
import coremltools as ct
import numpy as np
from coremltools import proto
from coremltools.converters.mil import Builder as mb


def good(path):
    @mb.program(input_specs=[mb.TensorSpec((1, 4, 8))], opset_version=ct.target.iOS17)
    def program(x):
        weight = np.arange(128, dtype=np.float32).reshape(16, 8)
        y = mb.linear(x=x, weight=weight, bias=np.ones(16, np.float32), name="lin")
        return mb.softmax(x=y, axis=-1, name="out")

    ct.convert(
        program, minimum_deployment_target=ct.target.iOS17, skip_model_load=True, compute_precision=ct.precision.FLOAT32
    ).save(str(path))


def operation(spec, op_type):
    function = spec.mlProgram.functions["main"]
    return next(o for o in function.block_specializations[function.opset].operations if o.type == op_type)


def weight(spec):
    function = spec.mlProgram.functions["main"]
    ops = function.block_specializations[function.opset].operations
    return next(o for o in ops if o.type == "const" and o.attributes["val"].WhichOneof("value") == "blobFileValue")


def wrong_description_shape(spec):
    spec.description.output[0].type.multiArrayType.shape[2] = 15


def wrong_description_dtype(spec):
    spec.description.input[0].type.multiArrayType.dataType = 65552


def wrong_description_name(spec):
    spec.description.output[0].name = "elsewhere"


def wrong_opset(spec):
    function = spec.mlProgram.functions["main"]
    function.block_specializations["CoreML6"].CopyFrom(function.block_specializations["CoreML7"])
    function.opset = "CoreML6"


def wrong_declared_output(spec):
    operation(spec, "softmax").outputs[0].type.tensorType.dimensions[2].constant.size = 17


def wrong_declared_const(spec):
    dims = weight(spec).outputs[0].type.tensorType.dimensions
    dims[0].constant.size, dims[1].constant.size = 8, 16


def unknown_op(spec):
    operation(spec, "softmax").type = "softermax"


def missing_input(spec):
    del operation(spec, "linear").inputs["weight"]


def blob_outside(spec):
    weight(spec).attributes["val"].blobFileValue.offset = 1 << 20


CASES = [
    (wrong_description_shape, "output out: shape"),
    (wrong_description_dtype, "input x: dtype"),
    (wrong_description_name, "is not in the model description"),
    (wrong_opset, "opset CoreML6"),
    (wrong_declared_output, "not loadable"),
    (wrong_declared_const, "inferred as"),
    (unknown_op, "softermax"),
    (missing_input, "not loadable"),
    (blob_outside, "not loadable"),
]


def main():
    with tempfile.TemporaryDirectory() as tmp:
        package = Path(tmp) / "good.mlpackage"
        good(package)
        report, errors = apple_reader.read(package)
        assert not errors, errors
        assert list(apple_reader.unmet({"functions": {"main": {"opset": "CoreML6"}}}, report)), "an expectation that fails"
        assert not list(apple_reader.unmet({"functions": {"main": {"opset": "CoreML7"}}}, report))
        for change, reason in CASES:
            broken = Path(tmp) / f"{change.__name__}.mlpackage"
            shutil.copytree(package, broken)
            model = broken / "Data/com.apple.CoreML/model.mlmodel"
            spec = proto.Model_pb2.Model()
            spec.ParseFromString(model.read_bytes())
            change(spec)
            model.write_bytes(spec.SerializeToString())
            try:
                _, errors = apple_reader.read(broken)
            except Exception as error:
                errors = [f"not loadable: {error}"]
            assert any(reason in e for e in errors), (change.__name__, errors)
            print(f"{change.__name__}: {errors[0][:100]}")
        shutil.rmtree(package / "Data")
        try:
            apple_reader.read(package)
            sys.exit("a package without data was read")
        except Exception as error:
            print(f"no data: {error}")


if __name__ == "__main__":
    main()
