//! Which lowering belongs to which operation.

use corer_mil::ops::Call;

use super::{
    Unary, attention, binary, cast, classify, conv, cumulative, einsum, gather, generate, join, linear,
    matmul, norm, order, quantize, reduce, shape, slice, softmax, unary,
};
use crate::plan::{Emit, Op, Reason};
use crate::view::View;

/// Writes an operation's steps and gives its results.
pub(crate) type Lower = fn(&Op<'_>, &mut Emit<'_>) -> Result<Vec<View>, Reason>;

/// The lowering of an operation; none for `const` and `constexpr_*`, which are decoded, and for operations this
/// engine does not execute.
pub(crate) fn lowering(op: &str) -> Option<Lower> {
    Some(match op {
        "abs" | "acos" | "asin" | "atan" | "atanh" | "ceil" | "clamped_relu" | "clip" | "cos" | "cosh"
        | "elu" | "erf" | "exp" | "exp2" | "floor" | "gelu" | "inverse" | "leaky_relu"
        | "linear_activation" | "log" | "logical_not" | "relu" | "relu6" | "round" | "rsqrt"
        | "scaled_tanh" | "sigmoid" | "sigmoid_hard" | "sign" | "silu" | "sin" | "sinh" | "softplus"
        | "softsign" | "sqrt" | "square" | "tan" | "tanh" | "threshold" | "thresholded_relu" => unary::lower,
        "prelu" | "softplus_parametric" => unary::lower_by_channel,
        "add" | "real_div" | "floor_div" | "maximum" | "minimum" | "mod" | "mul" | "pow" | "sub"
        | "equal" | "greater" | "greater_equal" | "less" | "less_equal" | "not_equal" | "logical_and"
        | "logical_or" | "logical_xor" => binary::lower,
        "select" => binary::lower_select,
        "cast" => cast::lower,
        "softmax" => softmax::lower,
        "layer_norm" => norm::lower_layer,
        "instance_norm" => norm::lower_instance,
        "l2_norm" => norm::lower_l2,
        "batch_norm" => norm::lower_batch,
        "linear" => linear::lower,
        "matmul" => matmul::lower,
        "einsum" => einsum::lower,
        "scaled_dot_product_attention" => attention::lower,
        "conv" => conv::lower,
        "reduce_argmax" | "reduce_argmin" | "reduce_l1_norm" | "reduce_l2_norm" | "reduce_log_sum"
        | "reduce_log_sum_exp" | "reduce_max" | "reduce_mean" | "reduce_min" | "reduce_prod"
        | "reduce_sum" | "reduce_sum_square" => reduce::lower,
        "gather" => gather::lower,
        "gather_along_axis" => gather::lower_along_axis,
        "gather_nd" => gather::lower_nd,
        "reshape" | "expand_dims" | "squeeze" | "flatten2d" => shape::lower_reshape,
        "transpose" => shape::lower_transpose,
        "reverse" => shape::lower_reverse,
        "shape" => shape::lower_shape,
        "identity" => shape::lower_identity,
        "slice_by_index" => slice::lower_by_index,
        "slice_by_size" => slice::lower_by_size,
        "concat" => join::lower_concat,
        "stack" => join::lower_stack,
        "split" => join::lower_split,
        "tile" => join::lower_tile,
        "pad" => join::lower_pad,
        "fill" | "fill_like" => generate::lower_fill,
        "range_1d" => generate::lower_range,
        "one_hot" => generate::lower_one_hot,
        "band_part" => generate::lower_band_part,
        "cumsum" => cumulative::lower,
        "topk" => order::lower_topk,
        "argsort" => order::lower_argsort,
        "quantize" | "dequantize" => quantize::lower,
        "classify" => classify::lower,
        _ => return None,
    })
}

/// The function of one number an operation is, where a product before it may apply it to its rows while they are
/// in cache. Functions that call out are left to themselves.
pub(crate) fn activation_of(call: &Call<'_>) -> Option<Unary> {
    match unary::parse(call).ok()?? {
        Unary::Exact(_) | Unary::Exp2 | Unary::Log(_) | Unary::Softplus | Unary::Elu(_) => None,
        function => Some(function),
    }
}

/// Parameters whose values shapes depend on, so that a plan needs them.
pub(crate) fn planned_parameters(op: &str) -> &'static [&'static str] {
    match op {
        "reshape" | "fill" => &["shape"],
        "slice_by_index" => &["begin", "end"],
        "slice_by_size" => &["begin", "size"],
        "tile" => &["reps"],
        "pad" => &["pad"],
        "range_1d" => &["end", "start", "step"],
        "one_hot" => &["one_hot_vector_size"],
        _ => &[],
    }
}
