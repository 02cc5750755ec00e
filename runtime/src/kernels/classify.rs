//! `classify`: the probabilities pass through; label and dictionary are made of them when outputs are.

use crate::plan::{Emit, Op, Reason};
use crate::view::View;

/// Gives the probabilities, row-major, for both results.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let probabilities = op.view(emit, "probabilities")?;
    let probabilities = emit.contiguous(&probabilities)?;
    Ok(vec![probabilities.clone(), probabilities])
}
