//! The graph every frontend builds: framework-level operations on values, weights still on disk.
//!
//! Nodes stand in execution order and have one result each. Rewrites replace a node in place or append values;
//! [`Graph::sweep`] drops what nobody uses and [`Graph::check`] says whether it still holds together.

mod infer;
mod op;
mod open;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use infer::infer;
pub use op::{AttentionLayout, Comparison, Op, PoolKind, Reduction, ScoreSide, Unary};
pub use open::Probe;

use corer_mil::Dim;

use crate::shapes::Extent;
use crate::source::{LazyTensor, SourceError};

/// Names a value of one graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueId(usize);

/// What kind of numbers a value holds; widths are the lowering's business.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Real numbers.
    Float,
    /// Integers: token ids, masks, positions.
    Int,
    /// Truth values.
    Bool,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Def {
    /// An input of the model.
    Input,
    /// A parameter or buffer of the checkpoint, maybe rearranged.
    Weight(LazyTensor),
    /// Integers known from the start (position ids), or truth values as zeros and ones.
    Ints(Arc<[i64]>),
    /// The result of a node.
    Node,
}

/// One value.
#[derive(Clone, Debug)]
pub struct ValueInfo {
    /// Name: the parameter's, the input's, or the module path that made it.
    pub name: String,
    /// Kind of number.
    pub kind: Kind,
    /// Shape, as the framework sees it.
    pub shape: Vec<Dim>,
    /// Origin.
    pub def: Def,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Arguments in the operator's order; optional ones at the end may be missing.
    pub inputs: Vec<ValueId>,
    /// Result.
    pub output: ValueId,
    /// Module path in the source: `encoder.layer.3.attention.self`.
    pub scope: String,
}

/// A model as its framework describes it.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    values: Vec<ValueInfo>,
    /// Operations in execution order.
    pub nodes: Vec<Node>,
    /// Inputs in declared order.
    pub inputs: Vec<ValueId>,
    /// Results with the names users know them by.
    pub outputs: Vec<(String, ValueId)>,
    /// Smallest and largest size of each symbol in the inputs' shapes.
    pub extents: BTreeMap<u32, Extent>,
    /// Where several functions are to share weights: the most tokens any of them takes.
    pub longest: Option<u64>,
}

/// A graph that does not hold together: a fault in corer, or in a source that lied about shapes.
#[derive(Debug, thiserror::Error)]
#[error("{scope}: {op}: {reason}")]
pub struct GraphError {
    /// Module path of the node.
    pub scope: String,
    /// Operation.
    pub op: String,
    /// What does not fit.
    pub reason: String,
}

