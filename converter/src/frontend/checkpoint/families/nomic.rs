//! NomicBERT (Nussbaum et al., 2024): BERT with rotary positions, gated dense layers and no biases in them.
//!
//! Parameters are named as they are published, which transformers 5 keeps when it saves; the configuration is either
//! the published one (GPT-2's keys) or that of transformers 5.

use super::{Model, Traits, WORDS};
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::{Build, usual_scale};
use crate::frontend::checkpoint::config::{Activation, Config};
use crate::frontend::checkpoint::heads::{Heads, MaskedLm, Sequence};
use crate::frontend::checkpoint::inputs::Inputs;
use crate::frontend::checkpoint::tables;
use crate::graph::{AttentionLayout, Op, ValueId};
use crate::request::Task;

/// `NomicBertModel` and its heads.
#[derive(Debug)]
pub(super) struct NomicBert {
    width: u64,
    heads: u64,
    layers: u64,
    inner: u64,
    vocabulary: u64,
    positions: u64,
    token_types: u64,
    classes: u64,
    epsilon: f64,
    base: f64,
    /// The gate's; also the masked language model's.
    activation: Activation,
}

impl NomicBert {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        let key = |keys: &[&'static str]| config.spelling(keys);
        let (width, heads) = config.width_and_heads(
            key(&["hidden_size", "n_embd"]),
            key(&["num_attention_heads", "n_head"]),
        )?;
        if (width / heads) % 2 != 0 {
            let reason = format!("heads of {} channels can't be turned in pairs", width / heads);
            return Err(config.fault(key(&["hidden_size", "n_embd"]), reason));
        }
        for (key, wanted, reason) in [
            ("prenorm", false, "only norms after each block are supported"),
            (
                "qkv_proj_bias",
                false,
                "only projections without biases are supported",
            ),
            (
                "mlp_fc1_bias",
                false,
                "only dense layers without biases are supported",
            ),
            (
                "mlp_fc2_bias",
                false,
                "only dense layers without biases are supported",
            ),
            ("use_rms_norm", false, "only layer norms are supported"),
            (
                "rotary_emb_interleaved",
                false,
                "only rotary positions in halves are supported",
            ),
            ("causal", false, "only encoders are converted"),
        ] {
            config.expect(key, wanted, reason)?;
        }
        for key in ["rotary_emb_scale_base", "rotary_scaling_factor"] {
            config.expect_absent(key, "scaled rotary positions are not supported")?;
        }
        let fraction = config.positive_or("rotary_emb_fraction", 1.0)?;
        if fraction != 1.0 {
            return Err(config.fault(
                "rotary_emb_fraction",
                format!("is {fraction}; only 1 is supported"),
            ));
        }
        let activation = match config.text_or("activation_function", "swiglu")? {
            "swiglu" => config.activation_or("hidden_act", "silu")?,
            "geglu" => Activation::Gelu,
            other => {
                let reason = format!("`{other}` is not supported; supported: swiglu, geglu");
                return Err(config.fault("activation_function", reason));
            }
        };
        let base = match config.get("rope_parameters") {
            None => config.positive_or("rotary_emb_base", 1000.0)?,
            Some(parameters) => {
                let kind = parameters.get("rope_type").and_then(|kind| kind.as_str());
                match parameters.get("rope_theta").and_then(|base| base.as_f64()) {
                    Some(base)
                        if base > 0.0 && base.is_finite() && kind.is_none_or(|kind| kind == "default") =>
                    {
                        base
                    }
                    _ => return Err(config.fault("rope_parameters", "has no plain `rope_theta`")),
                }
            }
        };
        Ok(Self {
            width,
            heads,
            layers: config.layers(key(&["num_hidden_layers", "n_layer"]))?,
            inner: config.number(key(&["intermediate_size", "n_inner"]))?,
            vocabulary: config.number("vocab_size")?,
            positions: config.number(key(&["max_position_embeddings", "n_positions"]))?,
            token_types: config.count_or("type_vocab_size", 2)?,
            classes: config.classes()?,
            epsilon: config.epsilon_or(key(&["layer_norm_eps", "layer_norm_epsilon"]), 1e-12)?,
            base,
            activation,
        })
    }

