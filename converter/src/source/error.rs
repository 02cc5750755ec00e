//! Why a source can't be read: the file, the place in it, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use corer_mil::WeightError;

/// Where in a file something is wrong. Prints with a leading comma, to follow the file's name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// Byte offset from the start of the file.
    Offset(u64),
    /// A tensor the file declares.
    Tensor(String),
    /// A key of a JSON file.
    Key(String),
    /// An entry of an archive, and the byte offset within it where known.
    Entry {
        /// Name of the entry.
        name: String,
        /// Byte offset from the start of the entry's data.
        offset: Option<u64>,
    },
    /// A place in an archive's source text.
    Text {
        /// Name of the entry.
        entry: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
    },
    /// A member of a JSON document in an archive.
    Member {
        /// Name of the entry.
        entry: String,
        /// Way to the member from the document's root: `graph_module.graph.nodes[12].inputs[0]`.
        path: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Offset(offset) => write!(f, ", byte {offset}"),
            Self::Tensor(name) => write!(f, ", tensor `{}`", shortened(name)),
            Self::Key(key) => write!(f, ", key `{}`", shortened(key)),
            Self::Entry { name, offset: None } => write!(f, ", entry `{}`", shortened(name)),
            Self::Entry {
                name,
                offset: Some(offset),
            } => {
                write!(f, ", entry `{}`, byte {offset}", shortened(name))
            }
            Self::Text { entry, line, column } => {
                write!(f, ", {}:{line}:{column}", shortened(entry))
            }
            Self::Member { entry, path } => {
                write!(f, ", entry `{}`, `{}`", shortened(entry), shortened(path))
            }
        }
    }
}

/// Why a source can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing to read where a checkpoint was expected.
    #[error("{root}: {reason}; looked for {}", looked_for.join(", "))]
    NotFound {
        /// The directory.
        root: PathBuf,
        /// What is missing, and what to do.
        reason: String,
        /// Names that were looked for, in the order of preference.
        looked_for: Vec<String>,
    },
    /// The system refused a read.
    #[error("{file}: can't be read: {error}")]
    Io {
        /// File.
        file: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The file contradicts its own format.
    #[error("{file}{place}: {reason}")]
    Malformed {
        /// File.
        file: PathBuf,
        /// Where in it.
        place: Place,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The file is well formed but holds something corer does not read.
    #[error("{file}{place}: {reason}")]
    Unsupported {
        /// File.
        file: PathBuf,
        /// Where in it.
        place: Place,
        /// What it holds, and what would do.
        reason: String,
    },
    /// A pickle asks for code that plain weights don't need.
    #[error(
        "{file}{place}: the pickle wants to import `{global}`, which weights don't need; it is not loaded. \
         If you trust the file, load it in PyTorch and save its state dict as model.safetensors"
    )]
    ForbiddenGlobal {
        /// File.
        file: PathBuf,
        /// Archive entry and the byte offset of the opcode within it.
        place: Place,
        /// `module.name`.
        global: String,
    },
    /// A tensor can't be viewed as asked: a fault in the caller, or a shape the checkpoint lied about.
    #[error("tensor `{tensor}`: {reason}")]
    View {
        /// Tensor.
        tensor: String,
        /// What does not fit.
        reason: String,
    },
    /// A tensor's values can't be had.
    #[error(transparent)]
    Weight(#[from] WeightError),
}

impl SourceError {
    pub(crate) fn io(file: &Path, error: io::Error) -> Self {
        Self::Io {
            file: file.into(),
            error,
        }
    }

    pub(crate) fn malformed(file: &Path, place: Place, reason: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.into(),
            place,
            reason: reason.into(),
        }
    }

    pub(crate) fn unsupported(file: &Path, place: Place, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            file: file.into(),
            place,
            reason: reason.into(),
        }
    }

    pub(crate) fn view(tensor: &str, reason: impl Into<String>) -> Self {
        Self::View {
            tensor: shortened(tensor),
            reason: reason.into(),
        }
    }
}

/// A name from an untrusted file, fit for a message: no control characters, no more than 200 characters.
pub(crate) fn shortened(name: &str) -> String {
    const MOST: usize = 200;
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = name.chars().take(MOST).map(clean).collect();
    if name.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}
