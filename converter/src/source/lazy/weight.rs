//! Lazy tensors as weights of a program: streamed, scaled, rounded and checked piece by piece.

use std::sync::Arc;

use corer_mil::{DataType, WeightError, WeightSource};

use super::read::Conversion;
use super::{Base, LazyTensor, convert, scratch};
use crate::source::dtype::StoredType;
use crate::source::error::{SourceError, shortened};
use crate::source::tensor_set::TensorSlice;

/// Elements [`LazyTensor::read_f32`] gives at most (256 MiB): what is larger has to be streamed.
const MOST_READ_WHOLE: u64 = 1 << 26;

/// The largest finite f16.
const F16_MAX: f32 = 65504.0;

/// What to do with finite values the target type can't hold. Values that round to the largest finite one are
/// held; infinities and NaN in the source are always an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Overflow {
    /// Refuse them.
    Error,
    /// Put the largest finite value of their sign in their place.
    Saturate,
}

impl LazyTensor {
    /// All values, for tensors small enough to hold.
    ///
    /// # Errors
    /// When they can't be read, are not finite, or are more than 2²⁶.
    pub fn read_f32(&self) -> Result<Vec<f32>, SourceError> {
        let count = self.count();
        if count > MOST_READ_WHOLE {
            let reason = format!("{count} elements are too many to hold in memory");
            return Err(SourceError::view(self.name(), reason));
        }
        let mut values = vec![0.0; count as usize];
        self.fill_f32(0, &mut values, Overflow::Error)?;
        Ok(values)
    }

    /// The tensor as a weight in `Fp16` or `Fp32`; other types give an error when read.
    pub fn into_source(self, dtype: DataType, overflow: Overflow) -> Arc<dyn WeightSource> {
        Arc::new(LazyWeight {
            tensor: self,
            dtype,
            overflow,
        })
    }

    /// Scaled values from `first` on, checked.
    fn fill_f32(&self, first: u64, out: &mut [f32], overflow: Overflow) -> Result<(), WeightError> {
        self.in_pieces(first, out, |position, piece| {
            if self.consecutive().is_some() {
                self.read_run(position, piece)?;
                convert::scale(piece, self.scale);
            } else {
                let copy = |values: &[f32], out: &mut [f32]| out.copy_from_slice(values);
                self.read_converted(
                    position,
                    piece,
                    &Conversion {
                        factor: self.scale,
                        convert: copy,
                    },
                )?;
            }
            if convert::any_non_finite_f32(piece) {
                for (index, value) in piece
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, value)| !value.is_finite())
                {
                    *value =
                        self.out_of_range(position + index as u64, DataType::Fp32, f32::MAX, overflow)?;
                }
            }
            Ok(())
        })
    }

    /// Scaled values from `first` on, rounded to little-endian f16, checked.
    fn fill_f16(&self, first: u64, out: &mut [u16], overflow: Overflow) -> Result<(), WeightError> {
        // Stored f16 that stay as they are need no detour through f32.
        let verbatim = self.verbatim(StoredType::F16);
        self.in_pieces(first, out, |position, piece| {
            if let Some((slice, start)) = verbatim {
                convert::read_raw(slice, start + position, bytemuck::cast_slice_mut(piece))?;
            } else {
                let conversion = Conversion {
                    factor: self.scale,
                    convert: convert::round_f16,
                };
                self.read_converted(position, piece, &conversion)?;
            }
            if convert::any_non_finite_f16(piece) {
                for (index, bits) in piece.iter_mut().enumerate() {
                    if !half::f16::from_bits(u16::from_le(*bits)).is_finite() {
                        let at = position + index as u64;
                        let value = self.out_of_range(at, DataType::Fp16, F16_MAX, overflow)?;
                        *bits = half::f16::from_f32(value).to_bits().to_le();
                    }
                }
            }
            Ok(())
        })
    }

    /// Does `work` piece by piece, so that what it checks is still in cache; all at once where larger pieces mean
    /// fewer reads.
    fn in_pieces<T>(
        &self,
        first: u64,
        out: &mut [T],
        mut work: impl FnMut(u64, &mut [T]) -> Result<(), WeightError>,
    ) -> Result<(), WeightError> {
        let len = if self.consecutive().is_some() {
            scratch::CAPACITY
        } else {
            out.len().max(1)
        };
        let mut position = first;
        for piece in out.chunks_mut(len) {
            work(position, piece)?;
            position += piece.len() as u64;
        }
        Ok(())
    }

    /// The slice and its first element, when the tensor is consecutive stored elements of that type, unscaled.
    fn verbatim(&self, dtype: StoredType) -> Option<(&TensorSlice, u64)> {
        match &self.base {
            Base::Slice(slice) if slice.dtype() == dtype && self.scale == 1.0 => {
                Some((slice, self.consecutive()?))
            }
            _ => None,
        }
    }

    /// What stands in for a value the target can't hold, or the error that names it.
    fn out_of_range(
        &self,
        position: u64,
        dtype: DataType,
        largest: f32,
        overflow: Overflow,
    ) -> Result<f32, WeightError> {
        let mut value = [0.0];
        self.read_run(position, &mut value)?;
        let [value] = value;
        if value.is_finite() && overflow == Overflow::Saturate {
            return Ok(largest.copysign(value * self.scale));
        }
        let (place, index) = match self.locate(position) {
            Some((slice, element)) => {
                let place = format!("{}, tensor `{}`", slice.path().display(), shortened(slice.name()));
                (place, unravel(element, slice.shape(), slice.column_major))
            }
            None => (format!("tensor `{}`", shortened(self.name())), vec![position]),
        };
        let reason = if !value.is_finite() {
            format!("the value at {index:?} is {value}; the checkpoint is damaged or its training diverged")
        } else if self.scale == 1.0 {
            format!(
                "the value {value} at {index:?} is beyond the largest {dtype} ({largest}); \
                 --saturate clamps such values, --precision fp32 keeps them"
            )
        } else {
            format!(
                "the value {value} at {index:?}, scaled by {}, is beyond the largest {dtype} ({largest}); \
                 --saturate clamps such values, --precision fp32 keeps them",
                self.scale
            )
        };
        Err(WeightError { place, reason })
    }
}

