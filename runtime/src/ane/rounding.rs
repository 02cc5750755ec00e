//! The fp16 number that is written for a value.

use super::{AneRule, AneRules};
use crate::half_values;

/// Rounding to fp16 by the rules N9 and D9.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AneRounding {
    away: bool,
    positive_zero: bool,
    decoded: bool,
}

/// 2¹⁶: what the bits of fp16's infinity would be if they were a number.
const DECODED_INFINITY: f32 = 65536.0;
/// 1.5 · 2¹⁶: the same of the NaN whose bits are 0x7E00.
const DECODED_NAN: f32 = 98304.0;

impl AneRounding {
    pub(crate) const fn new(rules: AneRules) -> Self {
        Self {
            away: rules.has(AneRule::RoundHalfAway),
            positive_zero: rules.has(AneRule::PositiveZero),
            decoded: rules.has(AneRule::DecodedInfinities),
        }
    }

    /// Rounds every value.
    #[inline(never)] // stays out of the loops that round to even
    pub(crate) fn all(self, values: &mut [f32]) {
        for value in values {
            *value = self.one(*value);
        }
    }

    /// What is written for a value.
    pub(crate) fn one(self, value: f32) -> f32 {
        let rounded = if self.away {
            half_away(value)
        } else {
            half_values::round(value)
        };
        // NaN is no zero.
        let rounded = if self.positive_zero && rounded == 0.0 {
            0.0
        } else {
            rounded
        };
        if self.decoded { decode(rounded) } else { rounded }
    }

    /// What is read from values that were written elsewhere: inputs and constants.
    pub(crate) fn read(self, values: &mut [f32]) {
        if self.decoded {
            for value in values {
                *value = decode(*value);
            }
        }
    }
}

/// The number that the bits of an fp16 infinity or NaN are read as.
fn decode(value: f32) -> f32 {
    if value.is_nan() {
        DECODED_NAN
    } else if value.is_infinite() {
        DECODED_INFINITY.copysign(value)
    } else {
        value
    }
}

/// The nearest fp16 number, ties away from zero; what is too large becomes an infinity, NaN stays NaN.
fn half_away(value: f32) -> f32 {
    /// 2⁻¹⁴, the smallest normal number.
    const NORMAL: f32 = 6.103_515_6e-5;
    /// 2²⁴: subnormal numbers are multiples of its inverse.
    const STEPS: f32 = 16_777_216.0;
    let magnitude = value.abs();
    let rounded = if magnitude.is_nan() {
        return value;
    } else if magnitude < NORMAL {
        (magnitude * STEPS).round() / STEPS
    } else {
        // Half a unit of the 10 bits that stay, then the other 13 are cut.
        f32::from_bits((magnitude.to_bits() + 0x1000) & !0x1fff)
    };
    let rounded = if rounded >= DECODED_INFINITY {
        f32::INFINITY
    } else {
        rounded
    };
    rounded.copysign(value)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn rounding(rules: &str) -> AneRounding {
        AneRounding::new(rules.parse().unwrap())
    }

    /// The examples of the study of M6 and M4 (N9), whose CPU column is rounding to even.
    #[test]
    fn ties_go_away_from_zero() {
        let (away, even) = (rounding("N9"), rounding("none"));
        for (value, ane, cpu) in [
            (2049.0, 2050.0, 2048.0),
            (-2049.0, -2050.0, -2048.0),
            (4098.0, 4100.0, 4096.0),
            (-4098.0, -4100.0, -4096.0),
            (1.0 + 1.0 / 2048.0, 1.0 + 1.0 / 1024.0, 1.0),
            (32760.0, 32768.0, 32768.0),
            (65504.0, 65504.0, 65504.0),
            (40001.0, 40000.0, 40000.0),
        ] {
            assert_eq!(away.one(value), ane, "{value}");
            assert_eq!(even.one(value), cpu, "{value}");
        }
        // Subnormal results are kept.
        let smallest = f16::from_bits(1).to_f32();
        assert_eq!(away.one(smallest), smallest);
        assert_eq!(away.one(smallest / 2.0), smallest);
        assert_eq!(even.one(smallest / 2.0), 0.0);
        assert_eq!(away.one(f32::from_bits((smallest / 2.0).to_bits() - 1)), 0.0);
        assert_eq!(away.one(65536.0), f32::INFINITY);
        assert_eq!(away.one(65520.0), f32::INFINITY);
        assert_eq!(away.one(65519.0), 65504.0);
    }

    /// Every fp16 number stays itself, and what lies between two is as far from the one it becomes as from the
    /// other, or nearer.
    #[test]
    fn the_nearest_number_is_taken() {
        let away = rounding("round-half-away");
        for bits in 0..0x7bff_u16 {
            let (low, high) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
            assert_eq!(away.one(low), low);
            let middle = low + (high - low) / 2.0;
            assert_eq!(away.one(middle), high);
            assert_eq!(away.one(-middle), -high);
            if bits > 0 {
                assert_eq!(away.one(f32::from_bits(middle.to_bits() - 1)), low);
            }
        }
    }

    #[test]
    fn zero_has_no_sign() {
        assert!(rounding("positive-zero").one(-0.0).is_sign_positive());
        assert!(rounding("positive-zero").one(-1e-30).is_sign_positive());
        assert!(rounding("none").one(-0.0).is_sign_negative());
    }

    /// D9: exponent 31 is an exponent as any other.
    #[test]
    fn infinities_are_numbers() {
        let decoded = rounding("D9");
        assert_eq!(decoded.one(f32::INFINITY), 65536.0);
        assert_eq!(decoded.one(-1e9), -65536.0);
        assert_eq!(decoded.one(f32::NAN), 98304.0);
        let mut values = [f32::NEG_INFINITY, f32::NAN, 1.0];
        decoded.read(&mut values);
        assert_eq!(values, [-65536.0, 98304.0, 1.0]);
        // Where they are written out they are infinities again.
        assert_eq!(f16::from_f32(decoded.one(f32::NAN)), f16::INFINITY);
        assert!(rounding("none").one(f32::NAN).is_nan());
    }
}
