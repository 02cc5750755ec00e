//! `view` to (B·S, C), `linear`, `view` to (B, S, O): what decomposed exports make of a linear on (B, S, C) (`addmm`).
//!
//! The linear treats every row alike, so the views around it go.

use super::PassError;
use crate::graph::{Graph, Node, Op, ValueId};

/// Replaces the last view of each pattern by the linear itself.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let Some((inputs, scope)) = linear(graph, &graph.nodes[index]) else {
            continue;
        };
        graph.replace(index, Op::Linear, inputs)?;
        graph.nodes[index].scope = scope;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// The linear's arguments, the rows as they were before they were put in one line.
fn linear(graph: &Graph, node: &Node) -> Option<(Vec<ValueId>, String)> {
    if !matches!(node.op, Op::View(_)) {
        return None;
    }
    let linear = graph.producer(node.inputs[0])?;
    let flat = graph.producer(*linear.inputs.first()?)?;
    if linear.op != Op::Linear || !matches!(flat.op, Op::View(_)) {
        return None;
    }
    let rows = flat.inputs[0];
    let (before, after) = (graph.shape(rows), graph.shape(node.output));
    let one_line = graph.shape(flat.output).len() == 2 && before.len() > 2;
    let same_rows = before.len() == after.len() && before[..before.len() - 1] == after[..after.len() - 1];
    let same_channels =
        before.last() == graph.shape(flat.output).last() && after.last() == graph.shape(linear.output).last();
    if !(one_line && same_rows && same_channels) {
        return None;
    }
    let mut inputs = linear.inputs.clone();
    inputs[0] = rows;
    Some((inputs, linear.scope.clone()))
}
