//! The program from messages.

use std::collections::{BTreeMap, HashMap};

use coreml_proto::proto::mil_spec::{
    Argument, Block as BlockMessage, Function as FunctionMessage, Operation as OperationMessage,
    Program as ProgramMessage, Value as ValueMessage, argument,
};
use corer_mil::{Binding, Block, Function, Operation, Opset, Program, Value};

use super::types::Symbols;
use super::values::Values;
use super::weights::WeightFiles;
use crate::error::ReadError;

pub(super) fn program(
    file: &str,
    message: ProgramMessage,
    weights: &mut WeightFiles,
) -> Result<Program, ReadError> {
    if message.version != 1 {
        return Err(ReadError::Model {
            file: file.to_owned(),
            place: "mlProgram.version".into(),
            reason: format!("{} is unknown; only 1 is read", message.version),
        });
    }
    let functions = sorted(message.functions)
        .into_iter()
        .map(|(name, message)| {
            let mut reader = FunctionReader {
                file,
                function: &name,
                values: Values {
                    symbols: Symbols::default(),
                    weights,
                },
            };
            let function = reader.function(message)?;
            Ok((name, function))
        })
        .collect::<Result<_, ReadError>>()?;
    let mut reader = FunctionReader {
        file,
        function: "",
        values: Values {
            symbols: Symbols::default(),
            weights,
        },
    };
    let attributes = reader.attributes(message.attributes, || "program".into())?;
    Ok(Program {
        functions,
        attributes,
    })
}

/// Reads one function, and knows its name for errors.
struct FunctionReader<'a, 'w> {
    file: &'a str,
    function: &'a str,
    values: Values<'w>,
}

impl FunctionReader<'_, '_> {
    fn place(&self) -> String {
        format!("function `{}`", self.function)
    }

    fn fault(&self, place: String, reason: String) -> ReadError {
        ReadError::Model {
            file: self.file.to_owned(),
            place,
            reason,
        }
    }

    fn function(&mut self, message: FunctionMessage) -> Result<Function, ReadError> {
        let inputs = message
            .inputs
            .into_iter()
            .map(|input| {
                self.values
                    .symbols
                    .named(input)
                    .map_err(|reason| self.fault(self.place(), reason))
            })
            .collect::<Result<_, _>>()?;
        let opset = self.opset(&message.opset)?;
        let mut blocks = BTreeMap::new();
        for (name, block) in sorted(message.block_specializations) {
            blocks.insert(self.opset(&name)?, self.block(block)?);
        }
        if !blocks.contains_key(&opset) {
            return Err(self.fault(self.place(), format!("has no body for its opset {opset}")));
        }
        let place = self.place();
        let attributes = self.attributes(message.attributes, || place.clone())?;
        Ok(Function {
            inputs,
            opset,
            blocks,
            attributes,
        })
    }

    fn opset(&self, name: &str) -> Result<Opset, ReadError> {
        name.parse().map_err(|()| {
            let known: Vec<_> = Opset::ALL.iter().map(|opset| opset.name()).collect();
            self.fault(
                self.place(),
                format!("unknown opset `{name}`; known are {}", known.join(", ")),
            )
        })
    }

    fn block(&mut self, message: BlockMessage) -> Result<Block, ReadError> {
        let inputs = message
            .inputs
            .into_iter()
            .map(|input| {
                self.values
                    .symbols
                    .named(input)
                    .map_err(|reason| self.fault(self.place(), reason))
            })
            .collect::<Result<_, _>>()?;
        let operations = message
            .operations
            .into_iter()
            .map(|message| self.operation(message))
            .collect::<Result<_, _>>()?;
        let place = self.place();
        let attributes = self.attributes(message.attributes, || place.clone())?;
        Ok(Block {
            inputs,
            operations,
            outputs: message.outputs,
            attributes,
        })
    }

    fn operation(&mut self, message: OperationMessage) -> Result<Operation, ReadError> {
        let op = message.r#type;
        // Named by its first result until its own name is known.
        let label = message
            .outputs
            .first()
            .map_or("", |output| output.name.as_str())
            .to_owned();
        let place = format!("function `{}`, operation `{label}` ({op})", self.function);
        let mut inputs = BTreeMap::new();
        for (param, argument) in sorted(message.inputs) {
            let bindings = self.bindings(argument, || format!("{place}, input `{param}`"))?;
            inputs.insert(param, bindings);
        }
        let outputs = message
            .outputs
            .into_iter()
            .map(|output| {
                self.values
                    .symbols
                    .named(output)
                    .map_err(|reason| self.fault(place.clone(), reason))
            })
            .collect::<Result<_, _>>()?;
        let blocks = message
            .blocks
            .into_iter()
            .map(|block| self.block(block))
            .collect::<Result<_, _>>()?;
        let attributes = self.attributes(message.attributes, || place.clone())?;
        Ok(Operation {
            op,
            inputs,
            outputs,
            attributes,
            blocks,
        })
    }

    fn bindings(&mut self, message: Argument, place: impl Fn() -> String) -> Result<Vec<Binding>, ReadError> {
        let bindings = message
            .arguments
            .into_iter()
            .map(|message| match message.binding {
                Some(argument::binding::Binding::Name(name)) => Ok(Binding::Name(name)),
                Some(argument::binding::Binding::Value(value)) => self
                    .values
                    .value(value)
                    .map(Binding::Value)
                    .map_err(|problem| problem.at(self.file, place())),
                None => Err(self.fault(place(), "is bound to nothing".into())),
            });
        bindings.collect()
    }

    fn attributes(
        &mut self,
        messages: HashMap<String, ValueMessage>,
        place: impl Fn() -> String,
    ) -> Result<BTreeMap<String, Value>, ReadError> {
        let attributes = sorted(messages).into_iter().map(|(key, message)| {
            let value = self
                .values
                .value(message)
                .map_err(|problem| problem.at(self.file, format!("{}, attribute `{key}`", place())))?;
            Ok((key, value))
        });
        attributes.collect()
    }
}

/// In key order, so that of several faults the same one is always reported.
fn sorted<T>(map: HashMap<String, T>) -> BTreeMap<String, T> {
    map.into_iter().collect()
}
