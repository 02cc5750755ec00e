//! The checkpoint computed in f32 by candle-transformers' BERT, with the heads Hugging Face puts on it.
//!
//! candle's encoder does what transformers' eager code does, in the same order: scores plus (1 − mask) · f32::MIN,
//! softmax over keys, erf GELU or its tanh form, LayerNorm with the configured epsilon, positions from 0. A mask row
//! of zeros therefore attends evenly to every position, as in PyTorch. What it can't express (other activations,
//! relative positions, decoders) is refused by name.

mod checkpoint;
mod config;
mod heads;
mod lengths;
mod sentence;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Tensor as CandleTensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::BertModel;

use self::checkpoint::{Checkpoint, Weights};
use self::config::BertConfig;
use self::heads::Heads;
use self::lengths::{Scattered, groups};
use self::sentence::SentenceModules;
use super::{Feed, Intake, Reference};
use crate::error::ReferenceError;
use crate::inputs::{Batch, INPUT_IDS, TOKEN_TYPE_IDS};
use crate::report::{FileDigest, ReferenceReport};
use crate::tensor::Tensor;

/// Rows among which there are enough of like length.
const ROWS_AT_ONCE: usize = 64;

/// What a model is for; the same words the command line uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum Task {
    FeatureExtraction,
    SequenceClassification,
    TokenClassification,
    QuestionAnswering,
    FillMask,
    SentenceEmbedding,
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 6] = [
        Self::FeatureExtraction,
        Self::SequenceClassification,
        Self::TokenClassification,
        Self::QuestionAnswering,
        Self::FillMask,
        Self::SentenceEmbedding,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FeatureExtraction => "feature-extraction",
            Self::SequenceClassification => "sequence-classification",
            Self::TokenClassification => "token-classification",
            Self::QuestionAnswering => "question-answering",
            Self::FillMask => "fill-mask",
            Self::SentenceEmbedding => "sentence-embedding",
        }
    }

    /// The task a transformers class is for.
    fn of_architecture(name: &str) -> Option<Self> {
        match name {
            "BertModel" => Some(Self::FeatureExtraction),
            "BertForSequenceClassification" => Some(Self::SequenceClassification),
            "BertForTokenClassification" => Some(Self::TokenClassification),
            "BertForQuestionAnswering" => Some(Self::QuestionAnswering),
            "BertForMaskedLM" | "BertForPreTraining" => Some(Self::FillMask),
            _ => None,
        }
    }
}

/// A Hugging Face or sentence-transformers directory, loaded.
pub struct CandleReference {
    directory: PathBuf,
    transformer: PathBuf,
    task: Task,
    config: BertConfig,
    model: BertModel,
    heads: Heads,
    sentence: Option<SentenceModules>,
    files: Vec<FileDigest>,
}

impl CandleReference {
    /// Loads the checkpoint in `directory`, widened to f32.
    ///
    /// `task` says which head to compute; `None` takes it from `modules.json`, else from `config.json`.
    ///
    /// # Errors
    /// When files are missing or malformed, tensors don't fit the configuration, or candle can't express the model.
    pub fn open(directory: &Path, task: Option<Task>) -> Result<Self, ReferenceError> {
        let wants_sentence = task.is_none_or(|task| task == Task::SentenceEmbedding);
        let transformer = sentence::transformer_directory(directory)?;
        let config = BertConfig::read(&transformer.join("config.json"))?;
        let checkpoint = Arc::new(Checkpoint::open(&transformer)?);
        let sentence = if wants_sentence {
            SentenceModules::open(directory, config.candle.hidden_size)?
        } else {
            None
        };
        let task = match (task, &sentence) {
            (Some(task), _) => task,
            (None, Some(_)) => Task::SentenceEmbedding,
            (None, None) => config.task.unwrap_or(Task::FeatureExtraction),
        };
        if task == Task::SentenceEmbedding && sentence.is_none() {
            return Err(ReferenceError::NoCheckpoint {
                path: directory.into(),
                looked_for: vec!["modules.json"],
            });
        }
        missing(&checkpoint, &config)?;
        let (weights, failure) = Weights::new(Arc::clone(&checkpoint));
        let builder = VarBuilder::from_backend(Box::new(weights), DType::F32, Device::Cpu);
        let loading = |source| told(&failure, "loading weights", source);
        let model = BertModel::load(builder.clone(), &config.candle).map_err(loading)?;
        let heads = Heads::load(&builder, &config, task).map_err(loading)?;
        let mut files = checkpoint.digests(directory)?;
        files.extend(sentence.iter().flat_map(SentenceModules::files).cloned());
        Ok(Self {
            directory: directory.into(),
            transformer,
            task,
            config,
            model,
            heads,
            sentence,
            files,
        })
    }

    /// The task computed.
    pub const fn task(&self) -> Task {
        self.task
    }

    /// Size of the vocabulary: token ids lie below it.
    pub const fn vocabulary(&self) -> usize {
        self.config.candle.vocab_size
    }

    /// Number of token types: token type ids lie below it.
    pub const fn token_types(&self) -> usize {
        self.config.candle.type_vocab_size
    }

    /// The id `config.json` pads with.
    pub const fn pad_id(&self) -> usize {
        self.config.candle.pad_token_id
    }

    /// Where the checkpoint's `tokenizer.json` lies: beside its weights, or at the top of a sentence-transformers
    /// directory. It need not exist.
    pub fn tokenizer(&self) -> PathBuf {
        let beside = self.transformer.join("tokenizer.json");
        if beside.is_file() {
            beside
        } else {
            self.directory.join("tokenizer.json")
        }
    }

