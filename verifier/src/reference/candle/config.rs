//! `config.json` as the reference understands it. Defaults are those of transformers' `BertConfig`
//! (`configuration_bert.py`): a key a checkpoint leaves out has the value PyTorch would give it.

use std::path::{Path, PathBuf};

use candle_transformers::models::bert::{Config, HiddenAct, PositionEmbeddingType};
use serde_json::Value;

use crate::error::ReferenceError;
use crate::reference::candle::Task;

/// No published encoder comes near; a larger number is a broken file.
const LARGEST: u64 = 1 << 24;

/// What the reference takes from `config.json`.
#[derive(Clone, Debug)]
pub(super) struct BertConfig {
    pub(super) candle: Config,
    /// What the first architecture is trained for.
    pub(super) task: Option<Task>,
    /// Whether a masked-language head's decoder is the word embeddings, whatever the checkpoint holds.
    pub(super) tied: bool,
    /// Class names in index order; empty when `id2label` is missing or has holes.
    pub(super) labels: Vec<String>,
}

impl BertConfig {
    pub(super) fn read(path: &Path) -> Result<Self, ReferenceError> {
        let file = JsonFile::read(path)?;
        let fail = |key: &str, reason: String| file.fail(key, reason);
        let architecture = file.value["architectures"][0].as_str();
        match (file.value["model_type"].as_str(), architecture) {
            (Some("bert"), _) => {}
            (None, Some(name)) if name.starts_with("Bert") => {}
            (found, _) => {
                let found = found.or(architecture).unwrap_or("nothing");
                return Err(fail(
                    "model_type",
                    format!("is {found}; the candle reference computes bert. {GOLDEN}"),
                ));
            }
        }
        let position = file.value["position_embedding_type"]
            .as_str()
            .unwrap_or("absolute");
        if position != "absolute" {
            return Err(fail(
                "position_embedding_type",
                format!("is {position}, not absolute. {GOLDEN}"),
            ));
        }
        for key in ["is_decoder", "add_cross_attention"] {
            if file.value[key].as_bool() == Some(true) {
                return Err(fail(
                    key,
                    format!("is true; the candle reference computes encoders. {GOLDEN}"),
                ));
            }
        }
        let hidden_size = file.size("hidden_size", 768)?;
        let num_attention_heads = file.size("num_attention_heads", 12)?;
        if hidden_size % num_attention_heads != 0 {
            let reason = format!("{num_attention_heads} heads don't divide a hidden size of {hidden_size}");
            return Err(fail("num_attention_heads", reason));
        }
        let candle = Config {
            vocab_size: file.size("vocab_size", 30522)?,
            hidden_size,
            num_hidden_layers: file.size("num_hidden_layers", 12)?,
            num_attention_heads,
            intermediate_size: file.size("intermediate_size", 3072)?,
            hidden_act: activation(&file)?,
            hidden_dropout_prob: 0.0,
            max_position_embeddings: file.size("max_position_embeddings", 512)?,
            type_vocab_size: file.size("type_vocab_size", 2)?,
            initializer_range: 0.0,
            layer_norm_eps: file.value["layer_norm_eps"].as_f64().unwrap_or(1e-12),
            pad_token_id: usize::try_from(file.value["pad_token_id"].as_u64().unwrap_or(0)).unwrap_or(0),
            position_embedding_type: PositionEmbeddingType::Absolute,
            use_cache: false,
            classifier_dropout: None,
            model_type: None,
        };
        let task = architecture.and_then(Task::of_architecture);
        let tied = file.value["tie_word_embeddings"].as_bool().unwrap_or(true);
        Ok(Self {
            candle,
            task,
            tied,
            labels: labels(&file.value),
        })
    }
}

/// The way out when candle can't compute a model.
const GOLDEN: &str = "Have the source graph computed (--reference-engine graph), or record PyTorch's outputs and verify \
    against the recording";

/// candle-transformers' names for the activations transformers' `ACT2FN` knows. Its `GeluApproximate` is the tanh
/// form, which `gelu_new`, `gelu_fast` and `gelu_pytorch_tanh` all are.
fn activation(file: &JsonFile) -> Result<HiddenAct, ReferenceError> {
    match file.value["hidden_act"].as_str().unwrap_or("gelu") {
        "gelu" | "gelu_python" => Ok(HiddenAct::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(HiddenAct::GeluApproximate),
        "relu" => Ok(HiddenAct::Relu),
        other => Err(file.fail(
            "hidden_act",
            format!("is {other}; candle-transformers' BERT has gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu. {GOLDEN}"),
        )),
    }
}

/// `id2label` in index order, if it names every index from 0.
fn labels(config: &Value) -> Vec<String> {
    let Some(map) = config["id2label"].as_object() else {
        return Vec::new();
    };
    let named = (0..map.len()).map(|index| Some(map.get(&index.to_string())?.as_str()?.to_owned()));
    named.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// A JSON file and the ways its keys can be wrong.
pub(super) struct JsonFile {
    pub(super) path: PathBuf,
    pub(super) value: Value,
}

impl JsonFile {
    pub(super) fn read(path: &Path) -> Result<Self, ReferenceError> {
        let text = std::fs::read(path).map_err(|source| ReferenceError::Io {
            path: path.to_owned(),
            source,
        })?;
        let value = serde_json::from_slice(&text).map_err(|error| ReferenceError::Malformed {
            path: path.to_owned(),
            offset: 0,
            reason: format!("not JSON: {error}"),
        })?;
        Ok(Self {
            path: path.to_owned(),
            value,
        })
    }

    pub(super) fn fail(&self, key: &str, reason: String) -> ReferenceError {
        ReferenceError::Config {
            path: self.path.clone(),
            key: key.into(),
            reason,
        }
    }

    /// A positive number, or the default when the key is missing.
    pub(super) fn size(&self, key: &str, default: u64) -> Result<usize, ReferenceError> {
        let value = &self.value[key];
        let size = if value.is_null() {
            Some(default)
        } else {
            value.as_u64()
        };
        match size {
            Some(size @ 1..=LARGEST) => Ok(usize::try_from(size).unwrap_or(usize::MAX)),
            _ => Err(self.fail(key, format!("is {value}, expected a number from 1 to {LARGEST}"))),
        }
    }
}
