//! Operations that treat every element alike.

use candle_core::{DType, Error, Result, Tensor};
use corer_converter::graph::{Comparison, Kind, Op, Unary};

use super::as_kind;

/// The result, of kind `kind`.
pub(super) fn compute(op: &Op, x: &[Tensor], kind: Kind) -> Result<Tensor> {
    let first = &x[0];
    match op {
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Maximum | Op::Minimum | Op::And | Op::Or => {
            as_kind(&binary(op, first, &x[1])?, kind)
        }
        Op::Compare(comparison) => compare(*comparison, first, &x[1]),
        Op::CompareScalar(comparison, scalar) => {
            // A scalar between two integers must stay between them.
            let first = first.to_dtype(if first.dtype() == DType::F32 {
                DType::F32
            } else {
                DType::F64
            })?;
            let scalar = Tensor::full(*scalar, (), first.device())?.to_dtype(first.dtype())?;
            compare(*comparison, &first, &scalar)
        }
        Op::Where => choose(first, &x[1], &x[2]),
        Op::MaskedFill(scalar) => {
            let value = Tensor::full(*scalar, (), first.device())?.to_dtype(first.dtype())?;
            choose(&x[1], &value, first)
        }
        Op::AddScalar(scalar) => first.affine(1.0, *scalar),
        Op::MulScalar(scalar) => first.affine(*scalar, 0.0),
        Op::RsubScalar(scalar) => match kind {
            Kind::Bool => as_kind(&first.to_dtype(DType::I64)?.affine(-1.0, *scalar)?, kind),
            _ => first.affine(-1.0, *scalar),
        },
        Op::PowScalar(exponent) => {
            let wide = first.to_dtype(DType::F64)?;
            let power = if *exponent == 2.0 {
                wide.sqr()?
            } else {
                wide.powf(*exponent)?
            };
            as_kind(&power, kind)
        }
        Op::Clamp { min, max } => first.clamp(*min, *max),
        Op::Unary(function) => {
            let x = if *function == Unary::Not {
                first.clone()
            } else {
                first.to_dtype(DType::F32)?
            };
            as_kind(&unary(*function, &x)?, kind)
        }
        Op::ToFloat => as_kind(first, Kind::Float),
        Op::ToInt => as_kind(first, Kind::Int),
        Op::ToBool => as_kind(first, Kind::Bool),
        Op::Gelu { tanh: true } => first.gelu(),
        Op::Gelu { tanh: false } => first.gelu_erf(),
        Op::Tanh => first.tanh(),
        Op::Relu => first.relu(),
        Op::Silu => first.silu(),
        Op::Sigmoid => sigmoid(first),
        other => Err(Error::Msg(format!("{other} is not computed"))),
    }
}

fn binary(op: &Op, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match op {
        Op::Add => a.broadcast_add(b),
        Op::Sub => a.broadcast_sub(b),
        Op::Mul => a.broadcast_mul(b),
        Op::Div => a.broadcast_div(b),
        Op::Maximum | Op::Or => a.broadcast_maximum(b),
        _ => a.broadcast_minimum(b),
    }
}

fn compare(comparison: Comparison, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    // Truth values are compared with numbers in some models.
    let (a, b) = match a.dtype() == b.dtype() {
        true => (a.clone(), b.clone()),
        false => (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?),
    };
    match comparison {
        Comparison::Eq => a.broadcast_eq(&b),
        Comparison::Ne => a.broadcast_ne(&b),
        Comparison::Lt => a.broadcast_lt(&b),
        Comparison::Le => a.broadcast_le(&b),
        Comparison::Gt => a.broadcast_gt(&b),
        Comparison::Ge => a.broadcast_ge(&b),
    }
}

fn choose(condition: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = condition.shape().broadcast_shape_binary_op(a.shape(), "where")?;
    let shape = shape.broadcast_shape_binary_op(b.shape(), "where")?;
    let full = |x: &Tensor| x.broadcast_as(&shape)?.contiguous();
    full(condition)?.where_cond(&full(a)?, &full(b)?)
}

fn unary(function: Unary, x: &Tensor) -> Result<Tensor> {
    match function {
        Unary::Abs => x.abs(),
        Unary::Ceil => x.ceil(),
        Unary::Cos => x.cos(),
        Unary::Erf => x.erf(),
        Unary::Exp => x.exp(),
        Unary::Floor => x.floor(),
        Unary::Log => x.log(),
        Unary::Not => x.eq(&x.zeros_like()?),
        Unary::Rsqrt => x.sqrt()?.recip(),
        Unary::Sign => x.sign(),
        Unary::Sin => x.sin(),
        Unary::Sqrt => x.sqrt(),
    }
}

/// 1 / (1 + exp(−x)).
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}
