//! What models compute at padding, and whether anything reads it.
//!
//! Attention hides padding from every other token, so a model may compute anything there, and a checkpoint's package
//! computes what is least work. Where only such tokens tell two programs apart, the simpler one is as good; where a model
//! pools over padding too, it is not.

use corer_mil::Dim;

use crate::graph::{Graph, Node, Op, PoolKind, ValueId};

/// Deepest sum of terms looked through.
const DEEPEST: usize = 8;

/// Whether what `value` (B, S, …) holds where `mask` is zero reaches anything but the outputs at those same tokens.
pub(super) fn is_read(graph: &Graph, value: ValueId, mask: ValueId) -> bool {
    let mut left = vec![value];
    let mut seen = vec![value];
    while let Some(value) = left.pop() {
        for user in graph.users(value) {
            let node = &graph.nodes[user];
            let next = match reader(graph, user, value, mask) {
                Reader::Nothing => continue,
                Reader::SameTokens => node.output,
                Reader::Anything => return true,
            };
            if !seen.contains(&next) {
                seen.push(next);
                left.push(next);
            }
        }
    }
    false
}

/// What a node does with the padding of an argument.
enum Reader {
    /// Leaves it out.
    Nothing,
    /// Gives each token what that token held.
    SameTokens,
    /// May give it to other tokens.
    Anything,
}

fn reader(graph: &Graph, user: usize, value: ValueId, mask: ValueId) -> Reader {
    let node = &graph.nodes[user];
    let first_alone = node.inputs[0] == value && !node.inputs[1..].contains(&value);
    match &node.op {
        Op::MaskTokens if first_alone && node.inputs[1] == mask => Reader::Nothing,
        Op::Pool(PoolKind::Cls) if first_alone => Reader::Nothing,
        Op::Pool(_) if first_alone && node.inputs[1] == mask => Reader::Nothing,
        // The first token is one in every text there is.
        Op::Select { dim: 1, index: 0 } => Reader::Nothing,
        Op::Attention { .. } if hides(graph, user, mask) => {
            // As a query, or in scores of the query's, at its own token; as key or value where it is hidden.
            let term = node.inputs[3..].contains(&value);
            let scores = |node: &Node| matches!(node.op, Op::RelativeScores { .. });
            match (node.inputs[0] == value, term) {
                (_, true) if !graph.producer(value).is_some_and(scores) => Reader::Anything,
                (false, false) => Reader::Nothing,
                _ => Reader::SameTokens,
            }
        }
        Op::RelativeScores { .. } if first_alone => Reader::SameTokens,
        Op::Linear | Op::LayerNorm { .. } if first_alone && same_tokens(graph, value, node.output) => {
            Reader::SameTokens
        }
        op if by_token(op) && same_tokens(graph, value, node.output) => Reader::SameTokens,
        _ => Reader::Anything,
    }
}

fn by_token(op: &Op) -> bool {
    op.is_elementwise()
        || matches!(
            op,
            Op::Gelu { .. }
                | Op::Tanh
                | Op::Relu
                | Op::Silu
                | Op::Sigmoid
                | Op::Rotary { .. }
                | Op::MaskTokens
        )
}

/// Whether two values are (B, S, …) of the same B and S, channels last.
fn same_tokens(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    let tokens = |id: ValueId| -> Option<[Dim; 2]> {
        match graph.shape(id) {
            [batch, tokens, _] => Some([*batch, *tokens]),
            _ => None,
        }
    };
    tokens(a).is_some() && tokens(a) == tokens(b)
}

/// Whether an attention adds the padding mask of `mask` to its scores.
fn hides(graph: &Graph, attention: usize, mask: ValueId) -> bool {
    let terms = graph.nodes[attention].inputs.get(3..).unwrap_or_default();
    terms.iter().any(|term| is_mask(graph, *term, mask, 0))
}

fn is_mask(graph: &Graph, term: ValueId, mask: ValueId, depth: usize) -> bool {
    graph.producer(term).is_some_and(|node| match node.op {
        Op::PaddingMask => node.inputs[0] == mask,
        Op::Add if depth < DEEPEST => node.inputs.iter().any(|id| is_mask(graph, *id, mask, depth + 1)),
        _ => false,
    })
}
