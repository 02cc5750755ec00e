//! Attention in (B, C, 1, S): packed, split, or, where neither could be prepared, batched over heads.

use corer_mil::{Input, Value, Var};

use super::Ane;
use crate::error::ConvertError;
use crate::graph::{AttentionLayout, Node};
use crate::lower::emit::{fail, known_shape};

/// MIL's contraction of channels with width: [n, c, h, w] with [n, w, h, u], equal h acting as a batch (rule O3).
const CONTRACT: &str = "nchw,nwhu->nchu";

/// Queries beyond this many are taken in turns (rule A9).
const QUERY_CHUNK: u64 = 512;

/// Sizes of one attention.
#[derive(Clone, Copy)]
struct Sizes {
    batch: u64,
    heads: u64,
    width: u64,
    queries: u64,
    keys: u64,
}

impl Ane<'_> {
    /// Writes one attention; the result is (B, C, 1, S).
    pub(super) fn attention(
        &mut self,
        node: &Node,
        heads: u64,
        scale: f64,
        layout: AttentionLayout,
    ) -> Result<Var, ConvertError> {
        let query = known_shape(self.emit.graph, node, node.inputs[0])?;
        let key = known_shape(self.emit.graph, node, node.inputs[1])?;
        let [batch, queries, channels] = query[..] else {
            return Err(fail(node, "query must be (B, S, C)"));
        };
        let sizes = Sizes {
            batch,
            heads,
            width: channels / heads,
            queries,
            keys: key[1],
        };
        let q = self.channels_first(node, node.inputs[0])?;
        let k = self.channels_first(node, node.inputs[1])?;
        let v = self.channels_first(node, node.inputs[2])?;
        let mask = match node.inputs.get(3) {
            Some(mask) => Some(self.channels_first_mask(node, *mask)?),
            None => None,
        };
        let form = match layout {
            AttentionLayout::Packed => Form::packed(self, node, sizes, &k, &v)?,
            AttentionLayout::Split => Form::split(self, node, sizes, &k, &v)?,
            AttentionLayout::HeadMajor => Form::batched(self, node, sizes, &k, &v)?,
        };
        let mut chunks = Vec::new();
        for start in (0..queries).step_by(usize::try_from(QUERY_CHUNK).unwrap_or(usize::MAX)) {
            let end = (start + QUERY_CHUNK).min(queries);
            let part = if queries > QUERY_CHUNK {
                self.emit
                    .slice(&format!("{}_queries", node.scope), &q, 3, start, end)?
            } else {
                q.clone()
            };
            let chunk = Sizes {
                queries: end - start,
                ..sizes
            };
            let scores = form.scores(self, node, chunk, &part)?;
            let probabilities = self.probabilities(node, scale, scores, mask.as_ref(), &form, sizes)?;
            chunks.push(form.context(self, node, chunk, &probabilities)?);
        }
        match <[Var; 1]>::try_from(chunks) {
            Ok([whole]) => Ok(whole),
            Err(chunks) => self.emit.concat(&node.scope, chunks, 3),
        }
    }

    /// Scale, where it could not be folded; mask, once; softmax over the keys.
    fn probabilities(
        &mut self,
        node: &Node,
        scale: f64,
        mut scores: Var,
        mask: Option<&Var>,
        form: &Form,
        sizes: Sizes,
    ) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        if scale != 1.0 {
            #[allow(clippy::cast_possible_truncation)] // rounding to the working precision is meant
            let factor = self.emit.scalar(scale as f32);
            scores = self
                .emit
                .binary("mul", &format!("{scope}_scaled"), &scores, factor)?;
        }
        if let Some(mask) = mask {
            let mask = match form {
                Form::Batched { .. } => {
                    let shape = [sizes.batch, 1, sizes.keys, 1];
                    self.emit.reshape(&format!("{scope}_mask"), mask, &shape)?
                }
                _ => mask.clone(),
            };
            scores = self
                .emit
                .binary("add", &format!("{scope}_masked"), &scores, &mask)?;
        }
        let axis = if matches!(form, Form::Batched { .. }) {
            2
        } else {
            1
        };
        self.emit
            .softmax(&format!("{scope}_probabilities"), &scores, axis)
    }

    /// The additive mask as (B, keys, 1, 1).
    fn channels_first_mask(&mut self, node: &Node, id: crate::graph::ValueId) -> Result<Var, ConvertError> {
        let lifted = self.forms.get(&id).and_then(|forms| forms.channels_first.clone());
        lifted.ok_or_else(|| fail(node, "its mask is not a padding mask"))
    }

    fn einsum(&mut self, name: &str, left: &Var, right: &Var) -> Result<Var, ConvertError> {
        let inputs = vec![
            ("values", Input::Vars(vec![left.clone(), right.clone()])),
            ("equation", Value::string(CONTRACT).into()),
        ];
        self.emit.op("einsum", name, inputs)
    }

    /// Cuts one axis into equal parts.
    fn cut(&mut self, name: &str, x: &Var, parts: u64, axis: i32) -> Result<Vec<Var>, ConvertError> {
        let inputs = vec![
            ("x", Input::from(x)),
            (
                "num_splits",
                Value::i32(i32::try_from(parts).unwrap_or(i32::MAX)).into(),
            ),
            ("axis", Value::i32(axis).into()),
        ];
        Ok(self.emit.builder.ops("split", name, inputs)?)
    }
}

