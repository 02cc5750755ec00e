//! What the JSON of an export says of a tensor: `TensorMeta` and what it is made of.
//!
//! Form and numbering: `torch/_export/serde/schema.py`. A union is an object of one member, named after the choice.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::source::StoredType;
use crate::source::error::shortened;

/// Element types by the number the schema gives them, which is not the one `c10::ScalarType` has.
const SCALAR_TYPES: [(i64, StoredType); 17] = [
    (1, StoredType::U8),
    (2, StoredType::I8),
    (3, StoredType::I16),
    (4, StoredType::I32),
    (5, StoredType::I64),
    (6, StoredType::F16),
    (7, StoredType::F32),
    (8, StoredType::F64),
    (10, StoredType::C64),
    (12, StoredType::Bool),
    (13, StoredType::BF16),
    (28, StoredType::U16),
    (29, StoredType::F8E4M3),
    (30, StoredType::F8E5M2),
    (33, StoredType::F8E8M0),
    (34, StoredType::U32),
    (35, StoredType::U64),
];

/// An element type as the schema numbers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct ScalarCode(pub(crate) i64);

impl ScalarCode {
    /// How such elements are stored; `None` for a number that is none, or a type corer does not know.
    pub(crate) fn stored(self) -> Option<StoredType> {
        SCALAR_TYPES
            .iter()
            .find(|(code, _)| *code == self.0)
            .map(|(_, stored)| *stored)
    }
}

/// A number that may be infinite, which JSON has no spelling for: exports write it as text.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Number(pub(crate) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Spelling;

        impl Visitor<'_> for Spelling {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, \"Infinity\", \"-Infinity\" or \"NaN\"")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Number, E> {
                match value {
                    "Infinity" => Ok(Number(f64::INFINITY)),
                    "-Infinity" => Ok(Number(f64::NEG_INFINITY)),
                    "NaN" => Ok(Number(f64::NAN)),
                    _ => Err(E::custom(format_args!("`{}` is not a number", shortened(value)))),
                }
            }
        }

        deserializer.deserialize_any(Spelling)
    }
}

/// A size, stride or offset.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) enum SymInt {
    /// Known when the model was exported.
    #[serde(rename = "as_int")]
    Int(i64),
    /// Depends on the inputs.
    #[serde(rename = "as_expr")]
    Expression(SymExpr),
}

/// An expression over symbols.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct SymExpr {
    /// As SymPy spells it: `s0`, or since torch 2.6 `Symbol('s0', positive=True, integer=True)`.
    pub(crate) expr_str: String,
    /// Its value for the example inputs.
    pub(crate) hint: Option<Hint>,
}

/// What an expression comes to for the example inputs.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[allow(dead_code)] // only integers are asked for
pub(crate) enum Hint {
    #[serde(rename = "as_int")]
    Int(i64),
    #[serde(rename = "as_bool")]
    Bool(bool),
    #[serde(rename = "as_float")]
    Float(Number),
}

impl SymInt {
    /// The number, or what it came to for the example inputs.
    pub(crate) fn example(&self) -> Option<u64> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok(),
            Self::Expression(SymExpr {
                hint: Some(Hint::Int(value)),
                ..
            }) => u64::try_from(*value).ok(),
            Self::Expression(_) => None,
        }
    }
}

/// Element type and shape of a tensor, and how its elements lie in their storage.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct TensorMeta {
    pub(crate) dtype: ScalarCode,
    pub(crate) sizes: Vec<SymInt>,
    pub(crate) strides: Vec<SymInt>,
    pub(crate) storage_offset: SymInt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_json_has_no_spelling_for() {
        let number = |text: &str| serde_json::from_str::<Number>(text).map(|number| number.0);
        assert_eq!(number("-3.5").unwrap(), -3.5);
        assert_eq!(number("7").unwrap(), 7.0);
        assert_eq!(number("-7").unwrap(), -7.0);
        assert_eq!(number("\"-Infinity\"").unwrap(), f64::NEG_INFINITY);
        assert_eq!(number("\"Infinity\"").unwrap(), f64::INFINITY);
        assert!(number("\"NaN\"").unwrap().is_nan());
        assert!(number("\"inf\"").is_err());
        assert!(number("[]").is_err());
    }
}
