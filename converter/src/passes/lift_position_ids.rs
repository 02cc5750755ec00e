//! Positions counted over the ids that are not padding, as RoBERTa and MPNet count them:
//! `cumsum(ids ≠ p) · (ids ≠ p) + p`.

use super::PassError;
use crate::graph::{Comparison, Def, Graph, Kind, Op, ValueId};

/// Replaces the sum each ends with.
pub(super) fn run(graph: &mut Graph) -> Result<usize, PassError> {
    let mut rewrites = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let (offset, product) = match node.op {
            Op::AddScalar(offset) => (offset, node.inputs[0]),
            _ => continue,
        };
        if let Some((ids, padding)) = counted(graph, product)
            && f64::from(padding) == offset
            && graph.shape(ids) == graph.shape(node.output)
        {
            graph.replace(index, Op::PositionIds { padding }, vec![ids])?;
            rewrites += 1;
        }
    }
    Ok(rewrites)
}

/// The ids and the padding of `cumsum(m) · m` with m = ids ≠ padding.
fn counted(graph: &Graph, value: ValueId) -> Option<(ValueId, u32)> {
    let node = graph.producer(value).filter(|node| node.op == Op::Mul)?;
    let [a, b] = node.inputs[..] else { return None };
    for (sum, marks) in [(a, b), (b, a)] {
        let Some(cumsum) = graph.producer(sum) else {
            continue;
        };
        if !matches!(cumsum.op, Op::CumSum(1 | -1)) {
            continue;
        }
        let (first, second) = (marked(graph, cumsum.inputs[0])?, marked(graph, marks)?);
        return (first == second).then_some(first);
    }
    None
}

/// The ids and the padding of `ids ≠ padding` as integers.
fn marked(graph: &Graph, value: ValueId) -> Option<(ValueId, u32)> {
    let mut node = graph.producer(value)?;
    while matches!(node.op, Op::ToInt) {
        node = graph.producer(node.inputs[0])?;
    }
    let Op::CompareScalar(Comparison::Ne, padding) = node.op else {
        return None;
    };
    let ids = graph.value(node.inputs[0]);
    let input = matches!(ids.def, Def::Input) && ids.kind == Kind::Int && ids.shape.len() == 2;
    let whole = padding.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&padding);
    // Checked to be whole and in range.
    (input && whole).then_some((node.inputs[0], padding as u32))
}
