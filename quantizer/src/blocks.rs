//! Steps of many short cells at once, a cell in each lane: what scales per block spend their time on.
//!
//! The same search as [`linear::fit`](crate::linear::fit) makes for one cell. A candidate scale s gives codes c, and the
//! best scale for these codes leaves Σv² − (Σv·c)²/Σc² of a cell's values v: the candidate with the largest (Σv·c)²/Σc²
//! wins, and two sums per candidate are all there is to compute.

use corer_mil::DataType;
use rayon::prelude::*;

use crate::dense::{Dense, PIECE, Piece};
use crate::error::QuantizeError;
use crate::grid::Grid;
use crate::linear::{Step, spanning, usable};
use crate::scheme::{Linear, Range};
use crate::vectorised::{ROUND, vectorised};

/// Cells fitted together.
const CELLS: usize = 16;
/// Longest cell: sums of so many products of values and four-bit codes are exact enough in single precision.
const LONGEST: usize = 1024;
/// Ranges tried, as shares of the one that just spans the values: the best scale lies between two of these.
const SHRINKS: [f32; 9] = [1.0, 0.95, 0.9, 0.86, 0.82, 0.78, 0.74, 0.7, 0.62];
/// And of the one whose extra negative code carries the longer tail, where codes are symmetric.
const REACHES: [f32; 3] = [1.0, 0.92, 0.84];
/// Times the best of them is moved to the best scale for its codes.
const ROUNDS: usize = 2;

/// A number of each cell.
type Lanes = [f32; CELLS];

/// Whether steps of such cells can be had here.
pub(crate) fn can_fit(grid: &Grid, linear: Linear) -> bool {
    linear.bits <= 4
        && linear.range == Range::Fitted
        && grid.contiguous()
        && (1..=LONGEST).contains(&grid.cell_len())
}

/// The steps of all cells, in their order.
pub(crate) fn fit(
    dense: &Dense,
    grid: &Grid,
    linear: Linear,
    dtype: DataType,
) -> Result<Vec<Step>, QuantizeError> {
    let (cells, size) = (grid.count(), grid.cell_len());
    let batch = (PIECE / size).next_multiple_of(CELLS);
    let batches = (0..cells.div_ceil(batch)).into_par_iter().map_init(
        || (Piece::default(), vec![[0f32; CELLS]; size]),
        |(piece, turned), index| {
            let (first, last) = (index * batch, ((index + 1) * batch).min(cells));
            dense.read(first * size..last * size, piece)?;
            dense.check_finite(first * size, &piece.values)?;
            let mut steps = Vec::with_capacity(last - first);
            vectorised(
                #[inline(always)]
                || {
                    for together in piece.values.chunks(CELLS * size) {
                        let count = together.len() / size;
                        // Lanes without a cell keep another's values, and what comes of them is dropped.
                        for (lane, cell) in together.chunks_exact(size).enumerate() {
                            for (row, value) in turned.iter_mut().zip(cell) {
                                row[lane] = *value;
                            }
                        }
                        let (scales, zeros) = fit_lanes(turned, linear, dtype);
                        steps.extend(
                            scales
                                .iter()
                                .zip(zeros)
                                .take(count)
                                .map(|(scale, zero)| Step { scale: *scale, zero }),
                        );
                    }
                },
            );
            Ok(steps)
        },
    );
    Ok(batches.collect::<Result<Vec<_>, QuantizeError>>()?.concat())
}

/// Scales and zero codes.
#[inline(always)]
fn fit_lanes(values: &[Lanes], linear: Linear, dtype: DataType) -> (Lanes, [i32; CELLS]) {
    let (mut least, mut most) = ([0f32; CELLS], [0f32; CELLS]);
    for row in values {
        for lane in 0..CELLS {
            least[lane] = smaller(row[lane], least[lane]);
            most[lane] = larger(row[lane], most[lane]);
        }
    }
    let (down, up) = linear.codes();
    let (mut span, mut reach, mut zeros) = ([1f32; CELLS], [1f32; CELLS], [0i32; CELLS]);
    let (mut low, mut high) = ([0f32; CELLS], [0f32; CELLS]);
    for lane in 0..CELLS {
        let exact = spanning(least[lane], most[lane], linear, DataType::Fp32);
        (span[lane], zeros[lane]) = (exact.scale, exact.zero);
        (low[lane], high[lane]) = ((down - exact.zero) as f32, (up - exact.zero) as f32);
        reach[lane] = larger(least[lane] / low[lane], most[lane] / high[lane]);
    }
    let mut best = Best {
        scale: span,
        gain: [0f32; CELLS],
    };
    // Shrinking a range about zero leaves zero's place among the codes where it is.
    for share in SHRINKS {
        best.attempt(values, &span, share, &low, &high);
    }
    if !linear.affine {
        for share in REACHES {
            best.attempt(values, &reach, share, &low, &high);
        }
    }
    // What spans the values, unless something is better.
    let (mut scales, mut step) = (span, best.scale);
    usable_lanes(&mut scales, dtype);
    usable_lanes(&mut step, dtype);
    let (mut error, ..) = sums(values, &scales, &low, &high);
    for round in 0..ROUNDS {
        let (with, along, codes) = sums(values, &step, &low, &high);
        let mut next = step;
        for lane in 0..CELLS {
            (scales[lane], error[lane]) = if with[lane] < error[lane] {
                (step[lane], with[lane])
            } else {
                (scales[lane], error[lane])
            };
            next[lane] += along[lane] / larger(codes[lane], 1.0);
        }
        if round + 1 < ROUNDS {
            usable_lanes(&mut next, dtype);
            step = next;
        }
    }
    (scales, zeros)
}

