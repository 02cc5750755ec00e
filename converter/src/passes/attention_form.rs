//! Chooses how each attention is written in the `ane` layout, and orders the channels around it to suit.
//!
//! *Packed* wants channel = j · heads + head for query, key, value and result, so that (B, C, 1, S) views as
//! (B, d, heads, S) and equal H sizes act as a batch axis of one einsum. *Split* wants only the key that way:
//! one transpose of (B, d, heads, S) gives (B, S, heads, d), which is cut per head on H; cutting on the last
//! axis instead would pass through the fixed-point path of rule N5. Ordering is free: rows of the projections
//! that make the channels, columns of the one that takes the result.
//!
//! An open batch leaves attention as it is, to be written with `matmul`: MIL's `einsum` wants to see that both of its
//! sides have one batch, and Apple's reader gives each input's a symbol of its own.
//!
//! Functions that share weights have to agree on their order. Short ones packed and long ones split would not, so
//! their long ones are *split interleaved*: ordered as packed, viewed as (B, d, heads, S) and cut on H, for three
//! more views per layer and none of the weights twice.

use std::sync::Arc;

use super::PassError;
use super::projection::Projection;
use crate::graph::{AttentionLayout, Graph, Op, ValueId};

/// Rule A8 with L8: scores of all heads beyond 2 MiB of fp16 are tiled, so heads are better apart.
const OPERAND_LIMIT: u64 = 2 << 20;

pub(super) fn auto(graph: &mut Graph) -> Result<usize, PassError> {
    run(graph, |scores| {
        if scores > OPERAND_LIMIT {
            AttentionLayout::Split
        } else {
            AttentionLayout::Packed
        }
    })
}

/// [`auto`] for one of several functions over the same weights.
pub(super) fn auto_shared(graph: &mut Graph) -> Result<usize, PassError> {
    run(graph, |scores| {
        if scores > OPERAND_LIMIT {
            AttentionLayout::SplitInterleaved
        } else {
            AttentionLayout::Packed
        }
    })
}

pub(super) fn packed(graph: &mut Graph) -> Result<usize, PassError> {
    run(graph, |_| AttentionLayout::Packed)
}

pub(super) fn split(graph: &mut Graph) -> Result<usize, PassError> {
    run(graph, |_| AttentionLayout::Split)
}

/// `choose` is told the bytes of all heads' scores at the largest size the graph takes.
fn run(graph: &mut Graph, choose: fn(u64) -> AttentionLayout) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Op::Attention {
            heads,
            scale,
            layout: AttentionLayout::HeadMajor,
        } = node.op
        else {
            continue;
        };
        let (inputs, output) = (node.inputs.clone(), node.output);
        if graph
            .shape(output)
            .first()
            .is_none_or(|batch| batch.known().is_none())
        {
            continue;
        }
        let tokens = |id: ValueId| {
            graph
                .shape(id)
                .get(1)
                .and_then(|dim| graph.most(*dim))
                .unwrap_or(u64::MAX)
        };
        let scores = [tokens(inputs[0]), tokens(inputs[1]), 2]
            .into_iter()
            .fold(heads, u64::saturating_mul);
        let mut form = choose(scores);
        if inputs[3..].iter().any(|term| has_relative_scores(graph, *term)) {
            // Scores by relative position are computed for all heads at once, so there is nothing left to split.
            form = AttentionLayout::Packed;
        }
        let interleaved = match form {
            AttentionLayout::Packed | AttentionLayout::SplitInterleaved => &inputs[..3],
            _ => &inputs[1..2],
        };
        let makers: Option<Vec<Projection>> =
            interleaved.iter().map(|id| Projection::of(graph, *id)).collect();
        let taker = match form {
            AttentionLayout::Packed | AttentionLayout::SplitInterleaved => {
                linear_taking(graph, output).map(Some)
            }
            _ => Some(None),
        };
        let channels = graph
            .shape(output)
            .last()
            .and_then(|dim| dim.known())
            .unwrap_or(0);
        let (Some(makers), Some(taker), Some(order)) = (makers, taker, interleaving(channels, heads)) else {
            continue;
        };
        for maker in makers {
            graph.rewrite_weights(maker.linear, |tensor, _| tensor.select_rows(order.clone()))?;
            maker.reordered(graph, AttentionLayout::Packed)?;
        }
        if let Some(taker) = taker {
            graph.rewrite_weights(taker, |tensor, is_bias| {
                if is_bias {
                    Ok(tensor)
                } else {
                    tensor.select_columns(order.clone())
                }
            })?;
        }
        graph.replace(
            index,
            Op::Attention {
                heads,
                scale,
                layout: form,
            },
            inputs,
        )?;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// Whether a term is, or sums, scores by relative position.
fn has_relative_scores(graph: &Graph, term: ValueId) -> bool {
    graph.producer(term).is_some_and(|node| match node.op {
        Op::RelativeScores { .. } => true,
        Op::Add => node.inputs.iter().any(|input| has_relative_scores(graph, *input)),
        _ => false,
    })
}

/// The linear that alone takes `id` as its input.
fn linear_taking(graph: &Graph, id: ValueId) -> Option<usize> {
    let [user] = graph.users(id)[..] else { return None };
    let node = &graph.nodes[user];
    let takes = node.op == Op::Linear && node.inputs[0] == id && graph.uses(id) == 1;
    (takes && graph.as_weight(node.inputs[1]).is_some()).then_some(user)
}

/// For each interleaved channel j · heads + head, the head-major channel head · d + j it comes from.
fn interleaving(channels: u64, heads: u64) -> Option<Arc<[u32]>> {
    let (channels, heads) = (u32::try_from(channels).ok()?, u32::try_from(heads).ok()?);
    let width = channels.checked_div(heads)?;
    Some(
        (0..channels)
            .map(|channel| (channel % heads) * width + channel / heads)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaving_puts_the_heads_of_one_component_side_by_side() {
        assert_eq!(interleaving(6, 2).as_deref(), Some(&[0, 3, 1, 4, 2, 5][..]));
        assert_eq!(interleaving(6, 0), None);
    }
}
