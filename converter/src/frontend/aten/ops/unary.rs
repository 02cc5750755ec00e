//! `abs(self)`, `ceil`, `cos`, `erf`, `exp`, `floor`, `log`, `logical_not`, `bitwise_not` of truth values, `neg`,
//! `reciprocal`, `rsqrt`, `sign`, `sin`, `sqrt`, `square`.
//!
//! Functions of real numbers give floats of integers; `abs`, `neg` and `sign` keep the type.

use super::super::array::Number;
use super::super::call::Call;
use super::super::context::{Context, Outcome, wrapped};
use super::super::dtype::ScalarType;
use super::super::value::{Tensor, Value};
use super::{Row, row};
use crate::graph::{Op, Unary};

const SELF: &[&str] = &["self"];

pub(super) const ROWS: &[Row] = &[
    row("aten::abs", SELF, |cx, call| {
        keeping(cx, call, Op::Unary(Unary::Abs))
    }),
    row("aten::neg", SELF, |cx, call| {
        keeping(cx, call, Op::MulScalar(-1.0))
    }),
    row("aten::sign", SELF, |cx, call| {
        keeping(cx, call, Op::Unary(Unary::Sign))
    }),
    row("aten::ceil", SELF, |cx, call| {
        keeping(cx, call, Op::Unary(Unary::Ceil))
    }),
    row("aten::floor", SELF, |cx, call| {
        keeping(cx, call, Op::Unary(Unary::Floor))
    }),
    row("aten::square", SELF, |cx, call| {
        keeping(cx, call, Op::PowScalar(2.0))
    }),
    row("aten::cos", SELF, |cx, call| {
        real(cx, call, Op::Unary(Unary::Cos))
    }),
    row("aten::sin", SELF, |cx, call| {
        real(cx, call, Op::Unary(Unary::Sin))
    }),
    row("aten::erf", SELF, |cx, call| {
        real(cx, call, Op::Unary(Unary::Erf))
    }),
    row("aten::exp", SELF, |cx, call| {
        real(cx, call, Op::Unary(Unary::Exp))
    }),
    row("aten::log", SELF, |cx, call| {
        real(cx, call, Op::Unary(Unary::Log))
    }),
    row("aten::sqrt", SELF, |cx, call| {
        real(cx, call, Op::Unary(Unary::Sqrt))
    }),
    row("aten::rsqrt", SELF, |cx, call| {
        real(cx, call, Op::Unary(Unary::Rsqrt))
    }),
    row("aten::reciprocal", SELF, |cx, call| {
        real(cx, call, Op::PowScalar(-1.0))
    }),
    row("aten::logical_not", SELF, not),
    row("aten::bitwise_not", SELF, not),
    row("aten::__not__", SELF, not),
];

fn keeping(cx: &mut Context, call: &Call, op: Op) -> Outcome {
    let x = operand(call)?;
    read(
        cx,
        &x,
        op,
        x.dtype(),
        matches!(call.get("self"), Value::Tensor(_)),
    )
}

fn real(cx: &mut Context, call: &Call, op: Op) -> Outcome {
    let x = operand(call)?;
    let dtype = match x.dtype() {
        dtype if dtype.is_float() => dtype,
        _ => ScalarType::Float32,
    };
    read(cx, &x, op, dtype, matches!(call.get("self"), Value::Tensor(_)))
}

fn operand(call: &Call) -> Result<Tensor, String> {
    let value = call.get("self");
    wrapped(value).ok_or_else(|| format!("`self` is {}", value.kind()))
}

fn read(cx: &mut Context, x: &Tensor, op: Op, dtype: ScalarType, tensor: bool) -> Outcome {
    if let Some(array) = cx.known(x)? {
        let result = array.map(dtype, |number| compute(&op, number));
        return Ok(match (tensor, result.item()) {
            (false, Some(Number::Int(value))) => Value::Int(value),
            (false, Some(Number::Float(value))) => Value::Float(value),
            _ => result.into(),
        });
    }
    let id = cx.id_as(x, dtype)?;
    cx.push(op, vec![id], dtype).map(Value::Tensor)
}

