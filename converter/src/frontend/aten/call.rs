//! One call while it is read: its arguments by the names of the operator's schema.

use super::array::Number;
use super::dtype::ScalarType;
use super::value::{Tensor, Value};

/// A call with evaluated arguments.
pub(super) struct Call {
    /// Operator, without the underscore of an in-place variant.
    pub(super) target: String,
    /// Arguments in the order of the schema; `None` where left out.
    pub(super) args: Vec<Value>,
    pub(super) parameters: &'static [&'static str],
    /// How many values the result is taken apart into.
    pub(super) results: usize,
}

/// Arguments that change nothing of what is computed.
const IGNORED: [&str; 9] = [
    "layout",
    "device",
    "pin_memory",
    "memory_format",
    "non_blocking",
    "copy",
    "requires_grad",
    "generator",
    "sparse_grad",
];

impl Call {
    /// Puts arguments in the order of the schema.
    ///
    /// # Errors
    /// When there are more, or others, than the schema has.
    pub(super) fn new(
        target: &str,
        parameters: &'static [&'static str],
        positional: Vec<Value>,
        keywords: Vec<(String, Value)>,
        results: usize,
    ) -> Result<Self, String> {
        let mut args = vec![Value::None; parameters.len()];
        for (index, value) in positional.into_iter().enumerate() {
            match args.get_mut(index) {
                Some(place) => *place = value,
                // Flags at the end that only say where the result lies.
                None if matches!(value, Value::None | Value::Ignored | Value::Bool(_)) => {}
                None => return Err(format!("has {} where the schema ends", value.kind())),
            }
        }
        for (name, value) in keywords {
            match parameters.iter().position(|parameter| *parameter == name) {
                Some(index) => args[index] = value,
                None if IGNORED.contains(&name.as_str()) => {}
                None => return Err(format!("takes no argument `{name}`")),
            }
        }
        Ok(Self {
            target: target.to_owned(),
            args,
            parameters,
            results,
        })
    }

    /// An argument by name; `None` when it was left out.
    pub(super) fn get(&self, name: &str) -> &Value {
        let index = self.parameters.iter().position(|parameter| *parameter == name);
        debug_assert!(index.is_some(), "{} has no parameter {name}", self.target);
        index
            .and_then(|index| self.args.get(index))
            .unwrap_or(&Value::None)
    }

    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor, String> {
        match self.get(name) {
            Value::Tensor(tensor) => Ok(tensor),
            other => Err(format!("`{name}` is {}, not a tensor", other.kind())),
        }
    }

    pub(super) fn optional_tensor(&self, name: &str) -> Result<Option<&Tensor>, String> {
        match self.get(name) {
            Value::None => Ok(None),
            _ => self.tensor(name).map(Some),
        }
    }

    /// An integer that is known now.
    pub(super) fn int(&self, name: &str) -> Result<i64, String> {
        int(name, self.get(name))
    }

    pub(super) fn int_or(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.get(name) {
            Value::None => Ok(default),
            value => int(name, value),
        }
    }

    pub(super) fn float_or(&self, name: &str, default: f64) -> Result<f64, String> {
        match self.get(name) {
            Value::None => Ok(default),
            value => value
                .number()
                .map(Number::float)
                .ok_or_else(|| format!("`{name}` is {}, not a number known ahead", value.kind())),
        }
    }

    pub(super) fn bool_or(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.get(name) {
            Value::None => Ok(default),
            value => value
                .number()
                .map(Number::truth)
                .ok_or_else(|| format!("`{name}` is {}, not a bool known ahead", value.kind())),
        }
    }

    /// A list of integers known now; one integer stands for a list of it.
    pub(super) fn ints(&self, name: &str) -> Result<Vec<i64>, String> {
        match self.get(name) {
            Value::List(elements) => elements.iter().map(|element| int(name, element)).collect(),
            value => int(name, value).map(|value| vec![value]),
        }
    }

    pub(super) fn optional_ints(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.get(name) {
            Value::None => Ok(None),
            _ => self.ints(name).map(Some),
        }
    }

    pub(super) fn tensors(&self, name: &str) -> Result<Vec<&Tensor>, String> {
        let Value::List(elements) = self.get(name) else {
            return Err(format!("`{name}` is {}, not a list", self.get(name).kind()));
        };
        let each = elements.iter().map(|element| match element {
            Value::Tensor(tensor) => Ok(tensor),
            other => Err(format!("`{name}` holds {}", other.kind())),
        });
        each.collect()
    }

    pub(super) fn text_or<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str, String> {
        match self.get(name) {
            Value::None => Ok(default),
            Value::Str(text) => Ok(text),
            other => Err(format!("`{name}` is {}, not a string", other.kind())),
        }
    }

    /// An element type; TorchScript writes its number.
    pub(super) fn dtype(&self, name: &str) -> Result<Option<ScalarType>, String> {
        dtype(name, self.get(name))
    }

    /// A dimension of a tensor of this rank, counted from the front.
    pub(super) fn dim(&self, name: &str, rank: usize) -> Result<usize, String> {
        dim(self.int(name)?, rank)
    }
}

fn int(name: &str, value: &Value) -> Result<i64, String> {
    match value.number() {
        Some(Number::Int(value)) => Ok(value),
        _ => Err(format!(
            "`{name}` is {}, not an integer known ahead of time",
            value.kind()
        )),
    }
}

pub(super) fn dtype(name: &str, value: &Value) -> Result<Option<ScalarType>, String> {
    match value {
        Value::None => Ok(None),
        Value::Dtype(dtype) => Ok(Some(*dtype)),
        Value::Int(code) => match ScalarType::from_code(*code) {
            Some(dtype) => Ok(Some(dtype)),
            None => Err(format!("`{name}` is element type {code}, which is not supported")),
        },
        other => Err(format!("`{name}` is {}, not an element type", other.kind())),
    }
}

/// A dimension counted from the front.
pub(super) fn dim(dim: i64, rank: usize) -> Result<usize, String> {
    // A tensor without dimensions may be asked about its only one.
    corer_mil::ops::normalize_axis(dim, rank.max(1))
}
