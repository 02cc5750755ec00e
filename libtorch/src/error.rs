//! What can go wrong with libtorch, and what to do about it.

use std::path::PathBuf;

use corer_converter::ConvertError;
use corer_converter::source::SourceError;

/// Why a model was not traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibtorchError {
    /// The build lacks it.
    #[error(
        "this corer was built without libtorch; build it with `cargo build --release --features libtorch`, \
         LIBTORCH naming the directory of libtorch 2.13"
    )]
    NotBuilt,
    /// What is to be traced is no checkpoint.
    #[error("{}: is a traced or exported model already; give a checkpoint directory", path.display())]
    NoCheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// The checkpoint can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The checkpoint can't be read as a model.
    #[error(transparent)]
    Model(#[from] ConvertError),
    /// A weight can't be read.
    #[error("weight `{name}`: {reason}")]
    Weight {
        /// The parameter.
        name: String,
        /// Why.
        reason: String,
    },
    /// The model computes something that is not written for libtorch.
    #[error("{scope}: {op} is not written for libtorch; trace this model in Python and convert the trace")]
    Operation {
        /// Where in the model.
        scope: String,
        /// What.
        op: String,
    },
    /// libtorch refused something.
    #[error("libtorch: {step}: {reason}")]
    Torch {
        /// What was being done.
        step: String,
        /// What libtorch says.
        reason: String,
    },
    /// Something stands where the trace goes.
    #[error("{}: already exists", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The trace can't be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

#[cfg(feature = "libtorch")]
impl LibtorchError {
    /// A refusal of libtorch's while doing something.
    pub(crate) fn torch(step: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::Torch {
            step: step.into(),
            reason: error.to_string(),
        }
    }
}

#[cfg(feature = "libtorch")]
impl From<crate::module::Refused> for LibtorchError {
    fn from(refused: crate::module::Refused) -> Self {
        Self::torch("tracing", refused)
    }
}
