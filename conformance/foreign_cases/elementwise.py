"""Functions of one or two tensors, element by element; activations; casts."""

import math

import numpy as np
from coremltools.converters.mil import Builder as mb

from .case import Family, integers, normal, uniform

FAMILY = Family("elementwise")
erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def unary(op, expect, low=-3.0, high=3.0, family=FAMILY):
    """An op whose only input is x."""
    x = uniform(op, 2, 3, 5, low=low, high=high)
    family.add(op, op, lambda f, x: getattr(mb, op)(x=x), expect, {"x": x})


def parametric(op, expect, scalars, low=-3.0, high=3.0, name=None, shape=(2, 3, 5)):
    """An op with scalar parameters beside x."""
    name = name or op
    x = uniform(name, *shape, low=low, high=high)

    def build(f, x):
        return getattr(mb, op)(x=x, **{k: f(v) for k, v in scalars.items()})

    FAMILY.add(op, name, build, lambda x: expect(x, **scalars), {"x": x})


unary("abs", np.abs)
unary("acos", np.arccos, -0.95, 0.95)
unary("asin", np.arcsin, -0.95, 0.95)
unary("atan", np.arctan)
unary("atanh", np.arctanh, -0.9, 0.9)
unary("ceil", np.ceil)
unary("cos", np.cos)
unary("cosh", np.cosh)
unary("erf", erf)
unary("exp", np.exp)
unary("exp2", np.exp2)
unary("floor", np.floor)
unary("identity", lambda x: x)
unary("round", np.round)
unary("sign", np.sign)
unary("sin", np.sin)
unary("sinh", np.sinh)
unary("sqrt", np.sqrt, 0.1, 9.0)
unary("square", np.square)
unary("tan", np.tan, -1.2, 1.2)
unary("relu", lambda x: np.maximum(x, 0))
unary("relu6", lambda x: np.clip(x, 0, 6), -3, 9)
unary("sigmoid", sigmoid)
unary("silu", lambda x: x * sigmoid(x))
unary("softplus", softplus)
unary("softsign", lambda x: x / (1 + np.abs(x)))
unary("tanh", np.tanh)

# Numbers at the edges: a large magnitude must not overflow on the way.
for op, expect in [("sigmoid", sigmoid), ("tanh", np.tanh), ("erf", erf), ("softplus", lambda x: np.logaddexp(0, x))]:
    FAMILY.add(
        op,
        f"{op}_far",
        lambda f, x, op=op: getattr(mb, op)(x=x),
        expect,
        {"x": np.array([-40.0, -20.0, -8.0, -1e-3, 0.0, 1e-3, 8.0, 20.0, 40.0])},
        infer=False,  # theirs overflows
    )

GELU = {
    "EXACT": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "TANH_APPROXIMATION": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "SIGMOID_APPROXIMATION": lambda x: x * sigmoid(1.702 * x),
}
for mode, expect in GELU.items():
    FAMILY.add(
        "gelu",
        f"gelu_{mode.lower()}",
        lambda f, x, mode=mode: mb.gelu(x=x, mode=mode),
        expect,
        {"x": uniform(mode, 2, 40, low=-6, high=6)},
    )

