//! Operations that compute the same from the same are one: newer attention code makes its mask again in every layer.

use std::collections::HashMap;

use super::PassError;
use crate::graph::{Graph, ValueId};

/// Lets users of a repeated operation use the first of its kind.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    let mut seen: HashMap<Vec<ValueId>, Vec<usize>> = HashMap::new();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let alike = seen.entry(node.inputs.clone()).or_default();
        let first = alike
            .iter()
            .copied()
            .find(|first| graph.nodes[*first].op == node.op);
        match first {
            None => alike.push(index),
            Some(first) => {
                let (scope, again, first) = (node.scope.clone(), node.output, graph.nodes[first].output);
                graph.substitute(&scope, again, first)?;
                rewrites += 1;
            }
        }
    }
    Ok(rewrites)
}
