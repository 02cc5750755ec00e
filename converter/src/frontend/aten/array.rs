//! Tensors whose elements are known while a program is read: shape arithmetic, position ids, rotary tables, masks that
//! depend on nothing.

use std::sync::Arc;

use super::dtype::ScalarType;

/// Most elements computed ahead; more stay where they are or are refused.
pub(super) const MOST_ELEMENTS: u64 = 1 << 22;

/// A tensor with its elements, row-major.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Array {
    pub(super) dtype: ScalarType,
    pub(super) shape: Vec<u64>,
    pub(super) values: Values,
}

/// Elements: truth values and integers as integers, floats as f64 that hold no more than their type does.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Values {
    Ints(Arc<[i64]>),
    Floats(Arc<[f64]>),
}

/// One element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    #[allow(clippy::cast_precision_loss)] // what PyTorch does
    pub(super) fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// Floats lose their fraction; beyond 64 bits they stop at the end.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn int(self) -> i64 {
        match self {
            Self::Int(value) => value,
            Self::Float(value) => value as i64,
        }
    }

    pub(super) fn truth(self) -> bool {
        match self {
            Self::Int(value) => value != 0,
            Self::Float(value) => value != 0.0,
        }
    }
}

impl Array {
    /// A tensor of one dtype from numbers, converted and rounded to it.
    pub(super) fn from_numbers(
        dtype: ScalarType,
        shape: Vec<u64>,
        numbers: impl IntoIterator<Item = Number>,
    ) -> Self {
        let numbers = numbers.into_iter();
        let values = if dtype.is_float() {
            Values::Floats(numbers.map(|number| round(dtype, number.float())).collect())
        } else {
            Values::Ints(numbers.map(|number| narrow(dtype, number)).collect())
        };
        Self { dtype, shape, values }
    }

    /// A tensor without dimensions.
    pub(super) fn scalar(dtype: ScalarType, number: Number) -> Self {
        Self::from_numbers(dtype, Vec::new(), [number])
    }

    /// One number everywhere.
    ///
    /// # Errors
    /// When the tensor is too large to be computed ahead.
    pub(super) fn full(dtype: ScalarType, shape: Vec<u64>, number: Number) -> Result<Self, String> {
        let count = count(&shape)?;
        Ok(Self::from_numbers(
            dtype,
            shape,
            std::iter::repeat_n(number, count),
        ))
    }

