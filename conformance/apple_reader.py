# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["coremltools==9.0", "numpy==2.3.5"]
# ///
"""Reads packages the way Apple's tools do, and says whether they are what they say they are.

    .cache/venv-reader/bin/python conformance/apple_reader.py X.mlpackage… [--expect EXPECT.json]

Each package goes through libmodelpackage (the manifest), protobuf (the model) and milproto.load (op names, required inputs,
type and shape inference, the blobs), all of coremltools 9.0. milproto lets some wrong packages through, so this also compares

- every value's declared type with the inferred one, consts and constexprs too;
- the model description with the function: names, shapes, dtypes;
- the opset with the specification version.

Prints one line of JSON a package: what was read, `ok`, and `errors`. Exits 1 when any package has an error. EXPECT.json
holds the parts of that line that must be so, for every package named: objects are compared key by key, all else must be equal.
"""

import argparse
import collections
import json
import logging
import sys
from pathlib import Path

logging.disable(logging.WARNING)

import coremltools as ct  # noqa: E402
from coremltools import proto  # noqa: E402
from coremltools.converters.mil.frontend.milproto import load as milproto  # noqa: E402
from coremltools.converters.mil.frontend.milproto.helper import proto_to_types  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402
from coremltools.converters.mil.mil.types.symbolic import is_symbolic  # noqa: E402
from coremltools.libmodelpackage import ModelPackage  # noqa: E402

OPSETS = {6: "CoreML5", 7: "CoreML6", 8: "CoreML7", 9: "CoreML8", 10: "CoreML9"}

# ArrayFeatureType.ArrayDataType as MIL writes it.
ARRAY_DTYPES = {65568: "fp32", 65552: "fp16", 65600: "fp64", 131104: "int32", 131080: "int8"}


def plain_type(t):
    """A MIL type as JSON. A scalar is a tensor of rank 0; a dimension that is not known is null."""
    if types.is_state(t):
        return {"kind": "state"} | plain_type(t.wrapped_type())
    if types.is_tensor(t):
        shape = [None if is_symbolic(d) or d < 0 else int(d) for d in t.get_shape()]
        return {"dtype": types.builtin_to_string(t.get_primitive()), "shape": shape}
    if types.is_dict(t):
        return {"kind": "dict", "key": plain_type(t.T[0]), "value": plain_type(t.T[1])}
    if types.is_list(t):
        return {"kind": "list"}
    return {"dtype": types.builtin_to_string(t), "shape": []}


def plain_feature(feature):
    """A model description's feature in the same form, with what it says about flexible shapes."""
    kind = feature.type.WhichOneof("Type")
    if kind == "multiArrayType":
        array = feature.type.multiArrayType
        out = {"dtype": ARRAY_DTYPES.get(array.dataType, f"unknown {array.dataType}"), "shape": list(array.shape)}
        flexible = array.WhichOneof("ShapeFlexibility")
        if flexible == "enumeratedShapes":
            out["enumerated"] = [list(s.shape) for s in array.enumeratedShapes.shapes]
        elif flexible == "shapeRange":
            out["range"] = [[r.lowerBound, r.upperBound] for r in array.shapeRange.sizeRanges]
        if feature.type.isOptional:
            out["optional"] = True
        return out
    if kind == "stringType":
        return {"dtype": "string", "shape": []}
    if kind == "int64Type":
        return {"dtype": "int64", "shape": []}
    if kind == "dictionaryType":
        return {"kind": "dict", "key": feature.type.dictionaryType.WhichOneof("KeyType")}
    if kind == "stateType":
        array = feature.type.stateType.arrayType
        return {"kind": "state", "dtype": ARRAY_DTYPES.get(array.dataType), "shape": list(array.shape)}
    return {"kind": kind}


def agrees(described, inferred):
    """None when a described feature is what the function has, else why not."""
    for key in ("kind", "dtype"):
        if described.get(key) != inferred.get(key):
            return f"{key} {described.get(key)} is described, the function has {inferred.get(key)}"
    if "shape" not in inferred:
        return None
    have = inferred["shape"]
    shapes = described.get("enumerated") or [described["shape"]]
    if not shapes[0] and None in have:
        return None  # the shape of a value with an unknown dimension is left out
    for shape in shapes:
        if len(shape) != len(have) or any(h is not None and h != s for s, h in zip(shape, have)):
            return f"shape {shape} is described, the function has {have}"
    for axis, bounds in enumerate(described.get("range", [])):
        if have[axis] is not None and bounds != [have[axis], have[axis]]:
            return f"axis {axis} ranges over {bounds}, the function has {have[axis]}"
    flexible = "range" in described or len(shapes) > 1
    if None in have and not flexible:
        return f"the function has {have}, the description no flexible shape"
    return None


