//! The `standard` layout: activations (B, S, C), `linear` and `matmul`, fused attention where the opset has it.

use std::collections::HashMap;

use corer_mil::{Dim, Function, Input, Opset, Var};

use super::Classifier;
use super::emit::{Emit, fail, known_shape};
use super::tables::{ByHead, angles, relative_table};
use crate::error::ConvertError;
use crate::graph::{AttentionLayout, Node, Op, PoolKind, ScoreSide, ValueId};

struct Standard<'a> {
    emit: Emit<'a>,
    vars: HashMap<ValueId, Var>,
}

/// Writes the graph in this layout.
pub(super) fn lower(emit: Emit<'_>, classifier: Option<&Classifier>) -> Result<Function, ConvertError> {
    let graph = emit.graph;
    let mut standard = Standard {
        emit,
        vars: HashMap::new(),
    };
    for id in &graph.inputs {
        if let Some(var) = standard.emit.input(*id) {
            standard.vars.insert(*id, var);
        }
    }
    for node in &graph.nodes {
        let var = standard.node(node)?;
        standard.vars.insert(node.output, var);
    }
    let outputs = graph
        .outputs
        .iter()
        .map(|(name, id)| {
            let var = standard
                .vars
                .get(id)
                .cloned()
                .ok_or_else(|| ConvertError::Lowering {
                    scope: name.clone(),
                    op: "output".into(),
                    reason: "was never written".into(),
                })?;
            Ok((name.clone(), var))
        })
        .collect::<Result<Vec<_>, ConvertError>>()?;
    standard.emit.finish(outputs, classifier)
}

