//! Tensors made from little: filled, counted, one-hot; and masks by position.

use super::activation::like_x;
use super::call::{Call, normalize_axis, one};
use super::domain::{BOOL, INT32, NUMBER, PLAIN};
use super::shape::unknown_shape;
use super::{OpDef, Param, TypeRule, dims};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dim, ValueType};
use crate::value::Value;

const VALUE: Param = Param::new("value", PLAIN).constant().optional();

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new("fill", &[Param::new("shape", INT32), VALUE], fill),
    OpDef::new("fill_like", &[Param::new("ref_tensor", PLAIN), VALUE], fill_like).since(Opset::CoreMl6),
    OpDef::new(
        "range_1d",
        &[
            Param::new("end", NUMBER),
            Param::new("start", TypeRule::SameAs("end")),
            Param::new("step", TypeRule::SameAs("end")),
        ],
        range_1d,
    ),
    OpDef::new(
        "one_hot",
        &[
            Param::new("indices", INT32),
            Param::new("one_hot_vector_size", INT32),
            Param::new("axis", INT32).constant().optional(),
            Param::new("on_value", PLAIN).constant().optional(),
            Param::new("off_value", TypeRule::SameAs("on_value"))
                .constant()
                .optional(),
        ],
        one_hot,
    ),
    OpDef::new(
        "band_part",
        &[
            Param::new("x", PLAIN),
            Param::new("lower", INT32).constant().optional(),
            Param::new("upper", INT32).constant().optional(),
        ],
        band_part,
    ),
    OpDef::new(
        "cumsum",
        &[
            Param::new("x", NUMBER),
            Param::new("axis", INT32).constant().optional(),
            Param::new("exclusive", BOOL).constant().optional(),
            Param::new("reverse", BOOL).constant().optional(),
        ],
        cumsum,
    ),
];

/// The element type of the bound scalar, or of the default.
fn element(call: &Call<'_>, name: &str, default: DataType) -> Result<DataType, String> {
    if call.get(name).is_none() {
        return Ok(default);
    }
    let ty = call.tensor(name)?;
    if ty.element_count() == Some(1) {
        Ok(ty.dtype)
    } else {
        Err(format!("`{name}` must be one value, is {ty}"))
    }
}

/// `value` (0.0 by default) in the shape given.
fn fill(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let dtype = element(call, "value", DataType::Fp32)?;
    let Some(shape) = call.get("shape").and_then(|arg| arg.value) else {
        return one(dtype, unknown_shape(call, "shape")?);
    };
    let sizes = shape.as_ints().ok_or("`shape` must hold integers")?;
    let sizes = sizes
        .into_iter()
        .map(|size| dims::size(size, "shape").map(Dim::Known));
    one(dtype, sizes.collect::<Result<_, _>>()?)
}

/// `value` (0.0 by default) in the shape of another tensor.
fn fill_like(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    one(
        element(call, "value", DataType::Fp32)?,
        call.tensor("ref_tensor")?.shape.clone(),
    )
}

/// A scalar as f64, which holds every fp32 and int32 exactly.
fn number(value: &Value) -> Option<f64> {
    value
        .as_float()
        .map(f64::from)
        .or_else(|| i32::try_from(value.as_int()?).ok().map(f64::from))
}

/// `start, start + step, ..` before `end`.
fn range_1d(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let dtype = call.tensor("end")?.dtype;
    let at = |name: &str| match call.get(name).and_then(|arg| arg.value) {
        Some(value) => number(value)
            .map(Some)
            .ok_or_else(|| format!("`{name}` must be one number")),
        None => Ok(None),
    };
    let (Some(start), Some(end), Some(step)) = (at("start")?, at("end")?, at("step")?) else {
        return one(dtype, vec![Dim::FRESH]);
    };
    let count = ((end - start) / step).ceil();
    if !(0.0..=f64::from(u32::MAX)).contains(&count) {
        return Err(format!("{start} to {end} by {step} is no range"));
    }
    // In range and whole, as just seen.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    one(dtype, vec![Dim::Known(count as u64)])
}

/// Each index becomes a vector on a new axis.
fn one_hot(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let indices = call.tensor("indices")?;
    let on = element(call, "on_value", DataType::Int32)?;
    if element(call, "off_value", on)? != on {
        return Err("`on_value` (int32 by default) and `off_value` must have one type".into());
    }
    let axis = normalize_axis(call.int_or("axis", -1)?, indices.rank() + 1)
        .map_err(|reason| format!("`axis`: {reason}"))?;
    let size = match call.get("one_hot_vector_size").and_then(|arg| arg.value) {
        Some(value) => {
            let size = value
                .as_int()
                .ok_or("`one_hot_vector_size` must be one integer")?;
            Dim::Known(dims::size(size, "one_hot_vector_size")?)
        }
        None => Dim::FRESH,
    };
    let mut shape = indices.shape.clone();
    shape.insert(axis, size);
    one(on, shape)
}

/// Zero but for a band about the diagonal of the last two axes.
fn band_part(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    if x.rank() < 2 {
        return Err(format!("`x` must have rank 2 or more, is {x}"));
    }
    call.int_or("lower", -1)?;
    call.int_or("upper", -1)?;
    like_x(call)
}

fn cumsum(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    call.axis_or("axis", 0, call.tensor("x")?.rank())?;
    like_x(call)
}
