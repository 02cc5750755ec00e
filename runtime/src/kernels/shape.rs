//! Operations that keep the elements: all of them views, a copy only where strides can't say the new shape.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::plan::{Emit, Op, Reason};
use crate::view::View;

/// The view in another shape, copied if it must be.
pub(crate) fn reshape(emit: &mut Emit<'_>, view: &View, shape: &[usize]) -> Result<View, Reason> {
    if let Some(view) = view.reshaped(shape) {
        return Ok(view);
    }
    let copied = emit.contiguous(view)?;
    copied
        .reshaped(shape)
        .ok_or_else(|| Reason::Invalid(format!("{:?} does not fill {shape:?}", view.shape)))
}

/// `reshape`, `expand_dims`, `squeeze`, `flatten2d`: the op table has worked out the shape.
pub(crate) fn lower_reshape(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    Ok(vec![reshape(emit, &x, op.shape())?])
}

pub(crate) fn lower_transpose(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let perm = op.call.axes("perm", x.rank())?.unwrap_or_default();
    Ok(vec![x.permuted(&perm)])
}

/// Along the axes named, all by default.
pub(crate) fn lower_reverse(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let mut x = op.view(emit, "x")?;
    let axes = op
        .call
        .axes("axes", x.rank())?
        .unwrap_or_else(|| (0..x.rank()).collect());
    for axis in axes {
        let size = x.shape[axis];
        x = x.sliced(axis, size.saturating_sub(1), size, -1);
    }
    Ok(vec![x])
}

pub(crate) fn lower_identity(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    Ok(vec![op.view(emit, "x")?])
}

/// The sizes of `x`, known when the plan is made.
pub(crate) fn lower_shape(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let sizes = op.call.tensor("x")?.known_shape().unwrap_or_default();
    let sizes = sizes
        .into_iter()
        .map(|size| i32::try_from(size).map_err(|_| Reason::Invalid(format!("size {size} is no int32"))))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(vec![integers(emit, &sizes, op)?])
}

/// A constant vector of integers as the operation's result.
pub(crate) fn integers(emit: &mut Emit<'_>, values: &[i32], op: &Op<'_>) -> Result<View, Reason> {
    emit.take(values.len())?;
    let mut buffer = Buffer::zeroed(values.len())?;
    buffer.ints_mut().copy_from_slice(values);
    let storage = emit.constant(Arc::new(buffer));
    Ok(View::whole(storage, op.shape().to_vec(), op.dtype()))
}
