//! Writes layers into the graph under the names their parameters have.

use super::parameters::Parameters;
use crate::error::ConvertError;
use crate::graph::{AttentionLayout, Graph, GraphError, Op, ValueId};
use crate::source::LazyTensor;

/// A graph being built from a checkpoint's parameters.
pub(super) struct Build<'t> {
    pub(super) graph: Graph,
    pub(super) parameters: Parameters<'t>,
}

/// A graph that does not hold together is a fault of the frontend, or of a source that lied about shapes.
pub(super) fn graph_error(error: GraphError) -> ConvertError {
    ConvertError::Graph {
        stage: "frontend".into(),
        error,
    }
}

impl Build<'_> {
    pub(super) fn push(
        &mut self,
        scope: &str,
        op: Op,
        inputs: Vec<ValueId>,
    ) -> Result<ValueId, ConvertError> {
        self.graph.push(scope, op, inputs).map_err(graph_error)
    }

    /// A parameter of the encoder.
    pub(super) fn weight(&mut self, name: &str, shape: &[u64]) -> ValueId {
        let tensor = self.parameters.encoder(name, shape);
        self.graph.weight(name, tensor)
    }

    /// A parameter outside the encoder.
    pub(super) fn head_weight(&mut self, name: &str, shape: &[u64]) -> ValueId {
        let tensor = self.parameters.head(name, shape);
        self.graph.weight(name, tensor)
    }

    /// Rows of a table of the encoder.
    pub(super) fn embedding(
        &mut self,
        name: &str,
        size: (u64, u64),
        indices: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let table = self.weight(&format!("{name}.weight"), &[size.0, size.1]);
        self.push(name, Op::Embedding, vec![table, indices])
    }

    /// A dense layer of the encoder; `size` is (out, in).
    pub(super) fn linear(
        &mut self,
        name: &str,
        size: (u64, u64),
        bias: bool,
        x: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let mut inputs = vec![x, self.weight(&format!("{name}.weight"), &[size.0, size.1])];
        if bias {
            inputs.push(self.weight(&format!("{name}.bias"), &[size.0]));
        }
        self.push(name, Op::Linear, inputs)
    }

    /// A dense layer outside the encoder; `size` is (out, in).
    pub(super) fn head_linear(
        &mut self,
        name: &str,
        size: (u64, u64),
        bias: bool,
        x: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let mut inputs = vec![x, self.head_weight(&format!("{name}.weight"), &[size.0, size.1])];
        if bias {
            inputs.push(self.head_weight(&format!("{name}.bias"), &[size.0]));
        }
        self.push(name, Op::Linear, inputs)
    }

    /// Dense layers stored as one: `parts` of `size` (out, in) one below the other, each under its own scope.
    pub(super) fn fused_linear<const PARTS: usize>(
        &mut self,
        name: &str,
        scopes: [&str; PARTS],
        size: (u64, u64),
        bias: bool,
        x: ValueId,
    ) -> Result<[ValueId; PARTS], ConvertError> {
        let (out, fan_in) = size;
        let rows = out.saturating_mul(PARTS as u64);
        let weight = self
            .parameters
            .encoder(&format!("{name}.weight"), &[rows, fan_in]);
        let bias = bias.then(|| self.parameters.encoder(&format!("{name}.bias"), &[rows]));
        let mut parts = [x; PARTS];
        for ((part, scope), index) in parts.iter_mut().zip(scopes).zip(0u64..) {
            let rows = index * out..(index + 1) * out;
            let mut inputs = vec![x];
            for (tensor, what) in [(Some(&weight), "weight"), (bias.as_ref(), "bias")] {
                if let Some(tensor) = tensor {
                    let tensor = tensor.clone().slice_rows(rows.clone())?;
                    inputs.push(self.graph.weight(&format!("{scope}.{what}"), tensor));
                }
            }
            *part = self.push(scope, Op::Linear, inputs)?;
        }
        Ok(parts)
    }

    /// A layer norm of the encoder.
    pub(super) fn layer_norm(
        &mut self,
        name: &str,
        width: u64,
        epsilon: f64,
        bias: bool,
        x: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let mut inputs = vec![x, self.weight(&format!("{name}.weight"), &[width])];
        if bias {
            inputs.push(self.weight(&format!("{name}.bias"), &[width]));
        }
        self.push(name, Op::LayerNorm { epsilon }, inputs)
    }

    /// A layer norm outside the encoder.
    pub(super) fn head_layer_norm(
        &mut self,
        name: &str,
        width: u64,
        epsilon: f64,
        bias: bool,
        x: ValueId,
    ) -> Result<ValueId, ConvertError> {
        let mut inputs = vec![x, self.head_weight(&format!("{name}.weight"), &[width])];
        if bias {
            inputs.push(self.head_weight(&format!("{name}.bias"), &[width]));
        }
        self.push(name, Op::LayerNorm { epsilon }, inputs)
    }

    pub(super) fn add(&mut self, scope: &str, x: ValueId, y: ValueId) -> Result<ValueId, ConvertError> {
        self.push(scope, Op::Add, vec![x, y])
    }

    /// Multi-head attention, `terms` added to its scores.
    pub(super) fn attention(
        &mut self,
        scope: &str,
        heads: u64,
        scale: f64,
        [query, key, value]: [ValueId; 3],
        terms: &[ValueId],
    ) -> Result<ValueId, ConvertError> {
        let op = Op::Attention {
            heads,
            scale,
            layout: AttentionLayout::HeadMajor,
        };
        let inputs = [&[query, key, value], terms].concat();
        self.push(scope, op, inputs)
    }

    /// A table computed from positions or from parameters.
    pub(super) fn computed(
        &mut self,
        name: &str,
        shape: &[u64],
        values: Vec<f32>,
    ) -> Result<ValueId, ConvertError> {
        let tensor = LazyTensor::from_values(name, shape.to_vec(), values)?;
        Ok(self.graph.weight(name, tensor))
    }
}

/// 1/√d for heads of d channels.
pub(super) fn usual_scale(width: u64, heads: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // head widths are small
    let channels = (width / heads) as f64;
    channels.sqrt().recip()
}
