"""Dense layers, convolutions, matrix products, attention."""

import math

import numpy as np
from coremltools.converters.mil import Builder as mb

from .case import Family, integers, normal

FAMILY = Family("linear", [*Family.VARIANTS, ("ios18", np.float16)])


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


for rank, shape in [(2, (5, 24)), (3, (2, 5, 24)), (4, (2, 3, 5, 24))]:
    FAMILY.add(
        "linear",
        f"linear_rank{rank}",
        lambda f, x, weight, bias: mb.linear(x=x, weight=weight, bias=bias),
        lambda x, weight, bias: x @ weight.T + bias,
        {"x": normal(f"linear{rank}", *shape)},
        consts={"weight": normal(f"linear_w{rank}", 17, 24, scale=0.2), "bias": normal(f"linear_b{rank}", 17)},
    )
FAMILY.add(
    "linear",
    "linear_no_bias",
    lambda f, x, weight: mb.linear(x=x, weight=weight),
    lambda x, weight: x @ weight.T,
    {"x": normal("linear_no_bias", 3, 24)},
    consts={"weight": normal("linear_no_bias_w", 9, 24, scale=0.2)},
)


def conv_numpy(x, weight, bias, strides, dilations, pad, groups):
    """Cross-correlation over any number of spatial axes; pad is (before, after) per axis."""
    n, c, *size = x.shape
    out_c, in_c, *kernel = weight.shape
    x = np.pad(x, [(0, 0), (0, 0), *pad])
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations)]
    out_size = [(s - r) // st + 1 for s, r, st in zip(x.shape[2:], reach, strides)]
    out = np.zeros((n, out_c, *out_size))
    for at in np.ndindex(*out_size):
        window = tuple(slice(a * st, a * st + r, d) for a, st, r, d in zip(at, strides, reach, dilations))
        patch = x[(slice(None), slice(None), *window)].reshape(n, groups, -1)
        w = weight.reshape(groups, out_c // groups, -1)
        out[(slice(None), slice(None), *at)] = np.einsum("ngk,gok->ngo", patch, w).reshape(n, out_c)
    if bias is not None:
        out += bias.reshape(1, -1, *([1] * len(size)))
    return out


def same_pad(size, kernel, strides, dilations, lower):
    """MIL's "same": output ceil(size / stride); an odd total puts one more after, or before for same_lower."""
    pads = []
    for s, k, st, d in zip(size, kernel, strides, dilations):
        total = max(0, (math.ceil(s / st) - 1) * st + d * (k - 1) + 1 - s)
        small, large = total // 2, total - total // 2
        pads.append((large, small) if lower else (small, large))
    return pads


def conv(name, x_shape, w_shape, strides=None, dilations=None, pad_type="valid", pad=None, groups=1, bias=True, since="ios15"):
    spatial = len(x_shape) - 2
    strides, dilations = strides or [1] * spatial, dilations or [1] * spatial
    if pad_type == "custom":
        pads = [(pad[2 * i], pad[2 * i + 1]) for i in range(spatial)]
    elif pad_type == "valid":
        pads = [(0, 0)] * spatial
    else:
        pads = same_pad(x_shape[2:], w_shape[2:], strides, dilations, pad_type == "same_lower")

    def build(f, x, weight, bias=None):
        more = {"bias": bias} if bias is not None else {}
        more |= {"pad": pad} if pad_type == "custom" else {}
        return mb.conv(x=x, weight=weight, strides=strides, dilations=dilations, pad_type=pad_type, groups=groups, **more)

    def expect(x, weight, bias=None):
        return conv_numpy(x, weight, bias, strides, dilations, pads, groups)

    consts = {"weight": normal(name + "w", *w_shape, scale=1 / math.sqrt(np.prod(w_shape[1:])))}
    if bias:
        consts["bias"] = normal(name + "b", w_shape[0])
    FAMILY.add("conv", name, build, expect, {"x": normal(name, *x_shape)}, consts=consts, since=since)


conv("conv_1x1", (2, 24, 1, 9), (17, 24, 1, 1))
conv("conv_1x1_no_bias", (1, 24, 1, 9), (17, 24, 1, 1), bias=False)
conv("conv_1x1_groups", (1, 24, 1, 9), (12, 8, 1, 1), groups=3)
conv("conv_3x3", (1, 4, 6, 7), (5, 4, 3, 3))
conv("conv_3x3_same", (1, 4, 6, 7), (5, 4, 3, 3), pad_type="same")
conv("conv_even_same", (1, 4, 6, 7), (5, 4, 2, 4), pad_type="same")
conv("conv_even_same_lower", (1, 4, 6, 7), (5, 4, 2, 4), pad_type="same_lower", since="ios16")
conv("conv_strided_custom", (1, 4, 6, 7), (5, 4, 3, 2), strides=[2, 1], pad_type="custom", pad=[1, 0, 2, 1])
conv("conv_dilated", (1, 4, 8, 9), (6, 2, 2, 3), dilations=[2, 3], groups=2)
conv("conv_1d", (2, 6, 11), (4, 6, 3), strides=[2])
conv("conv_depthwise", (1, 6, 5, 5), (6, 1, 3, 3), groups=6, pad_type="same")

for tx in (False, True):
    for ty in (False, True):
        x, y = normal(f"mm{tx}", 2, 5, 7), normal(f"mm{ty}y", 2, 7, 4)
        FAMILY.add(
            "matmul",
            f"matmul_{'t' if tx else 'n'}{'t' if ty else 'n'}",
            lambda f, x, y, tx=tx, ty=ty: mb.matmul(x=x, y=y, transpose_x=tx, transpose_y=ty),
            lambda x, y, tx=tx, ty=ty: (x.swapaxes(-1, -2) if tx else x) @ (y.swapaxes(-1, -2) if ty else y),
            {"x": x.swapaxes(-1, -2) if tx else x, "y": y.swapaxes(-1, -2) if ty else y},
        )
FAMILY.add(
    "matmul",
    "matmul_broadcast",
    lambda f, x, y: mb.matmul(x=x, y=y),
    np.matmul,
    {"x": normal("mmb", 2, 1, 5, 7), "y": normal("mmby", 3, 7, 4)},
)
FAMILY.add(
    "matmul",
    "matmul_const",
    lambda f, x, w: mb.matmul(x=x, y=w),
    lambda x, w: x @ w,
    {"x": normal("mmc", 2, 5, 7)},
    consts={"w": normal("mmcw", 7, 6)},
)
FAMILY.add(
    "matmul",
    "matmul_attention",
    lambda f, q, k: mb.matmul(x=q, y=k, transpose_y=True),
    lambda q, k: q @ k.swapaxes(-1, -2),
    {"q": normal("mmq", 1, 2, 9, 16), "k": normal("mmk", 1, 2, 9, 16)},
)

for name, a, b in [
    ("einsum_rank4", (2, 5, 3, 7), (2, 7, 3, 4)),
    ("einsum_rank4_broadcast_h", (2, 5, 3, 7), (2, 7, 1, 4)),
    ("einsum_rank4_broadcast_n", (1, 5, 3, 7), (2, 7, 3, 4)),
]:
    FAMILY.add(
        "einsum",
        name,
        lambda f, x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"),
        lambda x, y: np.einsum(
            "nchw,nwhu->nchu",
            *(np.broadcast_to(v, (max(x.shape[0], y.shape[0]), v.shape[1], max(x.shape[2], y.shape[2]), v.shape[3])) for v in (x, y)),
        ),
        {"x": normal(name, *a), "y": normal(name + "y", *b)},
        infer=False,
    )
FAMILY.add(
    "einsum",
    "einsum_rank3",
    lambda f, x, y: mb.einsum(values=(x, y), equation="chw,whr->chr"),
    lambda x, y: np.einsum("chw,whr->chr", x, y),
    {"x": normal("einsum3", 5, 3, 7), "y": normal("einsum3y", 7, 3, 4)},
)


def attention(query, key, value, mask=None):
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + mask
    return softmax(scores, -1) @ value


QKV = {"query": normal("q", 1, 2, 5, 8), "key": normal("k", 1, 2, 7, 8), "value": normal("v", 1, 2, 7, 6)}
FAMILY.add(
    "scaled_dot_product_attention",
    "sdpa",
    lambda f, **v: mb.scaled_dot_product_attention(**v),
    attention,
    QKV,
    since="ios18",
)
FAMILY.add(
    "scaled_dot_product_attention",
    "sdpa_rank3",
    lambda f, **v: mb.scaled_dot_product_attention(**v),
    attention,
    {k: v[0] for k, v in QKV.items()},
    since="ios18",
)
FAMILY.add(
    "scaled_dot_product_attention",
    "sdpa_float_mask",
    lambda f, mask, **v: mb.scaled_dot_product_attention(attn_mask=mask, **v),
    attention,
    QKV | {"mask": np.where(integers("sdpa_mask", 1, 1, 1, 7, low=0, high=2) > 0, 0.0, -1e4)},
    since="ios18",
)
FAMILY.add(
    "scaled_dot_product_attention",
    "sdpa_bool_mask",
    lambda f, keep, **v: mb.scaled_dot_product_attention(attn_mask=mb.greater(x=keep, y=np.int32(0)), **v),
    lambda query, key, value, keep: attention(query, key, value, np.where(keep > 0, 0.0, -np.inf)),
    # The first key of every row is kept: a row without any has no answer.
    QKV | {"keep": np.maximum(integers("sdpa_keep", 1, 1, 5, 7, low=0, high=2), np.eye(1, 7, dtype=np.int32))},
    since="ios18",
    infer=False,
)
for axis in (-1, 1, 2):
    FAMILY.add(
        "softmax",
        f"softmax_axis{axis}".replace("-", "m"),
        lambda f, x, axis=axis: mb.softmax(x=x, axis=axis),
        lambda x, axis=axis: softmax(x, axis),
        {"x": normal(f"softmax{axis}", 2, 6, 3, 5, scale=3)},
    )
FAMILY.add(
    "softmax",
    "softmax_masked",
    lambda f, x, mask: mb.softmax(x=mb.add(x=x, y=mask), axis=-1),
    lambda x, mask: softmax(x + mask, -1),
    {"x": normal("softmax_masked", 2, 3, 8), "mask": np.where(np.arange(8) < 5, 0.0, -1e4) * np.ones((2, 1, 1))},
)
