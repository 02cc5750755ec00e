//! Lookups by index. An index from −size to −1 counts from the end; any other outside the axis is an error.

use super::{Fault, Io, Kernel};
use crate::decode::Rows;
use crate::plan::{Emit, Op, Reason};
use crate::view::{View, count, row_major};

/// What errors call the value that holds the indices.
#[derive(Clone, Debug)]
struct Indices {
    name: String,
    offset: usize,
}

impl Indices {
    /// The place an index means.
    fn place(&self, index: i32, size: usize) -> Result<usize, Fault> {
        let wrapped = if index < 0 {
            i64::from(index) + size as i64
        } else {
            i64::from(index)
        };
        usize::try_from(wrapped)
            .ok()
            .filter(|place| *place < size)
            .ok_or_else(|| Fault::Index {
                value: self.name.clone(),
                index: i64::from(index),
                size,
            })
    }

    /// Checks all indices before anything is computed from them.
    fn places(&self, indices: &[i32], size: usize) -> Result<Vec<usize>, Fault> {
        indices.iter().map(|index| self.place(*index, size)).collect()
    }
}

/// Row-major indices bound to `indices`.
fn indices(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<(View, Indices), Reason> {
    let view = op.view(emit, "indices")?;
    let view = emit.contiguous(&view)?;
    let indices = Indices {
        name: op.name_of("indices"),
        offset: view.offset,
    };
    Ok((view, indices))
}

/// x[batch, outer, index[batch, ..], inner].
#[derive(Debug)]
struct Gather {
    indices: Indices,
    offset: usize,
    batch: usize,
    outer: usize,
    size: usize,
    /// Indices for each batch entry.
    picks: usize,
    inner: usize,
}

impl Kernel for Gather {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let Self {
            outer,
            size,
            picks,
            inner,
            ..
        } = *self;
        let start = self.indices.offset;
        let places = self
            .indices
            .places(&io.ints(1)[start..start + self.batch * picks], size)?;
        let x = io.inputs[0];
        if picks * inner == 0 {
            return Ok(());
        }
        io.team.pieces(io.output, picks * inner, |line, out| {
            let batch = line / outer;
            for (out, place) in out.chunks_exact_mut(inner).zip(&places[batch * picks..]) {
                let from = self.offset + (line * size + place) * inner;
                out.copy_from_slice(&x[from..from + inner]);
            }
        });
        Ok(())
    }
}

/// Rows of a table that stays packed as it is in the weight file.
#[derive(Debug)]
struct Table {
    indices: Indices,
    picks: usize,
    size: usize,
    /// Elements of a row.
    inner: usize,
    rows: Rows,
}

impl Kernel for Table {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let start = self.indices.offset;
        let places = self
            .indices
            .places(&io.ints(0)[start..start + self.picks], self.size)?;
        if self.inner > 0 {
            io.team.pieces(io.output, self.inner, |pick, out| {
                self.rows.decode(places[pick], out);
            });
        }
        Ok(())
    }
}

/// `x[..axis] + indices[batch_dims..] + x[axis + 1..]`.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x_type = op.call.tensor("x")?;
    let rank = x_type.rank();
    let axis = op.call.axis_or("axis", 0, rank)?;
    let batch = usize::try_from(op.call.int_or("batch_dims", 0)?).unwrap_or_default();
    let (view, indices) = indices(op, emit)?;
    if let (0, Some(id)) = (axis, op.constant("x"))
        && let Some(rows) = op.constants.rows(id, emit)?
    {
        let shape = &op.constants.get(id).shape;
        let kernel = Table {
            picks: view.count(),
            indices,
            size: shape[0],
            inner: count(&shape[1..]),
            rows,
        };
        return Ok(vec![emit.step(kernel, &[&view], op.shape(), op.dtype())?]);
    }
    let x = op.view(emit, "x")?;
    let x = emit.contiguous(&x)?;
    let kernel = Gather {
        offset: x.offset,
        batch: count(&x.shape[..batch]),
        outer: count(&x.shape[batch..axis]),
        size: x.shape[axis],
        picks: count(&view.shape[batch..]),
        inner: count(&x.shape[axis + 1..]),
        indices,
    };
    Ok(vec![emit.step(kernel, &[&x, &view], op.shape(), op.dtype())?])
}

