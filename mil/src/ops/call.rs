//! What an inference function sees of a call: argument types and, where known, their values.

use std::collections::BTreeMap;

use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::{Dim, TensorType, ValueType};
use crate::value::Value;

/// One bound argument.
#[derive(Clone, Copy, Debug)]
pub struct Arg<'a> {
    /// Its type.
    pub ty: &'a ValueType,
    /// Its value when known before prediction (literals and `const`s).
    pub value: Option<&'a Value>,
    /// Whether it may stand where a constant is asked for though its value is not at hand: the result of a
    /// `constexpr_*`, or of operations on constants alone.
    pub fixed: bool,
}

impl<'a> Arg<'a> {
    /// A value computed at prediction.
    pub const fn computed(ty: &'a ValueType) -> Self {
        Self {
            ty,
            value: None,
            fixed: false,
        }
    }

    /// A literal or a `const`.
    pub const fn constant(value: &'a Value) -> Self {
        Self {
            ty: &value.ty,
            value: Some(value),
            fixed: true,
        }
    }
}

/// One call of an operation with its arguments resolved.
#[derive(Debug)]
pub struct Call<'a> {
    /// Operation type.
    pub op: &'a str,
    /// The opset of the function.
    pub opset: Opset,
    /// Arguments (inputs and, for attribute-style ops, attributes) by parameter name.
    pub args: BTreeMap<&'a str, Vec<Arg<'a>>>,
    /// Declared result types, when read from a package; empty while building.
    pub declared: Vec<&'a ValueType>,
}

impl<'a> Call<'a> {
    /// The argument bound to `name`, if any.
    pub fn get(&self, name: &str) -> Option<Arg<'a>> {
        self.args.get(name).and_then(|args| args.first()).copied()
    }

    /// All arguments bound to a variadic parameter.
    pub fn all(&self, name: &str) -> &[Arg<'a>] {
        self.args.get(name).map_or(&[], Vec::as_slice)
    }

    /// The tensor type bound to `name`.
    ///
    /// # Errors
    /// When it is missing or not a tensor.
    pub fn tensor(&self, name: &str) -> Result<&'a TensorType, String> {
        self.get(name)
            .ok_or_else(|| format!("`{name}` is missing"))?
            .ty
            .as_tensor()
            .ok_or_else(|| format!("`{name}` is not a tensor"))
    }

    /// The known value bound to `name`, if it is bound.
    ///
    /// # Errors
    /// When it is bound to something computed at prediction.
    pub fn value(&self, name: &str) -> Result<Option<&'a Value>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(arg) => match arg.value {
                Some(value) => Ok(Some(value)),
                None => Err(format!("`{name}` must be a constant")),
            },
        }
    }

    /// Integers bound to `name`, or `None` when unbound.
    ///
    /// # Errors
    /// When not constant integers.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        self.value(name)?
            .map(|value| {
                value
                    .as_ints()
                    .ok_or_else(|| format!("`{name}` must hold integers"))
            })
            .transpose()
    }

    /// One integer bound to `name`, or `default`.
    ///
    /// # Errors
    /// When not a constant integer.
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, String> {
        self.value(name)?.map_or(Ok(default), |value| {
            value
                .as_int()
                .ok_or_else(|| format!("`{name}` must be one integer"))
        })
    }

    /// One boolean bound to `name`, or `default`.
    ///
    /// # Errors
    /// When not a constant boolean.
    pub fn bool_or(&self, name: &str, default: bool) -> Result<bool, String> {
        self.value(name)?.map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| format!("`{name}` must be a boolean"))
        })
    }

    /// One string bound to `name`, or `default`.
    ///
    /// # Errors
    /// When not a constant string.
    pub fn str_or(&self, name: &str, default: &'a str) -> Result<&'a str, String> {
        self.value(name)?.map_or(Ok(default), |value| {
            value.as_str().ok_or_else(|| format!("`{name}` must be a string"))
        })
    }

    /// The axis bound to `name` (or `default`), counted from the front, checked against `rank`.
    ///
    /// # Errors
    /// When outside the rank.
    pub fn axis_or(&self, name: &str, default: i64, rank: usize) -> Result<usize, String> {
        normalize_axis(self.int_or(name, default)?, rank).map_err(|reason| format!("`{name}`: {reason}"))
    }

    /// The axes bound to `name`, counted from the front, checked; `None` when unbound.
    ///
    /// # Errors
    /// When one is outside the rank or named twice.
    pub fn axes(&self, name: &str, rank: usize) -> Result<Option<Vec<usize>>, String> {
        let Some(axes) = self.ints(name)? else {
            return Ok(None);
        };
        let mut normal = Vec::with_capacity(axes.len());
        for axis in axes {
            let axis = normalize_axis(axis, rank).map_err(|reason| format!("`{name}`: {reason}"))?;
            if normal.contains(&axis) {
                return Err(format!("`{name}` names axis {axis} twice"));
            }
            normal.push(axis);
        }
        Ok(Some(normal))
    }
}

/// Turns an axis that may count from the back into one from the front.
///
/// # Errors
/// When outside `-rank..rank`.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize, String> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    if (-signed..signed).contains(&axis) {
        Ok(usize::try_from(if axis < 0 { axis + signed } else { axis }).unwrap_or_default())
    } else {
        Err(format!("axis {axis} is outside rank {rank}"))
    }
}

/// The shape two operands broadcast to (numpy's rule); a symbol beside 1 stays, beside a number yields to it.
///
/// # Errors
/// When two known sizes differ and neither is 1.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, String> {
    let rank = a.len().max(b.len());
    let at = |shape: &[Dim], axis: usize| {
        (axis + shape.len())
            .checked_sub(rank)
            .map_or(Dim::Known(1), |index| shape[index])
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other),
            (Dim::Known(x), Dim::Known(y)) if x != y => {
                Err(format!("sizes {x} and {y} on axis {axis} don't broadcast"))
            }
            (Dim::Symbol(_), known @ Dim::Known(_)) | (known @ Dim::Known(_), _) => Ok(known),
            // Two symbols may differ by one of them being 1, unless they are the same.
            (x, y) => Ok(if x == y { x } else { Dim::FRESH }),
        })
        .collect()
}

/// A tensor type as the only result.
///
/// # Errors
/// Never; the form of an inference rule.
pub fn one(dtype: DataType, shape: Vec<Dim>) -> Result<Vec<ValueType>, String> {
    Ok(vec![ValueType::Tensor(TensorType { dtype, shape })])
}
