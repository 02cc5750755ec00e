# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["coremltools==9.0", "numpy==1.26.4", "scikit-learn==1.5.1"]
# ///
"""Compressed variants, by coremltools' own judgement.

    $(fixtures/python-env.sh compress) conformance/compressed.py path/to/corer [PACKAGE.mlpackage] [--theirs] [--only SCHEME,…]

PACKAGE is an fp16 package for iOS 16; without one a tiny fixture is converted. For every scheme, `corer quantize` must give a
package that Apple's reader loads and finds to be what it says (apple_reader.py), and each weight that coremltools decompresses
must be, bit for bit, the one `corer quantize --weights fp16` decompresses. With --theirs coremltools compresses the same package
too, and ours must have no larger squared error on any weight, and for full-range linear codes be within one code of theirs
where both have the same scales. Prints what differs; exits 1 if anything does.
"""

import argparse
import inspect
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

logging.disable(logging.WARNING)

import numpy as np  # noqa: E402

import apple_reader  # noqa: E402
import coremltools as ct  # noqa: E402
import coremltools.optimize.coreml as cto  # noqa: E402
from coremltools.converters.mil.frontend.milproto import load as milproto  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

SCHEMES = {
    "ios16": ["int8", "uint8", "int8-tensor", "int8-affine", "uint8-affine", "lut1", "lut2", "lut4", "lut6", "lut8",
              "lut4-uniform", "sparse50", "sparse-below0.02", "sparse2:4", "sparse60-block4"],
    "ios18": ["int8", "uint8", "int8-tensor", "uint8-affine-tensor", "int8-block32", "int4", "uint4", "int4-affine",
              "uint4-affine", "int4-full", "int4-block32", "uint4-block16-affine", "lut1", "lut2", "lut3", "lut4", "lut6",
              "lut8", "lut3-uniform", "lut4-g16", "lut6-g16", "lut2-g8-axis1", "lut4-v2", "lut2-v4-g16", "lut4+int8",
              "lut4-g16+int8", "sparse50", "sparse2:4", "sparse50-block2", "sparse50+lut4", "sparse50+lut3-g8",
              "sparse50+int8", "sparse50+uint8-affine", "sparse50+int4-block32", "sparse50+lut4+int8"],
}


def linear(dtype, mode="linear_symmetric", **more):
    return lambda model: cto.linear_quantize_weights(
        model, cto.OptimizationConfig(cto.OpLinearQuantizerConfig(mode=mode, dtype=dtype, **more)))


def palette(nbits, mode="kmeans", **more):
    return lambda model: cto.palettize_weights(
        model, cto.OptimizationConfig(cto.OpPalettizerConfig(mode=mode, nbits=nbits, **more)))


GROUPED = {"granularity": "per_grouped_channel", "group_size": 16}
THEIRS = {
    "int8": ("ios16", linear("int8")),
    "uint8-affine": ("ios16", linear("uint8", "linear")),
    "int8-tensor": ("ios16", linear("int8", granularity="per_tensor")),
    "int4-full": ("ios18", linear("int4")),
    "int4": ("ios18", linear("int4")),
    "int4-block32": ("ios18", linear("int4", granularity="per_block", block_size=32)),
    "lut2": ("ios16", palette(2)),
    "lut4": ("ios16", palette(4)),
    "lut6": ("ios16", palette(6)),
    "lut4-uniform": ("ios16", palette(4, "uniform")),
    "lut4-g16": ("ios18", palette(4, **GROUPED)),
    "lut6-g16": ("ios18", palette(6, **GROUPED)),
    "sparse50": ("ios16", lambda model: cto.prune_weights(
        model, cto.OptimizationConfig(cto.OpMagnitudePrunerConfig(target_sparsity=0.5)))),
}


def weights(package):
    """Every constant of rank 2 and more, decompressed, by name; and the linear codes and scales of compressed ones."""
    model = ct.models.MLModel(str(package), skip_model_load=True)
    spec = model.get_spec()
    program = milproto.load(spec, spec.specificationVersion, str(package / "Data/com.apple.CoreML/weights"))
    dense, codes = {}, {}
    for op in program.functions["main"].operations:
        users = {child.op_type for output in op.outputs for child in output.child_ops}
        if len(op.outputs) != 1 or any(user.startswith("constexpr_") for user in users):
            continue
        name = plain(op.outputs[0].name)
        if op.op_type == "const":
            value = op.outputs[0].val
            if isinstance(value, np.ndarray) and value.ndim >= 2 and value.dtype.kind == "f":
                dense[name] = value
        elif op.op_type.startswith("constexpr_"):
            dense[name] = decompressed(op)[0]
            if op.op_type == "constexpr_affine_dequantize":
                codes[name] = (op.quantized_data.val, op.scale.val)
            elif op.op_type == "constexpr_blockwise_shift_scale" and op.data.op.op_type == "const":
                codes[name] = (op.data.val, op.scale.val)
    return dense, codes


