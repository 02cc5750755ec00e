//! How far the values inside a package are from the reference's, block by block and operation by operation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{Decibels, Number, finite_or_text};

/// Where, and how fast, a package departs from its reference. No part of the verdict.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DriftReport {
    /// The bucket looked at, as [`crate::report::BucketReport::name`].
    pub bucket: String,
    /// What computed the inner values.
    pub reference: String,
    /// Rows it was found on: the first of the bucket's.
    pub rows: usize,
    /// Signal to loss below which an operation is taken to be at fault, in decibels.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub threshold: f64,
    /// The model's blocks, in the order they are computed.
    pub blocks: Vec<BlockDrift>,
    /// The operations that have a counterpart in the reference, in program order.
    pub operations: Vec<OperationDrift>,
    /// Places of the reference that no value of the package could be held against, and why.
    pub unpaired: Vec<Unpaired>,
    /// Where it first departs; none when nothing passes the threshold.
    pub departure: Option<Departure>,
}

/// One block of a model: a layer, the embeddings, a head.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BlockDrift {
    /// Path of its module in the reference.
    pub place: String,
    /// The operation that gives its result.
    pub operation: String,
    /// The loss that has gathered up to here, the package run as a whole.
    pub cumulative: DriftErrors,
    /// What the block loses by itself, given the reference's values.
    pub isolated: DriftErrors,
}

/// One operation that has a counterpart in the reference.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OperationDrift {
    /// Operation name in the package.
    pub operation: String,
    /// Operation type.
    pub op: String,
    /// Path of the module in the reference that gives the same value.
    pub place: String,
    /// The block it belongs to.
    pub block: String,
    /// How the two were found to belong together.
    pub paired_by: PlacePairing,
    /// How the value lies in the package, as held against (rows, positions, channels).
    pub arrangement: String,
    /// The loss that has gathered up to here, the package run as a whole.
    pub cumulative: DriftErrors,
    /// What is lost between the values before that have counterparts and this one, given the reference's there.
    pub isolated: DriftErrors,
    /// The operations between those values and this one, itself the last, in program order: what is lost is theirs.
    pub within: Vec<String>,
}

/// Why a value and a place are taken for the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlacePairing {
    /// The operation is named after the module.
    Name,
    /// The operation takes a weight that is named after the module's.
    Weight,
    /// It is an output of both.
    Output,
}

/// A place without counterpart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Unpaired {
    /// Path of the module in the reference.
    pub place: String,
    /// Why it has none.
    pub reason: String,
}

/// Loss at one place, over all tokens of all rows.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DriftErrors {
    /// Signal to loss.
    pub sqnr: Decibels,
    /// Largest absolute error.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub max_abs: f32,
    /// Values of the package that are not finite where the reference's are; the loss is infinite then.
    pub nonfinite: u64,
}

/// Where a package first departs from its reference.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Departure {
    /// The first block past the threshold.
    pub block: String,
    /// The first operation past it.
    pub operation: String,
    /// Its type.
    pub op: String,
    /// Its counterpart in the reference.
    pub place: String,
    /// Signal to loss there.
    pub sqnr: Decibels,
    /// Whether the operation loses that by itself, or loss gathered up to there.
    pub by: DepartedBy,
    /// The operations that can be at fault, itself the last.
    pub within: Vec<String>,
}

/// How a departure shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DepartedBy {
    /// Given the reference's values, it gives others.
    Itself,
    /// No operation is past the threshold by itself; what all lost together is, and this one loses most of it.
    Gathering,
}

impl DriftReport {
    /// The five operations that lose most by themselves, most first.
    pub fn costliest(&self) -> Vec<&OperationDrift> {
        let mut all: Vec<&OperationDrift> = self.operations.iter().collect();
        all.sort_by(|a, b| a.isolated.sqnr.0.total_cmp(&b.isolated.sqnr.0));
        all.truncate(5);
        all
    }
}
