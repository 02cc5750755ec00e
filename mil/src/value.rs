//! Constant values: immediate ones, and weights that live elsewhere.

use std::borrow::Cow;
use std::sync::Arc;

use half::f16;

use crate::dtype::DataType;
use crate::types::{TensorType, ValueType};
use crate::weight::{MemoryWeight, WeightError, WeightSource};

/// A constant with its type.
#[derive(Clone, Debug)]
pub struct Value {
    /// Declared type.
    pub ty: ValueType,
    /// Contents.
    pub data: Data,
}

/// What a constant holds.
#[derive(Clone, Debug)]
pub enum Data {
    /// A tensor written inline.
    Immediate(Immediate),
    /// A tensor in a weight file, or on its way into one.
    Weight(Arc<dyn WeightSource>),
    /// The elements of a tuple.
    Tuple(Vec<Value>),
    /// The elements of a list.
    List(Vec<Value>),
    /// Key and value pairs of a dictionary, in written order.
    Dictionary(Vec<(Value, Value)>),
}

/// An inline tensor's elements, row-major.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Immediate {
    /// Packed little-endian bytes of any type but string; booleans take one byte each.
    Bytes(Vec<u8>),
    /// Strings.
    Strings(Vec<String>),
}

impl Value {
    /// A tensor of `dtype` from packed little-endian bytes.
    pub fn tensor(ty: TensorType, bytes: Vec<u8>) -> Self {
        Self {
            ty: ty.into(),
            data: Data::Immediate(Immediate::Bytes(bytes)),
        }
    }

    /// A tensor whose bytes go to (or lie in) the weight file.
    pub fn weight(ty: TensorType, source: Arc<dyn WeightSource>) -> Self {
        Self {
            ty: ty.into(),
            data: Data::Weight(source),
        }
    }

    /// A weight made of bytes in memory.
    pub fn memory_weight(ty: TensorType, bytes: Vec<u8>) -> Self {
        Self::weight(ty, Arc::new(MemoryWeight(bytes)))
    }

    /// A string scalar.
    pub fn string(text: impl Into<String>) -> Self {
        Self {
            ty: TensorType::scalar(DataType::String).into(),
            data: Data::Immediate(Immediate::Strings(vec![text.into()])),
        }
    }

    /// A boolean scalar.
    pub fn bool(value: bool) -> Self {
        Self::tensor(TensorType::scalar(DataType::Bool), vec![u8::from(value)])
    }

    /// An int32 scalar.
    pub fn i32(value: i32) -> Self {
        Self::tensor(TensorType::scalar(DataType::Int32), value.to_le_bytes().to_vec())
    }

    /// An int32 vector.
    pub fn i32s(values: &[i32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::tensor(TensorType::new(DataType::Int32, [values.len() as u64]), bytes)
    }

    /// A boolean vector.
    pub fn bools(values: &[bool]) -> Self {
        let bytes = values.iter().map(|value| u8::from(*value)).collect();
        Self::tensor(TensorType::new(DataType::Bool, [values.len() as u64]), bytes)
    }

    /// A float scalar of the given float type (fp16 or fp32; anything else is written as fp32).
    pub fn float(dtype: DataType, value: f32) -> Self {
        Self::floats(dtype, &[], &[value])
    }

    /// A float tensor of the given float type (fp16 or fp32; anything else is written as fp32).
    pub fn floats(dtype: DataType, shape: &[u64], values: &[f32]) -> Self {
        let shape = shape.iter().copied();
        match dtype {
            DataType::Fp16 => Self::tensor(
                TensorType::new(dtype, shape),
                values
                    .iter()
                    .flat_map(|value| f16::from_f32(*value).to_le_bytes())
                    .collect(),
            ),
            _ => Self::tensor(
                TensorType::new(DataType::Fp32, shape),
                values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ),
        }
    }

    /// The tensor type, if it is a tensor.
    pub const fn tensor_type(&self) -> Option<&TensorType> {
        self.ty.as_tensor()
    }

    /// The inline bytes, if it is an inline non-string tensor.
    pub fn immediate_bytes(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Immediate(Immediate::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The tensor's packed bytes wherever they are; `None` for strings and non-tensors.
    ///
    /// # Errors
    /// When a weight can't be read.
    pub fn to_bytes(&self) -> Result<Option<Vec<u8>>, WeightError> {
        match &self.data {
            Data::Immediate(Immediate::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Data::Weight(source) => source.to_vec().map(Some),
            _ => Ok(None),
        }
    }

    /// The text of a string scalar.
    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Immediate(Immediate::Strings(strings)) if strings.len() == 1 => Some(&strings[0]),
            _ => None,
        }
    }

    /// The value of a boolean scalar (or one-element tensor).
    pub fn as_bool(&self) -> Option<bool> {
        match (self.tensor_type()?.dtype, self.immediate_bytes()?) {
            (DataType::Bool, [byte]) => Some(*byte != 0),
            _ => None,
        }
    }

    /// The packed bytes of a tensor small enough to look into: inline, or a weight of at most 64 KiB (long
    /// vectors of sizes go to the weight file from iOS 18 on).
    fn small_bytes(&self) -> Option<Cow<'_, [u8]>> {
        const SMALL: u64 = 64 << 10;
        match &self.data {
            Data::Immediate(Immediate::Bytes(bytes)) => Some(Cow::Borrowed(bytes)),
            Data::Weight(source) if source.byte_len() <= SMALL => source.to_vec().ok().map(Cow::Owned),
            _ => None,
        }
    }

    /// Integers of a small tensor of a whole-byte integer type or bool, row-major.
    pub fn as_ints(&self) -> Option<Vec<i64>> {
        let bytes = self.small_bytes()?;
        macro_rules! read {
            ($ty:ty) => {
                bytes
                    .as_chunks::<{ size_of::<$ty>() }>()
                    .0
                    .iter()
                    .map(|chunk| i64::try_from(<$ty>::from_le_bytes(*chunk)).ok())
                    .collect()
            };
        }
        match self.tensor_type()?.dtype {
            DataType::Int8 => read!(i8),
            DataType::UInt8 | DataType::Bool => read!(u8),
            DataType::Int16 => read!(i16),
            DataType::UInt16 => read!(u16),
            DataType::Int32 => read!(i32),
            DataType::UInt32 => read!(u32),
            DataType::Int64 => read!(i64),
            DataType::UInt64 => read!(u64),
            _ => None,
        }
    }

    /// The value of an integer scalar (or one-element tensor).
    pub fn as_int(&self) -> Option<i64> {
        match self.as_ints()?.as_slice() {
            [value] => Some(*value),
            _ => None,
        }
    }

    /// Floats of a small fp16, bf16 or fp32 tensor, widened to f32, row-major.
    pub fn as_floats(&self) -> Option<Vec<f32>> {
        let bytes = self.small_bytes()?;
        match self.tensor_type()?.dtype {
            DataType::Fp16 => Some(
                bytes
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|chunk| f16::from_le_bytes(*chunk).to_f32())
                    .collect(),
            ),
            DataType::Bf16 => Some(
                bytes
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|chunk| half::bf16::from_le_bytes(*chunk).to_f32())
                    .collect(),
            ),
            DataType::Fp32 => Some(
                bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|chunk| f32::from_le_bytes(*chunk))
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The value of a float scalar (or one-element tensor).
    pub fn as_float(&self) -> Option<f32> {
        match self.as_floats()?.as_slice() {
            [value] => Some(*value),
            _ => None,
        }
    }
}
