//! Repeating a value along a dimension and then computing on every copy is computing once and repeating the result;
//! and what broadcasts needs no repeating. Masks and position tables shrink back to what they were.

use super::PassError;
use crate::graph::{Graph, Op, Reduction, ValueId, infer};

/// Moves each expansion behind the operation that takes it, or drops it.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        rewrites += usize::from(sink(graph, index)?);
        index += 1;
    }
    Ok(rewrites)
}

/// What lies under an expansion.
fn narrow(graph: &Graph, id: ValueId) -> ValueId {
    match graph.producer(id) {
        Some(node) if matches!(node.op, Op::Expand(_)) => node.inputs[0],
        _ => id,
    }
}

fn sink(graph: &mut Graph, index: usize) -> Result<bool, PassError> {
    let node = &graph.nodes[index];
    let narrowed: Vec<ValueId> = match &node.op {
        op if spreads(op) => node.inputs.iter().map(|id| narrow(graph, *id)).collect(),
        // The mask broadcasts on its own.
        Op::ScaledDotProductAttention { .. } => node
            .inputs
            .iter()
            .enumerate()
            .map(|(position, id)| match position {
                3 => narrow(graph, *id),
                _ => *id,
            })
            .collect(),
        Op::Reduce { kind, dims, .. } if *kind != Reduction::Norm => {
            let id = node.inputs[0];
            let under = narrow(graph, id);
            match reduces_whole(graph, id, under, dims) {
                true => vec![under],
                false => return Ok(false),
            }
        }
        _ => return Ok(false),
    };
    if narrowed == node.inputs {
        return Ok(false);
    }
    let op = node.op.clone();
    let wanted: Option<Vec<u64>> = graph.shape(node.output).iter().map(|dim| dim.known()).collect();
    let types: Vec<_> = narrowed
        .iter()
        .map(|id| (graph.value(*id).kind, graph.shape(*id)))
        .collect();
    let (Some(wanted), Ok((_, shape))) = (wanted, infer(&op, &types)) else {
        return Ok(false);
    };
    if shape == graph.shape(node.output) {
        graph.replace(index, op, narrowed)?;
    } else {
        let small = graph.insert(index, op, narrowed)?;
        graph.replace(index + 1, Op::Expand(wanted), vec![small])?;
    }
    Ok(true)
}

/// Whether a reduction goes over dimensions the expansion left alone.
fn reduces_whole(graph: &Graph, id: ValueId, under: ValueId, dims: &[i64]) -> bool {
    let (wide, narrow) = (graph.shape(id), graph.shape(under));
    let rank = wide.len();
    rank == narrow.len()
        && dims
            .iter()
            .all(|dim| corer_mil::ops::normalize_axis(*dim, rank).is_ok_and(|dim| wide[dim] == narrow[dim]))
}

/// Operations that treat every element alike and broadcast.
const fn spreads(op: &Op) -> bool {
    op.is_elementwise() || matches!(op, Op::ToInt)
}
