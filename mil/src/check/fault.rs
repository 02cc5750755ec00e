//! What the checker reports.

use std::fmt;

/// One thing wrong with a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The function it is in; empty when the fault is the program's own.
    pub function: String,
    /// The operation, unless the fault is the function's own.
    pub operation: Option<OperationAt>,
    /// The value (or parameter) concerned, if it is one.
    pub value: Option<String>,
    /// Which rule is broken.
    pub kind: FaultKind,
    /// One sentence saying what is wrong and, where that helps, what would be right.
    pub message: String,
}

/// Where an operation stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperationAt {
    /// Its `name` attribute, else its first result.
    pub name: String,
    /// Its type.
    pub op: String,
    /// Its index in the function's body; for a nested one the indices of operation, block, operation, ….
    pub index: Vec<usize>,
}

/// The rules a program can break.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// A function without name or body, or a body with inputs of its own.
    Function,
    /// A name that is no identifier, or a reserved word.
    Identifier,
    /// A name that two values have.
    Duplicate,
    /// A name used before or without a definition.
    Undefined,
    /// An operation no opset has.
    UnknownOperation,
    /// An operation or parameter the function's opset lacks.
    Opset,
    /// A parameter missing, unknown, or bound too often.
    Parameter,
    /// An argument computed at prediction where a constant is wanted.
    Constant,
    /// An argument of the wrong type.
    Type,
    /// Arguments that don't go together: sizes, axes, modes.
    Shape,
    /// A declared result that contradicts the inferred one.
    Result,
    /// A constant whose data does not fill its type.
    Value,
    /// A rank Core ML does not take.
    Rank,
    /// Blocks where none belong, or nested too deeply.
    Nesting,
    /// There were more faults than are listed.
    TooMany,
}

impl FaultKind {
    /// A stable short name, for machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Identifier => "identifier",
            Self::Duplicate => "duplicate",
            Self::Undefined => "undefined",
            Self::UnknownOperation => "unknown-operation",
            Self::Opset => "opset",
            Self::Parameter => "parameter",
            Self::Constant => "constant",
            Self::Type => "type",
            Self::Shape => "shape",
            Self::Result => "result",
            Self::Value => "value",
            Self::Rank => "rank",
            Self::Nesting => "nesting",
            Self::TooMany => "too-many",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for OperationAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation ")?;
        for (position, index) in self.index.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            write!(f, "{index}")?;
        }
        write!(f, " `{}` ({})", self.name, self.op)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.function.is_empty() {
            write!(f, "function `{}`, ", self.function)?;
        }
        if let Some(operation) = &self.operation {
            write!(f, "{operation}, ")?;
        }
        if let Some(value) = &self.value {
            write!(f, "`{value}`, ")?;
        }
        write!(f, "{}: {}", self.kind, self.message)
    }
}
