//! Attention in (B, C, 1, S): packed, split, or, where neither could be prepared, batched over heads.

use corer_mil::{Dim, Input, Value, Var};

use super::Ane;
use super::terms::Orientation;
use crate::error::ConvertError;
use crate::graph::{AttentionLayout, Node};
use crate::lower::emit::fail;

/// MIL's contraction of channels with width: [n, c, h, w] with [n, w, h, u], equal h acting as a batch (rule O3).
const CONTRACT: &str = "nchw,nwhu->nchu";

/// Queries beyond this many are taken in turns (rule A9).
const QUERY_CHUNK: u64 = 512;

/// Sizes of one attention.
#[derive(Clone, Copy)]
struct Sizes {
    batch: Dim,
    heads: u64,
    width: u64,
    queries: Dim,
    keys: Dim,
}

impl Sizes {
    /// Channels interleaved: (B, d, heads, S).
    fn interleaved(self, tokens: Dim) -> [Dim; 4] {
        [self.batch, Dim::Known(self.width), Dim::Known(self.heads), tokens]
    }

    /// All channels: (B, C, 1, S).
    fn merged(self, tokens: Dim) -> [Dim; 4] {
        let channels = Dim::Known(self.heads * self.width);
        [self.batch, channels, Dim::Known(1), tokens]
    }

    /// Channels head-major: (B, heads, d, S).
    fn head_major(self, tokens: Dim) -> [Dim; 4] {
        [self.batch, Dim::Known(self.heads), Dim::Known(self.width), tokens]
    }
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
        let (query, key) = (
            self.emit.graph.shape(node.inputs[0]),
            self.emit.graph.shape(node.inputs[1]),
        );
        let (&[batch, queries, Dim::Known(channels)], &[_, keys, _]) = (query, key) else {
            return Err(fail(node, "query and key must be (B, S, C)"));
        };
        let sizes = Sizes {
            batch,
            heads,
            width: channels / heads,
            queries,
            keys,
        };
        let q = self.channels_first(node, node.inputs[0])?;
        let k = self.channels_first(node, node.inputs[1])?;
        let v = self.channels_first(node, node.inputs[2])?;
        let form = match layout {
            AttentionLayout::Packed => Form::packed(self, node, sizes, &k, &v)?,
            AttentionLayout::Split => Form::split(self, node, sizes, &k, &v)?,
            AttentionLayout::SplitInterleaved => Form::split_interleaved(self, node, sizes, &k, &v)?,
            AttentionLayout::HeadMajor => Form::batched(self, node, sizes, &k, &v)?,
        };
        let mut terms = Vec::with_capacity(node.inputs.len() - 3);
        for id in &node.inputs[3..] {
            terms.push(self.term(node, *id, form.orientation())?);
        }
        let mut chunks = Vec::new();
        for (start, end) in chunks_of(queries) {
            let (part, queries) = match end {
                Some(end) => {
                    let name = format!("{}_queries", node.scope);
                    (
                        self.emit.slice(&name, &q, 3, start, end)?,
                        Dim::Known(end - start),
                    )
                }
                None => (q.clone(), queries),
            };
            let chunk = Sizes { queries, ..sizes };
            let scores = form.scores(self, node, chunk, &part)?;
            let mut of_chunk = terms.clone();
            if let Some(end) = end {
                // Terms that are alike for all queries broadcast to any of them.
                for term in of_chunk
                    .iter_mut()
                    .filter(|term| term.tensor().shape.last() == Some(&sizes.queries))
                {
                    let name = format!("{}_term_queries", node.scope);
                    *term = self.emit.slice(&name, term, 3, start, end)?;
                }
            }
            let probabilities = self.probabilities(node, scale, scores, &of_chunk, form.orientation())?;
            chunks.push(form.context(self, node, chunk, &probabilities)?);
        }
        match <[Var; 1]>::try_from(chunks) {
            Ok([whole]) => Ok(whole),
            Err(chunks) => self.emit.concat(&node.scope, chunks, 3),
        }
    }

    /// Scale, where it could not be folded; terms; softmax over the keys.
    fn probabilities(
        &mut self,
        node: &Node,
        scale: f64,
        mut scores: Var,
        terms: &[Var],
        orientation: Orientation,
    ) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        if scale != 1.0 {
            #[allow(clippy::cast_possible_truncation)] // rounding to the working precision is meant
            let factor = self.emit.scalar(scale as f32);
            scores = self
                .emit
                .binary("mul", &format!("{scope}_scaled"), &scores, factor)?;
        }
        for term in terms {
            scores = self
                .emit
                .binary("add", &format!("{scope}_masked"), &scores, term)?;
        }
        let axis = match orientation {
            Orientation::KeysFirst => 1,
            Orientation::HeadsFirst => 2,
        };
        self.emit
            .softmax(&format!("{scope}_probabilities"), &scores, axis)
    }

    pub(super) fn einsum(&mut self, name: &str, left: &Var, right: &Var) -> Result<Var, ConvertError> {
        let inputs = vec![
            ("values", Input::Vars(vec![left.clone(), right.clone()])),
            ("equation", Value::string(CONTRACT).into()),
        ];
        self.emit.op("einsum", name, inputs)
    }

    /// Head-major (B, C, 1, S) as (B, heads, d, S).
    fn by_head(&mut self, name: &str, x: &Var, s: Sizes, tokens: Dim) -> Result<Var, ConvertError> {
        if s.batch.known().or(tokens.known()).is_some() {
            return self.emit.reshape(name, x, &s.head_major(tokens));
        }
        let turned = self.emit.transpose(&format!("{name}_turned"), x, &[0, 2, 1, 3])?;
        self.emit.move_heads(name, &turned, s.heads, (2, 1))
    }

    /// And back.
    fn joined_heads(&mut self, name: &str, x: &Var, s: Sizes, tokens: Dim) -> Result<Var, ConvertError> {
        if s.batch.known().or(tokens.known()).is_some() {
            return self.emit.reshape(name, x, &s.merged(tokens));
        }
        let joined = self
            .emit
            .move_heads(&format!("{name}_joined"), x, s.heads, (1, 2))?;
        self.emit.transpose(name, &joined, &[0, 2, 1, 3])
    }
}

