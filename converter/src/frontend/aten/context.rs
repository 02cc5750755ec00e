//! What operators are read with: the graph, and tensors turned into what they need.

use std::collections::HashMap;
use std::sync::Arc;

use corer_mil::Dim;

use super::array::{Array, Number};
use super::dtype::ScalarType;
use super::value::{Tensor, Value, ints};
use crate::graph::{Graph, Kind, Op, ValueId};
use crate::source::LazyTensor;

/// Parameters up to this many elements are read when they meet nothing but constants.
const MOST_READ: u64 = 1 << 22;

/// The graph being built, and where the program is.
pub(super) struct Context {
    pub(super) graph: Graph,
    /// Module path of the call being read.
    pub(super) scope: String,
    /// Constants added so far, by where their elements lie, which they keep alive.
    pub(super) constants: HashMap<(usize, Vec<u64>, ScalarType), (ValueId, Array)>,
}

pub(super) type Outcome = Result<Value, String>;

impl Context {
    /// Appends an operation.
    pub(super) fn push(&mut self, op: Op, inputs: Vec<ValueId>, dtype: ScalarType) -> Result<Tensor, String> {
        let id = self
            .graph
            .push(&self.scope, op, inputs)
            .map_err(|error| error.reason)?;
        let shape: Option<Vec<u64>> = self.graph.shape(id).iter().map(|dim| dim.known()).collect();
        Ok(Tensor::Node {
            id,
            dtype,
            shape: shape.ok_or("its shape is not known ahead of time")?,
        })
    }

    /// Appends an operation on tensors as they are.
    pub(super) fn apply(&mut self, op: Op, inputs: &[&Tensor], dtype: ScalarType) -> Outcome {
        let mut ids = Vec::with_capacity(inputs.len());
        for input in inputs {
            ids.push(self.id(input)?);
        }
        self.push(op, ids, dtype).map(Value::Tensor)
    }

    /// The graph's value of a tensor; constants are added.
    pub(super) fn id(&mut self, tensor: &Tensor) -> Result<ValueId, String> {
        match tensor {
            Tensor::Node { id, .. } => Ok(*id),
            Tensor::Weight(name, _, tensor) => Ok(self.graph.weight(name, tensor.clone())),
            Tensor::Known(array) => {
                let key = (array.address(), array.shape.clone(), array.dtype);
                if let Some((known, _)) = self.constants.get(&key) {
                    return Ok(*known);
                }
                let id = self.constant(array)?;
                self.constants.insert(key, (id, array.clone()));
                Ok(id)
            }
        }
    }

    /// As [`Self::id`] for known elements that were computed anew and may be those of another constant.
    pub(super) fn shared(&mut self, array: &Array) -> Result<ValueId, String> {
        let same = self.constants.values().filter(|(_, known)| known == array);
        // The first of them, whatever order a map has.
        match same.map(|(id, _)| *id).min() {
            Some(id) => Ok(id),
            None => self.id(&Tensor::Known(array.clone())),
        }
    }

    /// Adds known elements to the graph.
    fn constant(&mut self, array: &Array) -> Result<ValueId, String> {
        let name = format!("{}.constant", self.scope);
        let shape: Vec<Dim> = array.shape.iter().copied().map(Dim::Known).collect();
        match kind(array.dtype) {
            Kind::Float => {
                let values = array.numbers().map(|number| narrow(number.float())).collect();
                let tensor = LazyTensor::from_values(&name, array.shape.clone(), values)
                    .map_err(|error| error.to_string())?;
                Ok(self.graph.weight(&name, tensor))
            }
            Kind::Int => Ok(self.graph.ints(&name, shape, ints(array))),
            Kind::Bool => Ok(self.graph.bools(&name, shape, ints(array))),
        }
    }

    /// A tensor as the graph's value of the kind an element type is.
    pub(super) fn id_as(&mut self, tensor: &Tensor, dtype: ScalarType) -> Result<ValueId, String> {
        if let Tensor::Known(array) = tensor {
            return self.id(&Tensor::Known(array.cast(dtype)));
        }
        let id = self.id(tensor)?;
        let op = match (self.graph.value(id).kind, kind(dtype)) {
            (have, want) if have == want => return Ok(id),
            (_, Kind::Float) => Op::ToFloat,
            (_, Kind::Int) => Op::ToInt,
            (_, Kind::Bool) => Op::ToBool,
        };
        self.graph
            .push(&self.scope, op, vec![id])
            .map_err(|error| error.reason)
    }

    /// The elements of a tensor that does not depend on the inputs, if it is small.
    pub(super) fn known(&self, tensor: &Tensor) -> Result<Option<Array>, String> {
        match tensor {
            Tensor::Known(array) => Ok(Some(array.clone())),
            Tensor::Weight(_, dtype, tensor) if tensor.count() <= MOST_READ => {
                let values = tensor.read_f32().map_err(|error| error.to_string())?;
                let numbers = values.into_iter().map(|value| Number::Float(value.into()));
                Ok(Some(Array::from_numbers(
                    *dtype,
                    tensor.shape().to_vec(),
                    numbers,
                )))
            }
            Tensor::Weight(..) | Tensor::Node { .. } => Ok(None),
        }
    }

    /// All of them, when none depends on the inputs.
    pub(super) fn all_known(&self, tensors: &[&Tensor]) -> Result<Option<Vec<Array>>, String> {
        if tensors.iter().any(|tensor| matches!(tensor, Tensor::Node { .. })) {
            return Ok(None);
        }
        tensors.iter().map(|tensor| self.known(tensor)).collect()
    }
}

/// The graph's kind of an element type.
pub(super) fn kind(dtype: ScalarType) -> Kind {
    match dtype {
        ScalarType::Bool => Kind::Bool,
        dtype if dtype.is_integer() => Kind::Int,
        _ => Kind::Float,
    }
}

/// Weights are f32; the lowest f64 and −∞ stay what they are in kind.
#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn narrow(value: f64) -> f32 {
    value as f32
}

/// A number as a tensor of its own type.
pub(super) fn wrapped(value: &Value) -> Option<Tensor> {
    match value {
        Value::Tensor(tensor) => Some(tensor.clone()),
        other => {
            let (dtype, number) = (other.scalar_type()?, other.number()?);
            // Python floats are f64 until they meet a tensor.
            let dtype = match dtype {
                ScalarType::Float32 => ScalarType::Float64,
                dtype => dtype,
            };
            Some(Tensor::Known(Array::scalar(dtype, number)))
        }
    }
}

/// Text for names.
pub(super) fn name(text: &str) -> Arc<str> {
    text.into()
}
