//! The dense layer behind one side of an attention, and what stands between or beside: rotary positions, scores
//! against relative positions.

use crate::graph::{AttentionLayout, Graph, GraphError, Op, ValueId};

/// A side of one attention whose weights may be rearranged, since nothing else reads them.
pub(super) struct Projection {
    /// The linear.
    pub(super) linear: usize,
    /// Rotary positions between it and the attention.
    pub(super) rotary: Option<usize>,
    /// Relative scores of the same side.
    pub(super) relative: Vec<usize>,
}

impl Projection {
    /// Of the value `id`, which one attention takes once.
    pub(super) fn of(graph: &Graph, id: ValueId) -> Option<Self> {
        let relative: Vec<usize> = graph
            .users(id)
            .into_iter()
            .filter(|user| {
                let node = &graph.nodes[*user];
                matches!(node.op, Op::RelativeScores { .. }) && node.inputs[0] == id
            })
            .collect();
        if graph.uses(id) != 1 + relative.len() {
            return None;
        }
        let index = graph.producer_index(id)?;
        let node = &graph.nodes[index];
        let (linear, rotary) = match node.op {
            Op::Rotary { .. } if graph.uses(node.inputs[0]) == 1 => {
                (graph.producer_index(node.inputs[0])?, Some(index))
            }
            _ => (index, None),
        };
        let known = graph.nodes[linear].inputs[1..]
            .iter()
            .all(|weight| graph.as_weight(*weight).is_some());
        (graph.nodes[linear].op == Op::Linear && known).then_some(Self {
            linear,
            rotary,
            relative,
        })
    }

    /// Tells what reads the rearranged channels how they are ordered now.
    pub(super) fn reordered(&self, graph: &mut Graph, layout: AttentionLayout) -> Result<(), GraphError> {
        for index in self.rotary.iter().chain(&self.relative) {
            let node = &graph.nodes[*index];
            let op = match node.op {
                Op::Rotary { heads, .. } => Op::Rotary { heads, layout },
                Op::RelativeScores { heads, of, .. } => Op::RelativeScores { heads, layout, of },
                _ => continue,
            };
            graph.replace(*index, op, node.inputs.clone())?;
        }
        Ok(())
    }
}
