//! Masks, positions, convolutions over tokens and pooling, written out.

use candle_core::{D, DType, Result, Tensor};
use corer_converter::graph::PoolKind;

/// Smallest number of tokens a mean divides by; sentence-transformers' `Pooling` has the same.
const FEWEST_TOKENS: f64 = 1e-9;

/// Zero where the mask is one, the lowest f32 elsewhere, as transformers extends a mask.
pub(super) fn padding_mask(mask: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let inverted = mask.to_dtype(DType::F32)?.affine(-1.0, 1.0)?;
    (inverted * f64::from(f32::MIN))?.reshape(shape)
}

/// Positions counted over the ids that are not `padding`, from `padding` + 1 on; `padding` where the id is.
pub(super) fn position_ids(ids: &Tensor, padding: u32) -> Result<Tensor> {
    let counts = ids.ne(&Tensor::full(i64::from(padding), ids.shape(), ids.device())?)?;
    let counts = counts.to_dtype(DType::I64)?;
    let positions = (super::fold::cumulative(&counts, 1)? * counts)?;
    positions.affine(1.0, f64::from(padding))
}

/// Vectors whose mask is zero become zero.
pub(super) fn mask_tokens(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    x.broadcast_mul(&mask.to_dtype(DType::F32)?.unsqueeze(D::Minus1)?)
}

/// Convolution over the tokens of (B, S, C), zeros beside the ends.
pub(super) fn convolution(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, groups: u64) -> Result<Tensor> {
    let groups = usize::try_from(groups).unwrap_or(1);
    let channels = x.transpose(1, 2)?.contiguous()?;
    let sums = channels.conv1d(weight, weight.dim(2)? / 2, 1, 1, groups)?;
    let sums = sums.transpose(1, 2)?;
    match bias {
        Some(bias) => sums.broadcast_add(bias),
        None => sums.contiguous(),
    }
}

/// Token vectors (B, S, C) as one (B, C).
pub(super) fn pool(x: &Tensor, mask: &Tensor, kind: PoolKind) -> Result<Tensor> {
    if kind == PoolKind::Cls {
        return x.narrow(1, 0, 1)?.squeeze(1);
    }
    let mask = mask.to_dtype(DType::F32)?.unsqueeze(D::Minus1)?;
    if kind == PoolKind::Max {
        let excluded = mask.affine(-1.0, 1.0)?.affine(-1e9, 0.0)?;
        return x.broadcast_mul(&mask)?.broadcast_add(&excluded)?.max(1);
    }
    let sum = x.broadcast_mul(&mask)?.sum(1)?;
    let count = mask.sum(1)?.maximum(FEWEST_TOKENS)?;
    sum.broadcast_div(&match kind {
        PoolKind::MeanSqrtLength => count.sqrt()?,
        _ => count,
    })
}

/// Rows divided by their Euclidean norm.
pub(super) fn normalize(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    let norm = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(epsilon)?;
    x.broadcast_div(&norm)
}
