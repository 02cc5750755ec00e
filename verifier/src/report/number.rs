//! Numbers as JSON has them: those it has none for as text.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Schema of a float: a number, or `"inf"`, `"-inf"` or `"nan"`.
pub enum Number {}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "enum": ["inf", "-inf", "nan"] }] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A float type of the report.
pub(crate) trait Float: Copy + Serialize {
    fn wide(self) -> f64;
    fn from_wide(value: f64) -> Self;
}

impl Float for f64 {
    fn wide(self) -> f64 {
        self
    }

    fn from_wide(value: f64) -> Self {
        value
    }
}

impl Float for f32 {
    fn wide(self) -> f64 {
        self.into()
    }

    #[allow(clippy::cast_possible_truncation)] // what was written was an f32
    fn from_wide(value: f64) -> Self {
        value as Self
    }
}

/// `serde(with)` for floats: serde_json would write `null` for an infinity, which no one can tell from a missing one.
pub(crate) mod finite_or_text {
    use super::*;

    pub(crate) fn serialize<T: Float, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        let wide = value.wide();
        if wide.is_finite() {
            value.serialize(serializer)
        } else if wide.is_nan() {
            serializer.serialize_str("nan")
        } else {
            serializer.serialize_str(if wide > 0.0 { "inf" } else { "-inf" })
        }
    }

    pub(crate) fn deserialize<'de, T: Float, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        Written::deserialize(deserializer)?.value()
    }
}

/// As [`finite_or_text`], for numbers that may be missing.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<T: Float, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => finite_or_text::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: Float, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let written = Option::<Written>::deserialize(deserializer)?;
        written.map(Written::value).transpose()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Finite(f64),
    Text(String),
}

impl Written {
    fn value<T: Float, E: de::Error>(self) -> Result<T, E> {
        Ok(T::from_wide(match self {
            Self::Finite(value) => value,
            Self::Text(text) => match &*text {
                "inf" => f64::INFINITY,
                "-inf" => f64::NEG_INFINITY,
                "nan" => f64::NAN,
                _ => return Err(E::invalid_value(de::Unexpected::Str(&text), &"a number")),
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super::finite_or_text")]
        one: f32,
        #[serde(with = "super::optional")]
        two: Option<f64>,
    }

    #[test]
    fn numbers_come_back_as_they_went() {
        for (one, two, text) in [
            (0.1, Some(1e300), r#"{"one":0.1,"two":1e+300}"#),
            (f32::INFINITY, None, r#"{"one":"inf","two":null}"#),
            (-1.0, Some(f64::NEG_INFINITY), r#"{"one":-1.0,"two":"-inf"}"#),
        ] {
            let written = serde_json::to_string(&Both { one, two }).unwrap();
            assert_eq!(written, text);
            let back: Both = serde_json::from_str(&written).unwrap();
            assert_eq!((back.one, back.two), (one, two));
        }
        let nan: Both = serde_json::from_str(r#"{"one":"nan","two":"nan"}"#).unwrap();
        assert!(nan.one.is_nan() && nan.two.unwrap().is_nan());
        assert!(serde_json::from_str::<Both>(r#"{"one":"many","two":null}"#).is_err());
    }
}
