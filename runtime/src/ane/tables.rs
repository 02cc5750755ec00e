//! Functions as lines between 33 points (N8).
//!
//! The study of M6 read the tables from compiled programs: sigmoid on [−8, 8] every 1/2 and tanh, which is odd, on
//! [0, 4] every 1/8, exact samples in fp16. gelu's table lies on [−4, 4] every 1/4, the same for both modes; its values
//! are fitted, and published for one point only. Exact samples stand in for them: they have the same largest error
//! (6.2e-3 measured, h²/8 · gelu″(0) = 6.2e-3). What the engine does beyond erf's table is not published: left as it is.

use std::sync::LazyLock;

use super::{AneRule, AneRules};
use crate::half_values;
use crate::kernels::Unary;

/// A function the engine looks up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Table {
    Gelu,
    Sigmoid,
    Tanh,
}

/// Points of a table.
const POINTS: usize = 33;

#[derive(Debug)]
struct Points {
    /// Where the first point is.
    start: f32,
    /// Points in 1.
    per_unit: f32,
    values: [f32; POINTS],
    /// Whether the function is odd, and only its right half stored.
    odd: bool,
    /// What follows the last point.
    beyond: Beyond,
}

/// What a function is outside its table.
#[derive(Clone, Copy, Debug)]
enum Beyond {
    /// These numbers.
    Limits(f32, f32),
    /// 0 to the left, the argument to the right.
    Argument,
}

impl Points {
    fn new(start: f32, per_unit: f32, odd: bool, beyond: Beyond, function: fn(f64) -> f64) -> Self {
        let value = |point: usize| {
            let x = f64::from(start) + point as f64 / f64::from(per_unit);
            half_values::round(function(x) as f32)
        };
        Self {
            start,
            per_unit,
            values: std::array::from_fn(value),
            odd,
            beyond,
        }
    }

    fn at(&self, x: f32) -> f32 {
        let argument = if self.odd { x.abs() } else { x };
        let place = (argument - self.start) * self.per_unit;
        let last = (POINTS - 1) as f32;
        let value = if place.is_nan() {
            return x;
        } else if place < 0.0 || place > last {
            match self.beyond {
                Beyond::Limits(low, high) => {
                    if place < 0.0 {
                        low
                    } else {
                        high
                    }
                }
                Beyond::Argument => {
                    if place < 0.0 {
                        0.0
                    } else {
                        x
                    }
                }
            }
        } else {
            let index = (place as usize).min(POINTS - 2);
            let (low, high) = (self.values[index], self.values[index + 1]);
            (high - low).mul_add(place - index as f32, low)
        };
        if self.odd { value.copysign(x) } else { value }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

static GELU: LazyLock<Points> = LazyLock::new(|| Points::new(-4.0, 4.0, false, Beyond::Argument, gelu));
static SIGMOID: LazyLock<Points> =
    LazyLock::new(|| Points::new(-8.0, 2.0, false, Beyond::Limits(0.0, 1.0), sigmoid));
static TANH: LazyLock<Points> =
    LazyLock::new(|| Points::new(0.0, 8.0, true, Beyond::Limits(0.0, 1.0), libm::tanh));

impl Table {
    /// Replaces every value by the function's.
    #[inline(never)] // stays out of the loops that compute the functions
    pub(crate) fn apply(self, values: &mut [f32]) {
        let points = match self {
            Self::Gelu => &GELU,
            Self::Sigmoid => &SIGMOID,
            Self::Tanh => &TANH,
        };
        for value in values {
            *value = points.at(*value);
        }
    }
}

/// The function the engine applies instead of this one.
pub(crate) fn with_tables(function: Unary, rules: AneRules) -> Unary {
    let table = match function {
        Unary::Gelu | Unary::GeluTanh if rules.has(AneRule::GeluTable) => Table::Gelu,
        Unary::Sigmoid if rules.has(AneRule::FunctionTables) => Table::Sigmoid,
        Unary::Tanh if rules.has(AneRule::FunctionTables) => Table::Tanh,
        _ => return function,
    };
    Unary::Table(table)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    /// The largest distance from the exact function over the fp16 numbers up to `range`, and where.
    fn worst(table: Table, exact: fn(f64) -> f64, range: f32) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for value in (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()) {
            if value.abs() <= range {
                let mut found = [value];
                table.apply(&mut found);
                let error = (f64::from(half_values::round(found[0])) - exact(f64::from(value))).abs();
                if error > worst.0 {
                    worst = (error, value);
                }
            }
        }
        worst
    }

    /// The largest errors the study measured on M6, to the two figures it gives.
    #[test]
    fn errors_are_those_measured() {
        for (table, exact, range, measured) in [
            (Table::Gelu, gelu as fn(f64) -> f64, 8.0, 6.2e-3),
            (Table::Sigmoid, sigmoid, 10.0, 3.4e-3),
            (Table::Tanh, libm::tanh, 4.0, 1.6e-3),
        ] {
            let (error, at) = worst(table, exact, range);
            assert!(
                (error / measured - 1.0).abs() < 0.06,
                "{table:?}: {error:.3e} at {at}, measured {measured:e}"
            );
        }
    }

    #[test]
    fn points_are_samples_and_ends_are_kept() {
        let at = |table: Table, x: f32| {
            let mut value = [x];
            table.apply(&mut value);
            value[0]
        };
        assert_eq!(at(Table::Sigmoid, 0.0), 0.5);
        assert_eq!(at(Table::Tanh, 0.125), f16::from_f64(libm::tanh(0.125)).to_f32());
        assert_eq!(at(Table::Tanh, -0.125), -at(Table::Tanh, 0.125));
        assert_eq!(at(Table::Tanh, 100.0), 1.0);
        assert_eq!(at(Table::Sigmoid, -100.0), 0.0);
        assert_eq!(at(Table::Gelu, 100.0), 100.0);
        assert_eq!(at(Table::Gelu, -100.0), 0.0);
        assert_eq!(at(Table::Gelu, f32::NEG_INFINITY), 0.0);
        assert!(at(Table::Gelu, f32::NAN).is_nan());
        // Both modes are one table; other functions stay.
        let rules = AneRules::ALL;
        assert!(matches!(
            with_tables(Unary::GeluTanh, rules),
            Unary::Table(Table::Gelu)
        ));
        assert!(matches!(with_tables(Unary::Silu, rules), Unary::Silu));
        assert!(matches!(with_tables(Unary::Gelu, AneRules::NONE), Unary::Gelu));
    }
}
