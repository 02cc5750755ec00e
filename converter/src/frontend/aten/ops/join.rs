//! `cat(tensors, dim=0)`, `concat`, `stack(tensors, dim=0)`.

use super::super::array::{Array, Number, count};
use super::super::call::{Call, dim};
use super::super::context::{Context, Outcome};
use super::super::promote::result_type;
use super::super::value::{Tensor, Value};
use super::{Row, row};
use crate::graph::Op;

const PARAMETERS: &[&str] = &["tensors", "dim"];

pub(super) const ROWS: &[Row] = &[
    row("aten::cat", PARAMETERS, cat),
    row("aten::concat", PARAMETERS, cat),
    row("aten::stack", PARAMETERS, stack),
];

fn cat(cx: &mut Context, call: &Call) -> Outcome {
    let parts = call.tensors("tensors")?;
    let rank = parts.first().ok_or("of nothing")?.rank();
    let at = dim(call.int_or("dim", 0)?, rank)?;
    concat(cx, &parts, at).map(Value::Tensor)
}

fn stack(cx: &mut Context, call: &Call) -> Outcome {
    let parts = call.tensors("tensors")?;
    let rank = parts.first().ok_or("of nothing")?.rank();
    let at = dim(call.int_or("dim", 0)?, rank + 1)?;
    let mut taller = Vec::with_capacity(parts.len());
    for part in parts {
        let mut shape = part.shape().to_vec();
        if at > shape.len() {
            return Err("of tensors of different shapes".into());
        }
        shape.insert(at, 1);
        taller.push(super::view::reshape(cx, part, shape)?);
    }
    concat(cx, &taller.iter().collect::<Vec<_>>(), at).map(Value::Tensor)
}

/// Tensors joined along one dimension.
pub(super) fn concat(cx: &mut Context, parts: &[&Tensor], at: usize) -> Result<Tensor, String> {
    let values: Vec<Value> = parts.iter().map(|part| Value::Tensor((*part).clone())).collect();
    let dtype = result_type(&values);
    if let [only] = parts {
        return Ok((*only).clone());
    }
    if let Some(arrays) = cx.all_known(parts)? {
        return joined(&arrays, dtype, at).map(Tensor::Known);
    }
    let ids = parts
        .iter()
        .map(|part| cx.id_as(part, dtype))
        .collect::<Result<Vec<_>, _>>()?;
    cx.push(Op::Concat(at.cast_signed() as i64), ids, dtype)
}

fn joined(arrays: &[Array], dtype: super::super::dtype::ScalarType, at: usize) -> Result<Array, String> {
    let mut shape = arrays[0].shape.clone();
    let outer = |shape: &[u64]| shape[..at].iter().product::<u64>() as usize;
    for array in &arrays[1..] {
        let fits = array.shape.len() == shape.len()
            && array
                .shape
                .iter()
                .zip(&shape)
                .enumerate()
                .all(|(index, (a, b))| index == at || a == b);
        if !fits {
            return Err(format!("{:?} does not join {shape:?}", array.shape));
        }
        shape[at] = shape[at].checked_add(array.shape[at]).ok_or("too large")?;
    }
    let rows = outer(&shape);
    let mut numbers: Vec<Number> = Vec::with_capacity(count(&shape)?);
    for row in 0..rows {
        for array in arrays {
            let width = array.len().checked_div(rows).unwrap_or(0);
            numbers.extend((row * width..(row + 1) * width).map(|index| array.get(index)));
        }
    }
    Ok(Array::from_numbers(dtype, shape, numbers))
}