impl Standard<'_> {
    fn node(&mut self, node: &Node) -> Result<Var, ConvertError> {
        match &node.op {
            Op::Embedding => {
                let indices = self.var(node, node.inputs[1])?;
                self.emit.gather(node, &indices)
            }
            Op::PaddingMask => self.emit.additive_mask(node, &[1, 2]),
            Op::Linear => {
                let x = self.var(node, node.inputs[0])?;
                self.emit.linear(node, &x)
            }
            Op::LayerNorm { epsilon } => {
                let x = self.var(node, node.inputs[0])?;
                self.emit.layer_norm(node, &x, -1, *epsilon)
            }
            Op::PositionIds { padding } => {
                let ids = self.var(node, node.inputs[0])?;
                self.emit.position_ids(node, &ids, *padding)
            }
            Op::MaskTokens => {
                let x = self.var(node, node.inputs[0])?;
                self.emit.mask_tokens(node, &x, &[2])
            }
            Op::TokenConvolution { groups } => self.token_convolution(node, *groups),
            Op::Rotary {
                heads,
                layout: AttentionLayout::HeadMajor,
            } => self.rotary(node, *heads),
            Op::RelativeScores {
                heads,
                layout: AttentionLayout::HeadMajor,
                of,
            } => self.relative_scores(node, *heads, *of),
            Op::Attention {
                heads,
                scale,
                layout: AttentionLayout::HeadMajor,
            } => self.attention(node, *heads, *scale),
            Op::Pool(kind) => self.pool(node, *kind),
            Op::Normalize { epsilon } => {
                let x = self.var(node, node.inputs[0])?;
                self.emit.normalize(node, &x, -1, *epsilon)
            }
            _ => {
                let args = node
                    .inputs
                    .iter()
                    .map(|id| self.var(node, *id))
                    .collect::<Result<Vec<_>, _>>()?;
                self.emit.plain(node, &args)
            }
        }
    }

    /// Attention on (B, heads, S, d); one fused op from iOS 18 on when the scale is the op's own 1/√d.
    fn attention(&mut self, node: &Node, heads: u64, scale: f64) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let [.., channels] = self.emit.graph.shape(node.inputs[0])[..] else {
            return Err(fail(node, "query must be (B, S, C)"));
        };
        let channels = channels.known().ok_or_else(|| fail(node, "has no fixed width"))?;
        let width = channels / heads;
        let mut parts = Vec::with_capacity(3);
        for (id, name) in [
            (node.inputs[0], "query"),
            (node.inputs[1], "key"),
            (node.inputs[2], "value"),
        ] {
            let x = self.var(node, id)?;
            parts.push(self.split_heads(&format!("{scope}_{name}"), &x, heads, width)?);
        }
        let mut terms = Vec::with_capacity(node.inputs.len() - 3);
        for term in &node.inputs[3..] {
            terms.push(self.var(node, *term)?);
        }
        #[allow(clippy::cast_precision_loss)] // head widths are small
        let own_scale = (scale * (width as f64).sqrt() - 1.0).abs() < 1e-9;
        let context = if self.emit.settings.opset >= Opset::CoreMl8 && own_scale && terms.len() <= 1 {
            let mut inputs: Vec<(&str, Input)> = ["query", "key", "value"]
                .into_iter()
                .zip(parts.iter().map(Input::from))
                .collect();
            if let Some(mask) = terms.first() {
                inputs.push(("attn_mask", mask.into()));
            }
            self.emit.op(
                "scaled_dot_product_attention",
                &format!("{scope}_context"),
                inputs,
            )?
        } else {
            self.decomposed(node, scale, &parts, &terms)?
        };
        self.merge_heads(scope, &context, heads, channels)
    }

    /// (B, S, C) as (B, heads, S, width).
    fn split_heads(&mut self, name: &str, x: &Var, heads: u64, width: u64) -> Result<Var, ConvertError> {
        if let [batch, tokens, _] = x.tensor().shape[..]
            && batch.known().or(tokens.known()).is_some()
        {
            let shape = [batch, tokens, Dim::Known(heads), Dim::Known(width)];
            let viewed = self.emit.reshape(&format!("{name}_heads"), x, &shape)?;
            return self
                .emit
                .transpose(&format!("{name}_transposed"), &viewed, &[0, 2, 1, 3]);
        }
        let deep = self.emit.expand(&format!("{name}_rank4"), x, &[1])?;
        self.emit
            .move_heads(&format!("{name}_heads"), &deep, heads, (3, 1))
    }

    /// (B, heads, S, width) as (B, S, C).
    fn merge_heads(&mut self, name: &str, x: &Var, heads: u64, channels: u64) -> Result<Var, ConvertError> {
        if let [batch, _, tokens, _] = x.tensor().shape[..]
            && batch.known().or(tokens.known()).is_some()
        {
            let turned = self.emit.transpose(&format!("{name}_merged"), x, &[0, 2, 1, 3])?;
            return self
                .emit
                .reshape(name, &turned, &[batch, tokens, Dim::Known(channels)]);
        }
        let joined = self
            .emit
            .move_heads(&format!("{name}_merged"), x, heads, (1, 3))?;
        self.emit.squeeze(name, &joined, &[1])
    }

    /// Softmax((Q·scale)·Kᵀ + terms)·V; the scale before the product, where fp16 is still wide (rule N11).
    fn decomposed(
        &mut self,
        node: &Node,
        scale: f64,
        parts: &[Var],
        terms: &[Var],
    ) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        #[allow(clippy::cast_possible_truncation)] // rounding to the working precision is meant
        let factor = self.emit.scalar(scale as f32);
        let query = self
            .emit
            .binary("mul", &format!("{scope}_query_scaled"), &parts[0], factor)?;
        let mut scores = self
            .emit
            .matmul(&format!("{scope}_scores"), (&query, false), (&parts[1], true))?;
        for term in terms {
            scores = self
                .emit
                .binary("add", &format!("{scope}_masked"), &scores, term)?;
        }
        let probabilities = self
            .emit
            .softmax(&format!("{scope}_probabilities"), &scores, -1)?;
        self.emit.matmul(
            &format!("{scope}_context"),
            (&probabilities, false),
            (&parts[2], false),
        )
    }

    /// Between two transposes: MIL convolves along its last axes.
    fn token_convolution(&mut self, node: &Node, groups: u64) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let x = self.var(node, node.inputs[0])?;
        let x = self
            .emit
            .transpose(&format!("{scope}_channels_first"), &x, &[0, 2, 1])?;
        let shape = known_shape(self.emit.graph, node, node.inputs[1])?;
        let name = format!("{scope}_convolved");
        let convolved = self.emit.convolution(node, &name, &x, shape, groups)?;
        self.emit.transpose(scope, &convolved, &[0, 2, 1])
    }

    /// Rotary positions on (B, S, heads, d), tables (1, S, 1, d).
    fn rotary(&mut self, node: &Node, heads: u64) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let sides = ByHead::of(self.emit.graph, node, heads)?;
        let (tokens, width) = (sides.tokens, sides.width);
        let x = self.var(node, node.inputs[0])?;
        let viewed = sides.shape([tokens, heads, width]);
        let viewed = self.emit.reshape(&format!("{scope}_heads"), &x, &viewed)?;
        let tables = angles(node, &mut self.emit, |table| {
            Ok(table.transpose()?.reshape(vec![1, tokens, 1, width])?)
        })?;
        let turned = self
            .emit
            .rotary(&format!("{scope}_turned"), &viewed, 3, &tables.0, &tables.1)?;
        let merged = [sides.batch, Dim::Known(tokens), Dim::Known(heads * width)];
        self.emit.reshape(scope, &turned, &merged)
    }

    /// Scores against relative positions, (B, heads, queries, keys).
    fn relative_scores(&mut self, node: &Node, heads: u64, of: ScoreSide) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let sides = ByHead::of(self.emit.graph, node, heads)?;
        let (tokens, width) = (sides.tokens, sides.width);
        let x = self.var(node, node.inputs[0])?;
        let viewed = sides.shape([tokens, heads, width]);
        let viewed = self.emit.reshape(&format!("{scope}_heads"), &x, &viewed)?;
        let viewed = self
            .emit
            .transpose(&format!("{scope}_transposed"), &viewed, &[0, 2, 1, 3])?;
        let table = relative_table(&self.emit, node, [heads, width, tokens])?;
        let name = self.emit.graph.value(node.inputs[1]).name.clone();
        let table = self.emit.weight(&name, table);
        let product = self
            .emit
            .matmul(&format!("{scope}_products"), (&viewed, false), (&table, false))?;
        let scores = self
            .emit
            .relative_shift(scope, &product, (sides.batch, heads, tokens))?;
        match of {
            ScoreSide::Query => Ok(scores),
            ScoreSide::Key => self
                .emit
                .transpose(&format!("{scope}_by_query"), &scores, &[0, 1, 3, 2]),
        }
    }

    /// Pools (B, S, C) to (B, C).
    fn pool(&mut self, node: &Node, kind: PoolKind) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        if kind == PoolKind::Cls {
            let x = self.var(node, node.inputs[0])?;
            let first = self.emit.slice(&format!("{scope}_kept"), &x, 1, 0, 1)?;
            return self.emit.squeeze(scope, &first, &[1]);
        }
        let x = self.var(node, node.inputs[0])?;
        let name = format!("{scope}_pooled");
        let pooled = self.emit.pool(node, &name, kind, &x, (&[2], 1))?;
        self.emit.squeeze(scope, &pooled, &[1])
    }

    /// The variable of a graph value; a constant becomes a `const` where it is used.
    fn var(&mut self, node: &Node, id: ValueId) -> Result<Var, ConvertError> {
        match self.vars.get(&id) {
            Some(var) => Ok(var.clone()),
            None => self.emit.constant(node, id),
        }
    }
}
