//! `scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, scale=None,
//! enable_gqa=False)` on (B, heads, S, d), and the form exports decompose it to on a CPU.
//!
//! A mask of truth values says where to look; it becomes one that is added.

use super::super::array::Number;
use super::super::call::Call;
use super::super::context::{Context, Outcome};
use super::super::dtype::ScalarType;
use super::super::value::{Tensor, Value};
use super::binary::{self, Binary};
use super::{Row, row};
use crate::graph::Op;

const PARAMETERS: &[&str] = &[
    "query",
    "key",
    "value",
    "attn_mask",
    "dropout_p",
    "is_causal",
    "scale",
    "enable_gqa",
];

const FLASH: &[&str] = &[
    "query",
    "key",
    "value",
    "dropout_p",
    "is_causal",
    "attn_mask",
    "scale",
];

/// What is added where not to look.
const NEVER: f64 = f32::MIN as f64;

pub(super) const ROWS: &[Row] = &[
    row("aten::scaled_dot_product_attention", PARAMETERS, |cx, call| {
        if call.bool_or("enable_gqa", false)? {
            return Err("with grouped queries (enable_gqa) is not read".into());
        }
        read(cx, call)
    }),
    row(
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        FLASH,
        |cx, call| Ok(Value::List(vec![read(cx, call)?, Value::None])),
    ),
];

fn read(cx: &mut Context, call: &Call) -> Outcome {
    let (query, key, value) = (call.tensor("query")?, call.tensor("key")?, call.tensor("value")?);
    if call.bool_or("is_causal", false)? {
        return Err("with is_causal=True is not read: an encoder looks both ways".into());
    }
    if call.float_or("dropout_p", 0.0)? != 0.0 {
        return Err(
            "drops attention at random: the model was traced in training mode; call model.eval() first"
                .into(),
        );
    }
    if query.rank() != 4 {
        return Err(format!(
            "of a query {:?}; (B, heads, S, d) is read",
            query.shape()
        ));
    }
    let scale = match call.get("scale") {
        Value::None => None,
        _ => Some(call.float_or("scale", 1.0)?),
    };
    let mut inputs = vec![query.clone(), key.clone(), value.clone()];
    if let Some(mask) = call.optional_tensor("attn_mask")? {
        inputs.extend(added(cx, mask)?);
    }
    let inputs: Vec<&Tensor> = inputs.iter().collect();
    cx.apply(Op::ScaledDotProductAttention { scale }, &inputs, query.dtype())
}

/// A mask as one that is added; `None` when it lets everything through.
fn added(cx: &mut Context, mask: &Tensor) -> Result<Option<Tensor>, String> {
    if mask.dtype() != ScalarType::Bool {
        return Ok(Some(mask.clone()));
    }
    if let Tensor::Known(array) = mask {
        if array.numbers().all(Number::truth) {
            return Ok(None);
        }
        let never = |number: Number| Number::Float(if number.truth() { 0.0 } else { NEVER });
        return Ok(Some(Tensor::Known(array.map(ScalarType::Float32, never))));
    }
    let looked = Tensor::Node {
        id: cx.id_as(mask, ScalarType::Float32)?,
        dtype: ScalarType::Float32,
        shape: mask.shape().to_vec(),
    };
    let hidden = binary::read(cx, Binary::Sub, &Value::Float(1.0), &Value::Tensor(looked))?;
    match binary::read(cx, Binary::Mul, &hidden, &Value::Float(NEVER))? {
        Value::Tensor(tensor) => Ok(Some(tensor)),
        other => Err(format!("the mask becomes {}", other.kind())),
    }
}
