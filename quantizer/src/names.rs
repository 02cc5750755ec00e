//! Shorter names for constants that parameterise operations.
//!
//! A converter calls a constant after the operation that uses it first, and every later user spells that name out:
//! dozens of bytes, hundreds of times. In a compressed package the parameter's own name does.

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::{Binding, Block, Data};

/// Calls constants held in the program itself after the parameter they are first used for, where that is shorter.
/// `taken` has every name in use.
pub(crate) fn shorten(body: &mut Block, taken: &mut BTreeSet<String>) {
    let results: BTreeSet<&String> = body.outputs.iter().collect();
    let mut constants: BTreeSet<String> = body
        .operations
        .iter()
        .filter(|operation| {
            operation
                .const_value()
                .is_some_and(|value| matches!(value.data, Data::Immediate(_)))
        })
        .filter_map(|operation| operation.outputs.first())
        .map(|output| output.name.clone())
        .filter(|name| !results.contains(name))
        .collect();
    nested(body, taken);
    let mut renamed = BTreeMap::new();
    for operation in &body.operations {
        for (parameter, bindings) in &operation.inputs {
            for binding in bindings {
                if let Binding::Name(name) = binding
                    && constants.remove(name)
                {
                    let short = free(parameter, taken);
                    if short.len() < name.len() {
                        taken.insert(short.clone());
                        renamed.insert(name.clone(), short);
                    }
                }
            }
        }
    }
    rename(body, &renamed);
}

/// Adds the names of blocks within operations.
fn nested(block: &Block, taken: &mut BTreeSet<String>) {
    for block in block.operations.iter().flat_map(|operation| &operation.blocks) {
        taken.extend(block.inputs.iter().map(|input| input.name.clone()));
        let outputs = block.operations.iter().flat_map(|operation| &operation.outputs);
        taken.extend(outputs.map(|output| output.name.clone()));
        nested(block, taken);
    }
}

fn free(parameter: &str, taken: &BTreeSet<String>) -> String {
    if !taken.contains(parameter) {
        return parameter.to_owned();
    }
    let mut counter = 1u32;
    loop {
        let name = format!("{parameter}_{counter}");
        if !taken.contains(&name) {
            return name;
        }
        counter += 1;
    }
}

fn rename(block: &mut Block, renamed: &BTreeMap<String, String>) {
    for operation in &mut block.operations {
        for binding in operation.inputs.values_mut().flatten() {
            if let Binding::Name(name) = binding
                && let Some(short) = renamed.get(name)
            {
                name.clone_from(short);
            }
        }
        for output in &mut operation.outputs {
            if let Some(short) = renamed.get(&output.name) {
                output.name.clone_from(short);
                let value = corer_mil::Value::string(short);
                operation.attributes.insert("name".into(), value);
            }
        }
        operation
            .blocks
            .iter_mut()
            .for_each(|block| rename(block, renamed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::constant;
    use corer_mil::{NamedType, Operation, TensorType, Value};

    #[test]
    fn constants_are_called_after_what_they_are_for() {
        let transpose = |x: &str, perm: &str, name: &str| {
            let ty = TensorType::new(corer_mil::DataType::Fp16, [2, 2]);
            Operation {
                op: "transpose".into(),
                inputs: [("x", x), ("perm", perm)]
                    .map(|(key, value)| (key.to_owned(), vec![Binding::Name(value.to_owned())]))
                    .into(),
                outputs: vec![NamedType::new(name, ty)],
                attributes: BTreeMap::from([("name".into(), Value::string(name))]),
                blocks: Vec::new(),
            }
        };
        let mut body = Block {
            operations: vec![
                constant("first_transposed_perm", Value::i32s(&[1, 0])),
                constant("second_transposed_perm", Value::i32s(&[0, 1])),
                constant("p", Value::i32s(&[0, 1])),
                constant("returned_constant", Value::i32s(&[1, 0])),
                transpose("x", "first_transposed_perm", "first"),
                transpose("first", "second_transposed_perm", "second"),
                transpose("second", "first_transposed_perm", "third"),
                transpose("third", "p", "fourth"),
                transpose("fourth", "returned_constant", "fifth"),
            ],
            outputs: vec!["fifth".into(), "returned_constant".into()],
            ..Block::default()
        };
        let mut taken: BTreeSet<String> = ["x", "perm_1"].map(str::to_owned).into();
        shorten(&mut body, &mut taken);
        let used: Vec<String> = body.operations[4..]
            .iter()
            .map(|operation| match &operation.inputs["perm"][0] {
                Binding::Name(name) => name.clone(),
                Binding::Value(_) => unreachable!(),
            })
            .collect();
        assert_eq!(used, ["perm", "perm_2", "perm", "p", "returned_constant"]);
        let made: Vec<&str> = body.operations[..4]
            .iter()
            .map(|operation| operation.outputs[0].name.as_str())
            .collect();
        assert_eq!(made, ["perm", "perm_2", "p", "returned_constant"]);
        assert_eq!(body.operations[1].name(), "perm_2");
    }
}
