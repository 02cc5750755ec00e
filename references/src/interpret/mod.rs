//! Computes a graph of known sizes, one operation after the other, as the framework defines each.
//!
//! Real numbers are f32, integers i64, truth values bytes of 0 and 1. A value is dropped after its last use.

mod attention;
mod elementwise;
mod fold;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use corer_converter::graph::{Def, Graph, Kind, Node, Op, ValueId};
use corer_converter::source::{LazyTensor, SourceError};

/// Why a graph could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// A weight can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An operation can't be computed.
    #[error("{scope}: {op}: {source}")]
    Operation {
        /// Module path.
        scope: String,
        /// Operation.
        op: String,
        /// Why.
        source: Box<candle_core::Error>,
    },
    /// A value can't be made.
    #[error("`{name}`: {reason}")]
    Value {
        /// The input, weight or constant.
        name: String,
        /// Why.
        reason: String,
    },
}

/// The constants of a graph, read.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    values: BTreeMap<ValueId, Tensor>,
    /// Weights by what they read, so that another size of the same model reads nothing twice.
    weights: Vec<(LazyTensor, Tensor)>,
}

impl Constants {
    /// Reads what `graph` uses, keeping weights read before.
    pub(crate) fn read(&mut self, graph: &Graph) -> Result<(), ComputeError> {
        self.values.clear();
        let outputs = graph.outputs.iter().map(|(_, id)| *id);
        let used: BTreeSet<ValueId> = graph
            .nodes
            .iter()
            .flat_map(|node| node.inputs.iter().copied())
            .chain(outputs)
            .collect();
        let mut weights = Vec::new();
        for id in used {
            let value = graph.value(id);
            let wrong = |reason: String| ComputeError::Value {
                name: value.name.clone(),
                reason,
            };
            let tensor = match &value.def {
                Def::Weight(lazy) => {
                    let known = self
                        .weights
                        .iter()
                        .find(|(other, _)| other.reads_as(lazy) && other.shape() == lazy.shape());
                    let tensor = match known {
                        Some((_, tensor)) => tensor.clone(),
                        None => Tensor::from_vec(lazy.read_f32()?, known_shape(graph, id)?, &Device::Cpu)
                            .map_err(|error| wrong(error.to_string()))?,
                    };
                    weights.push((lazy.clone(), tensor.clone()));
                    tensor
                }
                Def::Ints(values) => {
                    let tensor = Tensor::from_slice(values, known_shape(graph, id)?, &Device::Cpu);
                    tensor
                        .and_then(|tensor| as_kind(&tensor, value.kind))
                        .map_err(|error| wrong(error.to_string()))?
                }
                Def::Input | Def::Node => continue,
            };
            self.values.insert(id, tensor);
        }
        self.weights = weights;
        Ok(())
    }
}

/// Computes `graph` on `inputs` and gives the values wanted, in order.
pub(crate) fn run(
    graph: &Graph,
    constants: &Constants,
    inputs: &BTreeMap<ValueId, Tensor>,
    wanted: &[ValueId],
) -> Result<Vec<Tensor>, ComputeError> {
    let mut last: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        last.extend(node.inputs.iter().map(|id| (*id, index)));
    }
    last.extend(wanted.iter().map(|id| (*id, usize::MAX)));
    let mut values = inputs.clone();
    let get = |values: &BTreeMap<ValueId, Tensor>, id: ValueId| {
        let found = values.get(&id).or_else(|| constants.values.get(&id));
        found.cloned().ok_or_else(|| ComputeError::Value {
            name: graph.value(id).name.clone(),
            reason: "is used but nothing makes it".into(),
        })
    };
    // Nobody looks at what comes after the last value wanted.
    let made = wanted.iter().filter_map(|id| graph.producer_index(*id)).max();
    let count = made.map_or(0, |index| index + 1);
    for (index, node) in graph.nodes.iter().take(count).enumerate() {
        let arguments = node
            .inputs
            .iter()
            .map(|id| get(&values, *id))
            .collect::<Result<Vec<_>, _>>()?;
        let shape = known_shape(graph, node.output)?;
        let computed = compute(node, &arguments, graph.value(node.output).kind, &shape);
        let computed = computed.and_then(|result| match result.dims() == shape {
            true => Ok(result),
            false => Err(candle_core::Error::Msg(format!(
                "gives {:?}, not {shape:?}",
                result.dims()
            ))),
        });
        let result = computed.map_err(|source| ComputeError::Operation {
            scope: node.scope.clone(),
            op: node.op.to_string(),
            source: Box::new(source),
        })?;
        values.insert(node.output, result);
        for id in &node.inputs {
            if last.get(id) == Some(&index) {
                values.remove(id);
            }
        }
        if !last.contains_key(&node.output) {
            values.remove(&node.output);
        }
    }
    wanted.iter().map(|id| get(&values, *id)).collect()
}

