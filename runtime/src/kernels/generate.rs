//! Tensors made from little: filled, counted, one-hot; and masks by position.

use std::sync::Arc;

use corer_mil::Value;

use super::{Fault, Io, Kernel};
use crate::buffer::Buffer;
use crate::plan::{Emit, Op, Reason};
use crate::view::View;

/// A scalar's word.
fn word(value: &Value, float: bool) -> Option<u32> {
    if float {
        value.as_float().map(f32::to_bits)
    } else {
        value
            .as_int()
            .and_then(|value| i32::try_from(value).ok())
            .map(|value| value as u32)
    }
}

/// The word of the constant bound to a parameter, or a default.
fn word_of(op: &Op<'_>, name: &str, default: f32) -> Result<u32, Reason> {
    let float = op.dtype().is_float();
    match op.call.value(name)? {
        None if float => Ok(default.to_bits()),
        None => Ok(default as i32 as u32),
        Some(value) => {
            word(value, float).ok_or_else(|| Reason::Invalid(format!("`{name}` must be one number")))
        }
    }
}

/// `fill`, `fill_like`: one word, seen many times.
pub(crate) fn lower_fill(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let mut buffer = Buffer::zeroed(1)?;
    buffer.words_mut()[0] = word_of(op, "value", 0.0)?;
    let shape = op.shape().to_vec();
    Ok(vec![View {
        storage: emit.constant(Arc::new(buffer)),
        offset: 0,
        strides: vec![0; shape.len()],
        shape,
        dtype: op.dtype(),
    }])
}

/// `start, start + step, ..`: computed when the plan is made, since its length depends on its values.
pub(crate) fn lower_range(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let length = op.shape().first().copied().unwrap_or_default();
    emit.take(length)?;
    let mut buffer = Buffer::zeroed(length)?;
    let float = op.dtype().is_float();
    let (start, step) = (word_of(op, "start", 0.0)?, word_of(op, "step", 1.0)?);
    let round = emit.rounds(op.dtype());
    for (index, out) in buffer.words_mut().iter_mut().enumerate() {
        *out = if float {
            let value = f64::from(f32::from_bits(start)) + index as f64 * f64::from(f32::from_bits(step));
            let value = value as f32;
            round.one(value).to_bits()
        } else {
            start.wrapping_add((index as u32).wrapping_mul(step))
        };
    }
    let storage = emit.constant(Arc::new(buffer));
    Ok(vec![View::whole(storage, op.shape().to_vec(), op.dtype())])
}

#[derive(Debug)]
struct OneHot {
    offset: usize,
    size: usize,
    inner: usize,
    on: u32,
    off: u32,
}

impl Kernel for OneHot {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let indices = &io.ints(0)[self.offset..];
        io.team.pieces(io.output, self.size * self.inner, |outer, out| {
            out.fill(self.off);
            for inner in 0..self.inner {
                // An index outside lights nothing.
                if let Ok(index) = usize::try_from(indices[outer * self.inner + inner])
                    && index < self.size
                {
                    out[index * self.inner + inner] = self.on;
                }
            }
        });
        Ok(())
    }
}

/// Each index becomes a vector on a new axis.
pub(crate) fn lower_one_hot(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let indices = op.view(emit, "indices")?;
    let indices = emit.contiguous(&indices)?;
    let axis = corer_mil::ops::normalize_axis(op.call.int_or("axis", -1)?, op.shape().len())?;
    let kernel = OneHot {
        offset: indices.offset,
        size: op.shape()[axis],
        inner: indices.shape[axis..].iter().product(),
        on: word_of(op, "on_value", 1.0)?,
        off: word_of(op, "off_value", 0.0)?,
    };
    Ok(vec![emit.step(kernel, &[&indices], op.shape(), op.dtype())?])
}

#[derive(Debug)]
struct BandPart {
    offset: usize,
    rows: usize,
    columns: usize,
    lower: i64,
    upper: i64,
}

impl Kernel for BandPart {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let x = &io.inputs[0][self.offset..];
        io.team.pieces(io.output, self.columns, |line, out| {
            let row = (line % self.rows) as i64;
            for (column, word) in out.iter_mut().enumerate() {
                let below = row - column as i64;
                let within =
                    (self.lower < 0 || below <= self.lower) && (self.upper < 0 || -below <= self.upper);
                *word = if within {
                    x[line * self.columns + column]
                } else {
                    0
                };
            }
        });
        Ok(())
    }
}

/// Zero but for a band about the diagonal of the last two axes.
pub(crate) fn lower_band_part(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let x = emit.contiguous(&x)?;
    let kernel = BandPart {
        offset: x.offset,
        rows: x.shape[x.rank() - 2],
        columns: x.shape[x.rank() - 1],
        lower: op.call.int_or("lower", -1)?,
        upper: op.call.int_or("upper", -1)?,
    };
    Ok(vec![emit.step(kernel, &[&x], op.shape(), op.dtype())?])
}
