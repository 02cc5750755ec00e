//! Attention: heads apart and together again without the length being named, so that a trace takes any.

use corer_converter::graph::ScoreSide;
use tch::{Kind, TchError, Tensor};

/// (B, S, C) → (B, heads, S, d).
fn split(x: &Tensor, heads: i64) -> Result<Tensor, TchError> {
    apart(x, heads)?.f_transpose(1, 2)
}

/// (B, S, C) → (B, S, heads, d).
fn apart(x: &Tensor, heads: i64) -> Result<Tensor, TchError> {
    let channels = x.size().last().copied().unwrap_or(0);
    x.f_unflatten(-1, [heads, channels / heads])
}

/// Multi-head attention on (B, S, C); terms are added to the scaled scores.
pub(super) fn attention(
    [query, key, value]: [&Tensor; 3],
    terms: &[Tensor],
    heads: i64,
    scale: f64,
) -> Result<Tensor, TchError> {
    let [query, key, value] = [split(query, heads)?, split(key, heads)?, split(value, heads)?];
    let mut mask: Option<Tensor> = None;
    for term in terms {
        mask = Some(match mask {
            None => term.shallow_clone(),
            Some(sum) => sum.f_add(term)?,
        });
    }
    #[allow(clippy::cast_precision_loss)] // channels of a head are few
    let usual = (query.size()[3] as f64).sqrt().recip();
    let scale = (scale.to_bits() != usual.to_bits()).then_some(scale);
    Tensor::f_scaled_dot_product_attention(&query, &key, &value, mask, 0.0, false, scale, false)?
        .f_transpose(1, 2)?
        .f_flatten(2, 3)
}

/// Rotary positions (GPT-NeoX's halves) on (B, S, C); cos and sin are (S, d/2).
pub(super) fn rotary(x: &Tensor, cos: &Tensor, sin: &Tensor, heads: i64) -> Result<Tensor, TchError> {
    let x = split(x, heads)?;
    let width = x.size()[3];
    let twice = |half: &Tensor| Tensor::f_cat(&[half, half], -1);
    let (first, second) = (
        x.f_slice(-1, 0, width / 2, 1)?,
        x.f_slice(-1, width / 2, width, 1)?,
    );
    let turned = Tensor::f_cat(&[second.f_neg()?, first], -1)?;
    x.f_mul(&twice(cos)?)?
        .f_add(&turned.f_mul(&twice(sin)?)?)?
        .f_transpose(1, 2)?
        .f_flatten(2, 3)
}

/// Scores of x at position i against row S + j − i of the table, (B, heads, queries, keys).
pub(super) fn relative_scores(
    x: &Tensor,
    table: &Tensor,
    heads: i64,
    of: ScoreSide,
) -> Result<Tensor, TchError> {
    let rows = apart(table, heads)?.f_permute([1, 2, 0])?;
    let all = split(x, heads)?.f_matmul(&rows)?;
    // Counted: a tensor made from values while a trace is recorded would be lost.
    let ones = x
        .f_select(2, 0)?
        .f_slice(0, 0, 1, 1)?
        .f_ones_like()?
        .f_to_kind(Kind::Int64)?;
    let positions = ones.f_cumsum(1, None)?;
    let distance = positions.f_unsqueeze(1)?.f_sub(&positions.f_unsqueeze(2)?)?;
    let [batch, heads, tokens, _] = all.size()[..] else {
        return Err(TchError::Shape("scores have four axes".into()));
    };
    let index = distance
        .f_add_scalar(tokens)?
        .f_unsqueeze(0)?
        .f_expand([batch, heads, tokens, tokens], false)?;
    let scores = all.f_gather(-1, &index, false)?;
    match of {
        ScoreSide::Query => Ok(scores),
        ScoreSide::Key => scores.f_transpose(-1, -2),
    }
}
