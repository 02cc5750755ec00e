//! `(1 − float(mask)) · lowest` on (B, 1, 1, S) is a padding mask.
//!
//! The lowest float32 becomes −∞ in fp16 and 0 · −∞ is NaN (coremltools issues 2669, 2223, 1932), so the
//! factor must not reach the package; lifted, the lowering picks a finite one.

use super::PassError;
use crate::graph::{Graph, Kind, Op, ValueId};

/// Any factor at or below this means "never attend": its softmax weight is zero in every precision.
const NEVER: f64 = -1e4;

/// Replaces the scaling, the last step of the pattern.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if !matches!(node.op, Op::MulScalar(factor) if factor <= NEVER) {
            continue;
        }
        if let Some(mask) = inverted_mask(graph, node.inputs[0]) {
            graph.replace(index, Op::PaddingMask, vec![mask])?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

/// The (B, S) integer mask under `1 − …`, a conversion to float and two unsqueezes in any order.
fn inverted_mask(graph: &Graph, mut value: ValueId) -> Option<ValueId> {
    let (mut inverted, mut unsqueezed) = (false, 0);
    loop {
        if graph.value(value).kind == Kind::Int && graph.shape(value).len() == 2 {
            return (inverted && unsqueezed == 2).then_some(value);
        }
        let node = graph.producer(value)?;
        match node.op {
            Op::RsubScalar(one) if one == 1.0 && !inverted => inverted = true,
            // Only (B, 1, 1, S): both new dimensions stand between batch and tokens.
            Op::Unsqueeze(1 | 2) => unsqueezed += 1,
            Op::ToFloat => {}
            _ => return None,
        }
        value = node.inputs[0];
    }
}
