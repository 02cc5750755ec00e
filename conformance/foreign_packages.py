# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["coremltools==9.0", "numpy==2.3.5"]
# ///
"""Writes packages with coremltools' own MIL builder, each with recorded inputs and the values they must give.

    .cache/venv-reader/bin/python conformance/foreign_packages.py -o conformance/foreign

For corer's reader and runtime, which must open and execute what they did not write. Every case (foreign_cases/) is one op in
a package of its family; expected values come from numpy formulas in f64, and where coremltools can evaluate the op itself
(value inference) its answer must agree, or the script fails. conformance/README.md describes the files.
"""

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path

logging.disable(logging.WARNING)

import coremltools as ct  # noqa: E402
import numpy as np  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import Function, Program, types  # noqa: E402

from foreign_cases import FAMILIES  # noqa: E402
from foreign_cases.case import OPSETS  # noqa: E402

TARGETS = {"ios15": ct.target.iOS15, "ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18}

NAMES = {np.float32: "fp32", np.float16: "fp16"}


def rounded(value, f):
    """Floats to the package's float type; integers stay."""
    value = np.asarray(value)
    return value.astype(f) if value.dtype.kind == "f" else value


def wide(value):
    value = np.asarray(value)
    return value.astype(np.float64) if value.dtype.kind == "f" else value


def as_tuple(value):
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def plain_output(var):
    """A model's output may be float or int32 only."""
    if var.dtype in (types.fp16, types.fp32, types.int32):
        return var
    return mb.cast(x=var, dtype="int32")


def expected_of(case, f):
    values = [wide(rounded(v, f)) for v in [*case.inputs.values(), *case.consts.values()]]
    results = [np.asarray(v) for v in as_tuple(case.expect(*values))]
    assert all(np.isfinite(v).all() for v in results), case.name
    return results


def evaluated(var):
    """What coremltools says a value is, or None. Constexprs it only decodes when asked."""
    if var.val is None and var.op.op_type == "add" and var.op.y.op.op_type.startswith("constexpr_"):
        try:
            return var.op.x.val + var.op.y.op.materialized_val_inference()
        except (AttributeError, TypeError):  # it does not follow every chain of constexprs
            return None
    return var.val


def check_inference(case, target):
    """Compares the case's formula with coremltools' own evaluation, where it has one."""
    if not case.infer:
        return False
    with Function({}, opset_version=target):
        consts = {k: mb.const(val=rounded(v, np.float32)) for k, v in {**case.inputs, **case.consts}.items()}
        try:
            found = as_tuple(case.build(np.float32, **consts))
        except Exception as error:
            raise RuntimeError(f"{case.name}: {error}") from error
    values = [evaluated(v) for v in found]
    if any(v is None for v in values):
        return False
    for value, want in zip(values, expected_of(case, np.float32), strict=True):
        np.testing.assert_allclose(np.asarray(value, np.float64), want, rtol=2e-5, atol=2e-6, err_msg=case.name)
    return True


def placeholder(value, f):
    dtype = {np.float32: types.fp32, np.float16: types.fp16}[f] if value.dtype.kind == "f" else types.int32
    return mb.placeholder(shape=value.shape, dtype=dtype)


def build(cases, target, f):
    """One program of many cases: `case.input` in, `case` or `case_N` out. Returns it with the names of each case's outputs."""
    inputs = {f"{c.name}_{k}": placeholder(rounded(v, f), f) for c in cases for k, v in c.inputs.items()}
    program = Program()
    outputs, names = [], {}
    with Function(inputs, opset_version=target) as function:
        for case in cases:
            values = {k: function.inputs[f"{case.name}_{k}"] for k in case.inputs}
            values |= {k: rounded(v, f) if np.ndim(v) else f(v) for k, v in case.consts.items()}
            made = [plain_output(v) for v in as_tuple(case.build(f, **values))]
            names[case.name] = [case.name + (f"_{i}" if len(made) > 1 else "") + "_out" for i in range(len(made))]
            for var, name in zip(made, names[case.name], strict=True):
                var.name = name
                outputs.append(var)
        function.set_outputs(outputs)
        program.add_function("main", function)
    return program, names


def save_tensors(path, tensors, metadata):
    """A safetensors file, by its format: u64 header length, JSON header, data. float64 becomes F32, integers I32."""
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors):
        value = np.asarray(tensors[name])
        value = value.astype(np.float32 if value.dtype.kind == "f" else np.int32)
        blob = np.ascontiguousarray(value).tobytes()
        header[name] = {
            "dtype": "F32" if value.dtype == np.float32 else "I32",
            "shape": list(value.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def convert(program, target, path, **more):
    # No passes: the ops reach the file as the builder made them, nothing folded or fused.
    model = ct.convert(
        program,
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
        **more,
    )
    model.save(str(path))


def write_family(out, family, opset, f):
    """One package of a family, its recorded values beside it, and what it holds."""
    index = OPSETS.index(opset)
    cases = [c for c in family.cases if OPSETS.index(c.since) <= index <= OPSETS.index(c.until)]
    name = f"{family.name}-{opset}-{NAMES[f]}"
    target = TARGETS[opset]
    checked = sorted(c.name for c in cases if check_inference(c, target))
    program, names = build(cases, target, f)
    convert(program, target, out / f"{name}.mlpackage")
    tensors = {}
    for case in cases:
        for key, value in case.inputs.items():
            tensors[f"input.{case.name}_{key}"] = rounded(value, f)
        for key, value in zip(names[case.name], expected_of(case, f), strict=True):
            tensors[f"output.{key}"] = value
    ops = {output: case.op for case in cases for output in names[case.name]}
    metadata = {"ops": json.dumps(ops, sort_keys=True)}
    save_tensors(out / f"{name}.safetensors", tensors, metadata)
    return {"package": name, "cases": len(cases), "agreed_with_coremltools": len(checked), "ops": sorted({c.op for c in cases})}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", help="only families whose name contains this")
    args = parser.parse_args()
    out = args.output
    if not args.only:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    from foreign_special import SPECIALS

    index = []
    for family in FAMILIES:
        if args.only and args.only not in family.name:
            continue
        for opset, f in family.variants:
            entry = write_family(out, family, opset, f)
            index.append(entry)
            print(entry["package"], entry["cases"], "cases,", entry["agreed_with_coremltools"], "agreed", file=sys.stderr)
    if not args.only:
        for special in SPECIALS:
            index.append(special(out))
        (out / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
