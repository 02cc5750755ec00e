//! What no pass lifted: operations the `ane` layout has no form of its own for, written one to one on values shaped as
//! the source shapes them, with transitions around them.

use std::collections::BTreeMap;

use crate::graph::{Graph, Kind, Node, Op};

/// Modules one entry spells out.
const MOST_PLACES: usize = 4;

/// An operation that is written as the source spells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftPlain {
    /// ATen's name.
    pub op: String,
    /// How often.
    pub count: usize,
    /// Modules it stands in, the first few.
    pub scopes: Vec<String>,
}

/// Every such operation, by name. What integers alone decide is computed before the layout is entered and not listed.
pub(super) fn of(graph: &Graph) -> Vec<LeftPlain> {
    let mut found: BTreeMap<String, LeftPlain> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|node| is_plain(graph, node)) {
        let op = node.op.to_string();
        let entry = found.entry(op.clone()).or_insert_with(|| LeftPlain {
            op,
            count: 0,
            scopes: Vec::new(),
        });
        entry.count += 1;
        if entry.scopes.len() < MOST_PLACES && !entry.scopes.contains(&node.scope) {
            entry.scopes.push(node.scope.clone());
        }
    }
    found.into_values().collect()
}

fn is_plain(graph: &Graph, node: &Node) -> bool {
    if graph.value(node.output).kind != Kind::Float {
        return false;
    }
    let floats = node
        .inputs
        .iter()
        .any(|id| graph.value(*id).kind == Kind::Float && graph.as_weight(*id).is_none());
    let odd_rank = !matches!(graph.shape(node.output).len(), 2 | 3);
    match node.op {
        Op::View(_)
        | Op::Transpose(..)
        | Op::Permute(_)
        | Op::Expand(_)
        | Op::Unsqueeze(_)
        | Op::Matmul
        | Op::Softmax(_)
        | Op::Reduce { .. }
        | Op::CumSum(_)
        | Op::Gather(_)
        | Op::ScaledDotProductAttention { .. } => floats,
        // Terms of scores, summed for several attentions.
        Op::Add if is_term(graph, node, 0) => false,
        Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Where
        | Op::MaskedFill(_)
        | Op::Concat(_)
        | Op::Slice { .. }
        | Op::Linear
        | Op::LayerNorm { .. } => floats && odd_rank,
        _ => false,
    }
}

/// Whether attentions alone use a value, as what they add to their scores.
fn is_term(graph: &Graph, node: &Node, depth: usize) -> bool {
    let users = graph.users(node.output);
    depth < 4
        && !users.is_empty()
        && users.iter().all(|user| {
            let user = &graph.nodes[*user];
            match user.op {
                Op::Attention { .. } => !user.inputs[..3].contains(&node.output),
                Op::Add => is_term(graph, user, depth + 1),
                _ => false,
            }
        })
}
