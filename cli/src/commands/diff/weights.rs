//! Weights of two packages, number by number.

use std::collections::BTreeMap;

use corer_mil::WeightSource;
use corer_quantizer::{QuantizeError, StoredWeight, stored_weights};
use serde::Serialize;

/// How two weights of one name differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// Bit for bit the same.
    SameBytes,
    /// Stored differently, equal numbers.
    SameValues,
    /// Other numbers.
    Values,
    /// Other sizes.
    Shape,
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
}

/// One weight in both packages.
#[derive(Serialize)]
pub(super) struct WeightDifference {
    pub(super) function: String,
    pub(super) name: String,
    pub(super) outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<Stored>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) second: Option<Stored>,
    /// Largest difference of two numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_abs: Option<f64>,
    /// 10·log₁₀(max w² / mean square difference), w the first's numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) psnr: Option<f64>,
}

/// How a weight is stored.
#[derive(PartialEq, Eq, Serialize)]
pub(super) struct Stored {
    pub(super) form: String,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: u64,
}

impl Stored {
    fn of(weight: &StoredWeight<'_>) -> Self {
        Self {
            form: weight.form(),
            shape: weight.shape().to_vec(),
            bytes: weight.bytes(),
        }
    }
}

/// All weights of both, in the first's order, then the second's own.
///
/// # Errors
/// When one can't be read.
pub(super) fn differences(
    first: &corer_mil::Program,
    second: &corer_mil::Program,
) -> Result<Vec<WeightDifference>, QuantizeError> {
    let (first, second) = (stored_weights(first), stored_weights(second));
    let key = |weight: &StoredWeight<'_>| (weight.function().to_owned(), weight.name().to_owned());
    let mut others: BTreeMap<_, _> = second.iter().map(|weight| (key(weight), weight)).collect();
    let mut found = Vec::with_capacity(first.len());
    for weight in &first {
        found.push(match others.remove(&key(weight)) {
            Some(other) => compare(weight, other)?,
            None => alone(weight, Outcome::Removed),
        });
    }
    let rest = second.iter().filter(|weight| others.contains_key(&key(weight)));
    found.extend(rest.map(|weight| alone(weight, Outcome::Added)));
    Ok(found)
}

fn alone(weight: &StoredWeight<'_>, outcome: Outcome) -> WeightDifference {
    let stored = Some(Stored::of(weight));
    let (first, second) = match outcome {
        Outcome::Added => (None, stored),
        _ => (stored, None),
    };
    WeightDifference {
        function: weight.function().to_owned(),
        name: weight.name().to_owned(),
        outcome,
        first,
        second,
        max_abs: None,
        psnr: None,
    }
}

fn compare(first: &StoredWeight<'_>, second: &StoredWeight<'_>) -> Result<WeightDifference, QuantizeError> {
    let mut found = WeightDifference {
        second: Some(Stored::of(second)),
        ..alone(first, Outcome::SameBytes)
    };
    if first.shape() != second.shape() {
        found.outcome = Outcome::Shape;
        return Ok(found);
    }
    if first.dtype() == second.dtype()
        && let (Some(a), Some(b)) = (first.source(), second.source())
        && same_bytes(a.as_ref(), b.as_ref())
    {
        return Ok(found);
    }
    let (a, b) = (first.values()?, second.values()?);
    let (mut most, mut squares, mut peak, mut equal) = (0f64, 0f64, 0f64, true);
    for (a, b) in a.iter().zip(&b) {
        equal &= a.to_bits() == b.to_bits();
        let (a, b) = (f64::from(*a), f64::from(*b));
        peak = peak.max(a.abs());
        let error = (a - b).abs();
        most = most.max(error);
        squares += error * error;
    }
    if equal {
        // Two compressed forms of one name and size with equal numbers are the same thing to whoever runs them.
        found.outcome = Outcome::SameValues;
        return Ok(found);
    }
    found.outcome = Outcome::Values;
    #[allow(clippy::cast_precision_loss)] // a count of elements
    let mean = squares / a.len().max(1) as f64;
    found.max_abs = Some(most).filter(|most| most.is_finite());
    found.psnr = Some(10.0 * (peak * peak / mean).log10()).filter(|psnr| psnr.is_finite());
    Ok(found)
}

/// Piece by piece, so that large weights need no memory.
fn same_bytes(a: &dyn WeightSource, b: &dyn WeightSource) -> bool {
    const PIECE: usize = 1 << 18;
    if a.byte_len() != b.byte_len() {
        return false;
    }
    if let (Some(a), Some(b)) = (a.bytes(), b.bytes()) {
        return a == b;
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut offset = 0;
    while offset < a.byte_len() {
        let length = usize::try_from(a.byte_len() - offset).unwrap_or(PIECE).min(PIECE);
        let (left, right) = (&mut left[..length], &mut right[..length]);
        if a.read_at(offset, left).is_err() || b.read_at(offset, right).is_err() || left != right {
            return false;
        }
        offset += length as u64;
    }
    true
}
