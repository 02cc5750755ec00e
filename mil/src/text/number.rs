//! Single elements of tensors as text and back, bit by bit.

use half::{bf16, f16};

use crate::dtype::DataType;

/// How a NaN with the usual bits is written.
const NAN: &str = "nan";

/// The elements of a packed tensor in order, as text; `None` when the bytes are not `count` whole elements with
/// zero padding, or no text would give them back.
pub(super) fn write_elements(dtype: DataType, bytes: &[u8], count: u64) -> Option<Vec<String>> {
    if dtype.packed_len(count)? != bytes.len() as u64 {
        return None;
    }
    macro_rules! whole {
        ($ty:ty, $write:expr) => {
            bytes
                .as_chunks::<{ size_of::<$ty>() }>()
                .0
                .iter()
                .map(|chunk| $write(<$ty>::from_le_bytes(*chunk)))
                .collect()
        };
    }
    macro_rules! integers {
        ($ty:ty) => {
            whole!($ty, |value: $ty| value.to_string())
        };
    }
    Some(match dtype {
        DataType::String => return None,
        DataType::Bool => {
            return bytes
                .iter()
                .map(|byte| match byte {
                    0 => Some("false".to_owned()),
                    1 => Some("true".to_owned()),
                    _ => None,
                })
                .collect();
        }
        DataType::Fp16 => whole!(f16, write_f16),
        DataType::Bf16 => whole!(bf16, write_bf16),
        DataType::Fp32 => whole!(f32, write_f32),
        DataType::Fp64 => whole!(f64, write_f64),
        DataType::Int8 => integers!(i8),
        DataType::Int16 => integers!(i16),
        DataType::Int32 => integers!(i32),
        DataType::Int64 => integers!(i64),
        DataType::UInt8 => integers!(u8),
        DataType::UInt16 => integers!(u16),
        DataType::UInt32 => integers!(u32),
        DataType::UInt64 => integers!(u64),
        DataType::Int4
        | DataType::UInt1
        | DataType::UInt2
        | DataType::UInt3
        | DataType::UInt4
        | DataType::UInt6 => {
            let elements = unpack(dtype, bytes, usize::try_from(count).ok()?);
            // Padding bits that are not zero would be lost.
            if pack(dtype, &elements) != bytes {
                return None;
            }
            elements.iter().map(i128::to_string).collect()
        }
    })
}

/// Elements of a sub-byte type from a stream of bits, least significant first.
fn unpack(dtype: DataType, bytes: &[u8], count: usize) -> Vec<i128> {
    let bits = dtype.bits() as usize;
    (0..count)
        .map(|index| {
            let raw = (0..bits).fold(0u8, |raw, bit| {
                let at = index * bits + bit;
                raw | (((bytes[at / 8] >> (at % 8)) & 1) << bit)
            });
            let negative = dtype == DataType::Int4 && raw >= 8;
            i128::from(raw) - if negative { 16 } else { 0 }
        })
        .collect()
}

/// The reverse of [`unpack`].
fn pack(dtype: DataType, elements: &[i128]) -> Vec<u8> {
    let bits = dtype.bits() as usize;
    let mut bytes = vec![0u8; (elements.len() * bits).div_ceil(8)];
    for (index, element) in elements.iter().enumerate() {
        for bit in 0..bits {
            let at = index * bits + bit;
            bytes[at / 8] |= u8::from((element >> bit) & 1 != 0) << (at % 8);
        }
    }
    bytes
}

fn write_f32(value: f32) -> String {
    if value.is_nan() {
        nan(value.to_bits(), f32::NAN.to_bits())
    } else {
        format!("{value:?}")
    }
}

fn write_f64(value: f64) -> String {
    if value.is_nan() {
        nan(value.to_bits(), f64::NAN.to_bits())
    } else {
        format!("{value:?}")
    }
}

fn write_f16(value: f16) -> String {
    if value.is_nan() {
        return nan(value.to_bits(), f16::NAN.to_bits());
    }
    shortest(value.to_f32(), |text| {
        f16::from_f32(text).to_bits() == value.to_bits()
    })
}

