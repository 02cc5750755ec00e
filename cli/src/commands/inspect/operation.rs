//! One operation of a package, shown with what goes in and what comes out.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use corer_mil::value::Data;
use corer_mil::{Binding, Block, Operation, Program, Value};
use serde::Serialize;

use crate::failure::bold;

/// Longest constant that is shown element by element.
const MOST_ELEMENTS: u64 = 16;

/// How many similar names a wrong one is answered with.
const MOST_NAMES: usize = 5;

/// An operation as it is shown.
#[derive(Serialize)]
pub(super) struct OperationView {
    function: String,
    position: usize,
    op: String,
    name: String,
    inputs: Vec<ValueView>,
    outputs: Vec<ValueView>,
    attributes: Vec<ValueView>,
    used_by: Vec<String>,
}

/// An input, output or attribute.
#[derive(Serialize)]
struct ValueView {
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "type")]
    ty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// What is known about a value of a block: its type, and its constant if it is one.
type Known<'a> = BTreeMap<&'a str, (String, Option<&'a Value>)>;

impl OperationView {
    /// Operations of that name, or with an output of that name, in all functions.
    pub(super) fn find(program: &Program, name: &str) -> Vec<Self> {
        let mut found = Vec::new();
        for (function_name, function) in &program.functions {
            let Some(body) = function.body() else { continue };
            let mut known: Known<'_> = function
                .inputs
                .iter()
                .map(|input| (input.name.as_str(), (input.ty.to_string(), None)))
                .collect();
            search(body, function_name, name, &mut known, &mut found);
        }
        found
    }

    fn of(operation: &Operation, position: usize, function: &str, block: &Block, known: &Known<'_>) -> Self {
        let inputs = operation.inputs.iter().flat_map(|(parameter, bindings)| {
            bindings.iter().map(move |binding| {
                let parameter = Some(parameter.clone());
                match binding {
                    Binding::Name(name) => {
                        let (ty, value) = known
                            .get(name.as_str())
                            .cloned()
                            .unwrap_or(("unknown".into(), None));
                        ValueView {
                            parameter,
                            name: Some(name.clone()),
                            ty,
                            value: value.and_then(shown),
                        }
                    }
                    Binding::Value(value) => ValueView {
                        parameter,
                        name: None,
                        ty: value.ty.to_string(),
                        value: shown(value),
                    },
                }
            })
        });
        let outputs = operation.outputs.iter();
        let attributes = operation.attributes.iter().filter(|(key, _)| *key != "name");
        Self {
            function: function.to_owned(),
            position,
            op: operation.op.clone(),
            name: operation.name().to_owned(),
            inputs: inputs.collect(),
            outputs: outputs
                .map(|output| ValueView {
                    parameter: None,
                    name: Some(output.name.clone()),
                    ty: output.ty.to_string(),
                    value: None,
                })
                .collect(),
            attributes: attributes
                .map(|(key, value)| ValueView {
                    parameter: Some(key.clone()),
                    name: None,
                    ty: value.ty.to_string(),
                    value: shown(value),
                })
                .collect(),
            used_by: users(operation, block),
        }
    }

    /// Prints the operation for people.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = bold(AnsiColor::Green);
        let dim = Style::new().dimmed();
        let Self {
            op,
            name,
            function,
            position,
            ..
        } = self;
        writeln!(
            out,
            "{head}{op}{head:#} {name} {dim}(function {function}, operation {position}){dim:#}"
        )?;
        for (label, values) in [
            ("in", &self.inputs),
            ("out", &self.outputs),
            ("attribute", &self.attributes),
        ] {
            for value in values {
                write!(out, "  {label:<9} ")?;
                match (&value.parameter, &value.name) {
                    (Some(parameter), Some(name)) => write!(out, "{parameter} = {name}: {}", value.ty)?,
                    (Some(name), None) | (None, Some(name)) => write!(out, "{name}: {}", value.ty)?,
                    (None, None) => write!(out, "{}", value.ty)?,
                }
                match &value.value {
                    Some(constant) => writeln!(out, " = {constant}")?,
                    None => writeln!(out)?,
                }
            }
        }
        for user in &self.used_by {
            writeln!(out, "  {:<9} {user}", "used by")?;
        }
        Ok(())
    }
}

