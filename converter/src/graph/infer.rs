//! Kinds and shapes of results from those of arguments.

use corer_mil::Dim;
use corer_mil::ops::{broadcast, normalize_axis};

use super::{Kind, Op};

type Type<'a> = (Kind, &'a [Dim]);

/// The result's kind and shape, or why the arguments don't fit.
///
/// # Errors
/// One sentence saying what does not fit.
pub fn infer(op: &Op, inputs: &[Type<'_>]) -> Result<(Kind, Vec<Dim>), String> {
    let (least, most) = arity(op);
    if inputs.len() < least || inputs.len() > most {
        return Err(format!("takes {least} to {most} arguments, has {}", inputs.len()));
    }
    let (kind, shape) = inputs[0];
    let axis = |axis: i64, rank: usize| normalize_axis(axis, rank);
    match op {
        Op::Embedding => {
            let [Dim::Known(_), width] = shape else {
                return Err("the table must have rank 2".into());
            };
            let (Kind::Int, indices) = inputs[1] else {
                return Err("indices must be integers".into());
            };
            let mut result = indices.to_vec();
            result.push(*width);
            Ok((Kind::Float, result))
        }
        Op::Linear => {
            let weight = inputs[1].1;
            let ([.., width], [out, fan_in]) = (shape, weight) else {
                return Err(format!("weight of shape {weight:?} for {shape:?}"));
            };
            if !width.compatible(*fan_in) {
                return Err(format!("weight takes {fan_in} channels, has {width}"));
            }
            if let Some((_, bias)) = inputs.get(2)
                && *bias != [*out]
            {
                return Err(format!("bias has shape {bias:?}, not [{out}]"));
            }
            let mut result = shape.to_vec();
            *result.last_mut().unwrap_or(&mut Dim::Known(0)) = *out;
            Ok((Kind::Float, result))
        }
        Op::LayerNorm { .. } => {
            let width = shape.last().ok_or("needs a dimension")?;
            for (_, parameter) in &inputs[1..] {
                if *parameter != [*width] {
                    return Err(format!("weight of shape {parameter:?} for {width} channels"));
                }
            }
            Ok((kind, shape.to_vec()))
        }
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Maximum | Op::Minimum => {
            if kind != inputs[1].0 {
                return Err(format!("{kind:?} and {:?} are not one kind", inputs[1].0));
            }
            Ok((kind, broadcast(shape, inputs[1].1)?))
        }
        Op::And | Op::Or => match (kind, inputs[1].0) {
            (Kind::Bool, Kind::Bool) => Ok((kind, broadcast(shape, inputs[1].1)?)),
            other => Err(format!("takes truth values, has {other:?}")),
        },
        Op::Compare(_) => Ok((Kind::Bool, broadcast(shape, inputs[1].1)?)),
        Op::CompareScalar(..) | Op::ToBool => Ok((Kind::Bool, shape.to_vec())),
        Op::Where => {
            let ((on, a), (other, b)) = (inputs[1], inputs[2]);
            if kind != Kind::Bool || on != other {
                return Err(format!(
                    "takes a condition and two of a kind, has {kind:?}, {on:?}, {other:?}"
                ));
            }
            Ok((on, broadcast(shape, &broadcast(a, b)?)?))
        }
        Op::MaskedFill(_) => match inputs[1].0 {
            Kind::Bool => Ok((kind, broadcast(shape, inputs[1].1)?)),
            other => Err(format!("the mask is {other:?}")),
        },
        Op::ToInt => Ok((Kind::Int, shape.to_vec())),
        Op::Unary(_) | Op::Clamp { .. } | Op::PowScalar(_) | Op::AddScalar(_) => Ok((kind, shape.to_vec())),
        Op::MulScalar(_)
        | Op::RsubScalar(_)
        | Op::Gelu { .. }
        | Op::Tanh
        | Op::Relu
        | Op::Silu
        | Op::Sigmoid => Ok((kind, shape.to_vec())),
        Op::Normalize { .. } => Ok((kind, shape.to_vec())),
        Op::ToFloat => Ok((Kind::Float, shape.to_vec())),
        Op::View(sizes) => Ok((kind, view(shape, sizes)?)),
        Op::Transpose(a, b) => {
            let mut result = shape.to_vec();
            result.swap(axis(*a, shape.len())?, axis(*b, shape.len())?);
            Ok((kind, result))
        }
        Op::Unsqueeze(dim) => {
            let mut result = shape.to_vec();
            result.insert(axis(*dim, shape.len() + 1)?, Dim::Known(1));
            Ok((kind, result))
        }
        Op::Select { dim, index } => {
            let dim = axis(*dim, shape.len())?;
            if let Dim::Known(size) = shape[dim] {
                normalize_axis(*index, usize::try_from(size).unwrap_or(usize::MAX))
                    .map_err(|_| format!("index {index} is outside {size}"))?;
            }
            let mut result = shape.to_vec();
            result.remove(dim);
            Ok((kind, result))
        }
        Op::SliceLike(dim) => {
            let like = inputs[1].1;
            let (dim, length) = (axis(*dim, shape.len())?, like.get(axis(*dim, like.len())?));
            let length = *length.ok_or("has nothing to be as long as")?;
            if let (Dim::Known(has), Dim::Known(wanted)) = (shape[dim], length)
                && has < wanted
            {
                return Err(format!("has {has} of {wanted} wanted"));
            }
            let mut result = shape.to_vec();
            result[dim] = length;
            Ok((kind, result))
        }
        Op::Concat(dim) => {
            let dim = axis(*dim, shape.len())?;
            let mut total = 0u64;
            for (_, part) in inputs {
                let fits = part.len() == shape.len()
                    && part
                        .iter()
                        .zip(shape)
                        .enumerate()
                        .all(|(i, (a, b))| i == dim || a == b);
                let (true, Some(size)) = (fits, part.get(dim).and_then(|size| size.known())) else {
                    return Err(format!("{part:?} does not join {shape:?} on dimension {dim}"));
                };
                total = total.checked_add(size).ok_or("result is too large")?;
            }
            let mut result = shape.to_vec();
            result[dim] = Dim::Known(total);
            Ok((kind, result))
        }
        Op::Permute(dims) => {
            let mut seen = vec![false; shape.len()];
            let mut result = Vec::with_capacity(shape.len());
            for dim in dims {
                let dim = axis(*dim, shape.len())?;
                if std::mem::replace(&mut seen[dim], true) {
                    return Err(format!("dimension {dim} comes twice"));
                }
                result.push(shape[dim]);
            }
            match result.len() == shape.len() {
                true => Ok((kind, result)),
                false => Err(format!("{dims:?} does not order {} dimensions", shape.len())),
            }
        }
        Op::Slice { dim, start, end } => {
            let dim = axis(*dim, shape.len())?;
            let inside = shape[dim].known().is_none_or(|size| *end <= size);
            if start > end || !inside {
                return Err(format!("{start}..{end} does not lie in {}", shape[dim]));
            }
            let mut result = shape.to_vec();
            result[dim] = Dim::Known(end - start);
            Ok((kind, result))
        }
        Op::Expand(sizes) => {
            let wanted: Vec<Dim> = sizes.iter().copied().map(Dim::Known).collect();
            match broadcast(shape, &wanted)? {
                result if result == wanted => Ok((kind, wanted)),
                _ => Err(format!("{shape:?} does not expand to {sizes:?}")),
            }
        }
        Op::Matmul => {
            let ([a_batch @ .., rows, inner], [b_batch @ .., other, columns]) = (shape, inputs[1].1) else {
                return Err("takes matrices".into());
            };
            if !inner.compatible(*other) {
                return Err(format!("{inner} columns times {other} rows"));
            }
            let mut result = broadcast(a_batch, b_batch)?;
            result.extend([*rows, *columns]);
            Ok((kind, result))
        }
        Op::Softmax(dim) | Op::CumSum(dim) => {
            axis(*dim, shape.len())?;
            Ok((kind, shape.to_vec()))
        }
        Op::Reduce { dims, keep, .. } => {
            let dims = dims
                .iter()
                .map(|dim| axis(*dim, shape.len()))
                .collect::<Result<Vec<_>, _>>()?;
            let result = shape
                .iter()
                .enumerate()
                .filter_map(|(index, size)| match dims.contains(&index) {
                    true => keep.then_some(Dim::Known(1)),
                    false => Some(*size),
                });
            Ok((kind, result.collect()))
        }
        Op::Gather(dim) => {
            let dim = axis(*dim, shape.len())?;
            let (index_kind, index) = inputs[1];
            let fits = index_kind == Kind::Int
                && index.len() == shape.len()
                && index
                    .iter()
                    .zip(shape)
                    .enumerate()
                    .all(|(i, (a, b))| i == dim || a == b);
            match fits {
                true => Ok((kind, index.to_vec())),
                false => Err(format!("{index:?} does not gather from {shape:?}")),
            }
        }
        Op::ScaledDotProductAttention { .. } => {
            let (key, value) = (inputs[1].1, inputs[2].1);
            let ([b, h, s, d], [_, _, keys, e], [_, _, values, out]) = (shape, key, value) else {
                return Err("query, key and value must have rank 4".into());
            };
            if !d.compatible(*e) || !keys.compatible(*values) {
                return Err(format!(
                    "query {shape:?}, key {key:?} and value {value:?} don't fit"
                ));
            }
            if let Some((_, mask)) = inputs.get(3) {
                broadcast(mask, &[*b, *h, *s, *keys])?;
            }
            Ok((kind, vec![*b, *h, *s, *out]))
        }
        Op::PaddingMask => match shape {
            [batch, tokens] => Ok((Kind::Float, vec![*batch, Dim::Known(1), Dim::Known(1), *tokens])),
            _ => Err("the mask must have rank 2".into()),
        },
        Op::PositionIds { .. } => match (kind, shape) {
            (Kind::Int, [_, _]) => Ok((Kind::Int, shape.to_vec())),
            _ => Err("token ids must be integers of rank 2".into()),
        },
        Op::MaskTokens => match (shape, inputs[1].1) {
            ([batch, tokens, _], [mask_batch, mask_tokens])
                if (batch, tokens) == (mask_batch, mask_tokens) =>
            {
                Ok((kind, shape.to_vec()))
            }
            (_, mask) => Err(format!("mask of shape {mask:?} for {shape:?}")),
        },
        Op::TokenConvolution { groups } => convolution(kind, inputs, *groups),
        Op::Rotary { heads, .. } => {
            let (_, width) = by_head(shape, *heads)?;
            let angles = [shape[1], Dim::Known(width / 2)];
            if width % 2 != 0 || inputs[1..].iter().any(|(_, table)| *table != angles) {
                return Err(format!(
                    "cosines {:?} and sines {:?} for heads of {width} channels",
                    inputs[1].1, inputs[2].1
                ));
            }
            Ok((kind, shape.to_vec()))
        }
        Op::RelativeScores { heads, .. } => {
            by_head(shape, *heads)?;
            let [batch, Dim::Known(tokens), channels] = shape else {
                return Err("the length must be known".into());
            };
            let table = [Dim::Known(2 * tokens), *channels];
            if inputs[1].1 != table {
                return Err(format!("table of shape {:?}, not {table:?}", inputs[1].1));
            }
            Ok((kind, vec![*batch, Dim::Known(*heads), shape[1], shape[1]]))
        }
        Op::Attention { heads, .. } => {
            by_head(shape, *heads)?;
            if inputs[1].1 != inputs[2].1 {
                return Err("key and value differ in shape".into());
            }
            let scores = [shape[0], Dim::Known(*heads), shape[1], inputs[1].1[1]];
            for (_, term) in &inputs[3..] {
                if term.len() != scores.len() || broadcast(term, &scores)? != scores {
                    return Err(format!("a term of shape {term:?} for scores {scores:?}"));
                }
            }
            Ok((kind, shape.to_vec()))
        }
        Op::Pool(_) => match shape {
            [batch, _, channels] => Ok((kind, vec![*batch, *channels])),
            _ => Err("pools (B, S, C) only".into()),
        },
    }
}

/// Fewest and most arguments.
const fn arity(op: &Op) -> (usize, usize) {
    match op {
        Op::Embedding
        | Op::Add
        | Op::Sub
        | Op::Mul
        | Op::Div
        | Op::Maximum
        | Op::Minimum
        | Op::And
        | Op::Or
        | Op::Compare(_)
        | Op::MaskedFill(_)
        | Op::Matmul
        | Op::Gather(_)
        | Op::SliceLike(_) => (2, 2),
        Op::Where => (3, 3),
        Op::Linear => (2, 3),
        Op::LayerNorm { .. } => (1, 3),
        Op::TokenConvolution { .. } => (2, 3),
        Op::ScaledDotProductAttention { .. } => (3, 4),
        Op::Attention { .. } => (3, usize::MAX),
        Op::Rotary { .. } => (3, 3),
        Op::Pool(_) | Op::MaskTokens | Op::RelativeScores { .. } => (2, 2),
        Op::Concat(_) => (1, usize::MAX),
        _ => (1, 1),
    }
}

/// Channels of (B, S, C) and of one head.
fn by_head(shape: &[Dim], heads: u64) -> Result<(u64, u64), String> {
    let [_, _, Dim::Known(channels)] = shape else {
        return Err("must be (B, S, C)".into());
    };
    match channels.checked_div(heads) {
        Some(width) if channels % heads == 0 => Ok((*channels, width)),
        _ => Err(format!("{channels} channels don't divide into {heads} heads")),
    }
}

/// The result of a convolution over tokens.
fn convolution(kind: Kind, inputs: &[Type<'_>], groups: u64) -> Result<(Kind, Vec<Dim>), String> {
    let (shape, weight) = (inputs[0].1, inputs[1].1);
    let ([batch, tokens, Dim::Known(channels)], [Dim::Known(out), Dim::Known(fan_in), Dim::Known(width)]) =
        (shape, weight)
    else {
        return Err(format!("weight of shape {weight:?} for {shape:?}"));
    };
    let divides = groups != 0 && channels % groups == 0 && out % groups == 0;
    if !divides || channels / groups != *fan_in || width % 2 == 0 {
        return Err(format!(
            "weight of shape {weight:?} in {groups} groups for {channels} channels"
        ));
    }
    if let Some((_, bias)) = inputs.get(2)
        && *bias != [Dim::Known(*out)]
    {
        return Err(format!("bias has shape {bias:?}, not [{out}]"));
    }
    Ok((kind, vec![*batch, *tokens, Dim::Known(*out)]))
}

/// The shape `sizes` asks for: a 0 is the size that stands there, a −1 takes what is left. Symbols cancel out one
/// for one; one symbol alone may be what is left.
fn view(shape: &[Dim], sizes: &[i64]) -> Result<Vec<Dim>, String> {
    let refuse = || format!("{shape:?} has no view {sizes:?}");
    let mut result = Vec::with_capacity(sizes.len());
    for (axis, size) in sizes.iter().enumerate() {
        result.push(match size {
            -1 => None,
            0 => Some(*shape.get(axis).ok_or_else(refuse)?),
            size => Some(Dim::Known(u64::try_from(*size).map_err(|_| refuse())?)),
        });
    }
    let mut left: Vec<Dim> = shape
        .iter()
        .copied()
        .filter(|dim| dim.known().is_none())
        .collect();
    for symbol in result.iter().flatten().filter(|dim| dim.known().is_none()) {
        let position = left.iter().position(|other| other == symbol);
        left.remove(position.ok_or_else(refuse)?);
    }
    let product = |dims: &mut dyn Iterator<Item = Dim>| {
        dims.filter_map(|dim| dim.known())
            .try_fold(1u64, u64::checked_mul)
            .ok_or("too large")
    };
    let total = product(&mut shape.iter().copied())?;
    let known = product(&mut result.iter().flatten().copied())?;
    let rest = match (
        result.iter().filter(|dim| dim.is_none()).count(),
        &left[..],
        known,
    ) {
        (0, [], _) if known == total => None,
        (1, [], 1..) if total.is_multiple_of(known) => Some(Dim::Known(total / known)),
        (1, [symbol], _) if known == total => Some(*symbol),
        _ => return Err(refuse()),
    };
    Ok(result.into_iter().filter_map(|dim| dim.or(rest)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: Dim = Dim::Symbol(0);
    const S: Dim = Dim::Symbol(1);

    fn known<const N: usize>(sizes: [u64; N]) -> Vec<Dim> {
        sizes.map(Dim::Known).to_vec()
    }

    #[test]
    fn views_of_known_sizes_take_what_is_left() {
        let shape = known([2, 6, 8]);
        assert_eq!(view(&shape, &[2, 6, 4, 2]), Ok(known([2, 6, 4, 2])));
        assert_eq!(view(&shape, &[2, -1, 4]), Ok(known([2, 12, 4])));
        assert_eq!(view(&shape, &[0, 0, -1, 2]), Ok(known([2, 6, 4, 2])));
        for sizes in [&[2, 6, 7][..], &[-1, -1, 8], &[5, -1], &[-2, -48], &[2, 6, 8, 0]] {
            assert!(view(&shape, sizes).is_err(), "{sizes:?}");
        }
    }

    #[test]
    fn symbols_stay_where_they_are_or_are_what_is_left() {
        let shape = [B, S, Dim::Known(8)];
        assert_eq!(
            view(&shape, &[0, 0, 4, 2]),
            Ok(vec![B, S, Dim::Known(4), Dim::Known(2)])
        );
        assert_eq!(
            view(&shape, &[0, -1, 4, 2]),
            Ok(vec![B, S, Dim::Known(4), Dim::Known(2)])
        );
        assert_eq!(
            view(&[Dim::Known(1), S, Dim::Known(8)], &[1, -1, 8]),
            Ok(vec![Dim::Known(1), S, Dim::Known(8)])
        );
        // Neither the product of two symbols nor a multiple of one is a dimension the graph can name.
        for sizes in [&[-1, 8][..], &[0, -1, 4], &[0, 7, 8], &[0, 0, 4]] {
            assert!(view(&shape, sizes).is_err(), "{sizes:?}");
        }
    }

    #[test]
    fn slices_are_as_long_as_their_model() {
        let table = known([1, 128, 8]);
        let slice = |like: &[Dim]| infer(&Op::SliceLike(1), &[(Kind::Float, &table), (Kind::Int, like)]);
        assert_eq!(
            slice(&[B, S]),
            Ok((Kind::Float, vec![Dim::Known(1), S, Dim::Known(8)]))
        );
        assert_eq!(slice(&known([2, 64])), Ok((Kind::Float, known([1, 64, 8]))));
        assert!(slice(&known([2, 129])).is_err());
        assert!(slice(&known([2])).is_err());
    }
}
