//! Constants as messages: inline, or a reference into the weight file.

use coreml_proto::proto::mil_spec::tensor_value::{
    self, RepeatedBools, RepeatedBytes, RepeatedDoubles, RepeatedFloats, RepeatedInts, RepeatedLongInts,
    RepeatedStrings,
};
use coreml_proto::proto::mil_spec::value::{self, BlobFileValue, ImmediateValue, immediate_value};
use coreml_proto::proto::mil_spec::{
    DictionaryValue, ListValue, TensorValue, TupleValue, Value as ValueMessage, dictionary_value,
};
use corer_mil::{Data, DataType, Immediate, TensorType, Value};

use super::types::value_type;
use crate::blob::format::{BlobType, FILE_NAME, PATH_PREFIX};
use crate::blob::write::{Layout, Source};
use crate::error::WriteError;

/// Fewest elements a constant of the weight file has; smaller ones stay inline, as coremltools does it.
const WEIGHT_FILE_ELEMENTS: u64 = 10;

/// Where a value stands decides whether it may go to the weight file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// A `const`'s value or a `constexpr_*`'s parameter.
    Weight,
    /// Anywhere else: Core ML wants it inline.
    Inline,
}

/// Encodes constants and gathers those that go to the weight file.
pub(super) struct Values<'p, 'a> {
    pub(super) specification_version: i32,
    pub(super) weights: &'p mut Layout<'a>,
}

impl<'a> Values<'_, 'a> {
    /// Encodes `value`, which stands at `place`.
    pub(super) fn value(
        &mut self,
        value: &'a Value,
        position: Position,
        place: &dyn Fn() -> String,
    ) -> Result<ValueMessage, WriteError> {
        let refuse = |reason: String| WriteError::Model {
            place: place(),
            reason,
        };
        let content = match &value.data {
            Data::Immediate(_) | Data::Weight(_) => {
                let tensor = value
                    .tensor_type()
                    .ok_or_else(|| refuse(format!("holds a tensor but is declared as {}", value.ty)))?;
                self.tensor(tensor, &value.data, position, place)?
            }
            Data::Tuple(elements) => immediate(immediate_value::Value::Tuple(TupleValue {
                values: self.elements(elements, place)?,
            })),
            Data::List(elements) => immediate(immediate_value::Value::List(ListValue {
                values: self.elements(elements, place)?,
            })),
            Data::Dictionary(pairs) => {
                let values = pairs
                    .iter()
                    .map(|(key, value)| {
                        Ok(dictionary_value::KeyValuePair {
                            key: Some(self.value(key, Position::Inline, place)?),
                            value: Some(self.value(value, Position::Inline, place)?),
                        })
                    })
                    .collect::<Result<_, WriteError>>()?;
                immediate(immediate_value::Value::Dictionary(DictionaryValue { values }))
            }
        };
        Ok(ValueMessage {
            doc_string: String::new(),
            r#type: Some(value_type(&value.ty)),
            value: Some(content),
        })
    }

    fn elements(
        &mut self,
        elements: &'a [Value],
        place: &dyn Fn() -> String,
    ) -> Result<Vec<ValueMessage>, WriteError> {
        elements
            .iter()
            .map(|element| self.value(element, Position::Inline, place))
            .collect()
    }

    fn tensor(
        &mut self,
        ty: &TensorType,
        data: &'a Data,
        position: Position,
        place: &dyn Fn() -> String,
    ) -> Result<value::Value, WriteError> {
        let refuse = |reason: String| WriteError::Model {
            place: place(),
            reason,
        };
        let count = ty
            .element_count()
            .ok_or_else(|| refuse(format!("a constant's shape must be known, is {ty}")))?;
        let source = match data {
            Data::Immediate(Immediate::Strings(strings)) => {
                if ty.dtype != DataType::String || strings.len() as u64 != count {
                    return Err(refuse(format!("{} strings don't fill {ty}", strings.len())));
                }
                let strings = RepeatedStrings {
                    values: strings.clone(),
                };
                return Ok(inline(tensor_value::Value::Strings(strings)));
            }
            Data::Immediate(Immediate::Bytes(bytes)) => Source::Bytes(bytes),
            Data::Weight(weight) => Source::Weight(weight.as_ref()),
            _ => return Err(refuse(format!("holds no tensor but is declared as {ty}"))),
        };
        let expected = ty.byte_len().filter(|_| ty.dtype != DataType::String);
        if expected != Some(source.byte_len()) {
            return Err(refuse(format!("{} bytes don't fill {ty}", source.byte_len())));
        }
        if position == Position::Weight
            && count >= WEIGHT_FILE_ELEMENTS
            && let Some(blob) = self.blob_type(ty.dtype)
        {
            let offset =
                self.weights
                    .place(blob, count, source, place)
                    .map_err(|fault| WriteError::Weight {
                        place: fault.place,
                        source: fault.error,
                    })?;
            let file_name = format!("{PATH_PREFIX}{FILE_NAME}");
            return Ok(value::Value::BlobFileValue(BlobFileValue { file_name, offset }));
        }
        match data {
            Data::Weight(weight) => {
                let bytes = weight.to_vec().map_err(|source| WriteError::Weight {
                    place: place(),
                    source,
                })?;
                Ok(inline(elements(ty.dtype, &bytes)))
            }
            Data::Immediate(Immediate::Bytes(bytes)) => Ok(inline(elements(ty.dtype, bytes))),
            _ => Err(refuse("holds no bytes".into())),
        }
    }

    /// The blob type for `dtype`, if this specification version's weight file takes it.
    fn blob_type(&self, dtype: DataType) -> Option<BlobType> {
        let widened = matches!(
            dtype,
            DataType::Int16 | DataType::UInt16 | DataType::Int32 | DataType::UInt32
        );
        if widened && self.specification_version < 9 {
            None
        } else {
            BlobType::from_data_type(dtype)
        }
    }
}

