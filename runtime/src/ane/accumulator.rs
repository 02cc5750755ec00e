//! The sum of products as the engine's accumulator holds it (N1, N2).
//!
//! The study of M6 and M4 describes 32 bits of fixed point, 16 of them behind the point: the bias is rounded to a
//! multiple of 2⁻¹⁶ and is where the sum begins, each product is rounded to such a multiple and added, and a sum that
//! reaches ±32768 is infinite whatever follows. The limit is undisputed; the grid is contested, and a rule of its own.

use super::{AneRule, AneRules};

/// What is kept of a sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Accumulator {
    /// Whether sums end at ±32768.
    pub(crate) limit: bool,
    /// Whether sums are multiples of 2⁻¹⁶.
    pub(crate) grid: bool,
    /// Whether subnormal factors are zero.
    pub(crate) flush: bool,
}

/// A sum that reaches it is infinite.
pub(crate) const LIMIT: f32 = 32768.0;
/// Steps of the grid in 1.
const STEPS: f64 = 65536.0;
/// Products whose factors' exponents add up to less are dropped.
const LOWEST: i32 = -16;

impl Accumulator {
    pub(crate) const fn new(rules: AneRules) -> Self {
        Self {
            limit: rules.has(AneRule::AccumulatorLimit),
            grid: rules.has(AneRule::FixedPoint),
            flush: rules.has(AneRule::FlushSubnormals),
        }
    }

    /// Whether any sum may come out otherwise than in f32.
    pub(crate) const fn differs(self) -> bool {
        self.limit || self.grid
    }

    /// The sum of products, added one after the other from `start` on.
    pub(crate) fn sum(self, start: f32, products: impl Iterator<Item = (f32, f32)>) -> f32 {
        let start = f64::from(start);
        let mut sum = if self.grid {
            (start * STEPS).round() / STEPS
        } else {
            start
        };
        for product in products.map(|(a, b)| self.product(a, b)) {
            if self.full(sum) {
                break;
            }
            sum += product;
        }
        if self.full(sum) {
            return f32::INFINITY.copysign(sum as f32);
        }
        sum as f32
    }

    fn full(self, sum: f64) -> bool {
        self.limit && sum.abs() >= f64::from(LIMIT)
    }

    fn product(self, a: f32, b: f32) -> f64 {
        // Two fp16 numbers have a product that f64 holds exactly.
        let product = f64::from(a) * f64::from(b);
        if !self.grid {
            product
        } else if exponent(a) + exponent(b) < LOWEST {
            0.0
        } else {
            (product * STEPS).round() / STEPS
        }
    }
}

/// The exponent an fp16 number is stored with; subnormal ones have that of the smallest normal one.
fn exponent(value: f32) -> i32 {
    let biased = (value.to_bits() >> 23) & 0xff;
    (biased as i32 - 127).max(-14)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of `values`, each times 1, as the study's tests form it.
    fn plain(rules: &str, start: f32, values: &[f32]) -> f32 {
        Accumulator::new(rules.parse().unwrap()).sum(start, values.iter().map(|value| (*value, 1.0)))
    }

    /// N1: the study's table for M6 and M4.
    #[test]
    fn sums_end_at_the_limit() {
        for rules in ["N1", "N1,N2"] {
            assert_eq!(plain(rules, 0.0, &[32752.0]), 32752.0);
            assert_eq!(plain(rules, 0.0, &[32768.0]), f32::INFINITY);
            assert_eq!(plain(rules, 0.0, &[-32768.0]), f32::NEG_INFINITY);
            assert_eq!(plain(rules, 0.0, &[16384.0, 16376.0]), 32760.0);
            assert_eq!(plain(rules, 0.0, &[16384.0, 16384.0]), f32::INFINITY);
            // It stays infinite when taken back.
            assert_eq!(
                plain(rules, 0.0, &[16384.0, 16384.0, -16384.0, -16384.0, 1.0]),
                f32::INFINITY
            );
            // A factor may be larger than the limit.
            let accumulator = Accumulator::new(rules.parse().unwrap());
            assert_eq!(accumulator.sum(0.0, [(65504.0, 0.0625)].into_iter()), 4094.0);
        }
        assert_eq!(plain("none", 0.0, &[16384.0, 16384.0, -16384.0]), 16384.0);
    }

    /// N1, N2: the bias is where the sum begins.
    #[test]
    fn the_bias_counts() {
        assert_eq!(plain("N1", -16384.0, &[16384.0, 16384.0]), 16384.0);
        assert_eq!(plain("N1", -16384.0, &[16384.0; 4]), f32::INFINITY);
        assert_eq!(plain("N1", 32.0, &[32752.0]), f32::INFINITY);
        assert_eq!(plain("N1", 32.0, &[32736.0]), f32::INFINITY);
        assert_eq!(plain("N1,N2", f32::exp2(-20.0), &[0.0]), 0.0);
        assert_eq!(plain("N1,N2", f32::exp2(-17.0), &[0.0]), f32::exp2(-16.0));
        assert_eq!(
            plain("N1,N2", f32::exp2(-17.0), &[f32::exp2(-17.0)]),
            f32::exp2(-15.0)
        );
    }

    /// N2: what is below the grid, by the factors' exponents (the study's tables H12 and of the first round).
    #[test]
    fn small_products_are_dropped() {
        let sum = |a: f32, b: f32| {
            let steps = f32::exp2(16.0);
            Accumulator::new(AneRules::ALL).sum(0.0, [(a, b)].into_iter()) * steps
        };
        let p = f32::exp2;
        for (w, x) in [
            (1.875 * p(-3.0), 1.875 * p(-14.0)),
            (1.99 * p(-3.0), 1.99 * p(-14.0)),
            (1.5 * p(-4.0), 1.9 * p(-13.0)),
            (1.9375 * p(-5.0), 1.9375 * p(-12.0)),
            (0.2, 0.99 * p(-14.0)),
        ] {
            assert_eq!(sum(w, x), 0.0, "{w} x {x}");
        }
        assert_eq!(sum(0.125, 1.5 * p(-13.0)), 2.0);
        assert_eq!(sum(0.25, 0.5 * p(-14.0)), 1.0);
        assert_eq!(plain("all", 0.0, &[16384.0, p(-16.0), -16384.0]), p(-16.0));
        assert_eq!(plain("all", 0.0, &[16384.0, p(-18.0), -16384.0]), 0.0);
        assert_eq!(plain("all", 0.0, &[p(-17.0)]), p(-16.0));
        assert_eq!(plain("all", 0.0, &[p(-18.0)]), 0.0);
    }
}
