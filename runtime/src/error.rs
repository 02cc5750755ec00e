//! What can go wrong, and where: function, operation, value.

use std::fmt;

use corer_mil::WeightError;

/// A tensor whose shape and number of elements disagree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("shape {shape:?} does not hold {elements} elements")]
pub struct TensorError {
    /// The shape given.
    pub shape: Vec<usize>,
    /// The number of elements given.
    pub elements: usize,
}

/// One operation this engine can't execute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnsupportedOp {
    /// Operation name.
    pub operation: String,
    /// Operation type.
    pub op: String,
    /// What about it is not supported.
    pub reason: String,
}

impl fmt::Display for UnsupportedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}): {}", self.operation, self.op, self.reason)
    }
}

/// Why a program can't be made executable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The program has no such function.
    #[error("no function `{function}`; the program has: {}", available.join(", "))]
    NoSuchFunction {
        /// The function asked for.
        function: String,
        /// Those there are.
        available: Vec<String>,
    },
    /// The function has no block for its opset.
    #[error("function `{function}`: no block for its opset {opset}")]
    NoBody {
        /// Function.
        function: String,
        /// Its opset.
        opset: String,
    },
    /// Operations this engine can't execute, all of them.
    #[error("function `{function}`: {} operations are not supported: {}", ops.len(), list(ops))]
    Unsupported {
        /// Function.
        function: String,
        /// Every one of them.
        ops: Vec<UnsupportedOp>,
    },
    /// An operation is not well-formed.
    #[error("function `{function}`, operation `{operation}` ({op}): {reason}")]
    Invalid {
        /// Function.
        function: String,
        /// Operation name.
        operation: String,
        /// Operation type.
        op: String,
        /// Why.
        reason: String,
    },
    /// The function's inputs or outputs are not well-formed.
    #[error("function `{function}`, value `{value}`: {reason}")]
    Interface {
        /// Function.
        function: String,
        /// Input or output.
        value: String,
        /// Why.
        reason: String,
    },
    /// A constant's bytes can't be read.
    #[error("function `{function}`, value `{value}`: {source}")]
    Weight {
        /// Function.
        function: String,
        /// The constant.
        value: String,
        /// Why.
        source: WeightError,
    },
    /// The program needs more memory than it may take.
    #[error(
        "function `{function}`, value `{value}`: would take memory to {needed} bytes, the limit is {limit}; \
         raise the limit if the program is trusted"
    )]
    TooLarge {
        /// Function.
        function: String,
        /// The value that passed the limit.
        value: String,
        /// Bytes needed in all up to it.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The threads could not be started.
    #[error("could not start threads: {reason}")]
    Threads {
        /// Why.
        reason: String,
    },
}

fn list(ops: &[UnsupportedOp]) -> String {
    let lines: Vec<String> = ops.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Inputs are missing.
    #[error("missing inputs: {}", names.join(", "))]
    MissingInputs {
        /// Their names.
        names: Vec<String>,
    },
    /// An input is not the function's.
    #[error("no input `{name}`; the function takes: {}", expected.join(", "))]
    UnknownInput {
        /// The name given.
        name: String,
        /// The names there are.
        expected: Vec<String>,
    },
    /// An input has another shape or element type than the function declares.
    #[error("input `{name}` is {expected}, was given {given}")]
    WrongType {
        /// Input.
        name: String,
        /// Declared type.
        expected: String,
        /// Given type.
        given: String,
    },
    /// An index is outside the axis it selects from.
    #[error("operation `{operation}`, value `{value}`: index {index} is outside an axis of size {size}")]
    IndexOutOfRange {
        /// Operation name.
        operation: String,
        /// The value that holds the index.
        value: String,
        /// The index.
        index: i64,
        /// The axis's size.
        size: usize,
    },
    /// An operation can't be computed on these values.
    #[error("operation `{operation}`: {reason}")]
    Operation {
        /// Operation name.
        operation: String,
        /// Why.
        reason: String,
    },
    /// The program can't be planned for the sizes these inputs have.
    #[error("for inputs of these sizes: {source}")]
    Plan {
        /// Why.
        #[from]
        source: CompileError,
    },
    /// Another engine's own error.
    #[error("{engine}: {reason}")]
    Engine {
        /// The engine.
        engine: String,
        /// Why.
        reason: String,
    },
}
