//! `gather(self, dim, index, *, sparse_grad=False)`, `index_select(self, dim, index)`, `index(self, indices)` with
//! tensors that say positions.

use super::super::array::{Array, broadcast, count};
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::{Tensor, Value};
use super::{Row, expand, row};
use crate::graph::{Op, ValueId};

pub(super) const ROWS: &[Row] = &[
    row("aten::gather", &["self", "dim", "index", "sparse_grad"], gather),
    row("aten::index_select", &["self", "dim", "index"], index_select),
    row("aten::index", &["self", "indices"], index),
];

fn gather(cx: &mut Context, call: &Call) -> Outcome {
    let (x, index) = (call.tensor("self")?, call.tensor("index")?);
    let at = call.dim("dim", x.rank())?;
    if let Some(arrays) = cx.all_known(&[x, index])? {
        return gathered(&arrays[0], &arrays[1], at).map(Value::from);
    }
    // What is the same everywhere is so wherever it is looked at: token types that are all zero.
    if let Tensor::Known(array) = x
        && let Some(first) = (array.len() > 0).then(|| array.get(0))
        && array.numbers().all(|number| number == first)
    {
        return Ok(Array::full(array.dtype, index.shape().to_vec(), first)?.into());
    }
    // PyTorch lets the index be smaller than the tensor elsewhere; equal sizes are all that models use.
    let fits = index.rank() == x.rank()
        && index
            .shape()
            .iter()
            .zip(x.shape())
            .enumerate()
            .all(|(dim, (a, b))| dim == at || a == b);
    if !fits {
        return Err(format!("at {:?} of {:?} is not read", index.shape(), x.shape()));
    }
    let ids = vec![cx.id(x)?, positions_of(cx, index)?];
    cx.push(Op::Gather(at.cast_signed() as i64), ids, x.dtype())
        .map(Value::Tensor)
}

/// Positions as a value of the graph. Known ones that are the same for every text and head are held once.
fn positions_of(cx: &mut Context, index: &Tensor) -> Result<ValueId, String> {
    if let (Tensor::Known(array), [repeats, rest @ ..]) = (index, index.shape())
        && *repeats > 1
        && let Some(first) = array.repeated()
    {
        let shape = [&[1], rest].concat();
        let once = cx.shared(&Array::from_numbers(ScalarType::Int64, shape, first))?;
        let op = Op::Expand(index.shape().to_vec());
        return match cx.push(op, vec![once], ScalarType::Int64)? {
            Tensor::Node { id, .. } => Ok(id),
            other => cx.id(&other),
        };
    }
    cx.id_as(index, ScalarType::Int64)
}

fn gathered(x: &Array, index: &Array, at: usize) -> Result<Array, String> {
    if x.shape.len() != index.shape.len() || at >= x.shape.len() {
        return Err(format!("at {:?} of {:?}", index.shape, x.shape));
    }
    let (strides, steps) = (x.strides(), index.strides());
    let mut numbers = Vec::with_capacity(index.len());
    for flat in 0..index.len() {
        let mut position = 0;
        for dim in 0..x.shape.len() {
            let along = match dim == at {
                true => wrap(index.get(flat).int(), x.shape[at])?,
                false => flat as u64 / steps[dim] % index.shape[dim],
            };
            if along >= x.shape[dim] {
                return Err(format!("at {:?} of {:?}", index.shape, x.shape));
            }
            position += along * strides[dim];
        }
        numbers.push(x.get(position as usize));
    }
    Ok(Array::from_numbers(x.dtype, index.shape.clone(), numbers))
}

/// A position counted from the front.
fn wrap(position: i64, size: u64) -> Result<u64, String> {
    let counted = match position {
        0.. => Some(position.unsigned_abs()),
        _ => size.checked_sub(position.unsigned_abs()),
    };
    counted
        .filter(|position| *position < size)
        .ok_or_else(|| format!("position {position} is outside {size}"))
}

fn index_select(cx: &mut Context, call: &Call) -> Outcome {
    let (x, index) = (call.tensor("self")?, call.tensor("index")?);
    let at = call.dim("dim", x.rank())?;
    let Tensor::Known(index) = index else {
        return Err("at positions that are computed is not read".into());
    };
    let mut indices = vec![None; x.rank()];
    indices[at] = Some(index.clone());
    positions(cx, x, &indices)
}

fn index(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let Value::List(elements) = call.get("indices") else {
        return Err("`indices` is not a list".into());
    };
    let mut indices = Vec::with_capacity(elements.len());
    for element in elements {
        indices.push(match element {
            Value::None => None,
            Value::Tensor(Tensor::Known(array)) if array.dtype.is_integer() => Some(array.clone()),
            Value::Tensor(tensor) => {
                return Err(format!(
                    "by a {} tensor that is computed is not read (its size would depend on the data)",
                    tensor.dtype()
                ));
            }
            other => return Err(format!("by {}", other.kind())),
        });
    }
    if indices.len() > x.rank() {
        return Err(format!("{} indices for {} dimensions", indices.len(), x.rank()));
    }
    indices.resize(x.rank(), None);
    positions(cx, x, &indices)
}

