//! What a package is held against, from the path a user gives.

use std::path::PathBuf;

use corer_verifier::{CandleReference, GoldenReference, Reference, Task, VerifyError};

/// A reference yet to be opened.
#[derive(Debug)]
pub(super) enum Against {
    /// The model the package was made from.
    Source {
        /// A checkpoint directory.
        source: PathBuf,
        /// The head to compute; `None` takes what the checkpoint says.
        task: Option<Task>,
    },
    /// Inputs and outputs recorded from PyTorch.
    Recording {
        /// A safetensors file.
        file: PathBuf,
    },
}

impl Against {
    /// Opens it.
    ///
    /// # Errors
    /// When it can't be read, or is no model that can be computed.
    pub(super) fn open(&self) -> Result<Box<dyn Reference>, VerifyError> {
        Ok(match self {
            Self::Source { source, task } => Box::new(CandleReference::open(source, *task)?),
            Self::Recording { file } => Box::new(GoldenReference::open(file)?),
        })
    }
}