    /// Where the elements lie; tensors with the same elements in memory have the same.
    pub(super) fn address(&self) -> usize {
        match &self.values {
            Values::Ints(values) => values.as_ptr().addr(),
            Values::Floats(values) => values.as_ptr().addr(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Ints(values) => values.len(),
            Values::Floats(values) => values.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Number {
        match &self.values {
            Values::Ints(values) => Number::Int(values[index]),
            Values::Floats(values) => Number::Float(values[index]),
        }
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = Number> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The elements along the first dimension's first position, when they are the same at every other.
    pub(super) fn repeated(&self) -> Option<Vec<Number>> {
        let Values::Ints(values) = &self.values else {
            return None;
        };
        let repeats = usize::try_from(*self.shape.first()?).ok()?;
        let each = values.len().checked_div(repeats).filter(|each| *each > 0)?;
        let (first, others) = values.split_at(each);
        let same = others.chunks(each).all(|other| other == first);
        same.then(|| first.iter().copied().map(Number::Int).collect())
    }

    /// The only element.
    pub(super) fn item(&self) -> Option<Number> {
        (self.len() == 1).then(|| self.get(0))
    }

    /// Every element converted to another type.
    pub(super) fn cast(&self, dtype: ScalarType) -> Self {
        if dtype == self.dtype {
            return self.clone();
        }
        Self::from_numbers(dtype, self.shape.clone(), self.numbers())
    }

    /// The same elements under another shape, whose count was checked.
    pub(super) fn reshaped(&self, shape: Vec<u64>) -> Self {
        Self {
            shape,
            ..self.clone()
        }
    }

    /// The elements a view with the given strides sees, first at `offset`.
    pub(super) fn strided(&self, shape: Vec<u64>, strides: &[u64], offset: u64) -> Result<Self, String> {
        let count = count(&shape)?;
        let mut indices = Vec::with_capacity(count);
        let mut position = vec![0u64; shape.len()];
        for _ in 0..count {
            let at = position
                .iter()
                .zip(strides)
                .map(|(at, stride)| at * stride)
                .sum::<u64>()
                + offset;
            indices.push(usize::try_from(at).unwrap_or(usize::MAX));
            for (at, size) in position.iter_mut().zip(&shape).rev() {
                *at += 1;
                if *at < *size {
                    break;
                }
                *at = 0;
            }
        }
        let values = match &self.values {
            Values::Ints(values) => Values::Ints(indices.into_iter().map(|index| values[index]).collect()),
            Values::Floats(values) => {
                Values::Floats(indices.into_iter().map(|index| values[index]).collect())
            }
        };
        Ok(Self {
            dtype: self.dtype,
            shape,
            values,
        })
    }

    /// Strides of the tensor itself.
    pub(super) fn strides(&self) -> Vec<u64> {
        let mut strides = vec![1; self.shape.len()];
        for index in (1..self.shape.len()).rev() {
            strides[index - 1] = strides[index] * self.shape[index];
        }
        strides
    }

    /// Repeated along dimensions of size 1 and new ones in front.
    ///
    /// # Errors
    /// When the shapes don't fit, or the result is too large.
    pub(super) fn expanded(&self, shape: &[u64]) -> Result<Self, String> {
        if self.shape == shape {
            return Ok(self.clone());
        }
        let new = shape
            .len()
            .checked_sub(self.shape.len())
            .ok_or_else(|| format!("{:?} does not expand to {shape:?}", self.shape))?;
        let mut strides = vec![0; new];
        for ((size, stride), wanted) in self.shape.iter().zip(self.strides()).zip(&shape[new..]) {
            strides.push(match size {
                size if size == wanted => stride,
                1 => 0,
                _ => return Err(format!("{:?} does not expand to {shape:?}", self.shape)),
            });
        }
        self.strided(shape.to_vec(), &strides, 0)
    }

    /// A function of the elements of two tensors, broadcasting.
    ///
    /// # Errors
    /// When the shapes don't broadcast, or the result is too large.
    pub(super) fn zip(
        &self,
        other: &Self,
        dtype: ScalarType,
        function: impl Fn(Number, Number) -> Number,
    ) -> Result<Self, String> {
        let shape = broadcast(&self.shape, &other.shape)?;
        let (a, b) = (self.expanded(&shape)?, other.expanded(&shape)?);
        let numbers = a.numbers().zip(b.numbers()).map(|(a, b)| function(a, b));
        Ok(Self::from_numbers(dtype, shape, numbers))
    }

    /// A function of every element.
    pub(super) fn map(&self, dtype: ScalarType, function: impl Fn(Number) -> Number) -> Self {
        Self::from_numbers(dtype, self.shape.clone(), self.numbers().map(function))
    }
}

/// The number of elements of a shape.
///
/// # Errors
/// When there are too many to be computed ahead.
pub(super) fn count(shape: &[u64]) -> Result<usize, String> {
    let count = shape
        .iter()
        .try_fold(1u64, |count, size| count.checked_mul(*size));
    match count.filter(|count| *count <= MOST_ELEMENTS) {
        Some(count) => usize::try_from(count).map_err(|_| "too large".into()),
        None => Err(format!("{shape:?} is too large to be computed ahead of time")),
    }
}

/// The shape two shapes broadcast to.
pub(super) fn broadcast(a: &[u64], b: &[u64]) -> Result<Vec<u64>, String> {
    let known = |shape: &[u64]| {
        shape
            .iter()
            .copied()
            .map(corer_mil::Dim::Known)
            .collect::<Vec<_>>()
    };
    let shape = corer_mil::ops::broadcast(&known(a), &known(b))?;
    // Known sizes broadcast to known sizes.
    Ok(shape.into_iter().map(|dim| dim.known().unwrap_or(0)).collect())
}

/// Rounds to what a float type holds.
#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn round(dtype: ScalarType, value: f64) -> f64 {
    match dtype {
        ScalarType::Float16 => half::f16::from_f64(value).to_f64(),
        ScalarType::BFloat16 => half::bf16::from_f64(value).to_f64(),
        ScalarType::Float64 => value,
        _ => f64::from(value as f32),
    }
}

/// Wraps to what an integer type holds; truth values are 0 or 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // wrapping is meant
fn narrow(dtype: ScalarType, number: Number) -> i64 {
    let value = number.int();
    match dtype {
        ScalarType::Bool => i64::from(number.truth()),
        ScalarType::Uint8 => i64::from(value as u8),
        ScalarType::Int8 => i64::from(value as i8),
        ScalarType::Int16 => i64::from(value as i16),
        ScalarType::Int32 => i64::from(value as i32),
        _ => value,
    }
}
