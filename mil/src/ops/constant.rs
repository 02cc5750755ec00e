//! `const`, whose value is an attribute.

use super::call::Call;
use super::{OpDef, Param, TypeRule};
use crate::types::ValueType;

/// The rows of this family.
pub(super) static ROWS: &[OpDef] =
    &[OpDef::new("const", &[Param::new("val", TypeRule::Any).constant()], val).attributes()];

fn val(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let arg = call.get("val").ok_or("`val` is missing")?;
    Ok(vec![arg.ty.clone()])
}
