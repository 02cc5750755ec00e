//! View, transpose, scaled dot product, transpose, view: multi-head attention on (B, S, C).

use super::PassError;
use crate::graph::{AttentionLayout, Graph, Node, Op, ValueId};
use corer_mil::Dim;

/// Replaces the final view, the last step of the pattern.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let Some((op, inputs, scope)) = attention(graph, &graph.nodes[index]) else {
            continue;
        };
        graph.replace(index, op, inputs)?;
        graph.nodes[index].scope = scope;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// The lifted operation, its arguments, and the module that computes it.
fn attention(graph: &Graph, node: &Node) -> Option<(Op, Vec<ValueId>, String)> {
    let (Op::View(_), [batch, tokens, Dim::Known(channels)]) = (&node.op, graph.shape(node.output)) else {
        return None;
    };
    let merged = swapped(graph, node.inputs[0])?;
    let core = graph.producer(merged)?;
    let Op::ScaledDotProductAttention { scale } = core.op else {
        return None;
    };
    let [core_batch, Dim::Known(heads), core_tokens, Dim::Known(width)] = graph.shape(merged) else {
        return None;
    };
    if (core_batch, core_tokens) != (batch, tokens) || heads.checked_mul(*width)? != *channels {
        return None;
    }
    let mut inputs = Vec::with_capacity(4);
    for argument in &core.inputs[..3] {
        let viewed = graph.producer(swapped(graph, *argument)?)?;
        let source = viewed.inputs[0];
        let ([_, view_tokens, view_heads, _], [_, source_tokens, source_channels]) =
            (graph.shape(viewed.output), graph.shape(source))
        else {
            return None;
        };
        let same = view_tokens == source_tokens
            && *view_heads == Dim::Known(*heads)
            && *source_channels == Dim::Known(*channels);
        if !matches!(viewed.op, Op::View(_)) || !same {
            return None;
        }
        inputs.push(source);
    }
    inputs.extend(core.inputs.get(3));
    #[allow(clippy::cast_precision_loss)] // head widths are small
    let scale = scale.unwrap_or_else(|| 1.0 / (*width as f64).sqrt());
    let op = Op::Attention {
        heads: *heads,
        scale,
        layout: AttentionLayout::HeadMajor,
    };
    Some((op, inputs, core.scope.clone()))
}

/// What lies under a swap of dimensions 1 and 2.
fn swapped(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = graph.producer(value)?;
    matches!(node.op, Op::Transpose(1, 2) | Op::Transpose(2, 1)).then(|| node.inputs[0])
}
