//! Errors counted by powers of two: as they are, and in steps of a number format.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Errors of about one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Bin {
    /// The bin holds errors from 2^exponent to below 2^(exponent + 1); `None`: no error at all.
    pub exponent: Option<i32>,
    /// How many.
    pub count: u64,
}

/// The bins from exact to the last that is not empty, those between included: `exact` first, then `counts`, whose
/// first stands for `lowest`.
pub(super) fn bins(exact: u64, lowest: i32, counts: &[u64]) -> Vec<Bin> {
    let exact = Bin {
        exponent: None,
        count: exact,
    };
    let first = counts.iter().position(|count| *count > 0);
    let last = counts.iter().rposition(|count| *count > 0);
    let (Some(first), Some(last)) = (first, last) else {
        return if exact.count > 0 { vec![exact] } else { Vec::new() };
    };
    let range = counts.iter().enumerate().take(last + 1).skip(first);
    std::iter::once(exact)
        .chain(range.map(|(index, count)| Bin {
            exponent: i32::try_from(index).ok().map(|index| lowest + index),
            count: *count,
        }))
        .collect()
}

/// The smallest and largest exponent told apart.
const LOWEST: i32 = -32;
const EXPONENTS: usize = 64;

/// Errors in steps of a number format.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    /// Bits of the fraction.
    fraction: i32,
    /// Exponent of the smallest normal number.
    smallest: i32,
    exact: u64,
    counts: [u64; EXPONENTS],
}

impl Steps {
    /// For the format whose steps are `resolution` relative to a number's size: fp16, or f32 when it is finer.
    pub(super) fn new(resolution: f32) -> Self {
        let half = resolution >= 1.0 / 1024.0;
        Self {
            fraction: if half { 10 } else { 23 },
            smallest: if half { -14 } else { -126 },
            exact: 0,
            counts: [0; EXPONENTS],
        }
    }

    /// Adds one finite pair: the reference's value, and the distance from it.
    pub(super) fn add(&mut self, reference: f64, error: f64) {
        if error == 0.0 {
            self.exact += 1;
            return;
        }
        // A step is a power of two, so the bin follows from exponents.
        let step = exponent(reference).max(self.smallest) - self.fraction;
        let bin = (exponent(error) - step - LOWEST).clamp(0, EXPONENTS as i32 - 1);
        self.counts[usize::try_from(bin).unwrap_or(0)] += 1;
    }

    pub(super) fn bins(&self) -> Vec<Bin> {
        bins(self.exact, LOWEST, &self.counts)
    }
}

/// ⌊log₂|value|⌋ for normal numbers, and less than any normal f32's for zero.
#[allow(clippy::cast_possible_truncation)] // eleven bits
const fn exponent(value: f64) -> i32 {
    ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(resolution: f32, pairs: &[(f64, f64)]) -> Vec<(Option<i32>, u64)> {
        let mut steps = Steps::new(resolution);
        for (reference, error) in pairs {
            steps.add(*reference, *error);
        }
        steps.bins().iter().map(|bin| (bin.exponent, bin.count)).collect()
    }

    #[test]
    fn steps_by_hand() {
        const FP16: f32 = 1.0 / 1024.0;
        // From 1 to 2 a step is 2^-10: a half step, one, one and a half, four.
        let step = 1.0 / 1024.0;
        assert_eq!(
            steps(
                FP16,
                &[
                    (1.0, 0.0),
                    (1.9, step / 2.0),
                    (-1.0, step),
                    (1.0, 1.5 * step),
                    (1.0, 4.0 * step)
                ]
            ),
            [(None, 1), (Some(-1), 1), (Some(0), 2), (Some(1), 0), (Some(2), 1)]
        );
        // At 1024 a step is 1, below 2^-14 and at zero it is 2^-24.
        assert_eq!(steps(FP16, &[(1024.0, 1.0)]), [(None, 0), (Some(0), 1)]);
        let smallest = 2f64.powi(-24);
        assert_eq!(
            steps(FP16, &[(1e-6, smallest), (0.0, smallest)]),
            [(None, 0), (Some(0), 2)]
        );
        // f32's steps are 2^-13 of these.
        assert_eq!(steps(f32::EPSILON, &[(1.0, step)]), [(None, 0), (Some(13), 1)]);
        assert_eq!(steps(FP16, &[]), []);
    }
}
