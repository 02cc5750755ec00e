//! DeBERTa-v2 and -v3 (He et al., 2020 and 2021): attention disentangled into content and relative position.
//!
//! To the usual scores are added those of each query against the projected embedding of its distance to the key
//! (*content to position*), and of each key likewise (*position to content*). The embeddings are parameters, so their
//! projections are constants of the package: one row per distance, buckets resolved.

use serde_json::Value;

use super::bert::Sizes;
use super::{Model, Traits, WORDS};
use crate::constants;
use crate::error::ConvertError;
use crate::frontend::checkpoint::build::Build;
use crate::frontend::checkpoint::config::{Activation, Config};
use crate::frontend::checkpoint::heads::{Heads, MaskedLm, Sequence};
use crate::frontend::checkpoint::inputs::Inputs;
use crate::frontend::checkpoint::post_norm::{BERT, Names};
use crate::frontend::checkpoint::tables;
use crate::graph::{AttentionLayout, Op, ScoreSide, ValueId};
use crate::request::Task;
use crate::source::LazyTensor;

const NAMES: Names = Names {
    query: "attention.self.query_proj",
    key: "attention.self.key_proj",
    value: "attention.self.value_proj",
    ..BERT
};

/// `DebertaV2Model` and its heads.
#[derive(Debug)]
pub(super) struct Deberta {
    sizes: Sizes,
    embedding: u64,
    /// Whether absolute positions are added to the words.
    absolute: bool,
    relative: Option<Relative>,
    convolution: Option<Convolution>,
    pooler_activation: Activation,
}

/// Attention by relative position.
#[derive(Clone, Copy, Debug)]
struct Relative {
    /// Distances the table holds in each direction.
    span: i64,
    /// Buckets and largest distance, when distances are bucketed.
    buckets: Option<(i64, i64)>,
    /// Whether positions are projected by the projections of content.
    shared: bool,
    /// Whether the table is normalised.
    normalised: bool,
    content_to_position: bool,
    position_to_content: bool,
}

/// The convolution beside the first layer.
#[derive(Clone, Copy, Debug)]
struct Convolution {
    width: u64,
    groups: u64,
    activation: Activation,
}

impl Deberta {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConvertError> {
        let mut sizes = Sizes::read(config)?;
        sizes.layer.names = NAMES;
        sizes.layer.epsilon = config.epsilon_or("layer_norm_eps", 1e-7)?;
        sizes.token_types = config.count_or("type_vocab_size", 0)?;
        for (key, wanted) in [
            ("attention_head_size", sizes.layer.width / sizes.layer.heads),
            ("pooler_hidden_size", sizes.layer.width),
        ] {
            let found = config.count_or(key, wanted)?;
            if found != wanted {
                return Err(config.fault(key, format!("is {found}; only {wanted} is supported")));
            }
        }
        let embedding = config.count_or("embedding_size", sizes.layer.width)?;
        let kernel = config.count_or("conv_kernel_size", 0)?;
        let convolution = (kernel > 0)
            .then(|| {
                if kernel % 2 == 0 {
                    return Err(config.fault("conv_kernel_size", format!("{kernel} is not odd")));
                }
                Ok(Convolution {
                    width: kernel,
                    groups: config.count_or("conv_groups", 1)?.max(1),
                    activation: config.activation_or("conv_act", "tanh")?,
                })
            })
            .transpose()?;
        Ok(Self {
            embedding,
            absolute: config.flag_or("position_biased_input", true)?,
            relative: Relative::read(config, sizes.positions)?,
            convolution,
            pooler_activation: config.activation_or("pooler_hidden_act", "gelu")?,
            sizes,
        })
    }
}

impl Relative {
    fn read(config: &Config<'_>, positions: u64) -> Result<Option<Self>, ConvertError> {
        if !config.flag_or("relative_attention", false)? {
            return Ok(None);
        }
        // A list, or names joined by bars.
        let kinds: Vec<&str> = match config.get("pos_att_type") {
            None => Vec::new(),
            Some(Value::String(text)) => text.split('|').map(str::trim).collect(),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(other) => {
                return Err(config.fault(
                    "pos_att_type",
                    format!("must name kinds of attention, is {other}"),
                ));
            }
        };
        if let Some(other) = kinds.iter().find(|kind| !["c2p", "p2c"].contains(*kind)) {
            return Err(config.fault(
                "pos_att_type",
                format!("`{other}` is not supported; supported: c2p, p2c"),
            ));
        }
        let most = match config.integer_or("max_relative_positions", -1)? {
            ..1 => positions.cast_signed(),
            most => most,
        };
        let buckets = config.integer_or("position_buckets", -1)?;
        if buckets == 1 || buckets > most {
            let reason = format!("{buckets} buckets for {most} positions (max_relative_positions)");
            return Err(config.fault("position_buckets", reason));
        }
        let norm = config.text_or("norm_rel_ebd", "none")?.to_lowercase();
        Ok(Some(Self {
            span: if buckets > 0 { buckets } else { most },
            buckets: (buckets > 0).then_some((buckets, most)),
            shared: config.flag_or("share_att_key", false)?,
            normalised: norm.split('|').any(|norm| norm.trim() == "layer_norm"),
            content_to_position: kinds.contains(&"c2p"),
            position_to_content: kinds.contains(&"p2c"),
        }))
    }

