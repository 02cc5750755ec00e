//! `chunk(self, chunks, dim=0)`, `split(self, split_size, dim=0)`, `split_with_sizes(self, split_sizes, dim=0)`,
//! `unbind(self, dim=0)`, and their `unsafe_` names.

use super::super::call::{Call, dim};
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::{Row, slice, view};

const CHUNK: &[&str] = &["self", "chunks", "dim"];
const SPLIT: &[&str] = &["self", "split_size", "dim"];
const SIZES: &[&str] = &["self", "split_sizes", "dim"];

pub(super) const ROWS: &[Row] = &[
    view("aten::chunk", CHUNK, chunk),
    view("aten::unsafe_chunk", CHUNK, chunk),
    view("aten::split", SPLIT, |cx, call| split(cx, call, "split_size")),
    view("aten::unsafe_split", SPLIT, |cx, call| {
        split(cx, call, "split_size")
    }),
    view("aten::split_with_sizes", SIZES, |cx, call| {
        split(cx, call, "split_sizes")
    }),
    view("aten::unbind", &["self", "dim"], unbind),
];

/// The tensor, the dimension and its size.
fn along(call: &Call) -> Result<(&Tensor, usize, u64), String> {
    let x = call.tensor("self")?;
    let at = dim(call.int_or("dim", 0)?, x.rank())?;
    let size = x
        .shape()
        .get(at)
        .copied()
        .ok_or("of a tensor without dimensions")?;
    Ok((x, at, size))
}

fn chunk(cx: &mut Context, call: &Call) -> Outcome {
    let (x, at, size) = along(call)?;
    let chunks = u64::try_from(call.int("chunks")?)
        .ok()
        .filter(|chunks| *chunks > 0);
    let each = size.div_ceil(chunks.ok_or("into no chunks")?).max(1);
    equal(cx, x, at, each)
}

fn split(cx: &mut Context, call: &Call, parameter: &str) -> Outcome {
    let (x, at, size) = along(call)?;
    if !matches!(call.get(parameter), Value::List(_)) {
        let each = u64::try_from(call.int(parameter)?).ok().filter(|each| *each > 0);
        return equal(cx, x, at, each.ok_or("into parts of no size")?);
    }
    let mut start = 0u64;
    let mut parts = Vec::new();
    for part in call.ints(parameter)? {
        let part = u64::try_from(part).map_err(|_| format!("a part of {part}"))?;
        let end = start.saturating_add(part);
        parts.push(Value::Tensor(slice::cut(cx, x, at, start..end, 1)?));
        start = end;
    }
    match start == size {
        true => Ok(Value::List(parts)),
        false => Err(format!("parts of {start} in all of {size}")),
    }
}

/// Parts of one size, the last maybe smaller.
fn equal(cx: &mut Context, x: &Tensor, at: usize, each: u64) -> Outcome {
    let size = x.shape()[at];
    let mut parts = Vec::new();
    let mut start = 0;
    while start < size {
        let end = start.saturating_add(each).min(size);
        parts.push(Value::Tensor(slice::cut(cx, x, at, start..end, 1)?));
        start = end;
    }
    Ok(Value::List(parts))
}

fn unbind(cx: &mut Context, call: &Call) -> Outcome {
    let (x, at, size) = along(call)?;
    // Results nobody names are not cut.
    let wanted = match call.results {
        1 => size,
        results => size.min(results as u64),
    };
    let each = (0..wanted).map(|index| slice::select(cx, x, at, index.cast_signed()).map(Value::Tensor));
    each.collect::<Result<Vec<_>, _>>().map(Value::List)
}
