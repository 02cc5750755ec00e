//! What is known of shapes and numbers: `size(self, dim=None)`, `sym_size`, `numel(self)`, `dim(self)`, `len(a)`,
//! `prim::NumToTensor(a)`, `Int(a)`, `Float(a)`, `Bool(a)`, `item(self)`, `prim::device`, `prim::dtype`, and the list
//! handling of TorchScript: `prim::ListUnpack`, `__getitem__`, `prim::If` where both branches are joined.

use super::super::array::{Array, Number};
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::{Tensor, Value};
use super::{Row, row};

const A: &[&str] = &["a"];
const SELF: &[&str] = &["self"];

pub(super) const ROWS: &[Row] = &[
    row("aten::size", &["self", "dim"], size),
    row("aten::sym_size", &["self", "dim"], size),
    row("aten::numel", SELF, |_, call| {
        Ok(Value::Int(
            call.tensor("self")?.shape().iter().product::<u64>().cast_signed(),
        ))
    }),
    row("aten::sym_numel", SELF, |_, call| {
        Ok(Value::Int(
            call.tensor("self")?.shape().iter().product::<u64>().cast_signed(),
        ))
    }),
    row("aten::dim", SELF, |_, call| {
        Ok(Value::Int(call.tensor("self")?.rank().cast_signed() as i64))
    }),
    row("aten::len", A, |_, call| match call.get("a") {
        Value::List(elements) => Ok(Value::Int(elements.len().cast_signed() as i64)),
        Value::Tensor(tensor) => match tensor.shape().first() {
            Some(size) => Ok(Value::Int(size.cast_signed())),
            None => Err("of a tensor without dimensions".into()),
        },
        other => Err(format!("of {}", other.kind())),
    }),
    row("prim::NumToTensor", A, |_, call| {
        let value = call.get("a");
        match (value, value.number(), value.scalar_type()) {
            (Value::Tensor(_), ..) => Ok(value.clone()),
            (_, Some(number), Some(dtype)) => Ok(Array::scalar(dtype, number).into()),
            _ => Err(format!("of {}", value.kind())),
        }
    }),
    row("aten::Int", A, |_, call| {
        number(call, "a").map(|number| Value::Int(number.int()))
    }),
    row("aten::IntImplicit", A, |_, call| {
        number(call, "a").map(|number| Value::Int(number.int()))
    }),
    row("aten::Float", A, |_, call| {
        number(call, "a").map(|number| Value::Float(number.float()))
    }),
    row("aten::FloatImplicit", A, |_, call| {
        number(call, "a").map(|number| Value::Float(number.float()))
    }),
    row("aten::Bool", A, |_, call| {
        number(call, "a").map(|number| Value::Bool(number.truth()))
    }),
    row("aten::item", SELF, |_, call| scalar(call, "self")),
    row("aten::ScalarImplicit", A, |_, call| scalar(call, "a")),
    row("prim::device", A, |_, _| Ok(Value::Ignored)),
    row("prim::layout", A, |_, _| Ok(Value::Ignored)),
    row("prim::dtype", A, |_, call| {
        Ok(Value::Dtype(call.tensor("a")?.dtype()))
    }),
    row("prim::ListUnpack", A, list),
    row("prim::TupleUnpack", A, list),
    row("aten::__getitem__", &["list", "index"], |_, call| {
        let Value::List(elements) = call.get("list") else {
            return Err(format!("of {}", call.get("list").kind()));
        };
        let index = call.int("index")?;
        let at = match index {
            0.. => usize::try_from(index).ok(),
            _ => elements
                .len()
                .checked_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        at.and_then(|at| elements.get(at))
            .cloned()
            .ok_or_else(|| format!("there is no element {index}"))
    }),
    row("aten::__is__", &["self", "other"], |_, call| {
        same(call).map(Value::Bool)
    }),
    row("aten::__isnot__", &["self", "other"], |_, call| {
        same(call).map(|same| Value::Bool(!same))
    }),
    row("prim::If", &["condition", "then", "otherwise"], |_, call| {
        let branch = match call.bool_or("condition", false)? {
            true => "then",
            false => "otherwise",
        };
        Ok(call.get(branch).clone())
    }),
];

fn size(_: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("self")?;
    let known = |size: &u64| Value::Int(size.cast_signed());
    match call.get("dim") {
        Value::None => Ok(Value::List(x.shape().iter().map(known).collect())),
        _ => {
            let at = call.dim("dim", x.rank())?;
            x.shape()
                .get(at)
                .map(known)
                .ok_or_else(|| "of a tensor without dimensions".into())
        }
    }
}

fn number(call: &Call, name: &str) -> Result<Number, String> {
    call.get(name).number().ok_or_else(|| {
        format!(
            "of {} that depends on what the model computes: code that chooses by it was scripted, not traced, which no \
             package can follow. Trace the whole model with torch.jit.trace",
            call.get(name).kind()
        )
    })
}

/// A tensor's only element as a Python number.
fn scalar(call: &Call, name: &str) -> Outcome {
    let number = number(call, name)?;
    let truth =
        matches!(call.get(name), Value::Tensor(Tensor::Known(array)) if array.dtype == ScalarType::Bool);
    Ok(match number {
        number if truth => Value::Bool(number.truth()),
        Number::Int(value) => Value::Int(value),
        Number::Float(value) => Value::Float(value),
    })
}

fn list(_: &mut Context, call: &Call) -> Outcome {
    match call.get("a") {
        Value::List(elements) if call.results == elements.len() => Ok(match &elements[..] {
            [only] => only.clone(),
            several => Value::List(several.to_vec()),
        }),
        Value::List(elements) => Err(format!("{} values into {}", elements.len(), call.results)),
        other => Err(format!("of {}", other.kind())),
    }
}

/// `is` is asked of `None` alone.
fn same(call: &Call) -> Result<bool, String> {
    match (call.get("self"), call.get("other")) {
        (a, Value::None) => Ok(matches!(a, Value::None)),
        (Value::None, _) => Ok(false),
        (a, b) => Err(format!("of {} and {}", a.kind(), b.kind())),
    }
}