/// One element of the line along the axis for each index.
#[derive(Debug)]
struct AlongAxis {
    indices: Indices,
    offset: usize,
    size: usize,
    picks: usize,
    inner: usize,
}

impl Kernel for AlongAxis {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let Self {
            size, picks, inner, ..
        } = *self;
        let start = self.indices.offset;
        let places = self
            .indices
            .places(&io.ints(1)[start..start + io.output.len()], size)?;
        let x = io.inputs[0];
        io.team.pieces(io.output, picks * inner, |outer, out| {
            let places = &places[outer * picks * inner..];
            for (position, (word, place)) in out.iter_mut().zip(places).enumerate() {
                *word = x[self.offset + (outer * size + place) * inner + position % inner];
            }
        });
        Ok(())
    }
}

/// Result like `indices`.
pub(crate) fn lower_along_axis(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let x = emit.contiguous(&x)?;
    let axis = op.call.axis_or("axis", 0, x.rank())?;
    let (view, indices) = indices(op, emit)?;
    let kernel = AlongAxis {
        indices,
        offset: x.offset,
        size: x.shape[axis],
        picks: view.shape[axis],
        inner: count(&x.shape[axis + 1..]),
    };
    Ok(vec![emit.step(kernel, &[&x, &view], op.shape(), op.dtype())?])
}

/// Coordinates into the axes after the batch.
#[derive(Debug)]
struct Coordinates {
    indices: Indices,
    offset: usize,
    /// Sizes and strides of the axes coordinates select from.
    axes: Vec<(usize, usize)>,
    /// Coordinate tuples for each batch entry.
    picks: usize,
    batch: usize,
    batch_stride: usize,
    inner: usize,
}

impl Kernel for Coordinates {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let depth = self.axes.len();
        let indices = &io.ints(1)[self.indices.offset..];
        let mut starts = Vec::with_capacity(self.batch * self.picks);
        for tuple in 0..self.batch * self.picks {
            let mut start = self.offset + tuple / self.picks * self.batch_stride;
            for (index, (size, stride)) in indices[tuple * depth..(tuple + 1) * depth].iter().zip(&self.axes)
            {
                start += self.indices.place(*index, *size)? * stride;
            }
            starts.push(start);
        }
        let x = io.inputs[0];
        io.team.pieces(io.output, self.inner, |tuple, out| {
            out.copy_from_slice(&x[starts[tuple]..starts[tuple] + self.inner]);
        });
        Ok(())
    }
}

/// The last axis of `indices` holds coordinates into `x`.
pub(crate) fn lower_nd(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let x = emit.contiguous(&x)?;
    let batch = usize::try_from(op.call.int_or("batch_dims", 0)?).unwrap_or_default();
    let (view, indices) = indices(op, emit)?;
    let last = view.rank() - 1;
    if batch > last {
        return Err(Reason::Invalid(
            "`batch_dims` leaves no axis of coordinates".into(),
        ));
    }
    let depth = view.shape[last];
    let strides = row_major(&x.shape);
    let kernel = Coordinates {
        indices,
        offset: x.offset,
        axes: (batch..batch + depth)
            .map(|axis| (x.shape[axis], strides[axis] as usize))
            .collect(),
        picks: count(&view.shape[batch..last]),
        batch: count(&x.shape[..batch]),
        batch_stride: count(&x.shape[batch..]),
        inner: count(&x.shape[batch + depth..]),
    };
    Ok(vec![emit.step(kernel, &[&x, &view], op.shape(), op.dtype())?])
}
