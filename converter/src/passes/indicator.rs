//! Recognises a (B, S) mask of ones and zeros under whatever models do to it before it is used.

use crate::graph::{Comparison, Def, Graph, Kind, Op, Unary, ValueId};

/// A value that is one or zero (or true or false) by what the mask says of each token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Indicator {
    /// The mask: an input of integers, (B, S).
    pub(super) mask: ValueId,
    /// Whether the value is one for tokens, or for padding.
    pub(super) tokens: bool,
}

/// What a value says, if it is the mask in any of its spellings. Only dimensions of size 1 are added on the way; the
/// caller looks at the shape.
pub(super) fn indicator(graph: &Graph, mut value: ValueId) -> Option<Indicator> {
    let mut tokens = true;
    loop {
        let info = graph.value(value);
        if matches!(info.def, Def::Input) {
            let is_mask = info.kind == Kind::Int && info.shape.len() == 2;
            return is_mask.then_some(Indicator { mask: value, tokens });
        }
        let node = graph.producer(value)?;
        match &node.op {
            Op::ToFloat | Op::ToInt | Op::ToBool => {}
            Op::Unsqueeze(_) => {}
            Op::View(_) if only_ones_added(graph, node.inputs[0], value) => {}
            Op::RsubScalar(one) if *one == 1.0 => tokens = !tokens,
            Op::Unary(Unary::Not) => tokens = !tokens,
            Op::CompareScalar(comparison, number) => match (comparison, *number) {
                (Comparison::Eq | Comparison::Ge, 1.0) | (Comparison::Ne | Comparison::Gt, 0.0) => {}
                (Comparison::Eq | Comparison::Le, 0.0) | (Comparison::Ne | Comparison::Lt, 1.0) => {
                    tokens = !tokens;
                }
                _ => return None,
            },
            _ => return None,
        }
        value = node.inputs[0];
    }
}

/// Whether a view keeps every size in order and only adds or drops ones.
fn only_ones_added(graph: &Graph, from: ValueId, to: ValueId) -> bool {
    let sizes = |id: ValueId| {
        let one = corer_mil::Dim::Known(1);
        graph
            .shape(id)
            .iter()
            .copied()
            .filter(move |dim| *dim != one)
            .collect::<Vec<_>>()
    };
    sizes(from) == sizes(to)
}

/// Whether a value has the shape of keys beside scores: (B, 1, 1, S).
pub(super) fn along_keys(graph: &Graph, value: ValueId, mask: ValueId) -> bool {
    let one = corer_mil::Dim::Known(1);
    match (graph.shape(value), graph.shape(mask)) {
        ([batch, a, b, keys], [mask_batch, tokens]) => {
            (*a, *b) == (one, one) && (batch, keys) == (mask_batch, tokens)
        }
        _ => false,
    }
}
