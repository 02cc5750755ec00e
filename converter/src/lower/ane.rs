//! The `ane` layout: activations (B, C, 1, S) from the embeddings to the head (rule L1).
//!
//! Lookups, and the adds between them, stay (B, S, C) on the CPU's side; one transpose leads into the layout
//! (rule L5) and one leads out per output. Dense layers are 1×1 convolutions (L2), norms are `layer_norm` over
//! axis 1 (L7), softmax runs over axis 1 (L6).

mod attention;
mod positions;
mod terms;

use std::collections::{HashMap, HashSet};

use corer_mil::{Dim, Function, Var};

use super::Classifier;
use super::emit::{Emit, fail, is_weight, known_shape, position};
use crate::error::ConvertError;
use crate::graph::{Def, Graph, Kind, Node, Op, PoolKind, ValueId};
use terms::Orientation;

/// The forms a value has been written in so far.
#[derive(Clone, Default)]
struct Forms {
    /// As the graph shapes it.
    plain: Option<Var>,
    /// (B, S, C) as (B, C, 1, S), (B, C) as (B, C, 1, 1).
    channels_first: Option<Var>,
}

pub(super) struct Ane<'a> {
    emit: Emit<'a>,
    forms: HashMap<ValueId, Forms>,
    /// Terms of scores written so far, by how the scores lie.
    terms: HashMap<(ValueId, Orientation), Var>,
}

/// Writes the graph in this layout.
pub(super) fn lower(emit: Emit<'_>, classifier: Option<&Classifier>) -> Result<Function, ConvertError> {
    let graph = emit.graph;
    let mut ane = Ane {
        emit,
        forms: HashMap::new(),
        terms: HashMap::new(),
    };
    for id in &graph.inputs {
        let plain = ane.emit.input(*id);
        ane.forms.insert(
            *id,
            Forms {
                plain,
                channels_first: None,
            },
        );
    }
    // The prefix first: whatever turns integers into floats stands together (rule D8).
    let prefix = prefix(graph);
    let (first, rest): (Vec<_>, Vec<_>) = graph.nodes.iter().partition(|node| prefix.contains(&node.output));
    for node in first.into_iter().chain(rest) {
        ane.node(node)?;
    }
    let mut outputs = Vec::with_capacity(graph.outputs.len());
    for (name, id) in &graph.outputs {
        outputs.push((name.clone(), ane.output(name, *id)?));
    }
    ane.emit.finish(outputs, classifier)
}

/// Results of the nodes that integers and constants alone decide: lookups, masks, and what their indices are computed
/// from.
fn prefix(graph: &Graph) -> HashSet<ValueId> {
    let mut found = HashSet::new();
    for node in &graph.nodes {
        let whole = |id: &ValueId| graph.value(*id).kind != Kind::Float;
        let early = |id: &ValueId| match graph.value(*id).def {
            Def::Input => whole(id),
            Def::Weight(_) | Def::Ints(_) => true,
            Def::Node => whole(id) && found.contains(id),
        };
        if node.inputs.iter().any(whole) && node.inputs.iter().all(early) {
            found.insert(node.output);
        }
    }
    found
}

