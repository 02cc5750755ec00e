//! `softmax` along any axis, optionally of a sum that is formed while reading.

use crate::vectorised::vectorised;

use super::matmul::with_scratch;
use super::{Fault, Io, Kernel};
use crate::gemm::Tiles;
use crate::half_values::Rounding;
use crate::math;
use crate::plan::{Emit, Held, Op, Reason};
use crate::view::{Nest, View, count};

/// A row-major shape seen as `outer` × `n` × `inner`, the middle being what is worked along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fibers {
    pub(crate) outer: usize,
    pub(crate) n: usize,
    pub(crate) inner: usize,
}

impl Fibers {
    /// The axes from `first` to before `end` in the middle.
    pub(crate) fn new(shape: &[usize], first: usize, end: usize) -> Self {
        Self {
            outer: count(&shape[..first]),
            n: count(&shape[first..end]),
            inner: count(&shape[end..]),
        }
    }
}

/// A second term, broadcast along with row-major fibers.
#[derive(Debug)]
pub(crate) struct Addend {
    offset: usize,
    outer: Nest,
    /// Strides along the fiber and across fibers.
    pub(crate) along: isize,
    pub(crate) across: isize,
    /// Whether the sum is rounded to fp16.
    pub(crate) round: Rounding,
}

impl Addend {
    /// How `view`, broadcast to `shape`, is read along with fibers whose middle axes are `first..end`; `None` when
    /// strides can't say it.
    pub(crate) fn new(
        view: &View,
        shape: &[usize],
        first: usize,
        end: usize,
        round: Rounding,
    ) -> Option<Self> {
        let view = view.broadcast(shape)?;
        let middle = Nest::new(&shape[first..end], &[&view.strides[first..end]]);
        let inner = Nest::new(&shape[end..], &[&view.strides[end..]]);
        if middle.sizes.len() > 1 || inner.sizes.len() > 1 {
            return None;
        }
        let (along, across) = (middle.inner_stride(0), inner.inner_stride(0));
        let innermost = if inner.inner() == 1 { along } else { across };
        if !matches!(innermost, 0 | 1) {
            return None;
        }
        Some(Self {
            offset: view.offset,
            // One axis more, so that every outer index is the start of a run.
            outer: with_unit(Nest::new(&shape[..first], &[&view.strides[..first]])),
            along,
            across,
            round,
        })
    }

    /// Index of the first element of outer block `outer`.
    pub(crate) fn start(&self, outer: usize) -> usize {
        self.offset.wrapping_add_signed(self.outer.start(0, outer))
    }

    /// Adds elements `from..` (one every `stride`, 0 or 1) to `values`.
    #[inline(always)]
    pub(crate) fn add(&self, words: &[f32], from: usize, stride: isize, values: &mut [f32]) {
        if stride == 0 {
            let term = words[from];
            for value in values.iter_mut() {
                *value += term;
            }
        } else {
            for (value, term) in values.iter_mut().zip(&words[from..]) {
                *value += term;
            }
        }
        self.round.all(values);
    }
}

fn with_unit(mut nest: Nest) -> Nest {
    nest.sizes.push(1);
    for strides in &mut nest.strides {
        strides.push(0);
    }
    nest
}

/// The largest value; NaNs are passed over.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(
        f32::NEG_INFINITY,
        |best, value| if *value > best { *value } else { best },
    )
}

