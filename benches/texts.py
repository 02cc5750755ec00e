"""Prints N texts, one a line, the same every time: our sentences and calibration texts, then two of them at a time. Standard library only.

    python3 benches/texts.py N > FILE
"""

import itertools
import sys
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures"


def texts():
    lines = [line for name in ("sentences.txt", "calibration.txt") for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines() if line]
    yield from lines
    single = [line.split("\t")[0] for line in lines]
    for shift in itertools.count(1):
        for index, line in enumerate(single):
            yield f"{line} {single[(7 * index + shift) % len(single)]}"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    for text in itertools.islice(texts(), int(sys.argv[1])):
        print(text)
