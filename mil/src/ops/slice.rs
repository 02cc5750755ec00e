//! Slices.

use super::call::{Call, one};
use super::domain::{BOOL, EXTENT, MOVABLE};
use super::{OpDef, Param, TypeRule, dims};
use crate::types::{Dim, TensorType, ValueType};

const X: Param = Param::new("x", MOVABLE);
const BEGIN: Param = Param::new("begin", EXTENT);
const LIKE_BEGIN: TypeRule = TypeRule::SameAs("begin");

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new(
        "slice_by_index",
        &[
            X,
            BEGIN,
            Param::new("end", LIKE_BEGIN),
            Param::new("stride", LIKE_BEGIN).constant().optional(),
            Param::new("begin_mask", BOOL).constant().optional(),
            Param::new("end_mask", BOOL).constant().optional(),
            Param::new("squeeze_mask", BOOL).constant().optional(),
        ],
        slice_by_index,
    ),
    OpDef::new(
        "slice_by_size",
        &[X, BEGIN, Param::new("size", LIKE_BEGIN)],
        slice_by_size,
    ),
];

/// A vector with one number per axis of `x`: `None` inside where it is computed at prediction.
fn per_axis(call: &Call<'_>, name: &str, x: &TensorType) -> Result<Option<Vec<i64>>, String> {
    let ty = call.tensor(name)?;
    if ty.rank() != 1 || !ty.shape[0].compatible(Dim::Known(x.rank() as u64)) {
        return Err(format!(
            "`{name}` must hold one number for each axis of {x}, is {ty}"
        ));
    }
    let values = match call.get(name).and_then(|arg| arg.value) {
        Some(value) => value
            .as_ints()
            .ok_or_else(|| format!("`{name}` must hold integers"))?,
        None => return Ok(None),
    };
    if values.len() == x.rank() {
        Ok(Some(values))
    } else {
        Err(format!("`{name}` holds {} numbers for {x}", values.len()))
    }
}

fn mask(call: &Call<'_>, name: &str, x: &TensorType) -> Result<Vec<bool>, String> {
    match call.ints(name)? {
        None => Ok(vec![false; x.rank()]),
        Some(bits) if bits.len() == x.rank() => Ok(bits.into_iter().map(|bit| bit != 0).collect()),
        Some(bits) => Err(format!(
            "`{name}` must hold {} flags, holds {}",
            x.rank(),
            bits.len()
        )),
    }
}

/// `x[begin:end:stride, ..]` as Python slices; a masked begin or end is left out, a squeezed axis is `x[begin]`.
fn slice_by_index(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let begin = per_axis(call, "begin", x)?;
    let end = per_axis(call, "end", x)?;
    let stride = if call.get("stride").is_some() {
        per_axis(call, "stride", x)?
    } else {
        Some(vec![1; x.rank()])
    };
    let stride = stride.ok_or("`stride` must be a constant")?;
    let begin_mask = mask(call, "begin_mask", x)?;
    let end_mask = mask(call, "end_mask", x)?;
    let squeeze_mask = mask(call, "squeeze_mask", x)?;
    let mut shape = Vec::with_capacity(x.rank());
    for (axis, dim) in x.shape.iter().enumerate() {
        let begin = if begin_mask[axis] {
            Some(None)
        } else {
            begin.as_ref().map(|begin| Some(begin[axis]))
        };
        let end = if end_mask[axis] {
            Some(None)
        } else {
            end.as_ref().map(|end| Some(end[axis]))
        };
        if squeeze_mask[axis] {
            if let (Some(Some(index)), Some(size)) = (begin, dim.known()) {
                let size = i128::from(size);
                if !(-size..size).contains(&i128::from(index)) {
                    return Err(format!("index {index} is outside axis {axis} of {x}"));
                }
            }
            continue;
        }
        if stride[axis] == 0 {
            return Err(format!("`stride` is 0 on axis {axis}"));
        }
        shape.push(match (begin, end) {
            (Some(begin), Some(end)) => length(*dim, begin, end, stride[axis]),
            _ => Dim::FRESH,
        });
    }
    one(x.dtype, shape)
}

/// How many elements `begin:end:stride` takes of an axis, by Python's rule.
fn length(dim: Dim, begin: Option<i64>, end: Option<i64>, stride: i64) -> Dim {
    let Dim::Known(size) = dim else {
        return match (begin, end, stride) {
            (None, None, 1 | -1) | (Some(0), None, 1) => dim,
            (Some(-1), None, 1..) | (Some(0), None, ..=-1) => Dim::Known(1),
            (Some(a), Some(b), _) if (a < 0) == (b < 0) => match span(a.into(), b.into(), stride.into()) {
                // An unknown axis may be shorter than the span, but not than nothing or one element.
                count @ (0 | 1) => Dim::Known(count),
                _ => Dim::FRESH,
            },
            _ => Dim::FRESH,
        };
    };
    let size = i128::from(size);
    let (lowest, highest) = if stride > 0 { (0, size) } else { (-1, size - 1) };
    let place = |index: Option<i64>, open: i128| {
        index.map_or(open, |index| {
            let index = i128::from(index);
            (if index < 0 { index + size } else { index }).clamp(lowest, highest)
        })
    };
    let (first, last) = if stride > 0 {
        (lowest, highest)
    } else {
        (highest, lowest)
    };
    Dim::Known(span(place(begin, first), place(end, last), stride.into()))
}

/// The number of steps from `begin` to before `end`.
fn span(begin: i128, end: i128, stride: i128) -> u64 {
    let (distance, step) = if stride > 0 {
        (end - begin, stride)
    } else {
        (begin - end, -stride)
    };
    if distance <= 0 {
        0
    } else {
        u64::try_from((distance + step - 1) / step).unwrap_or(u64::MAX)
    }
}

/// `size` elements from `begin` on; −1 means all that are left.
fn slice_by_size(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let begin = per_axis(call, "begin", x)?;
    let Some(sizes) = per_axis(call, "size", x)? else {
        return one(x.dtype, vec![Dim::FRESH; x.rank()]);
    };
    let mut shape = Vec::with_capacity(x.rank());
    for (axis, (dim, size)) in x.shape.iter().zip(sizes).enumerate() {
        let start = match &begin {
            Some(begin) => Some(dims::size(begin[axis], "begin")?),
            None => None,
        };
        shape.push(match (size, start, dim) {
            (-1, Some(start), Dim::Known(whole)) if start <= *whole => Dim::Known(whole - start),
            (-1, Some(0), symbol @ Dim::Symbol(_)) => *symbol,
            (-1, Some(start), Dim::Known(_)) => {
                return Err(format!("`begin` {start} is outside axis {axis} of {x}"));
            }
            (-1, _, _) => Dim::FRESH,
            (size, start, dim) => {
                let size = dims::size(size, "size")?;
                let end = start.unwrap_or_default().checked_add(size);
                if let Dim::Known(whole) = dim
                    && end.is_none_or(|end| end > *whole)
                {
                    return Err(format!(
                        "takes {size} elements of axis {axis} of {x}, more than there are"
                    ));
                }
                Dim::Known(size)
            }
        });
    }
    one(x.dtype, shape)
}
