//! `sum(self, dim=None, keepdim=False, *, dtype=None)`, `mean`, `amax(self, dim, keepdim)`, `amin`, `max` and `min`
//! in their three forms, `norm(self, p=2, dim, keepdim)`, `linalg_vector_norm(self, ord=2, dim, keepdim)`, `var(self,
//! dim, correction, keepdim)`, `std`.
//!
//! Sums of integers and truth values are int64; means and norms are of floats alone.

use super::super::array::{Array, Number};
use super::super::call::{Call, dim};
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::{Tensor, Value};
use super::binary::{self, Binary};
use super::{Row, row};
use crate::graph::{Op, Reduction, Unary};

const DIM: &[&str] = &["self", "dim", "keepdim", "dtype"];

pub(super) const ROWS: &[Row] = &[
    row("aten::sum", DIM, |cx, call| {
        let x = call.tensor("self")?;
        let own = match x.dtype() {
            dtype if dtype.is_float() => dtype,
            _ => ScalarType::Int64,
        };
        let dtype = call.dtype("dtype")?.unwrap_or(own);
        reduction(cx, call, Reduction::Sum, dtype)
    }),
    row("aten::mean", DIM, |cx, call| {
        let dtype = call.dtype("dtype")?.unwrap_or(call.tensor("self")?.dtype());
        match dtype.is_float() {
            true => reduction(cx, call, Reduction::Mean, dtype),
            false => Err(format!("of {dtype}")),
        }
    }),
    row("aten::amax", DIM, |cx, call| {
        let dtype = call.tensor("self")?.dtype();
        reduction(cx, call, Reduction::Max, dtype)
    }),
    row("aten::amin", DIM, |cx, call| {
        let dtype = call.tensor("self")?.dtype();
        reduction(cx, call, Reduction::Min, dtype)
    }),
    row("aten::max", &["self", "other", "keepdim"], |cx, call| {
        extreme(cx, call, Reduction::Max)
    }),
    row("aten::min", &["self", "other", "keepdim"], |cx, call| {
        extreme(cx, call, Reduction::Min)
    }),
    row(
        "aten::norm",
        &["self", "p", "dim", "keepdim", "dtype"],
        |cx, call| norm(cx, call, "p"),
    ),
    row(
        "aten::linalg_vector_norm",
        &["self", "ord", "dim", "keepdim", "dtype"],
        |cx, call| norm(cx, call, "ord"),
    ),
    row(
        "aten::var",
        &["self", "dim", "correction", "keepdim", "unbiased"],
        variance,
    ),
    row(
        "aten::std",
        &["self", "dim", "correction", "keepdim", "unbiased"],
        |cx, call| match variance(cx, call)? {
            Value::Tensor(tensor) => cx.apply(Op::Unary(Unary::Sqrt), &[&tensor], tensor.dtype()),
            other => Ok(other),
        },
    ),
];

/// The dimensions asked for; all when none is.
fn dims(call: &Call, rank: usize) -> Result<Vec<usize>, String> {
    match call.optional_ints("dim")? {
        Some(dims) if !dims.is_empty() => dims.into_iter().map(|at| dim(at, rank)).collect(),
        _ => Ok((0..rank).collect()),
    }
}

fn reduction(cx: &mut Context, call: &Call, kind: Reduction, dtype: ScalarType) -> Outcome {
    over_dims(cx, call, call.tensor("self")?, kind, dtype).map(Value::Tensor)
}

/// A tensor over the dimensions a call names.
pub(super) fn over_dims(
    cx: &mut Context,
    call: &Call,
    x: &Tensor,
    kind: Reduction,
    dtype: ScalarType,
) -> Result<Tensor, String> {
    let dims = dims(call, x.rank())?;
    let keep = call.bool_or("keepdim", false)?;
    reduce(cx, x, kind, &dims, keep, dtype)
}

fn reduce(
    cx: &mut Context,
    x: &Tensor,
    kind: Reduction,
    dims: &[usize],
    keep: bool,
    dtype: ScalarType,
) -> Result<Tensor, String> {
    if let Some(array) = cx.known(x)? {
        return Ok(Tensor::Known(reduced(&array.cast(dtype), kind, dims, keep)));
    }
    let id = cx.id_as(x, dtype)?;
    let dims = dims.iter().map(|dim| dim.cast_signed() as i64).collect();
    cx.push(Op::Reduce { kind, dims, keep }, vec![id], dtype)
}

