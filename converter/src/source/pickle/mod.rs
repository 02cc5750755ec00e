//! Pickles as trees of plain values. Nothing is imported, called or constructed: a global is a name, a call is a
//! node that says what would have been called with what, and names outside the caller's allow-list are an error.
//!
//! Protocols 2 to 5 (what `torch.save` and TorchScript write). Opcodes and their meaning: Python's `pickletools.py`.
//! Values live in one table and refer to each other by position, so shared and even cyclic values need no
//! recursion, and memory stays proportional to the pickle.

mod machine;
mod opcode;

use std::fmt;

/// Names a value of one pickle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Id(u32);

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// A longer integer: little-endian two's complement.
    LongInt(Box<[u8]>),
    /// A float.
    Float(f64),
    /// Text.
    Text(Box<str>),
    /// Bytes, bytearrays and protocol 2's byte strings.
    Bytes(Box<[u8]>),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Box<[Id]>),
    /// A set or frozenset, in the order written.
    Set(Vec<Id>),
    /// A dictionary, in the order written; a key may come twice.
    Dict(Vec<(Id, Id)>),
    /// Something importable, by name.
    Global(Box<Global>),
    /// What a call would return.
    Object(Box<Object>),
    /// Something kept outside the pickle, by what the pickle calls it.
    Persistent(Id),
}

/// The name of something importable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Global {
    /// Module path, with dots.
    pub module: Box<str>,
    /// Name in the module.
    pub name: Box<str>,
}

impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// A call that was not made, and what would have been done to its result.
#[derive(Clone, PartialEq, Debug)]
pub struct Object {
    /// The global called, or the class instantiated.
    pub callable: Id,
    /// Arguments: a tuple.
    pub arguments: Id,
    /// Keyword arguments: a dictionary.
    pub keywords: Option<Id>,
    /// What `__setstate__` would have received.
    pub state: Option<Id>,
    /// Items that would have been set, in order.
    pub items: Vec<(Id, Id)>,
    /// Values that would have been appended, in order.
    pub appended: Vec<Id>,
}

/// A pickle, read.
#[derive(Clone, Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    /// Byte offset of the opcode that made each node.
    offsets: Vec<u32>,
    root: Id,
    consumed: usize,
}

impl Pickle {
    /// Reads the pickle at the start of `bytes`. `allowed` says which globals (module, name) may be named.
    ///
    /// # Errors
    /// When the bytes are not a whole pickle of protocol 2 to 5, name a global that is not allowed, or exceed
    /// the limits; each with the byte offset.
    pub fn read(bytes: &[u8], allowed: &dyn Fn(&str, &str) -> bool) -> Result<Self, PickleError> {
        machine::Machine::new(bytes, allowed)?.run()
    }

    /// The pickled value.
    pub fn root(&self) -> Id {
        self.root
    }

    /// A value. `id` must come from this pickle.
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Byte offset of the opcode that made a value.
    pub fn offset(&self, id: Id) -> u64 {
        u64::from(self.offsets[id.0 as usize])
    }

    /// Bytes up to and with the final `STOP`.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// The text a value is, if it is text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer a value is, if it is one of 64 bits.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of a tuple or list.
    pub fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(elements) => Some(elements),
            Node::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// The global a value is.
    pub fn global(&self, id: Id) -> Option<&Global> {
        match self.node(id) {
            Node::Global(global) => Some(global),
            _ => None,
        }
    }

    /// The call a value stands for: the global called, its positional arguments, and the object.
    pub fn call(&self, id: Id) -> Option<(&Global, &[Id], &Object)> {
        match self.node(id) {
            Node::Object(object) => Some((
                self.global(object.callable)?,
                self.sequence(object.arguments)?,
                object,
            )),
            _ => None,
        }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self, id: Id) -> &'static str {
        match self.node(id) {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) | Node::LongInt(_) => "an int",
            Node::Float(_) => "a float",
            Node::Text(_) => "a str",
            Node::Bytes(_) => "bytes",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Set(_) => "a set",
            Node::Dict(_) => "a dict",
            Node::Global(_) => "a global",
            Node::Object(_) => "an object",
            Node::Persistent(_) => "a persistent id",
        }
    }
}

/// Why a pickle was not read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {offset} of the pickle: {kind}")]
pub struct PickleError {
    /// Offset of the opcode at fault.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: PickleErrorKind,
}

/// What is wrong with a pickle.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PickleErrorKind {
    /// The bytes end in the middle.
    #[error("the pickle is cut off")]
    CutOff,
    /// It does not start as protocol 2 to 5 does.
    #[error("is not a pickle of protocol 2 to 5")]
    Protocol,
    /// No such opcode.
    #[error("{0:#04x} is not an opcode")]
    UnknownOpcode(u8),
    /// An opcode that plain data does not need.
    #[error("opcode {0} is not read: data pickled with protocol 2 to 5 does not use it")]
    ForbiddenOpcode(&'static str),
    /// A global outside the allow-list.
    #[error("the global `{0}` is not allowed")]
    ForbiddenGlobal(String),
    /// The stack, the memo or an operand is not what the opcode needs.
    #[error("{0}")]
    Invalid(String),
    /// Larger than anything this reader is meant for.
    #[error("more than {limit} {what}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many are read.
        limit: usize,
    },
}