impl Ane<'_> {
    fn node(&mut self, node: &Node) -> Result<(), ConvertError> {
        if terms::is_term(self.emit.graph, node) {
            // Written where attention takes it, as its scores lie there.
            return Ok(());
        }
        let (plain, var) = match &node.op {
            Op::Embedding => {
                let indices = self.plain(node, node.inputs[1])?;
                (true, self.emit.gather(node, &indices)?)
            }
            Op::PaddingMask => (false, self.emit.additive_mask(node, &[2, 3])?),
            Op::Linear if self.has_place(node.inputs[0]) => (false, self.convolution(node)?),
            Op::Linear => {
                let x = self.plain(node, node.inputs[0])?;
                (true, self.emit.linear(node, &x)?)
            }
            Op::PositionIds { padding } => {
                let ids = self.plain(node, node.inputs[0])?;
                (true, self.emit.position_ids(node, &ids, *padding)?)
            }
            Op::MaskTokens => {
                let x = self.channels_first(node, node.inputs[0])?;
                (false, self.emit.mask_tokens(node, &x, &[1, 2])?)
            }
            Op::TokenConvolution { groups } => {
                let x = self.channels_first(node, node.inputs[0])?;
                let shape = known_shape(self.emit.graph, node, node.inputs[1])?;
                let kernel = vec![shape[0], shape[1], 1, shape[2]];
                (
                    false,
                    self.emit.convolution(node, &node.scope, &x, kernel, *groups)?,
                )
            }
            Op::Rotary { heads, layout } => (false, self.rotary(node, *heads, *layout)?),
            Op::LayerNorm { epsilon } if self.has_place(node.inputs[0]) => {
                let x = self.channels_first(node, node.inputs[0])?;
                (false, self.emit.layer_norm(node, &x, 1, *epsilon)?)
            }
            Op::LayerNorm { epsilon } => {
                let x = self.plain(node, node.inputs[0])?;
                (true, self.emit.layer_norm(node, &x, -1, *epsilon)?)
            }
            Op::Attention { heads, scale, layout } => (false, self.attention(node, *heads, *scale, *layout)?),
            Op::Select { dim, index } => self.select(node, *dim, *index)?,
            Op::Slice { dim, start, end } => self.cut_positions(node, *dim, *start, *end)?,
            Op::Pool(kind) => (false, self.pool(node, *kind)?),
            Op::Normalize { epsilon } => {
                let x = self.channels_first(node, node.inputs[0])?;
                (false, self.emit.normalize(node, &x, 1, *epsilon)?)
            }
            Op::Concat(dim) => self.join(node, *dim)?,
            op if elementwise(op) => self.elementwise(node)?,
            _ => (true, self.written_plainly(node)?),
        };
        let forms = self.forms.entry(node.output).or_default();
        if plain {
            forms.plain = Some(var);
        } else {
            forms.channels_first = Some(var);
        }
        Ok(())
    }

    /// Elementwise operations: plain while all sides still are, in the layout when all have a place in it.
    fn elementwise(&mut self, node: &Node) -> Result<(bool, Var), ConvertError> {
        let still_plain = |id: &ValueId| {
            self.forms
                .get(id)
                .is_some_and(|forms| forms.plain.is_some() && forms.channels_first.is_none())
        };
        if node.inputs.iter().all(still_plain) || !self.side_by_side(node) {
            return Ok((true, self.written_plainly(node)?));
        }
        let mut sides = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            sides.push(self.channels_first(node, *id)?);
        }
        Ok((false, self.emit.plain(node, &sides)?))
    }

    /// Whether all arguments turn into the layout so that they still broadcast as they did: they have the result's
    /// rank, or are one value per channel, or one value.
    fn side_by_side(&self, node: &Node) -> bool {
        let graph = self.emit.graph;
        let rank = graph.shape(node.output).len();
        matches!(rank, 2 | 3)
            && node.inputs.iter().all(|id| {
                let shape = graph.shape(*id);
                let known = is_weight(graph, *id);
                // Only whole constants are turned on their way to disk.
                let turned = shape.len() == rank && (!known || rank == 2 || shape[0].known() == Some(1));
                graph.value(*id).kind != Kind::Int && (turned || (known && shape.len() <= 1))
            })
    }

    /// Whether a value has a place in the layout: (B, S, C) and (B, C) have.
    fn has_place(&self, id: ValueId) -> bool {
        matches!(self.emit.graph.shape(id).len(), 2 | 3)
    }

    /// What the layout has no form for, on values as the graph shapes them.
    fn written_plainly(&mut self, node: &Node) -> Result<Var, ConvertError> {
        let mut args = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            args.push(self.plain(node, *id)?);
        }
        self.emit.plain(node, &args)
    }

    /// Where a dimension of (B, S, C) or (B, C) lies in the layout; `None` for others.
    fn place_of(&self, node: &Node, dim: i64) -> Option<usize> {
        let rank = self.emit.graph.shape(node.inputs[0]).len();
        let dim = corer_mil::ops::normalize_axis(dim, rank).ok()?;
        match (rank, dim) {
            (3, 1) => Some(3),
            (3, 2) | (2, 1) => Some(1),
            _ => None,
        }
    }

    /// Whether a value is in the layout already, and so better used there.
    fn is_inside(&self, id: ValueId) -> bool {
        self.forms
            .get(&id)
            .is_some_and(|forms| forms.channels_first.is_some())
    }

    /// Joins tokens or channels in the layout when any part is there already.
    fn join(&mut self, node: &Node, dim: i64) -> Result<(bool, Var), ConvertError> {
        let inside = node.inputs.iter().any(|id| self.is_inside(*id));
        let Some(axis) = self
            .place_of(node, dim)
            .filter(|_| inside && self.side_by_side(node))
        else {
            return Ok((true, self.written_plainly(node)?));
        };
        let mut parts = Vec::with_capacity(node.inputs.len());
        for id in &node.inputs {
            parts.push(self.channels_first(node, *id)?);
        }
        let axis = i32::try_from(axis).unwrap_or(i32::MAX);
        Ok((false, self.emit.concat(&node.scope, parts, axis)?))
    }

    /// Cuts tokens or channels in the layout.
    fn cut_positions(
        &mut self,
        node: &Node,
        dim: i64,
        start: u64,
        end: u64,
    ) -> Result<(bool, Var), ConvertError> {
        // A table of positions is turned on its way to disk like one that is not cut, and cut from its very start.
        let table = start == 0
            && is_weight(self.emit.graph, node.inputs[0])
            && matches!(self.emit.graph.shape(node.inputs[0]), [Dim::Known(1), _, _]);
        match self
            .place_of(node, dim)
            .filter(|_| table || self.is_inside(node.inputs[0]))
        {
            Some(axis) => {
                let x = self.channels_first(node, node.inputs[0])?;
                Ok((false, self.emit.slice(&node.scope, &x, axis, start, end)?))
            }
            None => Ok((true, self.written_plainly(node)?)),
        }
    }

    /// A dense layer as a 1×1 convolution (rule L2); scale factors of its rows are per output channel.
    fn convolution(&mut self, node: &Node) -> Result<Var, ConvertError> {
        let x = self.channels_first(node, node.inputs[0])?;
        let shape = known_shape(self.emit.graph, node, node.inputs[1])?;
        self.emit
            .convolution(node, &node.scope, &x, vec![shape[0], shape[1], 1, 1], 1)
    }

    /// Pools (B, C, 1, S) to (B, C, 1, 1).
    fn pool(&mut self, node: &Node, kind: PoolKind) -> Result<Var, ConvertError> {
        let x = self.channels_first(node, node.inputs[0])?;
        if kind == PoolKind::Cls {
            return self.emit.slice(&node.scope, &x, 3, 0, 1);
        }
        self.emit.pool(node, &node.scope, kind, &x, (&[1, 2], 3))
    }

    /// One token's channels, or one channel of all tokens.
    fn select(&mut self, node: &Node, dim: i64, index: i64) -> Result<(bool, Var), ConvertError> {
        let ([_, tokens, channels], true) = (
            self.emit.graph.shape(node.inputs[0]),
            self.is_inside(node.inputs[0]),
        ) else {
            return Ok((true, self.written_plainly(node)?));
        };
        let (tokens, channels) = (*tokens, *channels);
        let x = self.channels_first(node, node.inputs[0])?;
        match dim {
            1 | -2 => {
                let at = position(node, index, tokens)?;
                Ok((false, self.emit.slice(&node.scope, &x, 3, at, at + 1)?))
            }
            2 | -1 => {
                let at = position(node, index, channels)?;
                let channel = self
                    .emit
                    .slice(&format!("{}_channel", node.scope), &x, 1, at, at + 1)?;
                Ok((true, self.emit.squeeze(&node.scope, &channel, &[1, 2])?))
            }
            _ => Ok((true, self.written_plainly(node)?)),
        }
    }

    /// The value as the graph shapes it.
    fn plain(&mut self, node: &Node, id: ValueId) -> Result<Var, ConvertError> {
        match self.forms.get(&id) {
            Some(Forms { plain: Some(var), .. }) => Ok(var.clone()),
            Some(_) => {
                let name = self.emit.graph.value(id).name.clone();
                self.leave(&name, id)
            }
            None => self.emit.constant(node, id),
        }
    }

    /// The value in this layout.
    fn channels_first(&mut self, node: &Node, id: ValueId) -> Result<Var, ConvertError> {
        if let Some(Forms {
            channels_first: Some(var),
            ..
        }) = self.forms.get(&id)
        {
            return Ok(var.clone());
        }
        let name = self.emit.graph.value(id).name.clone();
        let var = if is_weight(self.emit.graph, id) {
            let shape = known_shape(self.emit.graph, node, id)?;
            // Turned on its way to disk, not at prediction.
            let tensor = self.emit.known_weight(node, id)?;
            let turned = match shape[..] {
                [1, tokens, channels] => tensor
                    .reshape(vec![tokens, channels])?
                    .transpose()?
                    .reshape(vec![1, channels, 1, tokens])?,
                [batch, channels] => tensor.reshape(vec![batch, channels, 1, 1])?,
                [channels] => tensor.reshape(vec![1, channels, 1, 1])?,
                [] => tensor.reshape(vec![1, 1, 1, 1])?,
                _ => {
                    return Err(fail(
                        node,
                        format!("a constant of shape {shape:?} has no place in the layout"),
                    ));
                }
            };
            self.emit.weight(&name, turned)
        } else {
            let plain = self.plain(node, id)?;
            match self.emit.graph.shape(id).len() {
                3 => {
                    let turned =
                        self.emit
                            .transpose(&format!("{name}_channels_first"), &plain, &[0, 2, 1])?;
                    self.emit.expand(&format!("{name}_bc1s"), &turned, &[2])?
                }
                2 => self.emit.expand(&format!("{name}_bc1s"), &plain, &[2, 3])?,
                rank => return Err(fail(node, format!("rank {rank} has no place in the layout"))),
            }
        };
        self.forms.entry(id).or_default().channels_first = Some(var.clone());
        Ok(var)
    }

    /// Leaves the layout: (B, C, 1, S) to (B, S, C), (B, C, 1, 1) to (B, C).
    fn leave(&mut self, name: &str, id: ValueId) -> Result<Var, ConvertError> {
        let Some(inside) = self.forms.get(&id).and_then(|forms| forms.channels_first.clone()) else {
            return Err(ConvertError::Lowering {
                scope: name.into(),
                op: "output".into(),
                reason: "was never written".into(),
            });
        };
        let shape = &self.emit.graph.value(id).shape;
        let var = if let [_, Dim::Known(1), Dim::Known(1), _] = shape[..] {
            // An additive mask, (B, keys, 1, 1) in the layout.
            self.emit.reshape(&format!("{name}_b11s"), &inside, shape)?
        } else if shape.len() == 3 {
            let squeezed = self.emit.squeeze(&format!("{name}_bcs"), &inside, &[2])?;
            self.emit
                .transpose(&format!("{name}_bsc"), &squeezed, &[0, 2, 1])?
        } else {
            self.emit.squeeze(&format!("{name}_bc"), &inside, &[2, 3])?
        };
        self.forms.entry(id).or_default().plain = Some(var.clone());
        Ok(var)
    }

    /// An output of the function.
    fn output(&mut self, name: &str, id: ValueId) -> Result<Var, ConvertError> {
        match self.forms.get(&id) {
            Some(Forms { plain: Some(var), .. }) => Ok(var.clone()),
            _ => self.leave(name, id),
        }
    }
}

/// Whether an operation treats every element alike, so that it can be written in either form.
const fn elementwise(op: &Op) -> bool {
    op.is_elementwise() || matches!(op, Op::Gelu { .. } | Op::Tanh | Op::Relu | Op::Silu | Op::Sigmoid)
}
