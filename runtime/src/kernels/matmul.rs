//! Products of computed tensors, batch by batch: `matmul` and what `einsum` needs.

use std::cell::RefCell;

use super::elementwise::walk;
use super::linear::rows_times;
use super::{Fault, Io, Kernel};
use crate::ane::flush_subnormals;
use crate::gemm::{self, Bias, Epilogue, Layout, Product, Side, Split, Sums, Target, Tiles};
use crate::plan::{Emit, Op, Reason};
use crate::team::Team;
use crate::view::{Nest, View, count};

/// Products of strided matrices: one for each entry of a batch whose axes may be broadcast.
#[derive(Debug)]
pub(crate) struct Batched {
    pub(crate) left: Layout,
    pub(crate) right: Layout,
    /// Batch axes: strides of left, right and result.
    pub(crate) batch: Nest,
    pub(crate) row_stride: usize,
    pub(crate) epilogue: Epilogue,
}

thread_local! {
    /// Panels of the matrices a thread is multiplying.
    static PANELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends `words` of this thread's scratch memory. Nothing in `work` may wait for other threads: a thread that
/// waits may take up other work that asks for the same memory.
pub(crate) fn with_scratch<R>(words: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    PANELS.with_borrow_mut(|panels| {
        if panels.len() < words {
            panels.resize(words, 0.0);
        }
        work(&mut panels[..words])
    })
}

impl Batched {
    /// Packs an item's matrices; gives where its result goes too.
    fn pack<'s>(
        &self,
        team: Team,
        data: [&[f32]; 2],
        item: usize,
        scratch: &'s mut [f32],
    ) -> (Product<'s>, usize) {
        let axes = self.batch.sizes.len();
        let (mut rest, mut at) = (item, [0isize; 3]);
        for axis in (0..axes).rev() {
            let position = (rest % self.batch.sizes[axis]) as isize;
            rest /= self.batch.sizes[axis];
            for (at, strides) in at.iter_mut().zip(&self.batch.strides) {
                *at += position * strides[axis];
            }
        }
        let place = |layout: Layout, by: isize| Layout {
            offset: layout.offset.wrapping_add_signed(by),
            ..layout
        };
        let (left, right) = scratch.split_at_mut(self.left.words(Side::Left));
        gemm::pack_into(team, Side::Left, data[0], place(self.left, at[0]), left);
        gemm::pack_into(team, Side::Right, data[1], place(self.right, at[1]), right);
        if self.epilogue.accumulator.flush {
            flush_subnormals(left);
            flush_subnormals(right);
        }
        let product = Product {
            left,
            right,
            m: self.left.rows,
            n: self.right.columns,
            k: self.left.columns,
        };
        (product, at[2] as usize)
    }

    fn item(&self, team: Team, data: [&[f32]; 2], item: usize, tiles: &Tiles<'_>, scratch: &mut [f32]) {
        let (product, offset) = self.pack(team, data, item, scratch);
        let target = Target {
            tiles,
            offset,
            row_stride: self.row_stride,
        };
        gemm::multiply(team, product, Split::Left, target, &self.epilogue);
    }
}

impl Kernel for Batched {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let data = [io.floats(0), io.floats(1)];
        let words = self.left.words(Side::Left) + self.right.words(Side::Right);
        let items = count(&self.batch.sizes);
        let tiles = Tiles::new(bytemuck::cast_slice_mut(io.output));
        let products = self.left.rows * self.left.columns * self.right.columns;
        if items >= 2 * io.team.threads() || products < 1 << 20 {
            io.team.each(items, |item| {
                with_scratch(words, |scratch| {
                    self.item(Team::ALONE, data, item, &tiles, scratch)
                });
            });
        } else {
            let mut scratch = vec![0.0; words];
            for item in 0..items {
                self.item(io.team, data, item, &tiles, &mut scratch);
            }
        }
        Ok(())
    }

    fn sums(&self, inputs: &[&[u32]], team: Team) -> Option<Sums> {
        let data = [bytemuck::cast_slice(inputs[0]), bytemuck::cast_slice(inputs[1])];
        let words = self.left.words(Side::Left) + self.right.words(Side::Right);
        let mut scratch = vec![0.0; words];
        let measured = (0..count(&self.batch.sizes)).map(|item| {
            let (product, _) = self.pack(team, data, item, &mut scratch);
            gemm::measure(team, product, &Bias::None)
        });
        measured.reduce(Sums::max)
    }
}

