//! `dropout(input, p, train)`, `feature_dropout`, `alpha_dropout`, `native_dropout(input, p, train) -> (Tensor,
//! Tensor)`: nothing, in evaluation.

use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::value::Value;
use super::{Row, row, view};

const PARAMETERS: &[&str] = &["input", "p", "train"];

pub(super) const ROWS: &[Row] = &[
    view("aten::dropout", PARAMETERS, read),
    view("aten::feature_dropout", PARAMETERS, read),
    view("aten::alpha_dropout", PARAMETERS, read),
    row("aten::native_dropout", PARAMETERS, |cx, call| {
        Ok(Value::List(vec![read(cx, call)?, Value::None]))
    }),
];

fn read(_: &mut Context, call: &Call) -> Outcome {
    if call.bool_or("train", false)? && call.float_or("p", 0.5)? > 0.0 {
        return Err(
            "drops values at random: the model was traced in training mode; call model.eval() before tracing"
                .into(),
        );
    }
    Ok(call.get("input").clone())
}
