//! `cumsum(self, dim, *, dtype=None)`; integers and truth values are summed as int64.

use super::super::array::{Array, Number};
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::Value;
use super::{Row, row};
use crate::graph::Op;

pub(super) const ROWS: &[Row] = &[row("aten::cumsum", &["self", "dim", "dtype"], read)];

fn read(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let at = call.dim("dim", x.rank())?;
    let own = match x.dtype() {
        dtype if dtype.is_float() => dtype,
        _ => ScalarType::Int64,
    };
    let dtype = call.dtype("dtype")?.unwrap_or(own);
    if let Some(array) = cx.known(x)? {
        return Ok(summed(&array.cast(dtype), at).into());
    }
    let id = cx.id_as(x, dtype)?;
    cx.push(Op::CumSum(at.cast_signed() as i64), vec![id], dtype)
        .map(Value::Tensor)
}

fn summed(array: &Array, at: usize) -> Array {
    let stride = array.strides().get(at).map_or(1, |stride| *stride as usize);
    let size = array.shape.get(at).map_or(1, |size| *size as usize);
    let mut numbers: Vec<Number> = array.numbers().collect();
    for index in 0..numbers.len() {
        if !(index / stride).is_multiple_of(size.max(1)) {
            numbers[index] = match (numbers[index - stride], numbers[index]) {
                (Number::Int(a), Number::Int(b)) => Number::Int(a.wrapping_add(b)),
                (a, b) => Number::Float(a.float() + b.float()),
            };
        }
    }
    Array::from_numbers(array.dtype, array.shape.clone(), numbers)
}
