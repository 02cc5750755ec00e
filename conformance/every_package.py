# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["coremltools==9.0", "numpy==2.3.5"]
# ///
"""Converts fixtures/bert-tiny with corer in every combination of flags and has Apple's reader judge each package.

    .cache/venv-reader/bin/python conformance/every_package.py path/to/corer

Layouts × targets × precisions × heads, and once each: checkpoint formats, the two forms of attention, output dtype, batch
size, classifier, no token types. A package must load, be what it says it is (apple_reader.py), and have the inputs and outputs
written down here. Prints what failed; exits 1 if anything did.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import apple_reader

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "fixtures" / "bert-tiny"
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


def expectation(outputs, target="ios16", dtype="fp16", batch=1, inputs=INPUTS):
    """What apple_reader must find."""
    version, opset = TARGETS[target]
    return {
        "specification_version": version,
        "functions": {
            "main": {
                "opset": opset,
                "inputs": {name: {"dtype": "int32", "shape": [batch, LENGTH]} for name in inputs},
                "outputs": {name: {"dtype": dtype, "shape": [batch, *shape[1:]]} for name, shape in outputs.items()},
            }
        },
    }


def plan():
    """(checkpoint, flags, expectation)"""
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
    """Names of inputs and outputs that were not expected: `unmet` only asks for those that were."""
    want, have = expected["functions"]["main"], report["functions"]["main"]
    for side in ("inputs", "outputs"):
        for extra in sorted(set(have[side]) - set(want[side])):
            yield f"{side[:-1]} {extra} was not expected"


def judge(corer, package, checkpoint, flags, expected):
    """The errors of one combination."""
    command = [corer, "--quiet", "convert", str(TINY / checkpoint), "-o", str(package), "--sequence-length", str(LENGTH), *flags]
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
