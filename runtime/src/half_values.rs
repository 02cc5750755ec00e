//! Rounding f32 to the numbers fp16 can hold, without leaving f32.

use crate::ane::AneRounding;

/// The nearest number fp16 can hold, ties to even; what is too large becomes an infinity, NaN stays NaN.
///
/// IEEE 754 binary16 has 10 explicit bits of significand, so a normal number keeps 10 of f32's 23: adding half a
/// unit less one, plus the lowest kept bit, and cutting the lower 13 bits rounds ties to even. Below 2⁻¹⁴ the
/// numbers lie 2⁻²⁴ apart, as f32 numbers between 0.5 and 1 do: adding 0.5 and taking it away rounds to them.
#[inline(always)]
pub(crate) fn round(value: f32) -> f32 {
    const SIGN: u32 = 0x8000_0000;
    const INFINITY: u32 = 0x7f80_0000;
    /// 2⁻¹⁴, the smallest normal number.
    const NORMAL: u32 = 0x3880_0000;
    /// 65520, from which on numbers round to infinity.
    const OVERFLOW: u32 = 0x477f_f000;
    let bits = value.to_bits();
    let sign = bits & SIGN;
    let magnitude = bits & !SIGN;
    let normal = magnitude.wrapping_add(0x0fff + ((magnitude >> 13) & 1)) & !0x1fff;
    let small = (f32::from_bits(magnitude) + 0.5) - 0.5;
    let large = if magnitude > INFINITY { magnitude } else { INFINITY };
    let rounded = if magnitude < NORMAL {
        small.to_bits()
    } else {
        normal
    };
    let rounded = if magnitude >= OVERFLOW { large } else { rounded };
    f32::from_bits(rounded | sign)
}

/// What becomes of a value an operation produced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Rounding {
    /// It stays as it is.
    #[default]
    None,
    /// It becomes the nearest fp16 number, ties to even.
    Even,
    /// It becomes the fp16 number the Neural Engine would write.
    Ane(AneRounding),
}

impl Rounding {
    /// Rounds every value.
    #[inline(always)]
    pub(crate) fn all(self, values: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Even => round_all(values),
            Self::Ane(rounding) => rounding.all(values),
        }
    }

    /// Rounds one value.
    #[inline(always)]
    pub(crate) fn one(self, value: f32) -> f32 {
        match self {
            Self::None => value,
            Self::Even => round(value),
            Self::Ane(rounding) => rounding.one(value),
        }
    }
}

/// Rounds every value.
#[inline(always)]
pub(crate) fn round_all(values: &mut [f32]) {
    for value in values {
        *value = round(*value);
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::round;

    fn agrees(value: f32) {
        let expected = f16::from_f32(value).to_f32();
        let actual = round(value);
        assert!(
            actual.to_bits() == expected.to_bits() || (actual.is_nan() && expected.is_nan()),
            "{value:e} ({:#x}): {actual:e}, half says {expected:e}",
            value.to_bits()
        );
    }

    /// Every fp16 number, the midpoint to the next, and the f32 numbers about both.
    #[test]
    fn rounds_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits).to_f32();
            let next = f16::from_bits(bits.wrapping_add(1)).to_f32();
            let middle = if next.is_finite() {
                value + (next - value) / 2.0
            } else {
                65520.0
            };
            for center in [value, middle] {
                for step in -2i32..=2 {
                    agrees(f32::from_bits(center.to_bits().wrapping_add_signed(step)));
                }
            }
        }
        for bits in (0..=u32::MAX).step_by(4099) {
            agrees(f32::from_bits(bits));
        }
    }
}
