//! `add(self, other, *, alpha=1)`, `sub`, `rsub`, `mul(self, other)`, `div(self, other, *, rounding_mode=None)`,
//! `floor_divide`, `remainder`, `pow(self, exponent)`, `maximum`, `minimum`, the comparisons `eq … ge`, `logical_and`,
//! `logical_or` and their bitwise names for truth values.
//!
//! Operands are promoted as `torch.result_type` says; division of integers gives floats; comparisons give truth
//! values. Python numbers among themselves stay Python numbers.

use super::super::array::{Array, Number, broadcast};
use super::super::call::Call;
use super::super::context::{Context, Outcome, kind, wrapped};
use super::super::dtype::ScalarType;
use super::super::promote::result_type;
use super::super::value::{Tensor, Value};
use super::{Row, expand, row};
use crate::graph::{Comparison, Kind, Op};

const SELF_OTHER: &[&str] = &["self", "other"];
const WITH_ALPHA: &[&str] = &["self", "other", "alpha"];
const WITH_ROUNDING: &[&str] = &["self", "other", "rounding_mode"];

pub(super) const ROWS: &[Row] = &[
    row("aten::add", WITH_ALPHA, |cx, call| scaled(cx, call, Binary::Add)),
    row("aten::sub", WITH_ALPHA, |cx, call| scaled(cx, call, Binary::Sub)),
    row("aten::rsub", WITH_ALPHA, rsub),
    row("aten::mul", SELF_OTHER, |cx, call| plain(cx, call, Binary::Mul)),
    row("aten::div", WITH_ROUNDING, div),
    row("aten::true_divide", WITH_ROUNDING, div),
    row("aten::floor_divide", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::FloorDiv)
    }),
    row("aten::floordiv", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::FloorDiv)
    }),
    row("aten::remainder", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Remainder)
    }),
    row("aten::pow", &["self", "exponent"], pow),
    row("aten::maximum", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Maximum)
    }),
    row("aten::minimum", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Minimum)
    }),
    row("aten::eq", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Compare(Comparison::Eq))
    }),
    row("aten::ne", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Compare(Comparison::Ne))
    }),
    row("aten::lt", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Compare(Comparison::Lt))
    }),
    row("aten::le", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Compare(Comparison::Le))
    }),
    row("aten::gt", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Compare(Comparison::Gt))
    }),
    row("aten::ge", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Compare(Comparison::Ge))
    }),
    row("aten::logical_and", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::And)
    }),
    row("aten::bitwise_and", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::And)
    }),
    row("aten::__and__", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::And)
    }),
    row("aten::logical_or", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Or)
    }),
    row("aten::bitwise_or", SELF_OTHER, |cx, call| {
        plain(cx, call, Binary::Or)
    }),
    row("aten::__or__", SELF_OTHER, |cx, call| plain(cx, call, Binary::Or)),
];

/// What is computed of two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Remainder,
    Pow,
    Maximum,
    Minimum,
    And,
    Or,
    Compare(Comparison),
}

fn plain(cx: &mut Context, call: &Call, binary: Binary) -> Outcome {
    read(cx, binary, call.get("self"), call.get("other"))
}

fn scaled(cx: &mut Context, call: &Call, binary: Binary) -> Outcome {
    let other = by_alpha(cx, call, call.get("other"))?;
    read(cx, binary, call.get("self"), &other)
}

fn rsub(cx: &mut Context, call: &Call) -> Outcome {
    let own = by_alpha(cx, call, call.get("self"))?;
    read(cx, Binary::Sub, call.get("other"), &own)
}

/// An operand times `alpha`.
fn by_alpha(cx: &mut Context, call: &Call, value: &Value) -> Outcome {
    match call.get("alpha") {
        Value::None => Ok(value.clone()),
        alpha if alpha.number().is_some_and(|alpha| alpha.float() == 1.0) => Ok(value.clone()),
        alpha => read(cx, Binary::Mul, value, alpha),
    }
}

fn div(cx: &mut Context, call: &Call) -> Outcome {
    let binary = match call.text_or("rounding_mode", "")? {
        "" => Binary::Div,
        "floor" => Binary::FloorDiv,
        other => return Err(format!("rounding mode `{other}` is not read")),
    };
    plain(cx, call, binary)
}

fn pow(cx: &mut Context, call: &Call) -> Outcome {
    read(cx, Binary::Pow, call.get("self"), call.get("exponent"))
}

