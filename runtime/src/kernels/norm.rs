//! Normalizations: `layer_norm`, `instance_norm`, `l2_norm`, `batch_norm`.

use std::sync::Arc;

use crate::vectorised::vectorised;

use super::elementwise::walk;
use super::matmul::with_scratch;
use super::softmax::{Addend, Fibers, terms, total};
use super::{Fault, Io, Kernel};
use crate::buffer::Buffer;
use crate::gemm::Tiles;
use crate::half_values::Rounding;
use crate::plan::{Emit, Op, Reason};
use crate::view::{Nest, View, count};

/// What a normalized value is multiplied by and what is added, by position in the fiber or by fiber.
#[derive(Clone, Debug)]
enum Affine {
    None,
    /// One pair for each position along the fiber.
    Along(Arc<[f32]>, Arc<[f32]>),
    /// One pair for each of so many fibers in turn.
    Fiber(Arc<[f32]>, Arc<[f32]>),
}

/// (x − mean) / √(variance + ε), or x / √(Σ x² + ε), along fibers.
#[derive(Debug)]
struct Norm {
    fibers: Fibers,
    offset: usize,
    addend: Option<Addend>,
    affine: Affine,
    epsilon: f32,
    /// Whether to take the mean away and divide the squares by their number.
    centered: bool,
    round: Rounding,
}

/// Columns worked on at a time.
const COLUMNS: usize = 32;
/// Rows summed before their sum joins the total, so that long sums lose less to rounding.
const STRETCH: usize = 32;

#[inline(always)]
fn sum_of_squares(values: &[f32], mean: f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            let distance = value - mean;
            *lane = distance.mul_add(distance, *lane);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        let distance = value - mean;
        *lane = distance.mul_add(distance, *lane);
    }
    total(&lanes)
}

impl Norm {
    #[inline(always)]
    fn scale(&self, squares: f32) -> f32 {
        if self.centered {
            1.0 / (squares / self.fibers.n as f32 + self.epsilon).sqrt()
        } else {
            1.0 / (squares + self.epsilon).sqrt()
        }
    }

