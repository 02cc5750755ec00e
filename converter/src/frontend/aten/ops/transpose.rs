//! `transpose(self, dim0, dim1)`, `permute(self, dims)`, `t(self)`, `numpy_T(self)`, `mT(self)`.

use super::super::call::{Call, dim};
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::{Row, view};
use crate::graph::Op;

const SELF: &[&str] = &["self"];

pub(super) const ROWS: &[Row] = &[
    view("aten::transpose", &["self", "dim0", "dim1"], |cx, call| {
        let x = call.tensor("self")?;
        let (a, b) = (call.dim("dim0", x.rank())?, call.dim("dim1", x.rank())?);
        swap(cx, x, a, b).map(Value::Tensor)
    }),
    view("aten::permute", &["self", "dims"], permute),
    view("aten::t", SELF, reversed),
    view("aten::numpy_T", SELF, reversed),
    view("aten::mT", SELF, |cx, call| {
        let x = call.tensor("self")?;
        match x.rank() {
            0 | 1 => Err("of fewer than two dimensions".into()),
            rank => swap(cx, x, rank - 2, rank - 1).map(Value::Tensor),
        }
    }),
];

fn permute(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let order = call.ints("dims")?.into_iter().map(|at| dim(at, x.rank()));
    let order = order.collect::<Result<Vec<_>, _>>()?;
    reorder(cx, x, &order).map(Value::Tensor)
}

fn reversed(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let order: Vec<usize> = (0..x.rank()).rev().collect();
    reorder(cx, x, &order).map(Value::Tensor)
}

/// Two dimensions swapped.
pub(super) fn swap(cx: &mut Context, x: &Tensor, a: usize, b: usize) -> Result<Tensor, String> {
    let mut order: Vec<usize> = (0..x.rank()).collect();
    if a < order.len() && b < order.len() {
        order.swap(a, b);
    }
    reorder(cx, x, &order)
}

/// Dimensions in another order.
pub(super) fn reorder(cx: &mut Context, x: &Tensor, order: &[usize]) -> Result<Tensor, String> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.rank()) {
        return Err(format!("{order:?} does not order {} dimensions", x.rank()));
    }
    let moved: Vec<usize> = (0..order.len()).filter(|index| order[*index] != *index).collect();
    if moved.is_empty() {
        return Ok(x.clone());
    }
    match (x, &moved[..]) {
        (Tensor::Weight(name, dtype, tensor), [0, 1]) if x.rank() == 2 => {
            let tensor = tensor.clone().transpose().map_err(|error| error.to_string())?;
            return Ok(Tensor::Weight(name.clone(), *dtype, tensor));
        }
        (Tensor::Node { id, dtype, .. }, [a, b]) => {
            let op = Op::Transpose(a.cast_signed() as i64, b.cast_signed() as i64);
            return cx.push(op, vec![*id], *dtype);
        }
        _ => {}
    }
    if let Some(array) = cx.known(x)? {
        let strides = array.strides();
        let shape = order.iter().map(|index| array.shape[*index]).collect();
        let strides: Vec<u64> = order.iter().map(|index| strides[*index]).collect();
        return array.strided(shape, &strides, 0).map(Tensor::Known);
    }
    let id = cx.id(x)?;
    let dims = order.iter().map(|index| index.cast_signed() as i64).collect();
    cx.push(Op::Permute(dims), vec![id], x.dtype())
}
