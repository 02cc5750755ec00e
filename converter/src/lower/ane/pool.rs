//! Pooling and normalising sentence vectors in (B, C, 1, S).

use corer_mil::Var;

use super::Ane;
use crate::error::ConvertError;
use crate::graph::{Node, PoolKind};
use crate::lower::emit::{NEVER_ATTEND, known_shape};

impl Ane<'_> {
    /// Pools (B, C, 1, S) to (B, C, 1, 1).
    pub(super) fn pool(&mut self, node: &Node, kind: PoolKind) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let x = self.channels_first(node, node.inputs[0])?;
        if kind == PoolKind::Cls {
            return self.emit.slice(scope, &x, 3, 0, 1);
        }
        let shape = known_shape(self.emit.graph, node, node.inputs[1])?;
        let mask = self.emit.float_mask(node, node.inputs[1])?;
        let mask = self.emit.reshape(&format!("{scope}_mask"), &mask, &[shape[0], 1, 1, shape[1]])?;
        if kind == PoolKind::Max {
            let less = self.emit.binary("sub", &format!("{scope}_less_one"), &mask, self.emit.scalar(1.0))?;
            let factor = self.emit.scalar(NEVER_ATTEND);
            let below = self.emit.binary("mul", &format!("{scope}_below"), &less, factor)?;
            let masked = self.emit.binary("add", &format!("{scope}_masked"), &x, &below)?;
            return self.emit.reduce("reduce_max", scope, &masked, 3);
        }
        let masked = self.emit.binary("mul", &format!("{scope}_masked"), &x, &mask)?;
        let sum = self.emit.reduce("reduce_sum", &format!("{scope}_sum"), &masked, 3)?;
        let count = self.emit.reduce("reduce_sum", &format!("{scope}_count"), &mask, 3)?;
        // Counts are whole, so at least one is the same as PyTorch's floor of 1e-9, and nothing divides by zero.
        let mut count = self.emit.binary("maximum", &format!("{scope}_count_floor"), &count, self.emit.scalar(1.0))?;
        if kind == PoolKind::MeanSqrtLength {
            count = self.emit.op("sqrt", &format!("{scope}_count_root"), vec![("x", (&count).into())])?;
        }
        self.emit.binary("real_div", scope, &sum, &count)
    }

    /// Divides (B, C, 1, 1) by its Euclidean norm.
    pub(super) fn normalize(&mut self, node: &Node, epsilon: f64) -> Result<Var, ConvertError> {
        let scope = &node.scope;
        let x = self.channels_first(node, node.inputs[0])?;
        let norm = self.emit.reduce("reduce_l2_norm", &format!("{scope}_norm"), &x, 1)?;
        let floor = self.emit.norm_floor(epsilon);
        let norm = self.emit.binary("maximum", &format!("{scope}_norm_floor"), &norm, floor)?;
        self.emit.binary("real_div", scope, &x, &norm)
    }
}