    fn compute(&self, batch: &Batch<'_>) -> candle_core::Result<BTreeMap<&'static str, CandleTensor>> {
        let size = (batch.rows.len(), batch.length);
        let unsigned = |values: Vec<i32>| -> candle_core::Result<CandleTensor> {
            let values: Result<Vec<u32>, _> = values.into_iter().map(u32::try_from).collect();
            let values = values.map_err(|_| candle_core::Error::Msg("a token id is negative".into()))?;
            CandleTensor::from_vec(values, size, &Device::Cpu)
        };
        let ids = unsigned(batch.input_ids())?;
        let types = unsigned(batch.token_type_ids())?;
        let mask = unsigned(batch.attention_mask())?;
        let hidden = self.model.forward(&ids, &types, Some(&mask))?;
        let mut outputs = self.heads.forward(&hidden)?;
        if let Some(sentence) = &self.sentence {
            outputs.insert("sentence_embedding", sentence.forward(&hidden, &mask)?);
        }
        outputs.insert("last_hidden_state", hidden);
        Ok(outputs)
    }

    /// Outputs for all rows at the batch's length.
    fn computed(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
        let failed = |source| {
            let last = batch.first_row + batch.rows.len();
            ReferenceError::Candle {
                step: format!("input rows {}..{last}", batch.first_row),
                source,
            }
        };
        let outputs = self.compute(batch).map_err(failed)?;
        let plain = outputs.into_iter().map(|(name, tensor)| {
            let shape = tensor.dims().to_vec();
            let values = tensor
                .flatten_all()
                .and_then(|flat| flat.to_vec1())
                .map_err(failed)?;
            let tensor = Tensor::new(shape, values)
                .ok_or_else(|| failed(candle_core::Error::Msg("shape and values disagree".into())))?;
            Ok((name.to_owned(), tensor))
        });
        plain.collect()
    }
}

impl Reference for CandleReference {
    fn describe(&self) -> ReferenceReport {
        ReferenceReport {
            kind: "candle-transformers, f32".into(),
            path: self.directory.display().to_string(),
            task: Some(self.task.name().into()),
            files: self.files.clone(),
            notes: BTreeMap::new(),
        }
    }

    fn intake(&self) -> Intake {
        let bounds = [
            (INPUT_IDS, self.vocabulary()),
            (TOKEN_TYPE_IDS, self.token_types()),
        ];
        Intake {
            bounds: bounds.map(|(name, bound)| (name.to_owned(), bound)).into(),
            pad: self.pad_id(),
            tokenizer: Some(self.tokenizer()),
        }
    }

    fn prepare(&mut self, feed: &Feed) -> Result<(), ReferenceError> {
        let positions = self.config.candle.max_position_embeddings;
        if feed.length <= positions {
            return Ok(());
        }
        Err(ReferenceError::Config {
            path: self.transformer.join("config.json"),
            key: "max_position_embeddings".into(),
            reason: format!("is {positions}, the package takes {} positions", feed.length),
        })
    }

    fn task_outputs(&self) -> Vec<String> {
        let names: &[&str] = match self.task {
            Task::FeatureExtraction if self.heads.has_pooler() => &["last_hidden_state", "pooler_output"],
            Task::FeatureExtraction => &["last_hidden_state"],
            Task::SequenceClassification | Task::TokenClassification | Task::FillMask => &["logits"],
            Task::QuestionAnswering => &["start_logits", "end_logits"],
            Task::SentenceEmbedding => &["sentence_embedding"],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn labels(&self) -> Option<&[String]> {
        let classifies = matches!(
            self.task,
            Task::SequenceClassification | Task::TokenClassification
        );
        (classifies && !self.config.labels.is_empty()).then_some(&self.config.labels)
    }

    fn outputs(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
        self.computed(batch)
    }

    fn outputs_at_tokens(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
        let mut scattered = Scattered::new(batch.rows.len(), batch.length);
        for group in groups(batch) {
            let computed = self.computed(&Batch {
                first_row: batch.first_row,
                length: group.length,
                rows: &group.cut(batch),
            })?;
            for (name, tensor) in &computed {
                scattered.add(&group, name, self.heads.per_position(name), tensor);
            }
        }
        Ok(scattered.finish())
    }

    fn rows_at_once(&self) -> usize {
        ROWS_AT_ONCE
    }
}

/// The error a weight failed with, if one did, else candle's own.
fn told(failure: &Mutex<Option<ReferenceError>>, step: &str, source: candle_core::Error) -> ReferenceError {
    let kept = failure.lock().ok().and_then(|mut slot| slot.take());
    kept.unwrap_or_else(|| ReferenceError::Candle {
        step: step.into(),
        source,
    })
}

/// Fails with every tensor of the encoder that is not there; a broken file misses thousands, the first tell enough.
fn missing(checkpoint: &Checkpoint, config: &BertConfig) -> Result<(), ReferenceError> {
    const MOST_TOLD: usize = 24;
    let both = |module: &str| [format!("{module}.weight"), format!("{module}.bias")];
    let embeddings =
        ["word", "position", "token_type"].map(|table| format!("embeddings.{table}_embeddings.weight"));
    let layers = (0..config.candle.num_hidden_layers).flat_map(|layer| {
        let modules = [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "attention.output.LayerNorm",
            "intermediate.dense",
            "output.dense",
            "output.LayerNorm",
        ];
        modules
            .into_iter()
            .flat_map(move |module| both(&format!("encoder.layer.{layer}.{module}")))
    });
    let expected = embeddings
        .into_iter()
        .chain(both("embeddings.LayerNorm"))
        .chain(layers);
    let names: Vec<String> = expected
        .filter(|name| !checkpoint.contains(name))
        .take(MOST_TOLD)
        .collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(ReferenceError::MissingTensors {
            path: checkpoint.directory.clone(),
            names,
        })
    }
}
