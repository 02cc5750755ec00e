//! Sentence vectors: sums over unmasked tokens by their number, and largest values of them, pool (B, S, C) to (B, C);
//! division by the Euclidean norm.
//!
//! `(x · m).sum(1) / m.sum(1).clamp(min=1e-9)` with m the mask on (B, S, 1), under a root for the square root of the
//! number; `x.masked_fill(m == 0, −1e9).max(1)`.

use corer_mil::Dim;

use super::PassError;
use super::indicator::{Indicator, indicator};
use super::lift_padding_mask::NEVER;
use crate::graph::{Graph, Node, Op, PoolKind, Reduction, Unary, ValueId};

/// Floors that only keep a division from being by zero are below this.
const LARGEST_FLOOR: f64 = 1e-3;

/// Replaces the last step of each pattern.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        if let Some((kind, x, mask)) = mean(graph, node).or_else(|| max(graph, node)) {
            graph.replace(index, Op::Pool(kind), vec![x, mask])?;
            rewrites += 1;
        } else if let Some((x, epsilon)) = normalised(graph, node) {
            graph.replace(index, Op::Normalize { epsilon }, vec![x])?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

fn mean(graph: &Graph, node: &Node) -> Option<(PoolKind, ValueId, ValueId)> {
    if node.op != Op::Div {
        return None;
    }
    let sum = over_tokens(graph, node.inputs[0], Reduction::Sum)?;
    let product = graph.producer(sum).filter(|product| product.op == Op::Mul)?;
    let (x, mask) = [(0, 1), (1, 0)].into_iter().find_map(|(x, mask)| {
        let mask = token_mask(graph, product.inputs[mask], product.inputs[x])?;
        Some((product.inputs[x], mask))
    })?;
    // One number a row, whatever it was counted from.
    let ([_, Dim::Known(1)], [_, _]) = (graph.shape(node.inputs[1]), graph.shape(node.output)) else {
        return None;
    };
    let (kind, counted) = number(graph, node.inputs[1])?;
    (counted == mask).then_some((kind, x, mask))
}

fn max(graph: &Graph, node: &Node) -> Option<(PoolKind, ValueId, ValueId)> {
    let filled = over_tokens(graph, node.output, Reduction::Max)?;
    let filled = graph.producer(filled)?;
    let hidden = matches!(filled.op, Op::MaskedFill(value) if value <= NEVER);
    let (x, padding) = (*filled.inputs.first()?, *filled.inputs.get(1)?);
    match (hidden, indicator(graph, padding)?) {
        (true, Indicator { mask, tokens: false }) if beside(graph, padding, x, mask) => {
            Some((PoolKind::Max, x, mask))
        }
        _ => None,
    }
}

/// What is reduced over the tokens of (B, S, C).
fn over_tokens(graph: &Graph, id: ValueId, wanted: Reduction) -> Option<ValueId> {
    let node = graph.producer(id)?;
    let source = *node.inputs.first()?;
    match &node.op {
        Op::Reduce {
            kind,
            dims,
            keep: false,
        } if *kind == wanted && matches!(dims[..], [1 | -2]) && graph.shape(source).len() == 3 => {
            Some(source)
        }
        _ => None,
    }
}

/// The mask a factor on x is.
fn token_mask(graph: &Graph, factor: ValueId, x: ValueId) -> Option<ValueId> {
    match indicator(graph, factor)? {
        Indicator { mask, tokens: true } if beside(graph, factor, x, mask) => Some(mask),
        _ => None,
    }
}

/// Whether a value spelled from the mask has the shape (B, S, 1) beside x of (B, S, C).
fn beside(graph: &Graph, value: ValueId, x: ValueId, mask: ValueId) -> bool {
    match (graph.shape(value), graph.shape(x), graph.shape(mask)) {
        ([batch, tokens, Dim::Known(1)], [x_batch, x_tokens, _], [mask_batch, mask_tokens]) => {
            (batch, tokens) == (x_batch, x_tokens) && (batch, tokens) == (mask_batch, mask_tokens)
        }
        _ => false,
    }
}

/// The number of tokens, (B, 1), at least some small number: what sums are divided by, and the mask counted.
fn number(graph: &Graph, mut id: ValueId) -> Option<(PoolKind, ValueId)> {
    let mut kind = PoolKind::Mean;
    loop {
        let node = graph.producer(id)?;
        let source = *node.inputs.first()?;
        match &node.op {
            Op::Unary(Unary::Sqrt) if kind == PoolKind::Mean => kind = PoolKind::MeanSqrtLength,
            // Numbers are whole, so a floor of up to one only keeps from dividing by zero.
            Op::Clamp { min, max } if *min <= 1.0 && *max == f64::INFINITY => {}
            Op::AddScalar(small) if (0.0..=1e-6).contains(small) => {}
            Op::Unsqueeze(_) | Op::ToFloat => {}
            Op::Reduce {
                kind: Reduction::Sum,
                dims,
                ..
            } => {
                let Indicator { mask, tokens: true } = indicator(graph, source)? else {
                    return None;
                };
                let tokens_only = matches!(
                    (graph.shape(source), &dims[..]),
                    ([_, _, Dim::Known(1)], [1 | -2]) | ([_, _], [1 | -1])
                );
                return tokens_only.then_some((kind, mask));
            }
            _ => return None,
        }
        id = source;
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

/// x / max(‖x‖, ε) over the channels of (B, C).
fn normalised(graph: &Graph, node: &Node) -> Option<(ValueId, f64)> {
    if node.op != Op::Div {
        return None;
    }
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
