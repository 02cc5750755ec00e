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

/// How far a fitted range is shrunk at most, and in how many steps.
const SMALLEST: f32 = 0.55;
const TRIES: u32 = 14;

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
    let (low, high) = extent(values);
    let full = spanning(low, high, linear, dtype);
    if linear.range == Range::Full || low == high {
        return full;
    }
    let mut best = (squared_error(values, weights, full, linear), full);
    let consider = |step: Step, best: &mut (f64, Step)| {
        let error = squared_error(values, weights, step, linear);
        if error < best.0 {
            *best = (error, step);
        }
    };
    for attempt in 0..=TRIES {
        let shrink = 1.0 - (1.0 - SMALLEST) * attempt as f32 / TRIES as f32;
        consider(spanning(low * shrink, high * shrink, linear, dtype), &mut best);
        if !linear.affine && attempt < TRIES / 2 {
            // One more code on the negative side: let it carry the longer tail where it can.
            let (down, up) = linear.codes();
            let zero = linear.middle();
            let scale = f32::max(low / (down - zero) as f32, high / (up - zero) as f32) * shrink;
            consider(
                Step {
                    scale: usable(scale, dtype),
                    zero,
                },
                &mut best,
            );
        }
    }
    // With the codes fixed, the best scale has a closed form.
    for _ in 0..2 {
        let scale = usable(least_squares(values, weights, best.1, linear), dtype);
        let step = Step { scale, ..best.1 };
        if step == best.1 {
            break;
        }
        consider(step, &mut best);
    }
    best.1
}

fn extent(values: &[f32]) -> (f32, f32) {
    let mut bounds = (0f32, 0f32);
    vectorised(
        #[inline(always)]
        || {
            let (mut low, mut high) = ([0f32; 16], [0f32; 16]);
            let (lanes, rest) = values.as_chunks::<16>();
            for chunk in lanes {
                for lane in 0..16 {
                    low[lane] = low[lane].min(chunk[lane]);
                    high[lane] = high[lane].max(chunk[lane]);
                }
            }
            let all = low.iter().chain(&high).chain(rest);
            bounds = all.fold((0f32, 0f32), |(low, high), value| {
                (low.min(*value), high.max(*value))
            });
        },
    );
    bounds
}

/// The step with which the codes just span `low..=high`, which includes zero.
fn spanning(low: f32, high: f32, linear: Linear, dtype: DataType) -> Step {
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
fn usable(scale: f32, dtype: DataType) -> f32 {
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

fn squared_error(values: &[f32], weights: Option<&[f32]>, step: Step, linear: Linear) -> f64 {
    let (inverse, low, high) = bounds(step, linear);
    let mut error = 0.0;
    vectorised(
        #[inline(always)]
        || {
            let mut lanes = [0f32; 16];
            let mut sum = 0f64;
            for (block, part) in values.chunks(1024).enumerate() {
                let weights = weights.map(|weights| &weights[block * 1024..][..part.len()]);
                let off = |value: f32| {
                    let code = ((value * inverse).max(low).min(high) + ROUND) - ROUND;
                    value - code * step.scale
                };
                match weights {
                    None => {
                        let (whole, rest) = part.as_chunks::<16>();
                        for chunk in whole {
                            for lane in 0..16 {
                                let off = off(chunk[lane]);
                                lanes[lane] += off * off;
                            }
                        }
                        for (value, lane) in rest.iter().zip(&mut lanes) {
                            *lane += off(*value) * off(*value);
                        }
                    }
                    Some(weights) => {
                        for (at, (value, weight)) in part.iter().zip(weights).enumerate() {
                            lanes[at % 16] += off(*value) * off(*value) * weight;
                        }
                    }
                }
                sum += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
                lanes = [0.0; 16];
            }
            error = sum;
        },
    );
    error
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

/// The scale with the least squared error for the codes `step` gives.
fn least_squares(values: &[f32], weights: Option<&[f32]>, step: Step, linear: Linear) -> f32 {
    let (inverse, low, high) = bounds(step, linear);
    let (mut with_value, mut with_code) = (0f64, 0f64);
    for (at, value) in values.iter().enumerate() {
        let code = ((value * inverse).max(low).min(high) + ROUND) - ROUND;
        let weight = weights.map_or(1.0, |weights| f64::from(weights[at]));
        with_value += weight * f64::from(code * value);
        with_code += weight * f64::from(code * code);
    }
    if with_code > 0.0 {
        (with_value / with_code) as f32
    } else {
        step.scale
    }
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
                squared_error(&values, None, fit(&sample, linear, DataType::Fp16), linear)
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
