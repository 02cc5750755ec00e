//! `expand(self, size, *, implicit=False)`, `expand_as(self, other)`, `broadcast_to(self, size)`, `repeat(self,
//! repeats)`.

use super::super::array::broadcast;
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::{Row, join, row, view};
use crate::graph::Op;

pub(super) const ROWS: &[Row] = &[
    view("aten::expand", &["self", "size", "implicit"], expand),
    view("aten::broadcast_to", &["self", "size"], expand),
    view("aten::expand_as", &["self", "other"], |cx, call| {
        let shape = call.tensor("other")?.shape().to_vec();
        to_shape(cx, call.tensor("self")?, &shape).map(Value::Tensor)
    }),
    row("aten::repeat", &["self", "repeats"], repeat),
];

fn expand(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let sizes = call.ints("size")?;
    let new = sizes
        .len()
        .checked_sub(x.rank())
        .ok_or_else(|| format!("{:?} does not expand to {sizes:?}", x.shape()))?;
    let shape = sizes
        .iter()
        .enumerate()
        .map(|(index, size)| match u64::try_from(*size) {
            Ok(size) => Ok(size),
            // −1 leaves a dimension as it is.
            Err(_) if *size == -1 && index >= new => Ok(x.shape()[index - new]),
            Err(_) => Err(format!("size {size}")),
        });
    let shape = shape.collect::<Result<Vec<_>, _>>()?;
    to_shape(cx, x, &shape).map(Value::Tensor)
}

/// Repeated along dimensions of size 1 and new ones in front.
pub(super) fn to_shape(cx: &mut Context, x: &Tensor, shape: &[u64]) -> Result<Tensor, String> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    if broadcast(x.shape(), shape)? != shape {
        return Err(format!("{:?} does not expand to {shape:?}", x.shape()));
    }
    if let Tensor::Known(array) = x {
        return array.expanded(shape).map(Tensor::Known);
    }
    let id = cx.id(x)?;
    cx.push(Op::Expand(shape.to_vec()), vec![id], x.dtype())
}

fn repeat(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let repeats = call.ints("repeats")?;
    let new = repeats
        .len()
        .checked_sub(x.rank())
        .ok_or_else(|| format!("{repeats:?} for {} dimensions", x.rank()))?;
    let mut shape = vec![1; new];
    shape.extend(x.shape());
    let mut result = super::view::reshape(cx, x, shape.clone())?;
    for (dim, times) in repeats.iter().enumerate() {
        let times = u64::try_from(*times).map_err(|_| format!("{times} times"))?;
        if times == 1 {
            continue;
        }
        if shape[dim] == 1 {
            shape[dim] = times;
            result = to_shape(cx, &result, &shape)?;
        } else {
            let parts = usize::try_from(times.min(1 << 12)).unwrap_or(usize::MAX);
            let parts = vec![result.clone(); parts];
            result = join::concat(cx, &parts.iter().collect::<Vec<_>>(), dim)?;
            shape[dim] *= times;
        }
    }
    Ok(Value::Tensor(result))
}
