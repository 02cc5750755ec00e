//! Layers both layouts write with the same operations, over another axis.

use corer_mil::{Input, Value, Var};

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
