//! Layers: `linear`, `conv`, `layer_norm`, `gelu`, `softmax`.

use super::call::{Call, one};
use super::{OpDef, Outputs, Param, TypeRule};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dim, ValueType};

const INT32: TypeRule = TypeRule::OneOf(&[DataType::Int32]);
const STRING: TypeRule = TypeRule::OneOf(&[DataType::String]);

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[OpDef {
    name: "softmax",
    since: Opset::CoreMl5,
    until: None,
    params: &[Param::new("x", TypeRule::Float), Param::new("axis", INT32).constant().optional()],
    attributes: false,
    outputs: Outputs::Exactly(1),
    infer: softmax,
}];

fn softmax(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    call.axis_or("axis", -1, x.rank())?;
    one(x.dtype, x.shape.clone())
}
