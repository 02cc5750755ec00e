//! Operations along an axis: reductions, softmax, norms, products.

use candle_core::{D, DType, Result, Tensor};
use corer_converter::graph::Reduction;

use super::as_kind;
use corer_converter::graph::Kind;

/// A dimension counted from the front.
pub(super) fn axis(dim: i64, rank: usize) -> Result<usize> {
    let from_front = if dim < 0 {
        dim + i64::try_from(rank).unwrap_or(i64::MAX)
    } else {
        dim
    };
    match usize::try_from(from_front) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => Err(candle_core::Error::Msg(format!(
            "{dim} is none of {rank} dimensions"
        ))),
    }
}

/// exp(x − max) / Σ exp(x − max) along an axis.
pub(super) fn softmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    let powers = x.broadcast_sub(&x.max_keepdim(axis)?)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(axis)?)
}

/// A reduction over some dimensions, of the argument's kind.
pub(super) fn reduce(x: &Tensor, kind: Reduction, dims: &[i64], keep: bool) -> Result<Tensor> {
    let mut dims = dims
        .iter()
        .map(|dim| axis(*dim, x.rank()))
        .collect::<Result<Vec<_>>>()?;
    dims.sort_unstable();
    let truth = x.dtype() == DType::U8;
    let mut reduced = if truth {
        x.to_dtype(DType::I64)?
    } else {
        x.contiguous()?
    };
    if kind == Reduction::Norm {
        reduced = reduced.sqr()?;
    }
    let count: usize = dims.iter().map(|dim| x.dims()[*dim]).product();
    for dim in &dims {
        reduced = match kind {
            Reduction::Sum | Reduction::Mean | Reduction::Norm => reduced.sum_keepdim(*dim)?,
            Reduction::Max => reduced.max_keepdim(*dim)?,
            Reduction::Min => reduced.min_keepdim(*dim)?,
        };
    }
    #[allow(clippy::cast_precision_loss)] // counts are small
    if kind == Reduction::Mean {
        reduced = (reduced / count as f64)?;
    } else if kind == Reduction::Norm {
        reduced = reduced.sqrt()?;
    }
    if truth {
        reduced = as_kind(&reduced, Kind::Bool)?;
    }
    if !keep {
        for dim in dims.iter().rev() {
            reduced = reduced.squeeze(*dim)?;
        }
    }
    Ok(reduced)
}

/// Sums of all that stands before and at each place of an axis.
pub(super) fn cumulative(x: &Tensor, axis: usize) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    let mut parts = Vec::with_capacity(x.dims()[axis]);
    for at in 0..x.dims()[axis] {
        let part = x.narrow(axis, at, 1)?;
        let next = match &sum {
            Some(sum) => (sum + part)?,
            None => part,
        };
        parts.push(next.clone());
        sum = Some(next);
    }
    Tensor::cat(&parts, axis)
}

/// x · weightᵀ + bias, over the last dimension.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, shape: &[usize]) -> Result<Tensor> {
    let rows = x.contiguous()?.reshape(((), weight.dim(1)?))?;
    let product = rows.matmul(&weight.t()?)?;
    let sum = match bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    };
    sum.reshape(shape)
}

/// (x − mean) / √(variance + epsilon) over the last dimension, times a weight, plus a bias.
pub(super) fn layer_norm(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    epsilon: f64,
) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let mut normed = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    if let Some(weight) = weight {
        normed = normed.broadcast_mul(weight)?;
    }
    match bias {
        Some(bias) => normed.broadcast_add(bias),
        None => Ok(normed),
    }
}
