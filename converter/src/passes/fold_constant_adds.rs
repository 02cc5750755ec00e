//! `(x + a) + b` with known `a` and `b` is `x + (a + b)`: one add less, and the sum is exact in f32.
//!
//! Frameworks add token types before positions; when token types are all zero both are known.

use corer_mil::Dim;

use super::PassError;
use crate::graph::{Graph, Op, ValueId};
use crate::source::LazyTensor;

/// Sums larger than this many elements stay separate: they would have to be held in memory.
const MOST_ELEMENTS: u64 = 1 << 22;

/// Merges the outer constant into the inner one.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let Some((inner, outer_constant)) = constant_add(graph, index) else {
            continue;
        };
        let Some(inner_index) = graph.producer_index(inner) else {
            continue;
        };
        let Some((x, inner_constant)) = constant_add(graph, inner_index) else {
            continue;
        };
        if graph.uses(inner) != 1 {
            continue;
        }
        let (Some((a, inner_cut)), Some((b, outer_cut))) =
            (cut(graph, inner_constant), cut(graph, outer_constant))
        else {
            continue;
        };
        // Cut alike, they are the sum cut once.
        if inner_cut != outer_cut {
            continue;
        }
        let Some(sum) = sum(graph, a, b)? else {
            continue;
        };
        let name = graph.nodes[index].scope.clone();
        let sum = graph.weight(&name, sum);
        let sum = match (inner_cut, graph.producer_index(inner_constant)) {
            (Some((op, like)), Some(cut)) => {
                let inputs = std::iter::once(sum).chain(like).collect();
                graph.replace(cut, op, inputs)?;
                inner_constant
            }
            _ => sum,
        };
        graph.replace(index, Op::Add, vec![x, sum])?;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// How a constant is cut: by which operation, and to the length of what.
type Cut = Option<(Op, Option<ValueId>)>;

/// The weight behind a value that is one, or one that is cut for this value alone.
fn cut(graph: &Graph, value: ValueId) -> Option<(ValueId, Cut)> {
    if graph.as_weight(value).is_some() {
        return Some((value, None));
    }
    let node = graph.producer(value)?;
    let weight = *node.inputs.first()?;
    let cuts = matches!(node.op, Op::Slice { .. } | Op::SliceLike(_));
    (cuts && graph.uses(value) == 1 && graph.as_weight(weight).is_some())
        .then(|| (weight, Some((node.op.clone(), node.inputs.get(1).copied()))))
}

/// The variable and the constant argument of an add, if it has one of each.
fn constant_add(graph: &Graph, index: usize) -> Option<(ValueId, ValueId)> {
    let node = &graph.nodes[index];
    let [a, b] = node.inputs[..] else { return None };
    match (&node.op, cut(graph, a).is_some(), cut(graph, b).is_some()) {
        (Op::Add, false, true) => Some((a, b)),
        (Op::Add, true, false) => Some((b, a)),
        _ => None,
    }
}

/// The sum of two weights of one shape; `None` when they differ or are too large.
fn sum(graph: &Graph, a: ValueId, b: ValueId) -> Result<Option<LazyTensor>, PassError> {
    let shape: Option<Vec<u64>> = graph.shape(a).iter().copied().map(Dim::known).collect();
    let (Some(shape), Some(first), Some(second)) = (shape, graph.as_weight(a), graph.as_weight(b)) else {
        return Ok(None);
    };
    let count = shape
        .iter()
        .try_fold(1u64, |count, size| count.checked_mul(*size));
    if graph.shape(a) != graph.shape(b) || count.is_none_or(|count| count > MOST_ELEMENTS) {
        return Ok(None);
    }
    let (mut values, more) = (first.read_f32()?, second.read_f32()?);
    for (value, addend) in values.iter_mut().zip(more) {
        *value += addend;
    }
    let name = format!("{} + {}", graph.value(a).name, graph.value(b).name);
    Ok(Some(LazyTensor::from_values(&name, shape, values)?))
}
