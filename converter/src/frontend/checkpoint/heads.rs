//! The heads that `…For…` classes put on an encoder: the same few, under each family's names.

use super::build::Build;
use super::config::Activation;
use crate::error::ConvertError;
use crate::graph::{Op, ValueId};
use crate::request::Task;

/// What a family's heads are called and made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    /// Channels of the encoder.
    pub(super) width: u64,
    /// Classes of a classifier.
    pub(super) classes: u64,
    /// The encoder's own pooler, a dense layer and tanh on the first token.
    pub(super) pooler: Option<&'static str>,
    /// What a sequence classifier reads.
    pub(super) sequence: Sequence,
    /// The masked language model's head.
    pub(super) masked: MaskedLm,
}

/// From tokens to a sequence's scores.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sequence {
    /// The pooler, then `classifier`.
    Pooled,
    /// A dense layer outside the encoder on the first token, then the scores.
    Dense {
        dense: &'static str,
        activation: Activation,
        scores: &'static str,
    },
}

/// A dense layer, an activation and a norm, then the word table, unless another matrix is stored in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaskedLm {
    pub(super) dense: &'static str,
    pub(super) norm: &'static str,
    pub(super) activation: Activation,
    pub(super) epsilon: f64,
    /// The last layer; its weight may be missing.
    pub(super) decoder: &'static str,
    /// Names its bias goes by, the preferred first; none when there is no bias.
    pub(super) bias: &'static [&'static str],
    /// Rows of the word table.
    pub(super) vocabulary: u64,
    /// Channels of the word table.
    pub(super) embedding: u64,
}

impl Heads {
    /// Adds the head of `task` and the graph's outputs. Returns notes worth telling the user.
    pub(super) fn write(
        &self,
        build: &mut Build<'_>,
        task: Task,
        hidden: ValueId,
    ) -> Result<Vec<String>, ConvertError> {
        match task {
            Task::SequenceClassification => {
                let logits = self.sequence(build, hidden)?;
                build.graph.outputs.push(("logits".into(), logits));
            }
            Task::TokenClassification => {
                let logits = build.head_linear("classifier", (self.classes, self.width), true, hidden)?;
                build.graph.outputs.push(("logits".into(), logits));
            }
            Task::QuestionAnswering => answers(build, self.width, hidden)?,
            Task::FillMask => {
                let logits = self.masked.write(build, self.width, hidden)?;
                build.graph.outputs.push(("logits".into(), logits));
            }
            Task::Auto | Task::Custom | Task::FeatureExtraction | Task::SentenceEmbedding => {
                build.graph.outputs.push(("last_hidden_state".into(), hidden));
                let Some(pooler) = self.pooler else {
                    return Ok(Vec::new());
                };
                if !build.parameters.has_encoder(&format!("{pooler}.weight")) {
                    return Ok(vec![
                        "the checkpoint has no pooler: pooler_output is left out".into(),
                    ]);
                }
                let pooled = self.pooled(build, pooler, hidden)?;
                build.graph.outputs.push(("pooler_output".into(), pooled));
            }
        }
        Ok(Vec::new())
    }

    fn sequence(&self, build: &mut Build<'_>, hidden: ValueId) -> Result<ValueId, ConvertError> {
        let square = (self.width, self.width);
        let (features, scores) = match self.sequence {
            Sequence::Pooled => {
                let pooler = self.pooler.unwrap_or("pooler.dense");
                (self.pooled(build, pooler, hidden)?, "classifier")
            }
            Sequence::Dense {
                dense,
                activation,
                scores,
            } => {
                let first = first_token(build, dense, hidden)?;
                let features = build.head_linear(dense, square, true, first)?;
                let name = format!("{dense}.activation");
                (build.push(&name, activation.op(), vec![features])?, scores)
            }
        };
        build.head_linear(scores, (self.classes, self.width), true, features)
    }

    /// `BertPooler`: the first token through a dense layer and tanh.
    fn pooled(&self, build: &mut Build<'_>, dense: &str, hidden: ValueId) -> Result<ValueId, ConvertError> {
        let first = first_token(build, "pooler", hidden)?;
        let dense = build.linear(dense, (self.width, self.width), true, first)?;
        build.push("pooler.activation", Op::Tanh, vec![dense])
    }
}

impl MaskedLm {
    /// Scores over the vocabulary for each token.
    pub(super) fn write(
        &self,
        build: &mut Build<'_>,
        width: u64,
        hidden: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let dense = build.head_linear(self.dense, (self.embedding, width), true, hidden)?;
        let name = format!("{}.activation", self.dense);
        let active = build.push(&name, self.activation.op(), vec![dense])?;
        let normal = build.head_layer_norm(self.norm, self.embedding, self.epsilon, true, active)?;
        self.decode(build, "embeddings.word_embeddings.weight", normal)
    }

    /// The last layer: the decoder's matrix, or `table` of the encoder where none is stored.
    pub(super) fn decode(
        &self,
        build: &mut Build<'_>,
        table: &str,
        x: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let shape = [self.vocabulary, self.embedding];
        let own = format!("{}.weight", self.decoder);
        let weight = if build.parameters.has(&own) {
            build.head_weight(&own, &shape)
        } else {
            build.weight(table, &shape)
        };
        let mut inputs = vec![x, weight];
        let stored = self.bias.iter().find(|name| build.parameters.has(name));
        if let Some(bias) = stored.or(self.bias.first()) {
            inputs.push(build.head_weight(bias, &[self.vocabulary]));
        }
        for name in self.bias {
            // The same vector under another name.
            build.parameters.ignore(name);
        }
        build.push(self.decoder, Op::Linear, inputs)
    }
}

/// The first token's vector.
fn first_token(build: &mut Build<'_>, scope: &str, hidden: ValueId) -> Result<ValueId, ConvertError> {
    build.push(
        &format!("{scope}.first_token"),
        Op::Select { dim: 1, index: 0 },
        vec![hidden],
    )
}

/// Scores of each token to start and to end an answer.
fn answers(build: &mut Build<'_>, width: u64, hidden: ValueId) -> Result<(), ConvertError> {
    let logits = build.head_linear("qa_outputs", (2, width), true, hidden)?;
    for (index, name) in [(0, "start_logits"), (1, "end_logits")] {
        let part = build.push(name, Op::Select { dim: 2, index }, vec![logits])?;
        build.graph.outputs.push((name.into(), part));
    }
    Ok(())
}
