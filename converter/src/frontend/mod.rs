//! Reads a source into a graph; never runs it.

pub mod aten;
pub mod checkpoint;
pub mod export;
pub mod torchscript;

mod model;
mod program;

pub use model::Model;

use crate::graph::Graph;
use crate::request::Task;

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
