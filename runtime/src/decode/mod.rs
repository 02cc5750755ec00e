//! Decoding constants: packed bytes to words, and the `constexpr_*` operations.

mod blocks;
mod recipe;
mod rows;

pub(crate) use recipe::{Recipe, is_constexpr};
pub(crate) use rows::Rows;

use corer_mil::DataType;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::team::Team;

/// Elements decoded by one task.
const TASK: usize = 1 << 16;

/// Unpacks little-endian elements: floats to f32, integers and booleans to i32. `bytes` has the length the type
/// takes for `out.len()` elements.
///
/// # Errors
/// When the type has no place in 32 bits, or an integer doesn't fit.
pub(crate) fn words(team: Team, dtype: DataType, bytes: &[u8], out: &mut [u32]) -> Result<(), String> {
    match dtype {
        DataType::String | DataType::Fp64 => {
            return Err(format!("is of type {dtype}, which is not executed"));
        }
        DataType::Int64 | DataType::UInt64 | DataType::UInt32 => return wide(dtype, bytes, out),
        _ => {}
    }
    let bits = dtype.bits() as usize;
    team.pieces(out, TASK, |task, out| {
        // A task's first element starts on a byte: TASK is a multiple of 8.
        let start = task * TASK * bits / 8;
        let bytes = &bytes[start..start + (out.len() * bits).div_ceil(8)];
        match dtype {
            DataType::Fp32 | DataType::Int32 => {
                for (out, chunk) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = u32::from_le_bytes(*chunk);
                }
            }
            DataType::Fp16 => halves(bytes, bytemuck::cast_slice_mut(out)),
            DataType::Bf16 => {
                for (out, chunk) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = bf16::from_le_bytes(*chunk).to_f32().to_bits();
                }
            }
            DataType::Int16 => {
                for (out, chunk) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = i32::from(i16::from_le_bytes(*chunk)) as u32;
                }
            }
            DataType::UInt16 => {
                for (out, chunk) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = u32::from(u16::from_le_bytes(*chunk));
                }
            }
            DataType::Int8 => {
                for (out, byte) in out.iter_mut().zip(bytes) {
                    *out = i32::from(*byte as i8) as u32;
                }
            }
            DataType::UInt8 => {
                for (out, byte) in out.iter_mut().zip(bytes) {
                    *out = u32::from(*byte);
                }
            }
            DataType::Bool => {
                for (out, byte) in out.iter_mut().zip(bytes) {
                    *out = u32::from(*byte != 0);
                }
            }
            DataType::Int4 => {
                bit_stream(bytes, 0, 4, out);
                sign_extend(4, out);
            }
            _ => bit_stream(bytes, 0, bits, out),
        }
    });
    Ok(())
}

/// fp16 numbers to f32, through a stretch of aligned ones.
fn halves(bytes: &[u8], out: &mut [f32]) {
    let mut stretch = [f16::ZERO; 512];
    for (bytes, out) in bytes.chunks(1024).zip(out.chunks_mut(512)) {
        let stretch = &mut stretch[..out.len()];
        for (half, chunk) in stretch.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*chunk);
        }
        stretch.convert_to_f32_slice(out);
    }
}

/// Elements of `bits` bits each (at most 8) from the `first` on, that of the stream in the lowest bits of the first byte.
pub(crate) fn bit_stream(bytes: &[u8], first: usize, bits: usize, out: &mut [u32]) {
    let mask = (1u32 << bits) - 1;
    for (index, word) in out.iter_mut().enumerate() {
        let bit = (first + index) * bits;
        let low = u32::from(bytes[bit / 8]);
        let high = bytes.get(bit / 8 + 1).map_or(0, |byte| u32::from(*byte));
        *word = ((low | high << 8) >> (bit % 8)) & mask;
    }
}

/// Numbers of `bits` bits in two's complement.
pub(crate) fn sign_extend(bits: usize, words: &mut [u32]) {
    let unused = 32 - bits;
    for word in words {
        *word = ((*word as i32) << unused >> unused) as u32;
    }
}

fn wide(dtype: DataType, bytes: &[u8], out: &mut [u32]) -> Result<(), String> {
    let size = dtype.bits() as usize / 8;
    for (out, chunk) in out.iter_mut().zip(bytes.chunks_exact(size)) {
        let mut eight = [0u8; 8];
        eight[..size].copy_from_slice(chunk);
        let value = if dtype == DataType::UInt64 {
            i64::try_from(u64::from_le_bytes(eight)).ok()
        } else {
            Some(i64::from_le_bytes(eight))
        };
        *out = value
            .and_then(|value| i32::try_from(value).ok())
            .ok_or_else(|| format!("holds a number that is no int32 (its type is {dtype})"))?
            as u32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_few_bits_may_straddle_bytes() {
        // 0..8 in three bits each, lowest first.
        let bits: u32 = (0..8).map(|value| value << (3 * value)).sum();
        let bytes = bits.to_le_bytes();
        let mut out = [0; 8];
        words(Team::ALONE, DataType::UInt3, &bytes[..3], &mut out).unwrap();
        assert_eq!(out, [0, 1, 2, 3, 4, 5, 6, 7]);
        let mut out = [0; 3];
        words(Team::ALONE, DataType::Int4, &[0x7f, 0x08], &mut out).unwrap();
        assert_eq!(out.map(|word| word as i32), [-1, 7, -8]);
        let mut out = [0; 4];
        // 33, 1, 63, 32 in six bits each.
        words(Team::ALONE, DataType::UInt6, &[0x61, 0xf0, 0x83], &mut out).unwrap();
        assert_eq!(out, [33, 1, 63, 32]);
    }

    #[test]
    fn tasks_join_without_seams() {
        let bytes: Vec<u8> = (0..2 * TASK * 3 / 8).map(|i| (i * 31 % 251) as u8).collect();
        let (mut one, mut two) = (vec![0; 2 * TASK], vec![0; 2 * TASK]);
        words(Team::ALONE, DataType::UInt3, &bytes, &mut one).unwrap();
        bit_stream(&bytes, 0, 3, &mut two);
        let mut end = vec![0; 7];
        bit_stream(&bytes, 2 * TASK - 7, 3, &mut end);
        assert_eq!(end, two[2 * TASK - 7..]);
        assert_eq!(one, two);
    }

    #[test]
    fn integers_beyond_int32_are_refused() {
        let mut out = [0];
        assert!(
            words(
                Team::ALONE,
                DataType::Int64,
                &(1i64 << 31).to_le_bytes(),
                &mut out
            )
            .is_err()
        );
        assert!(
            words(
                Team::ALONE,
                DataType::Int64,
                &(-1i64 << 31).to_le_bytes(),
                &mut out
            )
            .is_ok()
        );
        assert_eq!(out[0] as i32, i32::MIN);
    }
}