/// The queries taken at a time: from, and to where it is not all of them. What is not known can't be cut in advance;
/// chunks save time only.
fn chunks_of(queries: Dim) -> Vec<(u64, Option<u64>)> {
    match queries.known() {
        Some(queries) if queries > QUERY_CHUNK => (0..queries)
            .step_by(usize::try_from(QUERY_CHUNK).unwrap_or(usize::MAX))
            .map(|start| (start, Some((start + QUERY_CHUNK).min(queries))))
            .collect(),
        _ => vec![(0, None)],
    }
}

/// Key and value prepared once per layer, in the form the scores are computed in.
enum Form {
    /// Key (B, S, heads, d), value (B, d, heads, S); scores (B, keys, heads, queries).
    Packed { key: Var, value: Var },
    /// Per head: key (B, S, 1, d), value (B, d, 1, S); scores joined to (B, keys, heads, queries). Where query,
    /// value and result are interleaved too, heads are cut and joined on H instead of the channels.
    Split {
        keys: Vec<Var>,
        values: Vec<Var>,
        interleaved: bool,
    },
    /// Key and value (B, heads, d, S); scores (B, heads, keys, queries).
    Batched { key: Var, value: Var },
}

impl Form {
    const fn orientation(&self) -> Orientation {
        match self {
            Self::Packed { .. } | Self::Split { .. } => Orientation::KeysFirst,
            Self::Batched { .. } => Orientation::HeadsFirst,
        }
    }

    fn packed(ane: &mut Ane<'_>, node: &Node, s: Sizes, k: &Var, v: &Var) -> Result<Self, ConvertError> {
        let key = Self::key(ane, node, s, k)?;
        let name = format!("{}_value_heads", node.scope);
        let value = ane.emit.reshape(&name, v, &s.interleaved(s.keys))?;
        Ok(Self::Packed { key, value })
    }

    fn split(ane: &mut Ane<'_>, node: &Node, s: Sizes, k: &Var, v: &Var) -> Result<Self, ConvertError> {
        let scope = &node.scope;
        let key = Self::key(ane, node, s, k)?;
        let keys = ane.emit.cut(&format!("{scope}_key_head"), &key, s.heads, 2)?;
        let values = ane.emit.cut(&format!("{scope}_value_head"), v, s.heads, 1)?;
        Ok(Self::Split {
            keys,
            values,
            interleaved: false,
        })
    }

