//! Elementary functions in f32 that compilers turn into vector code: no branches, no calls.
//!
//! Polynomials are minimax fits (Remez exchange in 40 digits, relative error below 2⁻²⁷ before rounding of
//! coefficients); the tests hold the functions to the figures given with each. All of them rest on fused
//! multiply-add, so results are the same on every machine.

// The coefficients stand as fitted; f32 takes the nearest.
#![allow(clippy::excessive_precision, clippy::unreadable_literal)]

/// 1.5 · 2²³: adding and subtracting it rounds to the nearest integer where the magnitude is below 2²².
const SHIFT: f32 = 12_582_912.0;

/// eˣ, within 1 ulp where the result is a normal number.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2 (Cody and Waite's reduction in two parts), eʳ by a polynomial, 2ⁿ by two
/// factors so that results near the ends of the range come out right.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these the result is 0 or infinity anyway; NaN goes through.
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -104.0 { -104.0 } else { clamped };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = n.mul_add(-0.693145751953125, clamped);
    let r = n.mul_add(-1.42860677e-6, r);
    let p = 0.00138144670593f32;
    let p = p.mul_add(r, 0.00836878041118);
    let p = p.mul_add(r, 0.0416683942109);
    let p = p.mul_add(r, 0.166665201078);
    let p = p.mul_add(r, 0.499999934125);
    let p = p.mul_add(r * r, r) + 1.0;
    // The low bits of `shifted` hold n in two's complement.
    let n = (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32);
    let half = n >> 1;
    let rest = n.wrapping_sub(half);
    p * power_of_two(half) * power_of_two(rest)
}

/// 2ⁿ for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// The error function, within 2 ulp.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    // erf x = x + x·P(x²) near zero.
    let s = x * x;
    let p = 8.18509387144e-5f32;
    let p = p.mul_add(s, -0.000809770357559);
    let p = p.mul_add(s, 0.00519695210859);
    let p = p.mul_add(s, -0.0268577051122);
    let p = p.mul_add(s, 0.112836639986);
    let p = p.mul_add(s, -0.376126316135);
    let p = p.mul_add(s, 0.128379166408);
    let near = p.mul_add(x, x);
    // 1 − erf x = e^(−x − x·Q(x)) further out; at 4 it is below half an ulp of 1.
    let t = if magnitude > 4.0 { 4.0 } else { magnitude };
    let q = -0.000214594887343f32;
    let q = q.mul_add(t, 0.00321997448866);
    let q = q.mul_add(t, -0.0229060281867);
    let q = q.mul_add(t, 0.105286850378);
    let q = q.mul_add(t, 0.63569937115);
    let q = q.mul_add(t, 0.12851995204);
    let far = (1.0 - exp(q.mul_add(-t, -t))).copysign(x);
    if magnitude > 0.92 { far } else { near }
}

/// The hyperbolic tangent, within 2 ulp.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let s = x * x;
    let p = -0.00570498695913f32;
    let p = p.mul_add(s, 0.0206390871791);
    let p = p.mul_add(s, -0.0537397150508);
    let p = p.mul_add(s, 0.133314421975);
    let p = p.mul_add(s, -0.33333281942);
    let near = (p * s).mul_add(x, x);
    let far = (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(x);
    if magnitude > 0.625 { far } else { near }
}

/// 1 / (1 + e⁻ˣ), within 3 ulp.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    /// Distance in units of the expected value's last place.
    fn ulps(actual: f32, expected: f64) -> f64 {
        let nearest = expected as f32;
        if actual == nearest || (actual.is_nan() && nearest.is_nan()) {
            return 0.0;
        }
        let unit = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
        (f64::from(actual) - expected).abs() / unit
    }

    fn worst(function: fn(f32) -> f32, exact: fn(f64) -> f64, range: std::ops::Range<f32>) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for sign in [0, 1u32 << 31] {
            for bits in (0..0x7f80_0000u32).step_by(1009) {
                let x = f32::from_bits(bits | sign);
                if range.contains(&x) {
                    let error = ulps(function(x), exact(f64::from(x)));
                    if error > worst.0 {
                        worst = (error, x);
                    }
                }
            }
        }
        worst
    }

    #[test]
    fn exp_is_within_an_ulp() {
        let (error, x) = worst(super::exp, libm::exp, -87.3..88.72);
        assert!(error <= 1.0, "{error} ulp at {x}");
        assert_eq!(super::exp(0.0), 1.0);
        assert_eq!(super::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(super::exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(super::exp(100.0), f32::INFINITY);
        assert!(super::exp(f32::NAN).is_nan());
        // Subnormal results are right to their last place, which is absolute.
        assert!((f64::from(super::exp(-100.0)) - libm::exp(-100.0)).abs() <= 1.5e-45);
    }

    #[test]
    fn erf_is_within_two_ulp() {
        let (error, x) = worst(super::erf, libm::erf, -1e3..1e3);
        assert!(error <= 2.0, "{error} ulp at {x}");
        assert_eq!(super::erf(f32::INFINITY), 1.0);
        assert_eq!(super::erf(f32::NEG_INFINITY), -1.0);
        assert!(super::erf(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_is_within_two_ulp() {
        let (error, x) = worst(super::tanh, libm::tanh, -1e3..1e3);
        assert!(error <= 2.0, "{error} ulp at {x}");
        assert_eq!(super::tanh(f32::INFINITY), 1.0);
        assert!(super::tanh(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_is_within_three_ulp() {
        let (error, x) = worst(super::sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), -87.0..1e3);
        assert!(error <= 3.0, "{error} ulp at {x}");
        assert_eq!(super::sigmoid(f32::NEG_INFINITY), 0.0);
    }
}
