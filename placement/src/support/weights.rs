//! Compressed weights: which forms keep the product that reads them off the Neural Engine.

use corer_mil::Operation;

use crate::graph::{Graph, Node};
use crate::rules::Rule;

use super::Reason;

/// Adds what an operation's compressed weights speak against.
pub(super) fn check(graph: &Graph<'_>, node: &Node<'_>, reasons: &mut Vec<Reason>) {
    let Some(parameter) = weight_parameter(node) else {
        return;
    };
    let Some(weight) = node.operand(parameter) else {
        return;
    };
    let Some(input_axis) = input_axis(node, weight.ty.map_or(0, corer_mil::TensorType::rank)) else {
        return;
    };
    let recipe = graph.recipe(weight);
    if recipe
        .iter()
        .any(|maker| is_split_along(graph, maker, input_axis))
    {
        reasons.push(
            Reason::new(Rule::W6, "scales for blocks of input channels")
                .fix("one scale for each output channel (`corer quantize --weights int4` or `int8`), or a palette (`lut4`)"),
        );
    }
    let has = |op: &str| recipe.iter().any(|maker| maker.op == op);
    if has("constexpr_lut_to_dense")
        && recipe
            .first()
            .is_some_and(|last| last.op == "constexpr_blockwise_shift_scale")
    {
        reasons.push(
            Reason::new(Rule::W8, "a palette with scales applied before the product")
                .fix("a palette without scales (`corer quantize --weights lut4`)"),
        );
    }
}

fn weight_parameter(node: &Node<'_>) -> Option<&'static str> {
    match node.operation.op.as_str() {
        "conv" | "conv_transpose" | "linear" => Some("weight"),
        "matmul" => Some("y"),
        _ => None,
    }
}

/// The axis of the weight that is summed over.
fn input_axis(node: &Node<'_>, rank: usize) -> Option<usize> {
    match node.operation.op.as_str() {
        "conv" | "linear" => Some(1),
        "conv_transpose" => Some(0),
        _ => {
            let transposed = node
                .operand("transpose_y")
                .and_then(|operand| operand.value?.as_bool())
                .unwrap_or(false);
            rank.checked_sub(if transposed { 1 } else { 2 })
        }
    }
}

/// Whether scales differ along an axis.
fn is_split_along(graph: &Graph<'_>, maker: &Operation, axis: usize) -> bool {
    match maker.op.as_str() {
        "constexpr_blockwise_shift_scale" | "constexpr_sparse_blockwise_shift_scale" => {
            let scale = maker.inputs.get("scale").and_then(|bindings| bindings.first());
            let ty = match scale {
                Some(corer_mil::Binding::Value(value)) => value.tensor_type(),
                Some(corer_mil::Binding::Name(name)) => graph.tensor(name),
                None => None,
            };
            ty.and_then(|ty| ty.shape.get(axis)?.known())
                .is_some_and(|blocks| blocks > 1)
        }
        // The form of iOS 16 has one axis along which scales differ, if they differ.
        "constexpr_affine_dequantize" => {
            let is_vector = maker
                .attributes
                .get("scale")
                .and_then(corer_mil::Value::tensor_type)
                .is_some_and(|ty| ty.rank() > 0);
            let along = maker.attributes.get("axis").and_then(corer_mil::Value::as_int);
            is_vector && along == i64::try_from(axis).ok()
        }
        _ => false,
    }
}
