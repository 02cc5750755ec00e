//! How large the integers of an input may be, by the tables the graph looks them up in.

use std::collections::BTreeMap;

use corer_converter::graph::{Graph, Op, ValueId};

/// For every input whose integers index a table, the number of the table's entries.
pub(crate) fn bounds(graph: &Graph) -> BTreeMap<String, usize> {
    // Values that hold an input's integers, by the input.
    let mut holds: BTreeMap<ValueId, ValueId> = graph.inputs.iter().map(|id| (*id, *id)).collect();
    let mut bounds = BTreeMap::new();
    for node in &graph.nodes {
        match &node.op {
            Op::ToInt
            | Op::View(_)
            | Op::Transpose(..)
            | Op::Permute(_)
            | Op::Unsqueeze(_)
            | Op::Select { .. }
            | Op::Slice { .. }
            | Op::SliceLike(_)
            | Op::Expand(_) => {
                if let Some(input) = holds.get(&node.inputs[0]).copied() {
                    holds.insert(node.output, input);
                }
            }
            Op::Embedding => {
                let (table, indices) = (node.inputs[0], node.inputs[1]);
                let entries = graph.shape(table).first().and_then(|size| size.known());
                let entries = entries.and_then(|entries| usize::try_from(entries).ok());
                if let (Some(input), Some(entries)) = (holds.get(&indices), entries) {
                    let bound = bounds.entry(graph.value(*input).name.clone()).or_insert(entries);
                    *bound = entries.min(*bound);
                }
            }
            _ => {}
        }
    }
    bounds
}
