//! Element types of MIL tensors, their widths and their spelling in text.

use std::fmt;
use std::str::FromStr;

/// The element type of a tensor. Sub-byte types are packed least significant bit first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum DataType {
    Bool,
    String,
    Fp16,
    Fp32,
    Fp64,
    Bf16,
    Int4,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt1,
    UInt2,
    UInt3,
    UInt4,
    UInt6,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
}

impl DataType {
    /// Every element type, in declaration order.
    pub const ALL: [DataType; 20] = [
        Self::Bool,
        Self::String,
        Self::Fp16,
        Self::Fp32,
        Self::Fp64,
        Self::Bf16,
        Self::Int4,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::UInt1,
        Self::UInt2,
        Self::UInt3,
        Self::UInt4,
        Self::UInt6,
        Self::UInt8,
        Self::UInt16,
        Self::UInt32,
        Self::UInt64,
    ];

    /// Bits one element takes in packed storage; strings have no fixed width (0). Booleans take a byte.
    pub const fn bits(self) -> u32 {
        match self {
            Self::String => 0,
            Self::UInt1 => 1,
            Self::UInt2 => 2,
            Self::UInt3 => 3,
            Self::Int4 | Self::UInt4 => 4,
            Self::UInt6 => 6,
            Self::Bool | Self::Int8 | Self::UInt8 => 8,
            Self::Fp16 | Self::Bf16 | Self::Int16 | Self::UInt16 => 16,
            Self::Fp32 | Self::Int32 | Self::UInt32 => 32,
            Self::Fp64 | Self::Int64 | Self::UInt64 => 64,
        }
    }

    /// Bytes `count` packed elements take, the last byte padded with zero bits; `None` on overflow.
    pub const fn packed_len(self, count: u64) -> Option<u64> {
        match count.checked_mul(self.bits() as u64) {
            Some(bits) => Some(bits.div_ceil(8)),
            None => None,
        }
    }

    /// Whether the type is a floating point type.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Fp16 | Self::Fp32 | Self::Fp64 | Self::Bf16)
    }

    /// Whether the type is an integer type, sub-byte ones included; booleans are not.
    pub const fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, Self::Bool | Self::String)
    }

    /// Whether several elements share a byte.
    pub const fn is_sub_byte(self) -> bool {
        self.bits() < 8 && self.bits() > 0
    }

    /// The spelling MIL's text form uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::String => "string",
            Self::Fp16 => "fp16",
            Self::Fp32 => "fp32",
            Self::Fp64 => "fp64",
            Self::Bf16 => "bf16",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt1 => "uint1",
            Self::UInt2 => "uint2",
            Self::UInt3 => "uint3",
            Self::UInt4 => "uint4",
            Self::UInt6 => "uint6",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DataType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for dtype in DataType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
    }

    #[test]
    fn packed_length_rounds_up_and_never_wraps() {
        assert_eq!(DataType::UInt3.packed_len(3), Some(2));
        assert_eq!(DataType::Int4.packed_len(0), Some(0));
        assert_eq!(DataType::Fp64.packed_len(u64::MAX), None);
    }
}
