//! `arange(start=0, end, step=1, *, dtype)`, `zeros(size, *, dtype)`, `ones`, `full(size, fill_value, *, dtype)`,
//! `zeros_like(self, *, dtype)`, `ones_like`, `full_like(self, fill_value, *, dtype)`, `new_zeros(self, size, *, dtype)`,
//! `new_ones`, `new_full`, `tensor(data, *, dtype)`, `scalar_tensor(s, *, dtype)`, `tril(self, diagonal=0)`, `triu`.
//!
//! Without a type: `zeros` and `ones` are float32, `full`, `arange` and `tensor` go by their numbers, `*_like` and
//! `new_*` by their tensor.

use super::super::array::{Array, MOST_ELEMENTS, Number};
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::Value;
use super::{Row, row};

const SIZE: &[&str] = &["size", "dtype"];
const LIKE: &[&str] = &["self", "dtype"];
const NEW: &[&str] = &["self", "size", "dtype"];
const ZERO: Number = Number::Int(0);
const ONE: Number = Number::Int(1);

pub(super) const ROWS: &[Row] = &[
    row("aten::arange", &["start", "end", "step", "dtype"], arange),
    row("aten::zeros", SIZE, |_, call| sized(call, ZERO)),
    row("aten::empty", SIZE, |_, call| sized(call, ZERO)),
    row("aten::ones", SIZE, |_, call| sized(call, ONE)),
    row("aten::full", &["size", "fill_value", "dtype"], |_, call| {
        let (number, own) = fill(call)?;
        let dtype = call.dtype("dtype")?.unwrap_or(own);
        Ok(Array::full(dtype, sizes(call, "size")?, number)?.into())
    }),
    row("aten::zeros_like", LIKE, |_, call| like(call, ZERO)),
    row("aten::empty_like", LIKE, |_, call| like(call, ZERO)),
    row("aten::ones_like", LIKE, |_, call| like(call, ONE)),
    row("aten::full_like", &["self", "fill_value", "dtype"], |_, call| {
        let (number, _) = fill(call)?;
        like(call, number)
    }),
    row("aten::new_zeros", NEW, |_, call| anew(call, ZERO)),
    row("aten::new_ones", NEW, |_, call| anew(call, ONE)),
    row(
        "aten::new_full",
        &["self", "size", "fill_value", "dtype"],
        |_, call| {
            let (number, _) = fill(call)?;
            anew(call, number)
        },
    ),
    row("aten::tensor", &["data", "dtype"], |_, call| tensor(call, "data")),
    row("aten::scalar_tensor", &["s", "dtype"], |_, call| {
        let number = call
            .get("s")
            .number()
            .ok_or("of a number that is not known ahead")?;
        let dtype = call.dtype("dtype")?.unwrap_or(ScalarType::Float32);
        Ok(Array::scalar(dtype, number).into())
    }),
    row("aten::tril", &["self", "diagonal"], |cx, call| {
        triangle(cx, call, true)
    }),
    row("aten::triu", &["self", "diagonal"], |cx, call| {
        triangle(cx, call, false)
    }),
];

fn arange(_: &mut Context, call: &Call) -> Outcome {
    let given = |name: &str| match call.get(name) {
        Value::None => Ok(None),
        value => value
            .number()
            .map(Some)
            .ok_or_else(|| format!("`{name}` is {}, not a number known ahead", value.kind())),
    };
    // With one number it is the end.
    let (start, end) = match (given("start")?, given("end")?) {
        (Some(end), None) | (None, Some(end)) => (ZERO, end),
        (Some(start), Some(end)) => (start, end),
        (None, None) => return Err("to where is not said".into()),
    };
    let step = given("step")?.unwrap_or(ONE);
    let whole = [start, end, step]
        .iter()
        .all(|number| matches!(number, Number::Int(_)));
    let own = match whole {
        true => ScalarType::Int64,
        false => ScalarType::Float32,
    };
    let dtype = call.dtype("dtype")?.unwrap_or(own);
    let length = ((end.float() - start.float()) / step.float()).ceil();
    if !(0.0..=MOST_ELEMENTS as f64).contains(&length) {
        return Err(format!("of {length} numbers"));
    }
    let numbers = (0..length as i64).map(|index| match (start, step) {
        (Number::Int(start), Number::Int(step)) => Number::Int(start.wrapping_add(index.wrapping_mul(step))),
        _ => Number::Float(index as f64 * step.float() + start.float()),
    });
    Ok(Array::from_numbers(dtype, vec![length as u64], numbers).into())
}

