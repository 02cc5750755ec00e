//! Two swaps of the same dimensions are none. Around convolutions over tokens, and wherever a model turns back and
//! forth.

use super::PassError;
use crate::graph::{Graph, Op};

/// Lets users of the second swap use what lies under the first.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let rank = graph.shape(node.output).len();
        let pair = |op: &Op| match op {
            Op::Transpose(a, b) => {
                let at = |dim: i64| corer_mil::ops::normalize_axis(dim, rank).ok();
                let (a, b) = (at(*a)?, at(*b)?);
                Some((a.min(b), a.max(b)))
            }
            _ => None,
        };
        let Some(outer) = pair(&node.op) else { continue };
        let Some(under) = graph.producer(node.inputs[0]) else {
            continue;
        };
        if pair(&under.op) != Some(outer) {
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
