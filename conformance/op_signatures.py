"""Writes op_signatures.json: every core MIL op coremltools registers, per opset, with its inputs.

    python conformance/op_signatures.py > conformance/op_signatures.json

Read from coremltools' own op registry (coremltools.converters.mil.mil.ops.registry.SSAOpRegistry), so it is a statement
of what Apple's reader accepts, independent of corer's op table, which is checked against it. The format is described in
conformance/README.md. Needs the `reader` environment.
"""

import json
import logging
import sys

logging.disable(logging.WARNING)

import numpy as np  # noqa: E402
from coremltools import __version__  # noqa: E402
from coremltools.converters.mil._deployment_compatibility import AvailableTarget  # noqa: E402
from coremltools.converters.mil.mil import input_type as it  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry  # noqa: E402

# iOS 13 and 14 are the neural-network backend's; an ML Program starts at iOS 15. coremltools 9.0 registers nothing newer
# than iOS 18: its iOS 26 target uses the iOS 18 classes.
OPSETS = {
    "ios15": AvailableTarget.iOS15,
    "ios16": AvailableTarget.iOS16,
    "ios17": AvailableTarget.iOS17,
    "ios18": AvailableTarget.iOS18,
}

KINDS = {
    it.TensorInputType: "tensor",
    it.TupleInputType: "tuple",
    it.ListInputType: "list",
    it.ListOrTensorOrDictInputType: "tensor_or_list_or_dict",
    it.StateInputType: "state",
    it.PyFunctionInputType: "block",
    it.InternalInputType: "internal",
}


class NotConstant(Exception):
    """A value that has no JSON form."""


class Stand:
    """Stands for an op's input when a class is asked for its defaults."""

    val = None

    def __init__(self, dtype, rank):
        self.dtype = dtype
        self.rank = rank
        # Sizes that differ from axis to axis, so a default that copies one is seen to depend on it.
        self.shape = tuple(range(rank + 2, 2 * rank + 2))
        self.sym_type = types.tensor(dtype, self.shape)


# A default that is the same for all of these does not depend on the inputs.
CASES = [(types.fp32, 4), (types.fp16, 4), (types.fp32, 3)]


def plain(value):
    """A default as JSON: floats exactly as the repr of the Python or numpy value."""
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple, range)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise NotConstant(type(value).__name__)


def defaults_in(cls, dtype, rank):
    """The defaults of one class with all its inputs of one dtype and rank."""
    op = object.__new__(cls)
    for name in cls.input_spec.input_types:
        setattr(op, name, Stand(dtype, rank))
    return {name: plain(value) for name, value in cls.default_inputs(op).items()}


def defaults_of(cls):
    """{input: {"value": v}}; a default that depends on dtype or rank is {"computed": true, "fp32_rank4": v}."""
    answers = [defaults_in(cls, dtype, rank) for dtype, rank in CASES]
    out = {}
    for name, spec in cls.input_spec.input_types.items():
        if spec.optional and name in answers[0]:
            values = [a[name] for a in answers]
            if all(v == values[0] for v in values):
                out[name] = {"value": values[0]}
            else:
                out[name] = {"computed": True, "fp32_rank4": values[0]}
    return out


def signature(op_type, cls, opset):
    """The facts of one op class as it stands in one opset."""
    defaults = defaults_of(cls)
    inputs = []
    for name, spec in cls.input_spec.input_types.items():
        entry = {"name": name, "kind": KINDS[type(spec)], "optional": spec.optional, "const": spec.const}
        if isinstance(spec, it.TensorInputType):
            domain = spec.type_domain or cls.type_domains[spec.type_domain_id]
            entry["dtypes"] = sorted({types.builtin_to_string(t) for t in domain}, key=dtype_order)
            if spec.type_domain_id is not None:
                # Inputs with the same domain must have the same dtype.
                entry["domain"] = spec.type_domain_id
        if name in defaults:
            entry["default"] = defaults[name]
        inputs.append(entry)
    out = {"opset": opset, "inputs": inputs}
    if op_type.startswith("constexpr_"):
        # As the ML Program writer decides (backend/mil/load.py, translate_constexpr).
        out["parameters_as"] = "attributes" if opset in ("ios16", "ios17") else "inputs"
    return out


def dtype_order(name):
    """Kind, then width: bool, fp16, fp32, int8 ... uint8 ..., string."""
    head = name.rstrip("0123456789")
    return (head, int(name[len(head):] or 0))


def main():
    ops = {}
    for op_type in sorted(SSAOpRegistry.core_ops):
        if op_type.startswith("_"):  # coremltools' own bookkeeping, never written
            continue
        versions = []
        last = None
        for opset, target in OPSETS.items():
            cls = SSAOpRegistry.core_ops[op_type].get(target)
            if cls is None:
                continue
            here = signature(op_type, cls, opset)
            facts = {k: v for k, v in here.items() if k != "opset"}
            if facts != last:
                versions.append(here)
                last = facts
        if versions:
            ops[op_type] = {"since": versions[0]["opset"], "versions": versions}
    json.dump({"source": f"coremltools {__version__}", "ops": ops}, sys.stdout, indent=1, sort_keys=False)
    print()


if __name__ == "__main__":
    main()
