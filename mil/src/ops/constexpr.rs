//! `constexpr_*` as iOS 18 writes them: parameters are inputs, with sub-byte types and blocks.

use super::call::{Call, one};
use super::constexpr_attributes::{CAST, cast, set_bits, vector};
use super::domain::{ENTRY, INT32, PALETTE_INDEX, SCALABLE};
use super::{OpDef, Outputs, Param, TypeRule, dims};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dim, TensorType, ValueType};

const UINT1: TypeRule = TypeRule::OneOf(&[DataType::UInt1]);
const SCALE: Param = Param::new("scale", TypeRule::Float).constant();
const OFFSET: Param = Param::new("offset", SCALABLE).constant().optional();
const LUT: Param = Param::new("lut", ENTRY).constant();
const VECTOR_AXIS: Param = Param::new("vector_axis", INT32).constant().optional();

const fn input_form(name: &'static str, params: &'static [Param], infer: super::Infer) -> OpDef {
    OpDef::new(name, params, infer).since(Opset::CoreMl8)
}

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    input_form("constexpr_cast", CAST, cast),
    input_form(
        "constexpr_blockwise_shift_scale",
        &[Param::new("data", SCALABLE).constant(), SCALE, OFFSET],
        blockwise_shift_scale,
    ),
    input_form(
        "constexpr_lut_to_dense",
        &[Param::new("indices", PALETTE_INDEX).constant(), LUT, VECTOR_AXIS],
        lut_to_dense,
    ),
    input_form(
        "constexpr_sparse_to_dense",
        &[
            Param::new("nonzero_data", SCALABLE).constant(),
            Param::new("mask", UINT1).constant(),
        ],
        sparse_to_dense,
    ),
    input_form(
        "constexpr_lut_to_sparse",
        &[
            Param::new("indices_mask", UINT1).constant(),
            Param::new("indices_nonzero_data", PALETTE_INDEX).constant(),
            LUT,
            VECTOR_AXIS,
        ],
        lut_to_sparse,
    )
    .results(Outputs::Exactly(2)),
    input_form(
        "constexpr_sparse_blockwise_shift_scale",
        &[
            Param::new("data_mask", UINT1).constant(),
            Param::new("nonzero_data", SCALABLE).constant(),
            SCALE,
            OFFSET,
        ],
        sparse_blockwise_shift_scale,
    )
    .results(Outputs::Exactly(2)),
];

/// Checks `scale` and `offset` against the dense shape: every block whole.
fn blocks(call: &Call<'_>, dense: &[Dim], data: DataType) -> Result<DataType, String> {
    let scale = call.tensor("scale")?;
    if dense.is_empty() {
        return Err("a scalar has no blocks".into());
    }
    if scale.rank() != dense.len() {
        return Err(format!(
            "`scale` {scale} must have the rank of the data {}",
            dims::show(dense)
        ));
    }
    for (axis, (size, scales)) in dense.iter().zip(&scale.shape).enumerate() {
        if let (Some(size), Some(scales)) = (size.known(), scales.known())
            && (scales == 0 || !size.is_multiple_of(scales))
        {
            return Err(format!(
                "size {size} on axis {axis} does not divide into {scales} blocks"
            ));
        }
    }
    if call.get("offset").is_some() {
        let offset = call.tensor("offset")?;
        if dims::unify_shapes(&offset.shape, &scale.shape).is_none() {
            return Err(format!(
                "`offset` {offset} must have the shape of `scale` {scale}"
            ));
        }
        if !offset.dtype.is_float() && offset.dtype != data {
            return Err(format!(
                "`offset` must be a float type or {data} like the data, is {}",
                offset.dtype
            ));
        }
    }
    Ok(scale.dtype)
}

/// scale · (data − offset), block by block.
fn blockwise_shift_scale(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let data = call.tensor("data")?;
    one(blocks(call, &data.shape, data.dtype)?, data.shape.clone())
}

/// Checks a palette against the shape its indices have, and gives the decoded shape and the vector's length.
fn palette(call: &Call<'_>, indices: &[Dim], bits: u32) -> Result<(Vec<Dim>, u64), String> {
    let lut = call.tensor("lut")?;
    let rank = indices.len();
    if rank == 0 || lut.rank() != rank + 2 {
        return Err(format!(
            "`lut` {lut} must have rank {}, two more than the indices",
            rank + 2
        ));
    }
    for (axis, (size, groups)) in indices.iter().zip(&lut.shape).enumerate() {
        if let (Some(size), Some(groups)) = (size.known(), groups.known())
            && (groups == 0 || !size.is_multiple_of(groups))
        {
            return Err(format!(
                "size {size} on axis {axis} does not divide into {groups} groups"
            ));
        }
    }
    let entries = 1u64
        .checked_shl(bits)
        .ok_or("the indices are too wide for a palette")?;
    if lut.shape[rank] != Dim::Known(entries) {
        return Err(format!(
            "`lut` {lut} must have {entries} entries for indices of {bits} bits"
        ));
    }
    let length = lut.shape[rank + 1].known().filter(|length| *length > 0);
    let length = length.ok_or_else(|| format!("`lut` {lut} must end in the length of its vectors"))?;
    let mut shape = indices.to_vec();
    if call.get("vector_axis").is_some() {
        let axis = call.axis_or("vector_axis", 0, rank)?;
        shape[axis] = dims::multiply(shape[axis], length)?;
    } else if length > 1 {
        return Err(format!("vectors of {length} need a `vector_axis`"));
    }
    Ok((shape, length))
}

fn lut_to_dense(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let indices = call.tensor("indices")?;
    let (shape, _) = palette(call, &indices.shape, indices.dtype.bits())?;
    one(call.tensor("lut")?.dtype, shape)
}

/// Checks that a mask has as many bits set as there are values, where its bytes are at hand.
fn matches_mask(call: &Call<'_>, mask: &str, values: &str) -> Result<(), String> {
    let given = vector(call, values)?;
    if let (Some(given), Some(set)) = (given, call.get(mask).and_then(|arg| arg.value).and_then(set_bits))
        && given != set
    {
        return Err(format!(
            "`{mask}` has {set} bits set, `{values}` holds {given} values"
        ));
    }
    Ok(())
}

fn sparse_to_dense(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    matches_mask(call, "mask", "nonzero_data")?;
    one(
        call.tensor("nonzero_data")?.dtype,
        call.tensor("mask")?.shape.clone(),
    )
}

/// Gives the mask and the values, each stretched by the vectors' length.
fn lut_to_sparse(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    matches_mask(call, "indices_mask", "indices_nonzero_data")?;
    let (mask, indices) = (call.tensor("indices_mask")?, call.tensor("indices_nonzero_data")?);
    let (shape, length) = palette(call, &mask.shape, indices.dtype.bits())?;
    let values = dims::multiply(indices.shape[0], length)?;
    Ok(vec![
        TensorType {
            dtype: DataType::UInt1,
            shape,
        }
        .into(),
        TensorType {
            dtype: call.tensor("lut")?.dtype,
            shape: vec![values],
        }
        .into(),
    ])
}

/// Gives the mask as it is and the values scaled.
fn sparse_blockwise_shift_scale(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    matches_mask(call, "data_mask", "nonzero_data")?;
    let (mask, data) = (call.tensor("data_mask")?, call.tensor("nonzero_data")?);
    let dtype = blocks(call, &mask.shape, data.dtype)?;
    Ok(vec![
        mask.clone().into(),
        TensorType {
            dtype,
            shape: data.shape.clone(),
        }
        .into(),
    ])
}
