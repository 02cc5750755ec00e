//! A Hugging Face checkpoint directory: configuration, tensors, sentence modules.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::digest::DigestPlan;
use super::error::{Place, SourceError};
use super::file::SourceFile;
use super::sentence::{ModuleList, SentenceModules};
use super::tensor_set::TensorSet;
use super::{folder, json};

/// Most of a model card that is searched for its front matter.
const MOST_CARD_BYTES: u64 = 1 << 20;

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
    card: Card,
    digest_plan: DigestPlan,
}

/// What the model card says in its front matter.
#[derive(Debug, Default)]
struct Card {
    license: Option<String>,
    author: Option<String>,
}

impl Checkpoint {
    /// Opens a directory with `config.json` and weights, or a sentence-transformers directory (`modules.json`,
    /// the transformer in the root or in a folder of its own). Safetensors are preferred to pickles.
    ///
    /// # Errors
    /// When something is missing, can't be read, contradicts its format or is not supported.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let missing = |folder: &Path, reason: &str, looked_for: &[&str]| SourceError::NotFound {
            root: folder.into(),
            reason: reason.into(),
            looked_for: looked_for.iter().map(|name| (*name).to_owned()).collect(),
        };
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let reason = "is a file; give the checkpoint's directory, with config.json and the weights";
                return Err(SourceError::unsupported(path, Place::Whole, reason));
            }
            Err(error) => return Err(SourceError::io(path, error)),
        }
        let modules = folder::open_optional(&path.join("modules.json"))?
            .map(ModuleList::read)
            .transpose()?;
        let transformer = path.join(modules.as_ref().map_or("", ModuleList::transformer));
        let config_path = transformer.join("config.json");
        let config_file = folder::open_optional(&config_path)?.ok_or_else(|| {
            missing(
                &transformer,
                "is not a checkpoint directory",
                &["config.json", "modules.json"],
            )
        })?;
        let config: serde_json::Value = json::read(&config_file)?;
        let weights = folder::open(&transformer)?;
        let mut digested = weights.files;
        let mut configuration = vec![config_file];
        configuration.extend(weights.index);
        let mut sentence = None;
        if let Some(list) = modules {
            let opened = list.open(
                path,
                config.get("hidden_size").and_then(serde_json::Value::as_u64),
            )?;
            digested.extend(opened.weights);
            configuration.extend(opened.configuration);
            sentence = Some(opened.modules);
        }
        let named = |files: Vec<Arc<SourceFile>>| {
            files
                .into_iter()
                .map(|file| (relative(path, file.path()), file))
                .collect()
        };
        let digest_plan = DigestPlan {
            weights: named(digested),
            configuration: named(configuration),
        };
        Ok(Self {
            root: path.into(),
            config,
            tensors: weights.tensors,
            sentence,
            config_path,
            card: Card::read(&path.join("README.md")),
            digest_plan,
        })
    }

    /// Path of the transformer's `config.json`.
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// `license` from the front matter of the model card (`README.md`), if it says.
    pub fn license(&self) -> Option<String> {
        self.card.license.clone()
    }

    /// `author` from the front matter of the model card (`README.md`), if it says.
    pub fn author(&self) -> Option<String> {
        self.card.author.clone()
    }

    /// The files it is read from.
    pub(super) fn digest_plan(&self) -> &DigestPlan {
        &self.digest_plan
    }
}

impl Card {
    /// Top-level `license` and `author` of the YAML front matter, where they are plain scalars. A card that can't
    /// be read says nothing: no number depends on it.
    fn read(path: &Path) -> Self {
        let Ok(Some(file)) = folder::open_optional(path) else {
            return Self::default();
        };
        let Ok(bytes) = file.read_vec(0, file.len().min(MOST_CARD_BYTES), MOST_CARD_BYTES) else {
            return Self::default();
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        if lines.next().map(str::trim_end) != Some("---") {
            return Self::default();
        }
        let mut card = Self::default();
        for line in lines.take_while(|line| line.trim_end() != "---") {
            let scalar = |key: &str| {
                let value = line.strip_prefix(key)?.strip_prefix(':')?.trim();
                let value = value.trim_matches(['"', '\'']);
                let plain = !value.is_empty() && !value.starts_with(['[', '{', '|', '>', '&', '*', '#']);
                plain.then(|| super::error::shortened(value))
            };
            card.license = card.license.take().or_else(|| scalar("license"));
            card.author = card.author.take().or_else(|| scalar("author"));
        }
        card
    }
}

/// A file's name relative to the root, with forward slashes.
fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = inside
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}
