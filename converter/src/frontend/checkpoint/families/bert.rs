//! BERT (Devlin et al., 2018), as `transformers.models.bert` computes it; and what others share with it.

use super::{Model, Traits, WORDS};
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::Build;
use crate::frontend::checkpoint::config::{Activation, Config};
use crate::frontend::checkpoint::heads::{Heads, MaskedLm, Sequence};
use crate::frontend::checkpoint::inputs::Inputs;
use crate::frontend::checkpoint::post_norm::{BERT, Layer};
use crate::graph::ValueId;
use crate::request::Task;

/// The numbers that shape a BERT, under the keys nearly every family took over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) layer: Layer,
    pub(super) layers: u64,
    pub(super) vocabulary: u64,
    pub(super) positions: u64,
    pub(super) token_types: u64,
    pub(super) classes: u64,
    pub(super) activation: Activation,
}

impl Sizes {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        config.refuse_other_than_bert()?;
        let (width, heads) = config.width_and_heads("hidden_size", "num_attention_heads")?;
        let activation = config.activation_or("hidden_act", "gelu")?;
        Ok(Self {
            layer: Layer {
                names: BERT,
                width,
                heads,
                inner: config.number("intermediate_size")?,
                epsilon: config.epsilon_or("layer_norm_eps", 1e-12)?,
                activation,
            },
            layers: config.layers("num_hidden_layers")?,
            vocabulary: config.number("vocab_size")?,
            positions: config.number("max_position_embeddings")?,
            token_types: config.count_or("type_vocab_size", 2)?,
            classes: config.classes()?,
            activation,
        })
    }

    /// `encoder.layer.0` and those after it, all adding the same terms to their scores.
    pub(super) fn layers(
        &self,
        build: &mut Build<'_>,
        mut hidden: ValueId,
        terms: &[ValueId],
    ) -> Result<ValueId, ConvertError> {
        for layer in 0..self.layers {
            hidden = self
                .layer
                .write(build, &format!("encoder.layer.{layer}"), hidden, terms)?;
        }
        Ok(hidden)
    }

    /// Words, types and positions of `width` channels, summed and normalised.
    pub(super) fn embeddings(
        &self,
        build: &mut Build<'_>,
        inputs: &Inputs,
        width: u64,
        positions: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let words = (self.vocabulary, width);
        let mut sum = build.embedding("embeddings.word_embeddings", words, inputs.input_ids)?;
        if self.token_types > 0 {
            let types = inputs.token_types(build, "embeddings.token_type_ids")?;
            let table = (self.token_types, width);
            let types = build.embedding("embeddings.token_type_embeddings", table, types)?;
            sum = build.add("embeddings.add", sum, types)?;
        }
        let table = (self.positions, width);
        let positions = build.embedding("embeddings.position_embeddings", table, positions)?;
        sum = build.add("embeddings.add_positions", sum, positions)?;
        build.parameters.ignore("embeddings.position_ids");
        build.parameters.ignore("embeddings.token_type_ids");
        let epsilon = self.layer.epsilon;
        build.layer_norm("embeddings.LayerNorm", width, epsilon, true, sum)
    }
}

/// `BertModel` and its heads.
#[derive(Debug)]
pub(super) struct Bert(Sizes);

impl Bert {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        Sizes::read(config).map(Self)
    }
}

impl Model for Bert {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.0.positions,
            token_types: self.0.token_types,
            landmark: WORDS,
            layers: "encoder.layer.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let positions = inputs.positions(build, "embeddings.position_ids")?;
        let hidden = self.0.embeddings(build, inputs, self.0.layer.width, positions)?;
        let mask = inputs.padding_mask(build)?;
        self.0.layers(build, hidden, &[mask])
    }

    fn head(
        &self,
        build: &mut Build<'_>,
        _: &Inputs,
        task: Task,
        hidden: ValueId,
    ) -> Result<Vec<String>, ConvertError> {
        let heads = Heads {
            width: self.0.layer.width,
            classes: self.0.classes,
            pooler: Some("pooler.dense"),
            sequence: Sequence::Pooled,
            masked: MaskedLm {
                dense: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.LayerNorm",
                activation: self.0.activation,
                epsilon: self.0.layer.epsilon,
                decoder: "cls.predictions.decoder",
                bias: &["cls.predictions.bias", "cls.predictions.decoder.bias"],
                vocabulary: self.0.vocabulary,
                embedding: self.0.layer.width,
            },
        };
        heads.write(build, task, hidden)
    }
}
