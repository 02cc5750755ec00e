//! What a sentence-transformers directory does after the transformer: `modules.json` and its modules.
//!
//! Names, defaults and order follow the package's `Pooling`, `Dense` and `Normalize` classes, in the spelling of
//! version 5 (`pooling_mode_mean_tokens: true`) and of version 6 (`pooling_mode: "mean"`).

mod read;

use super::tensor_set::TensorSlice;

pub(super) use read::ModuleList;

/// How a sentence vector is made from token vectors.
#[derive(Clone, Debug)]
pub struct SentenceModules {
    /// How tokens become one vector.
    pub pooling: Pooling,
    /// What follows the pooling, in order.
    pub steps: Vec<SentenceStep>,
    /// Longest input in tokens, from `sentence_bert_config.json`.
    pub max_seq_length: Option<u64>,
}

/// Pooling over the tokens of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pooling {
    /// Channels of a token vector.
    pub dimension: u64,
    /// Modes in the order their results are concatenated; never empty.
    pub modes: Vec<PoolingMode>,
}

/// One way to pool tokens. A token counts when its attention mask is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PoolingMode {
    /// The first token.
    Cls,
    /// The maximum over the tokens that count.
    Max,
    /// The mean over the tokens that count.
    Mean,
    /// The sum over the tokens that count, divided by the square root of their number.
    MeanSqrtLength,
    /// The mean weighted by position (1 for the first token, 2 for the second …).
    WeightedMean,
    /// The last token that counts.
    LastToken,
}

impl PoolingMode {
    /// Every mode in the order the package concatenates them, with the flag of version 5.
    const FLAGS: [(&'static str, Self); 6] = [
        ("pooling_mode_cls_token", Self::Cls),
        ("pooling_mode_max_tokens", Self::Max),
        ("pooling_mode_mean_tokens", Self::Mean),
        ("pooling_mode_mean_sqrt_len_tokens", Self::MeanSqrtLength),
        ("pooling_mode_weightedmean_tokens", Self::WeightedMean),
        ("pooling_mode_lasttoken", Self::LastToken),
    ];

    /// The name version 6 gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::MeanSqrtLength => "mean_sqrt_len_tokens",
            Self::WeightedMean => "weightedmean",
            Self::LastToken => "lasttoken",
        }
    }
}

/// One step after the pooling.
#[derive(Clone, Debug)]
pub enum SentenceStep {
    /// A dense layer.
    Dense(DenseModule),
    /// Division by the Euclidean length.
    Normalize,
}

/// A dense layer with its activation: `activation(x · weightᵀ + bias)`.
#[derive(Clone, Debug)]
pub struct DenseModule {
    /// Folder of the module, relative to the root.
    pub folder: String,
    /// Channels in.
    pub in_features: u64,
    /// Channels out.
    pub out_features: u64,
    /// What follows.
    pub activation: DenseActivation,
    /// Shape `[out, in]`.
    pub weight: TensorSlice,
    /// Shape `[out]`.
    pub bias: Option<TensorSlice>,
}

/// Activations of dense modules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
}
