//! Activations and `softmax`: results have the type of `x`.

use super::call::{Call, one};
use super::domain::{INT32, LIKE_X, STRING};
use super::{OpDef, Param, TypeRule};
use crate::opset::Opset;
use crate::types::{Dim, ValueType};

const X: Param = Param::new("x", TypeRule::Float);
const PLAIN: &[Param] = &[X];

/// `alpha` (and `beta`) of the element type of `x`, as before iOS 17.
const ALPHA: &[Param] = &[X, Param::new("alpha", LIKE_X).constant()];
const ALPHA_BETA: &[Param] = &[
    X,
    Param::new("alpha", LIKE_X).constant(),
    Param::new("beta", LIKE_X).constant(),
];

/// From iOS 17 on they have a float type of their own.
const ALPHA17: &[Param] = &[X, Param::new("alpha", TypeRule::Float).constant()];
const ALPHA_BETA17: &[Param] = &[
    X,
    Param::new("alpha", TypeRule::Float).constant(),
    Param::new("beta", TypeRule::SameAs("alpha")).constant(),
];

const fn at17(row: OpDef) -> OpDef {
    row.since(Opset::CoreMl7)
}

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new(
        "gelu",
        &[X, Param::new("mode", STRING).constant().optional()],
        gelu,
    ),
    OpDef::new(
        "softmax",
        &[X, Param::new("axis", INT32).constant().optional()],
        softmax,
    ),
    OpDef::new("relu", PLAIN, like_x),
    OpDef::new("relu6", PLAIN, like_x),
    OpDef::new("sigmoid", PLAIN, like_x),
    OpDef::new("silu", PLAIN, like_x),
    OpDef::new("softplus", PLAIN, like_x),
    OpDef::new("softsign", PLAIN, like_x),
    OpDef::new("tanh", PLAIN, like_x),
    OpDef::new("elu", ALPHA, scalars),
    at17(OpDef::new("elu", ALPHA17, scalars)),
    OpDef::new("leaky_relu", ALPHA, scalars),
    at17(OpDef::new("leaky_relu", ALPHA17, scalars)),
    OpDef::new("thresholded_relu", ALPHA, scalars),
    at17(OpDef::new("thresholded_relu", ALPHA17, scalars)),
    OpDef::new("clamped_relu", ALPHA_BETA, scalars),
    at17(OpDef::new("clamped_relu", ALPHA_BETA17, scalars)),
    OpDef::new("linear_activation", ALPHA_BETA, scalars),
    at17(OpDef::new("linear_activation", ALPHA_BETA17, scalars)),
    OpDef::new("scaled_tanh", ALPHA_BETA, scalars),
    at17(OpDef::new("scaled_tanh", ALPHA_BETA17, scalars)),
    OpDef::new("sigmoid_hard", ALPHA_BETA, scalars),
    at17(OpDef::new("sigmoid_hard", ALPHA_BETA17, scalars)),
    OpDef::new("prelu", ALPHA, per_channel),
    at17(OpDef::new("prelu", ALPHA17, per_channel)),
    OpDef::new("softplus_parametric", ALPHA_BETA, per_channel),
    at17(OpDef::new("softplus_parametric", ALPHA_BETA17, per_channel)),
];

/// Result like `x`.
pub(super) fn like_x(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    one(x.dtype, x.shape.clone())
}

/// Result like `x`; the named parameters, where their values are known, are single numbers.
fn scalars(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    for name in ["alpha", "beta"] {
        if let Some(ty) = call.get(name).and_then(|arg| arg.ty.as_tensor())
            && ty.element_count() != Some(1)
        {
            return Err(format!("`{name}` must be one number, is {ty}"));
        }
    }
    like_x(call)
}

/// Result like `x`; the parameters are vectors over axis 1.
fn per_channel(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    if !(3..=5).contains(&x.rank()) {
        return Err(format!("`x` must have rank 3 to 5, is {x}"));
    }
    for name in ["alpha", "beta"] {
        if let Some(ty) = call.get(name).and_then(|arg| arg.ty.as_tensor())
            && !matches!(ty.shape[..], [channels @ Dim::Known(_)] if channels.compatible(x.shape[1]))
        {
            return Err(format!("`{name}` must have shape [{}], is {ty}", x.shape[1]));
        }
    }
    like_x(call)
}

fn gelu(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    match call.str_or("mode", "EXACT")? {
        "EXACT" | "TANH_APPROXIMATION" | "SIGMOID_APPROXIMATION" => like_x(call),
        other => Err(format!(
            "mode `{other}` is not one of EXACT, TANH_APPROXIMATION, SIGMOID_APPROXIMATION"
        )),
    }
}

fn softmax(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    call.axis_or("axis", -1, call.tensor("x")?.rank())?;
    like_x(call)
}
