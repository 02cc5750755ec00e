//! `where(condition, self, other)`, `masked_fill(self, mask, value)`.

use super::super::array::{Array, Number, broadcast};
use super::super::context::{Context, Outcome, wrapped};
use super::super::dtype::ScalarType;
use super::super::promote::result_type;
use super::super::value::{Tensor, Value};
use super::binary::{self, Binary};
use super::{Row, cast, expand, row};
use crate::graph::{Op, Unary};

/// At or below this, a number says "never" to a softmax.
const NEVER: f64 = -1e4;

pub(super) const ROWS: &[Row] = &[
    row("aten::where", &["condition", "self", "other"], |cx, call| {
        let dtype = result_type([call.get("self"), call.get("other")]);
        let side = |name: &str| {
            let value = call.get(name);
            wrapped(value).ok_or_else(|| format!("`{name}` is {}", value.kind()))
        };
        choose(
            cx,
            call.tensor("condition")?,
            &side("self")?,
            &side("other")?,
            dtype,
        )
    }),
    row("aten::masked_fill", &["self", "mask", "value"], |cx, call| {
        let (x, mask) = (call.tensor("self")?, call.tensor("mask")?);
        let value = call.get("value");
        let value = wrapped(value).ok_or_else(|| format!("`value` is {}", value.kind()))?;
        choose(cx, mask, &value, x, x.dtype())
    }),
];

/// `a` where the condition holds, `b` elsewhere.
fn choose(cx: &mut Context, condition: &Tensor, a: &Tensor, b: &Tensor, dtype: ScalarType) -> Outcome {
    let shape = broadcast(condition.shape(), &broadcast(a.shape(), b.shape())?)?;
    if let Some(arrays) = cx.all_known(&[condition, a, b])? {
        let each = arrays.iter().map(|array| array.expanded(&shape));
        let each = each.collect::<Result<Vec<_>, _>>()?;
        let numbers = (0..each[0].len()).map(|at| match each[0].get(at).truth() {
            true => each[1].get(at),
            false => each[2].get(at),
        });
        return Ok(Array::from_numbers(dtype, shape, numbers.collect::<Vec<_>>()).into());
    }
    if let Tensor::Known(known) = condition {
        for (truth, side) in [(true, a), (false, b)] {
            if known.numbers().all(|number| number.truth() == truth) {
                let side = cast::cast(cx, side, dtype)?;
                return expand::to_shape(cx, &side, &shape).map(Value::Tensor);
            }
        }
    }
    let condition = Tensor::Node {
        id: cx.id_as(condition, ScalarType::Bool)?,
        dtype: ScalarType::Bool,
        shape: condition.shape().to_vec(),
    };
    let number = |tensor: &Tensor| match tensor {
        Tensor::Known(array) => array.cast(dtype).item().map(Number::float),
        _ => None,
    };
    match (number(a), number(b)) {
        (Some(zero), Some(never)) if zero == 0.0 && never <= NEVER => {
            let held = cast::cast(cx, &condition, dtype)?;
            let hidden = binary::read(cx, Binary::Sub, &Value::Float(1.0), &Value::Tensor(held))?;
            binary::read(cx, Binary::Mul, &hidden, &Value::Float(finite(never)))
        }
        (Some(never), Some(zero)) if zero == 0.0 && never <= NEVER => {
            let held = cast::cast(cx, &condition, dtype)?;
            binary::read(
                cx,
                Binary::Mul,
                &Value::Tensor(held),
                &Value::Float(finite(never)),
            )
        }
        (Some(value), None) => {
            let ids = vec![cx.id_as(b, dtype)?, cx.id(&condition)?];
            cx.push(Op::MaskedFill(value), ids, dtype).map(Value::Tensor)
        }
        (None, Some(value)) => {
            let inverse = cx.apply(Op::Unary(Unary::Not), &[&condition], ScalarType::Bool)?;
            let Value::Tensor(inverse) = inverse else {
                return Err("has no condition".into());
            };
            let ids = vec![cx.id_as(a, dtype)?, cx.id(&inverse)?];
            cx.push(Op::MaskedFill(value), ids, dtype).map(Value::Tensor)
        }
        _ => {
            let ids = vec![cx.id(&condition)?, cx.id_as(a, dtype)?, cx.id_as(b, dtype)?];
            cx.push(Op::Where, ids, dtype).map(Value::Tensor)
        }
    }
}

/// −∞ times a zero that is not hidden would be no number.
fn finite(never: f64) -> f64 {
    never.max(f64::from(f32::MIN))
}
