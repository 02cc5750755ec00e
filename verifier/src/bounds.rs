//! How large the integers of an input may be, by the tables a program looks them up in.

use std::collections::BTreeMap;

use corer_mil::{Binding, Operation, Program};

/// Operations that hand the integers of their `x` on as they are.
const PASSES_ON: [&str; 8] = [
    "cast",
    "clip",
    "expand_dims",
    "identity",
    "reshape",
    "squeeze",
    "tile",
    "transpose",
];

/// For every input of `function` whose integers index a table, the number of the table's entries.
pub(crate) fn bounds(program: &Program, function: &str) -> BTreeMap<String, usize> {
    let mut bounds = BTreeMap::new();
    let Some(function) = program.functions.get(function) else {
        return bounds;
    };
    // Values that hold an input's integers, by the input.
    let mut holds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut types = BTreeMap::new();
    for input in &function.inputs {
        holds.insert(&input.name, &input.name);
        types.insert(input.name.as_str(), &input.ty);
    }
    for operation in function.body().into_iter().flat_map(|body| &body.operations) {
        for output in &operation.outputs {
            types.insert(&output.name, &output.ty);
        }
        let passed = match operation.op.as_str() {
            op if PASSES_ON.contains(&op) => name(operation, "x"),
            // coremltools wraps negative indices: select(x >= 0, x, x + size).
            "select" => name(operation, "a"),
            _ => None,
        };
        let output = operation.outputs.first();
        if let (Some(input), Some(output)) = (passed.and_then(|name| holds.get(name).copied()), output) {
            holds.insert(&output.name, input);
        }
        if operation.op != "gather" {
            continue;
        }
        let table = name(operation, "x").and_then(|table| types.get(table)?.as_tensor());
        let axis = operation
            .inputs
            .get("axis")
            .and_then(|bindings| match &bindings[..] {
                [Binding::Value(value)] => value.as_ints()?.first().copied(),
                _ => None,
            });
        let input = name(operation, "indices").and_then(|indices| holds.get(indices));
        let (Some(table), Some(input), Some(0) | None) = (table, input, axis) else {
            continue;
        };
        let entries = table.shape.first().and_then(|size| size.known());
        if let Some(entries) = entries.and_then(|entries| usize::try_from(entries).ok()) {
            let bound = bounds.entry((*input).to_owned()).or_insert(entries);
            *bound = entries.min(*bound);
        }
    }
    bounds
}

/// The value bound to a parameter, if it is one value with a name.
fn name<'a>(operation: &'a Operation, parameter: &str) -> Option<&'a str> {
    match operation.inputs.get(parameter).map(Vec::as_slice) {
        Some([Binding::Name(name)]) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use corer_mil::{DataType, FunctionBuilder, Opset, TensorType, Value};

    use super::*;

    #[test]
    fn an_index_lies_below_the_smallest_table_it_is_looked_up_in() {
        let mut builder = FunctionBuilder::new(Opset::CoreMl7);
        let ids = builder.input("input_ids", TensorType::new(DataType::Int32, [1, 4]));
        builder.input("attention_mask", TensorType::new(DataType::Int32, [1, 4]));
        let narrow = vec![("x", (&ids).into()), ("dtype", Value::string("int16").into())];
        let narrow = builder.op("cast", "narrow", narrow).unwrap();
        let mut outputs = Vec::new();
        for (name, entries) in [("large", 9), ("small", 5)] {
            let table = Value::floats(DataType::Fp32, &[entries, 2], &vec![0.0; 2 * entries as usize]);
            let table = builder.constant(name, table);
            let lookup = vec![
                ("x", (&table).into()),
                ("indices", (&narrow).into()),
                ("axis", Value::i32(0).into()),
            ];
            outputs.push(builder.op("gather", &format!("{name}_rows"), lookup).unwrap());
        }
        let program = Program {
            functions: [("main".to_owned(), builder.finish(&outputs))].into(),
            ..Program::default()
        };
        assert_eq!(bounds(&program, "main"), [("input_ids".to_owned(), 5)].into());
        assert_eq!(bounds(&program, "elsewhere"), BTreeMap::new());
    }
}
