//! Tensors as they go into and come out of an engine: a shape and row-major elements.

use corer_mil::DataType;
use half::f16;

use crate::error::TensorError;

/// A dense tensor; rank 0 is a scalar.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

/// A tensor's elements, row-major.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)] // named after the element type
pub enum TensorData {
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    Bool(Vec<bool>),
    Strings(Vec<String>),
}

/// Runs an expression on the vector inside, whatever its element type.
macro_rules! each {
    ($data:expr, $values:ident => $result:expr) => {
        match $data {
            TensorData::F16($values) => $result,
            TensorData::F32($values) => $result,
            TensorData::F64($values) => $result,
            TensorData::I8($values) => $result,
            TensorData::I16($values) => $result,
            TensorData::I32($values) => $result,
            TensorData::I64($values) => $result,
            TensorData::U8($values) => $result,
            TensorData::U16($values) => $result,
            TensorData::Bool($values) => $result,
            TensorData::Strings($values) => $result,
        }
    };
}

impl TensorData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type in MIL's terms.
    pub const fn dtype(&self) -> DataType {
        match self {
            Self::F16(_) => DataType::Fp16,
            Self::F32(_) => DataType::Fp32,
            Self::F64(_) => DataType::Fp64,
            Self::I8(_) => DataType::Int8,
            Self::I16(_) => DataType::Int16,
            Self::I32(_) => DataType::Int32,
            Self::I64(_) => DataType::Int64,
            Self::U8(_) => DataType::UInt8,
            Self::U16(_) => DataType::UInt16,
            Self::Bool(_) => DataType::Bool,
            Self::Strings(_) => DataType::String,
        }
    }
}

impl Tensor {
    /// A tensor of `shape` with `data` in row-major order.
    ///
    /// # Errors
    /// When the number of elements is not the product of the sizes.
    pub fn new(shape: impl Into<Vec<usize>>, data: TensorData) -> Result<Self, TensorError> {
        let shape = shape.into();
        let count = shape
            .iter()
            .try_fold(1usize, |count, size| count.checked_mul(*size));
        if count == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(TensorError {
                shape,
                elements: data.len(),
            })
        }
    }

    /// Parts that are known to fit.
    pub(crate) const fn from_parts(shape: Vec<usize>, data: TensorData) -> Self {
        Self { shape, data }
    }

    /// An fp32 tensor.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self, TensorError> {
        Self::new(shape, TensorData::F32(values))
    }

    /// An int32 tensor.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn i32(shape: impl Into<Vec<usize>>, values: Vec<i32>) -> Result<Self, TensorError> {
        Self::new(shape, TensorData::I32(values))
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub const fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements, without the shape.
    pub fn into_data(self) -> TensorData {
        self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Element type in MIL's terms.
    pub const fn dtype(&self) -> DataType {
        self.data.dtype()
    }

    /// The elements of an fp32 tensor.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements of an int32 tensor.
    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.data {
            TensorData::I32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements of a string tensor.
    pub fn as_strings(&self) -> Option<&[String]> {
        match &self.data {
            TensorData::Strings(values) => Some(values),
            _ => None,
        }
    }

    /// The elements as f32 (the nearest one where f32 can't hold them; booleans are 0 and 1), row-major. Strings
    /// have no number: NaN.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // says so above
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            TensorData::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
            TensorData::F32(values) => values.clone(),
            TensorData::F64(values) => values.iter().map(|value| *value as f32).collect(),
            TensorData::I8(values) => values.iter().map(|value| f32::from(*value)).collect(),
            TensorData::I16(values) => values.iter().map(|value| f32::from(*value)).collect(),
            TensorData::I32(values) => values.iter().map(|value| *value as f32).collect(),
            TensorData::I64(values) => values.iter().map(|value| *value as f32).collect(),
            TensorData::U8(values) => values.iter().map(|value| f32::from(*value)).collect(),
            TensorData::U16(values) => values.iter().map(|value| f32::from(*value)).collect(),
            TensorData::Bool(values) => values.iter().map(|value| f32::from(u8::from(*value))).collect(),
            TensorData::Strings(values) => vec![f32::NAN; values.len()],
        }
    }
}
