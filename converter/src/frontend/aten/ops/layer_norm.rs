//! `layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True)` and
//! `native_layer_norm(input, normalized_shape, weight, bias, eps) -> (Tensor, Tensor, Tensor)`, over the last dimension.

use super::super::array::{Array, Number};
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::value::{Tensor, Value};
use super::{Row, row};
use crate::graph::Op;

const PARAMETERS: &[&str] = &[
    "input",
    "normalized_shape",
    "weight",
    "bias",
    "eps",
    "cudnn_enable",
];

pub(super) const ROWS: &[Row] = &[
    row("aten::layer_norm", PARAMETERS, read),
    row("aten::native_layer_norm", PARAMETERS, |cx, call| {
        // Mean and deviation are for training; whoever looks at them finds nothing.
        Ok(Value::List(vec![read(cx, call)?, Value::None, Value::None]))
    }),
];

fn read(cx: &mut Context, call: &Call) -> Outcome {
    let x = call.tensor("input")?;
    let over = call.ints("normalized_shape")?;
    let width = x.shape().last().copied();
    if over.len() != 1 || width.map(u64::cast_signed) != over.first().copied() {
        return Err(format!(
            "over {over:?} of {:?}; only the last dimension is read",
            x.shape()
        ));
    }
    let epsilon = call.float_or("eps", 1e-5)?;
    let (weight, bias) = (call.optional_tensor("weight")?, call.optional_tensor("bias")?);
    let mut inputs = vec![x.clone()];
    match (weight, bias) {
        (Some(weight), _) => inputs.push(weight.clone()),
        // The graph knows no bias alone.
        (None, Some(bias)) => {
            let ones = Array::full(bias.dtype(), bias.shape().to_vec(), Number::Float(1.0))?;
            inputs.push(Tensor::Known(ones));
        }
        (None, None) => {}
    }
    inputs.extend(bias.cloned());
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    cx.apply(Op::LayerNorm { epsilon }, &inputs, x.dtype())
}