/// Packed bytes as the field of `TensorValue` that Core ML reads for this element type. The bytes' length was
/// checked to be a whole number of elements.
fn elements(dtype: DataType, bytes: &[u8]) -> tensor_value::Value {
    macro_rules! read {
        ($ty:ty) => {
            bytes
                .as_chunks::<{ size_of::<$ty>() }>()
                .0
                .iter()
                .map(|chunk| <$ty>::from_le_bytes(*chunk))
        };
    }
    match dtype {
        DataType::Bool => tensor_value::Value::Bools(RepeatedBools {
            values: bytes.iter().map(|byte| *byte != 0).collect(),
        }),
        DataType::Fp32 => tensor_value::Value::Floats(RepeatedFloats {
            values: read!(f32).collect(),
        }),
        DataType::Fp64 => tensor_value::Value::Doubles(RepeatedDoubles {
            values: read!(f64).collect(),
        }),
        DataType::Int16 => tensor_value::Value::Ints(RepeatedInts {
            values: read!(i16).map(i32::from).collect(),
        }),
        DataType::UInt16 => tensor_value::Value::Ints(RepeatedInts {
            values: read!(u16).map(i32::from).collect(),
        }),
        DataType::Int32 => tensor_value::Value::Ints(RepeatedInts {
            values: read!(i32).collect(),
        }),
        // uint64 shares the field; values from 2^63 on keep their bits.
        DataType::Int64 | DataType::UInt64 => tensor_value::Value::LongInts(RepeatedLongInts {
            values: read!(i64).collect(),
        }),
        DataType::String
        | DataType::Fp16
        | DataType::Bf16
        | DataType::Int4
        | DataType::Int8
        | DataType::UInt1
        | DataType::UInt2
        | DataType::UInt3
        | DataType::UInt4
        | DataType::UInt6
        | DataType::UInt8
        | DataType::UInt32 => tensor_value::Value::Bytes(RepeatedBytes {
            values: bytes.to_vec(),
        }),
    }
}

fn inline(elements: tensor_value::Value) -> value::Value {
    immediate(immediate_value::Value::Tensor(TensorValue {
        value: Some(elements),
    }))
}

fn immediate(value: immediate_value::Value) -> value::Value {
    value::Value::ImmediateValue(ImmediateValue { value: Some(value) })
}
