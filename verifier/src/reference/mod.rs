//! What a package is held against: the same model computed by someone else.
//!
//! Nothing here knows the converter. [`candle`] computes the checkpoint with candle-transformers; [`golden`] plays
//! back what PyTorch computed elsewhere.

pub mod candle;
pub mod golden;
mod stored;

use std::collections::BTreeMap;

use crate::error::ReferenceError;
use crate::inputs::Batch;
use crate::report::ReferenceReport;
use crate::tensor::Tensor;

/// Hugging Face's outputs in the order its models return them; outputs of a package whose names don't say are
/// told apart by this order.
pub(crate) const OUTPUT_ORDER: [&str; 6] = [
    "last_hidden_state",
    "pooler_output",
    "sentence_embedding",
    "logits",
    "start_logits",
    "end_logits",
];

/// A model that is taken to be right.
pub trait Reference {
    /// What it is, for the report.
    fn describe(&self) -> ReferenceReport;

    /// The outputs that make up the model's task, in the order the source framework returns them.
    /// [`Self::outputs`] may give more.
    fn task_outputs(&self) -> Vec<String>;

    /// The class names of a classifying head, by index, when the source has them.
    fn labels(&self) -> Option<&[String]> {
        None
    }

    /// Outputs for one batch of `n` rows, each (n, …), under the source framework's names.
    ///
    /// # Errors
    /// When the batch doesn't fit the model, or the computation fails.
    fn outputs(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError>;
}