impl Graph {
    /// What is known of a value.
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        &self.values[id.0]
    }

    /// Its shape.
    pub fn shape(&self, id: ValueId) -> &[Dim] {
        &self.values[id.0].shape
    }

    /// The largest size of a dimension; `None` for a symbol nothing bounds.
    pub fn most(&self, dim: Dim) -> Option<u64> {
        match dim {
            Dim::Known(size) => Some(size),
            Dim::Symbol(symbol) => self.extents.get(&symbol).map(|extent| extent.most),
        }
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, kind: Kind, shape: Vec<Dim>) -> ValueId {
        let id = self.add(ValueInfo {
            name: name.into(),
            kind,
            shape,
            def: Def::Input,
        });
        self.inputs.push(id);
        id
    }

    /// Adds a weight.
    pub fn weight(&mut self, name: &str, tensor: LazyTensor) -> ValueId {
        let shape = tensor.shape().iter().copied().map(Dim::Known).collect();
        self.add(ValueInfo {
            name: name.into(),
            kind: Kind::Float,
            shape,
            def: Def::Weight(tensor),
        })
    }

    /// Adds known integers.
    pub fn ints(&mut self, name: &str, shape: Vec<Dim>, values: impl Into<Arc<[i64]>>) -> ValueId {
        self.add(ValueInfo {
            name: name.into(),
            kind: Kind::Int,
            shape,
            def: Def::Ints(values.into()),
        })
    }

    /// Adds known truth values.
    pub fn bools(&mut self, name: &str, shape: Vec<Dim>, values: impl Into<Arc<[i64]>>) -> ValueId {
        self.add(ValueInfo {
            name: name.into(),
            kind: Kind::Bool,
            shape,
            def: Def::Ints(values.into()),
        })
    }

    /// Puts an operation before the node at `index`; its result's shape follows from its arguments.
    ///
    /// # Errors
    /// When the arguments don't fit the operation.
    pub fn insert(&mut self, index: usize, op: Op, inputs: Vec<ValueId>) -> Result<ValueId, GraphError> {
        let scope = self.nodes[index].scope.clone();
        let output = self.push(&scope, op, inputs)?;
        if let Some(node) = self.nodes.pop() {
            self.nodes.insert(index, node);
        }
        Ok(output)
    }

    /// Appends an operation; its result's shape follows from its arguments.
    ///
    /// # Errors
    /// When the arguments don't fit the operation.
    pub fn push(&mut self, scope: &str, op: Op, inputs: Vec<ValueId>) -> Result<ValueId, GraphError> {
        let (kind, shape) = self.infer(scope, &op, &inputs)?;
        let output = self.add(ValueInfo {
            name: scope.into(),
            kind,
            shape,
            def: Def::Node,
        });
        self.nodes.push(Node {
            op,
            inputs,
            output,
            scope: scope.into(),
        });
        Ok(output)
    }

    /// Puts another operation in a node's place; its result keeps its identity.
    ///
    /// # Errors
    /// When the new operation's result has another shape or its arguments don't fit.
    pub fn replace(&mut self, index: usize, op: Op, inputs: Vec<ValueId>) -> Result<(), GraphError> {
        let scope = self.nodes[index].scope.clone();
        let output = self.nodes[index].output;
        let (_, shape) = self.infer(&scope, &op, &inputs)?;
        if shape != self.values[output.0].shape {
            return Err(GraphError {
                scope,
                op: op.to_string(),
                reason: format!("shape {shape:?} replaces {:?}", self.values[output.0].shape),
            });
        }
        let node = &mut self.nodes[index];
        node.op = op;
        node.inputs = inputs;
        Ok(())
    }

    /// A fault of the node at `index`.
    pub fn fault(&self, index: usize, reason: &str) -> GraphError {
        let node = &self.nodes[index];
        GraphError {
            scope: node.scope.clone(),
            op: node.op.to_string(),
            reason: reason.into(),
        }
    }

    /// Lets every user of one value use another of the same shape instead.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn substitute(&mut self, scope: &str, old: ValueId, new: ValueId) -> Result<(), GraphError> {
        if self.shape(old) != self.shape(new) {
            return Err(GraphError {
                scope: scope.into(),
                op: "substitute".into(),
                reason: format!("shape {:?} for {:?}", self.shape(new), self.shape(old)),
            });
        }
        let inputs = self.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        for id in inputs.chain(self.outputs.iter_mut().map(|(_, id)| id)) {
            if *id == old {
                *id = new;
            }
        }
        Ok(())
    }

    /// Gives a linear rearranged weights of the same shapes; `change` is told whether it has the bias. Other
    /// users of the old weights keep them. Returns whether all of them were known and so changed.
    ///
    /// # Errors
    /// Whatever `change` returns.
    pub fn rewrite_weights(
        &mut self,
        index: usize,
        change: impl Fn(LazyTensor, bool) -> Result<LazyTensor, SourceError>,
    ) -> Result<bool, SourceError> {
        let parameters = self.nodes[index].inputs[1..].to_vec();
        let mut changed = Vec::with_capacity(parameters.len());
        for (position, id) in parameters.iter().enumerate() {
            let Some(tensor) = self.as_weight(*id) else {
                return Ok(false);
            };
            changed.push((
                self.value(*id).name.clone(),
                change(tensor.clone(), position > 0)?,
            ));
        }
        for (position, (name, tensor)) in changed.into_iter().enumerate() {
            let id = self.weight(&name, tensor);
            self.nodes[index].inputs[position + 1] = id;
        }
        Ok(true)
    }

    /// The node that makes a value.
    pub fn producer(&self, id: ValueId) -> Option<&Node> {
        self.producer_index(id).map(|index| &self.nodes[index])
    }

    /// The position of the node that makes a value.
    pub fn producer_index(&self, id: ValueId) -> Option<usize> {
        // Values are created with their nodes, so their order agrees, gaps and what passes inserted aside.
        self.nodes
            .binary_search_by_key(&id, |node| node.output)
            .ok()
            .or_else(|| self.nodes.iter().position(|node| node.output == id))
    }

    /// The weight behind a value.
    pub fn as_weight(&self, id: ValueId) -> Option<&LazyTensor> {
        match &self.values[id.0].def {
            Def::Weight(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The integers behind a value.
    pub fn as_ints(&self, id: ValueId) -> Option<&[i64]> {
        match &self.values[id.0].def {
            Def::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// How many nodes and outputs use a value.
    pub fn uses(&self, id: ValueId) -> usize {
        let by_nodes = self
            .nodes
            .iter()
            .flat_map(|node| &node.inputs)
            .filter(|input| **input == id)
            .count();
        by_nodes + self.outputs.iter().filter(|(_, output)| *output == id).count()
    }

    /// Positions of the nodes that use a value.
    pub fn users(&self, id: ValueId) -> Vec<usize> {
        let uses = |(_, node): &(usize, &Node)| node.inputs.contains(&id);
        self.nodes
            .iter()
            .enumerate()
            .filter(uses)
            .map(|(index, _)| index)
            .collect()
    }

    /// Drops nodes whose results nobody uses.
    pub fn sweep(&mut self) {
        let mut live: BTreeSet<ValueId> = self.outputs.iter().map(|(_, id)| *id).collect();
        for node in self.nodes.iter().rev() {
            if live.contains(&node.output) {
                live.extend(&node.inputs);
            }
        }
        self.nodes.retain(|node| live.contains(&node.output));
    }

    /// Checks order, arity and shapes of the whole graph.
    ///
    /// # Errors
    /// The first node that does not fit.
    pub fn check(&self) -> Result<(), GraphError> {
        let mut defined = vec![false; self.values.len()];
        for (index, value) in self.values.iter().enumerate() {
            defined[index] = !matches!(value.def, Def::Node);
        }
        for node in &self.nodes {
            let fail = |reason: String| GraphError {
                scope: node.scope.clone(),
                op: node.op.to_string(),
                reason,
            };
            if let Some(early) = node.inputs.iter().find(|input| !defined[input.0]) {
                return Err(fail(format!(
                    "uses `{}` before it is made",
                    self.value(*early).name
                )));
            }
            let (kind, shape) = self.infer(&node.scope, &node.op, &node.inputs)?;
            let value = self.value(node.output);
            if kind != value.kind || shape != value.shape {
                return Err(fail(format!(
                    "gives {kind:?} {shape:?}, recorded as {:?} {:?}",
                    value.kind, value.shape
                )));
            }
            defined[node.output.0] = true;
        }
        match self.outputs.iter().find(|(_, id)| !defined[id.0]) {
            Some((name, _)) => Err(GraphError {
                scope: name.clone(),
                op: "output".into(),
                reason: "is never made".into(),
            }),
            None => Ok(()),
        }
    }

    fn infer(&self, scope: &str, op: &Op, inputs: &[ValueId]) -> Result<(Kind, Vec<Dim>), GraphError> {
        let types: Vec<_> = inputs
            .iter()
            .map(|id| (self.value(*id).kind, self.shape(*id)))
            .collect();
        infer(op, &types).map_err(|reason| GraphError {
            scope: scope.into(),
            op: op.to_string(),
            reason,
        })
    }

    fn add(&mut self, value: ValueInfo) -> ValueId {
        self.values.push(value);
        ValueId(self.values.len() - 1)
    }
}
