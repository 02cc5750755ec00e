//! A Hugging Face checkpoint directory: configuration, tensors, sentence modules.

use std::path::{Path, PathBuf};

use super::digest::{CheckpointDigest, DigestHandle, DigestPlan};
use super::error::{Place, SourceError};
use super::file::SourceFile;
use super::safetensors;
use super::sentence::SentenceModules;
use super::tensor_set::TensorSet;

/// Largest configuration file read.
const MOST_CONFIG_BYTES: u64 = 16 << 20;

/// A checkpoint directory, opened: names and shapes known, weights still on disk.
#[derive(Debug)]
pub struct Checkpoint {
    /// The directory given.
    pub root: PathBuf,
    /// `config.json` of the transformer.
    pub config: serde_json::Value,
    /// The transformer's tensors.
    pub tensors: TensorSet,
    /// What follows the transformer, in a sentence-transformers directory.
    pub sentence: Option<SentenceModules>,
    config_path: PathBuf,
    digest_plan: DigestPlan,
}

impl Checkpoint {
    /// Opens a directory with `config.json` and weights, or a sentence-transformers directory (`modules.json`,
    /// the transformer in the root or in a folder of its own).
    ///
    /// # Errors
    /// When something is missing, can't be read, contradicts its format or is not supported.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let config_path = path.join("config.json");
        let config_file = SourceFile::open(&config_path)?;
        let bytes = config_file.read_vec(0, config_file.len(), MOST_CONFIG_BYTES)?;
        let config = serde_json::from_slice(&bytes)
            .map_err(|error| SourceError::malformed(&config_path, Place::Whole, error.to_string()))?;
        let weights = SourceFile::open(&path.join("model.safetensors"))?;
        let mut tensors = TensorSet::default();
        for slice in safetensors::read(&weights)? {
            tensors.insert(slice);
        }
        let digest_plan = DigestPlan {
            weights: vec![("model.safetensors".into(), weights)],
            configuration: vec![("config.json".into(), config_file)],
        };
        Ok(Self {
            root: path.into(),
            config,
            tensors,
            sentence: None,
            config_path,
            digest_plan,
        })
    }

    /// Path of `config.json`.
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// `license` from the front matter of the model card (`README.md`), if it says.
    pub fn license(&self) -> Option<String> {
        None
    }

    /// `author` from the front matter of the model card (`README.md`), if it says.
    pub fn author(&self) -> Option<String> {
        None
    }

    /// Bytes a digest has to read.
    pub fn digest_bytes(&self) -> u64 {
        let files = self
            .digest_plan
            .weights
            .iter()
            .chain(&self.digest_plan.configuration);
        files.map(|(_, file)| file.len()).sum()
    }

    /// SHA-256 of every file the checkpoint is read from; `progress` is told how many more bytes were hashed.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn digest(&self, progress: &mut dyn FnMut(u64)) -> Result<CheckpointDigest, SourceError> {
        self.digest_plan.clone().run(progress)
    }

    /// As [`Self::digest`], on a thread of its own while the weights are converted.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn spawn_digest(
        &self,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<DigestHandle, SourceError> {
        self.digest_plan.clone().spawn(progress)
    }
}