fn sizes(call: &Call, name: &str) -> Result<Vec<u64>, String> {
    let each = call
        .ints(name)?
        .into_iter()
        .map(|size| u64::try_from(size).map_err(|_| format!("size {size}")));
    each.collect()
}

fn fill(call: &Call) -> Result<(Number, ScalarType), String> {
    let value = call.get("fill_value");
    let number = value.number().ok_or("`fill_value` is not known ahead")?;
    Ok((number, value.scalar_type().unwrap_or(ScalarType::Float32)))
}

fn sized(call: &Call, number: Number) -> Outcome {
    let dtype = call.dtype("dtype")?.unwrap_or(ScalarType::Float32);
    Ok(Array::full(dtype, sizes(call, "size")?, number)?.into())
}

fn like(call: &Call, number: Number) -> Outcome {
    let x = call.tensor("self")?;
    let dtype = call.dtype("dtype")?.unwrap_or(x.dtype());
    Ok(Array::full(dtype, x.shape().to_vec(), number)?.into())
}

fn anew(call: &Call, number: Number) -> Outcome {
    let dtype = call.dtype("dtype")?.unwrap_or(call.tensor("self")?.dtype());
    Ok(Array::full(dtype, sizes(call, "size")?, number)?.into())
}

/// A tensor from nested lists of numbers.
fn tensor(call: &Call, name: &str) -> Outcome {
    fn gather(
        value: &Value,
        depth: usize,
        shape: &mut Vec<u64>,
        numbers: &mut Vec<Number>,
    ) -> Result<(), String> {
        match value {
            Value::List(elements) => {
                match shape.get(depth) {
                    None => shape.push(elements.len() as u64),
                    Some(size) if *size == elements.len() as u64 => {}
                    Some(_) => return Err("of lists of different lengths".into()),
                }
                elements
                    .iter()
                    .try_for_each(|element| gather(element, depth + 1, shape, numbers))
            }
            value => {
                numbers.push(value.number().ok_or("of numbers that are not known ahead")?);
                Ok(())
            }
        }
    }
    let value = call.get(name);
    let own = match value {
        Value::Bool(_) => ScalarType::Bool,
        Value::Tensor(tensor) => tensor.dtype(),
        _ => ScalarType::Float32,
    };
    let (mut shape, mut numbers) = (Vec::new(), Vec::new());
    gather(value, 0, &mut shape, &mut numbers)?;
    let whole = numbers.iter().all(|number| matches!(number, Number::Int(_)));
    let own = match own {
        ScalarType::Float32 if whole => ScalarType::Int64,
        own => own,
    };
    let dtype = call.dtype("dtype")?.unwrap_or(own);
    Ok(Array::from_numbers(dtype, shape, numbers).into())
}

fn triangle(cx: &mut Context, call: &Call, lower: bool) -> Outcome {
    let x = call.tensor("self")?;
    let diagonal = call.int_or("diagonal", 0)?;
    let array = cx.known(x)?.ok_or("of a computed tensor is not read")?;
    let [.., rows, columns] = array.shape[..] else {
        return Err("of fewer than two dimensions".into());
    };
    let numbers = array.numbers().enumerate().map(|(index, number)| {
        let index = index as u64;
        let (row, column) = (index / columns.max(1) % rows.max(1), index % columns.max(1));
        let beyond = column.cast_signed() - row.cast_signed();
        let kept = if lower {
            beyond <= diagonal
        } else {
            beyond >= diagonal
        };
        if kept { number } else { ZERO }
    });
    Ok(Array::from_numbers(array.dtype, array.shape.clone(), numbers.collect::<Vec<_>>()).into())
}
