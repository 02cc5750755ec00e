//! The program itself: functions, blocks, operations, as they stand in a package.

use std::collections::BTreeMap;

use crate::opset::Opset;
use crate::types::ValueType;
use crate::value::Value;

/// An ML Program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Functions by name; a single-function program calls it `main`.
    pub functions: BTreeMap<String, Function>,
    /// Program attributes (`buildInfo` and the like).
    pub attributes: BTreeMap<String, Value>,
}

/// One callable function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Inputs in declared order.
    pub inputs: Vec<NamedType>,
    /// The opset whose block is to be run.
    pub opset: Opset,
    /// Bodies by opset; a well-formed function has one for [`Self::opset`].
    pub blocks: BTreeMap<Opset, Block>,
    /// Function attributes.
    pub attributes: BTreeMap<String, Value>,
}

impl Function {
    /// The body for the function's opset.
    pub fn body(&self) -> Option<&Block> {
        self.blocks.get(&self.opset)
    }
}

/// A straight list of operations; nested blocks belong to operations (`cond`, `while_loop`).
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Inputs of a nested block; a function's body has none of its own.
    pub inputs: Vec<NamedType>,
    /// Operations, each using only names defined before it.
    pub operations: Vec<Operation>,
    /// Names of the values the block returns.
    pub outputs: Vec<String>,
    /// Block attributes.
    pub attributes: BTreeMap<String, Value>,
}

/// A name with its type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedType {
    /// Identifier.
    pub name: String,
    /// Type.
    pub ty: ValueType,
}

impl NamedType {
    /// Pairs a name with a type.
    pub fn new(name: impl Into<String>, ty: impl Into<ValueType>) -> Self {
        Self {
            name: name.into(),
            ty: ty.into(),
        }
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Operation type: `conv`, `const`, ….
    pub op: String,
    /// Arguments by parameter name; variadic parameters have several bindings.
    pub inputs: BTreeMap<String, Vec<Binding>>,
    /// Results.
    pub outputs: Vec<NamedType>,
    /// Attributes; `name` always, `val` for a const, the parameters of iOS 16 `constexpr_*` ops.
    pub attributes: BTreeMap<String, Value>,
    /// Nested blocks.
    pub blocks: Vec<Block>,
}

impl Operation {
    /// The `name` attribute, else the first output's name, else the operation's type.
    pub fn name(&self) -> &str {
        self.attributes
            .get("name")
            .and_then(Value::as_str)
            .or_else(|| self.outputs.first().map(|output| output.name.as_str()))
            .unwrap_or(&self.op)
    }

    /// The value of a `const`.
    pub fn const_value(&self) -> Option<&Value> {
        if self.op == "const" {
            self.attributes.get("val")
        } else {
            None
        }
    }
}

/// What a parameter is bound to.
#[derive(Clone, Debug)]
pub enum Binding {
    /// A value defined earlier or a function input.
    Name(String),
    /// A literal.
    Value(Value),
}
