//! The transformer layer of BERT and of most that came after it: attention, add, norm; two dense layers, add, norm.

use super::build::{Build, usual_scale};
use super::config::Activation;
use crate::error::ConvertError;
use crate::graph::ValueId;

/// What the parts of a layer are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    /// The module that attends.
    pub(super) attention: &'static str,
    pub(super) attention_output: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) intermediate: &'static str,
    pub(super) activation: &'static str,
    pub(super) output: &'static str,
    pub(super) output_norm: &'static str,
}

/// As BERT, and RoBERTa and ELECTRA after it, have it.
pub(super) const BERT: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention: "attention.self",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    intermediate: "intermediate.dense",
    activation: "intermediate.intermediate_act_fn",
    output: "output.dense",
    output_norm: "output.LayerNorm",
};

/// What all layers of an encoder have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub(super) names: Names,
    pub(super) width: u64,
    pub(super) heads: u64,
    pub(super) inner: u64,
    pub(super) epsilon: f64,
    pub(super) activation: Activation,
}

impl Layer {
    /// Writes a layer whose parameters are called `scope.…`, `terms` added to its scores.
    pub(super) fn write(
        &self,
        build: &mut Build<'_>,
        scope: &str,
        input: ValueId,
        terms: &[ValueId],
    ) -> Result<ValueId, ConvertError> {
        let scale = usual_scale(self.width, self.heads);
        self.write_with(build, scope, input, scale, |_, _| Ok(terms.to_vec()))
    }

    /// Writes a layer whose terms depend on its own query and key.
    pub(super) fn write_with(
        &self,
        build: &mut Build<'_>,
        scope: &str,
        input: ValueId,
        scale: f64,
        terms: impl FnOnce(&mut Build<'_>, [ValueId; 2]) -> Result<Vec<ValueId>, ConvertError>,
    ) -> Result<ValueId, ConvertError> {
        let (names, width) = (self.names, self.width);
        let name = |part: &str| format!("{scope}.{part}");
        let square = (width, width);
        let query = build.linear(&name(names.query), square, true, input)?;
        let key = build.linear(&name(names.key), square, true, input)?;
        let value = build.linear(&name(names.value), square, true, input)?;
        let terms = terms(build, [query, key])?;
        let context = build.attention(
            &name(names.attention),
            self.heads,
            scale,
            [query, key, value],
            &terms,
        )?;
        let projected = build.linear(&name(names.attention_output), square, true, context)?;
        let sum = build.add(&name("attention.add"), projected, input)?;
        let attended = build.layer_norm(&name(names.attention_norm), width, self.epsilon, true, sum)?;

        let widened = build.linear(&name(names.intermediate), (self.inner, width), true, attended)?;
        let activated = build.push(&name(names.activation), self.activation.op(), vec![widened])?;
        let narrowed = build.linear(&name(names.output), (width, self.inner), true, activated)?;
        let sum = build.add(&name("output.add"), narrowed, attended)?;
        build.layer_norm(&name(names.output_norm), width, self.epsilon, true, sum)
    }
}