    /// Terms of the scores; each kind weakens the scale of all.
    fn terms(self) -> u32 {
        1 + u32::from(self.content_to_position) + u32::from(self.position_to_content)
    }

    /// The row of the table for `query − key`.
    fn row(self, distance: i64) -> i64 {
        let bucket = match self.buckets {
            Some((buckets, most)) => tables::deberta_bucket(distance, buckets, most),
            None => distance,
        };
        (bucket + self.span).clamp(0, 2 * self.span - 1)
    }

    /// The embeddings of distances that a length meets: of `query − key` from −S to S − 1, each as its row of the
    /// table.
    fn embeddings(self, build: &mut Build<'_>, sizes: &Sizes, tokens: u64) -> Result<Vec<f32>, ConvertError> {
        let width = sizes.layer.width;
        let rows = 2 * self.span.unsigned_abs();
        let table = build
            .parameters
            .encoder("encoder.rel_embeddings.weight", &[rows, width]);
        let norm = self.normalised.then(|| {
            ["weight", "bias"].map(|part| {
                build
                    .parameters
                    .encoder(&format!("encoder.LayerNorm.{part}"), &[width])
            })
        });
        if !build.parameters.fit() {
            return Ok(Vec::new());
        }
        let mut table = table.read_f32()?;
        if let Some([weight, bias]) = norm {
            let (weight, bias) = (weight.read_f32()?, bias.read_f32()?);
            constants::layer_norm(&mut table, &weight, &bias, sizes.layer.epsilon);
        }
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        let mut met = Vec::new();
        for distance in -tokens.cast_signed()..tokens.cast_signed() {
            let start = usize::try_from(self.row(distance)).unwrap_or(usize::MAX) * width;
            met.extend_from_slice(&table[start..start + width]);
        }
        Ok(met)
    }

    /// Relative scores of one side of a layer, the projection named `part` (own) or `shared` applied to the
    /// embeddings.
    fn scores(
        self,
        build: &mut Build<'_>,
        site: &Site<'_>,
        of: ScoreSide,
        content: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let (own, shared, name) = match of {
            ScoreSide::Query => ("pos_key_proj", "key_proj", "content_to_position"),
            ScoreSide::Key => ("pos_query_proj", "query_proj", "position_to_content"),
        };
        let scope = format!("{}.attention.self", site.scope);
        let part = if self.shared { shared } else { own };
        let width = site.sizes.layer.width;
        let weight = build
            .parameters
            .encoder(&format!("{scope}.{part}.weight"), &[width, width]);
        let bias = build
            .parameters
            .encoder(&format!("{scope}.{part}.bias"), &[width]);
        let name = format!("{scope}.{name}");
        let shape = [2 * site.tokens, width];
        let table = if build.parameters.fit() {
            let projected = constants::dense(site.embeddings, &weight, &bias)?;
            let columns = usize::try_from(width).unwrap_or(usize::MAX);
            let mut rows = projected.chunks_exact(columns);
            let values = match of {
                // Row m is of key − query = m − S, so of query − key = S − m: the last distance first.
                ScoreSide::Query => std::iter::once(&[][..])
                    .chain(rows.by_ref().skip(1).rev())
                    .collect::<Vec<_>>(),
                // Row m is of query − key = m − S.
                ScoreSide::Key => rows.collect(),
            };
            let blank = vec![0.0; columns];
            let values = values
                .iter()
                .flat_map(|row| if row.is_empty() { &blank } else { *row });
            let tensor = LazyTensor::from_values(&name, shape.to_vec(), values.copied().collect())?;
            #[allow(clippy::cast_possible_truncation)] // weights are held in f32
            tensor.scale(site.scale as f32)
        } else {
            LazyTensor::placeholder(&name, &shape)
        };
        let table = build.graph.weight(&format!("{name}.table"), table);
        let op = Op::RelativeScores {
            heads: site.sizes.layer.heads,
            layout: AttentionLayout::HeadMajor,
            of,
        };
        build.push(&name, op, vec![content, table])
    }
}

/// Where relative scores are written.
struct Site<'a> {
    sizes: &'a Sizes,
    scope: &'a str,
    tokens: u64,
    embeddings: &'a [f32],
    scale: f64,
}

