//! The module's tensors: parameters from the checkpoint, tables computed from positions, and the example's inputs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use corer_converter::graph::{Def, Graph, Kind, ValueId};
use corer_converter::source::LazyTensor;
use tch::{Device, Kind as Element, Tensor};

use crate::error::LibtorchError;
use crate::module::Module;

/// What the graph's values are before anything is computed.
pub(super) struct Parameters {
    tensors: HashMap<ValueId, Known>,
    /// Dotted paths of the modules that have a parameter.
    modules: BTreeSet<String>,
    count: usize,
    any_length: bool,
}

/// A value that is there from the start.
pub(super) enum Known {
    /// A parameter or buffer of the module.
    Stored(Tensor),
    /// 0, 1, 2 … for each token, which any length has.
    Positions,
    /// 0 for each token.
    Zeros,
}

impl Parameters {
    /// Reads every weight the graph uses, in f32, and registers it under its name; one that stands in two places once.
    pub(super) fn load(graph: &Graph, tokens: u64, module: &mut Module) -> Result<Self, LibtorchError> {
        let mut this = Self {
            tensors: HashMap::new(),
            modules: BTreeSet::new(),
            count: 0,
            any_length: true,
        };
        // By name: who has read what under it.
        let mut read: BTreeMap<String, (LazyTensor, Tensor)> = BTreeMap::new();
        let used: BTreeSet<ValueId> = graph
            .nodes
            .iter()
            .flat_map(|node| node.inputs.iter().copied())
            .collect();
        for id in used {
            let value = graph.value(id);
            let known = match &value.def {
                Def::Input | Def::Node => continue,
                Def::Weight(lazy) => {
                    let name = free_name(&read, &value.name, lazy);
                    let tensor = match read.get(&name) {
                        Some((_, tensor)) => tensor.shallow_clone(),
                        None => {
                            let tensor = floats(&name, lazy)?;
                            this.add(module, &name, &tensor, true)?;
                            read.insert(name, (lazy.clone(), tensor.shallow_clone()));
                            tensor
                        }
                    };
                    // What depends on the length, such as biases by distance, has it as a size.
                    let computed = lazy.shape().iter().filter(|size| **size == tokens).count() > 1;
                    this.any_length &= !computed;
                    Known::Stored(tensor)
                }
                Def::Ints(values) if along_tokens(graph, id, tokens) && counts(values) => Known::Positions,
                Def::Ints(values)
                    if along_tokens(graph, id, tokens) && values.iter().all(|value| *value == 0) =>
                {
                    Known::Zeros
                }
                Def::Ints(values) => {
                    let tensor = integers(graph, id, values)?;
                    this.add(module, &value.name, &tensor, false)?;
                    this.any_length = false;
                    Known::Stored(tensor)
                }
            };
            this.tensors.insert(id, known);
        }
        Ok(this)
    }

    fn add(
        &mut self,
        module: &mut Module,
        name: &str,
        tensor: &Tensor,
        parameter: bool,
    ) -> Result<(), LibtorchError> {
        module.add(name, tensor, parameter)?;
        self.count += 1;
        let mut path = name;
        while let Some((parent, _)) = path.rsplit_once('.') {
            self.modules.insert(parent.to_owned());
            path = parent;
        }
        Ok(())
    }

    /// What is known of a value.
    pub(super) fn get(&self, id: ValueId) -> Option<&Known> {
        self.tensors.get(&id)
    }

    /// The modules along a scope, outermost first, as far as there are any.
    pub(super) fn modules<'s>(&self, scope: &'s str) -> Vec<&'s str> {
        let ends = scope.match_indices('.').map(|(at, _)| at).chain([scope.len()]);
        ends.map(|end| &scope[..end])
            .take_while(|path| self.modules.contains(*path))
            .collect()
    }

    /// Tensors registered.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Whether nothing registered depends on the number of tokens.
    pub(super) const fn any_length(&self) -> bool {
        self.any_length
    }
}

/// Inputs to trace with: the token 0, all of them unmasked.
pub(super) fn example(graph: &Graph) -> Result<Vec<Tensor>, LibtorchError> {
    let each = graph.inputs.iter().map(|id| {
        let name = &graph.value(*id).name;
        let fill = i64::from(name == "attention_mask");
        let tensor = Tensor::f_full(sizes(graph, *id), fill, (Element::Int64, Device::Cpu));
        tensor.map_err(|error| LibtorchError::torch(format!("making an example `{name}`"), error))
    });
    each.collect()
}

/// The name, or one like it when something else has it.
fn free_name(read: &BTreeMap<String, (LazyTensor, Tensor)>, name: &str, lazy: &LazyTensor) -> String {
    let mut free = name.to_owned();
    while read
        .get(&free)
        .is_some_and(|(other, _)| !other.reads_as(lazy) || other.shape() != lazy.shape())
    {
        free.push('_');
    }
    free
}

fn floats(name: &str, lazy: &LazyTensor) -> Result<Tensor, LibtorchError> {
    let values = lazy.read_f32().map_err(|error| LibtorchError::Weight {
        name: name.into(),
        reason: error.to_string(),
    })?;
    let torch = |error| LibtorchError::torch(format!("weight `{name}`"), error);
    let shape: Vec<i64> = lazy.shape().iter().map(|size| size.cast_signed()).collect();
    Tensor::f_from_slice(&values)
        .and_then(|flat| flat.f_reshape(shape))
        .map_err(torch)
}

fn integers(graph: &Graph, id: ValueId, values: &[i64]) -> Result<Tensor, LibtorchError> {
    let value = graph.value(id);
    let torch = |error| LibtorchError::torch(format!("`{}`", value.name), error);
    let element = if value.kind == Kind::Bool {
        Element::Bool
    } else {
        Element::Int64
    };
    let shape = sizes(graph, id);
    Tensor::f_from_slice(values)
        .and_then(|flat| flat.f_reshape(shape))
        .and_then(|tensor| tensor.f_to_kind(element))
        .map_err(torch)
}

/// Sizes of a value; all are known, since the graph is read for sizes that are.
fn sizes(graph: &Graph, id: ValueId) -> Vec<i64> {
    let known = graph.shape(id).iter().filter_map(|dim| dim.known());
    known.map(u64::cast_signed).collect()
}

/// Whether a value is (1, S).
fn along_tokens(graph: &Graph, id: ValueId, tokens: u64) -> bool {
    sizes(graph, id) == [1, tokens.cast_signed()]
}

/// Whether integers are 0, 1, 2 …
fn counts(values: &[i64]) -> bool {
    values.iter().zip(0..).all(|(value, index)| *value == index)
}
