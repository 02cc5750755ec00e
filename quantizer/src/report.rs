//! What was done to each weight, and what it cost.

use serde::Serialize;

use crate::codec::Deviation;
use crate::rules::Warning;

/// What was, or would be, done to a program's weights.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Every float weight, in the order of functions and operations.
    pub weights: Vec<WeightReport>,
    /// All weights together.
    pub totals: Totals,
    /// What the user should know that belongs to no one weight.
    pub notes: Vec<String>,
}

/// One weight.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WeightReport {
    /// Function it belongs to.
    pub function: String,
    /// Name of the value.
    pub name: String,
    /// Types of the operations that use it.
    pub used_by: Vec<String>,
    /// Sizes.
    pub shape: Vec<u64>,
    /// How it was stored.
    pub before: String,
    /// How it is stored now.
    pub after: String,
    /// Whether anything changed.
    pub changed: bool,
    /// Bytes in the package before.
    pub bytes_before: u64,
    /// Bytes in the package now; for a plan, what they will be or nearly so.
    pub bytes_after: u64,
    /// Signal to quantization noise: 10·log₁₀(Σw² / Σ(w − ŵ)²) in dB over all elements; none where nothing is lost
    /// or nothing was computed.
    pub sqnr_db: Option<f64>,
    /// Largest |w − ŵ|.
    pub max_error: Option<f32>,
    /// Σ(w − ŵ)².
    pub squared_error: Option<f64>,
    /// Why it was left alone, or what was settled for it alone.
    pub note: Option<String>,
    /// Hardware rules the scheme touches.
    pub warnings: Vec<Warning>,
}

/// All weights together.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Totals {
    /// Float weights of the program.
    pub weights: usize,
    /// Those that changed.
    pub changed: usize,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
    /// SQNR over the elements of all weights that changed, in dB.
    pub sqnr_db: Option<f64>,
    /// Largest error of any weight.
    pub max_error: Option<f32>,
}

impl WeightReport {
    /// Takes down how far the weight is off.
    pub(crate) fn set_deviation(&mut self, deviation: Deviation) {
        self.sqnr_db = sqnr(deviation);
        self.max_error = Some(deviation.largest);
        self.squared_error = Some(deviation.noise);
    }
}

/// None when nothing is lost.
pub(crate) fn sqnr(deviation: Deviation) -> Option<f64> {
    (deviation.noise > 0.0 && deviation.signal > 0.0)
        .then(|| 10.0 * (deviation.signal / deviation.noise).log10())
}

impl Report {
    /// Adds the weights up.
    pub(crate) fn new(weights: Vec<WeightReport>, deviation: Option<Deviation>, notes: Vec<String>) -> Self {
        let totals = Totals {
            weights: weights.len(),
            changed: weights.iter().filter(|weight| weight.changed).count(),
            bytes_before: weights.iter().map(|weight| weight.bytes_before).sum(),
            bytes_after: weights.iter().map(|weight| weight.bytes_after).sum(),
            sqnr_db: deviation.and_then(sqnr),
            max_error: deviation.map(|deviation| deviation.largest),
        };
        Self {
            weights,
            totals,
            notes,
        }
    }
}