/// Key and value prepared once per layer, in the form the scores are computed in.
enum Form {
    /// Key (B, S, heads, d), value (B, d, heads, S); scores (B, keys, heads, queries).
    Packed { key: Var, value: Var },
    /// Per head: key (B, S, 1, d), value (B, d, 1, S); scores joined to (B, keys, heads, queries).
    Split { keys: Vec<Var>, values: Vec<Var> },
    /// Key and value (B, heads, d, S); scores (B, heads, keys, queries).
    Batched { key: Var, value: Var },
}

impl Form {
    fn packed(ane: &mut Ane<'_>, node: &Node, s: Sizes, k: &Var, v: &Var) -> Result<Self, ConvertError> {
        let scope = &node.scope;
        let shape = [s.batch, s.width, s.heads, s.keys];
        let key = ane.emit.reshape(&format!("{scope}_key_heads"), k, &shape)?;
        let key = ane
            .emit
            .transpose(&format!("{scope}_key_transposed"), &key, &[0, 3, 2, 1])?;
        let value = ane.emit.reshape(&format!("{scope}_value_heads"), v, &shape)?;
        Ok(Self::Packed { key, value })
    }

    fn split(ane: &mut Ane<'_>, node: &Node, s: Sizes, k: &Var, v: &Var) -> Result<Self, ConvertError> {
        let scope = &node.scope;
        let key = ane.emit.reshape(
            &format!("{scope}_key_heads"),
            k,
            &[s.batch, s.width, s.heads, s.keys],
        )?;
        let key = ane
            .emit
            .transpose(&format!("{scope}_key_transposed"), &key, &[0, 3, 2, 1])?;
        let keys = ane.cut(&format!("{scope}_key_head"), &key, s.heads, 2)?;
        let values = ane.cut(&format!("{scope}_value_head"), v, s.heads, 1)?;
        Ok(Self::Split { keys, values })
    }

    fn batched(ane: &mut Ane<'_>, node: &Node, s: Sizes, k: &Var, v: &Var) -> Result<Self, ConvertError> {
        let shape = [s.batch, s.heads, s.width, s.keys];
        let key = ane
            .emit
            .reshape(&format!("{}_key_heads", node.scope), k, &shape)?;
        let value = ane
            .emit
            .reshape(&format!("{}_value_heads", node.scope), v, &shape)?;
        Ok(Self::Batched { key, value })
    }

    fn scores(&self, ane: &mut Ane<'_>, node: &Node, s: Sizes, q: &Var) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        match self {
            Self::Packed { key, .. } => {
                let shape = [s.batch, s.width, s.heads, s.queries];
                let query = ane.emit.reshape(&format!("{scope}_query_heads"), q, &shape)?;
                ane.einsum(&format!("{scope}_scores"), key, &query)
            }
            Self::Split { keys, .. } => {
                let queries = ane.cut(&format!("{scope}_query_head"), q, s.heads, 1)?;
                let mut scores = Vec::with_capacity(keys.len());
                for (key, query) in keys.iter().zip(&queries) {
                    scores.push(ane.einsum(&format!("{scope}_head_scores"), key, query)?);
                }
                ane.emit.concat(&format!("{scope}_scores"), scores, 2)
            }
            Self::Batched { key, .. } => {
                let shape = [s.batch, s.heads, s.width, s.queries];
                let query = ane.emit.reshape(&format!("{scope}_query_heads"), q, &shape)?;
                ane.emit
                    .matmul(&format!("{scope}_scores"), (key, true), (&query, false))
            }
        }
    }

    fn context(&self, ane: &mut Ane<'_>, node: &Node, s: Sizes, p: &Var) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let merged = [s.batch, s.heads * s.width, 1, s.queries];
        match self {
            Self::Packed { value, .. } => {
                let context = ane.einsum(&format!("{scope}_context"), value, p)?;
                ane.emit.reshape(scope, &context, &merged)
            }
            Self::Split { values, .. } => {
                let parts = ane.cut(&format!("{scope}_head_probabilities"), p, s.heads, 2)?;
                let mut contexts = Vec::with_capacity(values.len());
                for (value, part) in values.iter().zip(&parts) {
                    contexts.push(ane.einsum(&format!("{scope}_head_context"), value, part)?);
                }
                ane.emit.concat(scope, contexts, 1)
            }
            Self::Batched { value, .. } => {
                let context = ane
                    .emit
                    .matmul(&format!("{scope}_context"), (value, false), (p, false))?;
                ane.emit.reshape(scope, &context, &merged)
            }
        }
    }
}
