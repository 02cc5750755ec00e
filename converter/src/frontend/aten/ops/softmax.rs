//! `softmax(self, dim, dtype=None)`, `_softmax(self, dim, half_to_float)`, `log_softmax(self, dim, dtype=None)`.

use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::{Row, row};
use crate::graph::{Op, Unary};

const PARAMETERS: &[&str] = &["self", "dim", "dtype"];

pub(super) const ROWS: &[Row] = &[
    row("aten::softmax", PARAMETERS, |cx, call| {
        let dtype = call.dtype("dtype")?;
        read(cx, call, dtype)
    }),
    row("aten::_softmax", &["self", "dim", "half_to_float"], |cx, call| {
        let widened = call.bool_or("half_to_float", false)?;
        read(cx, call, widened.then_some(ScalarType::Float32))
    }),
    row("aten::log_softmax", PARAMETERS, |cx, call| {
        let dtype = call.dtype("dtype")?;
        match read(cx, call, dtype)? {
            super::super::value::Value::Tensor(tensor) => {
                cx.apply(Op::Unary(Unary::Log), &[&tensor], tensor.dtype())
            }
            other => Ok(other),
        }
    }),
];

fn read(cx: &mut Context, call: &Call, dtype: Option<ScalarType>) -> Outcome {
    let x = call.tensor("self")?;
    let dim = call.dim("dim", x.rank())?;
    let dtype = dtype.unwrap_or(x.dtype());
    let id = cx.id_as(x, dtype)?;
    // From the end, as models write it, so that it stays right when dimensions are added in front.
    let from_end = dim.cast_signed() - x.rank().cast_signed();
    cx.push(Op::Softmax(from_end as i64), vec![id], dtype)
        .map(super::super::value::Value::Tensor)
}