/// The shape of a value of a graph of known sizes.
pub(crate) fn known_shape(graph: &Graph, id: ValueId) -> Result<Vec<usize>, ComputeError> {
    let sizes = graph
        .shape(id)
        .iter()
        .map(|dim| usize::try_from(dim.known()?).ok());
    sizes.collect::<Option<_>>().ok_or_else(|| ComputeError::Value {
        name: graph.value(id).name.clone(),
        reason: format!("has shape {:?}, which is not known", graph.shape(id)),
    })
}

/// A tensor of the element type that stands for a kind.
pub(crate) fn as_kind(tensor: &Tensor, kind: Kind) -> candle_core::Result<Tensor> {
    match kind {
        Kind::Float => tensor.to_dtype(DType::F32),
        Kind::Int => tensor.to_dtype(DType::I64),
        Kind::Bool => tensor.ne(&tensor.zeros_like()?),
    }
}

/// One operation's result; `shape` is what it must have.
fn compute(node: &Node, x: &[Tensor], kind: Kind, shape: &[usize]) -> candle_core::Result<Tensor> {
    let first = &x[0];
    let axis = |dim: i64, rank: usize| fold::axis(dim, rank);
    match &node.op {
        Op::View(_) => first.contiguous()?.reshape(shape),
        Op::Transpose(a, b) => first.transpose(axis(*a, first.rank())?, axis(*b, first.rank())?),
        Op::Permute(dims) => {
            let dims = dims.iter().map(|dim| axis(*dim, first.rank()));
            first.permute(dims.collect::<candle_core::Result<Vec<_>>>()?)
        }
        Op::Unsqueeze(dim) => first.unsqueeze(axis(*dim, first.rank() + 1)?),
        Op::Select { dim, index } => {
            let dim = axis(*dim, first.rank())?;
            let index = axis(*index, first.dims()[dim])?;
            first.narrow(dim, index, 1)?.squeeze(dim)
        }
        Op::Slice { dim, .. } | Op::SliceLike(dim) => {
            let dim = axis(*dim, first.rank())?;
            let start = match &node.op {
                Op::Slice { start, .. } => usize::try_from(*start).unwrap_or(usize::MAX),
                _ => 0,
            };
            first.narrow(dim, start, shape[dim])
        }
        Op::Concat(dim) => {
            let dim = axis(*dim, first.rank())?;
            Tensor::cat(x, dim)
        }
        Op::Expand(_) => first.broadcast_as(shape)?.contiguous(),
        Op::Softmax(dim) => fold::softmax(first, axis(*dim, first.rank())?),
        Op::Reduce { kind, dims, keep } => fold::reduce(first, *kind, dims, *keep),
        Op::CumSum(dim) => fold::cumulative(first, axis(*dim, first.rank())?),
        Op::Gather(dim) => {
            let dim = axis(*dim, first.rank())?;
            first.contiguous()?.gather(&x[1].contiguous()?, dim)
        }
        Op::Embedding => {
            let rows = first.index_select(&x[1].flatten_all()?.contiguous()?, 0)?;
            rows.reshape(shape)
        }
        Op::Linear => fold::linear(first, &x[1], x.get(2), shape),
        Op::Matmul => first.contiguous()?.broadcast_matmul(&x[1].contiguous()?),
        Op::LayerNorm { epsilon } => fold::layer_norm(first, x.get(1), x.get(2), *epsilon),
        Op::ScaledDotProductAttention { scale } => {
            attention::scaled_dot_product(first, &x[1], &x[2], x.get(3), *scale)
        }
        Op::Attention { heads, scale, layout } => attention::attention(x, *heads, *scale, *layout),
        Op::Rotary { heads, layout } => attention::rotary(x, *heads, *layout),
        Op::RelativeScores { heads, layout, of } => {
            attention::relative_scores(first, &x[1], *heads, *layout, *of)
        }
        Op::PaddingMask => tokens::padding_mask(first, shape),
        Op::PositionIds { padding } => tokens::position_ids(first, *padding),
        Op::MaskTokens => tokens::mask_tokens(first, &x[1]),
        Op::TokenConvolution { groups } => tokens::convolution(first, &x[1], x.get(2), *groups),
        Op::Pool(pool) => tokens::pool(first, &x[1], *pool),
        Op::Normalize { epsilon } => tokens::normalize(first, *epsilon),
        op => elementwise::compute(op, x, kind),
    }
}
