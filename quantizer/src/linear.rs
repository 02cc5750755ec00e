//! Scales and offsets of linear codes.

use corer_mil::DataType;

use crate::dense::round_to;
use crate::sample::Sample;
use crate::scheme::{Linear, Range};
use crate::vectorised::{ROUND, vectorised};

/// What turns codes back into numbers: scale · (code − zero).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Step {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
}

/// How far a fitted range is shrunk, at most to a little over half: what lies outside is cut off, the rest gets a finer
/// step. The best scale lies between two of these, and [`Sums::better`] finds it.
const SHRINKS: [f32; LANES] = [
    1.0, 0.965, 0.93, 0.9, 0.875, 0.85, 0.825, 0.8, 0.775, 0.75, 0.72, 0.69, 0.66, 0.62, 0.58, 0.54,
];
/// Ranges tried at once, each in a lane of its own.
const LANES: usize = 16;
/// Times the best of them is moved to the best scale for its codes.
const ROUNDS: usize = 2;
/// Values whose sums single precision holds.
const BLOCK: usize = 1024;

/// The step for a cell.
pub(crate) fn fit(sample: &Sample<'_>, linear: Linear, dtype: DataType) -> Step {
    let held;
    let (values, weights) = match sample {
        Sample::Values(values, weights) => (*values, *weights),
        Sample::Histogram(_) => {
            held = sample.values();
            (held.0.as_slice(), held.1.as_deref())
        }
    };
    let mut step = Step { scale: 1.0, zero: 0 };
    vectorised(
        #[inline(always)]
        || step = fit_values(values, weights, linear, dtype),
    );
    step
}

#[inline(always)]
fn fit_values(values: &[f32], weights: Option<&[f32]>, linear: Linear, dtype: DataType) -> Step {
    let (low, high) = extent(values);
    let full = spanning(low, high, linear, dtype);
    if linear.range == Range::Full || low == high {
        return full;
    }
    // Shrinking a range about zero leaves zero's place among the codes where it is.
    let exact = spanning(low, high, linear, DataType::Fp32);
    let mut scales = SHRINKS;
    scales.iter_mut().for_each(|scale| *scale *= exact.scale);
    if !linear.affine {
        // One more code on the negative side: let it carry the longer tail where it can.
        let (down, up) = linear.codes();
        let reach = f32::max(low / (down - exact.zero) as f32, high / (up - exact.zero) as f32);
        for at in (1..LANES).step_by(4) {
            scales[at] = reach * SHRINKS[at - 1];
        }
    }
    let (scale, found) = best_of(values, weights, scales, exact.zero, linear);
    // With the codes fixed, the best scale has a closed form.
    let mut step = Step {
        scale: usable(found.better(scale), dtype),
        zero: exact.zero,
    };
    let mut best = (squared_error(values, weights, full, linear).error, full);
    for round in 0..ROUNDS {
        let sums = squared_error(values, weights, step, linear);
        if sums.error < best.0 {
            best = (sums.error, step);
        }
        let scale = usable(sums.better(step.scale), dtype);
        if scale == step.scale || round + 1 == ROUNDS {
            break;
        }
        step.scale = scale;
    }
    best.1
}

/// What a step does to some values v with codes c, zero taken away.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Σ(v − scale·c)².
    error: f64,
    /// Σ(v − scale·c)·c.
    along: f64,
    /// Σc².
    codes: f64,
}

impl Sums {
    /// The scale with the least squared error for the same codes.
    fn better(self, scale: f32) -> f32 {
        if self.codes > 0.0 {
            (f64::from(scale) + self.along / self.codes) as f32
        } else {
            scale
        }
    }
}

