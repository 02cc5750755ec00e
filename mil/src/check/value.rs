//! Types that make sense, and constants that fill their types.

use crate::dtype::DataType;
use crate::types::{Dim, TensorType, ValueType};
use crate::value::{Data, Immediate, Value};

/// The deepest nesting of types and of values that is looked into.
const MAX_DEPTH: usize = 16;

/// The most axes a tensor may have before it is not looked at further. Core ML takes 5 at prediction; palettes
/// of rank-5 weights have 7.
pub(super) const MAX_RANK: usize = 16;

/// Whether a type is shallow enough and its tensors have few enough axes to reason about.
pub(super) fn check_type(ty: &ValueType) -> Result<(), String> {
    type_at(ty, 0)
}

fn type_at(ty: &ValueType, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("its type is nested more than {MAX_DEPTH} deep"));
    }
    match ty {
        ValueType::Tensor(tensor) if tensor.rank() > MAX_RANK => {
            Err(format!("has {} axes, more than {MAX_RANK}", tensor.rank()))
        }
        ValueType::Tensor(_) => Ok(()),
        ValueType::List(element, _) | ValueType::State(element) => type_at(element, depth + 1),
        ValueType::Tuple(elements) => elements
            .iter()
            .try_for_each(|element| type_at(element, depth + 1)),
        ValueType::Dictionary(key, value) => {
            type_at(key, depth + 1)?;
            type_at(value, depth + 1)
        }
    }
}

/// Whether a constant's data is what its type says.
pub(super) fn check_value(value: &Value) -> Result<(), String> {
    check_type(&value.ty)?;
    value_at(value, 0)
}

fn value_at(value: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested more than {MAX_DEPTH} deep"));
    }
    let ty = &value.ty;
    let element = |item: &Value, ty: &ValueType| {
        if &item.ty == ty {
            value_at(item, depth + 1)
        } else {
            Err(format!("holds a {}, its type says {ty}", item.ty))
        }
    };
    match (ty, &value.data) {
        (ValueType::Tensor(tensor), Data::Immediate(Immediate::Strings(strings))) => {
            strings_fill(tensor, strings.len())
        }
        (ValueType::Tensor(tensor), Data::Immediate(Immediate::Bytes(bytes))) => {
            bytes_fill(tensor, bytes.len() as u64)?;
            match bytes
                .iter()
                .find(|byte| tensor.dtype == DataType::Bool && **byte > 1)
            {
                Some(byte) => Err(format!("holds {byte}, which is no boolean")),
                None => Ok(()),
            }
        }
        (ValueType::Tensor(tensor), Data::Weight(source)) => bytes_fill(tensor, source.byte_len()),
        (ValueType::List(inner, length), Data::List(items)) => {
            if !length.compatible(Dim::Known(items.len() as u64)) {
                return Err(format!("is a {ty} but holds {} elements", items.len()));
            }
            items.iter().try_for_each(|item| element(item, inner))
        }
        (ValueType::Tuple(types), Data::Tuple(items)) if types.len() == items.len() => items
            .iter()
            .zip(types)
            .try_for_each(|(item, ty)| element(item, ty)),
        (ValueType::Dictionary(keys, values), Data::Dictionary(pairs)) => {
            pairs.iter().try_for_each(|(key, value)| {
                element(key, keys)?;
                element(value, values)
            })
        }
        _ => Err(format!("is declared {ty}, which is not what it holds")),
    }
}

fn elements(tensor: &TensorType) -> Result<u64, String> {
    match tensor.known_shape() {
        None => Err(format!("a constant can't be {tensor}: its size is not known")),
        Some(_) => tensor
            .element_count()
            .ok_or_else(|| format!("{tensor} has more elements than can be counted")),
    }
}

fn strings_fill(tensor: &TensorType, given: usize) -> Result<(), String> {
    if tensor.dtype != DataType::String {
        return Err(format!("is declared {tensor} but holds strings"));
    }
    let count = elements(tensor)?;
    if count == given as u64 {
        Ok(())
    } else {
        Err(format!("{tensor} has {count} strings, {given} are given"))
    }
}

fn bytes_fill(tensor: &TensorType, given: u64) -> Result<(), String> {
    if tensor.dtype == DataType::String {
        return Err(format!("is declared {tensor} but holds no strings"));
    }
    let wanted = tensor.dtype.packed_len(elements(tensor)?);
    match wanted {
        Some(wanted) if wanted == given => Ok(()),
        Some(wanted) => Err(format!("{tensor} takes {wanted} bytes, {given} are given")),
        None => Err(format!("{tensor} is larger than can be addressed")),
    }
}
