//! Walking over broadcast operands: the loop all elementwise kernels share.

use crate::vectorised::vectorised;

use super::{Fault, Io, Kernel, Unary};
use crate::half_values::Rounding;
use crate::team::Team;
use crate::view::{Nest, View};

/// Elements one task computes; large enough to be worth handing to a thread.
pub(crate) const TASK: usize = 16 << 10;
/// Elements computed at a time, so that pieces of all operands stay in the nearest cache.
const PIECE: usize = 512;

/// Calls `function` with a piece of each operand and the piece of the result they make, over all of `output`.
/// Operands are given by storage and view, already broadcast to the result's shape.
pub(crate) fn walk<const N: usize>(
    team: Team,
    operands: [(&[u32], usize); N],
    nest: &Nest,
    output: &mut [u32],
    function: impl Fn([&[u32]; N], &mut [u32]) + Sync + Send,
) {
    let inner = nest.inner().max(1);
    team.pieces(output, TASK, |task, output| {
        vectorised(
            #[inline(always)]
            || {
                let mut spare = [[0u32; PIECE]; N];
                let mut filled = [usize::MAX; N];
                let mut done = 0;
                while done < output.len() {
                    let position = task * TASK + done;
                    let (run, column) = (position / inner, position % inner);
                    let starts: [usize; N] = std::array::from_fn(|operand| {
                        operands[operand].1.wrapping_add_signed(nest.start(operand, run))
                    });
                    let length = (inner - column).min(output.len() - done);
                    let mut offset = 0;
                    while offset < length {
                        let piece = PIECE.min(length - offset);
                        for operand in 0..N {
                            let stride = nest.inner_stride(operand);
                            let storage = operands[operand].0;
                            let first =
                                starts[operand].wrapping_add_signed((column + offset) as isize * stride);
                            if stride == 0 {
                                if filled[operand] != first {
                                    spare[operand].fill(storage[first]);
                                    filled[operand] = first;
                                }
                            } else if stride != 1 {
                                let mut at = first;
                                for word in &mut spare[operand][..piece] {
                                    *word = storage[at];
                                    at = at.wrapping_add_signed(stride);
                                }
                            }
                        }
                        let pieces: [&[u32]; N] = std::array::from_fn(|operand| {
                            if nest.inner_stride(operand) == 1 {
                                let first = starts[operand] + column + offset;
                                &operands[operand].0[first..first + piece]
                            } else {
                                &spare[operand][..piece]
                            }
                        });
                        function(pieces, &mut output[done + offset..done + offset + piece]);
                        offset += piece;
                    }
                    done += length;
                }
            },
        );
    });
}

/// A chain of functions of one operand, each rounded if its value is fp16.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) nest: Nest,
    pub(crate) offset: usize,
    pub(crate) stages: Vec<(Unary, Rounding)>,
}

impl Map {
    pub(crate) fn new(x: &View, stages: Vec<(Unary, Rounding)>) -> Self {
        Self {
            nest: Nest::new(&x.shape, &[&x.strides]),
            offset: x.offset,
            stages,
        }
    }
}

impl Kernel for Map {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands = [(io.inputs[0], self.offset)];
        walk(
            io.team,
            operands,
            &self.nest,
            io.output,
            #[inline(always)]
            |[x], out| {
                out.copy_from_slice(x);
                let out: &mut [f32] = bytemuck::cast_slice_mut(out);
                for (function, round) in &self.stages {
                    function.apply(out);
                    round.all(out);
                }
            },
        );
        Ok(())
    }
}
