//! `view(self, size)`, `reshape(self, shape)`, `_unsafe_view`, `view_as(self, other)`, `flatten(self, start_dim=0,
//! end_dim=-1)`, `unflatten(self, dim, sizes)`, `unsqueeze(self, dim)`, `squeeze(self, dim=None)`, and those that give
//! the same elements in the same shape: `contiguous`, `clone`, `detach`, `alias`, `lift_fresh`.

use super::super::array::count;
use super::super::call::{Call, dim};
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::{Row, row, view};
use crate::graph::Op;

const SELF: &[&str] = &["self"];

pub(super) const ROWS: &[Row] = &[
    view("aten::view", &["self", "size"], |cx, call| {
        sized(cx, call, "size")
    }),
    view("aten::reshape", &["self", "shape"], |cx, call| {
        sized(cx, call, "shape")
    }),
    view("aten::_unsafe_view", &["self", "size"], |cx, call| {
        sized(cx, call, "size")
    }),
    view("aten::view_as", &["self", "other"], like),
    view("aten::reshape_as", &["self", "other"], like),
    view("aten::flatten", &["self", "start_dim", "end_dim"], flatten),
    view("aten::unflatten", &["self", "dim", "sizes"], unflatten),
    view("aten::unsqueeze", &["self", "dim"], unsqueeze),
    view("aten::squeeze", &["self", "dim"], squeeze),
    view("aten::contiguous", SELF, same),
    view("aten::detach", SELF, same),
    view("aten::alias", SELF, same),
    view("aten::lift_fresh", SELF, same),
    row("aten::lift_fresh_copy", SELF, same),
    row("aten::clone", SELF, same),
    row(
        "aten::_assert_tensor_metadata",
        &["a", "size", "stride", "dtype"],
        |_, _| Ok(Value::None),
    ),
];

fn same(_: &mut Context, call: &Call) -> Outcome {
    Ok(call.get("self").clone())
}

fn sized(cx: &mut Context, call: &Call, parameter: &str) -> Outcome {
    let x = call.tensor("self")?;
    let sizes = call.ints(parameter)?;
    let shape = resolve(x.shape(), &sizes)?;
    reshape(cx, x, shape).map(Value::Tensor)
}

fn like(cx: &mut Context, call: &Call) -> Outcome {
    let shape = call.tensor("other")?.shape().to_vec();
    reshape(cx, call.tensor("self")?, shape).map(Value::Tensor)
}

fn flatten(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let start = dim(call.int_or("start_dim", 0)?, x.rank())?;
    let end = dim(call.int_or("end_dim", -1)?, x.rank())?;
    let shape = x.shape();
    if shape.is_empty() {
        return reshape(cx, x, vec![1]).map(Value::Tensor);
    }
    if start > end {
        return Err(format!("from dimension {start} to {end}"));
    }
    let mut flat = shape[..start].to_vec();
    flat.push(shape[start..=end].iter().product());
    flat.extend(&shape[end + 1..]);
    reshape(cx, x, flat).map(Value::Tensor)
}

fn unflatten(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let at = call.dim("dim", x.rank())?;
    let inner = resolve(&x.shape()[at..=at], &call.ints("sizes")?)?;
    let mut shape = x.shape()[..at].to_vec();
    shape.extend(inner);
    shape.extend(&x.shape()[at + 1..]);
    reshape(cx, x, shape).map(Value::Tensor)
}

fn unsqueeze(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let at = dim(call.int("dim")?, x.rank() + 1)?;
    if matches!(x, Tensor::Node { .. }) {
        return cx.apply(Op::Unsqueeze(at.cast_signed() as i64), &[x], x.dtype());
    }
    let mut shape = x.shape().to_vec();
    shape.insert(at, 1);
    reshape(cx, x, shape).map(Value::Tensor)
}

fn squeeze(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let dims = match call.optional_ints("dim")? {
        None => (0..x.rank()).collect(),
        Some(dims) => dims
            .into_iter()
            .map(|at| dim(at, x.rank()))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let kept = x.shape().iter().enumerate();
    let kept = kept.filter(|(index, size)| !(dims.contains(index) && **size == 1));
    let shape = kept.map(|(_, size)| *size).collect();
    reshape(cx, x, shape).map(Value::Tensor)
}

/// Sizes with a −1 replaced by what is left.
fn resolve(shape: &[u64], sizes: &[i64]) -> Result<Vec<u64>, String> {
    let refuse = || format!("{shape:?} has no view {sizes:?}");
    let total = product(shape.iter().copied()).ok_or_else(refuse)?;
    let known = product(sizes.iter().filter_map(|size| u64::try_from(*size).ok())).ok_or_else(refuse)?;
    let open = sizes.iter().filter(|size| **size < 0).count();
    let rest = match open {
        0 if known == total => 0,
        1 if sizes.contains(&-1) && known > 0 && total.is_multiple_of(known) => total / known,
        _ => return Err(refuse()),
    };
    Ok(sizes
        .iter()
        .map(|size| u64::try_from(*size).unwrap_or(rest))
        .collect())
}

fn product(mut sizes: impl Iterator<Item = u64>) -> Option<u64> {
    sizes.try_fold(1u64, u64::checked_mul)
}

/// The same elements in another shape.
pub(super) fn reshape(cx: &mut Context, x: &Tensor, shape: Vec<u64>) -> Result<Tensor, String> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    match x {
        Tensor::Known(array) => {
            if count(&shape)? != array.len() {
                return Err(format!("{:?} has no view {shape:?}", array.shape));
            }
            Ok(Tensor::Known(array.reshaped(shape)))
        }
        Tensor::Weight(name, dtype, tensor) => {
            let tensor = tensor.clone().reshape(shape).map_err(|error| error.to_string())?;
            Ok(Tensor::Weight(name.clone(), *dtype, tensor))
        }
        Tensor::Node { id, dtype, .. } => {
            let sizes = shape
                .iter()
                .map(|size| i64::try_from(*size))
                .collect::<Result<Vec<_>, _>>();
            let sizes = sizes.map_err(|_| "a size is too large")?;
            cx.push(Op::View(sizes), vec![*id], *dtype)
        }
    }
}