/// The index of an element counted as it is stored.
fn unravel(element: u64, shape: &[u64], column_major: bool) -> Vec<u64> {
    let mut rest = element;
    let mut index = vec![0; shape.len()];
    let mut set = |axis: usize| {
        let size = shape[axis].max(1);
        index[axis] = rest % size;
        rest /= size;
    };
    if column_major {
        (0..shape.len()).for_each(&mut set)
    } else {
        (0..shape.len()).rev().for_each(&mut set)
    }
    index
}

/// A lazy tensor in the type a program declares for it.
#[derive(Debug)]
struct LazyWeight {
    tensor: LazyTensor,
    dtype: DataType,
    overflow: Overflow,
}

impl WeightSource for LazyWeight {
    fn byte_len(&self) -> u64 {
        // A tensor's bytes lie in a file in at least 2 of the at most 4 bytes this asks per element, so the
        // saturation is never reached.
        self.dtype.packed_len(self.tensor.count()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        let fail = |reason: String| WeightError {
            place: format!("tensor `{}`", shortened(self.tensor.name())),
            reason,
        };
        let size = match self.dtype {
            DataType::Fp16 => 2,
            DataType::Fp32 => 4,
            other => return Err(fail(format!("weights can't be written as {other}"))),
        };
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.byte_len())
            || !offset.is_multiple_of(size)
            || !(out.len() as u64).is_multiple_of(size)
        {
            return Err(fail(format!(
                "{} bytes at offset {offset} are not whole elements of its {} bytes",
                out.len(),
                self.byte_len()
            )));
        }
        let first = offset / size;
        match self.dtype {
            DataType::Fp16 => in_place(
                out,
                |first, out| self.tensor.fill_f16(first, out, self.overflow),
                first,
            ),
            _ => in_place(
                out,
                |first, out| {
                    self.tensor.fill_f32(first, out, self.overflow)?;
                    if cfg!(target_endian = "big") {
                        out.iter_mut()
                            .for_each(|v| *v = f32::from_bits(v.to_bits().swap_bytes()));
                    }
                    Ok(())
                },
                first,
            ),
        }
    }
}

/// Fills bytes through `fill`, which wants elements: directly when the bytes are aligned, else through a buffer.
fn in_place<T: bytemuck::Pod>(
    out: &mut [u8],
    fill: impl Fn(u64, &mut [T]) -> Result<(), WeightError>,
    first: u64,
) -> Result<(), WeightError> {
    if let Ok(elements) = bytemuck::try_cast_slice_mut(out) {
        return fill(first, elements);
    }
    let size = size_of::<T>();
    let mut position = first;
    for piece in out.chunks_mut(scratch::CAPACITY * 4) {
        scratch::with(piece.len().div_ceil(4), |buffer| {
            let elements = &mut bytemuck::cast_slice_mut::<f32, T>(buffer)[..piece.len() / size];
            fill(position, elements)?;
            piece.copy_from_slice(bytemuck::cast_slice(elements));
            Ok::<_, WeightError>(())
        })?;
        position += (piece.len() / size) as u64;
    }
    Ok(())
}
