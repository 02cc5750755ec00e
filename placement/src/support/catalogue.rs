//! Which operations the Neural Engine has: as listed for M4 by the system's own planner, and for M1 by others.

use crate::chip::{Chip, Family};
use crate::graph::Node;
use crate::rules::Rule;

use super::Reason;

/// The rule by which an operation runs, `None` where none is about it.
///
/// # Errors
/// The reason why the operation as such can't run there.
pub(super) fn listed(node: &Node<'_>, chip: &Chip) -> Result<Option<Rule>, Reason> {
    let op = node.operation.op.as_str();
    if !node.operation.blocks.is_empty() {
        return Err(Reason::new(Rule::O16, format!("`{op}` is control flow")));
    }
    let rule = match op {
        "conv" | "conv_transpose" => {
            kernel(node, chip)?;
            Rule::O1
        }
        "linear" | "matmul" => Rule::O2,
        "einsum" => Rule::O3,
        "scaled_dot_product_attention" => Rule::O4,
        "softmax" => Rule::O5,
        "layer_norm" | "instance_norm" | "batch_norm" | "l2_norm" | "local_response_norm" => Rule::O6,
        "gelu"
        | "erf"
        | "tanh"
        | "sigmoid"
        | "silu"
        | "relu"
        | "relu6"
        | "leaky_relu"
        | "prelu"
        | "elu"
        | "softplus"
        | "softsign"
        | "sigmoid_hard"
        | "clamped_relu"
        | "linear_activation"
        | "thresholded_relu"
        | "scaled_tanh"
        | "softplus_parametric" => Rule::O7,
        "add" | "sub" | "mul" | "real_div" | "floor_div" | "maximum" | "minimum" | "pow" | "clip" | "abs"
        | "exp" | "exp2" | "log" | "sqrt" | "rsqrt" | "inverse" | "square" | "sin" | "cos" | "atan"
        | "floor" | "ceil" | "round" | "sign" | "threshold" => Rule::O8,
        "reduce_mean" | "reduce_sum" | "reduce_max" | "reduce_min" | "reduce_l1_norm" | "reduce_l2_norm"
        | "reduce_sum_square" | "reduce_log_sum" | "reduce_log_sum_exp" => Rule::O9,
        "avg_pool" | "max_pool" | "l2_pool" => Rule::O9,
        "reduce_prod" | "cumsum" => {
            return Err(Reason::new(
                Rule::O9,
                format!("`{op}` is not among its reductions"),
            ));
        }
        "reduce_argmax" | "reduce_argmin" | "argsort" => {
            return Err(
                Reason::new(Rule::O10, format!("`{op}` gives indices")).fix("do it outside the model")
            );
        }
        "topk" => match chip.family {
            Family::A16 => Rule::O11,
            _ => {
                return Err(Reason::new(
                    Rule::O11,
                    format!("`topk` is refused on {}", chip.name),
                ));
            }
        },
        "reshape" | "transpose" | "expand_dims" | "squeeze" | "concat" | "split" | "stack" | "tile"
        | "pad" | "slice_by_index" | "slice_by_size" | "reverse" | "identity" | "space_to_depth"
        | "depth_to_space" | "pixel_shuffle" | "pixel_unshuffle" => Rule::O12,
        "gather" => match node.operand("indices") {
            Some(indices) if !indices.fixed => return Err(lookup(op)),
            _ => Rule::O13,
        },
        "gather_nd" | "gather_along_axis" => match node.operand("indices") {
            Some(indices) if !indices.fixed => {
                return Err(Reason::new(
                    Rule::D7,
                    format!("`{op}` with indices computed at prediction"),
                ));
            }
            _ => Rule::O13,
        },
        "select" | "equal" | "not_equal" | "greater" | "greater_equal" | "less" | "less_equal"
        | "logical_and" | "logical_or" | "logical_not" | "logical_xor" => Rule::O14,
        "cast" => Rule::O15,
        "quantize" | "dequantize" => Rule::O18,
        "shape" | "reshape_like" => {
            return Err(
                Reason::new(Rule::S14, format!("`{op}` reads a size at prediction"))
                    .fix("convert for fixed sizes, one function for each"),
            );
        }
        "band_part" | "one_hot" | "range_1d" | "non_zero" | "fill" | "fill_like" | "cond" | "while_loop"
        | "lstm" | "gru" | "rnn" | "custom_layer" | "sliding_windows" | "crop_resize" | "asin" | "acos"
        | "tan" | "sinh" | "cosh" | "atanh" | "mod" | "classify" | "list_gather" | "list_read"
        | "list_write" | "list_scatter" | "make_list" | "list_length" => {
            return Err(
                Reason::new(Rule::O16, format!("`{op}` is not among its operations"))
                    .fix("compute it before the model, or put constants in its place"),
            );
        }
        _ if op.starts_with("scatter") || op.starts_with("random_") => {
            return Err(Reason::new(
                Rule::O16,
                format!("`{op}` is not among its operations"),
            ));
        }
        _ => return Ok(None),
    };
    Ok(Some(rule))
}

fn lookup(op: &str) -> Reason {
    Reason::new(Rule::D6, format!("`{op}` with indices that come with the input"))
}

/// Kernel sizes of a convolution.
fn kernel(node: &Node<'_>, chip: &Chip) -> Result<(), Reason> {
    const LARGEST_SQUARE: u64 = 16;
    let Some(shape) = node.operand("weight").and_then(|weight| weight.ty?.known_shape()) else {
        return Ok(());
    };
    let widest = chip.family.widest_kernel();
    let fits = match shape.get(2..) {
        Some([height, width]) if height == width => *width <= LARGEST_SQUARE,
        Some([.., width]) => *width <= widest,
        _ => true,
    };
    if fits {
        return Ok(());
    }
    Err(Reason::new(
        Rule::O1,
        format!(
            "a kernel of {:?}, where {widest} is the widest and {LARGEST_SQUARE} the largest square",
            &shape[2..]
        ),
    ))
}
