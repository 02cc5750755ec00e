//! ModernBERT (Warner et al., 2024): norms before each block, rotary positions, attention to a window in most layers,
//! gated dense layers, and biases only where configured.

use serde_json::Value;

use super::{Model, Traits};
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::{Build, usual_scale};
use crate::frontend::checkpoint::config::{Activation, Config};
use crate::frontend::checkpoint::heads::MaskedLm;
use crate::frontend::checkpoint::inputs::Inputs;
use crate::frontend::checkpoint::tables;
use crate::graph::{AttentionLayout, Op, PoolKind, ValueId};
use crate::request::Task;

const WORDS: &str = "embeddings.tok_embeddings.weight";

/// `ModernBertModel` and its heads.
#[derive(Debug)]
pub(super) struct ModernBert {
    width: u64,
    heads: u64,
    inner: u64,
    vocabulary: u64,
    positions: u64,
    classes: u64,
    epsilon: f64,
    activation: Activation,
    /// For each layer, whether it sees the whole text.
    global: Vec<bool>,
    /// Tokens either side that other layers see.
    reach: u64,
    /// Base of the rotary positions in global and in local layers.
    bases: (f64, f64),
    biases: Biases,
    /// Whether a sequence classifier reads the mean of the tokens instead of the first.
    mean: bool,
    head_activation: Activation,
}

/// Which layers have biases.
#[derive(Clone, Copy, Debug)]
struct Biases {
    attention: bool,
    dense: bool,
    norm: bool,
    /// The dense layer of the head.
    head: bool,
    decoder: bool,
}

impl ModernBert {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        let (width, heads) = config.width_and_heads("hidden_size", "num_attention_heads")?;
        if (width / heads) % 2 != 0 {
            let reason = format!("heads of {} channels can't be turned in pairs", width / heads);
            return Err(config.fault("hidden_size", reason));
        }
        config.expect_absent("rope_scaling", "scaled rotary positions are not supported")?;
        let layers = config.layers("num_hidden_layers")?;
        let pooling = config.text_or("classifier_pooling", "cls")?;
        if !["cls", "mean"].contains(&pooling) {
            let reason = format!("`{pooling}` is not supported; supported: cls, mean");
            return Err(config.fault("classifier_pooling", reason));
        }
        Ok(Self {
            width,
            heads,
            inner: config.number("intermediate_size")?,
            vocabulary: config.number("vocab_size")?,
            positions: config.number("max_position_embeddings")?,
            classes: config.classes()?,
            epsilon: config.epsilon_or("norm_eps", 1e-5)?,
            activation: config.activation_or("hidden_activation", "gelu")?,
            global: global_layers(config, layers)?,
            reach: config.count_or("local_attention", 128)? / 2,
            bases: bases(config)?,
            biases: Biases {
                attention: config.flag_or("attention_bias", false)?,
                dense: config.flag_or("mlp_bias", false)?,
                norm: config.flag_or("norm_bias", false)?,
                head: config.flag_or("classifier_bias", false)?,
                decoder: config.flag_or("decoder_bias", true)?,
            },
            mean: pooling == "mean",
            head_activation: config.activation_or("classifier_activation", "gelu")?,
        })
    }
}

/// Which layers see the whole text: every n-th, or those of a list (transformers 5).
fn global_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConvertError> {
    if let Some(list) = config.get("layer_types").and_then(Value::as_array) {
        let kinds: Option<Vec<bool>> = list
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Some(true),
                Some("sliding_attention") => Some(false),
                _ => None,
            })
            .collect();
        return kinds.filter(|kinds| kinds.len() as u64 == layers).ok_or_else(|| {
            let reason = "must name full_attention or sliding_attention for each layer";
            config.fault("layer_types", reason)
        });
    }
    let every = config.count_or("global_attn_every_n_layers", 3)?.max(1);
    Ok((0..layers).map(|layer| layer % every == 0).collect())
}

/// The bases of rotary positions, under the keys of transformers 4 or 5.
fn bases(config: &Config<'_>) -> Result<(f64, f64), ConvertError> {
    let Some(parameters) = config.get("rope_parameters") else {
        let global = config.positive_or("global_rope_theta", 160_000.0)?;
        // Absent it is 10000; null it is the global one.
        let local = match config.is_null("local_rope_theta") {
            true => global,
            false => config.positive_or("local_rope_theta", 10_000.0)?,
        };
        return Ok((global, local));
    };
    let base = |kind: &str| {
        let of_kind = parameters.get(kind).unwrap_or(parameters);
        let default = of_kind
            .get("rope_type")
            .and_then(Value::as_str)
            .unwrap_or("default");
        match of_kind.get("rope_theta").and_then(Value::as_f64) {
            Some(base) if base > 0.0 && base.is_finite() && default == "default" => Ok(base),
            _ => Err(config.fault("rope_parameters", format!("has no plain `rope_theta` for {kind}"))),
        }
    };
    Ok((base("full_attention")?, base("sliding_attention")?))
}

/// What all layers of one kind share.
struct Shared {
    cos: ValueId,
    sin: ValueId,
    mask: ValueId,
}

impl ModernBert {
    /// Rotary angles and mask of global or local layers.
    fn shared(
        &self,
        build: &mut Build<'_>,
        tokens: u64,
        mask: ValueId,
        global: bool,
    ) -> Result<Shared, ConvertError> {
        let (kind, base) = if global {
            ("global", self.bases.0)
        } else {
            ("local", self.bases.1)
        };
        let width = self.width / self.heads;
        let (cos, sin) = tables::rotary_angles(tokens, width, base);
        let shape = [tokens, width / 2];
        let mask = if global {
            mask
        } else {
            let window = tables::window(tokens, self.reach);
            let window = build.computed("attention_mask.window", &[1, 1, tokens, tokens], window)?;
            build.add("attention_mask.add_window", mask, window)?
        };
        Ok(Shared {
            cos: build.computed(&format!("rotary_emb.{kind}.cos"), &shape, cos)?,
            sin: build.computed(&format!("rotary_emb.{kind}.sin"), &shape, sin)?,
            mask,
        })
    }

