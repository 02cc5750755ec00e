//! A dense float weight, read in pieces as f32.

use std::ops::Range;
use std::sync::Arc;

use corer_mil::{DataType, TensorType, WeightSource};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::QuantizeError;

/// Elements handled at a time: a piece fits a core's caches, and its codes fill whole bytes at any width.
pub(crate) const PIECE: usize = 1 << 16;

/// A float constant of the program.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    pub(crate) name: String,
    pub(crate) source: Arc<dyn WeightSource>,
    /// fp16 or fp32.
    pub(crate) dtype: DataType,
    pub(crate) shape: Vec<usize>,
}

/// Memory a piece is read into; kept by whoever reads several.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    bytes: Vec<u8>,
    /// The raw numbers, when they are fp16.
    pub(crate) halves: Vec<u16>,
    /// The numbers.
    pub(crate) values: Vec<f32>,
}

impl Dense {
    /// A weight of a float type with known sizes; `None` for anything else.
    pub(crate) fn new(name: &str, ty: &TensorType, source: Arc<dyn WeightSource>) -> Option<Self> {
        let known = ty.known_shape()?;
        let shape = known
            .into_iter()
            .map(|size| usize::try_from(size).ok())
            .collect::<Option<Vec<_>>>()?;
        let fits =
            matches!(ty.dtype, DataType::Fp16 | DataType::Fp32) && ty.byte_len() == Some(source.byte_len());
        fits.then(|| Self {
            name: name.to_owned(),
            source,
            dtype: ty.dtype,
            shape,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Reads row-major elements into `piece`.
    pub(crate) fn read(&self, range: Range<usize>, piece: &mut Piece) -> Result<(), QuantizeError> {
        let fail = |source| QuantizeError::Weight {
            weight: self.name.clone(),
            source,
        };
        let size = if self.dtype == DataType::Fp16 { 2 } else { 4 };
        let offset = (range.start * size) as u64;
        piece.values.resize(range.len(), 0.0);
        if self.dtype == DataType::Fp16 {
            piece.halves.resize(range.len(), 0);
            if cfg!(target_endian = "little") {
                self.source
                    .read_at(offset, bytemuck::cast_slice_mut(&mut piece.halves))
                    .map_err(fail)?;
            } else {
                piece.bytes.resize(range.len() * 2, 0);
                self.source.read_at(offset, &mut piece.bytes).map_err(fail)?;
                for (half, bytes) in piece.halves.iter_mut().zip(piece.bytes.as_chunks::<2>().0) {
                    *half = u16::from_le_bytes(*bytes);
                }
            }
            half_slice(&piece.halves).convert_to_f32_slice(&mut piece.values);
        } else {
            piece.bytes.resize(range.len() * 4, 0);
            self.source.read_at(offset, &mut piece.bytes).map_err(fail)?;
            for (value, bytes) in piece.values.iter_mut().zip(piece.bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }

    /// All of it.
    pub(crate) fn to_vec(&self) -> Result<Vec<f32>, QuantizeError> {
        let mut piece = Piece::default();
        let mut all = Vec::with_capacity(self.len());
        for start in (0..self.len()).step_by(PIECE) {
            self.read(start..(start + PIECE).min(self.len()), &mut piece)?;
            all.extend_from_slice(&piece.values);
        }
        Ok(all)
    }

    /// Refuses NaN and infinities.
    pub(crate) fn check_finite(&self, start: usize, values: &[f32]) -> Result<(), QuantizeError> {
        // Without their signs, the bits of NaN and infinities are the largest; a search for the largest integer vectorises,
        // unlike a search for the first.
        const INFINITY: i32 = f32::INFINITY.to_bits() as i32;
        let magnitude = |value: &f32| (value.to_bits() & !(1 << 31)) as i32;
        if values.iter().map(magnitude).fold(0, i32::max) < INFINITY {
            return Ok(());
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => Err(QuantizeError::NotFinite {
                weight: self.name.clone(),
                index: start + at,
                value: values[at],
            }),
        }
    }
}

fn half_slice(bits: &[u16]) -> &[f16] {
    use half::slice::HalfBitsSliceExt;
    bits.reinterpret_cast()
}

/// The nearest number the type can hold.
pub(crate) fn round_to(dtype: DataType, value: f32) -> f32 {
    if dtype == DataType::Fp16 {
        f16::from_f32(value).to_f32()
    } else {
        value
    }
}

/// Numbers as the type's little-endian bytes.
pub(crate) fn to_bytes(dtype: DataType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0u8; values.len() * if dtype == DataType::Fp16 { 2 } else { 4 }];
    if dtype == DataType::Fp16 {
        let mut halves = [f16::ZERO; 1024];
        for (values, bytes) in values.chunks(1024).zip(bytes.chunks_mut(2048)) {
            let halves = &mut halves[..values.len()];
            halves.convert_from_f32_slice(values);
            for (half, bytes) in halves.iter().zip(bytes.as_chunks_mut::<2>().0) {
                *bytes = half.to_le_bytes();
            }
        }
    } else {
        for (value, bytes) in values.iter().zip(bytes.as_chunks_mut::<4>().0) {
            *bytes = value.to_le_bytes();
        }
    }
    bytes
}
