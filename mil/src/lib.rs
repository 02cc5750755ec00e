//! Typed MIL: the intermediate language a Core ML ML Program is written in.
//!
//! A [`Program`] holds functions, a [`Function`] holds one block per opset, a [`Block`] is a list of
//! [`Operation`]s in execution order. Values are named by strings, as on disk. Weights stay where they are
//! ([`WeightSource`]) until someone reads them. What an operation may look like is said once, in [`ops`].

pub mod builder;
pub mod check;
pub mod compare;
pub mod dtype;
pub mod ops;
pub mod opset;
pub mod program;
pub mod text;
pub mod types;
pub mod value;
pub mod weight;

pub use builder::{BuildError, FunctionBuilder, Input, Var};
pub use check::{Fault, FaultKind, check};
pub use compare::difference;
pub use dtype::DataType;
pub use opset::{Opset, Target};
pub use program::{Binding, Block, Function, NamedType, Operation, Program};
pub use types::{Dim, TensorType, ValueType};
pub use value::{Data, Immediate, Value};
pub use weight::{MemoryWeight, WeightError, WeightSource};
