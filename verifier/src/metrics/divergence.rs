//! How far a package's probabilities are from the reference's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kullback–Leibler divergence of the package's distributions from the reference's, in nats, one per decision:
/// Σ r·ln(r / p) with r = softmax of the reference's scores and p = softmax of the package's.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Divergence {
    /// Decisions with finite scores on both sides.
    pub decisions: u64,
    /// Mean over the decisions; 0 when there were none.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// Input row of the largest.
    pub worst_row: Option<usize>,
}

impl Divergence {
    /// Adds one decision of input row `row` by its scores before softmax.
    pub(super) fn add_logits(&mut self, row: usize, reference: &[f32], package: &[f32]) {
        if let (Some(r), Some(p)) = (log_softmax(reference), log_softmax(package)) {
            self.add(row, &r, &p);
        }
    }

    /// Adds one decision of input row `row` by its probabilities.
    pub(super) fn add_probabilities(&mut self, row: usize, reference: &[f32], package: &[f32]) {
        // The smallest f32 above zero stands for a probability that was rounded to nothing.
        let logs = |values: &[f32]| -> Vec<f64> {
            let least = f64::from(f32::from_bits(1));
            values.iter().map(|p| f64::from(*p).max(least).ln()).collect()
        };
        let probabilities = |values: &[f32]| values.iter().all(|p| (0.0..=1.001).contains(p));
        if probabilities(reference) && probabilities(package) {
            self.add(row, &logs(reference), &logs(package));
        }
    }

    #[allow(clippy::cast_precision_loss)] // counts of decisions
    fn add(&mut self, row: usize, reference: &[f64], package: &[f64]) {
        let terms = reference.iter().zip(package).map(|(r, p)| r.exp() * (r - p));
        // Rounding alone can leave a tiny negative sum.
        let divergence = terms.sum::<f64>().max(0.0);
        self.decisions += 1;
        self.mean += (divergence - self.mean) / self.decisions as f64;
        if divergence > self.max {
            self.max = divergence;
            self.worst_row = Some(row);
        }
    }
}

/// Natural logarithms of the softmax of `scores`; `None` when one is not finite, or there is none.
fn log_softmax(scores: &[f32]) -> Option<Vec<f64>> {
    if scores.is_empty() || scores.iter().any(|score| !score.is_finite()) {
        return None;
    }
    let largest = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = scores
        .iter()
        .map(|score| (f64::from(*score) - largest).exp())
        .sum();
    let log = sum.ln();
    // Twice from the largest, so that a shift of all scores changes nothing.
    let logs = scores.iter().map(|score| (f64::from(*score) - largest) - log);
    Some(logs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // r = (1/2, 1/2), p = (1/4, 3/4): ½·ln 2 + ½·ln ⅔ = ½·ln(4/3).
        let wanted = 0.5 * (4f64 / 3.0).ln();
        let mut logits = Divergence::default();
        logits.add_logits(3, &[7.0, 7.0], &[0.0, 3f32.ln()]);
        assert!((logits.max - wanted).abs() < 1e-7, "{logits:?}");
        assert_eq!((logits.decisions, logits.worst_row), (1, Some(3)));
        let mut probabilities = Divergence::default();
        probabilities.add_probabilities(0, &[0.5, 0.5], &[0.25, 0.75]);
        assert!((probabilities.max - wanted).abs() < 1e-7);
    }

    #[test]
    fn a_shift_of_all_scores_changes_nothing_and_the_mean_is_over_decisions() {
        let mut divergence = Divergence::default();
        divergence.add_logits(0, &[1.0, 2.0, 3.0], &[101.0, 102.0, 103.0]);
        assert_eq!(
            (divergence.decisions, divergence.max, divergence.worst_row),
            (1, 0.0, None)
        );
        divergence.add_logits(1, &[7.0, 7.0], &[0.0, 3f32.ln()]);
        assert!((divergence.mean - divergence.max / 2.0).abs() < 1e-15);
    }

    #[test]
    fn what_has_no_distribution_is_left_out() {
        let mut divergence = Divergence::default();
        divergence.add_logits(0, &[f32::NAN, 1.0], &[0.0, 1.0]);
        divergence.add_logits(0, &[], &[]);
        divergence.add_probabilities(0, &[0.5, 0.5], &[-1.0, 2.0]);
        assert_eq!(divergence, Divergence::default());
        // A probability rounded to zero is bad, not infinite.
        divergence.add_probabilities(0, &[0.5, 0.5], &[0.0, 1.0]);
        assert!(divergence.max > 10.0 && divergence.max.is_finite());
    }
}
