//! What a checkpoint is, as SHA-256 digests anyone can check with `sha256sum`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::error::SourceError;
use super::file::SourceFile;

/// Bytes hashed between two reads: large enough to hide the system call, small enough to stay in cache.
const CHUNK: usize = 1 << 18;

/// One file's digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileDigest {
    /// Name relative to the checkpoint's root, with `/` between folders.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Lower-case hexadecimal SHA-256 of the file.
    pub sha256: String,
}

/// Digests of everything a conversion reads numbers from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointDigest {
    /// Weight files, sorted by name.
    pub weights: Vec<FileDigest>,
    /// Configuration files (`config.json`, `modules.json` and the modules' own), sorted by name.
    pub configuration: Vec<FileDigest>,
}

impl CheckpointDigest {
    /// One digest for the weights: of the file itself when there is one (what `sha256sum model.safetensors`
    /// prints), of the lines `sha256sum` prints for them in name order when there are several.
    pub fn summary(&self) -> String {
        match &self.weights[..] {
            [only] => only.sha256.clone(),
            several => {
                let mut listing = String::new();
                for file in several {
                    // Writing to a string does not fail.
                    let _ = writeln!(listing, "{}  {}", file.sha256, file.name);
                }
                hex(&Sha256::digest(listing.as_bytes()))
            }
        }
    }
}

/// Digests being computed on a thread of their own.
#[derive(Debug)]
pub struct DigestHandle {
    thread: JoinHandle<Result<CheckpointDigest, SourceError>>,
}

impl DigestHandle {
    /// Waits for the digests.
    ///
    /// # Errors
    /// When a file could not be read.
    pub fn join(self) -> Result<CheckpointDigest, SourceError> {
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Whether [`Self::join`] would return at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Files to digest, under their names.
#[derive(Clone, Debug, Default)]
pub(super) struct DigestPlan {
    pub(super) weights: Vec<(String, Arc<SourceFile>)>,
    pub(super) configuration: Vec<(String, Arc<SourceFile>)>,
}

impl DigestPlan {
    /// Bytes there are to read.
    pub(super) fn bytes(&self) -> u64 {
        let files = self.weights.iter().chain(&self.configuration);
        files.map(|(_, file)| file.len()).sum()
    }

    /// Hashes every file; `progress` is told how many more bytes were hashed.
    pub(super) fn run(mut self, progress: &mut dyn FnMut(u64)) -> Result<CheckpointDigest, SourceError> {
        let mut group = |files: &mut Vec<(String, Arc<SourceFile>)>| {
            files.sort_by(|a, b| a.0.cmp(&b.0));
            files
                .iter()
                .map(|(name, file)| digest(name, file, progress))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(CheckpointDigest {
            weights: group(&mut self.weights)?,
            configuration: group(&mut self.configuration)?,
        })
    }

    /// As [`Self::run`], on a thread of its own.
    pub(super) fn spawn(
        self,
        mut progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<DigestHandle, SourceError> {
        let thread = std::thread::Builder::new()
            .name("source-digest".into())
            .spawn(move || self.run(&mut progress))
            .map_err(|error| SourceError::io(&PathBuf::from("(digest thread)"), error))?;
        Ok(DigestHandle { thread })
    }
}

fn digest(name: &str, file: &SourceFile, progress: &mut dyn FnMut(u64)) -> Result<FileDigest, SourceError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < file.len() {
        let take = (file.len() - offset).min(CHUNK as u64);
        // At most CHUNK, which is a usize.
        let chunk = &mut buffer[..take as usize];
        file.read_exact_at(chunk, offset)
            .map_err(|error| SourceError::io(file.path(), error))?;
        hasher.update(chunk);
        offset += take;
        progress(take);
    }
    Ok(FileDigest {
        name: name.into(),
        bytes: file.len(),
        sha256: hex(&hasher.finalize()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
