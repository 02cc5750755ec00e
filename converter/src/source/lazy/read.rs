//! Consecutive elements of a rearranged tensor, read in few large pieces and converted while they are in cache.

use corer_mil::WeightError;

use super::{Base, LazyTensor, Rows, convert, scratch};
use crate::source::error::shortened;
use crate::source::tensor_set::TensorSlice;

/// Elements that take about as long to copy as a system call.
const WORTH_A_CALL: u64 = 512;

/// Listed rows put in order at once.
const ROWS_SORTED: u64 = 1 << 13;

/// Values of a transposed row converted at once.
const LINE: usize = 64;

/// What is done to values on their way out: a factor, then a conversion of each.
pub(super) struct Conversion<F> {
    pub(super) factor: f32,
    pub(super) convert: F,
}

impl<F> Conversion<F> {
    /// Scales values and converts them.
    fn run<T>(&self, values: &mut [f32], out: &mut [T])
    where
        F: Fn(&[f32], &mut [T]),
    {
        convert::scale(values, self.factor);
        (self.convert)(values, out);
    }
}

impl LazyTensor {
    /// Fills `out` with the elements from `first` on, in the order they are seen, unscaled.
    pub(super) fn read_run(&self, first: u64, out: &mut [f32]) -> Result<(), WeightError> {
        if let Some(start) = self.consecutive() {
            return self.read_base(start + first, out);
        }
        let copy = |values: &[f32], out: &mut [f32]| out.copy_from_slice(values);
        self.read_converted(
            first,
            out,
            &Conversion {
                factor: 1.0,
                convert: copy,
            },
        )
    }

    /// Fills `out` with the elements from `first` on, converted. Larger `out` means fewer, longer reads.
    pub(super) fn read_converted<T: bytemuck::Pod>(
        &self,
        first: u64,
        out: &mut [T],
        conversion: &Conversion<impl Fn(&[f32], &mut [T])>,
    ) -> Result<(), WeightError> {
        if out.is_empty() {
            return Ok(());
        }
        match (&self.columns, &self.rows) {
            _ if self.transposed => self.read_transposed(first, out, conversion),
            (None, Rows::Range(range)) => {
                self.read_consecutive(range.start * self.base_columns + first, out, conversion)
            }
            (None, Rows::Listed(list)) if self.base_columns <= scratch::CAPACITY as u64 => {
                self.read_listed_rows(list, first, out, conversion)
            }
            (None, Rows::Listed(_)) => self.read_long_rows(first, out, conversion),
            (Some(columns), _) => self.read_columns(columns, first, out, conversion),
        }
    }

    /// The tensor in the file and the position in it (as stored) behind an element as seen.
    pub(super) fn locate(&self, position: u64) -> Option<(&TensorSlice, u64)> {
        let (rows, columns) = (self.picked_rows(), self.picked_columns());
        let (row, column) = if self.transposed {
            (position.checked_rem(rows)?, position / rows)
        } else {
            (position.checked_div(columns)?, position % columns)
        };
        let column = match &self.columns {
            None => column,
            Some(columns) => u64::from(*columns.get(usize::try_from(column).ok()?)?),
        };
        let element = self.rows.get(row) * self.base_columns + column;
        match &self.base {
            Base::Slice(slice) => Some((slice, element)),
            Base::Nested(inner) => inner.locate(element),
            Base::Placeholder(_) => None,
        }
    }

    /// The first element of the base, when all elements are consecutive there.
    pub(super) fn consecutive(&self) -> Option<u64> {
        match (&self.columns, &self.rows) {
            (None, Rows::Range(range)) if !self.transposed => Some(range.start * self.base_columns),
            _ => None,
        }
    }

    fn read_base(&self, first: u64, out: &mut [f32]) -> Result<(), WeightError> {
        match &self.base {
            Base::Slice(slice) => convert::read_f32(slice, first, out),
            Base::Nested(inner) => inner.read_run(first, out),
            Base::Placeholder(name) => Err(WeightError {
                place: format!("tensor `{}`", shortened(name)),
                reason: "is missing from the checkpoint".into(),
            }),
        }
    }

