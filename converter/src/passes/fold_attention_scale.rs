//! Scales the query projection instead of the scores: no op left, and the product stays small before fp16
//! rounds it (rule N11).

use super::PassError;
use super::projection::Projection;
use crate::graph::{Graph, Op};

/// Moves the scale of each attention whose query comes from a linear nobody else uses; turning the query by
/// rotary positions in between changes nothing.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Op::Attention { heads, scale, layout } = node.op else {
            continue;
        };
        let inputs = node.inputs.clone();
        if scale == 1.0 {
            continue;
        }
        // The same value may be key or value too; then it must not change.
        let Some(query) = Projection::of(graph, inputs[0]) else {
            continue;
        };
        #[allow(clippy::cast_possible_truncation)] // a factor; f32 is what weights are held in
        let factor = scale as f32;
        let rewritten = graph.rewrite_weights(query.linear, |tensor, _| Ok(tensor.scale(factor)))?;
        for relative in query.relative.iter().filter(|_| rewritten) {
            // Its scores come from the scaled query now.
            unscale_table(graph, *relative, factor)?;
        }
        if rewritten {
            graph.replace(
                index,
                Op::Attention {
                    heads,
                    scale: 1.0,
                    layout,
                },
                inputs,
            )?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

/// Divides the table of relative scores by what their query was multiplied with.
fn unscale_table(graph: &mut Graph, index: usize, factor: f32) -> Result<(), PassError> {
    let node = &graph.nodes[index];
    let (op, content, table) = (node.op.clone(), node.inputs[0], node.inputs[1]);
    let Some(tensor) = graph.as_weight(table) else {
        return Err(PassError::Graph(
            graph.fault(index, "its table is not a constant"),
        ));
    };
    let tensor = tensor.clone().scale(factor.recip());
    let name = graph.value(table).name.clone();
    let table = graph.weight(&name, tensor);
    graph.replace(index, op, vec![content, table])?;
    Ok(())
}
