//! The interface every engine has: this CPU's, and those of other runtimes.

use std::collections::BTreeMap;
use std::fmt;

use corer_mil::NamedType;

use crate::error::RunError;
use crate::tensor::Tensor;

/// What an engine is, for reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineDescription {
    /// Engine name: `corer-cpu`, ….
    pub name: String,
    /// How it computes: arithmetic, instruction set.
    pub detail: String,
    /// Threads it uses, if it has a say in that.
    pub threads: Option<usize>,
}

impl fmt::Display for EngineDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, self.detail)?;
        if let Some(threads) = self.threads {
            write!(f, ", {threads} threads")?;
        }
        f.write_str(")")
    }
}

/// One loaded function of a model, ready to run.
pub trait Engine: Send + Sync {
    /// What it is.
    fn describe(&self) -> EngineDescription;

    /// The function's inputs, in declared order.
    fn inputs(&self) -> &[NamedType];

    /// The function's outputs, in declared order.
    fn outputs(&self) -> &[NamedType];

    /// Computes the outputs.
    ///
    /// # Errors
    /// When inputs don't fit, or the computation fails.
    fn run(&self, inputs: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, RunError>;
}
