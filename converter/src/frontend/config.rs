//! `config.json` of a BERT checkpoint, checked before anything is built on it.

use serde_json::{Map, Value};

use crate::error::ConvertError;
use crate::request::Task;

/// Architectures the checkpoint frontend reads, with the task each is trained for.
const ARCHITECTURES: &[(&str, Task)] = &[
    ("BertModel", Task::FeatureExtraction),
    ("BertForSequenceClassification", Task::SequenceClassification),
    ("BertForTokenClassification", Task::TokenClassification),
    ("BertForQuestionAnswering", Task::QuestionAnswering),
    ("BertForMaskedLM", Task::FillMask),
    ("BertForPreTraining", Task::FillMask),
];

/// More layers than any published encoder by far; a larger count is a broken file.
const MOST_LAYERS: u64 = 1024;

/// The numbers that shape a BERT.
#[derive(Clone, Debug)]
pub(crate) struct BertConfig {
    pub(crate) hidden_size: u64,
    pub(crate) layers: u64,
    pub(crate) heads: u64,
    pub(crate) intermediate_size: u64,
    pub(crate) vocabulary: u64,
    pub(crate) positions: u64,
    pub(crate) token_types: u64,
    pub(crate) epsilon: f64,
    pub(crate) activation: Activation,
    /// Activation inside the masked-language head; the same as elsewhere.
    pub(crate) labels: Vec<String>,
    /// What the checkpoint says it is for.
    pub(crate) task: Task,
}

/// Non-linearities BERT configurations name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
    Silu,
    Tanh,
}

impl BertConfig {
    /// Reads and checks the configuration at `file` (named in errors only).
    ///
    /// # Errors
    /// Another architecture, a missing or impossible number, an option corer does not convert.
    pub(crate) fn read(config: &Value, file: &str) -> Result<Self, ConvertError> {
        let fail = |key: &str, reason: String| ConvertError::Config {
            file: file.into(),
            key: key.into(),
            reason,
        };
        let Some(map) = config.as_object() else {
            return Err(fail("", "is not a JSON object".into()));
        };
        let task = architecture(map, file)?;
        let number = |key: &str| -> Result<u64, ConvertError> {
            match map.get(key) {
                None => Err(fail(key, "is missing".into())),
                Some(value) => match value.as_u64() {
                    Some(number @ 1..=0x7fff_ffff) => Ok(number),
                    _ => Err(fail(key, format!("must be a positive whole number, is {value}"))),
                },
            }
        };
        let hidden_size = number("hidden_size")?;
        let heads = number("num_attention_heads")?;
        if hidden_size % heads != 0 {
            return Err(fail(
                "hidden_size",
                format!("{hidden_size} does not divide into {heads} attention heads (num_attention_heads)"),
            ));
        }
        let layers = number("num_hidden_layers")?;
        if layers > MOST_LAYERS {
            return Err(fail(
                "num_hidden_layers",
                format!("{layers} is more than {MOST_LAYERS}"),
            ));
        }
        let epsilon = match map.get("layer_norm_eps") {
            None => 1e-12,
            Some(value) => match value.as_f64() {
                Some(epsilon) if (0.0..1.0).contains(&epsilon) => epsilon,
                _ => return Err(fail("layer_norm_eps", format!("must be in 0..1, is {value}"))),
            },
        };
        let positions = map
            .get("position_embedding_type")
            .and_then(Value::as_str)
            .unwrap_or("absolute");
        if positions != "absolute" {
            return Err(fail(
                "position_embedding_type",
                format!("`{positions}` is not supported, only `absolute`"),
            ));
        }
        for key in ["is_decoder", "add_cross_attention"] {
            if map.get(key).and_then(Value::as_bool) == Some(true) {
                return Err(fail(key, "is true: only encoders are converted".into()));
            }
        }
        let activation = match map.get("hidden_act").and_then(Value::as_str).unwrap_or("gelu") {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            "tanh" => Activation::Tanh,
            other => {
                return Err(fail(
                    "hidden_act",
                    format!(
                        "`{other}` is not supported; supported: gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu, swish, tanh"
                    ),
                ));
            }
        };
        Ok(Self {
            hidden_size,
            layers,
            heads,
            intermediate_size: number("intermediate_size")?,
            vocabulary: number("vocab_size")?,
            positions: number("max_position_embeddings")?,
            token_types: number("type_vocab_size")?,
            epsilon,
            activation,
            labels: labels(map, file)?,
            task,
        })
    }
}

/// The task of the first architecture we know, or an error that says which we know.
fn architecture(map: &Map<String, Value>, file: &str) -> Result<Task, ConvertError> {
    let named: Vec<&str> = map
        .get("architectures")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let known = named.iter().find_map(|name| {
        ARCHITECTURES
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, task)| *task)
    });
    let model_type = map.get("model_type").and_then(Value::as_str);
    match (known, model_type) {
        (Some(task), None | Some("bert")) => Ok(task),
        // An encoder saved without its class name, as older sentence models are.
        (None, Some("bert")) if named.is_empty() => Ok(Task::FeatureExtraction),
        _ => Err(ConvertError::Architecture {
            file: file.into(),
            found: if named.is_empty() {
                format!("model_type `{}`", model_type.unwrap_or("none"))
            } else {
                format!(
                    "{} (model_type `{}`)",
                    named.join(", "),
                    model_type.unwrap_or("none")
                )
            },
            supported: ARCHITECTURES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }),
    }
}

/// `id2label` in the order of its numbers; empty when absent.
fn labels(map: &Map<String, Value>, file: &str) -> Result<Vec<String>, ConvertError> {
    let fail = |reason: String| ConvertError::Config {
        file: file.into(),
        key: "id2label".into(),
        reason,
    };
    let Some(table) = map.get("id2label").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    let mut labels = vec![None; table.len()];
    for (number, label) in table {
        let label = label
            .as_str()
            .ok_or_else(|| fail(format!("label of `{number}` is not a string")))?;
        let slot = number
            .parse::<usize>()
            .ok()
            .and_then(|index| labels.get_mut(index));
        *slot.ok_or_else(|| fail(format!("`{number}` is not a number below {}", table.len())))? =
            Some(label.to_owned());
    }
    // Every key parsed to its own slot, unless two spell the same number ("1" and "01").
    labels
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| fail("a number is given twice".into()))
}
