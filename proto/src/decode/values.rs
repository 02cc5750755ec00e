//! Constants from messages.

use coreml_proto::proto::mil_spec::Value as ValueMessage;
use coreml_proto::proto::mil_spec::tensor_value;
use coreml_proto::proto::mil_spec::value::{self, immediate_value};
use corer_mil::{Data, DataType, Immediate, TensorType, Value, ValueType};

use super::Problem;
use super::types::Symbols;
use super::weights::WeightFiles;

/// Decodes constants of one function.
#[derive(Debug)]
pub(super) struct Values<'w> {
    pub(super) symbols: Symbols,
    pub(super) weights: &'w mut WeightFiles,
}

impl Values<'_> {
    /// `docString`s are dropped: they are comments, and coremltools writes none.
    pub(super) fn value(&mut self, message: ValueMessage) -> Result<Value, Problem> {
        let ty = self
            .symbols
            .required(message.r#type)
            .map_err(|reason| format!("type: {reason}"))?;
        let data = match message.value.ok_or("holds nothing")? {
            value::Value::BlobFileValue(blob) => match &ty {
                ValueType::Tensor(tensor) => {
                    Data::Weight(self.weights.weight(&blob.file_name, blob.offset, tensor)?)
                }
                _ => return Err(format!("only tensors can lie in a weight file, this is {ty}").into()),
            },
            value::Value::ImmediateValue(immediate) => {
                let content = immediate.value.ok_or("holds nothing")?;
                match (content, &ty) {
                    (immediate_value::Value::Tensor(tensor), ValueType::Tensor(ty)) => {
                        Data::Immediate(elements(ty, tensor.value)?)
                    }
                    (immediate_value::Value::Tuple(tuple), ValueType::Tuple(types))
                        if tuple.values.len() == types.len() =>
                    {
                        Data::Tuple(self.list(tuple.values)?)
                    }
                    (immediate_value::Value::List(list), ValueType::List(_, length)) => {
                        if length
                            .known()
                            .is_some_and(|length| length != list.values.len() as u64)
                        {
                            return Err(format!("{} elements don't fill {ty}", list.values.len()).into());
                        }
                        Data::List(self.list(list.values)?)
                    }
                    (immediate_value::Value::Dictionary(dictionary), ValueType::Dictionary(..)) => {
                        let pairs = dictionary.values.into_iter().map(|pair| {
                            let key = self.value(pair.key.ok_or("a dictionary entry has no key")?)?;
                            let value = self.value(pair.value.ok_or("a dictionary entry has no value")?)?;
                            Ok((key, value))
                        });
                        Data::Dictionary(pairs.collect::<Result<_, Problem>>()?)
                    }
                    _ => return Err(format!("its contents are no {ty}").into()),
                }
            }
        };
        Ok(Value { ty, data })
    }

    fn list(&mut self, messages: Vec<ValueMessage>) -> Result<Vec<Value>, Problem> {
        messages.into_iter().map(|message| self.value(message)).collect()
    }
}

/// The elements of an inline tensor, in packed bytes.
fn elements(ty: &TensorType, message: Option<tensor_value::Value>) -> Result<Immediate, String> {
    let count = ty
        .element_count()
        .ok_or_else(|| format!("a constant's shape must be known and sane, is {ty}"))?;
    let filled = |found: usize| {
        if found as u64 == count {
            Ok(())
        } else {
            Err(format!("{found} elements don't fill {ty}"))
        }
    };
    use tensor_value::Value as Field;
    let Some(field) = message else {
        // proto3 leaves nothing of an empty tensor but its type.
        return match count {
            0 if ty.dtype == DataType::String => Ok(Immediate::Strings(Vec::new())),
            0 => Ok(Immediate::Bytes(Vec::new())),
            _ => Err(format!("no elements, {ty} needs {count}")),
        };
    };
    match (ty.dtype, field) {
        (DataType::String, Field::Strings(strings)) => {
            filled(strings.values.len())?;
            Ok(Immediate::Strings(strings.values))
        }
        (DataType::Bool, Field::Bools(bools)) => {
            filled(bools.values.len())?;
            Ok(Immediate::Bytes(bools.values.into_iter().map(u8::from).collect()))
        }
        (DataType::Fp32, Field::Floats(floats)) => {
            filled(floats.values.len())?;
            Ok(Immediate::Bytes(
                floats.values.into_iter().flat_map(f32::to_le_bytes).collect(),
            ))
        }
        (DataType::Fp64, Field::Doubles(doubles)) => {
            filled(doubles.values.len())?;
            Ok(Immediate::Bytes(
                doubles.values.into_iter().flat_map(f64::to_le_bytes).collect(),
            ))
        }
        (DataType::Int64 | DataType::UInt64, Field::LongInts(ints)) => {
            filled(ints.values.len())?;
            Ok(Immediate::Bytes(
                ints.values.into_iter().flat_map(i64::to_le_bytes).collect(),
            ))
        }
        (dtype, Field::Ints(ints)) if dtype.is_integer() && !dtype.is_sub_byte() => {
            filled(ints.values.len())?;
            integers(dtype, &ints.values).map(Immediate::Bytes)
        }
        (dtype, Field::Bytes(bytes)) if !matches!(dtype, DataType::String | DataType::Bool) => {
            if ty.byte_len() != Some(bytes.values.len() as u64) {
                return Err(format!("{} bytes don't fill {ty}", bytes.values.len()));
            }
            Ok(Immediate::Bytes(bytes.values))
        }
        (_, field) => {
            let name = match field {
                Field::Floats(_) => "floats",
                Field::Ints(_) => "ints",
                Field::Bools(_) => "bools",
                Field::Strings(_) => "strings",
                Field::LongInts(_) => "longInts",
                Field::Doubles(_) => "doubles",
                Field::Bytes(_) => "bytes",
            };
            Err(format!("{ty} can't be written as `{name}`"))
        }
    }
}

/// Values of the `ints` field in the width of `dtype`.
fn integers(dtype: DataType, values: &[i32]) -> Result<Vec<u8>, String> {
    macro_rules! narrow {
        ($ty:ty) => {{
            let mut bytes = Vec::with_capacity(values.len() * size_of::<$ty>());
            for value in values {
                let value = <$ty>::try_from(*value).map_err(|_| format!("{value} does not fit {dtype}"))?;
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            Ok(bytes)
        }};
    }
    match dtype {
        DataType::Int8 => narrow!(i8),
        DataType::UInt8 => narrow!(u8),
        DataType::Int16 => narrow!(i16),
        DataType::UInt16 => narrow!(u16),
        DataType::Int32 => narrow!(i32),
        DataType::UInt32 => narrow!(u32),
        DataType::Int64 => narrow!(i64),
        DataType::UInt64 => narrow!(u64),
        _ => Err(format!("{dtype} can't be written as `ints`")),
    }
}
