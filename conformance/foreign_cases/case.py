"""One op applied to recorded inputs, with what it must give by numpy's formulas in f64."""

import dataclasses
import zlib
from typing import Callable

import numpy as np

# Every opset a case can be written for, oldest first.
OPSETS = ["ios15", "ios16", "ios17", "ios18"]


@dataclasses.dataclass
class Case:
    """`build(f, **values)` makes the op in MIL, `expect(*arrays)` computes it in f64.

    Both get the inputs, then the consts: `build` by name, `expect` in order. `f` is the package's float type, np.float32 or np.float16: float arrays are
    rounded to it before either side sees them, so that both start from the same numbers.
    """

    op: str
    name: str
    build: Callable
    expect: Callable
    inputs: dict
    consts: dict = dataclasses.field(default_factory=dict)
    since: str = "ios15"
    until: str = "ios18"
    # Whether coremltools' own value inference may be compared with `expect`.
    infer: bool = True


class Family:
    """The cases of one module, and the variants (opset, float type) they are written in.

    By default: fp32 with the oldest opset and the newest, fp16 with those between, which have it as model input.
    """

    VARIANTS = [("ios15", np.float32), ("ios16", np.float16), ("ios17", np.float16), ("ios18", np.float32)]

    def __init__(self, name, variants=VARIANTS):
        self.name = name
        self.variants = variants
        self.cases = []

    def add(self, op, name, build, expect, inputs, **more):
        assert all(c.name != name for c in self.cases), name
        self.cases.append(Case(op, name, build, expect, inputs, **more))


def normal(seed, *shape, scale=1.0, shift=0.0):
    """Float numbers, kept away from ties by being random."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    return (shift + scale * rng.standard_normal(shape)).astype(np.float64)


def uniform(seed, *shape, low=0.0, high=1.0):
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    return rng.uniform(low, high, shape)


def integers(seed, *shape, low, high):
    """int32 numbers from low to high - 1."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    return rng.integers(low, high, shape, dtype=np.int32)
