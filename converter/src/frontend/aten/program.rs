//! The program itself: values, parameters and calls in the order they happen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::dtype::ScalarType;
use super::recorded::Recorded;
use crate::source::LazyTensor;

/// Names a value of one program: a tensor, or a number, list or tuple computed by a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueId(u32);

/// A traced or exported model as a flat list of ATen calls.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// What the model is called with, in the order of its signature.
    pub inputs: Vec<Input>,
    /// Parameters, buffers and tensor constants.
    pub parameters: BTreeMap<ValueId, Parameter>,
    /// Calls, each after those whose results it takes.
    pub nodes: Vec<Node>,
    /// Conditions nodes stand under, by position in `nodes`: each value and the truth it must have. A trace has none;
    /// functions that were scripted may choose by sizes.
    pub guards: BTreeMap<usize, Vec<(ValueId, bool)>>,
    /// Class of the model, where the file names it: `BertForQuestionAnswering`.
    pub class: Option<String>,
    /// What it returns, nested tuples and dictionaries taken apart.
    pub outputs: Vec<Output>,
    /// What the file says of inputs and results, where it does.
    pub recorded: BTreeMap<ValueId, Recorded>,
    values: u32,
}

/// An input as the file declares it; a trace says no more than its name.
#[derive(Clone, PartialEq, Debug)]
pub struct Input {
    /// The value calls refer to.
    pub value: ValueId,
    /// Argument name of `forward`.
    pub name: String,
    /// Element type, where the file says one.
    pub dtype: Option<ScalarType>,
    /// Shape, where the file says one.
    pub shape: Option<Vec<Size>>,
}

/// One size of a declared shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Size {
    /// Always this many.
    Fixed(u64),
    /// Chosen by the caller, the same wherever the symbol stands.
    Symbol {
        /// Name in the file (`s0`).
        name: String,
        /// Smallest value the program is good for.
        min: u64,
        /// Largest, unless unbounded.
        max: Option<u64>,
    },
}

/// A tensor that lies in the file.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Qualified name: `encoder.layer.0.attention.self.query.weight`; tensor constants have one made up.
    pub name: String,
    /// The tensor, unread; of any element type PyTorch has.
    pub tensor: LazyTensor,
}

/// Something returned.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The name the file gives it: a key of a returned dictionary, the exported output's name.
    pub name: Option<String>,
    /// What is returned.
    pub value: Arg,
}

/// One call.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Operator without overload: `aten::linear`, `prim::NumToTensor`.
    pub target: String,
    /// Overload, where the file names it: `Tensor`, `int`; empty for `default`.
    pub overload: Option<String>,
    /// Positional arguments.
    pub args: Vec<Arg>,
    /// Keyword arguments, in the order written.
    pub kwargs: Vec<(String, Arg)>,
    /// Results. Several take a returned list or tuple apart; none means the result is dropped.
    pub outputs: Vec<ValueId>,
    /// Module path of the call: `encoder.layer.3.attention.self`; empty for the outermost module.
    pub scope: Arc<str>,
    /// Where the file says it.
    pub at: Origin,
}

/// An argument.
#[derive(Clone, PartialEq, Debug)]
pub enum Arg {
    /// `None`, or an optional argument left out.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer; TorchScript writes element types so too.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text (`approximate="tanh"`, an einsum's equation).
    Str(Arc<str>),
    /// The result of a call, an input or a parameter.
    Value(ValueId),
    /// A list or tuple.
    List(Vec<Arg>),
    /// An element type.
    Dtype(ScalarType),
    /// A device, layout or memory format: nothing that changes what is computed.
    Ignored,
}

/// Where in the file a call stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// In a source text.
    Source {
        /// Entry of the archive.
        entry: Arc<str>,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
    },
    /// In a list of nodes.
    Index(u32),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { entry, line, column } => write!(f, "{entry}:{line}:{column}"),
            Self::Index(index) => write!(f, "node {index}"),
        }
    }
}

impl Program {
    /// A new value, yet to be given a meaning.
    pub fn value(&mut self) -> ValueId {
        self.values += 1;
        ValueId(self.values - 1)
    }

    /// Declares the next input.
    pub fn input(
        &mut self,
        name: impl Into<String>,
        dtype: Option<ScalarType>,
        shape: Option<Vec<Size>>,
    ) -> ValueId {
        let value = self.value();
        self.inputs.push(Input {
            value,
            name: name.into(),
            dtype,
            shape,
        });
        value
    }

    /// Declares a parameter, buffer or tensor constant.
    pub fn parameter(&mut self, name: impl Into<String>, tensor: LazyTensor) -> ValueId {
        let value = self.value();
        let name = name.into();
        self.parameters.insert(value, Parameter { name, tensor });
        value
    }
}
