//! Scores filled with a very negative number wherever the query or the key is padding, `mask[:, None, :] · mask[:, :, None]`
//! as DeBERTa has it, are scores filled where the key is: what differs is what padding computes for itself.

use super::PassError;
use super::indicator::{Indicator, along_keys, indicator};
use super::lift_padding_mask::NEVER;
use super::padding;
use crate::graph::{Graph, Op, Unary, ValueId};

/// Fills by the keys alone. Whether the padding this changes is read can be told of lifted attentions alone, see
/// [`padding_is_read`].
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        let node = &graph.nodes[index];
        let (fill, output) = (node.op.clone(), node.output);
        if matches!(fill, Op::MaskedFill(value) if value <= NEVER)
            && let Some(keys) = pair(graph, node.inputs[1])
        {
            let x = node.inputs[0];
            let tokens = graph.insert(index, Op::ToBool, vec![keys])?;
            let padding = graph.insert(index + 1, Op::Unary(Unary::Not), vec![tokens])?;
            index = graph.producer_index(output).unwrap_or(index);
            graph.replace(index, fill, vec![x, padding])?;
            rewrites += 1;
        }
        index += 1;
    }
    Ok(rewrites)
}

/// Whether anything reads what an attention computes for padding.
pub(super) fn padding_is_read(graph: &Graph) -> bool {
    let masks = graph.nodes.iter().filter(|node| node.op == Op::PaddingMask);
    let masks: Vec<ValueId> = masks.map(|node| node.inputs[0]).collect();
    graph.nodes.iter().any(|node| match node.op {
        Op::Attention { .. } => masks
            .iter()
            .all(|mask| padding::is_read(graph, node.output, *mask)),
        // Left as it was spelled: nothing is known of it.
        Op::Softmax(_) => true,
        _ => false,
    })
}

/// The marks along keys, (B, 1, 1, S), of a condition that is true where query or key is padding.
fn pair(graph: &Graph, condition: ValueId) -> Option<ValueId> {
    let mut node = graph.producer(condition)?;
    let mut inverted = false;
    loop {
        match node.op {
            Op::Unary(Unary::Not) => inverted = !inverted,
            Op::ToBool | Op::ToInt | Op::ToFloat => {}
            Op::Mul | Op::And => break,
            _ => return None,
        }
        node = graph.producer(node.inputs[0])?;
    }
    let [a, b] = node.inputs[..] else { return None };
    let mask = |id: ValueId| match indicator(graph, id)? {
        Indicator { mask, tokens: true } => Some(mask),
        Indicator { .. } => None,
    };
    let found = mask(a)?;
    let [keys, queries] = match along_keys(graph, a, found) {
        true => [a, b],
        false => [b, a],
    };
    let along_queries = matches!(
        (graph.shape(queries), graph.shape(found)),
        ([batch, one, length, last], [mask_batch, mask_length])
            if one.known() == Some(1) && last.known() == Some(1) && (batch, length) == (mask_batch, mask_length)
    );
    (inverted && mask(b) == Some(found) && along_keys(graph, keys, found) && along_queries).then_some(keys)
}
