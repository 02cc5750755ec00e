//! `einsum`: MIL's two equations, `nchw,nwhu->nchu` and `chw,whu->chu`, as batched products over n and h.

use super::matmul::Batched;
use crate::gemm::{Bias, Epilogue, Layout};
use crate::plan::{Emit, Op, Reason};
use crate::view::{Nest, View, row_major};

/// For each n and h: (c, w) times (w, u).
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let mut values = op.all(emit, "values")?;
    let (Some(y), Some(x)) = (values.pop(), values.pop()) else {
        return Err(Reason::Invalid("takes two values".into()));
    };
    let rank = x.rank();
    let (c, h, w) = (rank - 3, rank - 2, rank - 1);
    let out = row_major(op.shape());
    let left = Layout {
        offset: x.offset,
        rows: x.shape[c],
        columns: x.shape[w],
        row_stride: x.strides[c],
        column_stride: x.strides[w],
    };
    // In `y` the axes are (n,) w, h, u.
    let right = Layout {
        offset: y.offset,
        rows: y.shape[c],
        columns: y.shape[w],
        row_stride: y.strides[c],
        column_stride: y.strides[w],
    };
    let mut axes: Vec<usize> = (0..c).collect();
    axes.push(h);
    let batch: Vec<usize> = axes.iter().map(|axis| op.shape()[*axis]).collect();
    let strides = |view: &View| -> Vec<isize> {
        axes.iter()
            .map(|axis| {
                if view.shape[*axis] == 1 {
                    0
                } else {
                    view.strides[*axis]
                }
            })
            .collect()
    };
    let out_strides: Vec<isize> = axes.iter().map(|axis| out[*axis]).collect();
    let kernel = Batched {
        left,
        right,
        batch: Nest::new(&batch, &[&strides(&x), &strides(&y), &out_strides]),
        row_stride: out[c] as usize,
        epilogue: Epilogue {
            bias: Bias::None,
            accumulator: emit.accumulator(op.dtype()),
            round: emit.rounds(op.dtype()),
            stages: Vec::new(),
        },
    };
    Ok(vec![emit.step(kernel, &[&x, &y], op.shape(), op.dtype())?])
}
