//! How far a package's outputs are from the reference's, gathered row by row so that nothing but sentence vectors is
//! kept.
//!
//! # What is compared
//!
//! Outputs with one vector or score per position are compared at tokens only (`attention_mask` 1). What a model
//! writes at padded positions is nobody's business: no consumer reads it, and it depends on how masking is done
//! (−10⁴ in one place, the lowest float in another) although the tokens don't. Rows without any token have no right
//! answer for the same reason and are not compared either. Non-finite values are counted *everywhere*, padded
//! positions and empty rows included: a NaN next to a token is one pooling away from it.
//!
//! # Definitions
//!
//! Over all compared elements of all rows, whatever the rank, with reference r and package p:
//!
//! - mean square error `mse` = Σ(p − r)² / n
//! - PSNR = 10·log₁₀(peak² / mse), peak = max |r|
//! - SQNR = 10·log₁₀(Σr² / Σ(p − r)²)
//! - relative error: Σ|p − r| / Σ|r| overall, and as its worst case the largest error in a vector divided by the root
//!   mean square of the reference's vector
//! - cosine of two vectors: p·r / (|p| |r|); 1 when both are zero, 0 when one is
//! - an error in steps: |p − r| over the distance of neighbouring numbers of the package's format (fp16, or f32 for a
//!   package without half-precision values) at |r|, subnormal numbers' at least; "units in the last place"
//!
//! A vector is one token's for outputs per token, one row's otherwise (for span scores: the scores of its tokens).

mod agreement;
mod divergence;
mod elements;
mod histogram;
mod labelled;
mod neighbours;
mod output;
mod ranks;
mod spans;

pub(crate) use agreement::argmax;
pub use agreement::{Agreement, TopFive};
pub use divergence::Divergence;
pub use elements::ElementErrors;
pub use histogram::Bin;
pub use labelled::{Answer, LabelledReport, ScoreReport, labelled};
pub use neighbours::{Company, MOST_ROWS, company};
pub use output::{OutputComparison, WORST_ROWS};
pub use ranks::spearman;
pub use spans::{LONGEST_ANSWER, SpanMatch, SpanScores};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an output is, which decides what a vector of it is and whether a top-1 means something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// (S, H): a vector per position.
    TokenVectors,
    /// (S, C): scores per position.
    TokenLogits,
    /// (S): a score per position; the best position is the answer.
    SpanLogits,
    /// (C): scores per row.
    Logits,
    /// (C): a classifier's probabilities, compared with the softmax of the reference's logits.
    Probabilities,
    /// (D): an embedding per row.
    Vector,
    /// A classifier's label, compared with the reference's best class.
    Label,
}

impl OutputKind {
    /// What an output of this name and row shape is, for rows of `length` positions. Hugging Face calls every score
    /// `…logits`; everything else is a vector.
    pub fn of(name: &str, row_shape: &[usize], length: usize) -> Self {
        let scores = name.contains("logits");
        match *row_shape {
            [positions, _] if positions == length && scores => Self::TokenLogits,
            [positions, _] if positions == length => Self::TokenVectors,
            [positions]
                if positions == length && (name.contains("start") || name.contains("end")) && scores =>
            {
                Self::SpanLogits
            }
            _ if scores => Self::Logits,
            _ => Self::Vector,
        }
    }

    /// What one vector of such an output belongs to.
    pub const fn vector(self) -> &'static str {
        match self {
            Self::TokenVectors | Self::TokenLogits => "token",
            Self::SpanLogits | Self::Logits | Self::Probabilities | Self::Vector | Self::Label => "row",
        }
    }

    /// Whether padded positions are left out.
    pub const fn per_position(self) -> bool {
        matches!(self, Self::TokenVectors | Self::TokenLogits | Self::SpanLogits)
    }
}

/// Cosine of the angle between two vectors; 1 when both are zero, 0 when one is. `None` when a value is not finite.
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let (mut dot, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        dot += a * b;
        aa += a * a;
        bb += b * b;
    }
    if !(dot.is_finite() && aa.is_finite() && bb.is_finite()) {
        None
    } else if aa == 0.0 || bb == 0.0 {
        Some(if aa == bb { 1.0 } else { 0.0 })
    } else {
        // The product of the squares of two tiny norms may be zero where that of the norms is not.
        Some((dot / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0))
    }
}

/// The mean of a row's token vectors: what sentence-transformers' mean pooling makes of a (S, H) output. `None` when
/// the mask has no token.
pub fn mean_pooled(vectors: &[f32], mask: &[i32]) -> Option<Vec<f32>> {
    let width = vectors.len() / mask.len().max(1);
    let tokens = mask.iter().filter(|mask| **mask != 0).count();
    if tokens == 0 || width == 0 {
        return None;
    }
    let mut sums = vec![0.0f64; width];
    for (vector, _) in vectors
        .chunks_exact(width)
        .zip(mask)
        .filter(|(_, mask)| **mask != 0)
    {
        for (sum, value) in sums.iter_mut().zip(vector) {
            *sum += f64::from(*value);
        }
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    // back to the precision it came from
    Some(sums.into_iter().map(|sum| (sum / tokens as f64) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_by_hand() {
        // (1·2 + 2·1) / (√5·√5) = 4/5
        assert!((cosine(&[1.0, 2.0], &[2.0, 1.0]).unwrap() - 0.8).abs() < 1e-15);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 3.0]), Some(0.0));
        assert_eq!(cosine(&[3.0, 4.0], &[-3.0, -4.0]), Some(-1.0));
        assert_eq!(cosine(&[0.0, 0.0], &[0.0, 0.0]), Some(1.0));
        assert_eq!(cosine(&[0.0, 0.0], &[0.0, 1.0]), Some(0.0));
        assert_eq!(cosine(&[f32::NAN, 0.0], &[0.0, 1.0]), None);
        // Squares of subnormals vanish in f32 but not in f64.
        assert!((cosine(&[1e-40, 0.0], &[1e-40, 0.0]).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn pooling_takes_tokens_only() {
        let vectors = [1.0, 10.0, 3.0, 20.0, 100.0, 100.0];
        assert_eq!(mean_pooled(&vectors, &[1, 1, 0]), Some(vec![2.0, 15.0]));
        assert_eq!(mean_pooled(&vectors, &[0, 0, 0]), None);
    }

    #[test]
    fn kinds_follow_names_and_shapes() {
        assert_eq!(
            OutputKind::of("last_hidden_state", &[64, 64], 64),
            OutputKind::TokenVectors
        );
        assert_eq!(OutputKind::of("logits", &[64, 5], 64), OutputKind::TokenLogits);
        assert_eq!(OutputKind::of("logits", &[3], 64), OutputKind::Logits);
        assert_eq!(OutputKind::of("logits", &[64], 64), OutputKind::Logits);
        assert_eq!(OutputKind::of("end_logits", &[64], 64), OutputKind::SpanLogits);
        assert_eq!(OutputKind::of("pooler_output", &[64], 64), OutputKind::Vector);
    }
}