parametric("clamped_relu", lambda x, alpha, beta: np.minimum(beta, np.where(x >= 0, x, alpha * x)), dict(alpha=0.3125, beta=1.5))
parametric("clip", lambda x, alpha, beta: np.clip(x, alpha, beta), dict(alpha=-1.25, beta=1.5))
parametric("elu", lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)), dict(alpha=0.75))
parametric("leaky_relu", lambda x, alpha: np.where(x >= 0, x, alpha * x), dict(alpha=0.125))
parametric("linear_activation", lambda x, alpha, beta: alpha * x + beta, dict(alpha=1.75, beta=-0.5))
parametric("scaled_tanh", lambda x, alpha, beta: alpha * np.tanh(beta * x), dict(alpha=1.5, beta=0.5))
parametric("sigmoid_hard", lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1), dict(alpha=0.25, beta=0.5))
parametric("threshold", lambda x, alpha: np.maximum(x, alpha), dict(alpha=0.25))
parametric("thresholded_relu", lambda x, alpha: np.where(x >= alpha, x, 0), dict(alpha=0.75))
parametric("log", lambda x, epsilon: np.log(x + epsilon), dict(epsilon=0.125), 0.05, 9.0)
parametric("rsqrt", lambda x, epsilon: 1 / np.sqrt(x + epsilon), dict(epsilon=0.125), 0.05, 9.0)
parametric("inverse", lambda x, epsilon: 1 / (x + epsilon), dict(epsilon=0.125), 0.25, 4.0)

# With the defaults, which the writer states.
FAMILY.add("log", "log_default", lambda f, x: mb.log(x=x), np.log, {"x": uniform("log_default", 7, low=0.1, high=9)})
FAMILY.add(
    "rsqrt", "rsqrt_default", lambda f, x: mb.rsqrt(x=x), lambda x: 1 / np.sqrt(x), {"x": uniform("rsqrt_default", 7, low=0.1, high=9)}
)

FAMILY.add(
    "prelu",
    "prelu",
    lambda f, x, alpha: mb.prelu(x=x, alpha=alpha),
    lambda x, alpha: np.where(x >= 0, x, alpha[:, None, None] * x),
    {"x": normal("prelu", 2, 3, 4, 5)},
    consts={"alpha": uniform("prelu_alpha", 3)},
)
FAMILY.add(
    "softplus_parametric",
    "softplus_parametric",
    lambda f, x, alpha, beta: mb.softplus_parametric(x=x, alpha=alpha, beta=beta),
    lambda x, alpha, beta: alpha[:, None, None] * np.log1p(np.exp(beta[:, None, None] * x)),
    {"x": normal("softplus_parametric", 2, 3, 4, 5)},
    consts={"alpha": uniform("sp_alpha", 3, low=0.5), "beta": uniform("sp_beta", 3, low=0.5)},
)

ARITHMETIC = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "floor_div": np.floor_divide,
    "mod": np.mod,
}
for op, expect in ARITHMETIC.items():
    away = dict(low=0.5, high=3.0) if op in ("real_div", "floor_div", "mod") else dict(low=-3.0, high=3.0)
    x, y = uniform(op + "x", 2, 3, 5, low=-3, high=3), uniform(op + "y", 2, 3, 5, **away)
    build = lambda f, x, y, op=op: getattr(mb, op)(x=x, y=y)  # noqa: E731
    FAMILY.add(op, op, build, expect, {"x": x, "y": y})
    FAMILY.add(op, f"{op}_broadcast", build, expect, {"x": x[:, :1], "y": y[0, :, :]})
    FAMILY.add(op, f"{op}_scalar_const", build, expect, {"x": x}, consts={"y": np.float64(1.375)})
for op in ("add", "sub", "mul", "maximum", "minimum", "mod"):
    x, y = integers(op + "ix", 4, 3, low=-50, high=50), integers(op + "iy", 4, 3, low=1, high=9)
    build = lambda f, x, y, op=op: getattr(mb, op)(x=x, y=y)  # noqa: E731
    FAMILY.add(op, f"{op}_int32", build, ARITHMETIC[op], {"x": x, "y": y})
FAMILY.add(
    "pow",
    "pow",
    lambda f, x, y: mb.pow(x=x, y=y),
    np.power,
    {"x": uniform("powx", 3, 4, low=0.2, high=3), "y": uniform("powy", 3, 4, low=-2, high=2)},
)
FAMILY.add("pow", "pow_cube", lambda f, x: mb.pow(x=x, y=f(3)), lambda x: x**3, {"x": normal("pow_cube", 3, 4)})

