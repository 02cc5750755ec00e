//! MIL types from messages.

use coreml_proto::proto::mil_spec::{
    DataType as Code, Dimension, NamedValueType, TensorType as TensorMessage, ValueType as TypeMessage,
    dimension, value_type,
};
use corer_mil::{DataType, Dim, NamedType, TensorType, ValueType};

use crate::limits::RANK;

/// Numbers the unknown dimensions of one function. The file doesn't say which are equal, so each gets its own.
#[derive(Debug, Default)]
pub(super) struct Symbols(u32);

impl Symbols {
    fn fresh(&mut self) -> Dim {
        self.0 += 1;
        Dim::Symbol(self.0 - 1)
    }

    pub(super) fn named(&mut self, message: NamedValueType) -> Result<NamedType, String> {
        let ty = self
            .required(message.r#type)
            .map_err(|reason| format!("type of `{}`: {reason}", message.name))?;
        Ok(NamedType {
            name: message.name,
            ty,
        })
    }

    pub(super) fn required(&mut self, message: Option<TypeMessage>) -> Result<ValueType, String> {
        self.value_type(message.ok_or("is missing")?)
    }

    fn value_type(&mut self, message: TypeMessage) -> Result<ValueType, String> {
        Ok(match message.r#type.ok_or("says no kind of type")? {
            value_type::Type::TensorType(tensor) => ValueType::Tensor(self.tensor_type(tensor)?),
            value_type::Type::ListType(list) => {
                let element = self.required(list.r#type.map(|ty| *ty))?;
                let length = match list.length {
                    Some(length) => self.dimension(length)?,
                    None => self.fresh(),
                };
                ValueType::List(Box::new(element), length)
            }
            value_type::Type::TupleType(tuple) => {
                let elements = tuple
                    .types
                    .into_iter()
                    .map(|ty| self.value_type(ty))
                    .collect::<Result<_, _>>()?;
                ValueType::Tuple(elements)
            }
            value_type::Type::DictionaryType(dictionary) => {
                let key = self.required(dictionary.key_type.map(|ty| *ty))?;
                let value = self.required(dictionary.value_type.map(|ty| *ty))?;
                ValueType::Dictionary(Box::new(key), Box::new(value))
            }
            value_type::Type::StateType(state) => {
                ValueType::State(Box::new(self.required(state.wrapped_type.map(|ty| *ty))?))
            }
        })
    }

    fn tensor_type(&mut self, message: TensorMessage) -> Result<TensorType, String> {
        let dtype = data_type(message.data_type)?;
        if message.rank < 0 {
            return Err("tensors of variable rank are not supported".into());
        }
        if u64::try_from(message.rank) != Ok(message.dimensions.len() as u64) {
            return Err(format!(
                "rank {} with {} dimensions",
                message.rank,
                message.dimensions.len()
            ));
        }
        if message.dimensions.len() > RANK {
            return Err(format!("rank {} is more than {RANK}", message.rank));
        }
        if !message.attributes.is_empty() {
            return Err("tensor types with attributes are not supported".into());
        }
        let shape = message
            .dimensions
            .into_iter()
            .map(|dim| self.dimension(dim))
            .collect::<Result<_, _>>()?;
        Ok(TensorType { dtype, shape })
    }

    fn dimension(&mut self, message: Dimension) -> Result<Dim, String> {
        match message.dimension {
            Some(dimension::Dimension::Constant(constant)) => Ok(Dim::Known(constant.size)),
            Some(dimension::Dimension::Unknown(unknown)) if unknown.variadic => {
                Err("variadic dimensions are not supported".into())
            }
            Some(dimension::Dimension::Unknown(_)) => Ok(self.fresh()),
            None => Err("a dimension says neither a size nor that it is unknown".into()),
        }
    }
}

fn data_type(code: i32) -> Result<DataType, String> {
    Ok(
        match Code::try_from(code).map_err(|_| format!("unknown data type code {code}"))? {
            Code::UnusedType => return Err("the data type is missing".into()),
            Code::Float8e4m3fn | Code::Float8e5m2 => {
                return Err("8-bit floats (fp8e4m3fn, fp8e5m2) are not supported".into());
            }
            Code::Bool => DataType::Bool,
            Code::String => DataType::String,
            Code::Float16 => DataType::Fp16,
            Code::Float32 => DataType::Fp32,
            Code::Float64 => DataType::Fp64,
            Code::Bfloat16 => DataType::Bf16,
            Code::Int8 => DataType::Int8,
            Code::Int16 => DataType::Int16,
            Code::Int32 => DataType::Int32,
            Code::Int64 => DataType::Int64,
            Code::Int4 => DataType::Int4,
            Code::Uint8 => DataType::UInt8,
            Code::Uint16 => DataType::UInt16,
            Code::Uint32 => DataType::UInt32,
            Code::Uint64 => DataType::UInt64,
            Code::Uint4 => DataType::UInt4,
            Code::Uint2 => DataType::UInt2,
            Code::Uint1 => DataType::UInt1,
            Code::Uint6 => DataType::UInt6,
            Code::Uint3 => DataType::UInt3,
        },
    )
}
