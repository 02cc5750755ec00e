//! What was found, as data. `schema` counts up when a field changes its meaning or goes away.

pub mod drift;
mod number;
pub mod numerics;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::metrics::{Agreement, Bin, Divergence, LabelledReport, OutputKind, SpanMatch, TopFive};
use crate::verdict::{GateReport, Thresholds, Verdict};

pub use number::Number;
pub(crate) use number::{finite_or_text, optional};

/// Version of the report's JSON form.
pub const SCHEMA: u32 = 3;

/// Everything one verification found. Nothing in it depends on the clock.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VerifyReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of the verifier.
    pub corer: String,
    /// SHA-256 of the program that judged, if it was asked to take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_sha256: Option<String>,
    /// Whether the package passed: every bucket of it.
    pub verdict: Verdict,
    /// What was judged.
    pub package: PackageReport,
    /// What it was judged by.
    pub reference: ReferenceReport,
    /// Where it was executed.
    pub execution: ExecutionReport,
    /// One entry per function and size judged, at least one.
    pub buckets: Vec<BucketReport>,
    /// Functions and sizes the reference has no answer for.
    pub not_judged: Vec<NotJudged>,
    /// Whether it was stopped before all rows were compared. Such a verdict is never a pass.
    pub interrupted: bool,
    /// Where the values inside it depart from the reference's, where that was looked at; no part of the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<drift::DriftReport>,
    /// Why nobody looked, where a verdict that did not pass comes without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_missing: Option<String>,
}

impl VerifyReport {
    /// Whether something is worth a look: of the verdict, or of the numerics beside it.
    pub fn warned(&self) -> bool {
        let mut numerics = self.buckets.iter().filter_map(|bucket| bucket.numerics.as_ref());
        !self.verdict.warnings.is_empty() || numerics.any(|numerics| !numerics.warnings.is_empty())
    }

    /// Reads a report from its JSON form.
    ///
    /// # Errors
    /// Why it is none, or of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            schema: u32,
        }
        let no_report = |error: serde_json::Error| format!("is no report of `corer verify`: {error}");
        let Versioned { schema } = serde_json::from_slice(bytes).map_err(no_report)?;
        if schema != SCHEMA {
            return Err(format!(
                "is a report in form {schema}, this corer knows form {SCHEMA}; verify the package again"
            ));
        }
        serde_json::from_slice(bytes).map_err(no_report)
    }
}

/// The judged package.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackageReport {
    /// Its directory.
    pub path: String,
    /// Its digest ([`corer_proto::package_digest`]).
    pub digest: String,
    /// Bytes of all its files.
    #[serde(default)]
    pub bytes: u64,
    /// Specification version.
    pub specification_version: i32,
    /// Metadata entries its writer left, such as the source's digest.
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// One function at one size of its inputs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BucketReport {
    /// What tells it from the others: the function's name, its size, or both.
    pub name: String,
    /// The function executed.
    pub function: String,
    /// Rows per execution.
    pub batch: usize,
    /// Positions per row.
    pub length: usize,
    /// Whether a caller who chooses nothing gets it.
    pub default: bool,
    /// Whether it passed.
    pub verdict: Verdict,
    /// Precision its values are declared in.
    pub precision: Precision,
    /// What it was fed.
    pub inputs: InputReport,
    /// One entry per output of the function.
    pub outputs: Vec<OutputReport>,
    /// Answers chosen by two outputs together, for a model that has `start_logits` and `end_logits`.
    pub spans: Option<SpanMatch>,
    /// What must hold whatever the reference says.
    pub probes: ProbeReport,
    /// The limits applied.
    pub thresholds: Thresholds,
    /// Limits that only warn, and those against an earlier report, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateReport>,
    /// Other arithmetics and headroom, where they were looked at; no part of the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numerics: Option<numerics::NumericsReport>,
}

/// A bucket that could not be judged, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NotJudged {
    /// As [`BucketReport::name`].
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// How finely a package's values are held; decides the default thresholds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// No half-precision value anywhere.
    Fp32,
    /// Some values in half precision, weights uncompressed.
    Fp16,
    /// Quantized, palettized or pruned weights.
    Compressed,
}

impl Precision {
    /// One step of the values' number format, relative to a number's size. Compressed weights are computed with in
    /// half precision.
    pub const fn step(self) -> f32 {
        match self {
            Self::Fp32 => f32::EPSILON,
            Self::Fp16 | Self::Compressed => 1.0 / 1024.0,
        }
    }
}

/// The reference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReferenceReport {
    /// What computed it.
    pub kind: String,
    /// Where it was read from.
    pub path: String,
    /// Its task, if it has one.
    pub task: Option<String>,
    /// The files its numbers come from.
    pub files: Vec<FileDigest>,
    /// What its maker wrote into it, such as the versions that recorded it.
    pub notes: std::collections::BTreeMap<String, String>,
}

/// A file and what it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileDigest {
    /// Path relative to the reference.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Lower-case hexadecimal SHA-256, as `sha256sum` prints it.
    pub sha256: String,
}

/// The inputs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InputReport {
    /// Where they came from.
    pub origin: String,
    /// Number of rows.
    pub rows: usize,
    /// Positions per row.
    pub length: usize,
    /// Tokens in all rows.
    pub tokens: usize,
    /// Fewest tokens in a row.
    pub shortest: usize,
    /// Most tokens in a row.
    pub longest: usize,
    /// Texts cut to fit.
    pub truncated: usize,
    /// Inputs the package does not take, so that the reference got their neutral value: `token_type_ids` zeros,
    /// `attention_mask` ones.
    pub not_taken: Vec<String>,
}

