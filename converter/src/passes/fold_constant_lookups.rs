//! A table looked up at known rows is those rows: positions and absent token types become weights.

use std::sync::Arc;

use corer_mil::Dim;

use super::PassError;
use crate::graph::{Graph, Op};

/// Replaces `embedding(weight, known integers)` by the selected rows.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if node.op != Op::Embedding {
            continue;
        }
        let (Some(table), Some(rows)) = (graph.as_weight(node.inputs[0]), graph.as_ints(node.inputs[1]))
        else {
            continue;
        };
        let height = table.shape().first().copied().unwrap_or(0);
        let rows: Option<Vec<u32>> = rows
            .iter()
            .map(|row| u32::try_from(*row).ok().filter(|row| u64::from(*row) < height))
            .collect();
        let shape: Option<Vec<u64>> = graph.shape(node.output).iter().copied().map(Dim::known).collect();
        let (Some(rows), Some(shape)) = (rows, shape) else {
            continue;
        };
        let name = format!("{}.weight", node.scope);
        let (scope, output) = (node.scope.clone(), node.output);
        let tensor = table.clone().select_rows(Arc::from(rows))?.reshape(shape)?;
        let weight = graph.weight(&name, tensor);
        graph.substitute(&scope, output, weight)?;
        rewrites += 1;
    }
    Ok(rewrites)
}
