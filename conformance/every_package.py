# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["coremltools==9.0", "numpy==2.3.5"]
# ///
"""Converts the fixtures with corer and has Apple's reader judge each package: bert-tiny in every combination of flags, every
model of every family in both layouts.

    .cache/venv-reader/bin/python conformance/every_package.py path/to/corer

Layouts × targets × precisions × heads; layouts × heads × ways to take several lengths or batches; and once each: checkpoint
formats, the two forms of attention, output dtype, batch size, classifier, no token types. A package must load, be what it says it is (apple_reader.py), and have the inputs and outputs
written down here. Prints what failed; exits 1 if anything did.
"""

import itertools
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import apple_reader

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "fixtures" / "bert-tiny"
FAMILIES = ROOT / "fixtures" / "families"
LENGTH = 64

# Outputs by head, for batch size 1, in Hugging Face's names and shapes.
HEADS = {
    "feature-extraction": {"last_hidden_state": [1, LENGTH, 64], "pooler_output": [1, 64]},
    "sequence-classification": {"logits": [1, 3]},
    "token-classification": {"logits": [1, LENGTH, 5]},
    "question-answering": {"start_logits": [1, LENGTH], "end_logits": [1, LENGTH]},
    "fill-mask": {"logits": [1, LENGTH, 515]},
    "sentence-mean": {"sentence_embedding": [1, 64]},
    "sentence-cls-dense": {"sentence_embedding": [1, 24]},
    "sentence-max": {"sentence_embedding": [1, 32]},
}
SMALL = {"last_hidden_state": [1, LENGTH, 32], "pooler_output": [1, 32]}
FORMATS = {
    "sharded": SMALL,
    "f16": SMALL,
    "bf16": SMALL,
    "prefixed": SMALL,
    "pickle": SMALL,
    "pickle-tied": {"logits": [1, LENGTH, 515]},
    "gamma-beta": {"logits": [1, LENGTH, 515]},
}
LAYOUTS = ["ane", "standard"]
TARGETS = {"ios16": (7, "CoreML6"), "ios17": (8, "CoreML7"), "ios18": (9, "CoreML8"), "ios26": (10, "CoreML9")}
PRECISIONS = ["fp16", "fp32"]
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def expectation(outputs, target="ios16", dtype="fp16", batch=1, inputs=INPUTS, length=LENGTH):
    """What apple_reader must find."""
    version, opset = TARGETS[target]
    return {
        "specification_version": version,
        "functions": {
            "main": {
                "opset": opset,
                "inputs": {name: {"dtype": "int32", "shape": [batch, length]} for name in inputs},
                "outputs": {name: {"dtype": dtype, "shape": [batch, *shape[1:]]} for name, shape in outputs.items()},
            }
        },
    }


# Outputs with a row per token, whatever the head.
PER_TOKEN = {"last_hidden_state", "start_logits", "end_logits"}


def at(head, name, shape, batch, length):
    """An output's shape, known for batch 1 and LENGTH, at another size; None where it is open."""
    per_token = name in PER_TOKEN or head in ("token-classification", "fill-mask")
    return [batch, length, *shape[2:]] if per_token else [batch, *shape[1:]]


def several(head, target, functions, default):
    """What apple_reader must find in a package of functions: name -> (batch, length)."""
    version, opset = TARGETS[target]
    return {
        "specification_version": version,
        "default_function": default,
        "functions": {
            function: {
                "opset": opset,
                "inputs": {name: {"dtype": "int32", "shape": [batch, length]} for name in INPUTS},
                "outputs": {
                    name: {"dtype": "fp16", "shape": at(head, name, shape, batch, length)}
                    for name, shape in HEADS[head].items()
                },
            }
            for function, (batch, length) in functions.items()
        },
    }


def flexible(head, target, batch, length, described):
    """What apple_reader must find in a package whose one function leaves sizes open (None)."""
    version, opset = TARGETS[target]
    return {
        "specification_version": version,
        "functions": {
            "main": {
                "opset": opset,
                "inputs": {name: {"dtype": "int32", "shape": [batch, length]} for name in INPUTS},
                "outputs": {
                    name: {"dtype": "fp16", "shape": at(head, name, shape, batch, length)}
                    for name, shape in HEADS[head].items()
                },
                "description": {"inputs": {name: {"dtype": "int32", **described} for name in INPUTS}},
            }
        },
    }


