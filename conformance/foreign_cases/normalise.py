"""Normalisations and reductions."""

import numpy as np
from coremltools.converters.mil import Builder as mb

from .case import Family, normal, uniform

FAMILY = Family("normalise")


def layer_norm(x, axes, gamma=None, beta=None, epsilon=1e-5):
    axes = tuple(a % x.ndim for a in axes)
    mean = x.mean(axis=axes, keepdims=True)
    y = (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=axes, keepdims=True) + epsilon)
    shape = [x.shape[a] if a in axes else 1 for a in range(x.ndim)]
    if gamma is not None:
        y = y * gamma.reshape(shape)
    if beta is not None:
        y = y + beta.reshape(shape)
    return y


# (axes, shape of x): the last axis of rank 3, the channels of (B, C, 1, S), and two axes at once.
for name, axes, shape in [
    ("layer_norm_last", [-1], (2, 5, 24)),
    ("layer_norm_channels", [1], (2, 24, 1, 7)),
    ("layer_norm_two_axes", [1, 2], (2, 5, 6)),
]:
    size = [shape[a] for a in axes]
    x = normal(name, *shape, scale=2, shift=0.5)
    affine = {"gamma": normal(name + "g", *size, scale=0.3, shift=1), "beta": normal(name + "b", *size)}
    FAMILY.add(
        "layer_norm",
        name,
        lambda f, x, gamma, beta, axes=axes: mb.layer_norm(x=x, axes=axes, gamma=gamma, beta=beta, epsilon=f(1e-5)),
        lambda x, gamma, beta, axes=axes: layer_norm(x, axes, gamma, beta),
        {"x": x},
        consts=affine,
        infer=False,
    )
    FAMILY.add(
        "layer_norm",
        name + "_bare",
        lambda f, x, axes=axes: mb.layer_norm(x=x, axes=axes, epsilon=f(1e-3)),
        lambda x, axes=axes: layer_norm(x, axes, epsilon=1e-3),
        {"x": x},
        infer=False,
    )

for shape in [(2, 3, 10), (2, 3, 4, 5)]:
    spatial = tuple(range(2, len(shape)))
    by_channel = (slice(None), *[None] * len(spatial))
    rank = len(shape)
    affine = {"gamma": normal(f"in_g{rank}", 3, scale=0.3, shift=1), "beta": normal(f"in_b{rank}", 3)}
    FAMILY.add(
        "instance_norm",
        f"instance_norm_rank{rank}",
        lambda f, x, gamma, beta: mb.instance_norm(x=x, gamma=gamma, beta=beta, epsilon=f(1e-3)),
        lambda x, gamma, beta, spatial=spatial, c=by_channel: layer_norm(x, spatial, epsilon=1e-3) * gamma[c] + beta[c],
        {"x": normal(f"in{rank}", *shape)},
        consts=affine,
        infer=False,
    )
    FAMILY.add(
        "batch_norm",
        f"batch_norm_rank{rank}",
        lambda f, x, mean, variance, gamma, beta: mb.batch_norm(
            x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=f(1e-3)
        ),
        lambda x, mean, variance, gamma, beta, c=by_channel: (x - mean[c]) / np.sqrt(variance[c] + 1e-3) * gamma[c] + beta[c],
        {"x": normal(f"bn{rank}", *shape)},
        consts={"mean": normal(f"bn_m{rank}", 3), "variance": uniform(f"bn_v{rank}", 3, low=0.5, high=2)} | affine,
        infer=False,
    )


def l2_norm(x, epsilon):
    return x / np.sqrt((x**2).sum(axis=(-3, -2, -1), keepdims=True) + epsilon)


for shape in [(3, 4, 5), (2, 3, 4, 5)]:
    FAMILY.add(
        "l2_norm",
        f"l2_norm_rank{len(shape)}",
        lambda f, x: mb.l2_norm(x=x, epsilon=f(1e-3)),
        lambda x: l2_norm(x, 1e-3),
        {"x": normal(f"l2{shape}", *shape)},
    )

REDUCTIONS = {
    "reduce_l1_norm": lambda x, **k: np.abs(x).sum(**k),
    "reduce_l2_norm": lambda x, **k: np.sqrt((x**2).sum(**k)),
    "reduce_log_sum": lambda x, **k: np.log(x.sum(**k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "reduce_max": lambda x, **k: x.max(**k),
    "reduce_mean": lambda x, **k: x.mean(**k),
    "reduce_min": lambda x, **k: x.min(**k),
    "reduce_prod": lambda x, **k: x.prod(**k),
    "reduce_sum": lambda x, **k: x.sum(**k),
    "reduce_sum_square": lambda x, **k: (x**2).sum(**k),
}
for op, expect in REDUCTIONS.items():
    low = 0.25 if op in ("reduce_log_sum", "reduce_prod") else -2.0
    x = uniform(op, 2, 3, 4, 5, low=low, high=2.0)
    for suffix, axes, keep in [("last", [-1], False), ("keep", [1], True), ("two", [1, 3], False), ("all", None, True)]:

        def build(f, x, op=op, axes=axes, keep=keep):
            more = {} if axes is None else {"axes": axes}
            return getattr(mb, op)(x=x, keep_dims=keep, **more)

        FAMILY.add(
            op,
            f"{op}_{suffix}",
            build,
            lambda x, e=expect, axes=axes, keep=keep: e(x, axis=None if axes is None else tuple(axes), keepdims=keep),
            {"x": x[:, :, :1, :2] if op == "reduce_prod" and axes is None else x},
        )
for op, expect in [("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)]:
    for axis, keep in [(-1, False), (1, True)]:
        FAMILY.add(
            op,
            f"{op}_{'keep' if keep else 'drop'}",
            lambda f, x, op=op, axis=axis, keep=keep: getattr(mb, op)(x=x, axis=axis, keep_dims=keep),
            lambda x, e=expect, axis=axis, keep=keep: e(x, axis=axis, keepdims=keep),
            {"x": normal(op, 2, 6, 5)},
        )
