//! `cumsum`.

use super::norm::inverse;
use super::{Fault, Io, Kernel};
use crate::half_values::Rounding;
use crate::plan::{Emit, Op, Reason};
use crate::view::View;

#[derive(Debug)]
struct CumulativeSum {
    offset: usize,
    length: usize,
    exclusive: bool,
    reverse: bool,
    float: bool,
    round: Rounding,
}

impl CumulativeSum {
    fn run_along<T: Copy>(
        &self,
        x: &[T],
        out: &mut [u32],
        zero: T,
        add: fn(T, T) -> T,
        word: impl Fn(T) -> u32,
    ) {
        let mut sum = zero;
        for step in 0..x.len() {
            let position = if self.reverse { x.len() - 1 - step } else { step };
            let next = add(sum, x[position]);
            out[position] = word(if self.exclusive { sum } else { next });
            sum = next;
        }
    }
}

impl Kernel for CumulativeSum {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let (floats, ints) = (io.floats(0), io.ints(0));
        io.team.pieces(io.output, self.length, |row, out| {
            let start = self.offset + row * self.length;
            let range = start..start + out.len();
            if self.float {
                self.run_along(
                    &floats[range],
                    out,
                    0.0,
                    |a, b| a + b,
                    |sum| self.round.one(sum).to_bits(),
                );
            } else {
                self.run_along(&ints[range], out, 0, i32::wrapping_add, |sum| sum as u32);
            }
        });
        Ok(())
    }
}

/// Along one axis; fp16 sums run in f32 and are rounded where they are written.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let axis = op.call.axis_or("axis", 0, x.rank())?;
    let mut perm: Vec<usize> = (0..x.rank()).filter(|other| *other != axis).collect();
    perm.push(axis);
    let moved = emit.contiguous(&x.permuted(&perm))?;
    let kernel = CumulativeSum {
        offset: moved.offset,
        length: x.shape[axis],
        exclusive: op.call.bool_or("exclusive", false)?,
        reverse: op.call.bool_or("reverse", false)?,
        float: x.is_float(),
        round: emit.rounds(op.dtype()),
    };
    let result = emit.step(kernel, &[&moved], &moved.shape, op.dtype())?;
    Ok(vec![result.permuted(&inverse(&perm))])
}
