//! The program as messages.

use std::collections::BTreeMap;

use coreml_proto::proto::mil_spec::{Argument, Value as ValueMessage, argument};
use corer_mil::{Binding, Block, Function, Operation, Program, Value};

use super::messages;
use super::types::named;
use super::values::{Position, Values};
use crate::blob::write::Layout;
use crate::error::WriteError;

/// `Program.version`; there has been no other.
const PROGRAM_VERSION: i64 = 1;

pub(super) fn program<'a>(
    program: &'a Program,
    specification_version: i32,
    weights: &mut Layout<'a>,
) -> Result<messages::Program, WriteError> {
    let mut values = Values {
        specification_version,
        weights,
    };
    let functions = program
        .functions
        .iter()
        .map(|(name, function)| Ok((name.clone(), function_message(&mut values, name, function)?)))
        .collect::<Result<_, WriteError>>()?;
    let attributes = attributes(&mut values, &program.attributes, Position::Inline, &|| {
        "program".into()
    })?;
    Ok(messages::Program {
        version: PROGRAM_VERSION,
        functions,
        attributes,
    })
}

fn function_message<'a>(
    values: &mut Values<'_, 'a>,
    name: &str,
    function: &'a Function,
) -> Result<messages::Function, WriteError> {
    let place = || format!("function `{name}`");
    let block_specializations = function
        .blocks
        .iter()
        .map(|(opset, block)| Ok((opset.name().to_owned(), block_message(values, name, block)?)))
        .collect::<Result<_, WriteError>>()?;
    Ok(messages::Function {
        inputs: function.inputs.iter().map(named).collect(),
        opset: function.opset.name().to_owned(),
        block_specializations,
        attributes: attributes(values, &function.attributes, Position::Inline, &place)?,
    })
}

fn block_message<'a>(
    values: &mut Values<'_, 'a>,
    function: &str,
    block: &'a Block,
) -> Result<messages::Block, WriteError> {
    let place = || format!("function `{function}`, block");
    Ok(messages::Block {
        inputs: block.inputs.iter().map(named).collect(),
        outputs: block.outputs.clone(),
        operations: block
            .operations
            .iter()
            .map(|operation| operation_message(values, function, operation))
            .collect::<Result<_, _>>()?,
        attributes: attributes(values, &block.attributes, Position::Inline, &place)?,
    })
}

fn operation_message<'a>(
    values: &mut Values<'_, 'a>,
    function: &str,
    operation: &'a Operation,
) -> Result<messages::Operation, WriteError> {
    let place = || {
        format!(
            "function `{function}`, operation `{}` ({})",
            operation.name(),
            operation.op
        )
    };
    let position = if operation.op == "const" || operation.op.starts_with("constexpr_") {
        Position::Weight
    } else {
        Position::Inline
    };
    let inputs = operation
        .inputs
        .iter()
        .map(|(param, bindings)| {
            let arguments = bindings
                .iter()
                .map(|binding| {
                    let binding = match binding {
                        Binding::Name(name) => argument::binding::Binding::Name(name.clone()),
                        Binding::Value(value) => {
                            let place = || format!("{}, input `{param}`", place());
                            argument::binding::Binding::Value(values.value(value, position, &place)?)
                        }
                    };
                    Ok(argument::Binding {
                        binding: Some(binding),
                    })
                })
                .collect::<Result<_, WriteError>>()?;
            Ok((param.clone(), Argument { arguments }))
        })
        .collect::<Result<_, WriteError>>()?;
    Ok(messages::Operation {
        r#type: operation.op.clone(),
        inputs,
        outputs: operation.outputs.iter().map(named).collect(),
        blocks: operation
            .blocks
            .iter()
            .map(|block| block_message(values, function, block))
            .collect::<Result<_, _>>()?,
        attributes: attributes(values, &operation.attributes, position, &place)?,
    })
}

fn attributes<'a>(
    values: &mut Values<'_, 'a>,
    attributes: &'a BTreeMap<String, Value>,
    position: Position,
    place: &dyn Fn() -> String,
) -> Result<BTreeMap<String, ValueMessage>, WriteError> {
    attributes
        .iter()
        .map(|(key, value)| {
            let place = || format!("{}, attribute `{key}`", place());
            Ok((key.clone(), values.value(value, position, &place)?))
        })
        .collect()
}