    /// Consecutive elements of the base.
    fn read_consecutive<T>(
        &self,
        first: u64,
        out: &mut [T],
        conversion: &Conversion<impl Fn(&[f32], &mut [T])>,
    ) -> Result<(), WeightError> {
        let mut position = first;
        for piece in out.chunks_mut(scratch::CAPACITY) {
            scratch::with(piece.len(), |values| {
                self.read_base(position, values)?;
                conversion.run(values, piece);
                Ok::<_, WeightError>(())
            })?;
            position += piece.len() as u64;
        }
        Ok(())
    }

    /// Whole rows in a listed order, read in the order they lie in: packing attention heads spreads neighbours over
    /// the list, and a read per row would cost more than the copying.
    fn read_listed_rows<T>(
        &self,
        list: &[u32],
        first: u64,
        out: &mut [T],
        conversion: &Conversion<impl Fn(&[f32], &mut [T])>,
    ) -> Result<(), WeightError> {
        let width = self.base_columns;
        let end = first + out.len() as u64;
        let mut start = first / width;
        // A row and where in the list it stands.
        let mut wanted: Vec<(u64, u64)> = Vec::new();
        while start * width < end {
            let stop = end.div_ceil(width).min(start + ROWS_SORTED);
            wanted.clear();
            wanted.extend((start..stop).map(|index| (u64::from(list[index as usize]), index)));
            wanted.sort_unstable();
            let near = |a: &(u64, u64), b: &(u64, u64)| (b.0 - a.0).saturating_sub(1) * width <= WORTH_A_CALL;
            for neighbours in wanted.chunk_by(near) {
                let mut rest = neighbours;
                while let Some((low, _)) = rest.first() {
                    let fits = |(row, _): &(u64, u64)| (row - low + 1) * width <= scratch::CAPACITY as u64;
                    let (now, later) = rest.split_at(rest.partition_point(fits));
                    rest = later;
                    let high = now.last().map_or(*low, |(row, _)| *row);
                    scratch::with(((high - low + 1) * width) as usize, |span| {
                        self.read_base(low * width, span)?;
                        convert::scale(span, conversion.factor);
                        for (row, index) in now {
                            let values = &span[((row - low) * width) as usize..][..width as usize];
                            // The first and the last row may be wanted in part.
                            let from = first.saturating_sub(index * width);
                            let to = width.min(end - index * width);
                            let at = (index * width + from - first) as usize;
                            let out = &mut out[at..][..(to - from) as usize];
                            (conversion.convert)(&values[from as usize..to as usize], out);
                        }
                        Ok::<_, WeightError>(())
                    })?;
                }
            }
            start = stop;
        }
        Ok(())
    }

    /// Whole rows longer than a buffer, one after the other.
    fn read_long_rows<T>(
        &self,
        first: u64,
        out: &mut [T],
        conversion: &Conversion<impl Fn(&[f32], &mut [T])>,
    ) -> Result<(), WeightError> {
        let width = self.base_columns;
        let (mut position, mut rest) = (first, out);
        while !rest.is_empty() {
            let (row, column) = (position / width, position % width);
            let count = (width - column).min(rest.len() as u64);
            let (now, later) = rest.split_at_mut(count as usize);
            self.read_consecutive(self.rows.get(row) * width + column, now, conversion)?;
            position += count;
            rest = later;
        }
        Ok(())
    }

    /// Picked columns of picked rows.
    fn read_columns<T>(
        &self,
        columns: &[u32],
        first: u64,
        out: &mut [T],
        conversion: &Conversion<impl Fn(&[f32], &mut [T])>,
    ) -> Result<(), WeightError> {
        let picked = columns.len() as u64;
        let mut position = first;
        for piece in out.chunks_mut(scratch::CAPACITY) {
            scratch::with(piece.len(), |values| {
                let mut rest = &mut *values;
                while !rest.is_empty() {
                    let (row, skip) = (position / picked, (position % picked) as usize);
                    let taken = self.gather(row, columns, skip, rest)?;
                    position += taken as u64;
                    rest = rest.split_at_mut(taken).1;
                }
                conversion.run(values, piece);
                Ok::<_, WeightError>(())
            })?;
        }
        Ok(())
    }

