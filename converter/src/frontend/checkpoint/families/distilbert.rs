//! DistilBERT (Sanh et al., 2019): BERT's layers under names of their own, no types of tokens, no pooler.

use super::{Model, Traits, WORDS};
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::Build;
use crate::frontend::checkpoint::config::{Activation, Config};
use crate::frontend::checkpoint::heads::{Heads, MaskedLm, Sequence};
use crate::frontend::checkpoint::inputs::Inputs;
use crate::frontend::checkpoint::post_norm::{Layer, Names};
use crate::graph::ValueId;
use crate::request::Task;

const NAMES: Names = Names {
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention: "attention",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    intermediate: "ffn.lin1",
    activation: "ffn.activation",
    output: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// Fixed in the reference.
const EPSILON: f64 = 1e-12;

/// `DistilBertModel` and its heads.
#[derive(Debug)]
pub(super) struct DistilBert {
    layer: Layer,
    layers: u64,
    vocabulary: u64,
    positions: u64,
    classes: u64,
}

impl DistilBert {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        config.refuse_other_than_bert()?;
        let (width, heads) = config.width_and_heads("dim", "n_heads")?;
        Ok(Self {
            layer: Layer {
                names: NAMES,
                width,
                heads,
                inner: config.number("hidden_dim")?,
                epsilon: EPSILON,
                activation: config.activation_or("activation", "gelu")?,
            },
            layers: config.layers("n_layers")?,
            vocabulary: config.number("vocab_size")?,
            positions: config.number("max_position_embeddings")?,
            classes: config.classes()?,
        })
    }
}

impl Model for DistilBert {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.positions,
            token_types: 0,
            landmark: WORDS,
            layers: "transformer.layer.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let width = self.layer.width;
        let table = (self.vocabulary, width);
        let words = build.embedding("embeddings.word_embeddings", table, inputs.input_ids)?;
        let positions = inputs.positions(build, "embeddings.position_ids")?;
        let table = (self.positions, width);
        let positions = build.embedding("embeddings.position_embeddings", table, positions)?;
        build.parameters.ignore("embeddings.position_ids");
        let sum = build.add("embeddings.add", words, positions)?;
        let mut hidden = build.layer_norm("embeddings.LayerNorm", width, EPSILON, true, sum)?;
        let mask = inputs.padding_mask(build)?;
        for layer in 0..self.layers {
            hidden = self
                .layer
                .write(build, &format!("transformer.layer.{layer}"), hidden, &[mask])?;
        }
        Ok(hidden)
    }

    fn head(
        &self,
        build: &mut Build<'_>,
        _: &Inputs,
        task: Task,
        hidden: ValueId,
    ) -> Result<Vec<String>, ConvertError> {
        let heads = Heads {
            width: self.layer.width,
            classes: self.classes,
            pooler: None,
            sequence: Sequence::Dense {
                dense: "pre_classifier",
                activation: Activation::Relu,
                scores: "classifier",
            },
            masked: MaskedLm {
                dense: "vocab_transform",
                norm: "vocab_layer_norm",
                activation: self.layer.activation,
                epsilon: EPSILON,
                decoder: "vocab_projector",
                bias: &["vocab_projector.bias"],
                vocabulary: self.vocabulary,
                embedding: self.layer.width,
            },
        };
        heads.write(build, task, hidden)
    }
}
