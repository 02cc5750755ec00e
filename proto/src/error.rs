//! What can go wrong when reading and writing packages, always with the place it went wrong at.

use std::io;
use std::path::PathBuf;

use corer_mil::WeightError;

/// Why a package could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The path holds no package.
    #[error("{}: not a Core ML package: {reason}", path.display())]
    NotAPackage {
        /// The path given.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `Manifest.json` is malformed.
    #[error("{}: {key}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The key at fault.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model file is no valid protobuf message.
    #[error("{file}: not a Core ML model: {reason} (at byte {offset})")]
    Protobuf {
        /// The model file.
        file: String,
        /// Where decoding stopped.
        offset: u64,
        /// The decoder's reason, with the field path.
        reason: String,
    },
    /// The model is of another kind than ML Program.
    #[error(
        "{file}: the model is a {kind}, not an ML Program; convert the original model with an ML Program target"
    )]
    ModelKind {
        /// The model file.
        file: String,
        /// Field name of the kind in `Model.proto`.
        kind: String,
    },
    /// The message is valid protobuf, but what it says is not a model.
    #[error("{file}: {place}: {reason}")]
    Model {
        /// The model file.
        file: String,
        /// Function, operation and value, or field path.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A weight file is malformed, or what the model says of it is wrong.
    #[error("{file}: byte {offset}: {reason}")]
    Blob {
        /// The weight file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file is larger than this crate is willing to take into memory.
    #[error("{file}: {size} bytes are more than the {limit} allowed")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

/// Why a package could not be written. Nothing is left behind and an existing package is untouched.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something is in the way and overwriting was not asked for.
    #[error("{}: already exists; ask for overwriting to replace it", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// Something is in the way that is no package, so it is not deleted.
    #[error("{}: exists and is not a Core ML package ({reason}); move it away first", path.display())]
    NotAPackage {
        /// The target.
        path: PathBuf,
        /// Why it is not taken for one.
        reason: String,
    },
    /// The target path can't name a package.
    #[error("{}: {reason}", path.display())]
    BadPath {
        /// The target.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The disk (or a quota, or a file size limit) is full.
    #[error("{}: no room for {needed} bytes: {source}", path.display())]
    NoSpace {
        /// The file being written.
        path: PathBuf,
        /// Its size in bytes.
        needed: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// A file or directory can't be created, written or renamed.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A weight's bytes could not be produced.
    #[error("{place}: {source}")]
    Weight {
        /// Function, operation and value.
        place: String,
        /// The weight's own reason.
        source: WeightError,
    },
    /// The model holds something a package can't.
    #[error("{place}: {reason}")]
    Model {
        /// Function, operation and value, or feature.
        place: String,
        /// Why it can't be written.
        reason: String,
    },
}
