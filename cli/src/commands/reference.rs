//! What a package is held against, from the path a user gives.

use std::path::{Path, PathBuf};

use corer_libtorch::{LibtorchError, LibtorchReference};
use corer_verifier::{CandleReference, GoldenReference, Reference, Task, VerifyError};

use super::trace;
use crate::exit_codes::Exit;
use crate::failure::Failure;

/// What computes a reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Engine {
    /// Whatever there is for the source, of what runs no code from it.
    Auto,
    /// libtorch, which runs the code a traced module brings.
    Libtorch,
}

/// Their spellings.
pub(super) const ENGINES: &[(Engine, &str, &str)] = &[
    (Engine::Auto, "auto", "candle-transformers, from a checkpoint"),
    (
        Engine::Libtorch,
        "libtorch",
        "The traced module itself: runs code that comes with the model, as nothing else does; needs a build with libtorch",
    ),
];

impl Engine {
    /// What a package is held against when this computes `source`.
    ///
    /// # Errors
    /// When this build lacks the engine, or the source is none for it.
    pub(super) fn against(self, source: &Path, task: Option<Task>) -> Result<Against, Failure> {
        match self {
            Self::Auto => Ok(Against::Source {
                source: source.to_owned(),
                task,
            }),
            Self::Libtorch if !corer_libtorch::BUILT_IN => Err(trace::failure(
                LibtorchError::NotBuilt,
                corer_converter::Task::Auto,
            )),
            Self::Libtorch if source.is_dir() => {
                let message = format!(
                    "{}: libtorch runs traced modules, this is a directory",
                    source.display()
                );
                let hint = "trace the checkpoint first with `corer trace`, or leave --reference-engine away";
                Err(Failure::new(Exit::Usage, message).hint(hint))
            }
            Self::Libtorch => Ok(Against::Module {
                file: source.to_owned(),
            }),
        }
    }
}

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
    /// A traced module, run by libtorch.
    Module {
        /// A TorchScript archive.
        file: PathBuf,
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
            Self::Module { file } => Box::new(LibtorchReference::open(file)?),
            Self::Recording { file } => Box::new(GoldenReference::open(file)?),
        })
    }
}