    /// Picked columns of a row, but the first `skip` of them, and of the rows that follow it in the base as in the
    /// list, as far as `out` and a buffer reach. Returns how many values that were.
    fn gather(&self, row: u64, columns: &[u32], skip: usize, out: &mut [f32]) -> Result<usize, WeightError> {
        let width = self.base_columns;
        let start = self.rows.get(row);
        if width > scratch::CAPACITY as u64 {
            // A read per run of neighbours.
            let count = (columns.len() - skip).min(out.len());
            let mut rest = &mut out[..count];
            for run in columns[skip..skip + count].chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
                let (now, later) = rest.split_at_mut(run.len());
                self.read_base(start * width + u64::from(run[0]), now)?;
                rest = later;
            }
            return Ok(count);
        }
        let touched = (skip + out.len()).div_ceil(columns.len()) as u64;
        let most = touched
            .min(scratch::CAPACITY as u64 / width)
            .min(self.picked_rows() - row)
            .max(1);
        let follows = |next: &u64| self.rows.get(row + next) == start + next;
        let rows = (1..most).take_while(follows).count() + 1;
        let count = (rows * columns.len() - skip).min(out.len());
        scratch::with(rows * width as usize, |block| {
            self.read_base(start * width, block)?;
            let mut slots = out[..count].iter_mut();
            for (index, row) in block.chunks_exact(width as usize).enumerate() {
                let wanted = if index == 0 { &columns[skip..] } else { columns };
                for (slot, column) in slots.by_ref().take(wanted.len()).zip(wanted) {
                    *slot = row[*column as usize];
                }
            }
            Ok(count)
        })
    }

    /// The picked matrix seen transposed: blocks of its rows are read, and each row scattered into a column.
    fn read_transposed<T: bytemuck::Pod>(
        &self,
        first: u64,
        out: &mut [T],
        conversion: &Conversion<impl Fn(&[f32], &mut [T])>,
    ) -> Result<(), WeightError> {
        let upright = Self {
            transposed: false,
            ..self.clone()
        };
        let (height, width) = (self.picked_rows(), self.picked_columns());
        let last = first + out.len() as u64 - 1;
        let (low, high) = (first / height, last / height);
        let (row_low, row_high) = if low == high {
            (first % height, last % height)
        } else {
            (0, height - 1)
        };
        // Whole rows come in larger reads; worth it while what is read for nothing costs less than the calls.
        let wanted = high - low + 1;
        let limit = scratch::CAPACITY as u64;
        let whole = width <= limit && width <= 4 * wanted + WORTH_A_CALL;
        let (read_low, read_high) = if whole { (0, width - 1) } else { (low, high) };
        let rows_at_once = if whole { (limit / width).max(1) } else { 1 };
        let mut row = row_low;
        while row <= row_high {
            let rows = rows_at_once.min(row_high - row + 1);
            let mut column = read_low;
            while column <= read_high {
                let piece = limit.min(read_high - column + 1);
                scratch::with((rows * piece) as usize, |block| {
                    upright.read_run(row * width + column, block)?;
                    convert::scale(block, conversion.factor);
                    for (index, line) in block.chunks_exact(piece as usize).enumerate() {
                        let skip = low.saturating_sub(column);
                        let stop = piece.min(high + 1 - column);
                        let line = &line[skip as usize..stop as usize];
                        let seen = (column + skip) * height + row + index as u64;
                        scatter(line, seen, height, first, out, &conversion.convert);
                    }
                    Ok::<_, WeightError>(())
                })?;
                column += piece;
            }
            row += rows;
        }
        Ok(())
    }
}

/// Writes a line's values to `out`, which starts at element `first`, at every `stride`-th element from `seen` on.
fn scatter<T: bytemuck::Pod>(
    line: &[f32],
    seen: u64,
    stride: u64,
    first: u64,
    out: &mut [T],
    convert: impl Fn(&[f32], &mut [T]),
) {
    let mut converted = [T::zeroed(); LINE];
    let mut position = seen;
    for piece in line.chunks(LINE) {
        let converted = &mut converted[..piece.len()];
        convert(piece, converted);
        for value in converted {
            // The first and the last column of a window may begin before it or end behind it.
            if let Some(slot) = position
                .checked_sub(first)
                .and_then(|at| out.get_mut(at as usize))
            {
                *slot = *value;
            }
            position += stride;
        }
    }
}
