//! ALBERT (Lan et al., 2019): BERT whose layers share their parameters, group by group, with embeddings of a width
//! of their own. Shared parameters are stored once: the package's writer finds equal weights.

use super::bert::Sizes;
use super::{Model, Traits, WORDS};
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::Build;
use crate::frontend::checkpoint::config::Config;
use crate::frontend::checkpoint::heads::{Heads, MaskedLm, Sequence};
use crate::frontend::checkpoint::inputs::Inputs;
use crate::frontend::checkpoint::post_norm::Names;
use crate::graph::ValueId;
use crate::request::Task;

const NAMES: Names = Names {
    query: "attention.query",
    key: "attention.key",
    value: "attention.value",
    attention: "attention",
    attention_output: "attention.dense",
    attention_norm: "attention.LayerNorm",
    intermediate: "ffn",
    activation: "activation",
    output: "ffn_output",
    output_norm: "full_layer_layer_norm",
};

/// `AlbertModel` and its heads.
#[derive(Debug)]
pub(super) struct Albert {
    sizes: Sizes,
    embedding: u64,
    /// Sets of parameters.
    groups: u64,
    /// Layers in each.
    inner: u64,
}

impl Albert {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        let mut sizes = Sizes::read(config)?;
        sizes.layer.names = NAMES;
        let (groups, inner) = (
            config.count_or("num_hidden_groups", 1)?,
            config.count_or("inner_group_num", 1)?,
        );
        if !(1..=sizes.layers).contains(&groups) {
            let reason = format!("{groups} can't share {} layers (num_hidden_layers)", sizes.layers);
            return Err(config.fault("num_hidden_groups", reason));
        }
        // As many as layers there may be: a broken file must not make a graph without end.
        if !(1..=64).contains(&inner) {
            return Err(config.fault("inner_group_num", format!("is {inner}, not in 1..=64")));
        }
        Ok(Self {
            sizes,
            embedding: config.number("embedding_size")?,
            groups,
            inner,
        })
    }
}

impl Model for Albert {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.sizes.positions,
            token_types: self.sizes.token_types,
            landmark: WORDS,
            layers: "encoder.albert_layer_groups.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let positions = inputs.positions(build, "embeddings.position_ids")?;
        let embedded = self.sizes.embeddings(build, inputs, self.embedding, positions)?;
        let size = (self.sizes.layer.width, self.embedding);
        let mut hidden = build.linear("encoder.embedding_hidden_mapping_in", size, true, embedded)?;
        let mask = inputs.padding_mask(build)?;
        for layer in 0..self.sizes.layers {
            let group = layer * self.groups / self.sizes.layers;
            for inner in 0..self.inner {
                let scope = format!("encoder.albert_layer_groups.{group}.albert_layers.{inner}");
                hidden = self.sizes.layer.write(build, &scope, hidden, &[mask])?;
            }
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
            width: self.sizes.layer.width,
            classes: self.sizes.classes,
            pooler: Some("pooler"),
            sequence: Sequence::Pooled,
            masked: MaskedLm {
                dense: "predictions.dense",
                norm: "predictions.LayerNorm",
                activation: self.sizes.activation,
                epsilon: self.sizes.layer.epsilon,
                decoder: "predictions.decoder",
                bias: &["predictions.bias", "predictions.decoder.bias"],
                vocabulary: self.sizes.vocabulary,
                embedding: self.embedding,
            },
        };
        heads.write(build, task, hidden)
    }
}
