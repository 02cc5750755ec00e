//! MPNet (Song et al., 2020): RoBERTa with a bias by relative position that all layers share.

use super::bert::Sizes;
use super::{Model, Traits, WORDS, roberta};
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::Build;
use crate::frontend::checkpoint::config::Config;
use crate::frontend::checkpoint::inputs::Inputs;
use crate::frontend::checkpoint::post_norm::{BERT, Names};
use crate::frontend::checkpoint::tables::t5_bucket;
use crate::graph::ValueId;
use crate::request::Task;

const NAMES: Names = Names {
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    attention: "attention.attn",
    attention_output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    ..BERT
};

/// The id of padding, which `MPNetEmbeddings` does not take from the configuration.
const PADDING: u32 = 1;

/// Buckets the reference uses whatever the configuration says, and the distance from which all are one.
const BUCKETS: i64 = 32;
const MOST: i64 = 128;

/// `MPNetModel` and its heads.
#[derive(Debug)]
pub(super) struct MpNet(Sizes);

impl MpNet {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        let mut sizes = Sizes::read(config)?;
        sizes.layer.names = NAMES;
        sizes.token_types = 0;
        let buckets = config.integer_or("relative_attention_num_buckets", BUCKETS)?;
        if buckets != BUCKETS {
            let reason = format!("is {buckets}; the reference computes with {BUCKETS} and no other number");
            return Err(config.fault("relative_attention_num_buckets", reason));
        }
        if sizes.positions <= u64::from(PADDING) + 1 {
            return Err(config.fault(
                "max_position_embeddings",
                "leaves no positions after those of padding",
            ));
        }
        Ok(Self(sizes))
    }

    /// The bias of each head for each distance, as a constant (1, heads, S, S).
    fn bias(&self, build: &mut Build<'_>, tokens: u64) -> Result<ValueId, ConvertError> {
        const NAME: &str = "encoder.relative_attention_bias";
        let heads = self.0.layer.heads;
        let rows = BUCKETS.unsigned_abs();
        let table = build
            .parameters
            .encoder(&format!("{NAME}.weight"), &[rows, heads]);
        let shape = [1, heads, tokens, tokens];
        if !build.parameters.fit() {
            return Ok(build
                .graph
                .weight(NAME, crate::source::LazyTensor::placeholder(NAME, &shape)));
        }
        let table = table.read_f32()?;
        // Small indices: 32 buckets, heads of a head count that fits the table.
        let at = |bucket: i64, head: u64| {
            usize::try_from(bucket.unsigned_abs() * heads + head).unwrap_or(usize::MAX)
        };
        let tokens = tokens.cast_signed();
        let mut values = Vec::new();
        for head in 0..heads {
            for query in 0..tokens {
                values.extend((0..tokens).map(|key| table[at(t5_bucket(key - query, BUCKETS, MOST), head)]));
            }
        }
        build.computed(NAME, &shape, values)
    }
}

impl Model for MpNet {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.0.positions - u64::from(PADDING) - 1,
            token_types: 0,
            landmark: WORDS,
            layers: "encoder.layer.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let tokens = inputs.length()?;
        let positions = inputs.counted_positions(build, "embeddings.position_ids", PADDING)?;
        let hidden = self.0.embeddings(build, inputs, self.0.layer.width, positions)?;
        let mask = inputs.padding_mask(build)?;
        let bias = self.bias(build, tokens)?;
        // Summed once for all layers.
        let mask = build.add("attention_mask.add_bias", mask, bias)?;
        self.0.layers(build, hidden, &[mask])
    }

    fn head(
        &self,
        build: &mut Build<'_>,
        _: &Inputs,
        task: Task,
        hidden: ValueId,
    ) -> Result<Vec<String>, ConvertError> {
        roberta::heads(&self.0).write(build, task, hidden)
    }
}
