//! What can keep a verdict from being reached, and what to do about it.
//!
//! A package that is numerically wrong is no error: it gets a [`crate::Verdict`] that did not pass.

use std::path::PathBuf;

/// Why no verdict was reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The package can't be opened.
    #[error(transparent)]
    Package(#[from] corer_proto::ReadError),
    /// The package opens, but can't be judged: no such function, an input nobody can fill, no fixed shape.
    #[error("{}: {reason}", path.display())]
    Interface {
        /// The package.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The package's program can't be made executable.
    #[error("{}: {source}", path.display())]
    Compile {
        /// The package.
        path: PathBuf,
        /// Why.
        source: Box<corer_runtime::CompileError>,
    },
    /// The package's program failed while it ran.
    #[error("{}: running input rows {first_row}..{}: {source}", path.display(), first_row + rows)]
    Run {
        /// The package.
        path: PathBuf,
        /// First input row of the batch that failed.
        first_row: usize,
        /// Rows in that batch.
        rows: usize,
        /// Why.
        source: Box<corer_runtime::RunError>,
    },
    /// The reference can't be read or computed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The inputs can't be made.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// The package's outputs can't be told to belong to the reference's.
    #[error(
        "cannot tell which output is which: {reason}\n  package:   {}\n  reference: {}\npair them with \
         --output PACKAGE=REFERENCE",
        package.join(", "), reference.join(", ")
    )]
    Pairing {
        /// Why not.
        reason: String,
        /// Package outputs with their shapes.
        package: Vec<String>,
        /// Reference outputs with their shapes.
        reference: Vec<String>,
    },
}

/// Why a reference can't be read or computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: at byte {offset}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The directory holds no checkpoint.
    #[error("{}: no checkpoint here; looked for {}", path.display(), looked_for.join(", "))]
    NoCheckpoint {
        /// The directory.
        path: PathBuf,
        /// File names looked for.
        looked_for: Vec<&'static str>,
    },
    /// A configuration asks for something this reference does not compute.
    #[error("{}: `{key}`: {reason}", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Tensors the reference needs are missing, all of them.
    #[error("{}: missing tensors: {}", path.display(), names.join(", "))]
    MissingTensors {
        /// The checkpoint.
        path: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// A tensor is not what it should be.
    #[error("{}: tensor `{name}`: {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// candle failed to compute.
    #[error("computing the reference ({step}): {source}")]
    Candle {
        /// What was being computed.
        step: String,
        /// Why it failed.
        source: candle_core::Error,
    },
    /// Another engine than candle failed to read or compute its model.
    #[error("{}: {source}", path.display())]
    Engine {
        /// The model.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model has no answer for inputs of this size.
    #[error("{}: {reason}", path.display())]
    Size {
        /// The model.
        path: PathBuf,
        /// Why not, and what would do.
        reason: String,
    },
    /// An inner value was asked for that the reference does not have.
    #[error("the reference has no value at `{place}`")]
    Place {
        /// The module path.
        place: String,
    },
    /// A batch asks for rows that were not recorded.
    #[error("{}: holds {recorded} recorded rows of {length} positions, not {asked}", path.display())]
    NotRecorded {
        /// The recording.
        path: PathBuf,
        /// Rows in it.
        recorded: usize,
        /// Positions of a row.
        length: usize,
        /// What was asked for.
        asked: String,
    },
}

/// Why inputs can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a text file is no text.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There are no inputs.
    #[error("{origin}: no inputs; give at least one text per line, or ask for seeded token ids")]
    Empty {
        /// Where they should have come from.
        origin: String,
    },
    /// There is no tokenizer to turn texts into token ids with.
    #[error(
        "{}: no tokenizer.json, which texts need; pass one with --tokenizer FILE, or verify on token ids with --tokens \
         FILE or --random-tokens N", directory.display()
    )]
    NoTokenizer {
        /// The directory looked in.
        directory: PathBuf,
    },
    /// The tokenizer can't be read or fails on a text.
    #[error("{}: {reason}", path.display())]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Inputs were asked for that this reference has no answer to.
    #[error("{0}")]
    Request(String),
}
