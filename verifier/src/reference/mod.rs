//! What a package is held against: the same model computed by someone else.
//!
//! Nothing here knows the converter. [`candle`] computes the checkpoint with candle-transformers; [`golden`] plays
//! back what PyTorch computed elsewhere; [`package`] executes another package.

pub mod candle;
pub mod golden;
pub mod package;
pub(crate) mod stored;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::ReferenceError;
use crate::inputs::{Batch, InputSet, InputType};
use crate::report::{FileDigest, ReferenceReport};
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

/// What a reference knows of the rows it can be given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Intake {
    /// What integers of an input lie below, by the input's name: `input_ids` below the size of the vocabulary.
    pub bounds: BTreeMap<String, usize>,
    /// The id it pads with.
    pub pad: usize,
    /// Where its `tokenizer.json` should lie; it need not exist.
    pub tokenizer: Option<PathBuf>,
}

/// What a reference is about to be given: the inputs of the function judged, at the size it is judged at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feed {
    /// Rows per execution of the function. A model traced at one batch size has to be run like that.
    pub batch: usize,
    /// Positions per row.
    pub length: usize,
    /// Everything the function takes, in its order.
    pub inputs: Vec<InputType>,
}

/// A place inside a model: the path of a module, `encoder.layer.3.attention.output`, in the source framework's names.
/// Its value is what the module returns.
pub type Place = String;

/// What a file a reference is read from holds, for [`ReferenceReport::files`].
///
/// # Errors
/// When it can't be read.
pub fn file_digest(path: &Path) -> Result<FileDigest, ReferenceError> {
    stored::TensorFile::open(path)?.digest(path.parent().unwrap_or(Path::new("")))
}

/// A model that is taken to be right.
pub trait Reference {
    /// What it is, for the report.
    fn describe(&self) -> ReferenceReport;

    /// What rows may hold.
    fn intake(&self) -> Intake;

    /// The only rows it has answers to, if it is no model but a recording.
    fn recorded(&self) -> Option<&InputSet> {
        None
    }

    /// Readies it for batches of one size; called before the first of them, and again when the size changes. What
    /// [`Self::outputs`] is then given may have any number of rows.
    ///
    /// # Errors
    /// [`ReferenceError::Size`] when it has no answers for this size but may have some for others.
    fn prepare(&mut self, feed: &Feed) -> Result<(), ReferenceError> {
        let _ = feed;
        Ok(())
    }

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

    /// Outputs as [`Self::outputs`] gives them, for whoever reads them at tokens only: behind a row's last token there may
    /// be zeros instead, so that padding need not be computed. Rows without a token are complete.
    ///
    /// # Errors
    /// As [`Self::outputs`].
    fn outputs_at_tokens(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
        self.outputs(batch)
    }

    /// The rows it is best given at once; more than an execution takes where rows of like length are computed together.
    fn rows_at_once(&self) -> usize {
        1
    }

    /// The places whose values [`Self::traced`] can give, in the order they are computed; none when it keeps them to
    /// itself.
    fn places(&self) -> Vec<Place> {
        Vec::new()
    }

    /// The values at some of [`Self::places`] for one batch of `n` rows, in the order wanted. They are as the source
    /// has them, usually (n, positions, channels).
    ///
    /// # Errors
    /// When a place is not among [`Self::places`], the batch doesn't fit the model, or the computation fails.
    fn traced(&self, batch: &Batch<'_>, want: &[Place]) -> Result<Vec<Tensor>, ReferenceError> {
        let _ = batch;
        match want.first() {
            Some(place) => Err(ReferenceError::Place { place: place.clone() }),
            None => Ok(Vec::new()),
        }
    }
}
