//! `gelu(self, *, approximate="none")`, `relu(self)`, `sigmoid(self)`, `silu(self)`, `tanh(self)`.

use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::{Row, row};
use crate::graph::Op;

const SELF: &[&str] = &["self"];

pub(super) const ROWS: &[Row] = &[
    row("aten::gelu", &["self", "approximate"], gelu),
    row("aten::relu", SELF, |cx, call| read(cx, call, Op::Relu)),
    row("aten::sigmoid", SELF, |cx, call| read(cx, call, Op::Sigmoid)),
    row("aten::silu", SELF, |cx, call| read(cx, call, Op::Silu)),
    row("aten::tanh", SELF, |cx, call| read(cx, call, Op::Tanh)),
];

fn gelu(cx: &mut Context, call: &Call) -> Outcome {
    let tanh = match call.text_or("approximate", "none")? {
        "none" => false,
        "tanh" => true,
        other => return Err(format!("approximation `{other}` is not known")),
    };
    read(cx, call, Op::Gelu { tanh })
}

fn read(cx: &mut Context, call: &Call, op: Op) -> Outcome {
    let x = call.tensor("self")?;
    if !x.dtype().is_float() {
        return Err(format!("of {} is not read", x.dtype()));
    }
    cx.apply(op, &[x], x.dtype())
}
