//! The graph's operations in libtorch's, spelled as transformers spells them.

use corer_converter::graph::{Graph, Node, Op, PoolKind};
use tch::{Kind, TchError, Tensor};

use super::attention;
use crate::error::LibtorchError;

/// The lowest f32, which transformers adds where nothing is attended to.
const LOWEST: f64 = f32::MIN as f64;

/// What sentence-transformers fills padding with before it takes the largest value, and the least number of tokens it
/// divides by.
const HIDDEN: f64 = -1e9;
const FEWEST: f64 = 1e-9;

/// The result of a node.
pub(super) fn compute(graph: &Graph, node: &Node, inputs: &[Tensor]) -> Result<Tensor, LibtorchError> {
    let result = match (&node.op, inputs) {
        (Op::Embedding, [table, indices]) => Tensor::f_embedding(table, indices, -1, false, false),
        (Op::Linear, [x, weight, bias @ ..]) => x.f_linear(weight, bias.first()),
        (Op::LayerNorm { epsilon }, [x, weight, bias @ ..]) => {
            x.f_layer_norm(weight.size(), Some(weight), bias.first(), *epsilon, true)
        }
        (Op::Add, [a, b]) => a.f_add(b),
        (Op::Mul, [a, b]) => a.f_mul(b),
        (Op::Gelu { tanh }, [x]) => x.f_gelu(if *tanh { "tanh" } else { "none" }),
        (Op::Tanh, [x]) => x.f_tanh(),
        (Op::Relu, [x]) => x.f_relu(),
        (Op::Silu, [x]) => x.f_silu(),
        (Op::Sigmoid, [x]) => x.f_sigmoid(),
        (Op::Select { dim, index }, [x]) => x.f_select(*dim, *index),
        (Op::Concat(dim), parts) => Tensor::f_cat(parts, *dim),
        (Op::PaddingMask, [mask]) => padding_mask(mask),
        (Op::PositionIds { padding }, [ids]) => counted_positions(ids, *padding),
        (Op::MaskTokens, [x, mask]) => token_mask(mask).and_then(|mask| x.f_mul(&mask)),
        (Op::TokenConvolution { groups }, [x, weight, bias @ ..]) => {
            convolution(x, weight, bias.first(), groups.cast_signed())
        }
        (Op::Rotary { heads, .. }, [x, cos, sin]) => attention::rotary(x, cos, sin, heads.cast_signed()),
        (Op::RelativeScores { heads, of, .. }, [x, table]) => {
            attention::relative_scores(x, table, heads.cast_signed(), *of)
        }
        (Op::Attention { heads, scale, .. }, [query, key, value, terms @ ..]) => {
            attention::attention([query, key, value], terms, heads.cast_signed(), *scale)
        }
        (Op::Pool(kind), [x, mask]) => pool(*kind, x, mask),
        (Op::Normalize { epsilon }, [x]) => normalize(x, *epsilon),
        (op, _) => {
            return Err(LibtorchError::Operation {
                scope: node.scope.clone(),
                op: op.to_string(),
            });
        }
    };
    let tensor =
        result.map_err(|error| LibtorchError::torch(format!("{}: {}", node.scope, node.op), error))?;
    let expected: Option<Vec<i64>> = graph
        .shape(node.output)
        .iter()
        .map(|dim| dim.known().map(u64::cast_signed))
        .collect();
    match expected {
        Some(expected) if expected != tensor.size() => Err(LibtorchError::torch(
            format!("{}: {}", node.scope, node.op),
            format!("gives {:?}, the graph says {expected:?}", tensor.size()),
        )),
        _ => Ok(tensor),
    }
}

/// (B, S) → (B, 1, 1, S): zero for tokens, the lowest number for padding.
fn padding_mask(mask: &Tensor) -> Result<Tensor, TchError> {
    let mask = mask.f_unsqueeze(1)?.f_unsqueeze(2)?.f_to_kind(Kind::Float)?;
    mask.f_rsub_scalar(1.0)?.f_mul_scalar(LOWEST)
}

/// RoBERTa's `create_position_ids_from_input_ids`.
fn counted_positions(ids: &Tensor, padding: u32) -> Result<Tensor, TchError> {
    let padding = i64::from(padding);
    let mask = ids.f_ne(padding)?.f_to_kind(Kind::Int64)?;
    mask.f_cumsum(1, None)?.f_mul(&mask)?.f_add_scalar(padding)
}

/// (B, S) → (B, S, 1), as numbers.
fn token_mask(mask: &Tensor) -> Result<Tensor, TchError> {
    mask.f_unsqueeze(-1)?.f_to_kind(Kind::Float)
}

/// Over tokens, (B, S, C): zeros beside the ends keep the length.
fn convolution(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, groups: i64) -> Result<Tensor, TchError> {
    let padding = (weight.size().last().copied().unwrap_or(1) - 1) / 2;
    x.f_transpose(1, 2)?
        .f_conv1d(weight, bias, 1, padding, 1, groups)?
        .f_transpose(1, 2)
}

/// sentence-transformers' pooling.
fn pool(kind: PoolKind, x: &Tensor, mask: &Tensor) -> Result<Tensor, TchError> {
    match kind {
        PoolKind::Cls => x.f_select(1, 0),
        PoolKind::Max => {
            let padding = mask.f_unsqueeze(-1)?.f_eq(0)?;
            x.f_masked_fill(&padding, HIDDEN)?.f_amax(1, false)
        }
        PoolKind::Mean | PoolKind::MeanSqrtLength => {
            let mask = token_mask(mask)?;
            let sum = x.f_mul(&mask)?.f_sum_dim_intlist(1, false, None)?;
            let number = mask.f_sum_dim_intlist(1, false, None)?.f_clamp_min(FEWEST)?;
            match kind {
                PoolKind::MeanSqrtLength => sum.f_div(&number.f_sqrt()?),
                _ => sum.f_div(&number),
            }
        }
    }
}

/// `torch.nn.functional.normalize` over the channels.
fn normalize(x: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
    let norm = x.f_norm_scalaropt_dim(2, 1, true)?.f_clamp_min(epsilon)?;
    x.f_div(&norm)
}
