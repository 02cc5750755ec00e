//! `corer trace`: a checkpoint built with libtorch's operations and traced.

#[cfg(feature = "libtorch")]
mod attention;
#[cfg(feature = "libtorch")]
mod builder;
#[cfg(feature = "libtorch")]
mod file;
#[cfg(feature = "libtorch")]
mod operations;
#[cfg(feature = "libtorch")]
mod parameters;

use std::path::{Path, PathBuf};

use corer_converter::Task;

use crate::error::LibtorchError;

/// What is to be traced, and for what.
#[derive(Clone, Debug)]
pub struct TraceRequest {
    /// A checkpoint directory, as `convert` takes it.
    pub checkpoint: PathBuf,
    /// The head to build; [`Task::Auto`] asks the checkpoint.
    pub task: Task,
    /// Tokens of the example the trace is made with.
    pub sequence_length: u64,
    /// Rows of that example.
    pub batch_size: u64,
    /// Whether the model takes `token_type_ids`; otherwise they are all zero.
    pub token_types: bool,
}

/// What was traced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traced {
    /// Class of the module.
    pub class: String,
    /// The task it computes.
    pub task: Task,
    /// Its arguments, all (B, S) int64.
    pub inputs: Vec<String>,
    /// Keys of the dictionary it returns.
    pub outputs: Vec<String>,
    /// Parameters, those used twice counted once.
    pub parameters: usize,
    /// Calls of ATen in the trace.
    pub operations: usize,
    /// Whether it is good for any number of tokens, up to the positions it has, or for those of the example only.
    pub any_length: bool,
    /// Bytes written.
    pub bytes: u64,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Traces a checkpoint into a TorchScript archive that appears whole or not at all; with `overwrite` in place of what is
/// there.
///
/// # Errors
/// When the build lacks libtorch, the checkpoint can't be read, or the archive can't be written.
#[cfg(not(feature = "libtorch"))]
pub fn trace(_: &TraceRequest, _: &Path, _: bool) -> Result<Traced, LibtorchError> {
    Err(LibtorchError::NotBuilt)
}

/// Traces a checkpoint into a TorchScript archive that appears whole or not at all; with `overwrite` in place of what is
/// there.
///
/// # Errors
/// When the build lacks libtorch, the checkpoint can't be read, or the archive can't be written.
#[cfg(feature = "libtorch")]
pub fn trace(request: &TraceRequest, output: &Path, overwrite: bool) -> Result<Traced, LibtorchError> {
    use corer_converter::Request;
    use corer_converter::frontend::checkpoint;
    use corer_converter::shapes::{InputShape, Shape};
    use corer_converter::source::{Source, SourceModel};

    file::check(output, overwrite)?;
    let source = Source::open(&request.checkpoint)?;
    let SourceModel::Checkpoint(read) = &source.model else {
        return Err(LibtorchError::NoCheckpoint {
            path: request.checkpoint.clone(),
        });
    };
    let reading = Request {
        task: request.task,
        token_types: request.token_types,
        ..Request::new(&request.checkpoint)
    };
    let shape = InputShape::from(Shape {
        batch: request.batch_size,
        tokens: request.sequence_length,
    });
    let imported = checkpoint::import(read, &reading, shape)?;
    let graph = &imported.graph;
    let class = class(read, imported.task);
    let mut module = crate::module::Module::new(&class)?;
    let parameters = parameters::Parameters::load(graph, request.sequence_length, &mut module)?;
    let example = parameters::example(graph)?;
    let names = |ids: &[corer_converter::graph::ValueId]| -> Vec<String> {
        ids.iter().map(|id| graph.value(*id).name.clone()).collect()
    };
    let inputs = names(&graph.inputs);
    let arguments: Vec<_> = inputs.iter().map(String::as_str).zip(example).collect();
    module.trace(&arguments, |given| builder::build(graph, &parameters, given))?;
    let bytes = file::write(output, overwrite, |path| {
        module
            .save(path)
            .map_err(|error| LibtorchError::torch("saving", error))
    })?;
    Ok(Traced {
        class,
        task: imported.task,
        inputs,
        outputs: graph.outputs.iter().map(|(name, _)| name.clone()).collect(),
        parameters: parameters.count(),
        operations: graph.nodes.len(),
        any_length: parameters.any_length(),
        bytes,
        notes: imported.notes,
    })
}

/// The transformers class that is built, which says what its outputs mean.
#[cfg(feature = "libtorch")]
fn class(checkpoint: &corer_converter::source::Checkpoint, task: Task) -> String {
    use corer_converter::frontend::checkpoint::Family;

    if task == Task::SentenceEmbedding {
        return "SentenceTransformer".into();
    }
    let row = Family::of_config(&checkpoint.config)
        .unwrap_or(Family::Bert)
        .row();
    let suffix = row.heads.iter().find(|head| head.task == task);
    format!("{}{}", row.prefix, suffix.map_or("Model", |head| head.suffix))
}
