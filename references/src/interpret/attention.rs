//! Attention and what goes with it, written out.

use candle_core::{D, Error, Result, Tensor};
use corer_converter::graph::{AttentionLayout, ScoreSide};

use super::fold::softmax;

/// softmax(query · keyᵀ · scale + mask) · value on (B, heads, S, d). A mask of truth values keeps what is true.
pub(super) fn scaled_dot_product(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    mask: Option<&Tensor>,
    scale: Option<f64>,
) -> Result<Tensor> {
    #[allow(clippy::cast_precision_loss)] // head widths are small
    let scale = scale.unwrap_or_else(|| 1.0 / (query.dims()[query.rank() - 1] as f64).sqrt());
    let mut scores = (query
        .contiguous()?
        .broadcast_matmul(&key.transpose(D::Minus1, D::Minus2)?.contiguous()?)?
        * scale)?;
    if let Some(mask) = mask {
        scores = match mask.dtype() == candle_core::DType::U8 {
            true => {
                let mask = mask.broadcast_as(scores.shape())?.contiguous()?;
                let none = Tensor::full(f32::NEG_INFINITY, scores.shape(), scores.device())?;
                mask.where_cond(&scores.contiguous()?, &none)?
            }
            false => scores.broadcast_add(mask)?,
        };
    }
    let axis = scores.rank() - 1;
    softmax(&scores, axis)?.broadcast_matmul(&value.contiguous()?)
}

/// Multi-head attention `(query, key, value, terms…)` on (B, S, C).
pub(super) fn attention(x: &[Tensor], heads: u64, scale: f64, layout: AttentionLayout) -> Result<Tensor> {
    let [query, key, value] = [
        by_head(&x[0], heads, layout)?,
        by_head(&x[1], heads, layout)?,
        by_head(&x[2], heads, layout)?,
    ];
    let mut scores = (query.matmul(&key.transpose(2, 3)?.contiguous()?)? * scale)?;
    for term in &x[3..] {
        scores = scores.broadcast_add(term)?;
    }
    // Two terms that exclude the same key must not make a row of −∞ alone.
    let scores = scores.maximum(f64::from(f32::MIN))?;
    let mixed = softmax(&scores, 3)?.matmul(&value)?;
    mixed.transpose(1, 2)?.contiguous()?.reshape(x[0].shape())
}

/// In each head, components j and j + d/2 turned by the angle of column j.
pub(super) fn rotary(x: &[Tensor], heads: u64, layout: AttentionLayout) -> Result<Tensor> {
    let split = by_head(&x[0], heads, layout)?;
    let half = split.dim(3)? / 2;
    let (low, high) = (split.narrow(3, 0, half)?, split.narrow(3, half, half)?);
    let (cos, sin) = (&x[1], &x[2]);
    let turned = [
        (low.broadcast_mul(cos)? - high.broadcast_mul(sin)?)?,
        (high.broadcast_mul(cos)? + low.broadcast_mul(sin)?)?,
    ];
    let joined = Tensor::cat(&turned, 3)?;
    joined.transpose(1, 2)?.contiguous()?.reshape(x[0].shape())
}

/// x at position i times, head by head, row S + j − i of the table; i is on the side `of` of the scores.
pub(super) fn relative_scores(
    x: &Tensor,
    table: &Tensor,
    heads: u64,
    layout: AttentionLayout,
    of: ScoreSide,
) -> Result<Tensor> {
    let tokens = x.dim(1)?;
    let content = by_head(x, heads, layout)?;
    let table = by_head(&table.unsqueeze(0)?, heads, layout)?;
    // (B, heads, S, 2S): against every distance.
    let all = content.broadcast_matmul(&table.transpose(2, 3)?.contiguous()?)?;
    let rows = (0..tokens).map(|i| all.narrow(2, i, 1)?.narrow(3, tokens - i, tokens));
    let scores = Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 2)?;
    match of {
        ScoreSide::Query => Ok(scores),
        ScoreSide::Key => scores.transpose(2, 3),
    }
}

/// (B, S, C) as (B, heads, S, d).
fn by_head(x: &Tensor, heads: u64, layout: AttentionLayout) -> Result<Tensor> {
    if layout != AttentionLayout::HeadMajor {
        return Err(Error::Msg(format!(
            "channels in order {layout:?}, which no source has"
        )));
    }
    let (batch, tokens, channels) = x.dims3()?;
    let heads = usize::try_from(heads).unwrap_or(1);
    let split = x
        .contiguous()?
        .reshape((batch, tokens, heads, channels / heads))?;
    split.transpose(1, 2)?.contiguous()
}
