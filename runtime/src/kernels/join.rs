//! Joining, splitting, repeating and padding.

use super::shape::reshape;
use super::slice::limited;
use super::{Fault, Io, Kernel};
use crate::plan::{Emit, Op, Reason};
use crate::view::{View, count};

/// Puts row-major parts side by side: each line of the result is a stretch of each part in turn.
#[derive(Debug)]
pub(crate) struct Concat {
    /// Where each part starts and how long its stretches are.
    pub(crate) parts: Vec<(usize, usize)>,
    /// Length of a line of the result.
    pub(crate) line: usize,
}

impl Kernel for Concat {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        if self.line == 0 {
            return Ok(());
        }
        io.team.pieces(io.output, self.line, |line, out| {
            let mut rest = out;
            for (part, (start, length)) in self.parts.iter().enumerate() {
                let (here, after) = rest.split_at_mut(*length);
                let from = start + line * length;
                here.copy_from_slice(&io.inputs[part][from..from + length]);
                rest = after;
            }
        });
        Ok(())
    }
}

fn concat(emit: &mut Emit<'_>, parts: &[View], axis: usize, shape: &[usize]) -> Result<View, Reason> {
    let parts = parts
        .iter()
        .map(|part| emit.contiguous(part))
        .collect::<Result<Vec<_>, _>>()?;
    let kernel = Concat {
        parts: parts
            .iter()
            .map(|part| (part.offset, count(&part.shape[axis..])))
            .collect(),
        line: count(&shape[axis..]),
    };
    let dtype = parts[0].dtype;
    emit.step(kernel, &parts.iter().collect::<Vec<_>>(), shape, dtype)
}

/// Scalars join to a vector; interleaved parts take turns along the axis.
pub(crate) fn lower_concat(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let parts = op.all(emit, "values")?;
    if let [only] = &parts[..]
        && only.rank() > 0
    {
        return Ok(parts);
    }
    if parts.iter().all(|part| part.rank() == 0) {
        return Ok(vec![concat(emit, &with_axis(&parts, 0), 0, op.shape())?]);
    }
    let axis = op.call.axis_or("axis", 0, op.shape().len())?;
    if op.call.bool_or("interleave", false)? {
        let mut shape = parts[0].shape.clone();
        shape.insert(axis + 1, parts.len());
        let stacked = concat(emit, &with_axis(&parts, axis + 1), axis + 1, &shape)?;
        return Ok(vec![reshape(emit, &stacked, op.shape())?]);
    }
    Ok(vec![concat(emit, &parts, axis, op.shape())?])
}

/// The views with an axis of size 1 more.
fn with_axis(parts: &[View], axis: usize) -> Vec<View> {
    parts
        .iter()
        .map(|part| {
            let mut view = part.clone();
            view.shape.insert(axis, 1);
            view.strides.insert(axis, 0);
            view
        })
        .collect()
}

/// Puts tensors of one shape on a new axis.
pub(crate) fn lower_stack(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let parts = op.all(emit, "values")?;
    let axis = corer_mil::ops::normalize_axis(op.call.int_or("axis", 0)?, op.shape().len())?;
    Ok(vec![concat(emit, &with_axis(&parts, axis), axis, op.shape())?])
}

/// Pieces are slices.
pub(crate) fn lower_split(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let axis = op.call.axis_or("axis", 0, x.rank())?;
    let mut start = 0;
    let mut pieces = Vec::with_capacity(op.results.len());
    for (_, shape) in op.results {
        let piece = x.sliced(axis, start, shape[axis], 1);
        pieces.push(if axis + 1 == x.rank() && start > 0 {
            limited(emit, piece)?
        } else {
            piece
        });
        start += shape[axis];
    }
    Ok(pieces)
}

/// Repeats each axis: a broadcast view, copied.
pub(crate) fn lower_tile(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let reps = op.call.ints("reps")?.unwrap_or_default();
    let mut view = View {
        shape: Vec::new(),
        strides: Vec::new(),
        ..x.clone()
    };
    for (axis, reps) in reps.iter().enumerate().take(x.rank()) {
        view.shape
            .extend([usize::try_from(*reps).unwrap_or(1), x.shape[axis]]);
        view.strides.extend([0, x.strides[axis]]);
    }
    Ok(vec![reshape(emit, &view, op.shape())?])
}

/// Takes each element of the result from a place in `x`, or a constant.
#[derive(Debug)]
struct Pad {
    shape: Vec<usize>,
    /// For each axis, the index in `x` of each index in the result.
    sources: Vec<Vec<Option<usize>>>,
    strides: Vec<isize>,
    offset: usize,
    value: u32,
}

impl Kernel for Pad {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let x = io.inputs[0];
        let last = self.shape.len() - 1;
        let width = self.shape[last];
        io.team.pieces(io.output, width, |line, out| {
            let (mut rest, mut start) = (line, Some(self.offset as isize));
            for axis in (0..last).rev() {
                let source = self.sources[axis][rest % self.shape[axis]];
                start = start
                    .zip(source)
                    .map(|(start, source)| start + source as isize * self.strides[axis]);
                rest /= self.shape[axis];
            }
            for (word, source) in out.iter_mut().zip(&self.sources[last]) {
                *word = match start.zip(*source) {
                    Some((start, source)) => x[(start + source as isize * self.strides[last]) as usize],
                    None => self.value,
                };
            }
        });
        Ok(())
    }
}

/// Pads the last axes with a constant, by reflection about the edge, or with the edge.
pub(crate) fn lower_pad(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let mode = op.call.str_or("mode", "constant")?;
    let pad = op.call.ints("pad")?.unwrap_or_default();
    let first = x.rank() - pad.len() / 2;
    let value = op
        .call
        .value("constant_val")?
        .and_then(corer_mil::Value::as_float)
        .unwrap_or(0.0);
    if x.rank() == 0 || pad.is_empty() {
        return Ok(vec![x]);
    }
    let mut sources = Vec::with_capacity(x.rank());
    for (axis, size) in x.shape.iter().enumerate() {
        let before = axis.checked_sub(first).map_or(0, |axis| pad[2 * axis]);
        let source = |index: usize| {
            let (place, size) = (index as i64 - before, *size as i64);
            let place = match mode {
                "constant" => Some(place).filter(|place| (0..size).contains(place)),
                "reflect" if place < 0 => Some(-place),
                "reflect" if place >= size => Some(2 * size - 2 - place),
                _ => Some(place.clamp(0, size - 1)),
            };
            place
                .and_then(|place| usize::try_from(place).ok())
                .filter(|place| *place < size as usize)
        };
        sources.push((0..op.shape()[axis]).map(source).collect());
    }
    let kernel = Pad {
        shape: op.shape().to_vec(),
        sources,
        strides: x.strides.clone(),
        offset: x.offset,
        value: value.to_bits(),
    };
    Ok(vec![emit.step(kernel, &[&x], op.shape(), op.dtype())?])
}
