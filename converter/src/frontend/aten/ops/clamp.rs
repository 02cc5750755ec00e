//! `clamp(self, min=None, max=None)`, `clamp_min(self, min)`, `clamp_max(self, max)`.

use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::value::Value;
use super::binary::{self, Binary};
use super::{Row, row};
use crate::graph::Op;

pub(super) const ROWS: &[Row] = &[
    row("aten::clamp", &["self", "min", "max"], |cx, call| {
        read(cx, call, call.get("min"), call.get("max"))
    }),
    row("aten::clamp_min", &["self", "min"], |cx, call| {
        read(cx, call, call.get("min"), &Value::None)
    }),
    row("aten::clamp_max", &["self", "max"], |cx, call| {
        read(cx, call, &Value::None, call.get("max"))
    }),
];

fn read(cx: &mut Context, call: &Call, min: &Value, max: &Value) -> Outcome {
    let x = call.tensor("self")?;
    let number = |value: &Value, open: f64| match value {
        Value::None => Some(open),
        value => value.number().map(|number| number.float()),
    };
    let bounds = (number(min, f64::NEG_INFINITY), number(max, f64::INFINITY));
    if let (Some(min), Some(max), None) = (bounds.0, bounds.1, cx.known(x)?) {
        return cx.apply(Op::Clamp { min, max }, &[x], x.dtype());
    }
    let mut result = Value::Tensor(x.clone());
    for (bound, binary) in [(min, Binary::Maximum), (max, Binary::Minimum)] {
        if !matches!(bound, Value::None) {
            result = binary::read(cx, binary, &result, bound)?;
        }
    }
    Ok(result)
}