/// The best scale so far for each cell, and the (Σv·c)²/Σc² it has.
struct Best {
    scale: Lanes,
    gain: Lanes,
}

impl Best {
    #[inline(always)]
    fn attempt(&mut self, values: &[Lanes], from: &Lanes, share: f32, low: &Lanes, high: &Lanes) {
        let mut inverse = [0f32; CELLS];
        for lane in 0..CELLS {
            inverse[lane] = 1.0 / (from[lane] * share);
        }
        let (mut along, mut codes) = ([0f32; CELLS], [0f32; CELLS]);
        for row in values {
            for lane in 0..CELLS {
                let code = code(row[lane], inverse[lane], low[lane], high[lane]);
                along[lane] += row[lane] * code;
                codes[lane] += code * code;
            }
        }
        for lane in 0..CELLS {
            let scale = along[lane] / larger(codes[lane], 1.0);
            let gain = along[lane] * scale;
            if gain > self.gain[lane] {
                (self.scale[lane], self.gain[lane]) = (scale, gain);
            }
        }
    }
}

/// Σ(v − s·c)², Σ(v − s·c)·c and Σc² of each cell.
#[inline(always)]
fn sums(values: &[Lanes], scales: &Lanes, low: &Lanes, high: &Lanes) -> (Lanes, Lanes, Lanes) {
    let (mut error, mut along, mut codes) = ([0f32; CELLS], [0f32; CELLS], [0f32; CELLS]);
    let mut inverse = [0f32; CELLS];
    for lane in 0..CELLS {
        inverse[lane] = 1.0 / scales[lane];
    }
    for row in values {
        for lane in 0..CELLS {
            let code = code(row[lane], inverse[lane], low[lane], high[lane]);
            let off = row[lane] - code * scales[lane];
            error[lane] += off * off;
            along[lane] += off * code;
            codes[lane] += code * code;
        }
    }
    (error, along, codes)
}

/// As `usable`, for each.
#[inline(always)]
fn usable_lanes(scales: &mut Lanes, dtype: DataType) {
    scales.iter_mut().for_each(|scale| *scale = usable(*scale, dtype));
}

#[inline(always)]
fn code(value: f32, inverse: f32, low: f32, high: f32) -> f32 {
    (smaller(larger(value * inverse, low), high) + ROUND) - ROUND
}

/// `f32::max` minds NaN, which takes three instructions; these are one each.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corer_mil::MemoryWeight;
    use proptest::prelude::*;

    use super::*;
    use crate::dense::to_bytes;
    use crate::linear::bounds;
    use crate::scheme::{Coding, Scheme};

    fn fitted(values: &[f32], size: usize, scheme: &str) -> (Linear, Vec<Step>) {
        let Coding::Linear(linear) = scheme.parse::<Scheme>().unwrap().coding else {
            unreachable!()
        };
        let shape = [values.len() / size, size];
        let dense = Dense {
            name: "w".into(),
            source: Arc::new(MemoryWeight(to_bytes(DataType::Fp32, values))),
            dtype: DataType::Fp32,
            shape: shape.to_vec(),
        };
        let grid = Grid::new(&shape, &[shape[0], 1]).unwrap();
        assert!(can_fit(&grid, linear));
        (linear, fit(&dense, &grid, linear, DataType::Fp16).unwrap())
    }

    fn error(values: &[f32], step: Step, linear: Linear) -> f64 {
        let (inverse, low, high) = bounds(step, linear);
        let off = |value: f32| value - (value * inverse).clamp(low, high).round_ties_even() * step.scale;
        values.iter().map(|value| f64::from(off(*value)).powi(2)).sum()
    }

    proptest! {
        #[test]
        fn never_worse_than_the_full_range(
            values in prop::collection::vec((-2.0f32..2.0).prop_map(|x| x.powi(3)), 1..300),
            size in 1usize..40,
            scheme in prop::sample::select(&["int4", "uint4", "int4-affine", "uint4-affine"]),
        ) {
            let size = size.min(values.len());
            let values = &values[..values.len() / size * size];
            let (linear, steps) = fitted(values, size, scheme);
            prop_assert_eq!(steps.len(), values.len() / size);
            for (values, step) in values.chunks(size).zip(steps) {
                let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), v| (low.min(*v), high.max(*v)));
                let full = spanning(low, high, linear, DataType::Fp16);
                prop_assert!(error(values, step, linear) <= error(values, full, linear) * (1.0 + 1e-5) + 1e-12);
                // Who its neighbours are makes no difference.
                prop_assert_eq!(fitted(values, size, scheme).1, [step]);
            }
        }
    }

    #[test]
    fn nearly_the_best_of_all_scales() {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
        };
        let values: Vec<f32> = (0..32 * 200).map(|_| next() + next() + next() + next()).collect();
        let (linear, steps) = fitted(&values, 32, "int4");
        let (mut found, mut best) = (0.0, 0.0);
        for (values, step) in values.chunks(32).zip(steps) {
            found += error(values, step, linear);
            let reach = values.iter().fold(0f32, |most, value| most.max(value.abs()));
            let scales = (300..1100).map(|share| reach / 7.0 * share as f32 / 1000.0);
            let errors = scales.map(|scale| error(values, Step { scale, zero: 0 }, linear));
            best += errors.fold(f64::INFINITY, f64::min);
        }
        assert!(found < best * 1.004, "{}", found / best);
    }
}