def decompressed(op):
    """What a constexpr operation makes, by coremltools' own rules, which it applies to constants only; as a list."""
    def value(var):
        if var is None or not var.op.op_type.startswith("constexpr_"):
            return None if var is None else var.val
        return decompressed(var.op)[var.op.outputs.index(var)]

    arguments = {name: value(getattr(op, name)) for name in inspect.signature(type(op).decompress).parameters}
    made = type(op).decompress(**arguments)
    return list(made) if isinstance(made, tuple) else [made]


def plain(name):
    """A weight's name without what coremltools adds to it."""
    for suffix in ("_quantized", "_palettized", "_sparsified"):
        name = name.removesuffix(suffix)
    return name


def corer(binary, *arguments):
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"corer {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("corer")
    parser.add_argument("package", nargs="?", type=Path)
    parser.add_argument("--theirs", action="store_true")
    parser.add_argument("--only", help="schemes, with commas")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else None
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        small = arguments.package is None
        threshold = ["--threshold", "500"] if small else []
        package = arguments.package
        if small:
            package = work / "Tiny.mlpackage"
            corer(arguments.corer, "convert", ROOT / "fixtures/bert-tiny/sentence-mean", "-o", package, "-q")
        original, _ = weights(package)
        made = {}
        for target, schemes in SCHEMES.items():
            for scheme in schemes:
                if only and scheme not in only:
                    continue
                out, dense = work / f"{target}-{scheme.replace(':', 'of')}.mlpackage", work / "Dense.mlpackage"
                corer(arguments.corer, "quantize", package, "-o", out, "--weights", scheme, "--target", target, "-q", *threshold)
                corer(arguments.corer, "quantize", out, "-o", dense, "--weights", "fp16", "--force", "-q")
                _, errors = apple_reader.read(out)
                if errors:
                    failures.append(f"{target} {scheme}: Apple's reader: {errors[:3]}")
                theirs, codes = weights(out)
                ours, _ = weights(dense)
                for name, value in theirs.items():
                    mine = ours.get(name)
                    if mine is None or mine.dtype != value.dtype or mine.shape != value.shape:
                        failures.append(f"{target} {scheme} {name}: decompressed to another type or not at all")
                    elif not np.array_equal(mine.view(np.uint16), value.view(np.uint16)):
                        apart = np.sum(mine.view(np.uint16) != value.view(np.uint16))
                        failures.append(f"{target} {scheme} {name}: {apart} of {value.size} elements decompressed differently")
                made[target, scheme] = (theirs, codes)
                print(f"{target:6} {scheme:22} {len(theirs)} weights", file=sys.stderr)
        if arguments.theirs:
            failures += compare(arguments, work, package, original, made)
    print("\n".join(failures) or "every variant loads and decompresses as coremltools does it")
    sys.exit(bool(failures))


def compare(arguments, work, package, original, made):
    """Ours against coremltools' on the same package."""
    failures = []
    newer = work / "Newer.mlpackage"
    # Raising the target with nothing to compress.
    corer(arguments.corer, "quantize", package, "-o", newer, "--weights", "fp16", "--target", "ios18", "-q")
    for scheme, (target, compress) in THEIRS.items():
        if (target, scheme) not in made:
            continue
        model = ct.models.MLModel(str(package if target == "ios16" else newer), skip_model_load=True)
        out = work / "Theirs.mlpackage"
        compress(model).save(str(out))
        theirs, their_codes = weights(out)
        ours, codes = made[target, scheme]
        smaller = 0
        for name, value in original.items():
            if name not in theirs or name not in ours or np.array_equal(theirs[name], value):
                continue
            wanted = value.astype(np.float64)
            error = np.sum((ours[name].astype(np.float64) - wanted) ** 2)
            other = np.sum((theirs[name].astype(np.float64) - wanted) ** 2)
            smaller += error < other
            if error > other * (1 + 1e-9):
                failures.append(f"{scheme} {name}: squared error {error:.6g}, theirs {other:.6g} ({error / other - 1:+.2e})")
            if name in codes and name in their_codes:
                (code, scale), (their_code, their_scale) = codes[name], their_codes[name]
                if scale.size == their_scale.size and np.array_equal(scale.ravel(), their_scale.ravel()):
                    apart = np.abs(code.astype(np.int32) - their_code.astype(np.int32)).max()
                    if apart > 1:
                        failures.append(f"{scheme} {name}: {apart} codes apart")
        bytes_of = lambda path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        mine = work / f"{target}-{scheme}.mlpackage"
        print(f"{scheme:14} smaller error on {smaller} of {len(theirs)}; {bytes_of(mine):,} bytes, theirs {bytes_of(out):,}", file=sys.stderr)
        if bytes_of(mine) > bytes_of(out):
            failures.append(f"{scheme}: {bytes_of(mine):,} bytes, theirs {bytes_of(out):,}")
        subprocess.run(["rm", "-rf", str(out)], check=True)
    return failures


if __name__ == "__main__":
    main()