def values_of(block):
    """Every operation of a PyMIL block and of the blocks inside its operations."""
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from values_of(inner)


def declared_outputs(block):
    for op in block.operations:
        for out in op.outputs:
            yield op.type, out
        for inner in op.blocks:
            yield from declared_outputs(inner)


def check_function(name, spec, function, described, version):
    """What a function holds, and what is wrong with it."""
    errors = []
    if spec.opset != OPSETS[version]:
        errors.append(f"{name}: opset {spec.opset} in a model of specification version {version}, which has {OPSETS[version]}")

    inferred = {v.name: plain_type(v.sym_type) for op in values_of(function) for v in op.outputs}
    inputs = {k: plain_type(v.sym_type) for k, v in function.inputs.items()}
    outputs = {v.name: plain_type(v.sym_type) for v in function.outputs}

    for op_type, out in declared_outputs(spec.block_specializations[spec.opset]):
        declared = plain_type(proto_to_types(out.type))
        if out.name in inferred and declared != inferred[out.name]:
            errors.append(f"{name}/{out.name} ({op_type}): declared as {declared}, inferred as {inferred[out.name]}")

    sides = [
        ("input", {f.name: plain_feature(f) for f in [*described.input, *described.state]}, inputs),
        ("output", {f.name: plain_feature(f) for f in described.output}, outputs),
    ]
    for side, features, have in sides:
        for missing in sorted(set(have) - set(features)):
            errors.append(f"{name}: {side} {missing} is not in the model description")
        for extra in sorted(set(features) - set(have)):
            errors.append(f"{name}: {side} {extra} is described, but the function does not have it")
        for key in features:
            if key in have and (why := agrees(features[key], have[key])):
                errors.append(f"{name}: {side} {key}: {why}")

    report = {
        "opset": spec.opset,
        "description": {side + "s": features for side, features, _ in sides},
        "inputs": inputs,
        "outputs": outputs,
        "ops": dict(sorted(collections.Counter(op.op_type for op in values_of(function)).items())),
    }
    return report, errors


def read(path):
    """One package as a report with `ok` and `errors`."""
    if not (path / "Manifest.json").is_file():  # libmodelpackage would make an empty package there
        return {}, ["no Manifest.json"]
    package = ModelPackage(str(path))
    root = Path(package.getRootModel().path())
    spec = proto.Model_pb2.Model()
    spec.ParseFromString(root.read_bytes())
    report = {"specification_version": spec.specificationVersion}
    errors = []
    if spec.specificationVersion not in OPSETS:
        return report, [f"specification version {spec.specificationVersion} has no ML Program opset"]

    program = milproto.load(spec, spec.specificationVersion, str(root.parent / "weights"))
    description = spec.description
    if description.functions:
        described = {f.name: f for f in description.functions}
        report["default_function"] = description.defaultFunctionName
        if description.defaultFunctionName not in program.functions:
            errors.append(f"the default function {description.defaultFunctionName!r} does not exist")
        if description.input or description.output:
            errors.append("inputs or outputs beside functions in the model description")
    else:
        described = {"main": description}
    for name in sorted(set(described) ^ set(program.functions)):
        errors.append(f"function {name} is in one of program and description only")

    if description.predictedFeatureName:
        report["classifier"] = [description.predictedFeatureName, description.predictedProbabilitiesName]
    report["metadata"] = {
        "author": description.metadata.author,
        "license": description.metadata.license,
        "short_description": description.metadata.shortDescription,
        "version": description.metadata.versionString,
        "user_defined": dict(sorted(description.metadata.userDefined.items())),
    }
    report["functions"] = {}
    for name, function in sorted(program.functions.items()):
        if name in described:
            function_spec = spec.mlProgram.functions[name]
            facts, wrong = check_function(name, function_spec, function, described[name], spec.specificationVersion)
            report["functions"][name] = facts
            errors += wrong
    return report, errors


def unmet(expected, found, where=""):
    """The places where an expectation does not hold."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key not in found:
                yield f"expected {where}/{key}, which is absent"
            else:
                yield from unmet(value, found[key], f"{where}/{key}")
    elif expected != found:
        yield f"expected {where} to be {json.dumps(expected)}, it is {json.dumps(found)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="+", type=Path)
    parser.add_argument("--expect", type=Path, metavar="JSON", help="what every package's report must contain")
    args = parser.parse_args()
    expected = json.loads(args.expect.read_text()) if args.expect else {}

    failed = False
    for path in args.packages:
        try:
            report, errors = read(path)
        except Exception as error:  # whatever Apple's reader raises is its reason to refuse the package
            report, errors = {}, [f"not loadable: {type(error).__name__}: {error}"]
        errors += list(unmet(expected, report))
        failed |= bool(errors)
        print(json.dumps({"package": str(path), "ok": not errors, "errors": errors, "reader": ct.__version__, **report}))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