    fn split_interleaved(
        ane: &mut Ane<'_>,
        node: &Node,
        s: Sizes,
        k: &Var,
        v: &Var,
    ) -> Result<Self, ConvertError> {
        let Self::Packed { key, value } = Self::packed(ane, node, s, k, v)? else {
            return Err(fail(node, "is not packed"));
        };
        let scope = &node.scope;
        let keys = ane.emit.cut(&format!("{scope}_key_head"), &key, s.heads, 2)?;
        let values = ane.emit.cut(&format!("{scope}_value_head"), &value, s.heads, 2)?;
        Ok(Self::Split {
            keys,
            values,
            interleaved: true,
        })
    }

    fn batched(ane: &mut Ane<'_>, node: &Node, s: Sizes, k: &Var, v: &Var) -> Result<Self, ConvertError> {
        let key = ane.by_head(&format!("{}_key_heads", node.scope), k, s, s.keys)?;
        let value = ane.by_head(&format!("{}_value_heads", node.scope), v, s, s.keys)?;
        Ok(Self::Batched { key, value })
    }

    /// An interleaved key as (B, S, heads, d): the one transpose of a layer.
    fn key(ane: &mut Ane<'_>, node: &Node, s: Sizes, k: &Var) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let key = ane
            .emit
            .reshape(&format!("{scope}_key_heads"), k, &s.interleaved(s.keys))?;
        ane.emit
            .transpose(&format!("{scope}_key_transposed"), &key, &[0, 3, 2, 1])
    }

    fn scores(&self, ane: &mut Ane<'_>, node: &Node, s: Sizes, q: &Var) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let name = format!("{scope}_query_heads");
        match self {
            Self::Packed { key, .. } => {
                let query = ane.emit.reshape(&name, q, &s.interleaved(s.queries))?;
                ane.einsum(&format!("{scope}_scores"), key, &query)
            }
            Self::Split {
                keys, interleaved, ..
            } => {
                let cut = format!("{scope}_query_head");
                let queries = if *interleaved {
                    let query = ane.emit.reshape(&name, q, &s.interleaved(s.queries))?;
                    ane.emit.cut(&cut, &query, s.heads, 2)?
                } else {
                    ane.emit.cut(&cut, q, s.heads, 1)?
                };
                let mut scores = Vec::with_capacity(keys.len());
                for (key, query) in keys.iter().zip(&queries) {
                    scores.push(ane.einsum(&format!("{scope}_head_scores"), key, query)?);
                }
                ane.emit.concat(&format!("{scope}_scores"), scores, 2)
            }
            Self::Batched { key, .. } => {
                let query = ane.by_head(&name, q, s, s.queries)?;
                ane.emit
                    .matmul(&format!("{scope}_scores"), (key, true), (&query, false))
            }
        }
    }

    fn context(&self, ane: &mut Ane<'_>, node: &Node, s: Sizes, p: &Var) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let name = format!("{scope}_context");
        let merged = s.merged(s.queries);
        match self {
            Self::Packed { value, .. } => {
                let context = ane.einsum(&name, value, p)?;
                ane.emit.reshape(scope, &context, &merged)
            }
            Self::Split {
                values, interleaved, ..
            } => {
                let parts = ane
                    .emit
                    .cut(&format!("{scope}_head_probabilities"), p, s.heads, 2)?;
                let mut contexts = Vec::with_capacity(values.len());
                for (value, part) in values.iter().zip(&parts) {
                    contexts.push(ane.einsum(&format!("{scope}_head_context"), value, part)?);
                }
                if !interleaved {
                    return ane.emit.concat(scope, contexts, 1);
                }
                let context = ane.emit.concat(&name, contexts, 2)?;
                ane.emit.reshape(scope, &context, &merged)
            }
            Self::Batched { value, .. } => {
                let context = ane.emit.matmul(&name, (value, false), (p, false))?;
                ane.joined_heads(scope, &context, s, s.queries)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_queries_are_taken_in_turns_where_their_number_is_known() {
        assert_eq!(chunks_of(Dim::Known(512)), [(0, None)]);
        assert_eq!(
            chunks_of(Dim::Known(1025)),
            [(0, Some(512)), (512, Some(1024)), (1024, Some(1025))]
        );
        assert_eq!(chunks_of(Dim::Symbol(1)), [(0, None)]);
    }
}
