//! Sentence vectors: the masked mean of the tokens, and division by the Euclidean norm.

use super::PassError;
use super::indicator::{Indicator, indicator};
use crate::graph::{Graph, Op, PoolKind, Reduction, ValueId};

/// Floors that only keep a division from being by zero are below this.
const LARGEST_FLOOR: f64 = 1e-3;

/// Replaces the division each ends with.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        if graph.nodes[index].op != Op::Div {
            continue;
        }
        if let Some((x, mask)) = masked_mean(graph, index) {
            graph.replace(index, Op::Pool(PoolKind::Mean), vec![x, mask])?;
            rewrites += 1;
        } else if let Some((x, epsilon)) = normalised(graph, index) {
            graph.replace(index, Op::Normalize { epsilon }, vec![x])?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

/// A sum over tokens, dropped or kept with size 1, and what it is of.
fn token_sum(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = graph.producer(value)?;
    match &node.op {
        Op::Reduce {
            kind: Reduction::Sum,
            dims,
            keep: false,
        } if dims[..] == [1] => Some(node.inputs[0]),
        _ => None,
    }
}

/// What lies under a floor.
fn under_floor(graph: &Graph, value: ValueId) -> (ValueId, f64) {
    match graph.producer(value) {
        Some(node) => match node.op {
            Op::Clamp { min, max } if max == f64::INFINITY && (0.0..=LARGEST_FLOOR).contains(&min) => {
                (node.inputs[0], min)
            }
            Op::AddScalar(small) if (0.0..=1e-6).contains(&small) => (node.inputs[0], small),
            _ => (value, 0.0),
        },
        None => (value, 0.0),
    }
}

/// The mask of ones for tokens that a (B, S) or (B, S, 1) value is.
fn token_mask(graph: &Graph, value: ValueId) -> Option<ValueId> {
    match indicator(graph, value) {
        Some(Indicator { mask, tokens: true }) => Some(mask),
        _ => None,
    }
}

/// Σ x · mask / Σ mask.
fn masked_mean(graph: &Graph, index: usize) -> Option<(ValueId, ValueId)> {
    let node = &graph.nodes[index];
    let product = graph.producer(token_sum(graph, node.inputs[0])?)?;
    let (Op::Mul, [a, b]) = (&product.op, &product.inputs[..]) else {
        return None;
    };
    let (x, factor) = match (token_mask(graph, *a), token_mask(graph, *b)) {
        (None, Some(_)) => (*a, *b),
        (Some(_), None) => (*b, *a),
        _ => return None,
    };
    let mask = token_mask(graph, factor)?;
    let ([batch, tokens, _], [mask_batch, mask_tokens], [_, _, one]) =
        (graph.shape(x), graph.shape(mask), graph.shape(factor))
    else {
        return None;
    };
    let one = *one == corer_mil::Dim::Known(1);
    if (batch, tokens) != (mask_batch, mask_tokens) || !one {
        return None;
    }
    let (count, _) = under_floor(graph, node.inputs[1]);
    let counted = match graph.producer(count) {
        // Σ over tokens of (B, S, 1), or of (B, S) with the sum kept.
        Some(sum) => match &sum.op {
            Op::Reduce {
                kind: Reduction::Sum,
                dims,
                ..
            } if dims[..] == [1] || (dims[..] == [-1] && graph.shape(sum.inputs[0]).len() == 2) => {
                sum.inputs[0]
            }
            _ => return None,
        },
        None => return None,
    };
    let broadcasts = graph.shape(count).len() == 2 && graph.shape(count)[1] == corer_mil::Dim::Known(1);
    (token_mask(graph, counted) == Some(mask) && broadcasts).then_some((x, mask))
}

/// x / max(‖x‖, ε) over the channels of (B, C).
fn normalised(graph: &Graph, index: usize) -> Option<(ValueId, f64)> {
    let node = &graph.nodes[index];
    let x = node.inputs[0];
    let (norm, epsilon) = under_floor(graph, node.inputs[1]);
    let reduce = graph.producer(norm)?;
    let (
        Op::Reduce {
            kind: Reduction::Norm,
            dims,
            keep: true,
        },
        2,
    ) = (&reduce.op, graph.shape(x).len())
    else {
        return None;
    };
    ((dims[..] == [1] || dims[..] == [-1]) && reduce.inputs[0] == x).then_some((x, epsilon))
}
