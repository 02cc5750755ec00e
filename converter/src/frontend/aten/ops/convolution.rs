//! `_convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups, …)`,
//! `convolution`, `conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)`: over tokens, on
//! (B, C, S), such that the length stays.

use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::{Row, row, transpose};
use crate::graph::Op;

const LONG: &[&str] = &[
    "input",
    "weight",
    "bias",
    "stride",
    "padding",
    "dilation",
    "transposed",
    "output_padding",
    "groups",
    "benchmark",
    "deterministic",
    "cudnn_enabled",
    "allow_tf32",
];

pub(super) const ROWS: &[Row] = &[
    row("aten::_convolution", LONG, |cx, call| {
        match call.bool_or("transposed", false)? {
            true => Err("transposed is not read".into()),
            false => read(cx, call),
        }
    }),
    row("aten::convolution", LONG, |cx, call| {
        match call.bool_or("transposed", false)? {
            true => Err("transposed is not read".into()),
            false => read(cx, call),
        }
    }),
    row(
        "aten::conv1d",
        &[
            "input", "weight", "bias", "stride", "padding", "dilation", "groups",
        ],
        read,
    ),
];

fn read(cx: &mut Context, call: &Call) -> Outcome {
    let (x, weight) = (call.tensor("input")?, call.tensor("weight")?);
    let (Tensor::Weight(..), [_, _, width]) = (weight, weight.shape()) else {
        return Err(format!(
            "by {:?} is not read; one over tokens, by a weight, is",
            weight.shape()
        ));
    };
    let only = |name: &str, default: i64| -> Result<i64, String> {
        match call.optional_ints(name)? {
            None => Ok(default),
            Some(values) => match values[..] {
                [value] => Ok(value),
                _ => Err(format!("`{name}` is {values:?}")),
            },
        }
    };
    let (stride, padding, dilation) = (only("stride", 1)?, only("padding", 0)?, only("dilation", 1)?);
    let same = width % 2 == 1 && padding.cast_unsigned() == width / 2;
    if (stride, dilation) != (1, 1) || !same || x.rank() != 3 {
        return Err(format!(
            "of {:?} with stride {stride}, padding {padding}, dilation {dilation} is not read: the length must stay",
            x.shape()
        ));
    }
    let groups = u64::try_from(call.int_or("groups", 1)?).map_err(|_| "groups must be positive")?;
    let by_token = transpose::swap(cx, x, 1, 2)?;
    let mut inputs = vec![&by_token, weight];
    inputs.extend(call.optional_tensor("bias")?);
    let result = cx.apply(Op::TokenConvolution { groups }, &inputs, x.dtype())?;
    match result {
        Value::Tensor(result) => transpose::swap(cx, &result, 1, 2).map(Value::Tensor),
        other => Ok(other),
    }
}
