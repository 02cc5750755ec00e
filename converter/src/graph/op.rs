//! The operations of the graph: ATen's own, and the few meanings passes lift them to.

use std::fmt;

/// One operation. Arguments are listed in order; `?` marks one that may be missing at the end.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// `aten::embedding(weight, indices)`.
    Embedding,
    /// `aten::linear(x, weight, bias?)`.
    Linear,
    /// `aten::layer_norm(x, weight, bias?)` over the last dimension.
    LayerNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// `aten::add(a, b)`, broadcasting.
    Add,
    /// `aten::mul(a, b)`, broadcasting.
    Mul,
    /// `aten::sub(a, b)`, broadcasting.
    Sub,
    /// `aten::div(a, b)`, broadcasting.
    Div,
    /// `aten::maximum(a, b)`, broadcasting.
    Maximum,
    /// `aten::minimum(a, b)`, broadcasting.
    Minimum,
    /// `aten::logical_and(a, b)`, broadcasting.
    And,
    /// `aten::logical_or(a, b)`, broadcasting.
    Or,
    /// A comparison of two values, broadcasting.
    Compare(Comparison),
    /// A comparison with a scalar on the right.
    CompareScalar(Comparison, f64),
    /// `aten::where(condition, a, b)`, broadcasting.
    Where,
    /// `aten::masked_fill(x, mask, scalar)`: the scalar where the mask is true.
    MaskedFill(f64),
    /// `aten::add(x, scalar)`.
    AddScalar(f64),
    /// `aten::mul(x, scalar)`.
    MulScalar(f64),
    /// `aten::pow(x, scalar)`.
    PowScalar(f64),
    /// `aten::clamp(x, min, max)`; infinite where open.
    Clamp {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
    /// An elementwise function.
    Unary(Unary),
    /// `aten::rsub(x, scalar)`: scalar − x.
    RsubScalar(f64),
    /// `aten::to(x)` a float type.
    ToFloat,
    /// `aten::to(x)` an integer type; floats lose their fraction.
    ToInt,
    /// `aten::to(x, bool)`: whether it is not zero.
    ToBool,
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
    /// `aten::permute(x, dims)`.
    Permute(Vec<i64>),
    /// `aten::slice(x, dim, start, end)`.
    Slice {
        /// Dimension cut.
        dim: i64,
        /// First position kept.
        start: u64,
        /// One past the last.
        end: u64,
    },
    /// `aten::expand(x, sizes)`: repeats along dimensions of size 1 and new ones in front.
    Expand(Vec<u64>),
    /// `aten::matmul(a, b)` of values of rank 2 or more, leading dimensions broadcasting.
    Matmul,
    /// `aten::softmax(x, dim)`.
    Softmax(i64),
    /// A reduction over some dimensions.
    Reduce {
        /// What is computed.
        kind: Reduction,
        /// Over which dimensions.
        dims: Vec<i64>,
        /// Whether they stay, with size 1.
        keep: bool,
    },
    /// `aten::cumsum(x, dim)`.
    CumSum(i64),
    /// `aten::gather(x, dim, index)`.
    Gather(i64),
    /// `aten::scaled_dot_product_attention(query, key, value, mask?)` on (B, heads, S, d).
    ScaledDotProductAttention {
        /// Factor on the scores; 1/√d when `None`.
        scale: Option<f64>,
    },
    /// Lifted: (B, S) mask of ones and zeros → additive mask (B, 1, 1, S), zero where one, very negative
    /// elsewhere.
    PaddingMask,
    /// Lifted: (B, S) token ids → (B, S) positions, counted over the ids that are not `padding`: the first of
    /// them has position `padding` + 1, a padding id has position `padding` (RoBERTa's `position_ids`).
    PositionIds {
        /// The id that is not counted.
        padding: u32,
    },
    /// Lifted: `(x (B, S, C), mask (B, S))`, vectors whose mask is zero become zero.
    MaskTokens,
    /// Lifted: convolution over tokens, `(x (B, S, C), weight (out, C / groups, width), bias?)`, zeros beside the
    /// ends so that the length stays; `width` is odd.
    TokenConvolution {
        /// Groups of channels that don't see each other.
        groups: u64,
    },
    /// Lifted: rotary positions on `(x (B, S, C), cos (S, d/2), sin (S, d/2))`: in each head the components j and
    /// j + d/2 are turned by the angle of column j.
    Rotary {
        /// Number of heads; divides C.
        heads: u64,
        /// How the channels of x and of the result are ordered.
        layout: AttentionLayout,
    },
    /// Lifted: scores of content against relative positions, `(x (B, S, C), table (2S, C))` → (B, heads, S, S):
    /// x at position i times, head by head, row S + j − i of the table. Row 0 is never met; it keeps the width
    /// even.
    RelativeScores {
        /// Number of heads; divides C.
        heads: u64,
        /// How the channels of x and of the table are ordered.
        layout: AttentionLayout,
        /// Which side of the scores i is.
        of: ScoreSide,
    },
    /// Lifted: multi-head attention `(query, key, value, terms…)` on (B, S, C), heads split and merged inside.
    /// Terms are added to the scaled scores and broadcast to (B, heads, queries, keys): masks, biases by
    /// position, [`Self::RelativeScores`], sums of such.
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

/// Elementwise functions that have no operation of their own above.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // ATen's names
pub enum Unary {
    Abs,
    Ceil,
    Cos,
    Erf,
    Exp,
    Floor,
    Log,
    /// `aten::logical_not`.
    Not,
    Rsqrt,
    Sign,
    Sin,
    Sqrt,
}

/// Comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // ATen's names
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Reductions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reduction {
    /// `aten::sum`.
    Sum,
    /// `aten::mean`.
    Mean,
    /// `aten::amax`.
    Max,
    /// `aten::amin`.
    Min,
    /// `aten::linalg_vector_norm` of order 2.
    Norm,
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

/// A side of attention scores (B, heads, queries, keys).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScoreSide {
    /// Rows.
    Query,
    /// Columns.
    Key,
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

impl Op {
    /// Whether it treats every element alike and its arguments broadcast, so that neither shape nor layout matters to it.
    /// The non-linearities do too but are not counted: each user decides on them.
    pub(crate) const fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Self::Add
                | Self::Sub
                | Self::Mul
                | Self::Div
                | Self::Maximum
                | Self::Minimum
                | Self::And
                | Self::Or
                | Self::Compare(_)
                | Self::CompareScalar(..)
                | Self::Where
                | Self::MaskedFill(_)
                | Self::AddScalar(_)
                | Self::MulScalar(_)
                | Self::RsubScalar(_)
                | Self::PowScalar(_)
                | Self::Clamp { .. }
                | Self::Unary(_)
                | Self::ToFloat
                | Self::ToBool
        )
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Embedding => "aten::embedding",
            Self::Linear => "aten::linear",
            Self::LayerNorm { .. } => "aten::layer_norm",
            Self::Add | Self::AddScalar(_) => "aten::add",
            Self::Sub => "aten::sub",
            Self::Div => "aten::div",
            Self::Maximum => "aten::maximum",
            Self::Minimum => "aten::minimum",
            Self::And => "aten::logical_and",
            Self::Or => "aten::logical_or",
            Self::Compare(comparison) | Self::CompareScalar(comparison, _) => comparison.name(),
            Self::Where => "aten::where",
            Self::MaskedFill(_) => "aten::masked_fill",
            Self::PowScalar(_) => "aten::pow",
            Self::Clamp { .. } => "aten::clamp",
            Self::Unary(function) => function.name(),
            Self::Mul | Self::MulScalar(_) => "aten::mul",
            Self::RsubScalar(_) => "aten::rsub",
            Self::ToFloat | Self::ToInt | Self::ToBool => "aten::to",
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
            Self::Permute(_) => "aten::permute",
            Self::Slice { .. } => "aten::slice",
            Self::Expand(_) => "aten::expand",
            Self::Matmul => "aten::matmul",
            Self::Softmax(_) => "aten::softmax",
            Self::Reduce { kind, .. } => kind.name(),
            Self::CumSum(_) => "aten::cumsum",
            Self::Gather(_) => "aten::gather",
            Self::ScaledDotProductAttention { .. } => "aten::scaled_dot_product_attention",
            Self::PaddingMask => "padding_mask",
            Self::PositionIds { .. } => "position_ids",
            Self::MaskTokens => "mask_tokens",
            Self::TokenConvolution { .. } => "token_convolution",
            Self::Rotary { .. } => "rotary",
            Self::RelativeScores { .. } => "relative_scores",
            Self::Attention { .. } => "attention",
            Self::Pool(_) => "pool",
            Self::Normalize { .. } => "normalize",
        };
        f.write_str(name)
    }
}

impl Unary {
    /// The function in ATen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abs => "aten::abs",
            Self::Ceil => "aten::ceil",
            Self::Cos => "aten::cos",
            Self::Erf => "aten::erf",
            Self::Exp => "aten::exp",
            Self::Floor => "aten::floor",
            Self::Log => "aten::log",
            Self::Not => "aten::logical_not",
            Self::Rsqrt => "aten::rsqrt",
            Self::Sign => "aten::sign",
            Self::Sin => "aten::sin",
            Self::Sqrt => "aten::sqrt",
        }
    }
}

impl Comparison {
    /// The function in ATen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eq => "aten::eq",
            Self::Ne => "aten::ne",
            Self::Lt => "aten::lt",
            Self::Le => "aten::le",
            Self::Gt => "aten::gt",
            Self::Ge => "aten::ge",
        }
    }
}

impl Reduction {
    /// The function in ATen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "aten::sum",
            Self::Mean => "aten::mean",
            Self::Max => "aten::amax",
            Self::Min => "aten::amin",
            Self::Norm => "aten::linalg_vector_norm",
        }
    }
}
