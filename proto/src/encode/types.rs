//! MIL types as messages.

use coreml_proto::proto::mil_spec::{
    DataType as Code, DictionaryType, Dimension, ListType, NamedValueType, StateType,
    TensorType as TensorMessage, TupleType, ValueType as TypeMessage, dimension, value_type,
};
use corer_mil::{DataType, Dim, NamedType, TensorType, ValueType};

pub(super) fn named(named: &NamedType) -> NamedValueType {
    NamedValueType {
        name: named.name.clone(),
        r#type: Some(value_type(&named.ty)),
    }
}

pub(super) fn value_type(ty: &ValueType) -> TypeMessage {
    let boxed = |ty: &ValueType| Some(Box::new(value_type(ty)));
    let ty = match ty {
        ValueType::Tensor(tensor) => value_type::Type::TensorType(tensor_type(tensor)),
        ValueType::List(element, length) => value_type::Type::ListType(Box::new(ListType {
            r#type: boxed(element),
            length: Some(dimension(*length)),
        })),
        ValueType::Tuple(elements) => value_type::Type::TupleType(TupleType {
            types: elements.iter().map(value_type).collect(),
        }),
        ValueType::Dictionary(key, value) => value_type::Type::DictionaryType(Box::new(DictionaryType {
            key_type: boxed(key),
            value_type: boxed(value),
        })),
        ValueType::State(inner) => value_type::Type::StateType(Box::new(StateType {
            wrapped_type: boxed(inner),
        })),
    };
    TypeMessage { r#type: Some(ty) }
}

fn tensor_type(tensor: &TensorType) -> TensorMessage {
    TensorMessage {
        data_type: code(tensor.dtype) as i32,
        rank: i64::try_from(tensor.rank()).unwrap_or(i64::MAX),
        dimensions: tensor.shape.iter().copied().map(dimension).collect(),
        attributes: Default::default(),
    }
}

fn dimension(dim: Dim) -> Dimension {
    let dimension = match dim {
        Dim::Known(size) => dimension::Dimension::Constant(dimension::ConstantDimension { size }),
        Dim::Symbol(_) => dimension::Dimension::Unknown(dimension::UnknownDimension { variadic: false }),
    };
    Dimension {
        dimension: Some(dimension),
    }
}

const fn code(dtype: DataType) -> Code {
    match dtype {
        DataType::Bool => Code::Bool,
        DataType::String => Code::String,
        DataType::Fp16 => Code::Float16,
        DataType::Fp32 => Code::Float32,
        DataType::Fp64 => Code::Float64,
        DataType::Bf16 => Code::Bfloat16,
        DataType::Int4 => Code::Int4,
        DataType::Int8 => Code::Int8,
        DataType::Int16 => Code::Int16,
        DataType::Int32 => Code::Int32,
        DataType::Int64 => Code::Int64,
        DataType::UInt1 => Code::Uint1,
        DataType::UInt2 => Code::Uint2,
        DataType::UInt3 => Code::Uint3,
        DataType::UInt4 => Code::Uint4,
        DataType::UInt6 => Code::Uint6,
        DataType::UInt8 => Code::Uint8,
        DataType::UInt16 => Code::Uint16,
        DataType::UInt32 => Code::Uint32,
        DataType::UInt64 => Code::Uint64,
    }
}
