//! A table looked up at known rows is those rows: positions and absent token types become weights. Rows known but
//! cut to the length of an input become a weight cut to that length.

use std::sync::Arc;

use corer_mil::Dim;

use super::PassError;
use crate::graph::{Graph, Op, ValueId};
use crate::source::LazyTensor;

/// Replaces `embedding(weight, known integers)` by the selected rows.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if node.op != Op::Embedding {
            continue;
        }
        let (table, indices) = (node.inputs[0], node.inputs[1]);
        let (scope, output) = (node.scope.clone(), node.output);
        let name = format!("{scope}.weight");
        if let Some(rows) = rows(graph, table, indices)? {
            let weight = graph.weight(&name, rows);
            graph.substitute(&scope, output, weight)?;
            rewrites += 1;
            continue;
        }
        let Some(cut) = graph.producer(indices) else {
            continue;
        };
        let Op::SliceLike(dim) = cut.op else { continue };
        let (known, like) = (cut.inputs[0], cut.inputs[1]);
        // Rows of integers become rows of vectors, so dimensions are counted from the front.
        if dim < 0 {
            continue;
        }
        if let Some(rows) = rows(graph, table, known)? {
            let weight = graph.weight(&name, rows);
            graph.replace(index, Op::SliceLike(dim), vec![weight, like])?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

/// The rows of a known table at known indices: the indices' shape, then the table's width.
fn rows(graph: &Graph, table: ValueId, indices: ValueId) -> Result<Option<LazyTensor>, PassError> {
    let (Some(tensor), Some(rows)) = (graph.as_weight(table), graph.as_ints(indices)) else {
        return Ok(None);
    };
    let &[height, width] = tensor.shape() else {
        return Ok(None);
    };
    let rows: Option<Vec<u32>> = rows
        .iter()
        .map(|row| u32::try_from(*row).ok().filter(|row| u64::from(*row) < height))
        .collect();
    let shape: Option<Vec<u64>> = graph.shape(indices).iter().copied().map(Dim::known).collect();
    let (Some(rows), Some(mut shape)) = (rows, shape) else {
        return Ok(None);
    };
    shape.push(width);
    Ok(Some(tensor.clone().select_rows(Arc::from(rows))?.reshape(shape)?))
}
