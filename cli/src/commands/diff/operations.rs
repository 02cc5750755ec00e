//! Operations of two programs, matched by the names of their results.

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::{Binding, Block, Data, DataType, Function, Operation, Program, Value};
use corer_publisher::Digest;
use serde::Serialize;

use crate::commands::inspect::literal;

/// An operation that is not the same in both.
#[derive(PartialEq, Eq, Debug, Serialize)]
pub(super) struct OperationDifference {
    pub(super) function: String,
    /// Of its first result.
    pub(super) name: String,
    /// `added`, `removed` or `changed`.
    pub(super) outcome: &'static str,
    /// Operation type, the first's where it changed.
    pub(super) op: String,
    /// What changed.
    pub(super) changes: Vec<String>,
}

/// Differences of functions, opsets, inputs and operations. Constants show where they are used, weights elsewhere.
pub(super) fn differences(first: &Program, second: &Program) -> (Vec<String>, Vec<OperationDifference>) {
    let mut functions = Vec::new();
    let mut operations = Vec::new();
    let names: BTreeSet<_> = first.functions.keys().chain(second.functions.keys()).collect();
    for name in names {
        match (first.functions.get(name), second.functions.get(name)) {
            (Some(a), Some(b)) => {
                interface(name, a, b, &mut functions);
                if let (Some(a), Some(b)) = (a.body(), b.body()) {
                    body(name, a, b, &mut operations);
                }
            }
            (Some(_), None) => functions.push(format!("function `{name}`: only in the first")),
            _ => functions.push(format!("function `{name}`: only in the second")),
        }
    }
    (functions, operations)
}

fn interface(name: &str, a: &Function, b: &Function, out: &mut Vec<String>) {
    if a.opset != b.opset {
        out.push(format!("function `{name}`: opset {} → {}", a.opset, b.opset));
    }
    let types = |function: &Function| -> BTreeMap<String, String> {
        let types = function.inputs.iter();
        types
            .map(|input| (input.name.clone(), input.ty.to_string()))
            .collect()
    };
    let (a_inputs, b_inputs) = (types(a), types(b));
    pairs(&a_inputs, &b_inputs, |input, change| {
        out.push(format!("function `{name}`: input `{input}`: {change}"));
    });
    let results = |function: &Function| -> Vec<String> {
        function.body().map_or_else(Vec::new, |body| body.outputs.clone())
    };
    if results(a) != results(b) {
        out.push(format!(
            "function `{name}`: returns {} → {}",
            results(a).join(", "),
            results(b).join(", ")
        ));
    }
}

/// Calls `tell` for every key whose text differs.
pub(super) fn pairs(
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
    mut tell: impl FnMut(&str, String),
) {
    let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    for key in keys {
        match (a.get(key), b.get(key)) {
            (Some(left), Some(right)) if left != right => tell(key, format!("{left} → {right}")),
            (Some(left), None) => tell(key, format!("{left}, only in the first")),
            (None, Some(right)) => tell(key, format!("{right}, only in the second")),
            _ => {}
        }
    }
}

/// Operations that compute; constants and what decompresses them are compared where they are used.
fn computing(block: &Block) -> Vec<&Operation> {
    let constant =
        |operation: &&Operation| operation.op != "const" && !operation.op.starts_with("constexpr_");
    block.operations.iter().filter(constant).collect()
}

fn result(operation: &Operation) -> &str {
    operation
        .outputs
        .first()
        .map_or_else(|| operation.name(), |output| output.name.as_str())
}

fn body(function: &str, a: &Block, b: &Block, out: &mut Vec<OperationDifference>) {
    let (first, second) = (computing(a), computing(b));
    let constants = (constants(a), constants(b));
    let others: BTreeMap<_, _> = second
        .iter()
        .map(|operation| (result(operation), *operation))
        .collect();
    let names: BTreeSet<_> = first.iter().map(|operation| result(operation)).collect();
    let mut tell = |operation: &Operation, outcome, changes| {
        out.push(OperationDifference {
            function: function.to_owned(),
            name: result(operation).to_owned(),
            outcome,
            op: operation.op.clone(),
            changes,
        });
    };
    for operation in &first {
        match others.get(result(operation)) {
            None => tell(operation, "removed", Vec::new()),
            Some(other) => {
                let changes = changes(operation, other, &constants.0, &constants.1);
                if !changes.is_empty() {
                    tell(operation, "changed", changes);
                }
            }
        }
    }
    for operation in second
        .iter()
        .filter(|operation| !names.contains(result(operation)))
    {
        tell(operation, "added", Vec::new());
    }
}

type Constants<'p> = BTreeMap<&'p str, Option<&'p Value>>;

/// Constants by name; `None` for what is decompressed.
fn constants(block: &Block) -> Constants<'_> {
    block
        .operations
        .iter()
        .filter(|operation| operation.op == "const" || operation.op.starts_with("constexpr_"))
        .filter_map(|operation| Some((operation.outputs.first()?.name.as_str(), operation.const_value())))
        .collect()
}

fn changes(a: &Operation, b: &Operation, in_a: &Constants<'_>, in_b: &Constants<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if a.op != b.op {
        found.push(format!("{} → {}", a.op, b.op));
    }
    let types = |operation: &Operation| -> Vec<String> {
        let outputs = operation.outputs.iter();
        outputs.map(|output| output.ty.to_string()).collect()
    };
    if types(a) != types(b) {
        found.push(format!("gives {} → {}", types(a).join(", "), types(b).join(", ")));
    }
    let shown = |operation: &Operation, constants: &Constants<'_>| -> BTreeMap<String, String> {
        let inputs = operation.inputs.iter();
        inputs
            .map(|(parameter, bindings)| {
                let texts: Vec<_> = bindings.iter().map(|binding| shown(binding, constants)).collect();
                (parameter.clone(), texts.join(", "))
            })
            .collect()
    };
    pairs(&shown(a, in_a), &shown(b, in_b), |parameter, change| {
        found.push(format!("{parameter}: {change}"));
    });
    if a.blocks.len() != b.blocks.len() {
        found.push(format!("{} blocks → {}", a.blocks.len(), b.blocks.len()));
    }
    found
}

/// What a parameter is bound to: a value by its name, a small constant by what it is, a weight by its name.
fn shown(binding: &Binding, constants: &Constants<'_>) -> String {
    match binding {
        Binding::Value(value) => constant(value).unwrap_or_else(|| value.ty.to_string()),
        Binding::Name(name) => match constants.get(name.as_str()) {
            Some(Some(value)) => constant(value).unwrap_or_else(|| format!("weight {name}")),
            Some(None) => format!("weight {name}"),
            None => name.clone(),
        },
    }
}

/// A constant by what it is: in words, or a long one by its digest; none for a weight, which has a comparison of its own.
fn constant(value: &Value) -> Option<String> {
    let float = value
        .tensor_type()
        .is_some_and(|ty| matches!(ty.dtype, DataType::Fp16 | DataType::Fp32));
    match &value.data {
        // A scalar such as an epsilon belongs to its operation.
        _ if float && value.tensor_type().is_some_and(|ty| ty.rank() > 0) => None,
        Data::Weight(_) if float => None,
        Data::Weight(_) => digest(value),
        _ => literal(value).or_else(|| if float { None } else { digest(value) }),
    }
}

fn digest(value: &Value) -> Option<String> {
    let bytes = value.to_bytes().ok()??;
    let digest = Digest::of(&bytes);
    Some(format!("{} with {}", value.ty, digest.as_str().get(..19)?))
}
