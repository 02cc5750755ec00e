//! `slice(self, dim=0, start=None, end=None, step=1)`, `narrow(self, dim, start, length)`, `select(self, dim, index)`.

use super::super::call::{Call, dim};
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::{Row, view};
use crate::graph::Op;

pub(super) const ROWS: &[Row] = &[
    view("aten::slice", &["self", "dim", "start", "end", "step"], slice),
    view("aten::narrow", &["self", "dim", "start", "length"], |cx, call| {
        let x = call.tensor("self")?;
        let at = call.dim("dim", x.rank())?;
        let (start, length) = (call.int("start")?, call.int("length")?);
        let start = clamped(start, x.shape()[at]);
        let end = start.saturating_add(u64::try_from(length).map_err(|_| format!("length {length}"))?);
        cut(cx, x, at, start..end, 1).map(Value::Tensor)
    }),
    view("aten::select", &["self", "dim", "index"], |cx, call| {
        let x = call.tensor("self")?;
        let at = call.dim("dim", x.rank())?;
        select(cx, x, at, call.int("index")?).map(Value::Tensor)
    }),
];

/// A position that may be counted from the end, within the size.
fn clamped(position: i64, size: u64) -> u64 {
    let counted = match position {
        0.. => position.unsigned_abs(),
        _ => size.saturating_sub(position.unsigned_abs()),
    };
    counted.min(size)
}

fn slice(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let at = dim(call.int_or("dim", 0)?, x.rank())?;
    let Some(size) = x.shape().get(at).copied() else {
        return Err("of a tensor without dimensions".into());
    };
    let start = clamped(call.int_or("start", 0)?, size);
    let end = clamped(call.int_or("end", i64::MAX)?, size).max(start);
    let step = u64::try_from(call.int_or("step", 1)?)
        .ok()
        .filter(|step| *step > 0);
    cut(cx, x, at, start..end, step.ok_or("step must be positive")?).map(Value::Tensor)
}

/// Positions of one dimension.
pub(super) fn cut(
    cx: &mut Context,
    x: &Tensor,
    at: usize,
    range: std::ops::Range<u64>,
    step: u64,
) -> Result<Tensor, String> {
    let size = x.shape()[at];
    if range.end > size {
        return Err(format!("{range:?} does not lie in {size}"));
    }
    if range == (0..size) && step == 1 {
        return Ok(x.clone());
    }
    match x {
        Tensor::Known(array) => {
            let mut strides = array.strides();
            let offset = range.start * strides[at];
            strides[at] *= step;
            let mut shape = array.shape.clone();
            shape[at] = (range.end - range.start).div_ceil(step);
            array.strided(shape, &strides, offset).map(Tensor::Known)
        }
        Tensor::Weight(name, dtype, tensor) if at == 0 && step == 1 => {
            let tensor = tensor
                .clone()
                .slice_rows(range)
                .map_err(|error| error.to_string())?;
            Ok(Tensor::Weight(name.clone(), *dtype, tensor))
        }
        _ if step == 1 => {
            let id = cx.id(x)?;
            let op = Op::Slice {
                dim: at.cast_signed() as i64,
                start: range.start,
                end: range.end,
            };
            cx.push(op, vec![id], x.dtype())
        }
        _ => Err(format!("with step {step} of a computed tensor is not read")),
    }
}

/// One position; the dimension disappears.
pub(super) fn select(cx: &mut Context, x: &Tensor, at: usize, index: i64) -> Result<Tensor, String> {
    let size = x
        .shape()
        .get(at)
        .copied()
        .ok_or("of a tensor without dimensions")?;
    let position = match index {
        0.. => Some(index.unsigned_abs()),
        _ => size.checked_sub(index.unsigned_abs()),
    };
    let Some(position) = position.filter(|position| *position < size) else {
        return Err(format!("index {index} is outside {size}"));
    };
    if let Tensor::Node { id, dtype, .. } = x {
        let op = Op::Select {
            dim: at.cast_signed() as i64,
            index: position.cast_signed(),
        };
        return cx.push(op, vec![*id], *dtype);
    }
    let kept = cut(cx, x, at, position..position + 1, 1)?;
    let mut shape = kept.shape().to_vec();
    shape.remove(at);
    super::view::reshape(cx, &kept, shape)
}
