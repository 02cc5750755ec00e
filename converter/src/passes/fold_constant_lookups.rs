//! A table looked up at known rows is those rows: positions and absent token types become weights. Rows known but
//! cut to the length of an input become a weight cut to that length; so do those of a function that shares weights with
//! a longer one.

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
        if let Some((rows, length)) = shared_rows(graph, table, indices)? {
            let weight = graph.weight(&name, rows);
            let cut = Op::Slice {
                dim: 1,
                start: 0,
                end: length,
            };
            graph.replace(index, cut, vec![weight])?;
            rewrites += 1;
            continue;
        }
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

/// The rows that the longest function over the same weights looks up, and how many of them are this function's: where
/// the indices (1, S) are one row again and again, or rows in order, those of the longest begin alike.
fn shared_rows(
    graph: &Graph,
    table: ValueId,
    indices: ValueId,
) -> Result<Option<(LazyTensor, u64)>, PassError> {
    let (Some(longest), Some(tensor), Some(known)) =
        (graph.longest, graph.as_weight(table), graph.as_ints(indices))
    else {
        return Ok(None);
    };
    let (&[height, width], &[Dim::Known(1), Dim::Known(length)]) = (tensor.shape(), graph.shape(indices))
    else {
        return Ok(None);
    };
    let (first, step) = match known {
        [first, second, ..] => (*first, second.saturating_sub(*first)),
        _ => return Ok(None),
    };
    let alike = matches!(step, 0 | 1)
        && known
            .windows(2)
            .all(|pair| pair[0].checked_add(step) == Some(pair[1]));
    if !alike || length >= longest {
        return Ok(None);
    }
    let rows: Option<Vec<u32>> = (0..longest)
        .map(|at| {
            let row = first.checked_add(step * at.cast_signed())?;
            u32::try_from(row).ok().filter(|row| u64::from(*row) < height)
        })
        .collect();
    let Some(rows) = rows else { return Ok(None) };
    let rows = tensor
        .clone()
        .select_rows(Arc::from(rows))?
        .reshape(vec![1, longest, width])?;
    Ok(Some((rows, length)))
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
