//! RoBERTa (Liu et al., 2019), XLM-RoBERTa and CamemBERT: BERT with positions counted from the padding id on, one type of
//! token, and a classifier of two layers.

use super::bert::Sizes;
use super::{Model, Traits, WORDS};
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::Build;
use crate::frontend::checkpoint::config::{Activation, Config};
use crate::frontend::checkpoint::heads::{Heads, MaskedLm, Sequence};
use crate::frontend::checkpoint::inputs::Inputs;
use crate::graph::ValueId;
use crate::request::Task;

/// `RobertaModel`, `XLMRobertaModel`, `CamembertModel` and their heads.
#[derive(Debug)]
pub(super) struct Roberta {
    sizes: Sizes,
    padding: u32,
}

impl Roberta {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        let sizes = Sizes::read(config)?;
        let padding = padding(config, sizes.positions)?;
        Ok(Self { sizes, padding })
    }
}

/// The padding id, which takes the first rows of the position table.
pub(super) fn padding(config: &Config<'_>, positions: u64) -> Result<u32, ConvertError> {
    let padding = config.count_or("pad_token_id", 1)?;
    match u32::try_from(padding) {
        Ok(id) if padding + 1 < positions => Ok(id),
        _ => Err(config.fault(
            "pad_token_id",
            format!("{padding} leaves no positions of {positions} (max_position_embeddings)"),
        )),
    }
}

impl Model for Roberta {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.sizes.positions - u64::from(self.padding) - 1,
            token_types: self.sizes.token_types,
            landmark: WORDS,
            layers: "encoder.layer.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let positions = inputs.counted_positions(build, "embeddings.position_ids", self.padding)?;
        let width = self.sizes.layer.width;
        let hidden = self.sizes.embeddings(build, inputs, width, positions)?;
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
        heads(&self.sizes).write(build, task, hidden)
    }
}

/// RoBERTa's heads, which MPNet took over.
pub(super) fn heads(sizes: &Sizes) -> Heads {
    Heads {
        width: sizes.layer.width,
        classes: sizes.classes,
        pooler: Some("pooler.dense"),
        sequence: Sequence::Dense {
            dense: "classifier.dense",
            activation: Activation::Tanh,
            scores: "classifier.out_proj",
        },
        masked: MaskedLm {
            dense: "lm_head.dense",
            norm: "lm_head.layer_norm",
            // Not the configured one.
            activation: Activation::Gelu,
            epsilon: sizes.layer.epsilon,
            decoder: "lm_head.decoder",
            bias: &["lm_head.bias", "lm_head.decoder.bias"],
            vocabulary: sizes.vocabulary,
            embedding: sizes.layer.width,
        },
    }
}
