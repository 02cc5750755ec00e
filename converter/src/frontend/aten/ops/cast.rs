//! `to(self, dtype | device, dtype | other, …)`, `_to_copy(self, *, dtype)`, `type_as(self, other)`, `float(self)`,
//! `half`, `double`, `long`, `int`, `bool`.
//!
//! Devices and layouts change nothing; between float types nothing is computed, since the package has a precision of
//! its own.

use super::super::call::{Call, dtype as as_dtype};
use super::super::context::{Context, Outcome, kind};
use super::super::dtype::ScalarType;
use super::super::value::{Tensor, Value};
use super::{Row, row, view};

const SELF: &[&str] = &["self"];

pub(super) const ROWS: &[Row] = &[
    view("aten::to", &["self", "a", "b", "c", "d", "e", "dtype"], to),
    row("aten::_to_copy", &["self", "dtype"], |cx, call| {
        let x = call.tensor("self")?;
        let dtype = call.dtype("dtype")?.unwrap_or(x.dtype());
        cast(cx, x, dtype).map(Value::Tensor)
    }),
    view("aten::type_as", &["self", "other"], |cx, call| {
        let dtype = call.tensor("other")?.dtype();
        cast(cx, call.tensor("self")?, dtype).map(Value::Tensor)
    }),
    view("aten::float", SELF, |cx, call| {
        fixed(cx, call, ScalarType::Float32)
    }),
    view("aten::half", SELF, |cx, call| {
        fixed(cx, call, ScalarType::Float16)
    }),
    view("aten::double", SELF, |cx, call| {
        fixed(cx, call, ScalarType::Float64)
    }),
    view("aten::long", SELF, |cx, call| fixed(cx, call, ScalarType::Int64)),
    view("aten::int", SELF, |cx, call| fixed(cx, call, ScalarType::Int32)),
    view("aten::bool", SELF, |cx, call| fixed(cx, call, ScalarType::Bool)),
];

fn fixed(cx: &mut Context, call: &Call, dtype: ScalarType) -> Outcome {
    cast(cx, call.tensor("self")?, dtype).map(Value::Tensor)
}

/// Whichever overload it is: a tensor gives its type, a number or a type is one.
fn to(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let mut wanted = call.dtype("dtype")?;
    for name in ["a", "b"] {
        match call.get(name) {
            Value::Tensor(other) => wanted = wanted.or(Some(other.dtype())),
            value @ (Value::Int(_) | Value::Dtype(_)) => wanted = wanted.or(as_dtype("dtype", value)?),
            _ => {}
        }
    }
    cast(cx, x, wanted.unwrap_or(x.dtype())).map(Value::Tensor)
}

/// A tensor of another element type.
pub(super) fn cast(cx: &mut Context, x: &Tensor, dtype: ScalarType) -> Result<Tensor, String> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    match x {
        Tensor::Known(array) => Ok(Tensor::Known(array.cast(dtype))),
        Tensor::Weight(name, _, tensor) if dtype.is_float() => {
            Ok(Tensor::Weight(name.clone(), dtype, tensor.clone()))
        }
        Tensor::Weight(..) => match cx.known(x)? {
            Some(array) => Ok(Tensor::Known(array.cast(dtype))),
            None => Err(format!("a weight of {:?} to {dtype} is not read", x.shape())),
        },
        Tensor::Node {
            id,
            shape,
            dtype: old,
        } => {
            let narrower = kind(*old) == kind(dtype);
            let id = match narrower {
                true => *id,
                false => cx.id_as(x, dtype)?,
            };
            Ok(Tensor::Node {
                id,
                dtype,
                shape: shape.clone(),
            })
        }
    }
}
