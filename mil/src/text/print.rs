//! Writes a program as text.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use super::Text;
use super::number::write_elements;
use crate::builder::is_identifier;
use crate::dtype::DataType;
use crate::program::{Binding, Block, Function, NamedType, Operation, Program};
use crate::types::{TensorType, ValueType};
use crate::value::{Data, Immediate, Value};
use crate::weight::WeightSource;

/// The text of `program`, and the weights it refers to.
pub fn print(program: &Program) -> Text {
    let mut printer = Printer::default();
    printer.out.push_str("program(1.0)\n");
    if !program.attributes.is_empty() {
        printer.attributes(&program.attributes);
        printer.out.push('\n');
    }
    printer.out.push_str("{\n");
    for (name, function) in &program.functions {
        printer.function(name, function);
    }
    printer.out.push_str("}\n");
    Text {
        text: printer.out,
        weights: printer.weights,
    }
}

/// A name as it stands in text: bare if it is an identifier that is no type, else quoted.
pub(super) fn name(name: &str) -> String {
    if is_identifier(name) && name.parse::<DataType>().is_err() {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A string in quotes, control characters and quotes escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Also what would reorder or hide text on a screen.
            character
                if character.is_control()
                    || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
            {
                out.push_str(&character.escape_unicode().to_string());
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

/// A type; that of a scalar is its element type alone.
pub(super) fn type_text(ty: &ValueType) -> String {
    match ty {
        ValueType::Tensor(TensorType { dtype, shape }) if shape.is_empty() => dtype.name().to_owned(),
        ValueType::Tensor(tensor) => tensor.to_string(),
        ValueType::List(element, length) => format!("list<{}, {length}>", type_text(element)),
        ValueType::Tuple(elements) => {
            format!(
                "tuple<{}>",
                elements.iter().map(type_text).collect::<Vec<_>>().join(", ")
            )
        }
        ValueType::Dictionary(key, value) => format!("dict<{}, {}>", type_text(key), type_text(value)),
        ValueType::State(inner) => format!("state<{}>", type_text(inner)),
    }
}

/// The data of an inline tensor in brackets following its shape, or as it is when it does not fill its type.
pub(super) fn immediate(ty: &ValueType, immediate: &Immediate) -> String {
    let tensor = ty.as_tensor();
    let count = tensor.and_then(TensorType::element_count);
    let elements = match (immediate, tensor, count) {
        (Immediate::Bytes(bytes), Some(tensor), Some(count)) => write_elements(tensor.dtype, bytes, count),
        (Immediate::Strings(strings), Some(tensor), Some(count))
            if tensor.dtype == DataType::String && strings.len() as u64 == count =>
        {
            Some(strings.iter().map(|text| quoted(text)).collect())
        }
        _ => None,
    };
    match (elements, tensor, immediate) {
        (Some(elements), Some(tensor), _) => nested(&elements, &tensor.known_shape().unwrap_or_default()),
        (_, _, Immediate::Strings(strings)) => {
            format!(
                "strings({})",
                strings
                    .iter()
                    .map(|text| quoted(text))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        (_, _, Immediate::Bytes(bytes)) => {
            let mut out = String::with_capacity(bytes.len() * 2 + 8);
            out.push_str("hex(\"");
            for byte in bytes {
                // Writing to a string does not fail.
                let _ = write!(out, "{byte:02x}");
            }
            out.push_str("\")");
            out
        }
    }
}

/// Elements in as many brackets as there are axes.
fn nested(elements: &[String], shape: &[u64]) -> String {
    // Brackets are not multiplied for nothing: [1000000, 0] has no elements.
    let Some((first, inner)) = shape.split_first() else {
        return elements.join(", ");
    };
    if elements.is_empty() || inner.is_empty() {
        return format!("[{}]", elements.join(", "));
    }
    let rows = usize::try_from(*first).unwrap_or(1).clamp(1, elements.len());
    let rows: Vec<String> = elements
        .chunks(elements.len() / rows)
        .map(|row| nested(row, inner))
        .collect();
    format!("[{}]", rows.join(", "))
}

#[derive(Default)]
struct Printer {
    out: String,
    weights: Vec<Arc<dyn WeightSource>>,
    /// Where each weight is in the list, by the address of what it points to.
    places: HashMap<*const (), usize>,
    depth: usize,
}

impl Printer {
    fn indent(&mut self) {
        self.out.push_str(&"    ".repeat(self.depth));
    }

    /// Writes `items` separated by commas.
    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Self, T)) {
        for (position, each) in items.into_iter().enumerate() {
            if position > 0 {
                self.out.push_str(", ");
            }
            item(self, each);
        }
    }

    fn attributes(&mut self, attributes: &BTreeMap<String, Value>) {
        self.out.push('[');
        self.list(attributes, |printer, (key, value)| {
            printer.out.push_str(&name(key));
            printer.out.push_str(" = ");
            printer.value(value);
        });
        self.out.push(']');
    }

    fn named_types(&mut self, types: &[NamedType]) {
        self.list(types, |printer, named| {
            printer.out.push_str(&type_text(&named.ty));
            printer.out.push(' ');
            printer.out.push_str(&name(&named.name));
        });
    }

    fn function(&mut self, function_name: &str, function: &Function) {
        self.depth = 1;
        self.indent();
        self.out.push_str("func ");
        self.out.push_str(&name(function_name));
        self.out.push('<');
        self.out.push_str(function.opset.target().name());
        self.out.push('>');
        if !function.attributes.is_empty() {
            self.attributes(&function.attributes);
        }
        self.out.push('(');
        self.named_types(&function.inputs);
        self.out.push(')');
        if let Some(body) = function.body() {
            self.out.push(' ');
            self.block(body);
        }
        for (opset, block) in function
            .blocks
            .iter()
            .filter(|(opset, _)| **opset != function.opset)
        {
            self.out.push_str(" also<");
            self.out.push_str(opset.target().name());
            self.out.push_str("> ");
            self.block(block);
        }
        self.out.push_str(";\n");
    }

    fn block(&mut self, block: &Block) {
        if !block.attributes.is_empty() {
            self.attributes(&block.attributes);
            self.out.push(' ');
        }
        if !block.inputs.is_empty() {
            self.out.push('(');
            self.named_types(&block.inputs);
            self.out.push_str(") ");
        }
        self.out.push_str("{\n");
        self.depth += 1;
        for operation in &block.operations {
            self.indent();
            self.operation(operation);
            self.out.push_str(";\n");
        }
        self.depth -= 1;
        self.indent();
        self.out.push_str("} -> (");
        self.list(&block.outputs, |printer, output| {
            printer.out.push_str(&name(output))
        });
        self.out.push(')');
    }

    fn operation(&mut self, operation: &Operation) {
        if !operation.outputs.is_empty() {
            self.named_types(&operation.outputs);
            self.out.push_str(" = ");
        }
        self.out.push_str(&name(&operation.op));
        self.out.push('(');
        self.list(&operation.inputs, |printer, (param, bindings)| {
            printer.out.push_str(&name(param));
            printer.out.push_str(" = ");
            match bindings.as_slice() {
                [binding] => printer.binding(binding),
                bindings => {
                    printer.out.push('(');
                    printer.list(bindings, Self::binding);
                    printer.out.push(')');
                }
            }
        });
        self.out.push(')');
        if !operation.attributes.is_empty() {
            self.attributes(&operation.attributes);
        }
        for block in &operation.blocks {
            self.out.push_str(" block ");
            self.block(block);
        }
    }

    fn binding(&mut self, binding: &Binding) {
        match binding {
            Binding::Name(bound) => self.out.push_str(&name(bound)),
            Binding::Value(value) => self.value(value),
        }
    }

    fn value(&mut self, value: &Value) {
        self.out.push_str(&type_text(&value.ty));
        self.out.push('(');
        match &value.data {
            Data::Immediate(data) => self.out.push_str(&immediate(&value.ty, data)),
            Data::Weight(source) => {
                let index = self.weight(source);
                let _ = write!(self.out, "weight({index}, bytes = {})", source.byte_len());
            }
            Data::Tuple(items) => self.items("tuple", items),
            Data::List(items) => self.items("items", items),
            Data::Dictionary(pairs) => {
                self.out.push_str("pairs(");
                self.list(pairs, |printer, (key, value)| {
                    printer.value(key);
                    printer.out.push_str(": ");
                    printer.value(value);
                });
                self.out.push(')');
            }
        }
        self.out.push(')');
    }

    fn items(&mut self, word: &str, items: &[Value]) {
        self.out.push_str(word);
        self.out.push('(');
        self.list(items, Self::value);
        self.out.push(')');
    }

    fn weight(&mut self, source: &Arc<dyn WeightSource>) -> usize {
        *self.places.entry(Arc::as_ptr(source).cast()).or_insert_with(|| {
            self.weights.push(Arc::clone(source));
            self.weights.len() - 1
        })
    }
}