def buckets():
    """(checkpoint, flags, expectation) for packages of several sizes."""
    for head, layout in itertools.product(HEADS, LAYOUTS):
        common = ["--layout", layout]
        yield head, [*common, "--target", "ios18", "--sequence-length", "16,64,128"], several(
            head, "ios18", {f"seq{length}": (1, length) for length in (16, 64, 128)}, "seq128"
        )
        functions = {f"batch{batch}_seq{length}": (batch, length) for batch in (1, 3) for length in (16, 64)}
        yield head, [
            *common, "--target", "ios26", "--sequence-length", "16,64", "--batch-size", "1,3",
        ], several(head, "ios26", functions, "batch1_seq64")
        for target in ("ios18", "ios26"):
            flags = ["--target", target, "--sequence-length", "16,64,128", "--buckets", "enumerated"]
            shapes = [[1, 128], [1, 16], [1, 64]]
            yield head, [*common, *flags], flexible(
                head, target, 1, None, {"shape": shapes[0], "enumerated": shapes}
            )
        for target in TARGETS:
            yield head, [*common, "--target", target, "--sequence-length", "1..128"], flexible(
                head, target, 1, None, {"shape": [1, 128], "range": [[1, 1], [1, 128]]}
            )
            flags = ["--target", target, "--sequence-length", "1..128", "--batch-size", "1..4"]
            yield head, [*common, *flags], flexible(
                head, target, None, None, {"shape": [1, 128], "range": [[1, 4], [1, 128]]}
            )
        flags = ["--sequence-length", "32", "--batch-size", "2..4"]
        yield head, [*common, *flags], flexible(head, "ios16", None, 32, {"shape": [2, 32], "range": [[2, 4], [32, 32]]})


def recorded(model):
    """Length and outputs of a model's recording, for one row: what PyTorch gave is what the package must give."""
    data = (model / "expected.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    shapes = {name.removeprefix("output."): [1, *entry["shape"][1:]] for name, entry in header.items() if name.startswith("output.")}
    if "sentence_embedding" in shapes:
        shapes = {"sentence_embedding": shapes["sentence_embedding"]}
    return header["input.input_ids"]["shape"][1], shapes


def families():
    """Every model of every family: both layouts, and the fused attention of iOS 18."""
    for model in sorted(path.parent for path in FAMILIES.glob("*/*/config.json")):
        length, outputs = recorded(model)
        config = json.loads((model / "config.json").read_text())
        typed = config.get("type_vocab_size", 0) > 1
        inputs = INPUTS if typed else INPUTS[:2]
        for flags, target in [([], "ios16"), (["--layout", "standard", "--target", "ios18"], "ios18")]:
            flags = [*flags, "--sequence-length", str(length)]
            yield model, flags, expectation(outputs, target, inputs=inputs, length=length)


def plan():
    """(checkpoint, flags, expectation)"""
    yield from buckets()
    yield from families()
    for head, layout, target, precision in itertools.product(HEADS, LAYOUTS, TARGETS, PRECISIONS):
        flags = ["--layout", layout, "--target", target, "--precision", precision]
        yield head, flags, expectation(HEADS[head], target, precision)
    for name, outputs in FORMATS.items():
        yield f"formats/{name}", [], expectation(outputs)
    for form in ("packed", "split"):
        yield "feature-extraction", ["--attention", form], expectation(HEADS["feature-extraction"])
    for precision, dtype in [("fp16", "fp32"), ("fp32", "fp16")]:
        for layout in LAYOUTS:
            flags = ["--layout", layout, "--precision", precision, "--output-dtype", dtype]
            yield "token-classification", flags, expectation(HEADS["token-classification"], dtype=dtype)
    for layout in LAYOUTS:
        for head in ("feature-extraction", "sentence-mean"):
            yield head, ["--layout", layout, "--batch-size", "3"], expectation(HEADS[head], batch=3)
        yield "question-answering", ["--layout", layout, "--no-token-types"], expectation(
            HEADS["question-answering"], inputs=INPUTS[:2]
        )
        classifier = expectation({})
        classifier["classifier"] = ["classLabel", "classLabel_probs"]
        classifier["functions"]["main"]["outputs"] = {
            "classLabel": {"dtype": "string", "shape": []},
            "classLabel_probs": {"kind": "dict", "key": {"dtype": "string", "shape": []}},
        }
        yield "sequence-classification", ["--layout", layout, "--classifier"], classifier


def exactly(expected, report):
    """Functions, inputs and outputs that were not expected: `unmet` only asks for those that were."""
    for name, have in report["functions"].items():
        want = expected["functions"].get(name)
        if want is None:
            yield f"function {name} was not expected"
            continue
        for side in ("inputs", "outputs"):
            for extra in sorted(set(have[side]) - set(want[side])):
                yield f"{name}: {side[:-1]} {extra} was not expected"


def judge(corer, package, checkpoint, flags, expected):
    """The errors of one combination."""
    if "--sequence-length" not in flags:
        flags = ["--sequence-length", str(LENGTH), *flags]
    command = [corer, "--quiet", "convert", str(TINY / checkpoint), "-o", str(package), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return [f"corer convert exited {done.returncode}: {done.stderr.strip()}"]
    try:
        report, errors = apple_reader.read(package)
    except Exception as error:
        return [f"not loadable: {type(error).__name__}: {error}"]
    return errors + list(apple_reader.unmet(expected, report)) + list(exactly(expected, report))


def main():
    corer = sys.argv[1]
    count, failed = 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        for checkpoint, flags, expected in plan():
            count += 1
            package = Path(tmp) / f"{count}.mlpackage"
            errors = judge(corer, package, checkpoint, flags, expected)
            failed += bool(errors)
            for error in errors:
                print(f"{checkpoint} {' '.join(flags)}: {error}")
    print(f"{count} packages, {failed} refused by Apple's reader or not as expected")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
