//! Stored elements to f32, f32 to f16, and the check that nothing on the way became infinite.
//!
//! `half` picks F16C at run time; the rest are plain loops the compiler vectorises.

use corer_mil::WeightError;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

use super::scratch;
use crate::source::dtype::StoredType;
use crate::source::error::shortened;
use crate::source::tensor_set::TensorSlice;

/// Exponent bits of an f16, all set for infinities and NaN.
const F16_EXPONENT: i16 = 0x7c00;

/// Exponent bits of an f32, all set for infinities and NaN.
const F32_EXPONENT: i32 = 0x7f80_0000;

/// Fills `out` with the elements of `slice` from `first` on, as they are stored.
pub(super) fn read_raw(slice: &TensorSlice, first: u64, out: &mut [u8]) -> Result<(), WeightError> {
    // `first` lies in the tensor, whose bytes were checked to lie in the file.
    let offset = slice.offset() + first * slice.dtype().size();
    slice
        .file
        .read_exact_at(out, offset)
        .map_err(|error| WeightError {
            place: format!("{}, tensor `{}`", slice.path().display(), shortened(slice.name())),
            reason: format!("{} bytes at offset {offset} can't be read: {error}", out.len()),
        })
}

/// Fills `out` with the elements of `slice` from `first` on.
pub(super) fn read_f32(slice: &TensorSlice, first: u64, out: &mut [f32]) -> Result<(), WeightError> {
    match slice.dtype() {
        StoredType::F32 => {
            read_raw(slice, first, bytemuck::cast_slice_mut(out))?;
            if cfg!(target_endian = "big") {
                out.iter_mut()
                    .for_each(|value| *value = f32::from_bits(value.to_bits().swap_bytes()));
            }
            Ok(())
        }
        StoredType::F16 => read_halves(slice, first, out, |halves, out| {
            halves.reinterpret_cast::<f16>().convert_to_f32_slice(out);
        }),
        StoredType::BF16 => read_halves(slice, first, out, |halves, out| {
            for (value, bits) in out.iter_mut().zip(halves) {
                *value = bf16::from_bits(*bits).to_f32();
            }
        }),
        StoredType::F64 => read_doubles(slice, first, out),
        other => Err(WeightError {
            place: format!("{}, tensor `{}`", slice.path().display(), shortened(slice.name())),
            reason: format!("{other} elements are not real numbers; weights must be F16, BF16, F32 or F64"),
        }),
    }
}

/// Reads 16-bit elements in pieces and hands each piece to `convert`.
fn read_halves(
    slice: &TensorSlice,
    first: u64,
    out: &mut [f32],
    convert: impl Fn(&[u16], &mut [f32]),
) -> Result<(), WeightError> {
    let mut position = first;
    for piece in out.chunks_mut(2 * scratch::CAPACITY) {
        scratch::with(piece.len().div_ceil(2), |buffer| {
            let halves = &mut bytemuck::cast_slice_mut::<f32, u16>(buffer)[..piece.len()];
            read_raw(slice, position, bytemuck::cast_slice_mut(halves))?;
            if cfg!(target_endian = "big") {
                halves.iter_mut().for_each(|bits| *bits = bits.swap_bytes());
            }
            convert(halves, piece);
            Ok::<_, WeightError>(())
        })?;
        position += piece.len() as u64;
    }
    Ok(())
}

/// Reads f64 elements, rounded to f32 as PyTorch's `.float()` does.
fn read_doubles(slice: &TensorSlice, first: u64, out: &mut [f32]) -> Result<(), WeightError> {
    let mut position = first;
    for piece in out.chunks_mut(scratch::CAPACITY / 2) {
        scratch::with(piece.len() * 2, |buffer| {
            let bytes = bytemuck::cast_slice_mut::<f32, u8>(buffer);
            read_raw(slice, position, bytes)?;
            let (doubles, _) = bytes.as_chunks::<8>();
            for (value, bytes) in piece.iter_mut().zip(doubles) {
                #[allow(clippy::cast_possible_truncation)] // rounding is the point; overflow is found below
                let rounded = f64::from_le_bytes(*bytes) as f32;
                *value = rounded;
            }
            Ok::<_, WeightError>(())
        })?;
        position += piece.len() as u64;
    }
    Ok(())
}

/// Multiplies every value.
pub(super) fn scale(values: &mut [f32], factor: f32) {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value *= factor);
    }
}

/// Rounds to f16, to nearest even; `out` receives little-endian bits.
pub(super) fn round_f16(values: &[f32], out: &mut [u16]) {
    out.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values);
    if cfg!(target_endian = "big") {
        out.iter_mut().for_each(|bits| *bits = bits.swap_bytes());
    }
}

/// Whether an f16 is infinite or NaN. The largest magnitude tells, and finding it vectorises.
pub(super) fn any_non_finite_f16(values: &[u16]) -> bool {
    let largest = values.iter().fold(0i16, |largest, bits| {
        // Without its sign bit it fits an i16, whose maximum the baseline instruction set has.
        largest.max((u16::from_le(*bits) & 0x7fff) as i16)
    });
    largest >= F16_EXPONENT
}

/// Whether an f32 is infinite or NaN.
pub(super) fn any_non_finite_f32(values: &[f32]) -> bool {
    let largest = values.iter().fold(0i32, |largest, value| {
        largest.max((value.to_bits() & 0x7fff_ffff) as i32)
    });
    largest >= F32_EXPONENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_called_finite_or_not_as_half_says() {
        for bits in 0..=u16::MAX {
            assert_eq!(
                any_non_finite_f16(&[0, bits.to_le(), 1]),
                !f16::from_bits(bits).is_finite()
            );
        }
    }

    #[test]
    fn non_finite_f32_are_found_anywhere() {
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
            for at in 0..67 {
                let mut values = [f32::MAX; 67];
                assert!(!any_non_finite_f32(&values));
                values[at] = bad;
                assert!(any_non_finite_f32(&values));
            }
        }
    }
}
