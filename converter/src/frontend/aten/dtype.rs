//! Element types as PyTorch numbers and names them.

use std::fmt;

use crate::source::StoredType;

/// An element type of PyTorch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum ScalarType {
    Uint8,
    Int8,
    Int16,
    Int32,
    Int64,
    Float16,
    Float32,
    Float64,
    Complex64,
    Bool,
    BFloat16,
}

/// Number in `c10/core/ScalarType.h`, name without `torch.`, type on disk.
const TABLE: [(ScalarType, i64, &str, StoredType); 11] = [
    (ScalarType::Uint8, 0, "uint8", StoredType::U8),
    (ScalarType::Int8, 1, "int8", StoredType::I8),
    (ScalarType::Int16, 2, "int16", StoredType::I16),
    (ScalarType::Int32, 3, "int32", StoredType::I32),
    (ScalarType::Int64, 4, "int64", StoredType::I64),
    (ScalarType::Float16, 5, "float16", StoredType::F16),
    (ScalarType::Float32, 6, "float32", StoredType::F32),
    (ScalarType::Float64, 7, "float64", StoredType::F64),
    (ScalarType::Complex64, 9, "complex64", StoredType::C64),
    (ScalarType::Bool, 11, "bool", StoredType::Bool),
    (ScalarType::BFloat16, 15, "bfloat16", StoredType::BF16),
];

impl ScalarType {
    fn row(self) -> (Self, i64, &'static str, StoredType) {
        // Every variant has its row; the test sees to it.
        *TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[6])
    }

    /// The type TorchScript's code means by a number (`c10::ScalarType`).
    pub fn from_code(code: i64) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    /// The type of a name, with or without `torch.`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// The type of elements as they are stored; `None` for those PyTorch computes nothing with.
    pub fn from_stored(stored: StoredType) -> Option<Self> {
        TABLE.iter().find(|row| row.3 == stored).map(|row| row.0)
    }

    /// Name without `torch.`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Whether it holds real numbers.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float16 | Self::BFloat16 | Self::Float32 | Self::Float64
        )
    }

    /// Whether it holds integers; truth values are not.
    pub fn is_integer(self) -> bool {
        matches!(
            self,
            Self::Uint8 | Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64
        )
    }
}

impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_row_of_its_own() {
        for (ty, code, name, stored) in TABLE {
            assert_eq!(ty.row().0, ty);
            assert_eq!(ScalarType::from_code(code), Some(ty));
            assert_eq!(ScalarType::from_name(&format!("torch.{name}")), Some(ty));
            assert_eq!(ScalarType::from_stored(stored), Some(ty));
        }
        assert_eq!(ScalarType::from_code(8), None);
    }
}
