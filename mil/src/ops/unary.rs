//! Elementwise functions of one tensor, and `cast`.

use super::activation::like_x;
use super::call::{Call, one};
use super::domain::{BOOL, LIKE_X, MOVABLE, NUMBER, STRING};
use super::{OpDef, Param, TypeRule};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::ValueType;

const X: Param = Param::new("x", TypeRule::Float);
const FLOAT: &[Param] = &[X];
const WITH_INTEGERS: &[Param] = &[Param::new("x", NUMBER)];
const EPSILON: &[Param] = &[X, Param::new("epsilon", LIKE_X).constant().optional()];
/// From iOS 17 on `epsilon` has a float type of its own.
const EPSILON17: &[Param] = &[X, Param::new("epsilon", TypeRule::Float).constant().optional()];

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new("acos", FLOAT, like_x),
    OpDef::new("asin", FLOAT, like_x),
    OpDef::new("atan", FLOAT, like_x),
    OpDef::new("atanh", FLOAT, like_x),
    OpDef::new("ceil", FLOAT, like_x),
    OpDef::new("cos", FLOAT, like_x),
    OpDef::new("cosh", FLOAT, like_x),
    OpDef::new("erf", FLOAT, like_x),
    OpDef::new("exp", FLOAT, like_x),
    OpDef::new("floor", FLOAT, like_x),
    OpDef::new("round", FLOAT, like_x),
    OpDef::new("sin", FLOAT, like_x),
    OpDef::new("sinh", FLOAT, like_x),
    OpDef::new("sqrt", FLOAT, like_x),
    OpDef::new("tan", FLOAT, like_x),
    OpDef::new("abs", WITH_INTEGERS, like_x),
    OpDef::new("exp2", WITH_INTEGERS, like_x),
    OpDef::new("sign", WITH_INTEGERS, like_x),
    OpDef::new("square", WITH_INTEGERS, like_x),
    OpDef::new("logical_not", &[Param::new("x", BOOL)], like_x),
    OpDef::new("log", EPSILON, like_x),
    OpDef::new("log", EPSILON17, like_x).since(Opset::CoreMl7),
    OpDef::new("rsqrt", EPSILON, like_x),
    OpDef::new("rsqrt", EPSILON17, like_x).since(Opset::CoreMl7),
    OpDef::new("inverse", EPSILON, like_x),
    OpDef::new("inverse", EPSILON17, like_x).since(Opset::CoreMl7),
    OpDef::new(
        "clip",
        &[
            X,
            Param::new("alpha", LIKE_X).constant(),
            Param::new("beta", LIKE_X).constant(),
        ],
        clip,
    ),
    OpDef::new(
        "threshold",
        &[Param::new("x", NUMBER), Param::new("alpha", LIKE_X).constant()],
        like_x,
    ),
    OpDef::new(
        "cast",
        &[Param::new("x", MOVABLE), Param::new("dtype", STRING).constant()],
        cast,
    ),
];

/// min(max(x, alpha), beta).
fn clip(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    if call.opset >= Opset::CoreMl7
        && let (Ok(Some(alpha)), Ok(Some(beta))) = (call.value("alpha"), call.value("beta"))
        && let (Some(alpha), Some(beta)) = (alpha.as_float(), beta.as_float())
        && alpha >= beta
    {
        return Err(format!("`alpha` {alpha} must be less than `beta` {beta}"));
    }
    like_x(call)
}

fn cast(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let name = call.str_or("dtype", "")?;
    let dtype = name.parse::<DataType>().ok().filter(|dtype| match dtype {
        DataType::Fp16 | DataType::Fp32 | DataType::Int32 | DataType::Bool => true,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 | DataType::UInt16 => call.opset >= Opset::CoreMl7,
        _ => false,
    });
    match dtype {
        Some(dtype) => one(dtype, x.shape.clone()),
        None => Err(format!("can't cast to `{name}` in opset {}", call.opset)),
    }
}
