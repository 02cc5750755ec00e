//! `any(self, dim=None, keepdim=False)`, `all(self, dim=None, keepdim=False)`: whether some, or every, element is not
//! zero. The result is of truth values (`uint8` stays itself in PyTorch and is not read).

use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::Tensor;
use super::reduce::over_dims;
use super::{Row, row};
use crate::graph::{Op, Reduction};

const DIM: &[&str] = &["self", "dim", "keepdim"];

pub(super) const ROWS: &[Row] = &[
    row("aten::any", DIM, |cx, call| truth(cx, call, Reduction::Max)),
    row("aten::all", DIM, |cx, call| truth(cx, call, Reduction::Min)),
];

/// The largest of truth values is whether any is true, the smallest whether all are.
fn truth(cx: &mut Context, call: &Call, kind: Reduction) -> Outcome {
    let x = call.tensor("self")?;
    if x.dtype() == ScalarType::Uint8 {
        return Err("of uint8".into());
    }
    let truths = match x {
        Tensor::Known(array) => Tensor::Known(array.cast(ScalarType::Bool)),
        x if x.dtype() == ScalarType::Bool => x.clone(),
        x => Tensor::Node {
            id: cx.id_as(x, ScalarType::Bool)?,
            dtype: ScalarType::Bool,
            shape: x.shape().to_vec(),
        },
    };
    match over_dims(cx, call, &truths, kind, ScalarType::Float32)? {
        Tensor::Known(array) => Ok(array.cast(ScalarType::Bool).into()),
        found => cx.apply(Op::ToBool, &[&found], ScalarType::Bool),
    }
}