impl Deberta {
    fn embed(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let (width, embedding) = (self.sizes.layer.width, self.embedding);
        let table = (self.sizes.vocabulary, embedding);
        let mut sum = build.embedding("embeddings.word_embeddings", table, inputs.input_ids)?;
        if self.absolute {
            let positions = inputs.positions(build, "embeddings.position_ids")?;
            let table = (self.sizes.positions, embedding);
            let positions = build.embedding("embeddings.position_embeddings", table, positions)?;
            sum = build.add("embeddings.add_positions", sum, positions)?;
        }
        build.parameters.ignore("embeddings.position_ids");
        if self.sizes.token_types > 0 {
            let types = inputs.token_types(build, "embeddings.token_type_ids")?;
            let table = (self.sizes.token_types, embedding);
            let types = build.embedding("embeddings.token_type_embeddings", table, types)?;
            sum = build.add("embeddings.add", sum, types)?;
        }
        if embedding != width {
            sum = build.linear("embeddings.embed_proj", (width, embedding), false, sum)?;
        }
        build.layer_norm("embeddings.LayerNorm", width, self.sizes.layer.epsilon, true, sum)
    }

    /// The convolution of the embeddings, added to what the first layer made of them.
    ///
    /// The reference also zeroes what it makes of padding, before and after; nothing reads that, as padding is
    /// masked from here on.
    fn convolve(
        &self,
        build: &mut Build<'_>,
        convolution: Convolution,
        embedded: ValueId,
        hidden: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let width = self.sizes.layer.width;
        let kernel = [width, width / convolution.groups, convolution.width];
        let weight = build.weight("encoder.conv.conv.weight", &kernel);
        let bias = build.weight("encoder.conv.conv.bias", &[width]);
        let op = Op::TokenConvolution {
            groups: convolution.groups,
        };
        let convolved = build.push("encoder.conv.conv", op, vec![embedded, weight, bias])?;
        let activation = convolution.activation.op();
        let activated = build.push("encoder.conv.conv_act", activation, vec![convolved])?;
        let sum = build.add("encoder.conv.add", hidden, activated)?;
        build.layer_norm(
            "encoder.conv.LayerNorm",
            width,
            self.sizes.layer.epsilon,
            true,
            sum,
        )
    }
}

impl Model for Deberta {
    fn traits(&self) -> Traits {
        Traits {
            positions: self.sizes.positions,
            token_types: self.sizes.token_types,
            landmark: WORDS,
            layers: "encoder.layer.",
        }
    }

    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError> {
        let mut embedded = self.embed(build, inputs)?;
        if self.convolution.is_some() {
            // The convolution looks beyond the last token.
            let name = "embeddings.mask";
            embedded = build.push(name, Op::MaskTokens, vec![embedded, inputs.attention_mask])?;
        }
        let (tokens, embeddings, kinds) = match self.relative {
            Some(relative) => {
                let tokens = inputs.length()?;
                let embeddings = relative.embeddings(build, &self.sizes, tokens)?;
                (tokens, embeddings, relative.terms())
            }
            None => (0, Vec::new(), 1),
        };
        #[allow(clippy::cast_precision_loss)] // head widths are small
        let channels = (self.sizes.layer.width / self.sizes.layer.heads) as f64;
        let scale = (channels * f64::from(kinds)).sqrt().recip();
        let mask = inputs.padding_mask(build)?;
        let mut hidden = embedded;
        for layer in 0..self.sizes.layers {
            let scope = format!("encoder.layer.{layer}");
            let site = Site {
                sizes: &self.sizes,
                scope: &scope,
                tokens,
                embeddings: &embeddings,
                scale,
            };
            let terms = |build: &mut Build<'_>, [query, key]: [ValueId; 2]| {
                let mut terms = vec![mask];
                if let Some(relative) = self.relative {
                    if relative.content_to_position {
                        terms.push(relative.scores(build, &site, ScoreSide::Query, query)?);
                    }
                    if relative.position_to_content {
                        terms.push(relative.scores(build, &site, ScoreSide::Key, key)?);
                    }
                }
                Ok(terms)
            };
            hidden = self.sizes.layer.write_with(build, &scope, hidden, scale, terms)?;
            if let (0, Some(convolution)) = (layer, self.convolution) {
                hidden = self.convolve(build, convolution, embedded, hidden)?;
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
        // Published checkpoints hold the head Microsoft trained; transformers writes one as BERT's.
        let published = build.parameters.has("lm_predictions.lm_head.dense.weight");
        let masked = MaskedLm {
            dense: if published {
                "lm_predictions.lm_head.dense"
            } else {
                "cls.predictions.transform.dense"
            },
            norm: if published {
                "lm_predictions.lm_head.LayerNorm"
            } else {
                "cls.predictions.transform.LayerNorm"
            },
            activation: self.sizes.activation,
            epsilon: self.sizes.layer.epsilon,
            decoder: "cls.predictions.decoder",
            bias: if published {
                &["lm_predictions.lm_head.bias"]
            } else {
                &["cls.predictions.bias", "cls.predictions.decoder.bias"]
            },
            vocabulary: self.sizes.vocabulary,
            embedding: self.embedding,
        };
        let heads = Heads {
            width: self.sizes.layer.width,
            classes: self.sizes.classes,
            pooler: None,
            sequence: Sequence::Dense {
                dense: "pooler.dense",
                activation: self.pooler_activation,
                scores: "classifier",
            },
            masked,
        };
        heads.write(build, task, hidden)
    }
}
