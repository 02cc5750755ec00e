//! A function as placement sees it: the operations that are left at prediction, each with what goes in.
//!
//! Constants, decompressed weights and whatever constants alone make are computed before the first prediction and
//! are placed nowhere; they show as fixed operands.

use std::collections::HashMap;

use corer_mil::ops;
use corer_mil::value::Data;
use corer_mil::{Binding, Function, Operation, TensorType, Value, ValueType};

/// A function's operations in the order of the file.
#[derive(Debug)]
pub struct Graph<'a> {
    /// Operations computed at prediction.
    pub nodes: Vec<Node<'a>>,
    values: HashMap<&'a str, Defined<'a>>,
    function: &'a Function,
}

/// One operation computed at prediction.
#[derive(Debug)]
pub struct Node<'a> {
    /// The operation.
    pub operation: &'a Operation,
    /// Its arguments, by parameter.
    pub operands: Vec<Operand<'a>>,
    /// Whether one of its results is a result of the function.
    pub gives_output: bool,
}

/// One argument of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Parameter.
    pub parameter: &'a str,
    /// Name of the value, unless it is written in place.
    pub name: Option<&'a str>,
    /// Its type, if it is a tensor.
    pub ty: Option<&'a TensorType>,
    /// The value, if it is a constant as it stands.
    pub value: Option<&'a Value>,
    /// Whether it is known before the first prediction.
    pub fixed: bool,
    /// Whether the operation's parameter is one that must be a constant: an axis, an epsilon.
    pub setting: bool,
}

