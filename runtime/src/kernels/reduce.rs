//! Reductions: the axes are brought together at the end, then every row gives one number.

use crate::vectorised::vectorised;

use super::softmax::total;
use super::{Fault, Io, Kernel};
use crate::half_values::Rounding;
use crate::math;
use crate::plan::{Emit, Op, Reason};
use crate::view::{View, count};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reduction {
    ArgMax,
    ArgMin,
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

impl Reduction {
    fn parse(op: &str) -> Option<Self> {
        Some(match op {
            "reduce_argmax" => Self::ArgMax,
            "reduce_argmin" => Self::ArgMin,
            "reduce_l1_norm" => Self::L1,
            "reduce_l2_norm" => Self::L2,
            "reduce_log_sum" => Self::LogSum,
            "reduce_log_sum_exp" => Self::LogSumExp,
            "reduce_max" => Self::Max,
            "reduce_mean" => Self::Mean,
            "reduce_min" => Self::Min,
            "reduce_prod" => Self::Prod,
            "reduce_sum" => Self::Sum,
            "reduce_sum_square" => Self::SumSquare,
            _ => return None,
        })
    }
}

/// Sum of a function's values, as [`total`] sums.
#[inline(always)]
fn total_of(values: &[f32], function: impl Fn(f32) -> f32) -> f32 {
    let mut sum = [0f32; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (sum, value) in sum.iter_mut().zip(chunk) {
            *sum += function(*value);
        }
    }
    for (sum, value) in sum.iter_mut().zip(rest) {
        *sum += function(*value);
    }
    total(&sum)
}

/// The first position whose value none beats; NaN beats all, as in numpy.
fn best<T: PartialOrd + Copy>(values: &[T], beats: impl Fn(T, T) -> bool) -> usize {
    let mut best = 0;
    for (position, value) in values.iter().enumerate() {
        #[allow(clippy::eq_op)] // NaN differs from itself
        if values[best] == values[best] && (*value != *value || beats(*value, values[best])) {
            best = position;
        }
    }
    best
}

/// The extreme value; NaN if there is one.
#[inline(always)]
fn extreme(values: &[f32], start: f32, better: impl Fn(f32, f32) -> bool) -> f32 {
    values.iter().fold(start, |best, value| {
        if value.is_nan() || better(*value, best) {
            *value
        } else {
            best
        }
    })
}

#[inline(always)]
fn reduce(reduction: Reduction, row: &[f32]) -> f32 {
    match reduction {
        Reduction::L1 => total_of(row, f32::abs),
        Reduction::L2 => total_of(row, |x| x * x).sqrt(),
        Reduction::LogSum => libm::log(f64::from(total(row))) as f32,
        Reduction::LogSumExp => {
            let top = extreme(row, f32::NEG_INFINITY, |x, best| x > best);
            // Infinities would cancel to NaN.
            let base = if top.is_finite() { top } else { 0.0 };
            let sum = total_of(row, |x| math::exp(x - base));
            (libm::log(f64::from(sum)) + f64::from(base)) as f32
        }
        Reduction::Max => extreme(row, f32::NEG_INFINITY, |x, best| x > best),
        Reduction::Mean => total(row) / row.len() as f32,
        Reduction::Min => extreme(row, f32::INFINITY, |x, best| x < best),
        Reduction::Prod => row.iter().product(),
        Reduction::Sum => total(row),
        Reduction::SumSquare => total_of(row, |x| x * x),
        Reduction::ArgMax | Reduction::ArgMin => 0.0,
    }
}

/// Sums wrap as int32 does; what is no integer loses its fraction.
fn reduce_integers(reduction: Reduction, row: &[i32]) -> i32 {
    let sum = |function: fn(i32) -> i32| row.iter().fold(0i32, |sum, x| sum.wrapping_add(function(*x)));
    let floats = || row.iter().map(|x| f64::from(*x));
    match reduction {
        Reduction::L1 => sum(i32::wrapping_abs),
        Reduction::L2 => libm::sqrt(floats().map(|x| x * x).sum()) as i32,
        Reduction::LogSum => libm::log(floats().sum()) as i32,
        Reduction::LogSumExp => {
            let top = floats().fold(f64::NEG_INFINITY, f64::max);
            (libm::log(floats().map(|x| libm::exp(x - top)).sum::<f64>()) + top) as i32
        }
        Reduction::Max => row.iter().copied().max().unwrap_or(i32::MIN),
        Reduction::Mean => (floats().sum::<f64>() / row.len() as f64) as i32,
        Reduction::Min => row.iter().copied().min().unwrap_or(i32::MAX),
        Reduction::Prod => row.iter().fold(1, |product, x| product.wrapping_mul(*x)),
        Reduction::Sum => sum(|x| x),
        Reduction::SumSquare => sum(|x| x.wrapping_mul(x)),
        Reduction::ArgMax => best(row, |x, best| x > best) as i32,
        Reduction::ArgMin => best(row, |x, best| x < best) as i32,
    }
}

#[derive(Debug)]
struct Reduce {
    reduction: Reduction,
    offset: usize,
    length: usize,
    float: bool,
    round: Rounding,
}

impl Kernel for Reduce {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let length = self.length;
        let rows_per_task = (8192 / length.max(1)).max(1);
        let (floats, ints) = (io.floats(0), io.ints(0));
        io.team.pieces(io.output, rows_per_task, |task, out| {
            vectorised(
                #[inline(always)]
                || {
                    for (row, out) in out.iter_mut().enumerate() {
                        let start = self.offset + (task * rows_per_task + row) * length;
                        let range = start..start + length;
                        *out = match (self.float, self.reduction) {
                            (true, Reduction::ArgMax) => best(&floats[range], |x, best| x > best) as u32,
                            (true, Reduction::ArgMin) => best(&floats[range], |x, best| x < best) as u32,
                            (true, reduction) => self.round.one(reduce(reduction, &floats[range])).to_bits(),
                            (false, reduction) => reduce_integers(reduction, &ints[range]) as u32,
                        };
                    }
                },
            );
        });
        Ok(())
    }
}

/// Over `axes` (all by default) or, for positions, over `axis` (the last by default).
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let reduction =
        Reduction::parse(op.call.op).ok_or_else(|| format!("`{}` is no reduction", op.call.op))?;
    let x = op.view(emit, "x")?;
    let rank = x.rank();
    let axes = match reduction {
        Reduction::ArgMax | Reduction::ArgMin if rank == 0 => Vec::new(),
        Reduction::ArgMax | Reduction::ArgMin => vec![op.call.axis_or("axis", -1, rank)?],
        _ => op.call.axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect()),
    };
    let mut perm: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
    let kept = perm.len();
    perm.extend((0..rank).filter(|axis| axes.contains(axis)));
    let moved = emit.contiguous(&x.permuted(&perm))?;
    let length = count(&moved.shape[kept..]);
    if length == 0 && matches!(reduction, Reduction::ArgMax | Reduction::ArgMin) {
        return Err(Reason::Invalid("an empty axis has no extreme".into()));
    }
    let kernel = Reduce {
        reduction,
        offset: moved.offset,
        length,
        float: x.is_float(),
        round: emit.rounds(op.dtype()),
    };
    Ok(vec![emit.step(kernel, &[&moved], op.shape(), op.dtype())?])
}
