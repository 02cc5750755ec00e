//! `constexpr_*` as iOS 16 and 17 write them: parameters are attributes, packed in whole bytes.

use super::call::{Call, one};
use super::domain::{BYTE, ENTRY, INT32, STRING};
use super::{OpDef, Param, TypeRule, dims};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dim, ValueType};
use crate::value::Value;

const UINT8: TypeRule = TypeRule::OneOf(&[DataType::UInt8]);
const UINT32: TypeRule = TypeRule::OneOf(&[DataType::UInt32]);
const FP16: TypeRule = TypeRule::OneOf(&[DataType::Fp16]);

const AFFINE: &[Param] = &[
    Param::new("quantized_data", BYTE).constant(),
    Param::new(
        "zero_point",
        TypeRule::OneOf(&[DataType::Int8, DataType::UInt8, DataType::Fp32]),
    )
    .constant(),
    Param::new("scale", TypeRule::Float).constant(),
    Param::new("axis", INT32).constant(),
];
pub(super) const CAST: &[Param] = &[
    Param::new("source_val", FP16).constant(),
    Param::new("output_dtype", STRING).constant(),
];

const fn attribute_form(name: &'static str, params: &'static [Param], infer: super::Infer) -> OpDef {
    OpDef::new(name, params, infer)
        .since(Opset::CoreMl6)
        .until(Opset::CoreMl8)
        .attributes()
}

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    // The one that iOS 18 did not redo: coremltools writes it with attributes in newer programs too.
    OpDef::new("constexpr_affine_dequantize", AFFINE, affine_dequantize)
        .since(Opset::CoreMl6)
        .attributes(),
    attribute_form("constexpr_cast", CAST, cast),
    attribute_form(
        "constexpr_lut_to_dense",
        &[
            Param::new("indices", UINT8).constant(),
            Param::new("lut", ENTRY).constant(),
            Param::new("shape", UINT32).constant(),
        ],
        lut_to_dense,
    ),
    attribute_form(
        "constexpr_sparse_to_dense",
        &[
            Param::new("nonzero_data", ENTRY).constant(),
            Param::new("mask", UINT8).constant(),
            Param::new("shape", UINT32).constant(),
        ],
        sparse_to_dense,
    ),
];

/// scale · (quantized_data − zero_point), scale and zero point being scalars or vectors over `axis`.
fn affine_dequantize(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (data, scale) = (call.tensor("quantized_data")?, call.tensor("scale")?);
    let axis = call.axis_or("axis", 0, data.rank())?;
    for name in ["scale", "zero_point"] {
        let ty = call.tensor(name)?;
        match ty.shape[..] {
            [] => {}
            [length] if length.compatible(data.shape[axis]) => {}
            _ => {
                return Err(format!(
                    "`{name}` must be a scalar or have shape [{}], is {ty}",
                    data.shape[axis]
                ));
            }
        }
    }
    one(scale.dtype, data.shape.clone())
}

/// fp16 to fp32, the only cast there is.
pub(super) fn cast(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    match call.str_or("output_dtype", "")? {
        "fp32" => one(DataType::Fp32, call.tensor("source_val")?.shape.clone()),
        other => Err(format!("output_dtype must be fp32, is `{other}`")),
    }
}

/// The dense shape, from the `shape` attribute, and its number of elements.
fn dense(call: &Call<'_>) -> Result<(Vec<Dim>, u64), String> {
    let sizes = call.ints("shape")?.ok_or("`shape` is missing")?;
    let sizes = sizes
        .into_iter()
        .map(|size| dims::size(size, "shape"))
        .collect::<Result<Vec<_>, _>>()?;
    let count = dims::product(sizes.iter().copied())?;
    Ok((sizes.into_iter().map(Dim::Known).collect(), count))
}

/// The length of a vector parameter.
pub(super) fn vector(call: &Call<'_>, name: &str) -> Result<Option<u64>, String> {
    let ty = call.tensor(name)?;
    match ty.shape[..] {
        [length] => Ok(length.known()),
        _ => Err(format!("`{name}` must be a vector, is {ty}")),
    }
}

/// Checks that a vector of bytes holds `bits` bits for each of `count` elements.
fn holds(call: &Call<'_>, name: &str, bits: u64, count: u64) -> Result<(), String> {
    let bytes = bits
        .checked_mul(count)
        .ok_or("the dense tensor is too large")?
        .div_ceil(8);
    match vector(call, name)? {
        Some(length) if length != bytes => Err(format!(
            "`{name}` has {length} bytes, {count} elements of {bits} bits take {bytes}"
        )),
        _ => Ok(()),
    }
}

/// Indices of log2(entries) bits, packed from the least significant bit.
fn lut_to_dense(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (shape, count) = dense(call)?;
    let lut = call.tensor("lut")?;
    let bits = match vector(call, "lut")? {
        Some(entries @ (2 | 4 | 16 | 64 | 256)) => u64::from(entries.ilog2()),
        _ => return Err(format!("`lut` must have 2, 4, 16, 64 or 256 entries, is {lut}")),
    };
    holds(call, "indices", bits, count)?;
    one(lut.dtype, shape)
}

/// How many bits are set, when the bytes are at hand.
pub(super) fn set_bits(value: &Value) -> Option<u64> {
    let bytes = match value.immediate_bytes() {
        Some(bytes) => bytes,
        None => match &value.data {
            crate::value::Data::Weight(source) => source.bytes()?,
            _ => return None,
        },
    };
    Some(bytes.iter().map(|byte| u64::from(byte.count_ones())).sum())
}

/// A bit per element; the set ones take their values in turn.
fn sparse_to_dense(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (shape, count) = dense(call)?;
    holds(call, "mask", 1, count)?;
    let given = vector(call, "nonzero_data")?;
    if let Some(mask) = call.value("mask")?
        && let (Some(set), Some(given)) = (set_bits(mask), given)
    {
        if set != given {
            return Err(format!(
                "`mask` has {set} bits set, `nonzero_data` holds {given} values"
            ));
        }
        if let Some(last) = mask.immediate_bytes().and_then(<[u8]>::last)
            && !count.is_multiple_of(8)
            && last >> (count % 8) != 0
        {
            return Err("`mask` has padding bits set".into());
        }
    }
    one(call.tensor("nonzero_data")?.dtype, shape)
}
