//! A very negative number where the mask is zero, on (B, 1, 1, S), is a padding mask.
//!
//! `(1 − float(mask)) · lowest`; `masked_fill` of the same inverted mask; `where(mask, 0, lowest)`. The lowest float32
//! becomes −∞ in fp16 and 0 · −∞ is NaN (coremltools issues 2669, 2223, 1932), so the factor must not reach the
//! package; lifted, the lowering picks a finite one.

use super::PassError;
use super::indicator::{Indicator, along_keys, indicator};
use crate::graph::{Graph, Op, ValueId};

/// Any factor at or below this means "never attend": its softmax weight is zero in every precision.
pub(super) const NEVER: f64 = -1e4;

/// Replaces the last step of each pattern.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let hidden = |id: ValueId| match indicator(graph, id) {
            Some(Indicator { mask, tokens: false }) => Some(mask),
            _ => None,
        };
        let mask = match node.op {
            Op::MulScalar(factor) if factor <= NEVER => hidden(node.inputs[0]),
            // Filled where hidden; elsewhere it is what the inverted mask is there, zero.
            Op::MaskedFill(value) if value <= NEVER => {
                hidden(node.inputs[1]).filter(|mask| hidden(node.inputs[0]) == Some(*mask))
            }
            _ => None,
        };
        if let Some(mask) = mask.filter(|mask| along_keys(graph, node.output, *mask)) {
            graph.replace(index, Op::PaddingMask, vec![mask])?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}
