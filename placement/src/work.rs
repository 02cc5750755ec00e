//! What an operation has to do: arithmetic, weights to read, activations to read and write.

use corer_mil::{DataType, TensorType};
use serde::Serialize;

use crate::graph::{Graph, Node, Operand};

/// The work of one operation, or of several.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Work {
    /// Multiplications and additions of products and convolutions; other operations count none.
    pub flops: u64,
    /// Bytes of constants as stored in the package; of a table that is looked up in, the rows that are read.
    pub weight_bytes: u64,
    /// The same with weights of 8 bits made fp16 (rule W5).
    pub folded_weight_bytes: u64,
    /// Those of [`Self::flops`] that multiply int8 by int8.
    pub int8_flops: u64,
    /// Bytes of what is computed before and read, and of what is written.
    pub activation_bytes: u64,
}

impl Work {
    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            flops: self.flops.saturating_add(other.flops),
            weight_bytes: self.weight_bytes.saturating_add(other.weight_bytes),
            folded_weight_bytes: self.folded_weight_bytes.saturating_add(other.folded_weight_bytes),
            int8_flops: self.int8_flops.saturating_add(other.int8_flops),
            activation_bytes: self.activation_bytes.saturating_add(other.activation_bytes),
        }
    }
}

/// The work of one operation; `None` when one of its sizes is known only at prediction.
pub fn work(graph: &Graph<'_>, node: &Node<'_>) -> Option<Work> {
    let written = node
        .results()
        .try_fold(0u64, |sum, ty| Some(sum.saturating_add(ty.byte_len()?)))?;
    let looked_up = node.operation.op.starts_with("gather");
    let mut read = 0u64;
    for operand in node.moving() {
        if let Some(ty) = operand.ty {
            read = read.saturating_add(ty.byte_len()?);
        }
    }
    let (mut weight_bytes, mut folded_weight_bytes) = (0u64, 0u64);
    for operand in node.weights() {
        let stored = graph.stored_bytes(operand);
        let elements = operand.ty.and_then(TensorType::element_count).unwrap_or(0);
        let folded = if is_scaled(graph, operand) {
            stored.max(elements.saturating_mul(2))
        } else {
            stored
        };
        // A lookup reads the rows it gives.
        let most = if looked_up { written } else { u64::MAX };
        weight_bytes = weight_bytes.saturating_add(stored.min(most));
        folded_weight_bytes = folded_weight_bytes.saturating_add(folded.min(most));
    }
    let flops = flops(node)?;
    Some(Work {
        flops,
        int8_flops: if is_int8(graph, node) { flops } else { 0 },
        weight_bytes,
        folded_weight_bytes,
        activation_bytes: read.saturating_add(written),
    })
}

/// Whether a weight is stored as integers with scales, and neither as a palette nor sparse.
fn is_scaled(graph: &Graph<'_>, operand: &Operand<'_>) -> bool {
    let recipe = graph.recipe(operand);
    !recipe.is_empty()
        && recipe.iter().all(|maker| {
            matches!(
                maker.op.as_str(),
                "constexpr_affine_dequantize" | "constexpr_blockwise_shift_scale"
            )
        })
}

fn flops(node: &Node<'_>) -> Option<u64> {
    let result = node.result();
    let products = match node.operation.op.as_str() {
        "conv" | "linear" | "matmul" | "einsum" => {
            let length = crate::support::contraction(node)?;
            result?.element_count()?.checked_mul(length)?
        }
        "conv_transpose" => {
            let weight = node.operand("weight")?.ty?.known_shape()?;
            let kernel = weight
                .get(1..)?
                .iter()
                .try_fold(1u64, |product, dim| product.checked_mul(*dim))?;
            node.operand("x")?.ty?.element_count()?.checked_mul(kernel)?
        }
        "scaled_dot_product_attention" => {
            // Scores: every query with every key; then every probability with every value.
            let query = node.operand("query")?.ty?;
            let keys = rows(node.operand("key")?)?;
            let values = node.operand("value")?.ty?.known_shape()?.last().copied()?;
            let queries = query.element_count()?;
            let scores = queries.checked_mul(keys)?;
            let width = query.known_shape()?.last().copied()?;
            scores.checked_add(
                queries
                    .checked_div(width)?
                    .checked_mul(keys)?
                    .checked_mul(values)?,
            )?
        }
        _ => 0,
    };
    products.checked_mul(2)
}

fn rows(operand: &Operand<'_>) -> Option<u64> {
    let shape = operand.ty?.known_shape()?;
    shape.len().checked_sub(2).map(|axis| shape[axis])
}

/// Bytes the segmenter counts for an operation that is priced by its size: tensors read and written, terms included.
pub(crate) fn moved_bytes(work: &Work) -> u64 {
    work.activation_bytes.saturating_add(work.weight_bytes)
}

/// Whether the operation multiplies activations that were int8.
fn is_int8(graph: &Graph<'_>, node: &Node<'_>) -> bool {
    let from_int8 = |operand: &Operand<'_>| {
        graph.producer(operand).is_some_and(|producer| {
            let producer = &graph.nodes[producer];
            producer.operation.op == "dequantize"
                && producer
                    .operand("input")
                    .and_then(|input| input.ty)
                    .is_some_and(|ty| matches!(ty.dtype, DataType::Int8 | DataType::UInt8))
        })
    };
    node.operand("x").is_some_and(from_int8)
}