COMPARISONS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}
for op, expect in COMPARISONS.items():
    build = lambda f, x, y, op=op: getattr(mb, op)(x=x, y=y)  # noqa: E731
    x, y = integers(op + "x", 4, 6, low=-2, high=3), integers(op + "y", 6, low=-2, high=3)
    FAMILY.add(op, op, build, expect, {"x": x.astype(np.float64), "y": y.astype(np.float64)})
    FAMILY.add(op, f"{op}_int32", build, expect, {"x": x, "y": y})


def flag(x):
    """A bool from an int32, as a package cannot take bool inputs."""
    return mb.greater(x=x, y=np.int32(0))


LOGIC = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}
BITS = {"x": integers("bits_x", 4, 5, low=0, high=2), "y": integers("bits_y", 4, 5, low=0, high=2)}
for op, expect in LOGIC.items():
    FAMILY.add(op, op, lambda f, x, y, op=op: getattr(mb, op)(x=flag(x), y=flag(y)), lambda x, y, e=expect: e(x > 0, y > 0), BITS)
FAMILY.add("logical_not", "logical_not", lambda f, x: mb.logical_not(x=flag(x)), lambda x: x <= 0, {"x": BITS["x"]})

FAMILY.add(
    "select",
    "select",
    lambda f, c, a, b: mb.select(cond=flag(c), a=a, b=b),
    lambda c, a, b: np.where(c > 0, a, b),
    {"c": integers("select", 3, 4, low=0, high=2), "a": normal("sel_a", 3, 4), "b": normal("sel_b", 3, 4)},
)
FAMILY.add(
    "select",
    "select_const_branches",
    lambda f, c: mb.select(cond=flag(c), a=f(0), b=f(-1e4)),
    lambda c: np.where(c > 0, 0.0, -1e4),
    {"c": integers("select_mask", 2, 9, low=0, high=2)},
    infer=False,
)

FAMILY.add(
    "cast",
    "cast_float_to_int32",
    lambda f, x: mb.cast(x=x, dtype="int32"),
    lambda x: np.trunc(x).astype(np.int32),
    {"x": np.array([-2.75, -1.5, -0.25, 0.0, 0.25, 1.5, 2.75, 1000.5])},
)
FAMILY.add(
    "cast",
    "cast_int32_to_float",
    lambda f, x: mb.cast(x=x, dtype="fp32" if f is np.float32 else "fp16"),
    lambda x: x.astype(np.float64),
    {"x": integers("cast_int", 3, 4, low=-2000, high=2000)},
)
FAMILY.add(
    "cast",
    "cast_through_fp16",
    lambda f, x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"),
    lambda x: x.astype(np.float16).astype(np.float64),
    # Halfway cases, subnormals and the largest value: rounding is to nearest, ties to even.
    {"x": np.array([1 + 2**-11, 1 + 3 * 2**-11, 0.1, 1 / 3, 65504.0, 65519.0, 6e-8, 2.98e-8, 1e-9, -2**-15, 2049.0, 2051.0])},
)
FAMILY.add(
    "cast",
    "cast_float_to_bool",
    lambda f, x: mb.cast(x=x, dtype="bool"),
    lambda x: x != 0,
    {"x": np.array([-1.0, 0.0, 0.5, 2.0])},
)
FAMILY.add(
    "cast",
    "cast_bool_to_float",
    lambda f, x: mb.cast(x=flag(x), dtype="fp32" if f is np.float32 else "fp16"),
    lambda x: (x > 0).astype(np.float64),
    {"x": BITS["x"]},
)
for small, low, high in [("int8", -128, 128), ("uint8", 0, 256), ("int16", -3000, 3000), ("uint16", 0, 60000)]:
    FAMILY.add(
        "cast",
        f"cast_{small}",
        lambda f, x, small=small: mb.cast(x=mb.cast(x=x, dtype=small), dtype="int32"),
        lambda x: x,
        {"x": integers(small, 12, low=low, high=high)},
        since="ios17",
    )
