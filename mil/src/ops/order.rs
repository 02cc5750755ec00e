//! Sorting: `topk` and `argsort`.

use super::call::{Call, one};
use super::domain::{BOOL, EXTENT, GATHERABLE, INT32, NUMBER, STRING};
use super::{OpDef, Outputs, Param, dims};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dim, TensorType, ValueType};

const AXIS: Param = Param::new("axis", INT32).constant().optional();
const ASCENDING: Param = Param::new("ascending", BOOL).constant().optional();

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new(
        "topk",
        &[
            Param::new("x", GATHERABLE),
            Param::new("k", EXTENT).constant().optional(),
            AXIS,
            ASCENDING,
            Param::new("sort", BOOL)
                .constant()
                .optional()
                .since(Opset::CoreMl6),
            Param::new("return_indices", BOOL)
                .constant()
                .optional()
                .since(Opset::CoreMl6),
            Param::new("output_indices_dtype", STRING)
                .constant()
                .optional()
                .since(Opset::CoreMl7),
        ],
        topk,
    )
    .results(Outputs::Variable),
    OpDef::new("argsort", &[Param::new("x", NUMBER), AXIS, ASCENDING], argsort),
];

/// The `k` largest (or smallest) along an axis, and, unless `return_indices` is false, where they were.
fn topk(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", -1, x.rank())?;
    let k = dims::size(call.int_or("k", 1)?, "k")?;
    if let Dim::Known(size) = x.shape[axis]
        && k > size
    {
        return Err(format!("`k` {k} is more than size {size} of axis {axis}"));
    }
    let mut shape = x.shape.clone();
    shape[axis] = Dim::Known(k);
    let values = TensorType {
        dtype: x.dtype,
        shape: shape.clone(),
    }
    .into();
    if !call.bool_or("return_indices", true)? {
        return Ok(vec![values]);
    }
    let dtype = match call.str_or("output_indices_dtype", "int32")? {
        "int32" => DataType::Int32,
        "uint16" => DataType::UInt16,
        other => return Err(format!("output_indices_dtype `{other}` is not int32 or uint16")),
    };
    Ok(vec![values, TensorType { dtype, shape }.into()])
}

fn argsort(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    call.axis_or("axis", -1, x.rank())?;
    one(DataType::Int32, x.shape.clone())
}