#[derive(Clone, Copy, Debug)]
struct Defined<'a> {
    ty: &'a ValueType,
    by: Definition<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Definition<'a> {
    Input,
    Constant(&'a Value),
    /// An operation over constants alone.
    Fixed(&'a Operation),
    /// The node of that index.
    Node(usize),
}

impl<'a> Graph<'a> {
    /// The graph of the function's body; empty when there is none for its opset.
    pub fn of(function: &'a Function) -> Self {
        let mut graph = Self {
            nodes: Vec::new(),
            values: HashMap::new(),
            function,
        };
        for input in &function.inputs {
            graph.define(&input.name, &input.ty, Definition::Input);
        }
        let Some(body) = function.body() else { return graph };
        for operation in &body.operations {
            let by = match operation.const_value() {
                Some(value) => Definition::Constant(value),
                None => {
                    let operands = graph.operands(operation);
                    let fixed = operation.blocks.is_empty()
                        && (operation.op.starts_with("constexpr_")
                            || !operands.is_empty() && operands.iter().all(|operand| operand.fixed));
                    if fixed {
                        Definition::Fixed(operation)
                    } else {
                        let is_output = |name: &String| body.outputs.contains(name);
                        graph.nodes.push(Node {
                            operation,
                            operands,
                            gives_output: operation.outputs.iter().any(|output| is_output(&output.name)),
                        });
                        Definition::Node(graph.nodes.len() - 1)
                    }
                }
            };
            for output in &operation.outputs {
                graph.define(&output.name, &output.ty, by);
            }
        }
        graph
    }

    fn define(&mut self, name: &'a str, ty: &'a ValueType, by: Definition<'a>) {
        self.values.insert(name, Defined { ty, by });
    }

    fn operands(&self, operation: &'a Operation) -> Vec<Operand<'a>> {
        let row = ops::lookup(&operation.op, self.function.opset);
        let bound = operation.inputs.iter().flat_map(|(parameter, bindings)| {
            bindings.iter().map(move |binding| (parameter.as_str(), binding))
        });
        bound
            .map(|(parameter, binding)| {
                let row = row.and_then(|row| row.params.iter().find(|param| param.name == parameter));
                let setting = row.is_some_and(|param| param.constant);
                match binding {
                    Binding::Value(value) => Operand {
                        parameter,
                        name: None,
                        ty: value.tensor_type(),
                        value: Some(value),
                        fixed: true,
                        setting,
                    },
                    Binding::Name(name) => {
                        let defined = self.values.get(name.as_str());
                        let value = match defined.map(|defined| defined.by) {
                            Some(Definition::Constant(value)) => Some(value),
                            _ => None,
                        };
                        Operand {
                            parameter,
                            name: Some(name),
                            ty: defined.and_then(|defined| defined.ty.as_tensor()),
                            value,
                            fixed: defined.is_some_and(|defined| {
                                matches!(defined.by, Definition::Constant(_) | Definition::Fixed(_))
                            }),
                            setting,
                        }
                    }
                }
            })
            .collect()
    }

    /// The operation that makes a fixed operand from constants, a `constexpr_*` for compressed weights.
    pub fn maker(&self, operand: &Operand<'_>) -> Option<&'a Operation> {
        match self.values.get(operand.name?)?.by {
            Definition::Fixed(operation) => Some(operation),
            _ => None,
        }
    }

    /// The node that computes an operand at prediction.
    pub fn producer(&self, operand: &Operand<'_>) -> Option<usize> {
        match self.values.get(operand.name?)?.by {
            Definition::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The type of a value, if it is a tensor.
    pub fn tensor(&self, name: &str) -> Option<&'a TensorType> {
        self.values.get(name)?.ty.as_tensor()
    }

    /// The constant an argument of a `constexpr_*` or other fixed operation is bound to, input or attribute.
    pub fn argument(&self, operation: &'a Operation, parameter: &str) -> Option<&'a Value> {
        match operation
            .inputs
            .get(parameter)
            .and_then(|bindings| bindings.first())
        {
            Some(Binding::Value(value)) => Some(value),
            Some(Binding::Name(name)) => match self.values.get(name.as_str())?.by {
                Definition::Constant(value) => Some(value),
                _ => None,
            },
            None => operation.attributes.get(parameter),
        }
    }

    /// The operations that make a fixed operand, the last first: a scale over a palette is two.
    pub fn recipe(&self, operand: &Operand<'_>) -> Vec<&'a Operation> {
        let mut recipe = Vec::new();
        let mut next: Vec<_> = self.maker(operand).into_iter().collect();
        // Each operation names only values before it, so that this ends; a value named twice is looked at twice at
        // most `MOST` times.
        const MOST: usize = 8;
        while let Some(operation) = next.pop() {
            if recipe.len() == MOST {
                break;
            }
            recipe.push(operation);
            for binding in operation.inputs.values().flatten() {
                if let Binding::Name(name) = binding
                    && let Some(Definition::Fixed(maker)) =
                        self.values.get(name.as_str()).map(|value| value.by)
                {
                    next.push(maker);
                }
            }
        }
        recipe
    }

    /// Bytes a fixed operand takes in the package, compressed as it is there.
    pub fn stored_bytes(&self, operand: &Operand<'_>) -> u64 {
        if let Some(value) = operand.value {
            return value_bytes(value);
        }
        let recipe = self.recipe(operand);
        let parts = recipe.iter().flat_map(|operation| {
            let bound = operation
                .inputs
                .values()
                .flatten()
                .filter_map(|binding| match binding {
                    Binding::Value(value) => Some(value),
                    Binding::Name(name) => match self.values.get(name.as_str())?.by {
                        Definition::Constant(value) => Some(value),
                        _ => None,
                    },
                });
            bound.chain(operation.attributes.values())
        });
        parts.map(value_bytes).fold(0, u64::saturating_add)
    }
}

/// Bytes of a tensor constant; strings and lists count nothing.
fn value_bytes(value: &Value) -> u64 {
    match &value.data {
        Data::Weight(source) => source.byte_len(),
        _ => value.tensor_type().and_then(TensorType::byte_len).unwrap_or(0),
    }
}

impl<'a> Node<'a> {
    /// The first argument bound to a parameter.
    pub fn operand(&self, parameter: &str) -> Option<&Operand<'a>> {
        self.operands
            .iter()
            .find(|operand| operand.parameter == parameter)
    }

    /// The type of the first result, if it is a tensor.
    pub fn result(&self) -> Option<&'a TensorType> {
        self.operation.outputs.first()?.ty.as_tensor()
    }

    /// Types of all results that are tensors.
    pub fn results(&self) -> impl Iterator<Item = &'a TensorType> + use<'a> {
        self.operation
            .outputs
            .iter()
            .filter_map(|output| output.ty.as_tensor())
    }

    /// Arguments computed at prediction.
    pub fn moving(&self) -> impl Iterator<Item = &Operand<'a>> {
        self.operands.iter().filter(|operand| !operand.fixed)
    }

    /// Fixed arguments that are data: weights, biases, terms; not axes, shapes and the like.
    pub fn weights(&self) -> impl Iterator<Item = &Operand<'a>> {
        self.operands.iter().filter(|operand| {
            operand.fixed
                && operand
                    .ty
                    .is_some_and(|ty| ty.dtype.is_float() && (!operand.setting || ty.rank() > 0))
        })
    }
}
