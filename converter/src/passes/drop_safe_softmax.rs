//! A softmax that gives zeros for rows of nothing but −∞ is a softmax: decomposed exports guard every attention so
//! (`_safe_softmax`), though no score is −∞ once the mask is lifted.
//!
//! `where(~any(scores != −∞), 0, softmax(scores))`. Lifted masks add a finite number, so a row is never left without a
//! largest score; where a mask was not lifted the guard stays.

use super::PassError;
use crate::graph::{Comparison, Graph, Node, Op, Reduction, Unary, ValueId};

/// Lets users of the guarded softmax use the softmax.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Some(softmax) = guarded(graph, node) else {
            continue;
        };
        let (scope, guarded) = (node.scope.clone(), node.output);
        graph.substitute(&scope, guarded, softmax)?;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// The softmax under a guard.
fn guarded(graph: &Graph, node: &Node) -> Option<ValueId> {
    let (Op::Where, [condition, zeros, result]) = (&node.op, &node.inputs[..]) else {
        return None;
    };
    let softmax = graph.producer(*result)?;
    let Op::Softmax(_) = softmax.op else { return None };
    let scores = softmax.inputs[0];
    let needless = guards(graph, *condition, scores)? && finite(graph, scores, 0) && is_zero(graph, *zeros);
    needless.then_some(*result)
}

/// Whether a condition is that no score of a row is more than −∞.
fn guards(graph: &Graph, condition: ValueId, scores: ValueId) -> Option<bool> {
    let step = |id: ValueId, op: fn(&Op) -> bool| {
        let node = graph.producer(id)?;
        op(&node.op).then(|| node.inputs[0])
    };
    let not: fn(&Op) -> bool = |op| *op == Op::Unary(Unary::Not);
    let any = step(condition, not)?;
    let any = step(any, |op| *op == Op::ToBool)?;
    let any = step(
        any,
        |op| matches!(op, Op::Reduce { kind: Reduction::Max, dims, keep: true } if dims.len() == 1),
    )?;
    let some = step(any, |op| *op == Op::ToFloat)?;
    let nothing = step(some, not)?;
    let compared = step(
        nothing,
        |op| matches!(op, Op::CompareScalar(Comparison::Eq, number) if *number == f64::NEG_INFINITY),
    )?;
    Some(compared == scores)
}

/// Deepest chain of sums looked through.
const DEEPEST: usize = 16;

/// Whether scores are products with finite numbers added.
fn finite(graph: &Graph, id: ValueId, depth: usize) -> bool {
    if depth > DEEPEST {
        return false;
    }
    let Some(node) = graph.producer(id) else {
        // Values that are not finite are an error to read.
        return graph
            .as_weight(id)
            .is_some_and(|tensor| tensor.read_f32().is_ok());
    };
    let arguments = || node.inputs.iter().all(|input| finite(graph, *input, depth + 1));
    match &node.op {
        Op::Matmul | Op::PaddingMask | Op::ToFloat => true,
        Op::Add | Op::Mul | Op::View(_) | Op::Unsqueeze(_) | Op::Expand(_) => arguments(),
        Op::MulScalar(number) | Op::AddScalar(number) | Op::RsubScalar(number) => {
            number.is_finite() && arguments()
        }
        _ => false,
    }
}

/// Whether a small weight is zero everywhere.
fn is_zero(graph: &Graph, id: ValueId) -> bool {
    graph
        .as_weight(id)
        .and_then(|tensor| tensor.read_f32().ok())
        .is_some_and(|values| values.iter().all(|value| *value == 0.0))
}
