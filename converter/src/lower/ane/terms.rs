//! What is added to attention scores, turned to lie as they do.

use corer_mil::Var;

use super::Ane;
use crate::error::ConvertError;
use crate::graph::{Graph, Node, Op, ValueId};
use crate::lower::emit::{fail, is_weight};
use crate::lower::tables::keys_before_queries;

/// How scores lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Orientation {
    /// (B, keys, heads, queries), softmax over axis 1.
    KeysFirst,
    /// (B, heads, keys, queries), softmax over axis 2.
    HeadsFirst,
}

/// Whether a node makes nothing but a term of scores, and is written only where attention takes it.
pub(super) fn is_term(graph: &Graph, node: &Node) -> bool {
    match node.op {
        Op::RelativeScores { .. } => true,
        Op::Add => is_sum_of_terms(graph, node) && only_added_to_scores(graph, node.output),
        _ => false,
    }
}

/// Whether both sides of an add are constants by position, masks, scores by position, or sums of such.
fn is_sum_of_terms(graph: &Graph, node: &Node) -> bool {
    node.inputs.iter().all(|id| {
        graph.shape(*id).len() == 4
            && (is_weight(graph, *id)
                || graph.producer(*id).is_some_and(|maker| match maker.op {
                    Op::PaddingMask | Op::RelativeScores { .. } => true,
                    Op::Add => is_sum_of_terms(graph, maker),
                    _ => false,
                }))
    })
}

/// Whether all that becomes of a value is that it is added to scores.
fn only_added_to_scores(graph: &Graph, id: ValueId) -> bool {
    let users = graph.users(id);
    let uses = |user: &usize| {
        graph.nodes[*user]
            .inputs
            .iter()
            .filter(|input| **input == id)
            .count()
    };
    // What is used and yet by no node is an output.
    users.iter().map(uses).sum::<usize>() == graph.uses(id)
        && users.iter().all(|user| {
            let node = &graph.nodes[*user];
            match node.op {
                Op::Attention { .. } => !node.inputs[..3].contains(&id),
                Op::Add => is_sum_of_terms(graph, node) && only_added_to_scores(graph, node.output),
                _ => false,
            }
        })
}

impl Ane<'_> {
    /// A term as a variable that broadcasts to scores of this orientation; written once for all layers that add it.
    pub(super) fn term(
        &mut self,
        node: &Node,
        id: ValueId,
        orientation: Orientation,
    ) -> Result<Var, ConvertError> {
        if let Some(var) = self.terms.get(&(id, orientation)) {
            return Ok(var.clone());
        }
        let graph = self.emit.graph;
        let var = match graph.producer(id) {
            _ if is_weight(graph, id) => self.constant_term(node, id, orientation)?,
            Some(maker) if maker.op == Op::PaddingMask => self.mask_term(maker, orientation)?,
            Some(maker) if is_term(graph, maker) => match maker.op {
                Op::RelativeScores { heads, layout, of } => {
                    self.relative_scores(maker, heads, layout, of, orientation)?
                }
                _ => {
                    let x = self.term(maker, maker.inputs[0], orientation)?;
                    let y = self.term(maker, maker.inputs[1], orientation)?;
                    self.emit.binary("add", &maker.scope, &x, &y)?
                }
            },
            _ => {
                // Written as the graph shapes it: (B, heads, queries, keys).
                let plain = self.plain(node, id)?;
                let order = match orientation {
                    Orientation::KeysFirst => [0, 3, 1, 2],
                    Orientation::HeadsFirst => [0, 1, 3, 2],
                };
                let name = format!("{}_by_key", graph.value(id).name);
                self.emit.transpose(&name, &plain, &order)?
            }
        };
        self.terms.insert((id, orientation), var.clone());
        Ok(var)
    }

    /// The padding mask, which the prefix wrote as (B, keys, 1, 1).
    fn mask_term(&mut self, maker: &Node, orientation: Orientation) -> Result<Var, ConvertError> {
        let mask = self.channels_first(maker, maker.output)?;
        match orientation {
            Orientation::KeysFirst => Ok(mask),
            Orientation::HeadsFirst => {
                let name = format!("{}_by_head", maker.scope);
                self.emit.transpose(&name, &mask, &[0, 2, 1, 3])
            }
        }
    }

    /// A constant (1, heads or 1, queries, keys).
    fn constant_term(
        &mut self,
        node: &Node,
        id: ValueId,
        orientation: Orientation,
    ) -> Result<Var, ConvertError> {
        let tensor = self.emit.known_weight(node, id)?;
        let [1, heads, queries, keys] = tensor.shape()[..] else {
            let reason = format!("a term of shape {:?} is not (1, heads, S, S)", tensor.shape());
            return Err(fail(node, reason));
        };
        let turned = match orientation {
            Orientation::KeysFirst => tensor
                .reshape(vec![heads * queries, keys])?
                .transpose()?
                .reshape(vec![1, keys, heads, queries])?,
            Orientation::HeadsFirst => keys_before_queries(tensor, [heads, queries, keys])?,
        };
        let name = self.emit.graph.value(id).name.clone();
        Ok(self.emit.weight(&name, turned))
    }
}
