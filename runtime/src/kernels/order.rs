//! Sorting: `topk` and `argsort`. Of equal elements the one that stands first comes first; NaN counts as largest.

use std::cmp::Ordering;

use super::norm::inverse;
use super::{Fault, Io, Kernel};
use crate::plan::{Emit, Op, Reason};
use crate::view::View;

#[derive(Clone, Copy, Debug)]
struct Order {
    offset: usize,
    length: usize,
    take: usize,
    ascending: bool,
    float: bool,
    /// Whether to give positions instead of values.
    positions: bool,
}

fn compare(a: u32, b: u32, float: bool) -> Ordering {
    if float {
        let (a, b) = (f32::from_bits(a), f32::from_bits(b));
        a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    } else {
        (a as i32).cmp(&(b as i32))
    }
}

impl Kernel for Order {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        if self.take == 0 {
            return Ok(());
        }
        let x = &io.inputs[0][self.offset..];
        io.team.pieces(io.output, self.take, |row, out| {
            let row = &x[row * self.length..(row + 1) * self.length];
            let mut order: Vec<u32> = (0..self.length as u32).collect();
            order.sort_by(|a, b| {
                let order = compare(row[*a as usize], row[*b as usize], self.float);
                if self.ascending { order } else { order.reverse() }
            });
            for (out, position) in out.iter_mut().zip(order) {
                *out = if self.positions {
                    position
                } else {
                    row[position as usize]
                };
            }
        });
        Ok(())
    }
}

fn lower(
    op: &Op<'_>,
    emit: &mut Emit<'_>,
    take: impl Fn(usize) -> Result<usize, Reason>,
    results: &[bool],
) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let axis = op.call.axis_or("axis", -1, x.rank())?;
    let mut perm: Vec<usize> = (0..x.rank()).filter(|other| *other != axis).collect();
    perm.push(axis);
    let moved = emit.contiguous(&x.permuted(&perm))?;
    let length = x.shape[axis];
    let mut shape = moved.shape.clone();
    let last = shape.len() - 1;
    shape[last] = take(length)?;
    let mut views = Vec::new();
    for (positions, (dtype, _)) in results.iter().zip(op.results) {
        let kernel = Order {
            offset: moved.offset,
            length,
            take: shape[last],
            ascending: op.call.bool_or("ascending", false)?,
            float: x.is_float(),
            positions: *positions,
        };
        views.push(
            emit.step(kernel, &[&moved], &shape, *dtype)?
                .permuted(&inverse(&perm)),
        );
    }
    Ok(views)
}

/// The `k` largest (or smallest) along an axis in order, and where they were. Sorted also when `sort` is false,
/// which asks for any order.
pub(crate) fn lower_topk(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let k = usize::try_from(op.call.int_or("k", 1)?).map_err(|_| "`k` is no size".to_owned())?;
    lower(
        op,
        emit,
        |length| {
            if k <= length {
                Ok(k)
            } else {
                Err(Reason::Invalid(format!("`k` {k} is more than size {length}")))
            }
        },
        &[false, true],
    )
}

/// Positions in order.
pub(crate) fn lower_argsort(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    lower(op, emit, Ok, &[true])
}