/// The scale whose codes have the least squared error once the scale is the best for them.
#[inline(always)]
fn best_of(
    values: &[f32],
    weights: Option<&[f32]>,
    scales: [f32; LANES],
    zero: i32,
    linear: Linear,
) -> (f32, Sums) {
    let mut inverse = scales;
    inverse.iter_mut().for_each(|scale| *scale = 1.0 / *scale);
    let (_, low, high) = bounds(Step { scale: 1.0, zero }, linear);
    let (mut errors, mut alongs, mut squares) = ([0f64; LANES], [0f64; LANES], [0f64; LANES]);
    for (block, part) in values.chunks(BLOCK).enumerate() {
        let (mut error, mut along, mut codes) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
        let mut add = |value: f32, weight: f32| {
            for lane in 0..LANES {
                let code = ((value * inverse[lane]).max(low).min(high) + ROUND) - ROUND;
                let off = value - code * scales[lane];
                error[lane] += weight * (off * off);
                along[lane] += weight * (off * code);
                codes[lane] += weight * (code * code);
            }
        };
        match weights {
            None => part.iter().for_each(|value| add(*value, 1.0)),
            Some(weights) => {
                let weights = &weights[block * BLOCK..];
                part.iter()
                    .zip(weights)
                    .for_each(|(value, weight)| add(*value, *weight));
            }
        }
        for lane in 0..LANES {
            errors[lane] += f64::from(error[lane]);
            alongs[lane] += f64::from(along[lane]);
            squares[lane] += f64::from(codes[lane]);
        }
    }
    let mut least = [0f64; LANES];
    for lane in 0..LANES {
        // What the best scale for these codes takes off the error.
        least[lane] = errors[lane] - alongs[lane] * alongs[lane] / squares[lane].max(f64::MIN_POSITIVE);
    }
    let mut best = 0;
    for lane in 1..LANES {
        if least[lane] < least[best] {
            best = lane;
        }
    }
    let sums = Sums {
        error: errors[best],
        along: alongs[best],
        codes: squares[best],
    };
    (scales[best], sums)
}

/// The least and the largest value, zero included.
#[inline(always)]
fn extent(values: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            low[lane] = low[lane].min(chunk[lane]);
            high[lane] = high[lane].max(chunk[lane]);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        low[lane] = low[lane].min(*value);
        high[lane] = high[lane].max(*value);
    }
    (folded(low, f32::min), folded(high, f32::max))
}

/// The step with which the codes just span `low..=high`, which includes zero.
pub(crate) fn spanning(low: f32, high: f32, linear: Linear, dtype: DataType) -> Step {
    let (down, up) = linear.codes();
    if linear.affine {
        let scale = usable((high - low) / (up - down) as f32, dtype);
        // Where zero lies among the codes, from the range itself rather than from the rounded scale.
        let zero = if high > low {
            (down as f32 - low * ((up - down) as f32 / (high - low))).round_ties_even()
        } else {
            0.0
        };
        Step {
            scale,
            zero: (zero as i32).clamp(down, up),
        }
    } else {
        let reach = (up - linear.middle()) as f32;
        Step {
            scale: usable(f32::max(-low, high) / reach, dtype),
            zero: linear.middle(),
        }
    }
}

/// A scale the type can hold; positive whatever it was.
pub(crate) fn usable(scale: f32, dtype: DataType) -> f32 {
    /// 2⁻²⁴, the smallest fp16 number above zero.
    const SMALLEST_HALF: f32 = 5.960_464_5e-8;
    let rounded = round_to(dtype, scale);
    if rounded > 0.0 {
        rounded
    } else if scale > 0.0 && dtype == DataType::Fp16 {
        SMALLEST_HALF
    } else {
        1.0
    }
}

/// What `step` does to the values, each counted by its weight.
#[inline(always)]
fn squared_error(values: &[f32], weights: Option<&[f32]>, step: Step, linear: Linear) -> Sums {
    let (inverse, low, high) = bounds(step, linear);
    let mut sums = Sums::default();
    for (block, part) in values.chunks(BLOCK).enumerate() {
        let (mut error, mut along, mut codes) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
        let mut add = |lane: usize, value: f32, weight: f32| {
            let code = ((value * inverse).max(low).min(high) + ROUND) - ROUND;
            let off = value - code * step.scale;
            error[lane] += weight * (off * off);
            along[lane] += weight * (off * code);
            codes[lane] += weight * (code * code);
        };
        match weights {
            None => {
                let (whole, rest) = part.as_chunks::<LANES>();
                for chunk in whole {
                    for (lane, value) in chunk.iter().enumerate() {
                        add(lane, *value, 1.0);
                    }
                }
                for (lane, value) in rest.iter().enumerate() {
                    add(lane, *value, 1.0);
                }
            }
            Some(weights) => {
                for (at, (value, weight)) in part.iter().zip(&weights[block * BLOCK..]).enumerate() {
                    add(at % LANES, *value, *weight);
                }
            }
        }
        let sum = |a: f32, b: f32| a + b;
        sums.error += f64::from(folded(error, sum));
        sums.along += f64::from(folded(along, sum));
        sums.codes += f64::from(folded(codes, sum));
    }
    sums
}

