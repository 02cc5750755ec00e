//! Walks the graph in order, with the scopes its nodes stand in.

use std::collections::HashMap;

use corer_converter::graph::{Graph, Node, ValueId};
use tch::{TchError, Tensor};

use super::operations;
use super::parameters::{Known, Parameters};
use crate::error::LibtorchError;
use crate::module::{enter_scope, leave_scope};

/// Computes the graph's outputs from its inputs; what is recorded meanwhile is the trace.
pub(super) fn build(
    graph: &Graph,
    parameters: &Parameters,
    inputs: Vec<Tensor>,
) -> Result<Vec<(String, Tensor)>, LibtorchError> {
    let mut builder = Builder {
        graph,
        parameters,
        values: graph.inputs.iter().copied().zip(inputs).collect(),
        scopes: Vec::new(),
    };
    for node in &graph.nodes {
        builder.enter(&node.scope)?;
        let arguments = builder.arguments(node)?;
        let result = operations::compute(graph, node, &arguments)?;
        builder.values.insert(node.output, result);
    }
    builder.enter("")?;
    let output = |(name, id): &(String, ValueId)| Ok((name.clone(), builder.value(*id)?));
    graph.outputs.iter().map(output).collect()
}

struct Builder<'g> {
    graph: &'g Graph,
    parameters: &'g Parameters,
    values: HashMap<ValueId, Tensor>,
    /// Modules entered, outermost first.
    scopes: Vec<&'g str>,
}

impl<'g> Builder<'g> {
    /// Leaves the modules a scope is not in, and enters those it is.
    fn enter(&mut self, scope: &'g str) -> Result<(), LibtorchError> {
        let wanted = self.parameters.modules(scope);
        let common = self
            .scopes
            .iter()
            .zip(&wanted)
            .take_while(|(open, wanted)| open == wanted)
            .count();
        for _ in common..self.scopes.len() {
            leave_scope()?;
        }
        for path in &wanted[common..] {
            enter_scope(path)?;
        }
        self.scopes = wanted;
        Ok(())
    }

    fn arguments(&self, node: &Node) -> Result<Vec<Tensor>, LibtorchError> {
        node.inputs.iter().map(|id| self.value(*id)).collect()
    }

    fn value(&self, id: ValueId) -> Result<Tensor, LibtorchError> {
        if let Some(tensor) = self.values.get(&id) {
            return Ok(tensor.shallow_clone());
        }
        let name = &self.graph.value(id).name;
        let along = match self.parameters.get(id) {
            Some(Known::Stored(tensor)) => return Ok(tensor.shallow_clone()),
            Some(Known::Positions) => self.along_tokens(positions),
            Some(Known::Zeros) => self.along_tokens(Tensor::f_zeros_like),
            None => Err(TchError::Kind("is used before it is made".into())),
        };
        along.map_err(|error| LibtorchError::torch(format!("`{name}`"), error))
    }

    /// Something made of the first row of the first input, so that it has as many tokens.
    fn along_tokens(&self, make: impl Fn(&Tensor) -> Result<Tensor, TchError>) -> Result<Tensor, TchError> {
        let first = self.graph.inputs.first().and_then(|id| self.values.get(id));
        let ids = first.ok_or_else(|| TchError::Kind("the model has no input".into()))?;
        make(&ids.f_slice(0, 0, 1, 1)?)
    }
}

/// 0, 1, 2 … along the tokens: counted, since a trace would keep the length it was made at as a number.
fn positions(row: &Tensor) -> Result<Tensor, TchError> {
    row.f_ones_like()?.f_cumsum(1, None)?.f_sub_scalar(1)
}
