//! Ranks, axis lengths, and sizes known only at prediction.

use corer_mil::TensorType;

use crate::chip::{Chip, LONGEST_CHANNEL_AXIS};
use crate::graph::Node;
use crate::rules::Rule;

use super::{Reason, Sizes};

/// Most dimensions a tensor may have (rule S1).
const HIGHEST_RANK: usize = 5;

/// Adds what an operation's shapes speak against.
pub(super) fn check(node: &Node<'_>, chip: &Chip, sizes: Sizes, reasons: &mut Vec<Reason>) {
    let tensors: Vec<&TensorType> = node
        .results()
        .chain(node.moving().filter_map(|operand| operand.ty))
        .collect();
    if let Some(rank) = tensors
        .iter()
        .map(|ty| ty.rank())
        .find(|rank| *rank > HIGHEST_RANK)
    {
        reasons.push(Reason::new(Rule::S1, format!("a tensor of {rank} dimensions")));
    }
    if let Some(reason) = tensors.iter().find_map(|ty| too_long(ty, chip)) {
        reasons.push(reason);
    }
    if let Some(length) = contraction(node)
        && length > chip.family.longest_contraction()
    {
        let most = chip.family.longest_contraction();
        let rule = if most == 16_384 { Rule::S2 } else { Rule::S3 };
        reasons.push(
            Reason::new(
                rule,
                format!("sums of {length} products, {most} at most on {}", chip.name),
            )
            .fix("split the product along the channels it sums over"),
        );
    }
    let open = tensors.iter().any(|ty| ty.known_shape().is_none());
    if open && sizes != Sizes::Enumerated {
        reasons.push(
            Reason::new(Rule::S9, "sizes known only at prediction")
                .fix("convert for fixed lengths, one function for each (`--sequence-length 64,128`)"),
        );
    }
    let computed = node
        .moving()
        .find(|operand| matches!(operand.parameter, "shape" | "begin" | "end" | "size" | "reps"));
    if let Some(operand) = computed {
        reasons.push(
            Reason::new(
                Rule::S14,
                format!("`{}` is computed at prediction", operand.parameter),
            )
            .fix("convert for fixed lengths, one function for each (`--sequence-length 64,128`)"),
        );
    }
}

/// The reason why some axis is too long: the second of four dimensions is the channel axis, the last ones are spatial.
fn too_long(ty: &TensorType, chip: &Chip) -> Option<Reason> {
    let spatial = chip.family.longest_spatial_axis();
    let rank = ty.rank();
    ty.shape.iter().enumerate().find_map(|(axis, dim)| {
        let length = dim.known()?;
        let is_spatial = match rank {
            4.. => axis >= 2,
            _ => axis + 1 == rank,
        };
        let most = if is_spatial { spatial } else { LONGEST_CHANNEL_AXIS };
        (length > most).then(|| {
            Reason::new(
                Rule::S2,
                format!("axis {axis} is {length} long, {most} at most on {}", chip.name),
            )
            .fix("split the tensor along that axis, or leave the operation outside the model")
        })
    })
}

/// How many products one element of the result sums up, for the operations that are such sums.
pub(crate) fn contraction(node: &Node<'_>) -> Option<u64> {
    match node.operation.op.as_str() {
        "conv" => {
            let weight = node.operand("weight")?.ty?.known_shape()?;
            weight
                .get(1..)?
                .iter()
                .try_fold(1u64, |product, dim| product.checked_mul(*dim))
        }
        "linear" => node.operand("weight")?.ty?.known_shape()?.get(1).copied(),
        "matmul" => {
            let shape = node.operand("x")?.ty?.known_shape()?;
            let transposed = node
                .operand("transpose_x")
                .and_then(|operand| operand.value?.as_bool())
                .unwrap_or(false);
            let back = if transposed { 2 } else { 1 };
            shape
                .len()
                .checked_sub(back)
                .and_then(|axis| shape.get(axis))
                .copied()
        }
        // MIL's einsum sums over the last dimension of its first argument.
        "einsum" => node.operand("values")?.ty?.known_shape()?.last().copied(),
        _ => None,
    }
}
