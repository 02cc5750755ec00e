//! Lookups by index.

use super::call::{Call, one};
use super::domain::{BOOL, GATHERABLE, INDICES, INT32};
use super::{OpDef, Param, dims};
use crate::opset::Opset;
use crate::types::{Dim, TensorType, ValueType};

const X: Param = Param::new("x", GATHERABLE);
const AXIS: Param = Param::new("axis", INT32).constant().optional();
const BATCH_DIMS: Param = Param::new("batch_dims", INT32).constant().optional();
const VALIDATE: Param = Param::new("validate_indices", BOOL)
    .constant()
    .optional()
    .since(Opset::CoreMl7);
const INT32_INDICES: Param = Param::new("indices", INT32);
const SMALL_INDICES: Param = Param::new("indices", INDICES);

/// The rows of this family. iOS 16 brought smaller indices and `batch_dims`, iOS 17 `validate_indices`.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new("gather", &[X, INT32_INDICES, AXIS], gather),
    OpDef::new("gather", &[X, SMALL_INDICES, AXIS, BATCH_DIMS, VALIDATE], gather).since(Opset::CoreMl6),
    OpDef::new("gather_along_axis", &[X, INT32_INDICES, AXIS], gather_along_axis),
    OpDef::new(
        "gather_along_axis",
        &[X, SMALL_INDICES, AXIS, VALIDATE],
        gather_along_axis,
    )
    .since(Opset::CoreMl6),
    OpDef::new("gather_nd", &[X, INT32_INDICES], gather_nd),
    OpDef::new("gather_nd", &[X, SMALL_INDICES, BATCH_DIMS, VALIDATE], gather_nd).since(Opset::CoreMl6),
];

/// How many leading axes `x` and `indices` share.
fn batch(call: &Call<'_>, x: &TensorType, indices: &TensorType) -> Result<usize, String> {
    let batch = call.int_or("batch_dims", 0)?;
    let batch = usize::try_from(batch)
        .ok()
        .filter(|batch| *batch < x.rank().max(1) && *batch <= indices.rank());
    let batch = batch.ok_or_else(|| {
        format!(
            "`batch_dims` must be less than the rank of `x` {x} and not more than that of `indices` {indices}"
        )
    })?;
    if dims::unify_shapes(&x.shape[..batch], &indices.shape[..batch]).is_none() {
        return Err(format!(
            "the first {batch} sizes of `x` {x} and `indices` {indices} differ"
        ));
    }
    Ok(batch)
}

/// Constant indices must lie in `-size..size`.
fn in_range(call: &Call<'_>, size: Dim) -> Result<(), String> {
    let (Some(size), Some(value)) = (size.known(), call.get("indices").and_then(|arg| arg.value)) else {
        return Ok(());
    };
    let outside = value.as_ints().unwrap_or_default().into_iter().find(|index| {
        let magnitude = if *index < 0 {
            index.unsigned_abs() - 1
        } else {
            index.unsigned_abs()
        };
        magnitude >= size
    });
    match outside {
        Some(index) => Err(format!("index {index} is outside size {size}")),
        None => Ok(()),
    }
}

/// `x[..axis] + indices[batch_dims..] + x[axis + 1..]`.
fn gather(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    let axis = call.axis_or("axis", 0, x.rank())?;
    let batch = batch(call, x, indices)?;
    if axis < batch {
        return Err(format!("`axis` {axis} is one of the {batch} batch axes"));
    }
    in_range(call, x.shape[axis])?;
    one(
        x.dtype,
        [&x.shape[..axis], &indices.shape[batch..], &x.shape[axis + 1..]].concat(),
    )
}

/// One element of the line along `axis` for each index.
fn gather_along_axis(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    if x.rank() != indices.rank() {
        return Err(format!("`x` {x} and `indices` {indices} must have one rank"));
    }
    let axis = call.axis_or("axis", 0, x.rank())?;
    for (other, (a, b)) in x.shape.iter().zip(&indices.shape).enumerate() {
        if other != axis && !a.compatible(*b) {
            return Err(format!("`x` {x} and `indices` {indices} differ on axis {other}"));
        }
    }
    in_range(call, x.shape[axis])?;
    one(x.dtype, indices.shape.clone())
}

/// The last axis of `indices` holds coordinates into `x`.
fn gather_nd(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    let batch = batch(call, x, indices)?;
    let Some((depth, front)) = indices.shape.split_last() else {
        return Err("`indices` must have rank 1 or more".into());
    };
    let depth = depth.known().ok_or("the last size of `indices` must be known")?;
    let skip = usize::try_from(depth)
        .ok()
        .and_then(|depth| depth.checked_add(batch))
        .filter(|skip| *skip <= x.rank());
    let skip =
        skip.ok_or_else(|| format!("`indices` {indices} holds more coordinates than `x` {x} has axes"))?;
    one(x.dtype, [front, &x.shape[skip..]].concat())
}