/// Elements at known positions, one tensor of them per dimension or all of it. Dimensions that are indexed must stand
/// side by side, as they do wherever models index.
fn positions(cx: &mut Context, x: &Tensor, indices: &[Option<Array>]) -> Outcome {
    let mut shared: Vec<u64> = Vec::new();
    for array in indices.iter().flatten() {
        shared = broadcast(&shared, &array.shape)?;
    }
    let first = indices.iter().position(Option::is_some).ok_or("by nothing")?;
    let several = indices.iter().flatten().count();
    if !indices[first..].iter().take(several).all(Option::is_some) {
        return Err("by tensors with whole dimensions between them is not read".into());
    }
    let shape: Vec<u64> = x.shape()[..first]
        .iter()
        .chain(&shared)
        .chain(&x.shape()[first + several..])
        .copied()
        .collect();
    let table = flat_positions(x.shape(), indices, first, &shared, &shape)?;
    if let Some(array) = cx.known(x)? {
        let numbers: Vec<_> = table
            .iter()
            .map(|position| array.get(*position as usize))
            .collect();
        return Ok(Array::from_numbers(array.dtype, shape, numbers).into());
    }
    strided(cx, x, &shape, &table)
}

/// The element of `x` behind each element of the result.
fn flat_positions(
    of: &[u64],
    indices: &[Option<Array>],
    first: usize,
    shared: &[u64],
    shape: &[u64],
) -> Result<Vec<u64>, String> {
    let strides = row_major(of);
    let steps = row_major(shape);
    let mut bases = vec![0u64; count(shared)?];
    for (dim, array) in indices.iter().enumerate() {
        let Some(array) = array else { continue };
        let array = array.expanded(shared)?;
        for (base, number) in bases.iter_mut().zip(array.numbers()) {
            *base += wrap(number.int(), of[dim])? * strides[dim];
        }
    }
    let several = indices.iter().flatten().count();
    let mut table = Vec::with_capacity(count(shape)?);
    for flat in 0..count(shape)? as u64 {
        let along = |dim: usize| flat / steps[dim] % shape[dim];
        let before: u64 = (0..first).map(|dim| along(dim) * strides[dim]).sum();
        let after: u64 = (first + several..of.len())
            .map(|dim| along(dim - several + shared.len()) * strides[dim])
            .sum();
        let inner: u64 = shape[first + shared.len()..].iter().product();
        let base = bases[(flat / inner.max(1) % bases.len().max(1) as u64) as usize];
        table.push(before + base + after);
    }
    Ok(table)
}

fn row_major(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1; shape.len()];
    for index in (1..shape.len()).rev() {
        strides[index - 1] = strides[index] * shape[index];
    }
    strides
}

/// Elements of a computed tensor, when the positions amount to a view that repeats it: what mask code does when it
/// indexes a mask by ranges.
fn strided(cx: &mut Context, x: &Tensor, shape: &[u64], table: &[u64]) -> Outcome {
    let refuse = || "at positions that are no view of a computed tensor is not read".to_owned();
    let steps = row_major(shape);
    let strides: Vec<u64> = shape
        .iter()
        .zip(&steps)
        .map(|(size, step)| match size {
            2.. => table[*step as usize].wrapping_sub(table[0]),
            _ => 0,
        })
        .collect();
    let regular = table.iter().enumerate().all(|(flat, position)| {
        let along =
            (0..shape.len()).map(|dim| (flat as u64 / steps[dim] % shape[dim]).wrapping_mul(strides[dim]));
        along.fold(table[0], u64::wrapping_add) == *position
    });
    // Dimensions that move must be those of the tensor, in order and whole.
    let moving: Vec<(u64, u64)> = shape
        .iter()
        .zip(&strides)
        .filter(|(_, stride)| **stride != 0)
        .map(|(a, b)| (*a, *b))
        .collect();
    let own: Vec<(u64, u64)> = x
        .shape()
        .iter()
        .copied()
        .zip(row_major(x.shape()))
        .filter(|(size, _)| *size != 1)
        .collect();
    if !regular || moving != own || table.first() != Some(&0) {
        return Err(refuse());
    }
    let narrow: Vec<u64> = shape
        .iter()
        .zip(&strides)
        .map(|(size, stride)| if *stride == 0 { 1 } else { *size })
        .collect();
    let viewed = super::view::reshape(cx, x, narrow)?;
    expand::to_shape(cx, &viewed, shape).map(Value::Tensor)
}