/// Computes or appends `a ∘ b`.
pub(super) fn read(cx: &mut Context, binary: Binary, a: &Value, b: &Value) -> Outcome {
    if let (None, None) = (as_tensor(a), as_tensor(b)) {
        return numbers(binary, a, b);
    }
    let mut common = result_type([a, b]);
    if binary == Binary::Div && !common.is_float() {
        common = ScalarType::Float32;
    }
    let dtype = match binary {
        Binary::Compare(_) => ScalarType::Bool,
        _ => common,
    };
    let operand = |value: &Value| wrapped(value).ok_or_else(|| format!("an operand is {}", value.kind()));
    let (a, b) = (operand(a)?, operand(b)?);
    if let Some(arrays) = cx.all_known(&[&a, &b])? {
        let (a, b) = (arrays[0].cast(common), arrays[1].cast(common));
        let result = a.zip(&b, dtype, |a, b| compute(binary, a, b, common))?;
        return Ok(result.into());
    }
    if let Some(result) = decided(cx, binary, &a, &b)? {
        return Ok(result);
    }
    match (scalar(&a, &b, common), scalar(&b, &a, common)) {
        (_, Some(number)) => with_scalar(cx, binary, &a, number, Side::Right, common),
        (Some(number), None) => with_scalar(cx, binary, &b, number, Side::Left, common),
        (None, None) => {
            let ids = vec![cx.id_as(&a, common)?, cx.id_as(&b, common)?];
            let op = match binary {
                Binary::Add => Op::Add,
                Binary::Sub => Op::Sub,
                Binary::Mul => Op::Mul,
                Binary::Div => Op::Div,
                Binary::Maximum => Op::Maximum,
                Binary::Minimum => Op::Minimum,
                Binary::And if kind(common) == Kind::Bool => Op::And,
                Binary::Or if kind(common) == Kind::Bool => Op::Or,
                Binary::Compare(comparison) => Op::Compare(comparison),
                Binary::FloorDiv | Binary::Remainder | Binary::Pow | Binary::And | Binary::Or => {
                    return Err(format!("of two computed tensors of {common} is not read"));
                }
            };
            cx.push(op, ids, dtype).map(Value::Tensor)
        }
    }
}

fn as_tensor(value: &Value) -> Option<&Tensor> {
    match value {
        Value::Tensor(tensor) => Some(tensor),
        _ => None,
    }
}

/// Python numbers among themselves.
fn numbers(binary: Binary, a: &Value, b: &Value) -> Outcome {
    // `eq` of strings and the like is asked by scripted code only.
    let (Some(x), Some(y)) = (a.number(), b.number()) else {
        return Err(format!("of {} and {} is not read", a.kind(), b.kind()));
    };
    let whole = matches!((x, y), (Number::Int(_), Number::Int(_)));
    let common = match whole && binary != Binary::Div {
        true => ScalarType::Int64,
        false => ScalarType::Float64,
    };
    let convert = |number: Number| match common {
        ScalarType::Int64 => number,
        _ => Number::Float(number.float()),
    };
    if matches!(binary, Binary::FloorDiv | Binary::Remainder | Binary::Div) && y.float() == 0.0 {
        return Err("divides by zero".into());
    }
    Ok(match (binary, compute(binary, convert(x), convert(y), common)) {
        (Binary::Compare(_) | Binary::And | Binary::Or, truth) => Value::Bool(truth.truth()),
        (_, Number::Int(value)) => Value::Int(value),
        (_, Number::Float(value)) => Value::Float(value),
    })
}

/// One element of the result; both operands are of the common type.
fn compute(binary: Binary, a: Number, b: Number, common: ScalarType) -> Number {
    let truth = |truth: bool| Number::Int(i64::from(truth));
    if let Binary::Compare(comparison) = binary {
        let order = match (a, b) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        };
        return truth(match comparison {
            Comparison::Eq => order.is_some_and(|order| order.is_eq()),
            Comparison::Ne => order.is_none_or(|order| order.is_ne()),
            Comparison::Lt => order.is_some_and(|order| order.is_lt()),
            Comparison::Le => order.is_some_and(|order| order.is_le()),
            Comparison::Gt => order.is_some_and(|order| order.is_gt()),
            Comparison::Ge => order.is_some_and(|order| order.is_ge()),
        });
    }
    if !common.is_float()
        && let (Number::Int(a), Number::Int(b)) = (a, b)
    {
        return Number::Int(match binary {
            Binary::Add => a.wrapping_add(b),
            Binary::Sub => a.wrapping_sub(b),
            Binary::Mul => a.wrapping_mul(b),
            Binary::FloorDiv => match b {
                0 => 0,
                b => a.wrapping_div(b) - i64::from(a.wrapping_rem(b) != 0 && (a < 0) != (b < 0)),
            },
            Binary::Remainder => match b {
                0 => 0,
                b => {
                    let rest = a.wrapping_rem(b);
                    if rest != 0 && (rest < 0) != (b < 0) {
                        rest + b
                    } else {
                        rest
                    }
                }
            },
            Binary::Pow => u32::try_from(b).map_or(0, |b| a.wrapping_pow(b)),
            Binary::Maximum => a.max(b),
            Binary::Minimum => a.min(b),
            Binary::And => a & b,
            Binary::Or => a | b,
            Binary::Div | Binary::Compare(_) => 0,
        });
    }
    let (a, b) = (a.float(), b.float());
    Number::Float(match binary {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::FloorDiv => (a / b).floor(),
        Binary::Remainder => a - b * (a / b).floor(),
        Binary::Pow => a.powf(b),
        Binary::Maximum => a.max(b),
        Binary::Minimum => a.min(b),
        Binary::And => return truth(a != 0.0 && b != 0.0),
        Binary::Or => return truth(a != 0.0 || b != 0.0),
        Binary::Compare(_) => return truth(false),
    })
}

