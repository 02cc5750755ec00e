//! A program as a person wants to see it: one line per computing operation, constants where they are used.

use std::collections::HashMap;

use super::print::{immediate, name, quoted, type_text};
use crate::program::{Binding, Block, NamedType, Operation, Program};
use crate::types::ValueType;
use crate::value::{Data, Value};

/// The most elements of a constant that are written out.
const SHORT: u64 = 8;

/// The listing of `program`. It can't be parsed back: use [`super::print()`] for that.
///
/// ```text
/// func main (CoreML7)
///   ids: tensor<int32, [1, 128]>
///
///   x: tensor<fp16, [1, 128, 384]> = gather(indices = ids, x = <tensor<fp16, [30522, 384]>, 23440896 bytes>)
///
///   return x
/// ```
pub fn print_listing(program: &Program) -> String {
    let mut lines = Lines::default();
    for (function_name, function) in &program.functions {
        if !lines.out.is_empty() {
            lines.out.push('\n');
        }
        lines.line(0, &format!("func {} ({})", name(function_name), function.opset));
        for input in &function.inputs {
            lines.line(1, &named(input));
        }
        for (opset, block) in &function.blocks {
            if *opset != function.opset {
                lines.line(0, &format!("for {opset}"));
            }
            lines.block(block, 1);
        }
    }
    lines.out
}

#[derive(Default)]
struct Lines {
    out: String,
}

impl Lines {
    fn line(&mut self, depth: usize, text: &str) {
        self.out.push_str(&"  ".repeat(depth));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn block(&mut self, block: &Block, depth: usize) {
        let constants: HashMap<&str, &Value> = block
            .operations
            .iter()
            .filter_map(|operation| {
                Some((operation.outputs.first()?.name.as_str(), operation.const_value()?))
            })
            .collect();
        for input in &block.inputs {
            self.line(depth, &named(input));
        }
        self.out.push('\n');
        for operation in block
            .operations
            .iter()
            .filter(|operation| operation.const_value().is_none())
        {
            self.operation(operation, &constants, depth);
        }
        self.out.push('\n');
        let returned: Vec<String> = block.outputs.iter().map(|output| name(output)).collect();
        self.line(depth, &format!("return {}", returned.join(", ")));
    }

    fn operation(&mut self, operation: &Operation, constants: &HashMap<&str, &Value>, depth: usize) {
        let results: Vec<String> = operation.outputs.iter().map(named).collect();
        let bound = |binding: &Binding| match binding {
            Binding::Name(bound) => constants
                .get(bound.as_str())
                .map_or_else(|| name(bound), |value| short(value)),
            Binding::Value(value) => short(value),
        };
        let inputs = operation.inputs.iter().map(|(param, bindings)| {
            let values: Vec<String> = bindings.iter().map(bound).collect();
            match values.as_slice() {
                [value] => format!("{} = {value}", name(param)),
                values => format!("{} = ({})", name(param), values.join(", ")),
            }
        });
        let attributes = operation
            .attributes
            .iter()
            .filter(|(key, _)| *key != "name")
            .map(|(key, value)| format!("{} = {}", name(key), short(value)));
        let arguments: Vec<String> = inputs.chain(attributes).collect();
        let equals = if results.is_empty() { "" } else { " = " };
        let call = format!(
            "{}{equals}{}({})",
            results.join(", "),
            name(&operation.op),
            arguments.join(", ")
        );
        self.line(depth, &call);
        for block in &operation.blocks {
            self.line(depth, "block");
            self.block(block, depth + 1);
        }
    }
}

fn named(named: &NamedType) -> String {
    format!("{}: {}", name(&named.name), type_text(&named.ty))
}

/// A constant: its elements if they are few, else its type and size.
fn short(value: &Value) -> String {
    let few = value
        .tensor_type()
        .and_then(|tensor| tensor.element_count())
        .is_some_and(|count| count <= SHORT);
    match (&value.data, &value.ty) {
        (Data::Immediate(data), ValueType::Tensor(_)) if few => immediate(&value.ty, data),
        (Data::Weight(source), ty) => format!("<{}, {} bytes>", type_text(ty), source.byte_len()),
        (Data::List(items), ty) => match items.first().and_then(Value::as_str) {
            Some(first) => format!("<{}, {}, ..>", type_text(ty), quoted(first)),
            None => format!("<{}>", type_text(ty)),
        },
        (_, ty) => format!("<{}>", type_text(ty)),
    }
}
