//! Scales the query projection instead of the scores: no op left, and the product stays small before fp16
//! rounds it (rule N11).

use super::PassError;
use crate::graph::{Graph, Op};

/// Moves the scale of each attention whose query comes straight from a linear nobody else uses.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Op::Attention { heads, scale, layout } = node.op else {
            continue;
        };
        let inputs = node.inputs.clone();
        let query = inputs[0];
        let Some(linear) = graph
            .producer_index(query)
            .filter(|linear| graph.nodes[*linear].op == Op::Linear)
        else {
            continue;
        };
        // The same value may be key or value too; then it must not change.
        if scale == 1.0 || graph.uses(query) != 1 {
            continue;
        }
        #[allow(clippy::cast_possible_truncation)] // a factor; f32 is what weights are held in
        let rewritten = graph.rewrite_weights(linear, |tensor, _| Ok(tensor.scale(scale as f32)))?;
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