    fn layer(
        &self,
        build: &mut Build<'_>,
        layer: usize,
        input: ValueId,
        shared: &Shared,
    ) -> Result<ValueId, ConvertError> {
        let (width, biases) = (self.width, self.biases);
        let name = |part: &str| format!("layers.{layer}.{part}");
        // The embeddings come normalised already.
        let normal = match layer {
            0 => input,
            _ => build.layer_norm(&name("attn_norm"), width, self.epsilon, biases.norm, input)?,
        };
        let parts = [name("attn.query"), name("attn.key"), name("attn.value")];
        let scopes = [parts[0].as_str(), parts[1].as_str(), parts[2].as_str()];
        let fused = name("attn.Wqkv");
        let [query, key, value] =
            build.fused_linear(&fused, scopes, (width, width), biases.attention, normal)?;
        let turn = |build: &mut Build<'_>, part: &str, x: ValueId| {
            let op = Op::Rotary {
                heads: self.heads,
                layout: AttentionLayout::HeadMajor,
            };
            build.push(&name(part), op, vec![x, shared.cos, shared.sin])
        };
        let query = turn(build, "attn.rotary_query", query)?;
        let key = turn(build, "attn.rotary_key", key)?;
        let scale = usual_scale(width, self.heads);
        let context = build.attention(
            &name("attn"),
            self.heads,
            scale,
            [query, key, value],
            &[shared.mask],
        )?;
        let projected = build.linear(&name("attn.Wo"), (width, width), biases.attention, context)?;
        let attended = build.add(&name("attn.add"), input, projected)?;

        let normal = build.layer_norm(&name("mlp_norm"), width, self.epsilon, biases.norm, attended)?;
        let parts = [name("mlp.input"), name("mlp.gate")];
        let scopes = [parts[0].as_str(), parts[1].as_str()];
        let fused = name("mlp.Wi");
        let [x, gate] = build.fused_linear(&fused, scopes, (self.inner, width), biases.dense, normal)?;
        let active = build.push(&name("mlp.act"), self.activation.op(), vec![x])?;
        let gated = build.push(&name("mlp.gated"), Op::Mul, vec![active, gate])?;
        let narrowed = build.linear(&name("mlp.Wo"), (width, self.inner), biases.dense, gated)?;
        build.add(&name("mlp.add"), attended, narrowed)
    }

    /// `ModernBertPredictionHead`, before every kind of score.
    fn prediction(&self, build: &mut Build<'_>, x: ValueId) -> Result<ValueId, ConvertError> {
        let dense = build.head_linear("head.dense", (self.width, self.width), self.biases.head, x)?;
        let active = build.push("head.act", self.head_activation.op(), vec![dense])?;
        build.head_layer_norm("head.norm", self.width, self.epsilon, self.biases.norm, active)
    }
}

impl Model for ModernBert {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.positions,
            token_types: 0,
            landmark: WORDS,
            layers: "layers.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let tokens = inputs.length()?;
        let table = (self.vocabulary, self.width);
        let words = build.embedding("embeddings.tok_embeddings", table, inputs.input_ids)?;
        let norm = self.biases.norm;
        let mut hidden = build.layer_norm("embeddings.norm", self.width, self.epsilon, norm, words)?;
        let mask = inputs.padding_mask(build)?;
        let global = self.shared(build, tokens, mask, true)?;
        let local = self.shared(build, tokens, mask, false)?;
        for (layer, is_global) in self.global.iter().enumerate() {
            let shared = if *is_global { &global } else { &local };
            hidden = self.layer(build, layer, hidden, shared)?;
        }
        build.layer_norm("final_norm", self.width, self.epsilon, norm, hidden)
    }

    fn head(
        &self,
        build: &mut Build<'_>,
        inputs: &Inputs,
        task: Task,
        hidden: ValueId,
    ) -> Result<Vec<String>, ConvertError> {
        let (name, output) = match task {
            Task::SequenceClassification | Task::TokenClassification => {
                let features = match (task, self.mean) {
                    (Task::TokenClassification, _) => hidden,
                    (_, true) => {
                        let inputs = vec![hidden, inputs.attention_mask];
                        build.push("head.mean", Op::Pool(PoolKind::Mean), inputs)?
                    }
                    (_, false) => {
                        let op = Op::Select { dim: 1, index: 0 };
                        build.push("head.first_token", op, vec![hidden])?
                    }
                };
                let features = self.prediction(build, features)?;
                let size = (self.classes, self.width);
                ("logits", build.head_linear("classifier", size, true, features)?)
            }
            Task::FillMask => {
                let features = self.prediction(build, hidden)?;
                let decoder = MaskedLm {
                    dense: "head.dense",
                    norm: "head.norm",
                    activation: self.head_activation,
                    epsilon: self.epsilon,
                    decoder: "decoder",
                    bias: if self.biases.decoder {
                        &["decoder.bias"]
                    } else {
                        &[]
                    },
                    vocabulary: self.vocabulary,
                    embedding: self.width,
                };
                ("logits", decoder.decode(build, WORDS, features)?)
            }
            _ => ("last_hidden_state", hidden),
        };
        build.graph.outputs.push((name.into(), output));
        Ok(Vec::new())
    }
}
