//! Elementwise functions of two tensors, broadcast as numpy does, and `select`.

use super::call::{Call, broadcast, one};
use super::domain::{BOOL, LIKE_X, NUMBER, PLAIN};
use super::{OpDef, Param, TypeRule};
use crate::dtype::DataType;
use crate::types::ValueType;

const NUMBERS: &[Param] = &[Param::new("x", NUMBER), Param::new("y", LIKE_X)];
const FLAGS: &[Param] = &[Param::new("x", BOOL), Param::new("y", LIKE_X)];

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new("add", NUMBERS, arithmetic),
    OpDef::new("floor_div", NUMBERS, arithmetic),
    OpDef::new("maximum", NUMBERS, arithmetic),
    OpDef::new("minimum", NUMBERS, arithmetic),
    OpDef::new("mod", NUMBERS, arithmetic),
    OpDef::new("mul", NUMBERS, arithmetic),
    OpDef::new("pow", NUMBERS, arithmetic),
    OpDef::new("real_div", NUMBERS, arithmetic),
    OpDef::new("sub", NUMBERS, arithmetic),
    OpDef::new("equal", NUMBERS, comparison),
    OpDef::new("greater", NUMBERS, comparison),
    OpDef::new("greater_equal", NUMBERS, comparison),
    OpDef::new("less", NUMBERS, comparison),
    OpDef::new("less_equal", NUMBERS, comparison),
    OpDef::new("not_equal", NUMBERS, comparison),
    OpDef::new("logical_and", FLAGS, comparison),
    OpDef::new("logical_or", FLAGS, comparison),
    OpDef::new("logical_xor", FLAGS, comparison),
    OpDef::new(
        "select",
        &[
            Param::new("cond", BOOL),
            Param::new("a", PLAIN),
            Param::new("b", TypeRule::SameAs("a")),
        ],
        select,
    ),
];

fn arithmetic(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    one(x.dtype, broadcast(&x.shape, &y.shape)?)
}

fn comparison(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    one(DataType::Bool, broadcast(&x.shape, &y.shape)?)
}

/// `a` where `cond`, else `b`.
fn select(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (cond, a, b) = (call.tensor("cond")?, call.tensor("a")?, call.tensor("b")?);
    let branches = broadcast(&a.shape, &b.shape)?;
    let whole = broadcast(&cond.shape, &branches)?;
    // coremltools leaves `cond` out of the shape it declares, so packages with two scalars exist.
    let declared = call.declared.first().and_then(|ty| ty.as_tensor());
    let as_coremltools = declared.is_some_and(|declared| declared.shape == branches);
    one(a.dtype, if as_coremltools { branches } else { whole })
}
