//! Arguments of calls.

use std::collections::HashMap;

use crate::frontend::aten::{Arg, ScalarType};
use crate::source::pt2::{Number, ScalarCode};
use crate::source::shortened;

use super::schema::{Argument, Named, OptionalTensor, SymBoolArgument, SymFloatArgument, SymIntArgument};

/// What the names of a graph stand for.
pub(super) type Names<'a> = HashMap<&'a str, Arg>;

/// What an argument is.
///
/// # Errors
/// In words: a name that is not defined, a kind of value no ATen operator takes.
pub(super) fn argument(argument: &Argument, names: &Names<'_>) -> Result<Arg, String> {
    let named = |name: &str| lookup(name, names);
    Ok(match argument {
        Argument::AsNone(_) => Arg::None,
        Argument::AsTensor(tensor) => named(&tensor.name)?,
        Argument::AsTensors(tensors) => list(tensors, |tensor: &Named| named(&tensor.name))?,
        Argument::AsOptionalTensor(tensor) => optional(tensor, names)?,
        Argument::AsOptionalTensors(tensors) => list(tensors, |tensor| optional(tensor, names))?,
        Argument::AsInt(value) => Arg::Int(*value),
        Argument::AsInts(values) => Arg::List(values.iter().copied().map(Arg::Int).collect()),
        Argument::AsIntLists(lists) => list(lists, |values| {
            Ok(Arg::List(values.iter().copied().map(Arg::Int).collect()))
        })?,
        Argument::AsFloat(value) => Arg::Float(value.0),
        Argument::AsFloats(values) => floats(values),
        Argument::AsFloatLists(lists) => list(lists, |values| Ok(floats(values)))?,
        Argument::AsBool(value) => Arg::Bool(*value),
        Argument::AsBools(values) => Arg::List(values.iter().copied().map(Arg::Bool).collect()),
        Argument::AsString(text) => Arg::Str(text.as_str().into()),
        Argument::AsStrings(texts) => list(texts, |text| Ok(Arg::Str(text.as_str().into())))?,
        Argument::AsSymInt(value) => integer(value, names)?,
        Argument::AsSymInts(values) => list(values, |value| integer(value, names))?,
        Argument::AsSymFloat(value) => float(value, names)?,
        Argument::AsSymFloats(values) => list(values, |value| float(value, names))?,
        Argument::AsSymBool(value) => truth(value, names)?,
        Argument::AsSymBools(values) => list(values, |value| truth(value, names))?,
        Argument::AsScalarType(code) => Arg::Dtype(scalar_type(*code)?),
        Argument::AsMemoryFormat(_) | Argument::AsLayout(_) | Argument::AsDevice(_) => Arg::Ignored,
        Argument::AsNestedTensors(_)
        | Argument::AsComplex(_)
        | Argument::AsStringToArgument(_)
        | Argument::AsGraph(_)
        | Argument::AsCustomObj(_)
        | Argument::AsOperator(_) => return Err(format!("is {}, which is not read", argument.kind())),
    })
}

/// What a name stands for.
pub(super) fn lookup(name: &str, names: &Names<'_>) -> Result<Arg, String> {
    names
        .get(name)
        .cloned()
        .ok_or_else(|| format!("`{}` is not defined before it is used", shortened(name)))
}

/// The element type of a number of the schema.
pub(super) fn scalar_type(code: ScalarCode) -> Result<ScalarType, String> {
    code.stored()
        .and_then(ScalarType::from_stored)
        .ok_or_else(|| format!("is the element type {}, which is not read", code.0))
}

fn list<T>(items: &[T], read: impl Fn(&T) -> Result<Arg, String>) -> Result<Arg, String> {
    items.iter().map(read).collect::<Result<_, _>>().map(Arg::List)
}

fn floats(values: &[Number]) -> Arg {
    Arg::List(values.iter().map(|value| Arg::Float(value.0)).collect())
}

fn optional(tensor: &OptionalTensor, names: &Names<'_>) -> Result<Arg, String> {
    match tensor {
        OptionalTensor::AsTensor(tensor) => lookup(&tensor.name, names),
        OptionalTensor::AsNone(_) => Ok(Arg::None),
    }
}

fn integer(value: &SymIntArgument, names: &Names<'_>) -> Result<Arg, String> {
    match value {
        SymIntArgument::AsName(name) => lookup(name, names),
        SymIntArgument::AsInt(value) => Ok(Arg::Int(*value)),
    }
}

fn float(value: &SymFloatArgument, names: &Names<'_>) -> Result<Arg, String> {
    match value {
        SymFloatArgument::AsName(name) => lookup(name, names),
        SymFloatArgument::AsFloat(value) => Ok(Arg::Float(value.0)),
    }
}

fn truth(value: &SymBoolArgument, names: &Names<'_>) -> Result<Arg, String> {
    match value {
        SymBoolArgument::AsName(name) => lookup(name, names),
        SymBoolArgument::AsBool(value) => Ok(Arg::Bool(*value)),
    }
}