/// The last two axes of a view as a matrix.
fn matrix(view: &View) -> Layout {
    let rank = view.rank();
    Layout {
        offset: view.offset,
        rows: view.shape[rank - 2],
        columns: view.shape[rank - 1],
        row_stride: view.strides[rank - 2],
        column_stride: view.strides[rank - 1],
    }
}

/// Swaps the last two axes if asked to; vectors become matrices of one row (left) or column (right).
fn prepare(op: &Op<'_>, view: View, flag: &str, left: bool) -> Result<View, Reason> {
    let rank = view.rank();
    if rank == 1 {
        let (shape, strides) = if left {
            (vec![1, view.shape[0]], vec![0, view.strides[0]])
        } else {
            (vec![view.shape[0], 1], vec![view.strides[0], 0])
        };
        return Ok(View {
            shape,
            strides,
            ..view
        });
    }
    if !op.call.bool_or(flag, false)? {
        return Ok(view);
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    Ok(view.permuted(&perm))
}

/// numpy's `matmul`, after the optional swaps of the last two axes.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = prepare(op, op.view(emit, "x")?, "transpose_x", true)?;
    let y_type = op.call.tensor("y")?;
    if x.is_float() != y_type.dtype.is_float() {
        return Err(Reason::Unsupported(format!(
            "a product of {} and {}",
            x.dtype, y_type.dtype
        )));
    }
    // A weight: packed once, all rows of `x` at a time.
    if let (true, 2, Some(_)) = (x.is_float(), y_type.rank(), op.constant("y")) {
        let sizes: Vec<usize> = y_type
            .known_shape()
            .unwrap_or_default()
            .iter()
            .map(|size| *size as usize)
            .collect();
        let (rows, columns) = (sizes[0], sizes[1]);
        let layout = if op.call.bool_or("transpose_y", false)? {
            Layout {
                offset: 0,
                rows: columns,
                columns: rows,
                row_stride: 1,
                column_stride: columns as isize,
            }
        } else {
            Layout {
                offset: 0,
                rows,
                columns,
                row_stride: columns as isize,
                column_stride: 1,
            }
        };
        return Ok(vec![rows_times(op, emit, &x, ("y", layout), Bias::None)?]);
    }
    let y = prepare(op, op.view(emit, "y")?, "transpose_y", false)?;
    let (left, right) = (matrix(&x), matrix(&y));
    let batch_rank = x.rank().max(y.rank()) - 2;
    let mut batch = vec![1; batch_rank];
    for view in [&x, &y] {
        let own = view.rank() - 2;
        for (axis, size) in view.shape[..own].iter().enumerate() {
            let axis = batch_rank - own + axis;
            if *size != 1 {
                batch[axis] = *size;
            }
        }
    }
    let strides = |view: &View| -> Result<Vec<isize>, Reason> {
        let own = View {
            shape: view.shape[..view.rank() - 2].to_vec(),
            strides: view.strides[..view.rank() - 2].to_vec(),
            ..view.clone()
        };
        let own = own
            .broadcast(&batch)
            .ok_or_else(|| "batch axes don't broadcast".to_owned())?;
        Ok(own.strides)
    };
    let area = (left.rows * right.columns) as isize;
    let out: Vec<isize> = crate::view::row_major(&batch)
        .iter()
        .map(|stride| stride * area)
        .collect();
    let nest = Nest::new(&batch, &[&strides(&x)?, &strides(&y)?, &out]);
    let result = if x.is_float() {
        let kernel = Batched {
            left,
            right,
            batch: nest,
            row_stride: right.columns,
            epilogue: Epilogue {
                bias: Bias::None,
                accumulator: emit.accumulator(op.dtype()),
                round: emit.rounds(op.dtype()),
                stages: op.stages.clone(),
            },
        };
        emit.step(kernel, &[&x, &y], op.shape(), op.dtype())?
    } else {
        let kernel = IntegerBatched {
            left,
            right,
            batch: nest,
        };
        emit.step(kernel, &[&x, &y], op.shape(), op.dtype())?
    };
    Ok(vec![result])
}