/// The lanes put together, always in the same order: halves first, each in registers of its own.
#[inline(always)]
fn folded(lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut eight = [0f32; 8];
    for lane in 0..8 {
        eight[lane] = join(lanes[lane], lanes[lane + 8]);
    }
    let mut four = [0f32; 4];
    for lane in 0..4 {
        four[lane] = join(eight[lane], eight[lane + 4]);
    }
    join(join(four[0], four[2]), join(four[1], four[3]))
}

/// 1/scale and the range of code − zero.
#[inline(always)]
pub(crate) fn bounds(step: Step, linear: Linear) -> (f32, f32, f32) {
    let (down, up) = linear.codes();
    (
        1.0 / step.scale,
        (down - step.zero) as f32,
        (up - step.zero) as f32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scheme(text: &str) -> Linear {
        match text.parse::<crate::Scheme>().unwrap().coding {
            crate::scheme::Coding::Linear(linear) => linear,
            _ => unreachable!(),
        }
    }

    #[test]
    fn full_ranges_follow_core_ml_tools_formulas() {
        let values = [-1.0, 0.25, 0.5];
        let step = |text| fit(&Sample::Values(&values, None), scheme(text), DataType::Fp32);
        assert_eq!(
            step("int8"),
            Step {
                scale: 1.0 / 127.0,
                zero: 0
            }
        );
        assert_eq!(
            step("uint8"),
            Step {
                scale: 1.0 / 127.0,
                zero: 127
            }
        );
        assert_eq!(
            step("int4-full"),
            Step {
                scale: 1.0 / 7.0,
                zero: 0
            }
        );
        // 1.5 over 255 codes; zero is code 170 of them.
        assert_eq!(
            step("uint8-affine"),
            Step {
                scale: 1.5 / 255.0,
                zero: 170
            }
        );
        assert_eq!(
            step("int8-affine"),
            Step {
                scale: 1.5 / 255.0,
                zero: 42
            }
        );
    }

    #[test]
    fn nothing_but_zeros_has_a_scale() {
        for text in ["int8", "uint4-affine", "int4"] {
            let step = fit(&Sample::Values(&[0.0; 9], None), scheme(text), DataType::Fp16);
            assert!(step.scale > 0.0);
        }
    }

    proptest! {
        #[test]
        fn fitted_is_never_worse_than_full(
            values in prop::collection::vec((-2.0f32..2.0).prop_map(|x| x.powi(3)), 1..200),
            text in prop::sample::select(&["int4", "uint4", "int4-affine", "int8-fitted", "uint8-affine-fitted"]),
        ) {
            let fitted = scheme(text);
            let full = Linear { range: Range::Full, ..fitted };
            let sample = Sample::Values(&values, None);
            let error = |linear: Linear| {
                squared_error(&values, None, fit(&sample, linear, DataType::Fp16), linear).error
            };
            prop_assert!(error(fitted) <= error(full) * (1.0 + 1e-6));
        }

        #[test]
        fn full_codes_are_off_by_half_a_step(values in prop::collection::vec(-3.0f32..3.0, 1..100)) {
            let linear = scheme("int8-affine");
            let step = fit(&Sample::Values(&values, None), linear, DataType::Fp32);
            let (inverse, low, high) = bounds(step, linear);
            for value in values {
                let code = (value * inverse).clamp(low, high).round_ties_even();
                // The zero is rounded too, so the ends may be cut by another half.
                prop_assert!((value - code * step.scale).abs() <= step.scale * 1.01);
            }
        }
    }
}