fn write_bf16(value: bf16) -> String {
    if value.is_nan() {
        return nan(value.to_bits(), bf16::NAN.to_bits());
    }
    shortest(value.to_f32(), |text| {
        bf16::from_f32(text).to_bits() == value.to_bits()
    })
}

/// `nan`, or `nan(bits)` where the bits are not the usual ones.
fn nan(bits: impl Into<u64>, usual: impl Into<u64>) -> String {
    let (bits, usual) = (bits.into(), usual.into());
    if bits == usual {
        NAN.to_owned()
    } else {
        format!("{NAN}({bits:x})")
    }
}

/// The decimal with the fewest digits that, read as f32, still gives the wanted half.
fn shortest(value: f32, same: impl Fn(f32) -> bool) -> String {
    // Five significant digits tell any two halves apart; the full f32 is there in any case.
    let short = (0..5).find_map(|digits| {
        let text: f32 = format!("{value:.digits$e}").parse().ok()?;
        same(text).then_some(text)
    });
    format!("{:?}", short.unwrap_or(value))
}

/// Packs elements read from text.
///
/// # Errors
/// The index of the first one that is no value of the type.
pub(super) fn read_elements(dtype: DataType, words: &[String]) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(words.len().saturating_mul(dtype.bits() as usize).div_ceil(8));
    let mut small = Vec::new();
    for (index, word) in words.iter().enumerate() {
        read_element(dtype, word, &mut bytes, &mut small).ok_or(index)?;
    }
    if dtype.is_sub_byte() {
        bytes = pack(dtype, &small);
    }
    Ok(bytes)
}

fn read_element(dtype: DataType, word: &str, bytes: &mut Vec<u8>, small: &mut Vec<i128>) -> Option<()> {
    macro_rules! integer {
        ($ty:ty) => {
            bytes.extend_from_slice(&word.parse::<$ty>().ok()?.to_le_bytes())
        };
    }
    macro_rules! float {
        ($ty:ty, $bits:ty, $read:expr) => {
            match word.strip_prefix(NAN) {
                Some("") => bytes.extend_from_slice(&<$ty>::NAN.to_le_bytes()),
                Some(bits) => {
                    let bits = bits.strip_prefix('(')?.strip_suffix(')')?;
                    let value = <$ty>::from_bits(<$bits>::from_str_radix(bits, 16).ok()?);
                    if !value.is_nan() {
                        return None;
                    }
                    bytes.extend_from_slice(&value.to_le_bytes());
                }
                None => bytes.extend_from_slice(&$read(word)?.to_le_bytes()),
            }
        };
    }
    match dtype {
        DataType::String => return None,
        DataType::Bool => bytes.push(match word {
            "true" => 1,
            "false" => 0,
            _ => return None,
        }),
        DataType::Fp16 => float!(f16, u16, |word| decimal::<f32>(word).map(f16::from_f32)),
        DataType::Bf16 => float!(bf16, u16, |word| decimal::<f32>(word).map(bf16::from_f32)),
        DataType::Fp32 => float!(f32, u32, decimal::<f32>),
        DataType::Fp64 => float!(f64, u64, decimal::<f64>),
        DataType::Int8 => integer!(i8),
        DataType::Int16 => integer!(i16),
        DataType::Int32 => integer!(i32),
        DataType::Int64 => integer!(i64),
        DataType::UInt8 => integer!(u8),
        DataType::UInt16 => integer!(u16),
        DataType::UInt32 => integer!(u32),
        DataType::UInt64 => integer!(u64),
        DataType::Int4
        | DataType::UInt1
        | DataType::UInt2
        | DataType::UInt3
        | DataType::UInt4
        | DataType::UInt6 => {
            let value = word.parse::<i128>().ok()?;
            let range = if dtype == DataType::Int4 {
                -8..8
            } else {
                0..1i128 << dtype.bits()
            };
            if !range.contains(&value) {
                return None;
            }
            small.push(value);
        }
    }
    Some(())
}

/// A float in the spellings the printer uses; Rust would take `infinity` and `NaN` too.
fn decimal<T: std::str::FromStr>(word: &str) -> Option<T> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    (digits == "inf" || digits.starts_with(|first: char| first.is_ascii_digit()))
        .then(|| word.parse().ok())
        .flatten()
}
