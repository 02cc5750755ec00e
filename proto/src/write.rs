//! Writes a package, whole or not at all.

use std::fmt;
use std::path::Path;

use crate::error::WriteError;
use crate::model::Model;
use crate::progress::{NoProgress, Progress};

/// How to write.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// Replace an existing package.
    pub overwrite: bool,
    /// Threads that produce weights; all cores when `None`. The bytes written don't depend on it.
    pub threads: Option<usize>,
    /// Told about weight bytes written.
    pub progress: &'a dyn Progress,
    /// Wait until the disk has it (fsync) before the package appears.
    pub durable: bool,
}

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self {
            overwrite: false,
            threads: None,
            progress: &NoProgress,
            durable: true,
        }
    }
}

impl fmt::Debug for WriteOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteOptions")
            .field("overwrite", &self.overwrite)
            .field("threads", &self.threads)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Digest of the package; see [`crate::package_digest`].
    pub digest: String,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the weight file.
    pub weight_bytes: u64,
    /// Weights stored in the weight file.
    pub weights_stored: u64,
    /// Weights not stored again because an identical one already was.
    pub weights_shared: u64,
}

/// Writes `model` as a package at `path`.
///
/// # Errors
/// When the target exists, the model holds something a package can't, a weight can't be produced, or the disk
/// refuses. Nothing is left behind then.
pub fn write(path: &Path, model: &Model, options: &WriteOptions<'_>) -> Result<Written, WriteError> {
    let _ = (model, options);
    Err(WriteError::BadPath {
        path: path.to_owned(),
        reason: "writing is being written".into(),
    })
}
