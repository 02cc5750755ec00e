"""Compresses a package with coremltools, as its users do. In the compress environment (numpy below 2).

    .cache/venv-compress/bin/python benches/peer_quantize.py PACKAGE.mlpackage SCHEME -o OUT.mlpackage

SCHEME is corer's name for it; what it is in coremltools' terms stands in conformance/compressed.py.
"""

import argparse
import logging
import sys
from pathlib import Path

logging.disable(logging.WARNING)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conformance"))

import coremltools as ct  # noqa: E402
from compressed import THEIRS  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("scheme", choices=THEIRS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    model = ct.models.MLModel(str(args.package), skip_model_load=True)
    _, compress = THEIRS[args.scheme]
    compress(model).save(str(args.output))


if __name__ == "__main__":
    main()