/// As [`Batched`], of int32, which wraps.
#[derive(Debug)]
struct IntegerBatched {
    left: Layout,
    right: Layout,
    batch: Nest,
}

impl Kernel for IntegerBatched {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let (x, y) = (io.ints(0), io.ints(1));
        let columns = self.right.columns;
        let row = |line: usize, out: &mut [u32]| {
            let (mut rest, i) = (line / self.left.rows, line % self.left.rows);
            let (mut a, mut b) = (self.left.offset as isize, self.right.offset as isize);
            for axis in (0..self.batch.sizes.len()).rev() {
                let position = (rest % self.batch.sizes[axis]) as isize;
                rest /= self.batch.sizes[axis];
                a += position * self.batch.strides[0][axis];
                b += position * self.batch.strides[1][axis];
            }
            a += i as isize * self.left.row_stride;
            for (j, out) in out.iter_mut().enumerate() {
                let b = b + j as isize * self.right.column_stride;
                *out = (0..self.left.columns as isize).fold(0i32, |sum, k| {
                    let x = x[(a + k * self.left.column_stride) as usize];
                    let y = y[(b + k * self.right.row_stride) as usize];
                    sum.wrapping_add(x.wrapping_mul(y))
                }) as u32;
            }
        };
        io.team.pieces(io.output, columns, row);
        Ok(())
    }
}

/// `linear` of int32: a product, then the bias.
pub(crate) fn integer_linear(op: &Op<'_>, emit: &mut Emit<'_>, x: &View) -> Result<Vec<View>, Reason> {
    let weight = op.view(emit, "weight")?;
    if x.is_float() || weight.is_float() {
        return Err(Reason::Unsupported(format!(
            "a product of {} and {}",
            x.dtype, weight.dtype
        )));
    }
    let weight = weight.permuted(&[1, 0]);
    let x = emit.contiguous(x)?;
    let rows = count(&x.shape[..x.rank() - 1]);
    let flat = x
        .reshaped(&[rows, x.shape[x.rank() - 1]])
        .ok_or_else(|| Reason::Invalid("`x` has no rows".into()))?;
    let kernel = IntegerBatched {
        left: matrix(&flat),
        right: matrix(&weight),
        batch: Nest {
            sizes: vec![1],
            strides: vec![vec![0]; 3],
        },
    };
    let product = emit.step(kernel, &[&flat, &weight], op.shape(), op.dtype())?;
    let Some(bias) = op.optional(emit, "bias")? else {
        return Ok(vec![product]);
    };
    let spread = bias
        .broadcast(op.shape())
        .ok_or_else(|| Reason::Invalid("`bias` does not fit".into()))?;
    let kernel = AddIntegers {
        nest: Nest::new(op.shape(), &[&product.strides, &spread.strides]),
        offset: spread.offset,
    };
    Ok(vec![emit.step(
        kernel,
        &[&product, &bias],
        op.shape(),
        op.dtype(),
    )?])
}

#[derive(Debug)]
struct AddIntegers {
    nest: Nest,
    offset: usize,
}

impl Kernel for AddIntegers {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands = [(io.inputs[0], 0), (io.inputs[1], self.offset)];
        walk(io.team, operands, &self.nest, io.output, |[x, y], out| {
            for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
                *out = x.wrapping_add(*y);
            }
        });
        Ok(())
    }
}
