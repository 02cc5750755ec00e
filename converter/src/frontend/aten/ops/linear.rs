//! `linear(input, weight, bias=None)`, `matmul(self, other)`, `mm`, `bmm`, `addmm(self, mat1, mat2, *, beta=1,
//! alpha=1)`, `baddbmm(self, batch1, batch2, *, beta=1, alpha=1)`.
//!
//! A product with a matrix on disk is a dense layer, however it is spelled.

use super::super::array::{Array, Number, broadcast, count};
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::binary::{self, Binary};
use super::{Row, row, transpose};
use crate::graph::Op;

pub(super) const ROWS: &[Row] = &[
    row("aten::linear", &["input", "weight", "bias"], linear),
    row("aten::matmul", &["self", "other"], |cx, call| {
        matmul(cx, call.tensor("self")?, call.tensor("other")?)
    }),
    row("aten::mm", &["self", "mat2"], |cx, call| {
        matmul(cx, call.tensor("self")?, call.tensor("mat2")?)
    }),
    row("aten::bmm", &["self", "mat2"], |cx, call| {
        matmul(cx, call.tensor("self")?, call.tensor("mat2")?)
    }),
    row(
        "aten::addmm",
        &["self", "mat1", "mat2", "beta", "alpha"],
        |cx, call| added(cx, call, "mat1", "mat2"),
    ),
    row(
        "aten::baddbmm",
        &["self", "batch1", "batch2", "beta", "alpha"],
        |cx, call| added(cx, call, "batch1", "batch2"),
    ),
];

fn linear(cx: &mut Context, call: &Call) -> Outcome {
    let (x, weight) = (call.tensor("input")?, call.tensor("weight")?);
    let bias = call.optional_tensor("bias")?;
    if matches!(weight, Tensor::Weight(..)) && weight.rank() == 2 && bias.is_none_or(is_constant) {
        return dense(cx, x, weight, bias);
    }
    let turned = transpose::swap(cx, weight, 0, weight.rank().saturating_sub(1))?;
    let product = matmul(cx, x, &turned)?;
    match bias {
        Some(bias) => binary::read(cx, Binary::Add, &product, &Value::Tensor(bias.clone())),
        None => Ok(product),
    }
}

fn dense(cx: &mut Context, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Outcome {
    let dtype = x.dtype();
    match bias {
        Some(bias) => cx.apply(Op::Linear, &[x, weight, bias], dtype),
        None => cx.apply(Op::Linear, &[x, weight], dtype),
    }
}

fn is_constant(tensor: &Tensor) -> bool {
    !matches!(tensor, Tensor::Node { .. })
}

/// β·self + α·(a @ b).
fn added(cx: &mut Context, call: &Call, a: &str, b: &str) -> Outcome {
    let (a, b) = (call.tensor(a)?, call.tensor(b)?);
    let (beta, alpha) = (call.float_or("beta", 1.0)?, call.float_or("alpha", 1.0)?);
    let own = call.tensor("self")?;
    if let (Tensor::Weight(name, dtype, weight), 1.0, 1.0) = (b, beta, alpha)
        && own.rank() == 1
        && is_constant(own)
        && b.rank() == 2
        && is_computed(a)
    {
        let weight = weight.clone().transpose().map_err(|error| error.to_string())?;
        return dense(cx, a, &Tensor::Weight(name.clone(), *dtype, weight), Some(own));
    }
    let product = matmul(cx, a, b)?;
    let product = match alpha {
        1.0 => product,
        alpha => binary::read(cx, Binary::Mul, &product, &Value::Float(alpha))?,
    };
    // β = 0 means that `self` is not looked at, whatever it holds.
    if beta == 0.0 {
        return Ok(product);
    }
    let own = match beta {
        1.0 => Value::Tensor(own.clone()),
        beta => binary::read(cx, Binary::Mul, &Value::Tensor(own.clone()), &Value::Float(beta))?,
    };
    binary::read(cx, Binary::Add, &own, &product)
}

fn is_computed(tensor: &Tensor) -> bool {
    matches!(tensor, Tensor::Node { .. })
}

/// `a @ b` of matrices, leading dimensions broadcasting.
pub(super) fn matmul(cx: &mut Context, a: &Tensor, b: &Tensor) -> Outcome {
    if let Some(arrays) = cx.all_known(&[a, b])? {
        return product(&arrays[0], &arrays[1]).map(Value::from);
    }
    if a.rank() < 2 || b.rank() < 2 {
        return Err(format!("of {:?} and {:?} is not read", a.shape(), b.shape()));
    }
    if let Tensor::Weight(name, dtype, weight) = b
        && b.rank() == 2
        && is_computed(a)
    {
        let weight = weight.clone().transpose().map_err(|error| error.to_string())?;
        return dense(cx, a, &Tensor::Weight(name.clone(), *dtype, weight), None);
    }
    cx.apply(Op::Matmul, &[a, b], a.dtype())
}

/// The product of known matrices, summed in the order of the columns.
fn product(a: &Array, b: &Array) -> Result<Array, String> {
    let ([a_batch @ .., rows, inner], [b_batch @ .., other, columns]) = (&a.shape[..], &b.shape[..]) else {
        return Err(format!("of {:?} and {:?} is not read", a.shape, b.shape));
    };
    if inner != other {
        return Err(format!("{inner} columns times {other} rows"));
    }
    let batch = broadcast(a_batch, b_batch)?;
    let with = |tail: [u64; 2]| batch.iter().copied().chain(tail).collect::<Vec<_>>();
    let (a, b) = (
        a.expanded(&with([*rows, *inner]))?,
        b.expanded(&with([*other, *columns]))?,
    );
    let shape = with([*rows, *columns]);
    let size = count(&shape)?;
    let (rows, inner, columns) = (*rows as usize, *inner as usize, *columns as usize);
    let mut numbers = Vec::with_capacity(size);
    for batch in 0..size.checked_div(rows * columns).unwrap_or(0) {
        for row in 0..rows {
            for column in 0..columns {
                let sum: f64 = (0..inner)
                    .map(|k| {
                        let left = a.get((batch * rows + row) * inner + k).float();
                        left * b.get((batch * inner + k) * columns + column).float()
                    })
                    .sum();
                numbers.push(Number::Float(sum));
            }
        }
    }
    Ok(Array::from_numbers(a.dtype, shape, numbers))
}
