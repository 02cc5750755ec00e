//! ELECTRA (Clark et al., 2020): BERT with embeddings of a width of their own.

use super::bert::Sizes;
use super::{Model, Traits, WORDS};
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::Build;
use crate::frontend::checkpoint::config::{Activation, Config};
use crate::frontend::checkpoint::heads::{Heads, MaskedLm, Sequence};
use crate::frontend::checkpoint::inputs::Inputs;
use crate::graph::ValueId;
use crate::request::Task;

/// `ElectraModel` and its heads.
#[derive(Debug)]
pub(super) struct Electra {
    sizes: Sizes,
    embedding: u64,
}

impl Electra {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        Ok(Self {
            sizes: Sizes::read(config)?,
            embedding: config.number("embedding_size")?,
        })
    }
}

impl Model for Electra {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.sizes.positions,
            token_types: self.sizes.token_types,
            landmark: WORDS,
            layers: "encoder.layer.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let positions = inputs.positions(build, "embeddings.position_ids")?;
        let mut hidden = self.sizes.embeddings(build, inputs, self.embedding, positions)?;
        let width = self.sizes.layer.width;
        if self.embedding != width {
            hidden = build.linear("embeddings_project", (width, self.embedding), true, hidden)?;
        }
        let mask = inputs.padding_mask(build)?;
        self.sizes.layers(build, hidden, &[mask])
    }

    fn head(
        &self,
        build: &mut Build<'_>,
        _: &Inputs,
        task: Task,
        hidden: ValueId,
    ) -> Result<Vec<String>, ConvertError> {
        let heads = Heads {
            width: self.sizes.layer.width,
            classes: self.sizes.classes,
            pooler: None,
            sequence: Sequence::Dense {
                dense: "classifier.dense",
                // Not the configured one.
                activation: Activation::Gelu,
                scores: "classifier.out_proj",
            },
            masked: MaskedLm {
                dense: "generator_predictions.dense",
                norm: "generator_predictions.LayerNorm",
                activation: Activation::Gelu,
                epsilon: self.sizes.layer.epsilon,
                decoder: "generator_lm_head",
                bias: &["generator_lm_head.bias"],
                vocabulary: self.sizes.vocabulary,
                embedding: self.embedding,
            },
        };
        heads.write(build, task, hidden)
    }
}
