//! `embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False)`; everything after the indices
//! matters to training alone.

use std::sync::Arc;

use super::super::array::Number;
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::{Tensor, Value};
use super::{Row, row};
use crate::graph::Op;

pub(super) const ROWS: &[Row] = &[row(
    "aten::embedding",
    &["weight", "indices", "padding_idx", "scale_grad_by_freq", "sparse"],
    read,
)];

fn read(cx: &mut Context, call: &Call) -> Outcome {
    let (weight, indices) = (call.tensor("weight")?, call.tensor("indices")?);
    if matches!(weight, Tensor::Node { .. }) {
        return Err("looks up a table that is computed, which is not read".into());
    }
    if !indices.dtype().is_integer() {
        return Err(format!("looks up at {}", indices.dtype()));
    }
    if let Some(rows) = selected(weight, indices)? {
        return Ok(Value::Tensor(rows));
    }
    let (table, at) = (cx.id(weight)?, cx.id_as(indices, ScalarType::Int64)?);
    cx.push(Op::Embedding, vec![table, at], weight.dtype())
        .map(Value::Tensor)
}

/// Rows at known positions, unread. One row of positions is left to the graph, where several lengths can share it.
fn selected(weight: &Tensor, indices: &Tensor) -> Result<Option<Tensor>, String> {
    let (Tensor::Weight(name, dtype, table), Tensor::Known(at)) = (weight, indices) else {
        return Ok(None);
    };
    if at.shape.len() <= 2 && at.shape.first().is_none_or(|rows| *rows == 1) {
        return Ok(None);
    }
    let height = table.shape().first().copied().unwrap_or(0);
    let row = |number: Number| {
        let row = u32::try_from(number.int())
            .ok()
            .filter(|row| u64::from(*row) < height);
        row.ok_or_else(|| format!("row {} of a table of {height}", number.int()))
    };
    let rows = at.numbers().map(row).collect::<Result<Arc<[u32]>, _>>()?;
    let shape = at.shape.iter().chain(&table.shape()[1..]).copied().collect();
    let picked = table
        .clone()
        .select_rows(rows)
        .and_then(|picked| picked.reshape(shape));
    let picked = picked.map_err(|error| error.to_string())?;
    Ok(Some(Tensor::Weight(name.clone(), *dtype, picked)))
}
