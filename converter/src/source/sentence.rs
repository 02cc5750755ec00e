//! What a sentence-transformers directory does after the transformer: `modules.json` and its modules.
//!
//! Names and defaults follow `sentence_transformers.models` (`Pooling`, `Dense`, `Normalize`).

use super::tensor_set::TensorSlice;

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

/// One way to pool tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PoolingMode {
    /// The first token.
    Cls,
    /// The maximum over the tokens the mask keeps.
    Max,
    /// The mean over the tokens the mask keeps.
    Mean,
    /// The sum over the tokens the mask keeps, divided by the square root of their number.
    MeanSqrtLength,
    /// The mean weighted by position (1 for the first token, 2 for the second …).
    WeightedMean,
    /// The last token the mask keeps.
    LastToken,
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
    /// Shape [out, in].
    pub weight: TensorSlice,
    /// Shape [out].
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
