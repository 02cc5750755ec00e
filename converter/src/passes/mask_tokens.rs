//! Vectors of padding set to zero, `x · mask` and `masked_fill(x, ¬mask, 0)` on (B, S, C), are what they mean; and go
//! where nothing reads padding: DeBERTa zeroes its embeddings and what its convolution makes of them.

use super::PassError;
use super::indicator::{Indicator, indicator};
use super::padding;
use crate::graph::{Graph, Op, ValueId};

/// Finds them.
pub(super) fn lift(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        if let Some((x, mask)) = masked(graph, index) {
            graph.replace(index, Op::MaskTokens, vec![x, mask])?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

/// Drops those whose padding nothing reads.
pub(super) fn drop_unread(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let (x, output) = match node.op {
            Op::MaskTokens => (node.inputs[0], node.output),
            _ => continue,
        };
        if !padding::is_read(graph, output, node.inputs[1]) {
            let scope = node.scope.clone();
            graph.substitute(&scope, output, x)?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

/// The vectors and the mask of a node that zeroes padding.
fn masked(graph: &Graph, index: usize) -> Option<(ValueId, ValueId)> {
    let node = &graph.nodes[index];
    let [a, b] = node.inputs[..] else { return None };
    let pairs = match node.op {
        Op::Mul => [(a, b, true), (b, a, true)],
        Op::MaskedFill(0.0) => [(a, b, false), (a, b, false)],
        _ => return None,
    };
    pairs.into_iter().find_map(|(x, marks, tokens)| {
        let found = indicator(graph, marks)?;
        let mask = found.mask;
        let by_token = match (graph.shape(x), graph.shape(marks), graph.shape(mask)) {
            ([batch, length, _], [mark_batch, mark_length, one], [mask_batch, mask_length]) => {
                one.known() == Some(1)
                    && (batch, length) == (mark_batch, mark_length)
                    && (batch, length) == (mask_batch, mask_length)
            }
            _ => false,
        };
        (by_token && found == Indicator { mask, tokens } && graph.shape(node.output) == graph.shape(x))
            .then_some((x, mask))
    })
}