/// Where and how the package was executed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionReport {
    /// The engine.
    pub engine: String,
    /// `f32` or `as-written`.
    pub arithmetic: String,
    /// Cores this machine offers.
    pub host_cores: usize,
}

/// One output of the package against its counterpart.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OutputReport {
    /// Name in the package.
    pub package: String,
    /// Name in the reference.
    pub reference: String,
    /// How the two were found to belong together.
    pub paired_by: PairedBy,
    /// Shape of one row.
    pub row_shape: Vec<usize>,
    /// What was found.
    #[serde(flatten)]
    pub errors: ErrorReport,
    /// Both sides' scores on labelled rows, where there are labels and they are of this output's kind.
    pub labelled: Option<LabelledReport>,
}

/// Why two outputs are taken for the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PairedBy {
    /// The caller said so.
    Request,
    /// They have the same name.
    Name,
    /// Both sides have as many outputs left, with equal shapes in order.
    Order,
    /// No other output has this shape.
    Shape,
    /// A classifier's label or probabilities against the logits.
    Classifier,
}

/// The figures of one output; see [`crate::metrics`] for their definitions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// What the output was compared as.
    pub kind: OutputKind,
    /// Rows seen.
    pub rows: u64,
    /// Rows without any token: checked for finite values only.
    pub rows_without_tokens: u64,
    /// Elements compared.
    pub elements: u64,
    /// Largest absolute error.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub max_abs: f32,
    /// Mean absolute error.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub mean_abs: f64,
    /// 99th percentile of the absolute error, at most 1/16 too high.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub p99_abs: f32,
    /// Σ|p − r| / Σ|r|.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub relative: f64,
    /// Largest error in a vector over the root mean square of the reference's vector.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub max_relative: f64,
    /// Largest magnitude in the reference.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub peak: f32,
    /// Peak signal-to-noise ratio.
    pub psnr: Decibels,
    /// Signal to quantization noise ratio.
    pub sqnr: Decibels,
    /// Cosines, per token or row.
    pub cosine: Option<CosineReport>,
    /// Agreement of the best score.
    pub top1: Option<Agreement>,
    /// The reference's best score among the package's five best.
    pub top5: Option<TopFive>,
    /// Divergence of the probabilities.
    pub divergence: Option<Divergence>,
    /// Sentence vectors and their neighbours.
    pub sentence: Option<SentenceReport>,
    /// Values of the reference that are not finite, anywhere.
    pub nonfinite_reference: u64,
    /// Values of the package that are not finite, anywhere.
    pub nonfinite_package: u64,
    /// How many elements are how far off, by powers of two, from exact to the largest error; bins between that are
    /// empty are there.
    #[serde(default)]
    pub error_histogram: Vec<Bin>,
    /// The same in steps of the package's number format at the reference's value.
    #[serde(default)]
    pub step_histogram: Vec<Bin>,
    /// The largest absolute error's place.
    pub worst: Option<Worst>,
    /// The rows with the largest errors, the farthest first, each at its largest error; at most
    /// [`WORST_ROWS`](crate::metrics::WORST_ROWS).
    #[serde(default)]
    pub worst_rows: Vec<Worst>,
}

/// A ratio in decibels. In JSON a number, or `"inf"` for an exact match, or `"-inf"`.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Decibels(pub f64);

impl Serialize for Decibels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        finite_or_text::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Decibels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        finite_or_text::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Decibels {
    fn schema_name() -> Cow<'static, str> {
        "Decibels".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Number::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Cosines between vectors of both sides.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CosineReport {
    /// What a vector belongs to: `token` (tokens only, padding left out) or `row`.
    pub per: String,
    /// Number of vectors.
    pub vectors: u64,
    /// Lowest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// The lowest one's place.
    pub worst: WorstCosine,
}

/// Where the lowest cosine is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorstCosine {
    /// Input row, from 0.
    pub row: usize,
    /// Position in the row, for outputs per token.
    pub token: Option<usize>,
    /// The beginning of the text.
    pub text: Option<String>,
    /// The cosine.
    pub cosine: f64,
}

/// Sentence vectors: embeddings as they are, token vectors as their mean over tokens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SentenceReport {
    /// What the vectors are.
    pub vectors: String,
    /// Their cosines.
    pub cosine: Option<CosineReport>,
    /// Neighbours looked at per row; none with fewer than three rows.
    pub neighbours: Option<usize>,
    /// Mean share of nearest neighbours both sides agree on, over the first 1024 rows.
    pub neighbour_overlap: Option<f64>,
    /// Spearman's rank correlation of the cosines between all pairs of the same rows.
    pub rank_correlation: Option<f64>,
}

/// Where the largest error is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Worst {
    /// Input row, from 0.
    pub row: usize,
    /// The beginning of the text.
    pub text: Option<String>,
    /// Index inside the row: `[position, channel]`, `[position]` or `[channel]`.
    pub position: Vec<usize>,
    /// The reference's value.
    pub reference: f32,
    /// The package's value.
    pub package: f32,
    /// The distance between them.
    pub error: f32,
}

/// What must hold whatever the reference says. `None` when a probe could not be made.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProbeReport {
    /// Values that are not finite when a mask is all zero.
    pub nonfinite_without_tokens: Option<u64>,
    /// The most a compared value changes when ids under the padding do.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub change_under_padding: Option<f32>,
}