    fn rows(&self, io: Io<'_>) {
        let (x, n) = (io.floats(0), self.fibers.n);
        let term = if self.addend.is_some() { io.floats(1) } else { &[] };
        let rows_per_task = (8192 / n.max(1)).max(1);
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
                        let mean = if self.centered { total(out) / n as f32 } else { 0.0 };
                        let scale = self.scale(sum_of_squares(out, mean));
                        match &self.affine {
                            Affine::None => {
                                for value in out.iter_mut() {
                                    *value = (*value - mean) * scale;
                                }
                            }
                            Affine::Along(gamma, beta) => {
                                for ((value, gamma), beta) in
                                    out.iter_mut().zip(gamma.iter()).zip(beta.iter())
                                {
                                    *value = ((*value - mean) * scale).mul_add(*gamma, *beta);
                                }
                            }
                            Affine::Fiber(gamma, beta) => {
                                let fiber = row % gamma.len();
                                let (gamma, beta) = (gamma[fiber], beta[fiber]);
                                for value in out.iter_mut() {
                                    *value = ((*value - mean) * scale).mul_add(gamma, beta);
                                }
                            }
                        }
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
                        let mut sums = [0f32; COLUMNS];
                        for (stretch, lines) in scratch.chunks_mut(STRETCH * COLUMNS).enumerate() {
                            let mut part = [0f32; COLUMNS];
                            for (row, line) in lines.chunks_exact_mut(COLUMNS).enumerate() {
                                let row = stretch * STRETCH + row;
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
                                for (part, value) in part.iter_mut().zip(line) {
                                    *part += *value;
                                }
                            }
                            for (sum, part) in sums.iter_mut().zip(&part) {
                                *sum += part;
                            }
                        }
                        let means = sums.map(|sum| if self.centered { sum / n as f32 } else { 0.0 });
                        let mut squares = [0f32; COLUMNS];
                        for lines in scratch.chunks(STRETCH * COLUMNS) {
                            let mut part = [0f32; COLUMNS];
                            for line in lines.chunks_exact(COLUMNS) {
                                for ((part, value), mean) in part.iter_mut().zip(line).zip(&means) {
                                    let distance = value - mean;
                                    *part = distance.mul_add(distance, *part);
                                }
                            }
                            for (square, part) in squares.iter_mut().zip(&part) {
                                *square += part;
                            }
                        }
                        let scales = squares.map(|squares| self.scale(squares));
                        for (row, line) in scratch.chunks_exact_mut(COLUMNS).enumerate() {
                            let (gamma, beta) = match &self.affine {
                                Affine::Along(gamma, beta) => (gamma[row], beta[row]),
                                _ => (1.0, 0.0),
                            };
                            for ((value, mean), scale) in line.iter_mut().zip(&means).zip(&scales) {
                                *value = ((*value - mean) * scale).mul_add(gamma, beta);
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

impl Kernel for Norm {
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

fn epsilon(op: &Op<'_>, default: f32) -> Result<f32, Reason> {
    match op.call.value("epsilon")? {
        None => Ok(default),
        Some(value) => value
            .as_float()
            .ok_or_else(|| Reason::Invalid("`epsilon` must be one number".into())),
    }
}

/// A `gamma` and a `beta`.
type Parameters = (Arc<[f32]>, Arc<[f32]>);

/// `gamma` and `beta`, ones and zeros where left out; `None` when both are.
fn parameters(op: &Op<'_>, emit: &mut Emit<'_>, length: usize) -> Result<Option<Parameters>, Reason> {
    let (gamma, beta) = (op.floats(emit, "gamma")?, op.floats(emit, "beta")?);
    if gamma.is_none() && beta.is_none() {
        return Ok(None);
    }
    let fill = |values: Option<Vec<f32>>, default: f32, name: &str| match values {
        None => Ok(vec![default; length]),
        Some(values) if values.len() == length => Ok(values),
        Some(values) => Err(Reason::Invalid(format!(
            "`{name}` holds {} numbers for {length}",
            values.len()
        ))),
    };
    Ok(Some((
        fill(gamma, 1.0, "gamma")?.into(),
        fill(beta, 0.0, "beta")?.into(),
    )))
}

/// Over any axes; those that lie together are worked where they are.
pub(crate) fn lower_layer(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let shape = op.shape().to_vec();
    let rank = shape.len();
    let mut axes = op.call.axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect());
    axes.sort_unstable();
    let sizes: Vec<usize> = axes.iter().map(|axis| shape[*axis]).collect();
    let affine = match parameters(op, emit, count(&sizes))? {
        Some((gamma, beta)) => Affine::Along(gamma, beta),
        None => Affine::None,
    };
    let epsilon = epsilon(op, 1e-5)?;
    let round = emit.rounds(op.dtype());
    let together = axes.windows(2).all(|pair| pair[1] == pair[0] + 1);
    if together {
        let (first, end) = (
            axes.first().copied().unwrap_or(rank),
            axes.last().map_or(rank, |axis| axis + 1),
        );
        let (x, addend) = terms(op, emit, first, end)?;
        let (term, addend) = addend.unzip();
        let kernel = Norm {
            fibers: Fibers::new(&shape, first, end),
            offset: x.offset,
            addend,
            affine,
            epsilon,
            centered: true,
            round,
        };
        let mut inputs = vec![&x];
        inputs.extend(&term);
        return Ok(vec![emit.step(kernel, &inputs, &shape, op.dtype())?]);
    }
    // Bring the axes to the end, and the result back.
    let x = op.view(emit, "x")?;
    let mut perm: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
    let kept = perm.len();
    perm.extend(&axes);
    let moved = emit.contiguous(&x.permuted(&perm))?;
    let kernel = Norm {
        fibers: Fibers::new(&moved.shape, kept, rank),
        offset: moved.offset,
        addend: None,
        affine,
        epsilon,
        centered: true,
        round,
    };
    let result = emit.step(kernel, &[&moved], &moved.shape, op.dtype())?;
    Ok(vec![result.permuted(&inverse(&perm))])
}

/// The permutation that undoes one.
pub(crate) fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut back = vec![0; perm.len()];
    for (to, from) in perm.iter().enumerate() {
        back[*from] = to;
    }
    back
}

/// Over the spatial axes, one `gamma` and `beta` a channel.
pub(crate) fn lower_instance(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let x = emit.contiguous(&x)?;
    let affine = match parameters(op, emit, x.shape[1])? {
        Some((gamma, beta)) if !gamma.is_empty() => Affine::Fiber(gamma, beta),
        _ => Affine::None,
    };
    let kernel = Norm {
        fibers: Fibers::new(&x.shape, 2, x.rank()),
        offset: x.offset,
        addend: None,
        affine,
        epsilon: epsilon(op, 1e-5)?,
        centered: true,
        round: emit.rounds(op.dtype()),
    };
    Ok(vec![emit.step(kernel, &[&x], op.shape(), op.dtype())?])
}

/// x / √(Σ x² + ε) over the last three axes.
pub(crate) fn lower_l2(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let x = emit.contiguous(&x)?;
    let kernel = Norm {
        fibers: Fibers::new(&x.shape, x.rank() - 3, x.rank()),
        offset: x.offset,
        addend: None,
        affine: Affine::None,
        epsilon: epsilon(op, 1e-6)?,
        centered: false,
        round: emit.rounds(op.dtype()),
    };
    Ok(vec![emit.step(kernel, &[&x], op.shape(), op.dtype())?])
}

/// (x − mean) · γ / √(variance + ε) + β, each a vector over channels.
#[derive(Debug)]
struct BatchNorm {
    nest: Nest,
    offset: usize,
    round: Rounding,
}

impl Kernel for BatchNorm {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands =
            std::array::from_fn(|input| (io.inputs[input], if input == 0 { self.offset } else { 0 }));
        walk(
            io.team,
            operands,
            &self.nest,
            io.output,
            #[inline(always)]
            |[x, mean, scale, shift]: [&[u32]; 4], out| {
                for ((((out, x), mean), scale), shift) in
                    out.iter_mut().zip(x).zip(mean).zip(scale).zip(shift)
                {
                    let [x, mean, scale, shift] = [x, mean, scale, shift].map(|word| f32::from_bits(*word));
                    *out = (x - mean).mul_add(scale, shift).to_bits();
                }
                self.round.all(bytemuck::cast_slice_mut(out));
            },
        );
        Ok(())
    }
}

/// With statistics given.
pub(crate) fn lower_batch(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let channels = x.shape[1];
    let (mean, variance) = (op.floats(emit, "mean")?, op.floats(emit, "variance")?);
    let (mean, variance) = (mean.unwrap_or_default(), variance.unwrap_or_default());
    if mean.len() != channels || variance.len() != channels {
        return Err(Reason::Invalid(format!(
            "`mean` and `variance` must hold {channels} numbers"
        )));
    }
    let epsilon = f64::from(epsilon(op, 1e-5)?);
    let (gamma, beta) = parameters(op, emit, channels)?
        .unwrap_or_else(|| (vec![1.0; channels].into(), vec![0.0; channels].into()));
    let scale: Vec<f32> = variance
        .iter()
        .zip(gamma.iter())
        .map(|(variance, gamma)| (f64::from(*gamma) / (f64::from(*variance) + epsilon).sqrt()) as f32)
        .collect();
    let mut views = vec![x.clone()];
    let mut strides = vec![0; x.rank()];
    strides[1] = 1;
    for values in [&mean[..], &scale, &beta] {
        emit.take(channels)?;
        let mut buffer = Buffer::zeroed(channels)?;
        buffer.floats_mut().copy_from_slice(values);
        views.push(View {
            storage: emit.constant(Arc::new(buffer)),
            offset: 0,
            shape: x.shape.clone(),
            strides: strides.clone(),
            dtype: x.dtype,
        });
    }
    let kernel = BatchNorm {
        nest: Nest::new(&x.shape, &[&x.strides, &strides, &strides, &strides]),
        offset: x.offset,
        round: emit.rounds(op.dtype()),
    };
    let inputs: Vec<&View> = views.iter().collect();
    Ok(vec![emit.step(kernel, &inputs, op.shape(), op.dtype())?])
}
