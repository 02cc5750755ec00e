//! Layers both layouts write with the same operations, over another axis.

use corer_mil::{Dim, Input, Value, Var};

use super::emit::{Emit, NEVER_ATTEND};
use crate::error::ConvertError;
use crate::graph::{Node, Op, PoolKind};

impl Emit<'_> {
    /// `layer_norm` over one axis; weights and epsilon in the working precision (rule D2).
    pub(super) fn layer_norm(
        &mut self,
        node: &Node,
        x: &Var,
        axis: i32,
        epsilon: f64,
    ) -> Result<Var, ConvertError> {
        let mut inputs = vec![("x", Input::from(x)), ("axes", Value::i32s(&[axis]).into())];
        for (name, id) in ["gamma", "beta"].into_iter().zip(node.inputs.iter().skip(1)) {
            inputs.push((name, (&self.named_weight(node, *id, None)?).into()));
        }
        inputs.push(("epsilon", self.epsilon(epsilon)));
        self.op("layer_norm", &node.scope, inputs)
    }

    /// `linear` over the last axis.
    pub(super) fn linear(&mut self, node: &Node, x: &Var) -> Result<Var, ConvertError> {
        let weight = self.named_weight(node, node.inputs[1], None)?;
        let mut inputs = vec![("x", Input::from(x)), ("weight", (&weight).into())];
        if let Some(bias) = node.inputs.get(2) {
            let bias = self.named_weight(node, *bias, None)?;
            inputs.push(("bias", (&bias).into()));
        }
        self.op("linear", &node.scope, inputs)
    }

    /// Zeroes the vectors of masked tokens; dimensions of size 1 inserted at `mask_axes` let the (B, S) mask
    /// broadcast to `x`.
    pub(super) fn mask_tokens(
        &mut self,
        node: &Node,
        x: &Var,
        mask_axes: &[i32],
    ) -> Result<Var, ConvertError> {
        let mask = self.float_mask(node, node.inputs[1])?;
        let mask = self.expand(&format!("{}_mask", node.scope), &mask, mask_axes)?;
        self.binary("mul", &node.scope, x, &mask)
    }

    /// A convolution over the last axis of `x`, zeros beside its ends. `weight_shape` is that of the kernel,
    /// which has as many axes as `x`.
    pub(super) fn convolution(
        &mut self,
        node: &Node,
        name: &str,
        x: &Var,
        weight_shape: Vec<u64>,
        groups: u64,
    ) -> Result<Var, ConvertError> {
        let spatial = weight_shape.len() - 2;
        let at = |size: u64| i32::try_from(size).unwrap_or(i32::MAX);
        let beside = at(weight_shape.last().copied().unwrap_or(1) / 2);
        let mut pad = vec![0; 2 * spatial];
        pad[2 * spatial - 2..].fill(beside);
        let weight = self.named_weight(node, node.inputs[1], Some(weight_shape))?;
        let mut inputs = vec![("x", Input::from(x)), ("weight", (&weight).into())];
        if let Some(bias) = node.inputs.get(2) {
            let bias = self.named_weight(node, *bias, None)?;
            inputs.push(("bias", (&bias).into()));
        }
        let pad_type = if beside == 0 { "valid" } else { "custom" };
        inputs.extend([
            ("strides", Value::i32s(&vec![1; spatial]).into()),
            ("pad_type", Value::string(pad_type).into()),
            ("pad", Value::i32s(&pad).into()),
            ("dilations", Value::i32s(&vec![1; spatial]).into()),
            ("groups", Value::i32(at(groups)).into()),
        ]);
        self.op("conv", name, inputs)
    }

    /// Turns the two halves of one axis by angles: `x · cos + swapped(x) · sin`, the sines of the first half
    /// negative, where `swapped` exchanges the halves. The tables broadcast to `x`.
    pub(super) fn rotary(
        &mut self,
        name: &str,
        x: &Var,
        axis: i32,
        cos: &Var,
        sin: &Var,
    ) -> Result<Var, ConvertError> {
        let inputs = vec![
            ("x", Input::from(x)),
            ("num_splits", Value::i32(2).into()),
            ("axis", Value::i32(axis).into()),
        ];
        let mut halves = self.builder.ops("split", &format!("{name}_halves"), inputs)?;
        halves.reverse();
        let swapped = self.concat(&format!("{name}_swapped"), halves, axis)?;
        let kept = self.binary("mul", &format!("{name}_cos"), x, cos)?;
        let turned = self.binary("mul", &format!("{name}_sin"), &swapped, sin)?;
        self.binary("add", name, &kept, &turned)
    }

    /// Moves scores by relative position to their places: (B, heads, S, 2S) at (i, S + j − i) to (B, heads, S, S)
    /// at (i, j).
    ///
    /// Seen as 2S rows of S, the first row dropped, and then as S rows of 2S − 1, each row has moved by one more
    /// than the row above: two views and two cuts instead of a gather with S² indices per head. Nothing is cut
    /// along the last axis but from its start (rule N5), and no axis is longer than 2S (rule S2).
    pub(super) fn relative_shift(
        &mut self,
        name: &str,
        scores: &Var,
        (batch, heads, tokens): (Dim, u64, u64),
    ) -> Result<Var, ConvertError> {
        let step = |what: &str| format!("{name}_{what}");
        let shape =
            |rows: u64, columns: u64| [batch, Dim::Known(heads), Dim::Known(rows), Dim::Known(columns)];
        let folded = self.reshape(&step("folded"), scores, &shape(2 * tokens, tokens))?;
        let shifted = self.slice(&step("shifted"), &folded, 2, 1, 2 * tokens)?;
        let rows = self.reshape(&step("rows"), &shifted, &shape(tokens, 2 * tokens - 1))?;
        self.slice(&step("aligned"), &rows, 3, 0, tokens)
    }

    /// An elementwise non-linearity; `None` when the node is none.
    pub(super) fn activation(&mut self, node: &Node, x: &Var) -> Option<Result<Var, ConvertError>> {
        let mut inputs = vec![("x", Input::from(x))];
        let op = match node.op {
            Op::Tanh => "tanh",
            Op::Relu => "relu",
            Op::Silu => "silu",
            Op::Sigmoid => "sigmoid",
            Op::Gelu { tanh } => {
                let mode = if tanh { "TANH_APPROXIMATION" } else { "EXACT" };
                inputs.push(("mode", Value::string(mode).into()));
                "gelu"
            }
            _ => return None,
        };
        Some(self.op(op, &node.scope, inputs))
    }

    /// Joins values along one axis.
    pub(super) fn concat(&mut self, name: &str, parts: Vec<Var>, axis: i32) -> Result<Var, ConvertError> {
        let inputs = vec![
            ("values", Input::Vars(parts)),
            ("axis", Value::i32(axis).into()),
            ("interleave", Value::bool(false).into()),
        ];
        self.op("concat", name, inputs)
    }

    /// Probabilities along one axis.
    pub(super) fn softmax(&mut self, name: &str, x: &Var, axis: i32) -> Result<Var, ConvertError> {
        self.op(
            "softmax",
            name,
            vec![("x", x.into()), ("axis", Value::i32(axis).into())],
        )
    }

    /// A product of the last two axes, either side transposed.
    pub(super) fn matmul(
        &mut self,
        name: &str,
        (x, transpose_x): (&Var, bool),
        (y, transpose_y): (&Var, bool),
    ) -> Result<Var, ConvertError> {
        let inputs = vec![
            ("x", Input::from(x)),
            ("y", y.into()),
            ("transpose_x", Value::bool(transpose_x).into()),
            ("transpose_y", Value::bool(transpose_y).into()),
        ];
        self.op("matmul", name, inputs)
    }

    /// Pools the token axis of `x`, which stays with size 1; dimensions of size 1 inserted at `mask_axes` let the
    /// (B, S) mask broadcast to `x`.
    /// Not for [`PoolKind::Cls`], which is a cut.
    pub(super) fn pool(
        &mut self,
        node: &Node,
        name: &str,
        kind: PoolKind,
        x: &Var,
        (mask_axes, axis): (&[i32], i32),
    ) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let mask = self.float_mask(node, node.inputs[1])?;
        let mask = self.expand(&format!("{scope}_mask"), &mask, mask_axes)?;
        if kind == PoolKind::Max {
            let less = self.binary("sub", &format!("{scope}_less_one"), &mask, self.scalar(1.0))?;
            let below = self.binary("mul", &format!("{scope}_below"), &less, self.scalar(NEVER_ATTEND))?;
            let masked = self.binary("add", &format!("{scope}_masked"), x, &below)?;
            return self.reduce("reduce_max", name, &masked, axis);
        }
        let masked = self.binary("mul", &format!("{scope}_masked"), x, &mask)?;
        let sum = self.reduce("reduce_sum", &format!("{scope}_sum"), &masked, axis)?;
        let count = self.reduce("reduce_sum", &format!("{scope}_count"), &mask, axis)?;
        // Counts are whole, so at least one is the same as PyTorch's floor of 1e-9, and nothing divides by zero.
        let mut count = self.binary(
            "maximum",
            &format!("{scope}_count_floor"),
            &count,
            self.scalar(1.0),
        )?;
        if kind == PoolKind::MeanSqrtLength {
            count = self.op(
                "sqrt",
                &format!("{scope}_count_root"),
                vec![("x", (&count).into())],
            )?;
        }
        self.binary("real_div", name, &sum, &count)
    }

    /// Divides by the Euclidean norm along one axis.
    pub(super) fn normalize(
        &mut self,
        node: &Node,
        x: &Var,
        axis: i32,
        epsilon: f64,
    ) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let norm = self.reduce("reduce_l2_norm", &format!("{scope}_norm"), x, axis)?;
        let floor = self.norm_floor(epsilon);
        let norm = self.binary("maximum", &format!("{scope}_norm_floor"), &norm, floor)?;
        self.binary("real_div", scope, x, &norm)
    }
}
