//! Layer norm written out: (x − mean) / √(mean of its square + ε), times a weight, plus a bias.

use super::PassError;
use crate::graph::{Graph, Op, Reduction, Unary, ValueId};

/// Replaces the division first, then the product with the weight, then the sum with the bias.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        if let Some((x, epsilon)) = normalised(graph, index) {
            graph.replace(index, Op::LayerNorm { epsilon }, vec![x])?;
            rewrites += 1;
            continue;
        }
        let Some((under, inputs)) = affine(graph, index) else {
            continue;
        };
        graph.replace(index, under, inputs)?;
        rewrites += 1;
    }
    Ok(rewrites)
}

/// A division or product that ends the formula: x and ε.
fn normalised(graph: &Graph, index: usize) -> Option<(ValueId, f64)> {
    let node = &graph.nodes[index];
    let [a, b] = node.inputs[..] else { return None };
    let (centred, deviation) = match node.op {
        Op::Div => {
            let root = graph.producer(b)?;
            let root_of = matches!(root.op, Op::Unary(Unary::Sqrt) | Op::PowScalar(0.5));
            (a, root_of.then(|| root.inputs[0])?)
        }
        Op::Mul => {
            let inverse = |id: ValueId| {
                let node = graph.producer(id)?;
                matches!(node.op, Op::Unary(Unary::Rsqrt) | Op::PowScalar(-0.5)).then(|| node.inputs[0])
            };
            match (inverse(a), inverse(b)) {
                (None, Some(under)) => (a, under),
                (Some(under), None) => (b, under),
                _ => return None,
            }
        }
        _ => return None,
    };
    let sum = graph.producer(deviation)?;
    let Op::AddScalar(epsilon) = sum.op else {
        return None;
    };
    let variance = mean_of(graph, sum.inputs[0])?;
    let squared = graph.producer(variance)?;
    let of = match (&squared.op, &squared.inputs[..]) {
        (Op::PowScalar(2.0), [x]) => *x,
        (Op::Mul, [x, y]) if x == y => *x,
        _ => return None,
    };
    let x = centred_of(graph, centred)?;
    // The same deviations, or computed twice over.
    (of == centred || centred_of(graph, of) == Some(x)).then_some((x, epsilon))
}

/// What `x − mean(x)` is of.
fn centred_of(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = graph.producer(value).filter(|node| node.op == Op::Sub)?;
    let [x, mean] = node.inputs[..] else { return None };
    (mean_of(graph, mean) == Some(x)).then_some(x)
}

/// What a mean over the last dimension, kept, is of.
fn mean_of(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = graph.producer(value)?;
    let rank = graph.shape(value).len().cast_signed() as i64;
    match &node.op {
        Op::Reduce {
            kind: Reduction::Mean,
            dims,
            keep: true,
        } if dims[..] == [-1] || dims[..] == [rank - 1] => Some(node.inputs[0]),
        _ => None,
    }
}

/// A layer norm without weight times one, or with a weight but no bias plus one.
fn affine(graph: &Graph, index: usize) -> Option<(Op, Vec<ValueId>)> {
    let node = &graph.nodes[index];
    let wanted = match node.op {
        Op::Mul => 1,
        Op::Add => 2,
        _ => return None,
    };
    let [a, b] = node.inputs[..] else { return None };
    for (norm, parameter) in [(a, b), (b, a)] {
        let Some(under) = graph.producer(norm) else {
            continue;
        };
        let width = graph.shape(norm).last()?;
        let fits = matches!(under.op, Op::LayerNorm { .. })
            && under.inputs.len() == wanted
            && graph.as_weight(parameter).is_some()
            && graph.shape(parameter) == [*width]
            && graph.uses(norm) == 1;
        if fits {
            let mut inputs = under.inputs.clone();
            inputs.push(parameter);
            return Some((under.op.clone(), inputs));
        }
    }
    None
}