    fn layer(
        &self,
        build: &mut Build<'_>,
        layer: u64,
        input: ValueId,
        [cos, sin, mask]: [ValueId; 3],
    ) -> Result<ValueId, ConvertError> {
        let (width, epsilon) = (self.width, self.epsilon);
        let name = |part: &str| format!("encoder.layers.{layer}.{part}");
        let parts = [name("attn.query"), name("attn.key"), name("attn.value")];
        let scopes = [parts[0].as_str(), parts[1].as_str(), parts[2].as_str()];
        let fused = name("attn.Wqkv");
        let [query, key, value] = build.fused_linear(&fused, scopes, (width, width), false, input)?;
        let turn = |build: &mut Build<'_>, part: &str, x: ValueId| {
            let op = Op::Rotary {
                heads: self.heads,
                layout: AttentionLayout::HeadMajor,
            };
            build.push(&name(part), op, vec![x, cos, sin])
        };
        let query = turn(build, "attn.rotary_query", query)?;
        let key = turn(build, "attn.rotary_key", key)?;
        let scale = usual_scale(width, self.heads);
        let context = build.attention(&name("attn"), self.heads, scale, [query, key, value], &[mask])?;
        let projected = build.linear(&name("attn.out_proj"), (width, width), false, context)?;
        let sum = build.add(&name("attn.add"), projected, input)?;
        let attended = build.layer_norm(&name("norm1"), width, epsilon, true, sum)?;

        let size = (self.inner, width);
        let value = build.linear(&name("mlp.fc11"), size, false, attended)?;
        let gate = build.linear(&name("mlp.fc12"), size, false, attended)?;
        let gate = build.push(&name("mlp.act"), self.activation.op(), vec![gate])?;
        let gated = build.push(&name("mlp.gated"), Op::Mul, vec![value, gate])?;
        let narrowed = build.linear(&name("mlp.fc2"), (width, self.inner), false, gated)?;
        let sum = build.add(&name("mlp.add"), narrowed, attended)?;
        build.layer_norm(&name("norm2"), width, epsilon, true, sum)
    }
}

impl Model for NomicBert {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.positions,
            token_types: self.token_types,
            landmark: WORDS,
            layers: "encoder.layers.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let tokens = inputs.length()?;
        let width = self.width;
        let table = (self.vocabulary, width);
        let mut sum = build.embedding("embeddings.word_embeddings", table, inputs.input_ids)?;
        if self.token_types > 0 {
            let types = inputs.token_types(build, "embeddings.token_type_ids")?;
            let table = (self.token_types, width);
            let types = build.embedding("embeddings.token_type_embeddings", table, types)?;
            sum = build.add("embeddings.add", sum, types)?;
        }
        let mut hidden = build.layer_norm("emb_ln", width, self.epsilon, true, sum)?;
        let mask = inputs.padding_mask(build)?;
        let angles = [tokens, width / self.heads / 2];
        let (cos, sin) = tables::rotary_angles(tokens, width / self.heads, self.base);
        let cos = build.computed("rotary_emb.cos", &angles, cos)?;
        let sin = build.computed("rotary_emb.sin", &angles, sin)?;
        for layer in 0..self.layers {
            hidden = self.layer(build, layer, hidden, [cos, sin, mask])?;
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
            width: self.width,
            classes: self.classes,
            pooler: Some("pooler.dense"),
            sequence: Sequence::Pooled,
            masked: MaskedLm {
                dense: "cls.predictions.transform.dense",
                norm: "cls.predictions.transform.layer_norm",
                activation: self.activation,
                epsilon: self.epsilon,
                decoder: "cls.predictions.decoder",
                bias: &["cls.predictions.bias", "cls.predictions.decoder.bias"],
                vocabulary: self.vocabulary,
                embedding: self.width,
            },
        };
        heads.write(build, task, hidden)
    }
}
