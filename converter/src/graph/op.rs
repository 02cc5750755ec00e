//! The operations of the graph: ATen's own, and the few meanings passes lift them to.

use std::fmt;

/// One operation. Arguments are listed in order; `?` marks one that may be missing at the end.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// `aten::embedding(weight, indices)`.
    Embedding,
    /// `aten::linear(x, weight, bias?)`.
    Linear,
    /// `aten::layer_norm(x, weight, bias)` over the last dimension.
    LayerNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// `aten::add(a, b)`, broadcasting.
    Add,
    /// `aten::mul(a, b)`, broadcasting.
    Mul,
    /// `aten::mul(x, scalar)`.
    MulScalar(f64),
    /// `aten::rsub(x, scalar)`: scalar − x.
    RsubScalar(f64),
    /// `aten::to(x)` a float type.
    ToFloat,
    /// `aten::gelu(x)`.
    Gelu {
        /// The tanh approximation instead of erf.
        tanh: bool,
    },
    /// `aten::tanh(x)`.
    Tanh,
    /// `aten::relu(x)`.
    Relu,
    /// `aten::silu(x)`.
    Silu,
    /// `aten::sigmoid(x)`.
    Sigmoid,
    /// `aten::view(x, sizes)`; one size may be −1, what is left. A 0 keeps the argument's own size at that
    /// position, which may be a symbol.
    View(Vec<i64>),
    /// `aten::transpose(x, a, b)`.
    Transpose(i64, i64),
    /// `aten::unsqueeze(x, dim)`.
    Unsqueeze(i64),
    /// `aten::select(x, dim, index)`.
    Select {
        /// Dimension that disappears.
        dim: i64,
        /// Position kept.
        index: i64,
    },
    /// `aten::slice(x, dim, 0, like.size(dim))` of `(x, like)`: as much of `x` as `like` is long.
    SliceLike(i64),
    /// `aten::cat(xs…, dim)`.
    Concat(i64),
    /// `aten::scaled_dot_product_attention(query, key, value, mask?)` on (B, heads, S, d).
    ScaledDotProductAttention {
        /// Factor on the scores; 1/√d when `None`.
        scale: Option<f64>,
    },
    /// Lifted: (B, S) mask of ones and zeros → additive mask (B, 1, 1, S), zero where one, very negative
    /// elsewhere.
    PaddingMask,
    /// Lifted: multi-head attention `(query, key, value, mask?)` on (B, S, C), heads split and merged inside.
    Attention {
        /// Number of heads; divides C.
        heads: u64,
        /// Factor on the scores.
        scale: f64,
        /// How the channels of the arguments are ordered.
        layout: AttentionLayout,
    },
    /// Lifted: pools `(x (B, S, C), mask (B, S))` to (B, C).
    Pool(PoolKind),
    /// Lifted: divides (B, C) rows by their Euclidean norm.
    Normalize {
        /// Smallest norm divided by.
        epsilon: f64,
    },
}

/// How the channels that enter and leave [`Op::Attention`] are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttentionLayout {
    /// Head-major, as frameworks have it: channel = head · d + j.
    HeadMajor,
    /// All of query, key, value and result interleaved: channel = j · heads + head.
    Packed,
    /// Only the key interleaved, for one transpose and a cut per head.
    Split,
    /// All interleaved as in [`Self::Packed`], and so with the same weights, yet one head at a time.
    SplitInterleaved,
}

/// How token vectors become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolKind {
    /// The first token.
    Cls,
    /// Sum over unmasked tokens by their number.
    Mean,
    /// Largest value over unmasked tokens.
    Max,
    /// Sum over unmasked tokens by the root of their number.
    MeanSqrtLength,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Embedding => "aten::embedding",
            Self::Linear => "aten::linear",
            Self::LayerNorm { .. } => "aten::layer_norm",
            Self::Add => "aten::add",
            Self::Mul | Self::MulScalar(_) => "aten::mul",
            Self::RsubScalar(_) => "aten::rsub",
            Self::ToFloat => "aten::to",
            Self::Gelu { .. } => "aten::gelu",
            Self::Tanh => "aten::tanh",
            Self::Relu => "aten::relu",
            Self::Silu => "aten::silu",
            Self::Sigmoid => "aten::sigmoid",
            Self::View(_) => "aten::view",
            Self::Transpose(..) => "aten::transpose",
            Self::Unsqueeze(_) => "aten::unsqueeze",
            Self::Select { .. } => "aten::select",
            Self::SliceLike(_) => "aten::slice",
            Self::Concat(_) => "aten::cat",
            Self::ScaledDotProductAttention { .. } => "aten::scaled_dot_product_attention",
            Self::PaddingMask => "padding_mask",
            Self::Attention { .. } => "attention",
            Self::Pool(_) => "pool",
            Self::Normalize { .. } => "normalize",
        };
        f.write_str(name)
    }
}