/// The number a known operand is everywhere, when it leaves the other's shape as it is.
fn scalar(tensor: &Tensor, other: &Tensor, common: ScalarType) -> Option<f64> {
    let Tensor::Known(array) = tensor else { return None };
    let number = array.cast(common).item()?;
    (tensor.rank() <= other.rank()).then(|| number.float())
}

/// A truth value known everywhere decides `and` and `or`.
fn decided(cx: &mut Context, binary: Binary, a: &Tensor, b: &Tensor) -> Result<Option<Value>, String> {
    let neutral = match binary {
        Binary::And => true,
        Binary::Or => false,
        _ => return Ok(None),
    };
    for (known, other) in [(a, b), (b, a)] {
        let Tensor::Known(array) = known else { continue };
        if array.dtype != ScalarType::Bool || other.dtype() != ScalarType::Bool {
            continue;
        }
        let shape = broadcast(a.shape(), b.shape())?;
        if array.numbers().all(|number| number.truth() == neutral) {
            return expand::to_shape(cx, other, &shape).map(|tensor| Some(Value::Tensor(tensor)));
        }
        if array.numbers().all(|number| number.truth() != neutral) {
            let decided = Number::Int(i64::from(!neutral));
            return Ok(Some(Array::full(ScalarType::Bool, shape, decided)?.into()));
        }
    }
    Ok(None)
}

/// Which side the number stands on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

fn with_scalar(
    cx: &mut Context,
    binary: Binary,
    x: &Tensor,
    number: f64,
    side: Side,
    common: ScalarType,
) -> Outcome {
    let dtype = match binary {
        Binary::Compare(_) => ScalarType::Bool,
        _ => common,
    };
    let id = cx.id_as(x, common)?;
    let unchanged = match (binary, side) {
        (Binary::Add, _) | (Binary::Sub, Side::Right) => number == 0.0,
        (Binary::Mul, _) | (Binary::Div | Binary::Pow, Side::Right) => number == 1.0,
        _ => false,
    };
    if unchanged {
        return Ok(Value::Tensor(Tensor::Node {
            id,
            dtype,
            shape: x.shape().to_vec(),
        }));
    }
    let op = match (binary, side) {
        (Binary::Add, _) => Op::AddScalar(number),
        (Binary::Sub, Side::Right) => Op::AddScalar(-number),
        (Binary::Sub, Side::Left) => Op::RsubScalar(number),
        (Binary::Mul, _) => Op::MulScalar(number),
        (Binary::Div, Side::Right) => Op::MulScalar(1.0 / number),
        (Binary::Div, Side::Left) => {
            let inverse = cx.push(Op::PowScalar(-1.0), vec![id], dtype)?;
            return cx.apply(Op::MulScalar(number), &[&inverse], dtype);
        }
        (Binary::Pow, Side::Right) => Op::PowScalar(number),
        (Binary::Maximum, _) => Op::Clamp {
            min: number,
            max: f64::INFINITY,
        },
        (Binary::Minimum, _) => Op::Clamp {
            min: f64::NEG_INFINITY,
            max: number,
        },
        (Binary::Compare(comparison), Side::Right) => Op::CompareScalar(comparison, number),
        (Binary::Compare(comparison), Side::Left) => Op::CompareScalar(swapped(comparison), number),
        (Binary::FloorDiv | Binary::Remainder | Binary::Pow | Binary::And | Binary::Or, _) => {
            return Err(format!("of a computed tensor of {common} is not read"));
        }
    };
    cx.push(op, vec![id], dtype).map(Value::Tensor)
}

/// The comparison with its sides swapped.
const fn swapped(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Eq => Comparison::Eq,
        Comparison::Ne => Comparison::Ne,
        Comparison::Lt => Comparison::Gt,
        Comparison::Le => Comparison::Ge,
        Comparison::Gt => Comparison::Lt,
        Comparison::Ge => Comparison::Le,
    }
}
