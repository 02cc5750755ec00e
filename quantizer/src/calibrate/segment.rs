//! Parts of a function as programs of their own, so that a long function can be run stretch by stretch.

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::{Binding, Block, Function, NamedType, Operation, Program, Value};

use crate::emit::constant;

/// The function being taken apart.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) function: &'a Function,
    pub(crate) body: &'a Block,
    makers: BTreeMap<&'a str, usize>,
    /// Whether an operation depends on no input.
    fixed: Vec<bool>,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(function: &'a Function, body: &'a Block) -> Self {
        let mut makers = BTreeMap::new();
        let mut fixed = Vec::with_capacity(body.operations.len());
        for (index, operation) in body.operations.iter().enumerate() {
            let constant = operation.blocks.is_empty()
                && operation.inputs.values().flatten().all(|binding| match binding {
                    Binding::Value(_) => true,
                    Binding::Name(name) => makers
                        .get(name.as_str())
                        .is_some_and(|maker: &usize| fixed[*maker]),
                });
            fixed.push(constant);
            for output in &operation.outputs {
                makers.insert(output.name.as_str(), index);
            }
        }
        Self {
            function,
            body,
            makers,
            fixed,
        }
    }

    /// Values that exist before operation `cut` and that it or a later one uses.
    pub(crate) fn live(&self, cut: usize) -> Vec<NamedType> {
        let mut names = BTreeSet::new();
        for operation in &self.body.operations[cut..] {
            names.extend(used(operation));
        }
        names.extend(self.body.outputs.iter().map(String::as_str));
        let inputs = self.function.inputs.iter();
        let earlier = self.body.operations[..cut]
            .iter()
            .zip(&self.fixed)
            .filter(|(_, fixed)| !**fixed)
            .flat_map(|(operation, _)| &operation.outputs);
        inputs
            .chain(earlier)
            .filter(|value| names.contains(value.name.as_str()))
            .cloned()
            .collect()
    }

    /// The program from `given` values to `wanted` ones, with some constants replaced.
    pub(crate) fn between(
        &self,
        given: &[NamedType],
        wanted: &[NamedType],
        replaced: &BTreeMap<String, Value>,
    ) -> Program {
        let known: BTreeSet<&str> = given.iter().map(|value| value.name.as_str()).collect();
        let mut needed = BTreeSet::new();
        let mut pending: Vec<&str> = wanted.iter().map(|value| value.name.as_str()).collect();
        while let Some(name) = pending.pop() {
            let Some(maker) = self.makers.get(name).filter(|_| !known.contains(name)) else {
                continue;
            };
            if needed.insert(*maker) {
                let operation = &self.body.operations[*maker];
                if !operation
                    .outputs
                    .iter()
                    .any(|output| replaced.contains_key(&output.name))
                {
                    pending.extend(used(operation));
                }
            }
        }
        let operations = needed
            .iter()
            .map(|index| {
                let operation = &self.body.operations[*index];
                let replacement = operation
                    .outputs
                    .first()
                    .and_then(|output| Some((&output.name, replaced.get(&output.name)?)));
                match replacement {
                    Some((name, value)) => constant(name, value.clone()),
                    None => operation.clone(),
                }
            })
            .collect::<Vec<_>>();
        let mut block = Block {
            operations,
            ..Block::default()
        };
        // What is given may be wanted too; a function returns only what it makes.
        block.outputs = wanted
            .iter()
            .filter(|value| !known.contains(value.name.as_str()))
            .map(|value| value.name.clone())
            .collect();
        let function = Function {
            inputs: given
                .iter()
                .filter(|value| {
                    block
                        .operations
                        .iter()
                        .any(|operation| used(operation).any(|name| name == value.name))
                })
                .cloned()
                .collect(),
            opset: self.function.opset,
            blocks: BTreeMap::from([(self.function.opset, block)]),
            attributes: BTreeMap::new(),
        };
        Program {
            functions: BTreeMap::from([("main".into(), function)]),
            attributes: BTreeMap::new(),
        }
    }
}

/// Names an operation uses, those in nested blocks included.
fn used(operation: &Operation) -> impl Iterator<Item = &str> {
    let own = operation
        .inputs
        .values()
        .flatten()
        .filter_map(|binding| match binding {
            Binding::Name(name) => Some(name.as_str()),
            Binding::Value(_) => None,
        });
    let inner: Vec<&str> = operation
        .blocks
        .iter()
        .flat_map(|block| {
            block
                .operations
                .iter()
                .flat_map(|inner| used(inner).collect::<Vec<_>>())
        })
        .collect();
    own.chain(inner)
}
