//! What a package is held against, from the path a user gives.

use std::path::{Path, PathBuf};

use corer_converter::frontend::checkpoint::Family;
use corer_converter::source::{Source, SourceModel};
use corer_libtorch::{LibtorchError, LibtorchReference};
use corer_proto::Package;
use corer_references::GraphReference;
use corer_verifier::{
    CandleReference, GoldenReference, InputError, PackageReference, Reference, Task, VerifyError,
};

use super::trace;
use crate::exit_codes::Exit;
use crate::failure::Failure;

/// What computes a reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Engine {
    /// candle for BERT checkpoints, the source graph for everything else.
    Auto,
    /// candle-transformers, which reads the checkpoint by itself.
    Candle,
    /// The source graph, operation by operation.
    Graph,
    /// libtorch, which runs the code a traced module brings.
    Libtorch,
}

/// Their spellings.
pub(super) const ENGINES: &[(Engine, &str, &str)] = &[
    (
        Engine::Auto,
        "auto",
        "candle for BERT checkpoints, the runtime for packages, graph for everything else",
    ),
    (
        Engine::Candle,
        "candle",
        "candle-transformers, reading the checkpoint by itself",
    ),
    (
        Engine::Graph,
        "graph",
        "The source's operations one by one in f32, before any pass",
    ),
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
            // No checkpoint has a file of this name, and every package does.
            Self::Auto if source.is_dir() && source.join("Manifest.json").is_file() => Ok(Against::Package {
                package: source.to_owned(),
            }),
            Self::Auto | Self::Candle | Self::Graph => Ok(Against::Source {
                source: source.to_owned(),
                task,
                engine: self,
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

    /// What computes a source that is read and not run.
    fn settled(self, source: &Path) -> Self {
        if self != Self::Auto {
            return self;
        }
        let bert = |config| Family::of_config(config) == Some(Family::Bert);
        match Source::open(source).map(|source| source.model) {
            Ok(SourceModel::Checkpoint(checkpoint)) if bert(&checkpoint.config) => Self::Candle,
            Ok(_) => Self::Graph,
            // Whoever would read it says best what is wrong with it.
            Err(_) if source.is_file() => Self::Graph,
            Err(_) => Self::Candle,
        }
    }
}

/// A reference yet to be opened.
#[derive(Debug)]
pub(super) enum Against {
    /// The model the package was made from.
    Source {
        /// A checkpoint directory, traced or exported model.
        source: PathBuf,
        /// The head to compute; `None` takes what the package was converted for, else what the source says.
        task: Option<Task>,
        /// What computes it.
        engine: Engine,
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
    /// Another package.
    Package {
        /// The .mlpackage directory.
        package: PathBuf,
    },
}

/// Metadata key of the task a package was converted for.
const TASK_KEY: &str = "corer.task";

impl Against {
    /// Opens it, to judge `package`.
    ///
    /// # Errors
    /// When it can't be read, or is no model that can be computed.
    pub(super) fn open(&self, package: &Package) -> Result<Box<dyn Reference>, VerifyError> {
        Ok(match self {
            Self::Source { source, task, engine } => {
                let metadata = &package.model.description.metadata.user_defined;
                let converted_for = || {
                    let name = metadata.get(TASK_KEY)?;
                    Task::ALL.into_iter().find(|task| task.name() == name)
                };
                let task = task.or_else(converted_for);
                match engine.settled(source) {
                    Engine::Graph => Box::new(GraphReference::open(source, graph_task(task))?),
                    _ => Box::new(CandleReference::open(source, task)?),
                }
            }
            Self::Module { file } => Box::new(LibtorchReference::open(file)?),
            Self::Recording { file } => Box::new(GoldenReference::open(file)?),
            Self::Package { package } => Box::new(PackageReference::open(package, None)?),
        })
    }
}

impl Against {
    /// Opens what has inner values for what judges `package`: the source's own operations.
    ///
    /// # Errors
    /// When there is no source, or it can't be read.
    pub(super) fn open_inner(&self, package: &Package) -> Result<Box<dyn Reference>, VerifyError> {
        match self {
            Self::Source { source, task, .. } => {
                let graph = Self::Source {
                    source: source.clone(),
                    task: *task,
                    engine: Engine::Graph,
                };
                graph.open(package)
            }
            Self::Module { file } => Ok(Box::new(GraphReference::open(file, graph_task(None))?)),
            Self::Recording { file } => Err(no_inner(file, "is a recording of outputs")),
            Self::Package { package } => Err(no_inner(package, "is a package")),
        }
    }
}

fn no_inner(path: &Path, what: &str) -> VerifyError {
    let reason = format!(
        "{}: {what}, and gives no values inside the model; give the source with --reference",
        path.display()
    );
    InputError::Request(reason).into()
}

/// The same task in the converter's words.
fn graph_task(task: Option<Task>) -> corer_converter::Task {
    use corer_converter::Task as Other;
    match task {
        None => Other::Auto,
        Some(Task::FeatureExtraction) => Other::FeatureExtraction,
        Some(Task::SequenceClassification) => Other::SequenceClassification,
        Some(Task::TokenClassification) => Other::TokenClassification,
        Some(Task::QuestionAnswering) => Other::QuestionAnswering,
        Some(Task::FillMask) => Other::FillMask,
        Some(Task::SentenceEmbedding) => Other::SentenceEmbedding,
    }
}
