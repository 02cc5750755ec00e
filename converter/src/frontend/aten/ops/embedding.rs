//! `embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False)`; everything after the indices
//! matters to training alone.

use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::Tensor;
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
    let (table, at) = (cx.id(weight)?, cx.id_as(indices, ScalarType::Int64)?);
    cx.push(Op::Embedding, vec![table, at], weight.dtype())
        .map(super::super::value::Value::Tensor)
}
