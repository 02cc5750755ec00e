//! Reads a source into a graph; never runs it.

pub mod aten;
pub mod torchscript;

mod bert;
mod config;
pub mod export;
mod heads;
mod model;
mod parameters;
mod program;
mod sentence;

use corer_mil::Dim;

pub use model::Model;

use crate::error::ConvertError;
use crate::graph::{Graph, GraphError};
use crate::request::{Request, Task};
use crate::shapes::InputShape;
use crate::source::Checkpoint;

use config::BertConfig;
use parameters::Parameters;

/// A source as a graph, with what the graph can't say.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model.
    pub graph: Graph,
    /// The task it was read for; never [`Task::Auto`].
    pub task: Task,
    /// Class names, in order, of a classification head.
    pub labels: Vec<String>,
    /// Tensors of the checkpoint the task does not need.
    pub unused: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// A tensor every BERT encoder has, by which the prefix of its names is found.
const LANDMARK: &str = "embeddings.word_embeddings.weight";

/// Reads a checkpoint as the request asks, for inputs of the sizes given. A package of several functions is read
/// once for each.
///
/// # Errors
/// Another architecture, tensors that don't match, a request the model can't meet.
fn import(checkpoint: &Checkpoint, request: &Request, shape: InputShape) -> Result<Imported, ConvertError> {
    let config_file = checkpoint.config_path().display().to_string();
    let config = BertConfig::read(&checkpoint.config, &config_file)?;
    let task = task(request.task, config.task, checkpoint)?;
    let refuse = |flag, reason| Err(ConvertError::Request { flag, reason });
    if shape.tokens.most > config.positions {
        let reason = format!(
            "{} is outside 1..={}, the length of the position table (max_position_embeddings)",
            shape.tokens.most, config.positions
        );
        return refuse("--sequence-length", reason);
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
    let mut parameters = Parameters::new(&checkpoint.tensors, place, LANDMARK);
    let stage = |error: GraphError| ConvertError::Graph {
        stage: "frontend".into(),
        error,
    };
    let encoder =
        bert::encoder(&mut graph, &mut parameters, &config, shape, request.token_types).map_err(stage)?;
    let notes = match (task, &checkpoint.sentence) {
        (Task::SentenceEmbedding, Some(modules)) => sentence::embedding(&mut graph, modules, encoder)?,
        _ => heads::head(&mut graph, &mut parameters, &config, task, encoder).map_err(stage)?,
    };
    let unused = parameters.finish().map_err(ConvertError::Tensors)?;
    graph.sweep();
    graph.check().map_err(stage)?;
    Ok(Imported {
        graph,
        task,
        labels: config.labels,
        unused,
        notes,
    })
}

/// What is to be read: what was asked, else what the directory is.
fn task(asked: Task, trained: Task, checkpoint: &Checkpoint) -> Result<Task, ConvertError> {
    match asked {
        Task::Auto if checkpoint.sentence.is_some() => Ok(Task::SentenceEmbedding),
        Task::Auto => Ok(trained),
        Task::SentenceEmbedding if checkpoint.sentence.is_none() => Err(ConvertError::Request {
            flag: "--task",
            reason: "sentence-embedding needs a sentence-transformers directory (with modules.json)".into(),
        }),
        Task::Custom => Err(ConvertError::Request {
            flag: "--task",
            reason: "custom is for traced and exported models".into(),
        }),
        task => Ok(task),
    }
}
