//! Products with weights: packing activations into panels, the product kernel, and `linear`.

use std::sync::Arc;

use super::{Fault, Io, Kernel};
use crate::ane::flush_subnormals;
use crate::buffer::Buffer;
use crate::gemm::{self, Bias, Epilogue, Layout, Product, Side, Split, Sums, Target, Tiles};
use crate::plan::{Emit, Op, Reason};
use crate::team::Team;
use crate::view::{Nest, Storage, View};

/// Packs matrices of one size, one after the other.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) side: Side,
    /// The first matrix; the others differ in where they start.
    pub(crate) layout: Layout,
    /// Where each starts.
    pub(crate) starts: Vec<usize>,
    /// Whether subnormal fp16 numbers count as zero.
    pub(crate) flush: bool,
}

impl Pack {
    /// Words of all panels.
    pub(crate) fn words(&self) -> usize {
        self.layout.words(self.side).saturating_mul(self.starts.len())
    }
}

impl Kernel for Pack {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let words = self.layout.words(self.side);
        if words == 0 {
            return Ok(());
        }
        let data = io.floats(0);
        let out: &mut [f32] = bytemuck::cast_slice_mut(io.output);
        for (out, start) in out.chunks_exact_mut(words).zip(&self.starts) {
            let layout = Layout {
                offset: *start,
                ..self.layout
            };
            gemm::pack_into(io.team, self.side, data, layout, out);
            if self.flush {
                flush_subnormals(out);
            }
        }
        Ok(())
    }
}

/// Panels of one operand of a product.
#[derive(Clone, Debug)]
pub(crate) enum Panels {
    /// Packed when the plan was made.
    Constant(Arc<Buffer>),
    /// In an input of the kernel, from a word on.
    Input(usize, usize),
}

impl Panels {
    fn get<'a>(&'a self, inputs: &[&'a [u32]], words: usize) -> &'a [f32] {
        match self {
            Self::Constant(buffer) => buffer.floats(),
            Self::Input(input, start) => bytemuck::cast_slice(&inputs[*input][*start..*start + words]),
        }
    }
}

/// One product of a kernel.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) left: Panels,
    pub(crate) right: Panels,
    /// Where its result starts.
    pub(crate) offset: usize,
    pub(crate) epilogue: Epilogue,
}

/// Products of packed operands, all of one size.
#[derive(Debug)]
pub(crate) struct Products {
    pub(crate) items: Vec<Item>,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) row_stride: usize,
    pub(crate) split: Split,
}

impl Products {
    fn product<'a>(&'a self, item: &'a Item, inputs: &[&'a [u32]]) -> Product<'a> {
        let Self { m, n, k, .. } = *self;
        let (left, right) = (
            gemm::panel_words(Side::Left, m, k),
            gemm::panel_words(Side::Right, n, k),
        );
        Product {
            left: item.left.get(inputs, left),
            right: item.right.get(inputs, right),
            m,
            n,
            k,
        }
    }
}

impl Kernel for Products {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let tiles = Tiles::new(bytemuck::cast_slice_mut(io.output));
        for item in &self.items {
            let product = self.product(item, io.inputs);
            let target = Target {
                tiles: &tiles,
                offset: item.offset,
                row_stride: self.row_stride,
            };
            gemm::multiply(io.team, product, self.split, target, &item.epilogue);
        }
        Ok(())
    }

    fn sums(&self, inputs: &[&[u32]], team: Team) -> Option<Sums> {
        let measured = self
            .items
            .iter()
            .map(|item| gemm::measure(team, self.product(item, inputs), &item.epilogue.bias));
        measured.reduce(Sums::max)
    }
}

