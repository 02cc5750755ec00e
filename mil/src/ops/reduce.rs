//! Reductions over axes.

use super::call::{Call, one};
use super::domain::{BOOL, INT32, NUMBER, STRING};
use super::{OpDef, Param};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dim, TensorType, ValueType};

const X: Param = Param::new("x", NUMBER);
const KEEP_DIMS: Param = Param::new("keep_dims", BOOL).constant().optional();
const AXES: &[Param] = &[X, Param::new("axes", INT32).constant().optional(), KEEP_DIMS];
const AXIS: &[Param] = &[
    X,
    Param::new("axis", INT32).constant().optional(),
    KEEP_DIMS,
    Param::new("output_dtype", STRING)
        .constant()
        .optional()
        .since(Opset::CoreMl7),
];

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new("reduce_l1_norm", AXES, reduce),
    OpDef::new("reduce_l2_norm", AXES, reduce),
    OpDef::new("reduce_log_sum", AXES, reduce),
    OpDef::new("reduce_log_sum_exp", AXES, reduce),
    OpDef::new("reduce_max", AXES, reduce),
    OpDef::new("reduce_mean", AXES, reduce),
    OpDef::new("reduce_min", AXES, reduce),
    OpDef::new("reduce_prod", AXES, reduce),
    OpDef::new("reduce_sum", AXES, reduce),
    OpDef::new("reduce_sum_square", AXES, reduce),
    OpDef::new("reduce_argmax", AXIS, reduce_arg),
    OpDef::new("reduce_argmin", AXIS, reduce_arg),
];

fn without(x: &TensorType, axes: &[usize], keep_dims: bool) -> Vec<Dim> {
    x.shape
        .iter()
        .enumerate()
        .filter_map(|(axis, dim)| match (axes.contains(&axis), keep_dims) {
            (true, true) => Some(Dim::Known(1)),
            (true, false) => None,
            (false, _) => Some(*dim),
        })
        .collect()
}

/// Over `axes`, all by default.
fn reduce(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let axes = call
        .axes("axes", x.rank())?
        .unwrap_or_else(|| (0..x.rank()).collect());
    one(x.dtype, without(x, &axes, call.bool_or("keep_dims", false)?))
}

/// Over one axis, the last by default; results are positions.
fn reduce_arg(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", -1, x.rank())?;
    let dtype = match call.str_or("output_dtype", "int32")? {
        "int32" => DataType::Int32,
        "uint16" => DataType::UInt16,
        other => return Err(format!("output_dtype `{other}` is not int32 or uint16")),
    };
    one(dtype, without(x, &[axis], call.bool_or("keep_dims", false)?))
}
