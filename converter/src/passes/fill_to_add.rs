//! A very negative number filled into scores is the same as one added to them: the softmax gives zero either way.
//!
//! Added, it is a term attention takes: a padding mask where the condition is one, a constant where the condition is
//! known (windows of local attention).

use super::PassError;
use super::indicator::{Indicator, along_keys, indicator};
use super::lift_padding_mask::{HIDDEN, NEVER};
use crate::graph::{Graph, Kind, Op, ValueId};
use crate::source::LazyTensor;

/// Replaces each fill of scores or of an additive mask.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        let node = &graph.nodes[index];
        let fills = matches!(node.op, Op::MaskedFill(value) if value <= NEVER);
        if fills && added(graph, node.output, 0) {
            let (x, condition) = (node.inputs[0], node.inputs[1]);
            if let Some(term) = term(graph, index, condition)? {
                // The term stands before the fill now.
                let at = graph
                    .nodes
                    .iter()
                    .position(|node| node.inputs == [x, condition] && matches!(node.op, Op::MaskedFill(_)));
                if let Some(at) = at {
                    graph.replace(at, Op::Add, vec![x, term])?;
                    rewrites += 1;
                    index = at;
                }
            }
        }
        index += 1;
    }
    Ok(rewrites)
}

/// Whether a value ends in a softmax over its last dimension, or is added to one that does.
fn added(graph: &Graph, value: ValueId, depth: usize) -> bool {
    let users = graph.users(value);
    depth < 8
        && !users.is_empty()
        && graph.outputs.iter().all(|(_, output)| *output != value)
        && users.iter().all(|user| {
            let node = &graph.nodes[*user];
            match &node.op {
                Op::Softmax(dim) => *dim == -1 || *dim == graph.shape(value).len().cast_signed() as i64 - 1,
                Op::ScaledDotProductAttention { .. } => node.inputs.get(3) == Some(&value),
                Op::Add | Op::Expand(_) => added(graph, node.output, depth + 1),
                Op::MaskedFill(fill) => *fill <= NEVER && added(graph, node.output, depth + 1),
                _ => false,
            }
        })
}

/// The condition as a term that is added.
fn term(graph: &mut Graph, index: usize, condition: ValueId) -> Result<Option<ValueId>, PassError> {
    if let Some(Indicator { mask, tokens: false }) = indicator(graph, condition)
        && along_keys(graph, condition, mask)
    {
        return Ok(Some(graph.insert(index, Op::PaddingMask, vec![mask])?));
    }
    let info = graph.value(condition);
    let shape: Option<Vec<u64>> = info.shape.iter().map(|dim| dim.known()).collect();
    let (Kind::Bool, Some(hidden), Some(shape)) = (info.kind, graph.as_ints(condition), shape) else {
        return Ok(None);
    };
    let values = hidden
        .iter()
        .map(|hidden| if *hidden == 0 { 0.0 } else { HIDDEN })
        .collect();
    let name = format!("{}.hidden", graph.nodes[index].scope);
    let tensor = LazyTensor::from_values(&name, shape, values)?;
    Ok(Some(graph.weight(&name, tensor)))
}
