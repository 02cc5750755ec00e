//! `quantize` and `dequantize` of activations (iOS 17).

use super::call::{Call, one};
use super::domain::{BYTE, INT32, STRING};
use super::{OpDef, Param, TypeRule};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};

const AXIS: Param = Param::new("axis", INT32).constant().optional();

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new(
        "quantize",
        &[
            Param::new("input", TypeRule::Float),
            Param::new("zero_point", BYTE).constant().optional(),
            Param::new("scale", TypeRule::SameAs("input")).constant(),
            AXIS,
            Param::new("output_dtype", STRING).constant(),
        ],
        quantize,
    )
    .since(Opset::CoreMl7),
    OpDef::new(
        "dequantize",
        &[
            Param::new("input", BYTE),
            Param::new("zero_point", TypeRule::SameAs("input"))
                .constant()
                .optional(),
            Param::new("scale", TypeRule::Float).constant(),
            AXIS,
        ],
        dequantize,
    )
    .since(Opset::CoreMl7),
];

/// One scale and no axis, or a vector of them over `axis`; the zero point alike.
fn scales(call: &Call<'_>, input: &TensorType) -> Result<(), String> {
    let scale = call.tensor("scale")?;
    match scale.shape[..] {
        [] if call.get("axis").is_some() => return Err("one `scale` goes with no `axis`".into()),
        [] => {}
        [length] => {
            if call.get("axis").is_none() {
                return Err("a vector of scales needs an `axis`".into());
            }
            let axis = call.axis_or("axis", 0, input.rank())?;
            if !length.compatible(input.shape[axis]) {
                return Err(format!(
                    "`scale` has {length} numbers for size {} on its axis",
                    input.shape[axis]
                ));
            }
        }
        _ => return Err(format!("`scale` must be a scalar or a vector, is {scale}")),
    }
    if call.get("zero_point").is_some() {
        let zero_point = call.tensor("zero_point")?;
        if zero_point.shape != scale.shape {
            return Err(format!(
                "`zero_point` {zero_point} must have the shape of `scale` {scale}"
            ));
        }
    }
    Ok(())
}

/// round(input / scale) + zero_point, clamped to the result's range.
fn quantize(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let input = call.tensor("input")?;
    scales(call, input)?;
    let dtype = match call.str_or("output_dtype", "")? {
        "int8" => DataType::Int8,
        "uint8" => DataType::UInt8,
        other => return Err(format!("output_dtype `{other}` is not int8 or uint8")),
    };
    if call.get("zero_point").is_some() && call.tensor("zero_point")?.dtype != dtype {
        return Err(format!("`zero_point` must be {dtype} like the result"));
    }
    if call
        .value("scale")?
        .and_then(|scale| scale.as_floats())
        .is_some_and(|scale| scale.iter().all(|s| *s == 0.0))
    {
        return Err("`scale` is zero".into());
    }
    one(dtype, input.shape.clone())
}

/// scale · (input − zero_point).
fn dequantize(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let input = call.tensor("input")?;
    scales(call, input)?;
    one(call.tensor("scale")?.dtype, input.shape.clone())
}