/// Panels of the operand bound to `name`, a matrix of the given layout: packed now if it is constant, else by a
/// step, whose view is given too.
pub(crate) fn operand(
    op: &Op<'_>,
    emit: &mut Emit<'_>,
    name: &str,
    side: Side,
    layout: Layout,
) -> Result<(Panels, Option<View>), Reason> {
    if let Some(id) = op.constant(name) {
        let panels = op.constants.packed(id, emit, side, layout)?;
        return Ok((Panels::Constant(panels), None));
    }
    let view = op.view(emit, name)?;
    let view = emit.contiguous(&view)?;
    let layout = Layout {
        offset: view.offset + layout.offset,
        ..layout
    };
    if let Storage::Constant(index) = view.storage {
        let words = layout.words(side);
        emit.take(words)?;
        let mut panels = Buffer::zeroed(words)?;
        gemm::pack_into(
            emit.team,
            side,
            emit.constants[index].floats(),
            layout,
            panels.floats_mut(),
        );
        if emit.accumulator(op.dtype()).flush {
            flush_subnormals(panels.floats_mut());
        }
        return Ok((Panels::Constant(Arc::new(panels)), None));
    }
    let pack = Pack {
        side,
        layout,
        starts: vec![layout.offset],
        flush: emit.accumulator(op.dtype()).flush,
    };
    let words = pack.words();
    let packed = emit.step(pack, &[&view], &[words], view.dtype)?;
    Ok((Panels::Input(0, 0), Some(packed)))
}

/// The bias bound to `bias`, if any.
pub(crate) fn bias(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Option<Arc<[f32]>>, Reason> {
    Ok(op.floats(emit, "bias")?.map(Into::into))
}

/// The leading axes of `x` as rows one stride apart, its last axis as columns; copied if need be.
pub(crate) fn rows_of(emit: &mut Emit<'_>, x: &View) -> Result<(View, Layout), Reason> {
    let last = x.rank() - 1;
    let nest = Nest::new(&x.shape[..last], &[&x.strides[..last]]);
    let (x, row_stride) = if nest.sizes.len() == 1 {
        (x.clone(), nest.inner_stride(0))
    } else {
        (emit.contiguous(x)?, x.shape[last] as isize)
    };
    let layout = Layout {
        offset: x.offset,
        rows: x.shape[..last].iter().product(),
        columns: x.shape[last],
        row_stride,
        column_stride: x.strides[last],
    };
    Ok((x, layout))
}

/// Rows of `x` times a constant matrix: what `linear` and a `matmul` with a weight come down to.
pub(crate) fn rows_times(
    op: &Op<'_>,
    emit: &mut Emit<'_>,
    x: &View,
    weight: (&str, Layout),
    bias: Bias,
) -> Result<View, Reason> {
    let (x, rows) = rows_of(emit, x)?;
    let (right, computed) = operand(op, emit, weight.0, Side::Right, weight.1)?;
    let words = rows.words(Side::Left);
    let flush = emit.accumulator(op.dtype()).flush;
    let left = emit.derived(&x, "left panels", &[words], || Pack {
        side: Side::Left,
        layout: rows,
        starts: vec![rows.offset],
        flush,
    })?;
    let kernel = Products {
        m: rows.rows,
        n: weight.1.columns,
        k: rows.columns,
        row_stride: weight.1.columns,
        split: Split::Right,
        items: vec![Item {
            left: Panels::Input(0, left.offset),
            right: match right {
                Panels::Input(_, start) => Panels::Input(1, start),
                constant => constant,
            },
            offset: 0,
            epilogue: Epilogue {
                bias,
                accumulator: emit.accumulator(op.dtype()),
                round: emit.rounds(op.dtype()),
                stages: op.stages.clone(),
            },
        }],
    };
    let mut inputs = vec![&left];
    inputs.extend(&computed);
    emit.step(kernel, &inputs, op.shape(), op.dtype())
}

/// `x[.., I] · weight[O, I]ᵀ + bias[O]`.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let weight = op.call.tensor("weight")?;
    if !x.is_float() || !weight.dtype.is_float() {
        return super::matmul::integer_linear(op, emit, &x);
    }
    let (outputs, inputs) = (op.shape()[x.rank() - 1], x.shape[x.rank() - 1]);
    let layout = Layout {
        offset: 0,
        rows: inputs,
        columns: outputs,
        row_stride: 1,
        column_stride: inputs as isize,
    };
    let bias = bias(op, emit)?.map_or(Bias::None, Bias::Column);
    Ok(vec![rows_times(op, emit, &x, ("weight", layout), bias)?])
}
