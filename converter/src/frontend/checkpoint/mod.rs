//! Checkpoints: parameters under Hugging Face's names, and a `config.json` that says what they are parameters of.
//!
//! No code comes with a checkpoint, so each family's file says what the family computes, in the graph's operations.

mod architecture;
mod build;
mod config;
mod families;
mod heads;
mod inputs;
mod parameters;
mod post_norm;
mod sentence;
mod tables;

use corer_mil::Dim;

use super::Imported;
use crate::error::ConvertError;
use crate::graph::Graph;
use crate::request::{Request, Task};
use crate::shapes::InputShape;
use crate::source::Checkpoint;

use architecture::Architecture;
use build::{Build, graph_error};
use config::Config;
use inputs::Inputs;
use parameters::Parameters;

pub use architecture::{FAMILIES, Family, FamilyRow, Head};

/// Reads a checkpoint as the request asks, for inputs of the sizes given. A package of several functions is read
/// once for each.
///
/// # Errors
/// Another architecture, tensors that don't match, a request the model can't meet.
pub fn import(
    checkpoint: &Checkpoint,
    request: &Request,
    shape: InputShape,
) -> Result<Imported, ConvertError> {
    let config_file = checkpoint.config_path().display().to_string();
    let config = Config::new(&checkpoint.config, &config_file)?;
    let architecture = Architecture::of(&config)?;
    let model = families::read(architecture.family, &config)?;
    let task = task(request.task, &architecture, checkpoint)?;
    let traits = model.traits();
    if shape.tokens.most > traits.positions {
        return Err(ConvertError::Request {
            flag: "--sequence-length",
            reason: format!(
                "{} is outside 1..={}, the length of the position table (max_position_embeddings)",
                shape.tokens.most, traits.positions
            ),
        });
    }
    let mut graph = Graph::default();
    for (dim, extent) in [
        (shape.batch_dim(), shape.batch),
        (shape.tokens_dim(), shape.tokens),
    ] {
        if let Dim::Symbol(symbol) = dim {
            graph.extents.insert(symbol, extent);
        }
    }
    let place = checkpoint.root.display().to_string();
    let parameters = Parameters::new(&checkpoint.tensors, place, traits.landmark);
    let mut build = Build { graph, parameters };
    let inputs = Inputs::declare(&mut build, shape, traits.token_types, request.token_types);
    let hidden = model.encode(&mut build, &inputs)?;
    let notes = match (task, &checkpoint.sentence) {
        (Task::SentenceEmbedding, Some(modules)) => {
            sentence::embedding(&mut build.graph, modules, hidden, inputs.attention_mask)?
        }
        _ => model.head(&mut build, &inputs, task, hidden)?,
    };
    let Build {
        mut graph,
        parameters,
    } = build;
    let unused = parameters.finish(traits.layers).map_err(ConvertError::Tensors)?;
    graph.sweep();
    graph.check().map_err(graph_error)?;
    Ok(Imported {
        graph,
        task,
        labels: config.labels()?,
        unused,
        notes,
    })
}

/// What is to be read: what was asked, else what the directory is.
fn task(asked: Task, architecture: &Architecture, checkpoint: &Checkpoint) -> Result<Task, ConvertError> {
    let refuse = |reason: String| {
        Err(ConvertError::Request {
            flag: "--task",
            reason,
        })
    };
    match asked {
        Task::Auto if checkpoint.sentence.is_some() => Ok(Task::SentenceEmbedding),
        Task::Auto => Ok(architecture.task),
        Task::SentenceEmbedding if checkpoint.sentence.is_none() => {
            refuse("sentence-embedding needs a sentence-transformers directory (with modules.json)".into())
        }
        Task::Custom => refuse("custom is for traced and exported models".into()),
        task if architecture.family.has(task) => Ok(task),
        task => refuse(format!(
            "{} is not a head of {}; it has {}",
            task.name(),
            architecture.family.name(),
            architecture.family.tasks().join(", ")
        )),
    }
}
