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
        let Some(sum) = sum(graph, inner_constant, outer_constant)? else {
            continue;
        };
        let name = graph.nodes[index].scope.clone();
        let sum = graph.weight(&name, sum);
        graph.replace(index, Op::Add, vec![x, sum])?;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// The variable and the constant argument of an add, if it has one of each.
fn constant_add(graph: &Graph, index: usize) -> Option<(ValueId, ValueId)> {
    let node = &graph.nodes[index];
    let [a, b] = node.inputs[..] else { return None };
    match (
        &node.op,
        graph.as_weight(a).is_some(),
        graph.as_weight(b).is_some(),
    ) {
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
