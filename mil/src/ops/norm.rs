//! Normalizations.

use super::call::{Call, one};
use super::domain::{INT32, LIKE_X};
use super::{OpDef, Param, TypeRule, dims};
use crate::opset::Opset;
use crate::types::{Dim, ValueType};

const X: Param = Param::new("x", TypeRule::Float);
const AXES: Param = Param::new("axes", INT32).constant().optional();
const LIKE_GAMMA: TypeRule = TypeRule::SameAs("gamma");
const LIKE_MEAN: TypeRule = TypeRule::SameAs("mean");

const fn fixed(name: &'static str, types: TypeRule) -> Param {
    Param::new(name, types).constant().optional()
}

/// The rows of this family. From iOS 17 on the parameters may have another float type than `x`.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new(
        "layer_norm",
        &[
            X,
            AXES,
            fixed("gamma", LIKE_X),
            fixed("beta", LIKE_X),
            fixed("epsilon", LIKE_X),
        ],
        layer_norm,
    ),
    OpDef::new(
        "layer_norm",
        &[
            X,
            AXES,
            fixed("gamma", TypeRule::Float),
            fixed("beta", LIKE_GAMMA),
            fixed("epsilon", LIKE_GAMMA),
        ],
        layer_norm,
    )
    .since(Opset::CoreMl7),
    OpDef::new(
        "batch_norm",
        &[
            X,
            Param::new("mean", LIKE_X).constant(),
            Param::new("variance", LIKE_X).constant(),
            fixed("gamma", LIKE_X),
            fixed("beta", LIKE_X),
            fixed("epsilon", LIKE_X),
        ],
        batch_norm,
    ),
    OpDef::new(
        "batch_norm",
        &[
            X,
            Param::new("mean", TypeRule::Float).constant(),
            Param::new("variance", LIKE_MEAN).constant(),
            fixed("gamma", LIKE_MEAN),
            fixed("beta", LIKE_MEAN),
            fixed("epsilon", LIKE_MEAN),
        ],
        batch_norm,
    )
    .since(Opset::CoreMl7),
    OpDef::new(
        "instance_norm",
        &[
            X,
            fixed("gamma", LIKE_X),
            fixed("beta", LIKE_X),
            fixed("epsilon", LIKE_X),
        ],
        instance_norm,
    ),
    OpDef::new(
        "instance_norm",
        &[
            X,
            fixed("gamma", TypeRule::Float),
            fixed("beta", LIKE_GAMMA),
            fixed("epsilon", LIKE_GAMMA),
        ],
        instance_norm,
    )
    .since(Opset::CoreMl7),
    OpDef::new("l2_norm", &[X, fixed("epsilon", LIKE_X)], l2_norm),
    OpDef::new("l2_norm", &[X, fixed("epsilon", TypeRule::Float)], l2_norm).since(Opset::CoreMl7),
];

/// Checks that each of the named parameters, where bound, has the shape.
fn shaped(call: &Call<'_>, names: &[&str], shape: &[Dim]) -> Result<(), String> {
    for name in names {
        if call.get(name).is_some() {
            let ty = call.tensor(name)?;
            if dims::unify_shapes(&ty.shape, shape).is_none() {
                return Err(format!("`{name}` must have shape {}, is {ty}", dims::show(shape)));
            }
        }
    }
    Ok(())
}

/// `epsilon`, where bound, is one number.
fn epsilon(call: &Call<'_>) -> Result<(), String> {
    match call.value("epsilon") {
        Ok(Some(value)) if value.as_float().is_none() => Err("`epsilon` must be one number".into()),
        _ => Ok(()),
    }
}

/// Normalizes over `axes` (all by default); `gamma` and `beta` have the sizes of those axes.
fn layer_norm(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    epsilon(call)?;
    if let Some(axes) = call.axes("axes", x.rank())? {
        let sizes = |axis: &usize| x.shape[*axis];
        let mut axes = axes;
        axes.sort_unstable();
        shaped(
            call,
            &["gamma", "beta"],
            &axes.iter().map(sizes).collect::<Vec<_>>(),
        )?;
    } else {
        shaped(call, &["gamma", "beta"], &x.shape)?;
    }
    one(x.dtype, x.shape.clone())
}

fn channel_parameters(
    call: &Call<'_>,
    names: &[&str],
    ranks: std::ops::RangeInclusive<usize>,
) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    epsilon(call)?;
    if !ranks.contains(&x.rank()) {
        return Err(format!(
            "`x` must have rank {} to {}, is {x}",
            ranks.start(),
            ranks.end()
        ));
    }
    shaped(call, names, &x.shape[1..2])?;
    one(x.dtype, x.shape.clone())
}

fn batch_norm(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    channel_parameters(call, &["mean", "variance", "gamma", "beta"], 3..=5)
}

fn instance_norm(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    channel_parameters(call, &["gamma", "beta"], 3..=4)
}

/// x / √(Σx² + epsilon) over the last three axes.
fn l2_norm(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    epsilon(call)?;
    if x.rank() < 3 {
        return Err(format!("`x` must have rank 3 or more, is {x}"));
    }
    one(x.dtype, x.shape.clone())
}
