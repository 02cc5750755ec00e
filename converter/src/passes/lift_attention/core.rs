//! The middle of an attention: scores, what is added to them, the softmax, the product with the value.

use super::relative::Relative;
use crate::graph::{Graph, Node, Op, ValueId};

/// Deepest chain of terms looked through.
const DEEPEST: usize = 16;

/// What an attention computes, in heads.
pub(super) struct Core {
    pub(super) query: ValueId,
    /// (…, S, d), not transposed.
    pub(super) key: ValueId,
    pub(super) value: ValueId,
    /// Factor on the scores; the operation's own when `None`.
    pub(super) scale: Option<f64>,
    pub(super) terms: Vec<Term>,
    pub(super) scope: String,
}

/// What is added to scores.
pub(super) enum Term {
    /// A value that broadcasts to (B, heads, queries, keys).
    Value(ValueId),
    /// Scores by relative position.
    Relative(Relative),
}

impl Term {
    fn of(graph: &Graph, value: ValueId) -> Option<Self> {
        if let Some(relative) = Relative::of(graph, value) {
            return Some(Self::Relative(relative));
        }
        // What is added to a product in one dimension does not broadcast to (B, heads, queries, keys).
        (graph.shape(value).len() == 4).then_some(Self::Value(value))
    }
}

/// A product of query and key, scaled, with terms added.
struct Scores {
    query: ValueId,
    key: ValueId,
    scale: f64,
    terms: Vec<ValueId>,
}

impl Core {
    /// Of the result in heads, (B, heads, S, d).
    pub(super) fn of(graph: &Graph, result: ValueId) -> Option<Self> {
        let node = graph.producer(under_views(graph, result))?;
        match &node.op {
            Op::ScaledDotProductAttention { scale } => {
                let mut terms = Vec::new();
                if let Some(mask) = node.inputs.get(3) {
                    collect(graph, *mask, &mut terms);
                }
                let terms = terms.into_iter().map(Term::Value).collect();
                Some(Self {
                    query: node.inputs[0],
                    key: node.inputs[1],
                    value: node.inputs[2],
                    scale: *scale,
                    terms,
                    scope: node.scope.clone(),
                })
            }
            Op::Matmul => {
                let softmax = graph.producer(under_views(graph, node.inputs[0]))?;
                let Op::Softmax(dim) = softmax.op else { return None };
                let rank = graph.shape(softmax.output).len().cast_signed() as i64;
                if dim != -1 && dim != rank - 1 {
                    return None;
                }
                let scores = scores(graph, softmax.inputs[0], 0)?;
                let mut terms = Vec::new();
                for term in scores.terms {
                    collect(graph, term, &mut terms);
                }
                let terms = terms.into_iter().map(|term| Term::of(graph, term));
                let terms = terms.collect::<Option<Vec<_>>>()?;
                Some(Self {
                    query: scores.query,
                    key: scores.key,
                    value: node.inputs[1],
                    scale: Some(scores.scale),
                    terms,
                    scope: node.scope.clone(),
                })
            }
            _ => None,
        }
    }
}

/// Scores from their last step back to the product.
fn scores(graph: &Graph, value: ValueId, depth: usize) -> Option<Scores> {
    if depth > DEEPEST {
        return None;
    }
    let node = graph.producer(under_views(graph, value))?;
    match &node.op {
        Op::Matmul => Some(Scores {
            query: node.inputs[0],
            key: node.inputs[1],
            scale: 1.0,
            terms: Vec::new(),
        }),
        Op::MulScalar(factor) => {
            let inner = scores(graph, node.inputs[0], depth + 1)?;
            // Terms below a factor would have to be scaled with it.
            inner.terms.is_empty().then_some(Scores {
                scale: inner.scale * factor,
                ..inner
            })
        }
        Op::Add => {
            let [a, b] = node.inputs[..] else { return None };
            let (mut inner, term) = match scores(graph, a, depth + 1) {
                Some(inner) => (inner, b),
                None => (scores(graph, b, depth + 1)?, a),
            };
            inner.terms.push(term);
            Some(inner)
        }
        _ => None,
    }
}

/// The terms a sum is made of.
fn collect(graph: &Graph, term: ValueId, terms: &mut Vec<ValueId>) {
    let sum = graph.producer(term).filter(|node| node.op == Op::Add);
    let rank = graph.shape(term).len();
    let apart = sum.filter(|node| node.inputs.iter().all(|id| graph.shape(*id).len() == rank));
    match apart {
        Some(node) if terms.len() < DEEPEST => {
            for id in node.inputs.clone() {
                collect(graph, id, terms);
            }
        }
        _ => terms.push(term),
    }
}

/// What lies under views that only join or part batch and heads.
pub(super) fn under_views(graph: &Graph, mut value: ValueId) -> ValueId {
    loop {
        let Some(node) = graph.producer(value) else {
            return value;
        };
        let under = match node.op {
            Op::View(_) => node.inputs[0],
            _ => return value,
        };
        match (graph.shape(value), graph.shape(under)) {
            ([.., a, b], [.., c, d]) if (a, b) == (c, d) => value = under,
            _ => return value,
        }
    }
}

/// Whether a transpose swaps the last two dimensions.
pub(super) fn swaps_last(graph: &Graph, node: &Node, a: i64, b: i64) -> bool {
    let rank = graph.shape(node.output).len();
    let at = |dim: i64| corer_mil::ops::normalize_axis(dim, rank).ok();
    match (at(a), at(b)) {
        (Some(a), Some(b)) => a.min(b) + 2 == rank && a.max(b) + 1 == rank,
        _ => false,
    }
}