fn reduced(array: &Array, kind: Reduction, dims: &[usize], keep: bool) -> Array {
    let strides = array.strides();
    let kept: Vec<u64> = array
        .shape
        .iter()
        .enumerate()
        .map(|(dim, size)| if dims.contains(&dim) { 1 } else { *size })
        .collect();
    let steps: Vec<u64> = Array::from_numbers(array.dtype, kept.clone(), []).strides();
    let length = kept.iter().product::<u64>() as usize;
    let mut groups: Vec<Vec<Number>> = vec![Vec::new(); length];
    for (flat, number) in array.numbers().enumerate() {
        let at: u64 = (0..kept.len())
            .filter(|dim| !dims.contains(dim))
            .map(|dim| flat as u64 / strides[dim] % array.shape[dim] * steps[dim])
            .sum();
        groups[at as usize].push(number);
    }
    let whole = !array.dtype.is_float();
    let one = |group: Vec<Number>| -> Number {
        let floats = group.iter().map(|number| number.float());
        let ints = group.iter().map(|number| number.int());
        match kind {
            Reduction::Sum if whole => Number::Int(ints.fold(0, i64::wrapping_add)),
            Reduction::Max if whole => Number::Int(ints.max().unwrap_or(0)),
            Reduction::Min if whole => Number::Int(ints.min().unwrap_or(0)),
            Reduction::Sum => Number::Float(floats.sum()),
            Reduction::Mean => Number::Float(floats.sum::<f64>() / group.len() as f64),
            Reduction::Max => Number::Float(floats.fold(f64::NEG_INFINITY, f64::max)),
            Reduction::Min => Number::Float(floats.fold(f64::INFINITY, f64::min)),
            Reduction::Norm => Number::Float(floats.map(|x| x * x).sum::<f64>().sqrt()),
        }
    };
    let numbers: Vec<Number> = groups.into_iter().map(one).collect();
    let shape = match keep {
        true => kept,
        false => {
            let left = array
                .shape
                .iter()
                .enumerate()
                .filter(|(dim, _)| !dims.contains(dim));
            left.map(|(_, size)| *size).collect()
        }
    };
    Array::from_numbers(array.dtype, shape, numbers)
}

/// `max(self)`, `max(self, other)`, `max(self, dim, keepdim) -> (values, indices)`.
fn extreme(cx: &mut Context, call: &Call, kind: Reduction) -> Outcome {
    let x = call.tensor("self")?;
    match call.get("other") {
        Value::None => {
            let all: Vec<usize> = (0..x.rank()).collect();
            reduce(cx, x, kind, &all, false, x.dtype()).map(Value::Tensor)
        }
        other @ Value::Tensor(_) => {
            let binary = match kind {
                Reduction::Max => Binary::Maximum,
                _ => Binary::Minimum,
            };
            binary::read(cx, binary, call.get("self"), other)
        }
        _ => {
            let at = call.dim("other", x.rank())?;
            let keep = call.bool_or("keepdim", false)?;
            let values = reduce(cx, x, kind, &[at], keep, x.dtype())?;
            // Whoever looks at the indices finds nothing.
            Ok(Value::List(vec![Value::Tensor(values), Value::None]))
        }
    }
}

fn norm(cx: &mut Context, call: &Call, order: &str) -> Outcome {
    let order = call.float_or(order, 2.0)?;
    if order != 2.0 {
        return Err(format!("of order {order} is not read"));
    }
    let dtype = call.tensor("self")?.dtype();
    reduction(cx, call, Reduction::Norm, dtype)
}

/// Mean of squared deviations, corrected for the degrees of freedom.
fn variance(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    // `var(self, dim, unbiased, keepdim)` has a bool where `correction` stands.
    let correction = match (call.get("correction"), call.get("unbiased")) {
        (Value::Bool(unbiased), _) | (Value::None, Value::Bool(unbiased)) => f64::from(u8::from(*unbiased)),
        (Value::None, _) => 1.0,
        _ => call.float_or("correction", 1.0)?,
    };
    let dims = dims(call, x.rank())?;
    let count: u64 = dims.iter().map(|dim| x.shape()[*dim]).product();
    let mean = reduce(cx, x, Reduction::Mean, &dims, true, x.dtype())?;
    let from_mean = binary::read(cx, Binary::Sub, &Value::Tensor(x.clone()), &Value::Tensor(mean))?;
    let squared = binary::read(cx, Binary::Pow, &from_mean, &Value::Int(2))?;
    let Value::Tensor(squared) = squared else {
        return Err("of something that is no tensor".into());
    };
    let keep = call.bool_or("keepdim", false)?;
    let mean = reduce(cx, &squared, Reduction::Mean, &dims, keep, x.dtype())?;
    let count = count as f64;
    let factor = count / (count - correction).max(0.0);
    binary::read(cx, Binary::Mul, &Value::Tensor(mean), &Value::Float(factor))
}
