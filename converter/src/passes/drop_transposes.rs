//! Two orders of dimensions that undo each other are none. Around convolutions over tokens, and wherever a model turns
//! back and forth.

use super::PassError;
use crate::graph::{Graph, Op};

/// Lets users of the second use what lies under the first.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let rank = graph.shape(node.output).len();
        let Some(outer) = order(&node.op, rank) else {
            continue;
        };
        let Some(under) = graph.producer(node.inputs[0]) else {
            continue;
        };
        let Some(inner) = order(&under.op, rank) else {
            continue;
        };
        if outer.iter().enumerate().any(|(at, dim)| inner[*dim] != at) {
            continue;
        }
        let (scope, old, new) = (node.scope.clone(), node.output, under.inputs[0]);
        // An output keeps a node of its own.
        if graph.outputs.iter().any(|(_, output)| *output == old) {
            continue;
        }
        graph.substitute(&scope, old, new)?;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// Which dimension of its argument each dimension of a result is.
fn order(op: &Op, rank: usize) -> Option<Vec<usize>> {
    let at = |dim: i64| corer_mil::ops::normalize_axis(dim, rank).ok();
    match op {
        Op::Transpose(a, b) => {
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(at(*a)?, at(*b)?);
            Some(order)
        }
        Op::Permute(dims) if dims.len() == rank => dims.iter().copied().map(at).collect(),
        _ => None,
    }
}
