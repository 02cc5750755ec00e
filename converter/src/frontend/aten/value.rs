//! What a value of a program turns out to be while it is read.

use std::sync::Arc;

use super::array::{Array, Number, Values};
use super::dtype::ScalarType;
use crate::graph::ValueId;
use crate::source::LazyTensor;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Dtype(ScalarType),
    /// A device, layout or memory format.
    Ignored,
    List(Vec<Value>),
    Tensor(Tensor),
}

/// A tensor: known, on disk, or computed by the graph.
#[derive(Clone, Debug)]
pub(super) enum Tensor {
    /// Elements known now.
    Known(Array),
    /// A float parameter, maybe rearranged, unread.
    Weight(Arc<str>, ScalarType, LazyTensor),
    /// A value of the graph.
    Node {
        id: ValueId,
        dtype: ScalarType,
        shape: Vec<u64>,
    },
}

impl Tensor {
    pub(super) fn dtype(&self) -> ScalarType {
        match self {
            Self::Known(array) => array.dtype,
            Self::Weight(_, dtype, _) | Self::Node { dtype, .. } => *dtype,
        }
    }

    pub(super) fn shape(&self) -> &[u64] {
        match self {
            Self::Known(array) => &array.shape,
            Self::Weight(_, _, tensor) => tensor.shape(),
            Self::Node { shape, .. } => shape,
        }
    }

    pub(super) fn rank(&self) -> usize {
        self.shape().len()
    }
}

impl Value {
    /// A number, as Python would have it.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Bool(value) => Some(Number::Int(i64::from(*value))),
            Self::Int(value) => Some(Number::Int(*value)),
            Self::Float(value) => Some(Number::Float(*value)),
            Self::Tensor(Tensor::Known(array)) => array.item(),
            _ => None,
        }
    }

    /// The type a Python number counts as beside tensors.
    pub(super) fn scalar_type(&self) -> Option<ScalarType> {
        match self {
            Self::Bool(_) => Some(ScalarType::Bool),
            Self::Int(_) => Some(ScalarType::Int64),
            Self::Float(_) => Some(ScalarType::Float32),
            _ => None,
        }
    }

    /// What kind of value it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float(_) => "a float",
            Self::Str(_) => "a string",
            Self::Dtype(_) => "a dtype",
            Self::Ignored => "a device",
            Self::List(_) => "a list",
            Self::Tensor(_) => "a tensor",
        }
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Tensor(Tensor::Known(array))
    }
}

/// The integers of a known tensor.
pub(super) fn ints(array: &Array) -> Arc<[i64]> {
    match &array.values {
        Values::Ints(values) => values.clone(),
        Values::Floats(_) => array.numbers().map(Number::int).collect(),
    }
}