fn compute(op: &Op, number: Number) -> Number {
    if let (Op::Unary(function), Number::Int(value)) = (op, number) {
        match function {
            Unary::Abs => return Number::Int(value.wrapping_abs()),
            Unary::Sign => return Number::Int(value.signum()),
            Unary::Ceil | Unary::Floor => return number,
            _ => {}
        }
    }
    match (op, number) {
        (Op::MulScalar(_), Number::Int(value)) => return Number::Int(value.wrapping_neg()),
        (Op::PowScalar(2.0), Number::Int(value)) => return Number::Int(value.wrapping_mul(value)),
        _ => {}
    }
    let x = number.float();
    Number::Float(match op {
        Op::MulScalar(_) => -x,
        Op::PowScalar(exponent) => x.powf(*exponent),
        Op::Unary(function) => match function {
            Unary::Abs => x.abs(),
            Unary::Ceil => x.ceil(),
            Unary::Cos => x.cos(),
            Unary::Erf => erf(x),
            Unary::Exp => x.exp(),
            Unary::Floor => x.floor(),
            Unary::Log => x.ln(),
            Unary::Not => f64::from(x == 0.0),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Sign => match x == 0.0 {
                true => 0.0,
                false => x.signum(),
            },
            Unary::Sin => x.sin(),
            Unary::Sqrt => x.sqrt(),
        },
        _ => x,
    })
}

/// The error function by its series within 3, beyond by the continued fraction of its complement (Abramowitz and
/// Stegun 7.1.6, 7.1.14); good to 1e-14.
fn erf(x: f64) -> f64 {
    let size = x.abs();
    let value = if size < 3.0 {
        let (mut term, mut sum) = (size, size);
        for n in 1..120 {
            term *= 2.0 * size * size / f64::from(2 * n + 1);
            sum += term;
        }
        sum * (-size * size).exp() * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let tail = (1..60)
            .rev()
            .fold(size, |tail, n| size + f64::from(n) / 2.0 / tail);
        1.0 - (-size * size).exp() / tail * std::f64::consts::FRAC_2_SQRT_PI / 2.0
    };
    value.copysign(x)
}

fn not(cx: &mut Context, call: &Call) -> Outcome {
    if !matches!(call.get("self"), Value::Tensor(_)) {
        let number = call.get("self").number().ok_or("is not of a truth value")?;
        return Ok(Value::Bool(!number.truth()));
    }
    let x = call.tensor("self")?;
    if call.target == "aten::bitwise_not" && x.dtype() != ScalarType::Bool {
        return Err(format!("of {} is not read", x.dtype()));
    }
    if let Some(array) = cx.known(x)? {
        return Ok(array
            .map(ScalarType::Bool, |number| Number::Int(i64::from(!number.truth())))
            .into());
    }
    let id = cx.id_as(x, ScalarType::Bool)?;
    cx.push(Op::Unary(Unary::Not), vec![id], ScalarType::Bool)
        .map(Value::Tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_at_known_points() {
        // Abramowitz and Stegun, table 7.1, and its odd symmetry.
        for (x, wanted) in [
            (0.5, 0.520_499_877_8),
            (1.0, 0.842_700_792_9),
            (2.0, 0.995_322_265_0),
        ] {
            assert!((erf(x) - wanted).abs() < 1e-10, "{x}");
            assert!((erf(-x) + wanted).abs() < 1e-10, "-{x}");
        }
        // Both branches agree where they meet; 1 − erf(3) is 2.209e-5.
        assert!((erf(2.999_999_999) - erf(3.000_000_001)).abs() < 1e-10);
        assert!((erf(3.0) - 0.999_977_909_503).abs() < 1e-11);
        assert_eq!(erf(9.0), 1.0);
    }
}
