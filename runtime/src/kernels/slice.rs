//! Slices: views, but for what the Neural Engine may lose in them.

use super::Unary;
use super::elementwise::Map;
use crate::ane::{AneRule, SLICE_LIMIT};
use crate::plan::{Emit, Op, Reason};
use crate::view::View;

/// `x[begin:end:stride, ..]` as Python slices; a masked begin or end is left out, a squeezed axis is `x[begin]`.
pub(crate) fn lower_by_index(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let rank = x.rank();
    let numbers = |name: &str, default: i64| -> Result<Vec<i64>, Reason> {
        let values = op.call.ints(name)?.unwrap_or_else(|| vec![default; rank]);
        if values.len() == rank {
            Ok(values)
        } else {
            Err(Reason::Invalid(format!(
                "`{name}` holds {} numbers for {rank} axes",
                values.len()
            )))
        }
    };
    let (begin, end, stride) = (numbers("begin", 0)?, numbers("end", 0)?, numbers("stride", 1)?);
    let (begin_mask, end_mask) = (numbers("begin_mask", 0)?, numbers("end_mask", 0)?);
    let squeeze = numbers("squeeze_mask", 0)?;
    let mut view = x.clone();
    let mut inside = false;
    for axis in 0..rank {
        let size = x.shape[axis] as i128;
        let place = |index: i64| {
            let index = i128::from(index);
            if index < 0 { index + size } else { index }
        };
        if squeeze[axis] != 0 {
            let index = if begin_mask[axis] != 0 {
                0
            } else {
                place(begin[axis])
            };
            if !(0..size).contains(&index) {
                return Err(Reason::Invalid(format!(
                    "index {index} is outside axis {axis} of size {size}"
                )));
            }
            view = view.sliced(axis, index as usize, 1, 1);
            inside = axis + 1 == rank && index > 0;
            continue;
        }
        let step = stride[axis];
        if step == 0 {
            return Err(Reason::Invalid(format!("`stride` is 0 on axis {axis}")));
        }
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let (open_begin, open_end) = if step > 0 { (low, high) } else { (high, low) };
        let first = if begin_mask[axis] != 0 {
            open_begin
        } else {
            place(begin[axis]).clamp(low, high)
        };
        let last = if end_mask[axis] != 0 {
            open_end
        } else {
            place(end[axis]).clamp(low, high)
        };
        let distance = if step > 0 { last - first } else { first - last };
        let length = if distance <= 0 {
            0
        } else {
            (distance + i128::from(step.unsigned_abs()) - 1) / i128::from(step.unsigned_abs())
        };
        // A step longer than the axis is taken once at most.
        let step = if length <= 1 { 1 } else { step as isize };
        view = view.sliced(axis, first.max(0) as usize, length as usize, step);
        inside = axis + 1 == rank && first > 0;
    }
    let kept = |axis: &usize| squeeze[*axis] == 0;
    let axes: Vec<usize> = (0..rank).filter(kept).collect();
    let view = view.permuted(&axes);
    Ok(vec![if inside { limited(emit, view)? } else { view }])
}

/// `size` elements from `begin` on; −1 means all that are left.
pub(crate) fn lower_by_size(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let begin = op.call.ints("begin")?.unwrap_or_default();
    let mut view = x.clone();
    for (axis, begin) in begin.iter().enumerate().take(x.rank()) {
        let (whole, size) = (x.shape[axis], op.shape()[axis]);
        let start = usize::try_from(*begin)
            .ok()
            .filter(|start| start.checked_add(size).is_some_and(|end| end <= whole));
        let start =
            start.ok_or_else(|| format!("{size} elements from {begin} on are more than axis {axis} has"))?;
        view = view.sliced(axis, start, size, 1);
    }
    let inside = begin
        .get(x.rank().wrapping_sub(1))
        .is_some_and(|begin| *begin > 0);
    Ok(vec![if inside { limited(emit, view)? } else { view }])
}

/// A slice that begins past 0 on the last axis: on chips where such slices are cut by fixed-point hardware, large
/// values don't come through (ANE rule N5).
pub(crate) fn limited(emit: &mut Emit<'_>, view: View) -> Result<View, Reason> {
    if !emit.ane(view.dtype).has(AneRule::SliceLimit) {
        return Ok(view);
    }
    let map = Map::new(&view, vec![(Unary::Beyond(SLICE_LIMIT), emit.rounds(view.dtype))]);
    emit.step(map, &[&view], &view.shape, view.dtype)
}
