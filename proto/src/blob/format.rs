//! The layout of a weight file, said once for reader and writer.
//!
//! Blob storage version 2 (`mlmodel/src/MILBlob/Blob/StorageFormat.hpp` in coremltools), little-endian, every part
//! starting at a multiple of 64 bytes, the gaps filled with zeros, nothing after the last byte of data:
//!
//! ```text
//! header  64 bytes   u32 blob count · u32 version (2) · 56 zero bytes
//! then per blob:
//! record  64 bytes   u32 sentinel 0xDEADBEEF · u32 type code · u64 data size in bytes
//!                    u64 absolute offset of the data · u64 padding bits at the end of the data · 32 zero bytes
//! data               elements in row-major order
//! ```
//!
//! A model refers to a blob by the offset of its *record*. Two blobs, ten fp16 elements (20 bytes) and three int4
//! elements (2 bytes, of which the last 4 bits are padding), lie like this:
//!
//! ```text
//!    0  header   count 2
//!   64  record   type 1, size 20, offset 128, padding 0
//!  128  data     20 bytes, then 44 zero bytes
//!  192  record   type 8, size 2, offset 256, padding 4
//!  256  data     2 bytes; the file is 258 bytes long
//! ```
//!
//! Elements narrower than a byte form one bit stream, least significant bit first: element `i` of `n` bits starts at
//! bit `i·n` and may straddle two bytes (3 and 6 bits). int4 is two's complement.

use corer_mil::DataType;

/// Every part of the file starts at a multiple of this many bytes.
pub const ALIGNMENT: u64 = 64;
/// Size of the file header.
pub const HEADER_LEN: u64 = 64;
/// Size of a blob's record.
pub const RECORD_LEN: u64 = 64;
/// The version this crate reads and writes.
pub const VERSION: u32 = 2;
/// First four bytes of a record.
pub const SENTINEL: u32 = 0xDEAD_BEEF;
/// Prefix of the file name in a model's reference.
pub const PATH_PREFIX: &str = "@model_path/weights/";
/// Name of the one weight file the writer makes.
pub const FILE_NAME: &str = "weight.bin";

const _: () = assert!(HEADER_LEN == ALIGNMENT && RECORD_LEN == ALIGNMENT);

/// The element type of a blob, by its code on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // the names say it all
#[repr(u32)]
pub enum BlobType {
    Fp16 = 1,
    Fp32 = 2,
    UInt8 = 3,
    Int8 = 4,
    Bf16 = 5,
    Int16 = 6,
    UInt16 = 7,
    Int4 = 8,
    UInt1 = 9,
    UInt2 = 10,
    UInt4 = 11,
    UInt3 = 12,
    UInt6 = 13,
    Int32 = 14,
    UInt32 = 15,
    Float8E4M3Fn = 16,
    Float8E5M2 = 17,
}

impl BlobType {
    /// Every type.
    pub const ALL: [BlobType; 17] = [
        Self::Fp16,
        Self::Fp32,
        Self::UInt8,
        Self::Int8,
        Self::Bf16,
        Self::Int16,
        Self::UInt16,
        Self::Int4,
        Self::UInt1,
        Self::UInt2,
        Self::UInt4,
        Self::UInt3,
        Self::UInt6,
        Self::Int32,
        Self::UInt32,
        Self::Float8E4M3Fn,
        Self::Float8E5M2,
    ];

    /// The code on disk.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The type with this code.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.code() == code)
    }

    /// The MIL type; `None` for the 8-bit floats, which MIL programs can't use yet.
    pub const fn data_type(self) -> Option<DataType> {
        Some(match self {
            Self::Fp16 => DataType::Fp16,
            Self::Fp32 => DataType::Fp32,
            Self::UInt8 => DataType::UInt8,
            Self::Int8 => DataType::Int8,
            Self::Bf16 => DataType::Bf16,
            Self::Int16 => DataType::Int16,
            Self::UInt16 => DataType::UInt16,
            Self::Int4 => DataType::Int4,
            Self::UInt1 => DataType::UInt1,
            Self::UInt2 => DataType::UInt2,
            Self::UInt4 => DataType::UInt4,
            Self::UInt3 => DataType::UInt3,
            Self::UInt6 => DataType::UInt6,
            Self::Int32 => DataType::Int32,
            Self::UInt32 => DataType::UInt32,
            Self::Float8E4M3Fn | Self::Float8E5M2 => return None,
        })
    }

    /// The blob type for a MIL type, if a weight file can hold it.
    pub fn from_data_type(dtype: DataType) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.data_type() == Some(dtype))
    }

    /// What to call it in a message.
    pub const fn name(self) -> &'static str {
        match self.data_type() {
            Some(dtype) => dtype.name(),
            None => match self {
                Self::Float8E4M3Fn => "fp8e4m3fn",
                _ => "fp8e5m2",
            },
        }
    }
}

/// The next multiple of [`ALIGNMENT`]; `None` on overflow.
pub const fn align(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}

/// Padding bits after `count` packed elements of `bits` bits.
pub const fn padding_bits(count: u64, bits: u32) -> u64 {
    let used = (count % 8) * (bits as u64 % 8) % 8;
    (8 - used) % 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_one_to_seventeen() {
        for (position, ty) in BlobType::ALL.into_iter().enumerate() {
            assert_eq!(ty.code() as usize, position + 1);
            assert_eq!(BlobType::from_code(ty.code()), Some(ty));
            if let Some(dtype) = ty.data_type() {
                assert_eq!(BlobType::from_data_type(dtype), Some(ty));
            }
        }
        assert_eq!(BlobType::from_code(0), None);
        assert_eq!(BlobType::from_code(18), None);
        assert_eq!(BlobType::from_data_type(DataType::Int64), None);
    }

    #[test]
    fn padding_fills_the_last_byte() {
        for bits in [1u32, 2, 3, 4, 6, 8, 16] {
            for count in 0..40u64 {
                let padding = padding_bits(count, bits);
                assert!(padding < 8);
                assert_eq!((count * u64::from(bits) + padding) % 8, 0);
            }
        }
    }
}