fn search<'a>(
    block: &'a Block,
    function: &str,
    name: &str,
    known: &mut Known<'a>,
    found: &mut Vec<OperationView>,
) {
    known.extend(
        block
            .inputs
            .iter()
            .map(|input| (input.name.as_str(), (input.ty.to_string(), None))),
    );
    for (position, operation) in block.operations.iter().enumerate() {
        for nested in &operation.blocks {
            search(nested, function, name, known, found);
        }
        if operation.name() == name || operation.outputs.iter().any(|output| output.name == name) {
            found.push(OperationView::of(operation, position, function, block, known));
        }
        let constant = operation.const_value();
        known.extend(
            operation
                .outputs
                .iter()
                .map(|output| (output.name.as_str(), (output.ty.to_string(), constant))),
        );
    }
}

/// Operations of the block that take one of this one's outputs, and the block's own outputs.
fn users(operation: &Operation, block: &Block) -> Vec<String> {
    let made = |name: &String| operation.outputs.iter().any(|output| output.name == *name);
    let takes = |user: &&Operation| {
        let mut bindings = user.inputs.values().flatten();
        bindings.any(|binding| matches!(binding, Binding::Name(name) if made(name)))
    };
    let mut users: Vec<_> = block
        .operations
        .iter()
        .filter(takes)
        .map(|user| format!("{} {}", user.op, user.name()))
        .collect();
    users.extend(
        block
            .outputs
            .iter()
            .filter(|name| made(name))
            .map(|name| format!("block output {name}")),
    );
    users
}

/// A constant in a few words: its elements when they are few, where it lies otherwise.
pub(crate) fn shown(value: &Value) -> Option<String> {
    let few = value
        .tensor_type()
        .and_then(|tensor| tensor.element_count())
        .is_some_and(|n| n <= MOST_ELEMENTS);
    match &value.data {
        Data::Weight(source) => Some(format!("weight of {} bytes", source.byte_len())),
        Data::Immediate(_) if few => {
            if let Some(text) = value.as_str() {
                return Some(format!("{text:?}"));
            }
            if let Some(flag) = value.as_bool() {
                return Some(flag.to_string());
            }
            let elements: Vec<_> = match (value.as_ints(), value.as_floats()) {
                (Some(ints), _) => ints.iter().map(i64::to_string).collect(),
                (None, Some(floats)) => floats.iter().map(|float| format!("{float:?}")).collect(),
                (None, None) => return None,
            };
            Some(match elements.as_slice() {
                [one] if value.tensor_type().is_some_and(|tensor| tensor.rank() == 0) => one.clone(),
                all => format!("[{}]", all.join(", ")),
            })
        }
        Data::List(values) if values.len() as u64 <= MOST_ELEMENTS => {
            let elements: Option<Vec<_>> = values.iter().map(shown).collect();
            elements.map(|elements| format!("[{}]", elements.join(", ")))
        }
        _ => None,
    }
}

/// Names of operations that contain what was asked for, or are contained in it, constants last.
pub(super) fn names_near(program: &Program, name: &str) -> Vec<String> {
    let wanted = name.to_lowercase();
    let bodies = program.functions.values().filter_map(|function| function.body());
    let near = bodies.flat_map(|body| &body.operations).filter(|operation| {
        let candidate = operation.name().to_lowercase();
        candidate.contains(&wanted) || wanted.contains(&candidate) || operation.op == wanted
    });
    let mut near: Vec<_> = near
        .map(|operation| (operation.op == "const", format!("`{}`", operation.name())))
        .collect();
    near.sort_by_key(|(constant, _)| *constant);
    near.into_iter().map(|(_, name)| name).take(MOST_NAMES).collect()
}
