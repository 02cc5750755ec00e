//! A side of an attention: which (B, S, C) its heads were cut from, and what happened to them since.

use corer_mil::Dim;

use super::core::{swaps_last, under_views};
use crate::graph::{Graph, Node, Op, ValueId};

/// Query, key or value.
#[derive(Clone, Copy)]
pub(super) struct Side {
    /// (B, S, C), before it was cut into heads.
    pub(super) source: ValueId,
    pub(super) heads: u64,
    /// What its elements were multiplied with.
    pub(super) factor: f64,
    pub(super) rotation: Option<Rotation>,
}

/// Tables of rotary positions, (…, S, d) each.
#[derive(Clone, Copy)]
pub(super) struct Rotation {
    pub(super) cos: ValueId,
    pub(super) sin: ValueId,
}

impl Side {
    /// Of a value in heads, (B, heads, S, d) or (B · heads, S, d); a key may come transposed.
    pub(super) fn of(graph: &Graph, value: ValueId, key: bool) -> Option<Self> {
        let (mut factor, mut rotation) = (1.0, None);
        let mut turned = false;
        let mut value = value;
        loop {
            value = under_views(graph, value);
            let node = graph.producer(value)?;
            match &node.op {
                Op::MulScalar(by) => {
                    factor *= by;
                    value = node.inputs[0];
                }
                Op::Transpose(a, b) if key && !turned && swaps_last(graph, node, *a, *b) => {
                    turned = true;
                    value = node.inputs[0];
                }
                // Cut and transposed at once, as keys are: (B, S, heads, d) to (B, heads, d, S).
                Op::Permute(order) if key && !turned && order[..] == [0, 2, 3, 1] => {
                    return Self::cut(graph, node.inputs[0], factor, rotation);
                }
                Op::Add if rotation.is_none() => {
                    let (under, tables) = rotated(graph, node)?;
                    rotation = Some(tables);
                    value = under;
                }
                _ => return Self::cut(graph, swapped(graph, value)?, factor, rotation),
            }
        }
    }

    /// Of (B, S, heads, d), a view of (B, S, C).
    fn cut(graph: &Graph, viewed: ValueId, factor: f64, rotation: Option<Rotation>) -> Option<Self> {
        let node = graph.producer(viewed)?;
        let source = *node.inputs.first()?;
        let ([_, tokens, Dim::Known(heads), Dim::Known(width)], [_, source_tokens, Dim::Known(channels)]) =
            (graph.shape(viewed), graph.shape(source))
        else {
            return None;
        };
        let whole = heads.checked_mul(*width) == Some(*channels) && tokens == source_tokens;
        (matches!(node.op, Op::View(_)) && whole).then_some(Self {
            source,
            heads: *heads,
            factor,
            rotation,
        })
    }
}

/// What lies under a swap of dimensions 1 and 2.
pub(super) fn swapped(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = graph.producer(value)?;
    matches!(node.op, Op::Transpose(1, 2) | Op::Transpose(2, 1))
        .then(|| node.inputs[0])
        .filter(|_| graph.shape(value).len() == 4)
}

/// `x · cos + rotate_half(x) · sin`: x and the tables.
fn rotated(graph: &Graph, node: &Node) -> Option<(ValueId, Rotation)> {
    let product = |id: ValueId| -> Option<(ValueId, ValueId)> {
        let node = graph.producer(id).filter(|node| node.op == Op::Mul)?;
        let [a, b] = node.inputs[..] else { return None };
        match (graph.as_weight(a).is_some(), graph.as_weight(b).is_some()) {
            (false, true) => Some((a, b)),
            (true, false) => Some((b, a)),
            _ => None,
        }
    };
    let [a, b] = node.inputs[..] else { return None };
    let (first, second) = (product(a)?, product(b)?);
    for ((x, cos), (half, sin)) in [(first, second), (second, first)] {
        if rotates_half(graph, half, x) {
            return Some((x, Rotation { cos, sin }));
        }
    }
    None
}

/// Whether `value` is `x` with its halves swapped along the last dimension, the one that comes first negated.
fn rotates_half(graph: &Graph, value: ValueId, x: ValueId) -> bool {
    let half = || -> Option<bool> {
        let join = graph.producer(value)?;
        let rank = graph.shape(value).len();
        let Op::Concat(dim) = join.op else { return None };
        let last = |dim: i64| corer_mil::ops::normalize_axis(dim, rank).is_ok_and(|dim| dim + 1 == rank);
        let [negated, plain] = join.inputs[..] else {
            return None;
        };
        let negation = graph
            .producer(negated)
            .filter(|node| node.op == Op::MulScalar(-1.0))?;
        let (second, first) = (graph.producer(negation.inputs[0])?, graph.producer(plain)?);
        let width = graph.shape(x).last()?.known()?;
        let cut = |node: &Node, from: u64, to: u64| match node.op {
            Op::Slice { dim, start, end } => last(dim) && (start, end) == (from, to) && node.inputs[0] == x,
            _ => false,
        };
        Some(last(dim) && cut(second, width / 2, width) && cut(first, 0, width / 2))
    };
    half().unwrap_or(false)
}
