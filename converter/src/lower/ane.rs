//! The `ane` layout: activations (B, C, 1, S) from the embeddings to the head (rule L1).
//!
//! Lookups, and the adds between them, stay (B, S, C) on the CPU's side; one transpose leads into the layout
//! (rule L5) and one leads out per output. Dense layers are 1×1 convolutions (L2), norms are `layer_norm` over
//! axis 1 (L7), softmax runs over axis 1 (L6).

mod attention;

use std::collections::HashMap;

use corer_mil::{Function, Input, Value, Var};

use super::Classifier;
use super::emit::{Emit, axis, fail, is_weight, known_shape, position};
use crate::error::ConvertError;
use crate::graph::{Node, Op, PoolKind, ValueId};

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
}

/// Writes the graph in this layout.
pub(super) fn lower(emit: Emit<'_>, classifier: Option<&Classifier>) -> Result<Function, ConvertError> {
    let graph = emit.graph;
    let mut ane = Ane {
        emit,
        forms: HashMap::new(),
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
    let is_prefix = |node: &&Node| matches!(node.op, Op::Embedding | Op::PaddingMask | Op::SliceLike(_));
    for node in graph
        .nodes
        .iter()
        .filter(is_prefix)
        .chain(graph.nodes.iter().filter(|node| !is_prefix(node)))
    {
        ane.node(node)?;
    }
    let mut outputs = Vec::with_capacity(graph.outputs.len());
    for (name, id) in &graph.outputs {
        outputs.push((name.clone(), ane.output(name, *id)?));
    }
    ane.emit.finish(outputs, classifier)
}

impl Ane<'_> {
    fn node(&mut self, node: &Node) -> Result<(), ConvertError> {
        let scope = node.scope.as_str();
        let (plain, var) = match &node.op {
            Op::Embedding => {
                let indices = self.plain(node, node.inputs[1])?;
                (true, self.emit.gather(node, &indices)?)
            }
            Op::PaddingMask => (false, self.emit.additive_mask(node, &[2, 3])?),
            Op::SliceLike(dim) => {
                let (x, like) = (
                    self.plain(node, node.inputs[0])?,
                    self.plain(node, node.inputs[1])?,
                );
                let axis = axis(node, *dim, x.tensor().rank())?;
                (true, self.emit.slice_like(scope, &x, &like, axis)?)
            }
            Op::Add | Op::Mul => self.elementwise(node)?,
            Op::Linear => (false, self.convolution(node)?),
            Op::LayerNorm { epsilon } => {
                let x = self.channels_first(node, node.inputs[0])?;
                (false, self.emit.layer_norm(node, &x, 1, *epsilon)?)
            }
            Op::Attention { heads, scale, layout } => (false, self.attention(node, *heads, *scale, *layout)?),
            Op::Select { dim, index } => self.select(node, *dim, *index)?,
            Op::Pool(kind) => (false, self.pool(node, *kind)?),
            Op::Normalize { epsilon } => {
                let x = self.channels_first(node, node.inputs[0])?;
                (false, self.emit.normalize(node, &x, 1, *epsilon)?)
            }
            Op::Concat(1) => {
                let mut parts = Vec::with_capacity(node.inputs.len());
                for id in &node.inputs {
                    parts.push(self.channels_first(node, *id)?);
                }
                (false, self.emit.concat(scope, parts, 1)?)
            }
            _ => {
                let x = self.channels_first(node, node.inputs[0])?;
                let active = self.emit.activation(node, &x);
                (
                    false,
                    active.unwrap_or_else(|| Err(fail(node, "the ane layout has no form for it here")))?,
                )
            }
        };
        let forms = self.forms.entry(node.output).or_default();
        if plain {
            forms.plain = Some(var);
        } else {
            forms.channels_first = Some(var);
        }
        Ok(())
    }

    /// Adds and products: plain while both sides still are, in the layout otherwise.
    fn elementwise(&mut self, node: &Node) -> Result<(bool, Var), ConvertError> {
        let op = if node.op == Op::Add { "add" } else { "mul" };
        let still_plain = |id: &ValueId| {
            self.forms
                .get(id)
                .is_some_and(|forms| forms.plain.is_some() && forms.channels_first.is_none())
        };
        let plain = node.inputs.iter().all(still_plain);
        let mut sides = Vec::with_capacity(2);
        for id in &node.inputs {
            sides.push(if plain {
                self.plain(node, *id)?
            } else {
                self.channels_first(node, *id)?
            });
        }
        Ok((plain, self.emit.binary(op, &node.scope, &sides[0], &sides[1])?))
    }

    /// A dense layer as a 1×1 convolution (rule L2); scale factors of its rows are per output channel.
    fn convolution(&mut self, node: &Node) -> Result<Var, ConvertError> {
        let x = self.channels_first(node, node.inputs[0])?;
        let shape = known_shape(self.emit.graph, node, node.inputs[1])?;
        let weight = self
            .emit
            .named_weight(node, node.inputs[1], Some(vec![shape[0], shape[1], 1, 1]))?;
        let mut inputs = vec![("x", Input::from(&x)), ("weight", (&weight).into())];
        if let Some(bias) = node.inputs.get(2) {
            let bias = self.emit.named_weight(node, *bias, None)?;
            inputs.push(("bias", (&bias).into()));
        }
        inputs.extend([
            ("strides", Value::i32s(&[1, 1]).into()),
            ("pad_type", Value::string("valid").into()),
            ("pad", Value::i32s(&[0, 0, 0, 0]).into()),
            ("dilations", Value::i32s(&[1, 1]).into()),
            ("groups", Value::i32(1).into()),
        ]);
        self.emit.op("conv", &node.scope, inputs)
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
        let [_, tokens, channels] = self.emit.graph.shape(node.inputs[0])[..] else {
            return Err(fail(node, "selects from (B, S, C) only"));
        };
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
            _ => Err(fail(node, "selects tokens or channels only")),
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
            None => self.emit.named_weight(node, id, None),
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
        let var = if self.emit.graph.shape(id).len() == 3 {
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
