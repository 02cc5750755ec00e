//! A function cut at some of its values: what is computed there comes out, and what uses it is given another.

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::{Binding, Block, Function, NamedType, Operation, Program};

/// A program that is cut, and the names of what it is given.
pub(super) struct Forced {
    pub(super) program: Program,
    /// By the name of the value that is cut, the input that stands for it.
    pub(super) given: BTreeMap<String, String>,
}

/// The one function of the program that [`cut`] gives.
pub(super) const FUNCTION: &str = "main";

/// Cuts a function at `values`, float tensors that its operations compute. The program returns them, and everything
/// that uses one uses an input of the same type instead.
pub(super) fn cut(function: &Function, body: &Block, values: &[String]) -> Forced {
    let mut names: BTreeSet<&str> = function.inputs.iter().map(|input| input.name.as_str()).collect();
    names.extend(outputs(body).map(|output| output.name.as_str()));
    let free = |value: &String| {
        let mut name = format!("{value}_given");
        while names.contains(name.as_str()) {
            name.push('_');
        }
        (value.clone(), name)
    };
    let given: BTreeMap<String, String> = values.iter().map(free).collect();
    let redirected = |operation: &Operation| {
        let mut operation = operation.clone();
        for binding in operation.inputs.values_mut().flatten() {
            if let Binding::Name(name) = binding
                && let Some(other) = given.get(name)
            {
                *name = other.clone();
            }
        }
        operation
    };
    let block = Block {
        operations: body.operations.iter().map(redirected).collect(),
        outputs: values.to_vec(),
        ..Block::default()
    };
    let stand_ins = outputs(body).filter_map(|output| {
        let name = given.get(&output.name)?;
        Some(NamedType::new(name.clone(), output.ty.clone()))
    });
    let function = Function {
        inputs: function.inputs.iter().cloned().chain(stand_ins).collect(),
        opset: function.opset,
        blocks: BTreeMap::from([(function.opset, block)]),
        attributes: BTreeMap::new(),
    };
    Forced {
        program: Program {
            functions: BTreeMap::from([(FUNCTION.to_owned(), function)]),
            attributes: BTreeMap::new(),
        },
        given,
    }
}

/// The operations that compute `value` from values in `cuts`, inputs and constants, in program order, constants left
/// out.
pub(super) fn within(body: &Block, value: &str, cuts: &BTreeSet<&str>) -> Vec<String> {
    let makers: BTreeMap<&str, usize> = body
        .operations
        .iter()
        .enumerate()
        .flat_map(|(index, operation)| {
            let named = operation.outputs.iter();
            named.map(move |output| (output.name.as_str(), index))
        })
        .collect();
    let mut needed = BTreeSet::new();
    let mut pending = vec![value];
    while let Some(name) = pending.pop() {
        let Some(maker) = makers.get(name) else { continue };
        if !needed.insert(*maker) {
            continue;
        }
        for binding in body.operations[*maker].inputs.values().flatten() {
            if let Binding::Name(name) = binding
                && !cuts.contains(name.as_str())
            {
                pending.push(name);
            }
        }
    }
    let operations = needed.iter().map(|index| &body.operations[*index]);
    operations
        .filter(|operation| operation.op != "const" && !operation.op.starts_with("constexpr_"))
        .map(|operation| operation.name().to_owned())
        .collect()
}

fn outputs(body: &Block) -> impl Iterator<Item = &NamedType> {
    body.operations.iter().flat_map(|operation| &operation.outputs)
}
