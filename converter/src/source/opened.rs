//! What a path holds: a checkpoint directory, a traced model or an exported one. Told by content, not by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::digest::{CheckpointDigest, DigestHandle, DigestPlan};
use super::error::{Place, SourceError};
use super::file::SourceFile;
use super::pt2::Pt2;
use super::torch::ScriptArchive;
use super::zip::Archive;

/// How a zip archive starts, whatever is in it.
const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// A source, opened: names and shapes known, weights still on disk.
#[derive(Debug)]
pub struct Source {
    /// The path given.
    pub path: PathBuf,
    /// What it holds.
    pub model: SourceModel,
}

/// What a source holds.
#[derive(Debug)]
pub enum SourceModel {
    /// A directory with a configuration and weights.
    Checkpoint(Box<Checkpoint>),
    /// What `torch.jit.save` wrote.
    Script(Box<ScriptArchive>),
    /// What `torch.export.save` wrote.
    Export(Box<Pt2>),
}

impl Source {
    /// Opens whatever lies at a path.
    ///
    /// # Errors
    /// When it is none of what can be converted, or can't be read.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir());
        let model = if is_file {
            file(&SourceFile::open(path)?)?
        } else {
            SourceModel::Checkpoint(Box::new(Checkpoint::open(path)?))
        };
        Ok(Self {
            path: path.into(),
            model,
        })
    }

    /// Bytes a digest has to read.
    pub fn digest_bytes(&self) -> u64 {
        self.digest_plan().bytes()
    }

    /// SHA-256 of every file the model is read from; `progress` is told how many more bytes were hashed.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn digest(&self, progress: &mut dyn FnMut(u64)) -> Result<CheckpointDigest, SourceError> {
        self.digest_plan().run(progress)
    }

    /// As [`Self::digest`], on a thread of its own while the weights are converted.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn spawn_digest(
        &self,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<DigestHandle, SourceError> {
        self.digest_plan().spawn(progress)
    }

    fn digest_plan(&self) -> DigestPlan {
        match &self.model {
            SourceModel::Checkpoint(checkpoint) => checkpoint.digest_plan().clone(),
            SourceModel::Script(script) => one_file(script.file()),
            SourceModel::Export(pt2) => one_file(&pt2.file),
        }
    }
}

fn one_file(file: &Arc<SourceFile>) -> DigestPlan {
    let name = file.path().file_name().unwrap_or_default();
    DigestPlan {
        weights: vec![(name.to_string_lossy().into_owned(), file.clone())],
        configuration: Vec::new(),
    }
}

/// Opens a file that holds a whole model.
fn file(file: &Arc<SourceFile>) -> Result<SourceModel, SourceError> {
    let start = file.read_vec(0, file.len().min(ZIP_MAGIC.len() as u64), ZIP_MAGIC.len() as u64)?;
    let refuse = |reason: &str| Err(SourceError::unsupported(file.path(), Place::Whole, reason));
    if start != ZIP_MAGIC {
        return refuse(
            "is neither a traced (torch.jit.save) nor an exported model (torch.export.save); to convert a checkpoint \
             give its directory, with config.json and the weights",
        );
    }
    let archive = Archive::open(file.clone())?;
    if Pt2::is_one(&archive) {
        return Ok(SourceModel::Export(Box::new(Pt2::open(file)?)));
    }
    if ScriptArchive::is_one(&archive) {
        return Ok(SourceModel::Script(Box::new(ScriptArchive::open(file)?)));
    }
    let pickle = |(name, _): (&str, _)| name.ends_with("/data.pkl");
    if archive.entries().any(pickle) {
        return refuse(
            "holds weights without a model (torch.save); give a directory with these and the model's config.json, or \
             save the model with torch.jit.save(torch.jit.trace(model, inputs), path) or torch.export.save",
        );
    }
    refuse("is a zip archive, but neither torch.jit.save nor torch.export.save wrote it")
}