/// The sum, in sixteen parts that are then added in pairs: the same on every machine.
#[inline(always)]
pub(crate) fn total(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    let mut width = 8;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Softmax of a row in place.
#[inline(always)]
pub(crate) fn softmax_row(row: &mut [f32]) {
    let top = largest(row);
    for value in row.iter_mut() {
        *value = math::exp(*value - top);
    }
    let scale = 1.0 / total(row);
    for value in row.iter_mut() {
        *value *= scale;
    }
}

#[derive(Debug)]
struct Softmax {
    fibers: Fibers,
    offset: usize,
    addend: Option<Addend>,
    round: Rounding,
}

/// Columns worked on at a time.
const COLUMNS: usize = 64;

impl Softmax {
    fn rows(&self, io: Io<'_>) {
        let (x, n) = (io.floats(0), self.fibers.n);
        let term = if self.addend.is_some() { io.floats(1) } else { &[] };
        let rows_per_task = (4096 / n.max(1)).max(1);
        io.team.pieces(io.output, rows_per_task * n, |task, out| {
            let out: &mut [f32] = bytemuck::cast_slice_mut(out);
            vectorised(
                #[inline(always)]
                || {
                    for (row, out) in out.chunks_exact_mut(n).enumerate() {
                        let row = task * rows_per_task + row;
                        let start = self.offset + row * n;
                        out.copy_from_slice(&x[start..start + n]);
                        if let Some(addend) = &self.addend {
                            addend.add(term, addend.start(row), addend.along, out);
                        }
                        softmax_row(out);
                        self.round.all(out);
                    }
                },
            );
        });
    }

    fn columns(&self, io: Io<'_>) {
        let Fibers { outer, n, inner } = self.fibers;
        let x = io.floats(0);
        let term = if self.addend.is_some() { io.floats(1) } else { &[] };
        let blocks = inner.div_ceil(COLUMNS);
        let tiles = Tiles::new(bytemuck::cast_slice_mut(io.output));
        io.team.each(outer * blocks, |task| {
            let (entry, first) = (task / blocks, task % blocks * COLUMNS);
            let width = COLUMNS.min(inner - first);
            with_scratch(n * COLUMNS, |scratch| {
                vectorised(
                    #[inline(always)]
                    || {
                        let mut top = [f32::NEG_INFINITY; COLUMNS];
                        for (row, line) in scratch.chunks_exact_mut(COLUMNS).enumerate() {
                            let start = self.offset + (entry * n + row) * inner + first;
                            line[..width].copy_from_slice(&x[start..start + width]);
                            line[width..].fill(0.0);
                            if let Some(addend) = &self.addend {
                                let from = (addend.start(entry) as isize
                                    + row as isize * addend.along
                                    + first as isize * addend.across)
                                    as usize;
                                addend.add(term, from, addend.across, &mut line[..width]);
                            }
                            for (top, value) in top.iter_mut().zip(line) {
                                *top = if *value > *top { *value } else { *top };
                            }
                        }
                        let mut sums = [0f32; COLUMNS];
                        for line in scratch.chunks_exact_mut(COLUMNS) {
                            for ((value, top), sum) in line.iter_mut().zip(&top).zip(&mut sums) {
                                *value = math::exp(*value - top);
                                *sum += *value;
                            }
                        }
                        let scale = sums.map(|sum| 1.0 / sum);
                        for (row, line) in scratch.chunks_exact_mut(COLUMNS).enumerate() {
                            for (value, scale) in line.iter_mut().zip(&scale) {
                                *value *= scale;
                            }
                            self.round.all(line);
                            let start = (entry * n + row) * inner + first;
                            // SAFETY: every task has columns (and an outer index) of its own.
                            #[allow(unsafe_code)]
                            let out = unsafe { tiles.segment(start, width) };
                            out.copy_from_slice(&line[..width]);
                        }
                    },
                );
            });
        });
    }
}

impl Kernel for Softmax {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        if io.output.is_empty() {
            return Ok(());
        }
        if self.fibers.inner == 1 {
            self.rows(io);
        } else {
            self.columns(io);
        }
        Ok(())
    }
}

/// `x`, or the two terms it is still to be added from: the first row-major, the second readable along with it.
pub(crate) fn terms(
    op: &Op<'_>,
    emit: &mut Emit<'_>,
    first: usize,
    end: usize,
) -> Result<(View, Option<(View, Addend)>), Reason> {
    if let Some(Held::Sum(sum)) = op.argument("x").map(|argument| &argument.held) {
        let round = emit.rounds(sum.dtype);
        for (x, y) in [(&sum.x, &sum.y), (&sum.y, &sum.x)] {
            if x.shape == sum.shape
                && x.is_contiguous()
                && let Some(addend) = Addend::new(y, &sum.shape, first, end, round)
            {
                return Ok((x.clone(), Some((y.clone(), addend))));
            }
        }
    }
    let x = op.view(emit, "x")?;
    Ok((emit.contiguous(&x)?, None))
}

/// eˣ / Σ eˣ along an axis.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let shape = op.shape().to_vec();
    let axis = op.call.axis_or("axis", -1, shape.len())?;
    let (x, addend) = terms(op, emit, axis, axis + 1)?;
    let (term, addend) = addend.unzip();
    let kernel = Softmax {
        fibers: Fibers::new(&shape, axis, axis + 1),
        offset: x.offset,
        addend,
        round: emit.rounds(op.dtype()),
    };
    let mut inputs = vec![&x];
    inputs.extend(&term);
    Ok(vec![emit.step(kernel, &inputs, &shape, op.dtype())?])
}
