//! Consecutive elements of a rearranged tensor, read in few large pieces.

use corer_mil::WeightError;

use super::{Base, LazyTensor, Rows, convert, scratch};
use crate::source::error::shortened;
use crate::source::tensor_set::TensorSlice;

/// Rows read for nothing per row wanted, at most, when scattered rows are read together.
const SPARSEST: u64 = 8;

impl LazyTensor {
    /// Fills `out` with the elements from `first` on, in the order they are seen, unscaled.
    pub(super) fn read_run(&self, first: u64, out: &mut [f32]) -> Result<(), WeightError> {
        if out.is_empty() {
            return Ok(());
        }
        if self.transposed {
            self.read_transposed(first, out)
        } else {
            self.read_picked(first, out)
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

    /// Elements of the picked rows and columns, before any transposition.
    fn read_picked(&self, first: u64, out: &mut [f32]) -> Result<(), WeightError> {
        match (&self.columns, &self.rows) {
            (None, Rows::Range(range)) => self.read_base(range.start * self.base_columns + first, out),
            (None, Rows::Listed(list)) => self.read_listed_rows(list, first, out),
            (Some(columns), _) => self.read_columns(columns, first, out),
        }
    }

    /// Whole rows in a listed order.
    fn read_listed_rows(&self, list: &[u32], first: u64, out: &mut [f32]) -> Result<(), WeightError> {
        let width = self.base_columns;
        let (mut position, mut rest) = (first, out);
        while !rest.is_empty() {
            let column = position % width;
            // Rows are listed in memory, so their positions fit usize.
            let wanted = &list[(position / width) as usize..];
            let most = (rest.len() as u64 + column).div_ceil(width);
            let wanted = &wanted[..most.min(wanted.len() as u64) as usize];
            let (window, low, high) = close_together(wanted, width);
            let elements = ((window as u64 * width - column).min(rest.len() as u64)) as usize;
            let (now, later) = rest.split_at_mut(elements);
            if high - low == window as u64 - 1 && wanted[..window].is_sorted() {
                self.read_base(low * width + column, now)?;
            } else {
                // `close_together` keeps the span within a buffer.
                scratch::with(((high - low + 1) * width) as usize, |span| {
                    self.read_base(low * width, span)?;
                    let picked = wanted[..window].iter().flat_map(|row| {
                        let start = ((u64::from(*row) - low) * width) as usize;
                        &span[start..start + width as usize]
                    });
                    for (value, picked) in now.iter_mut().zip(picked.skip(column as usize)) {
                        *value = *picked;
                    }
                    Ok::<_, WeightError>(())
                })?;
            }
            position += elements as u64;
            rest = later;
        }
        Ok(())
    }

    /// Picked columns of picked rows.
    fn read_columns(&self, columns: &[u32], first: u64, out: &mut [f32]) -> Result<(), WeightError> {
        let (width, picked) = (self.base_columns, columns.len() as u64);
        let (mut position, mut rest) = (first, out);
        while !rest.is_empty() {
            let row = position / picked;
            let skip = (position % picked) as usize;
            if width > scratch::CAPACITY as u64 {
                let count = (columns.len() - skip).min(rest.len());
                let (now, later) = rest.split_at_mut(count);
                self.read_scattered(self.rows.get(row) * width, &columns[skip..skip + count], now)?;
                position += count as u64;
                rest = later;
                continue;
            }
            // As many consecutive rows as fit a buffer.
            let most = (scratch::CAPACITY as u64 / width)
                .min((rest.len() + skip) as u64 / picked)
                .max(1);
            let start = self.rows.get(row);
            let count = (1..most)
                .take_while(|next| self.rows.get(row + next) == start + next)
                .count()
                + 1;
            let elements = (count * columns.len() - skip).min(rest.len());
            let (now, later) = rest.split_at_mut(elements);
            scratch::with(count * width as usize, |block| {
                self.read_base(start * width, block)?;
                let mut now = now.iter_mut();
                for (index, row) in block.chunks_exact(width as usize).enumerate() {
                    let wanted = if index == 0 { &columns[skip..] } else { columns };
                    for (column, value) in wanted.iter().zip(&mut now) {
                        *value = row[*column as usize];
                    }
                }
                Ok::<_, WeightError>(())
            })?;
            position += elements as u64;
            rest = later;
        }
        Ok(())
    }

    /// Columns of one row too long for a buffer: a read per run of neighbours.
    fn read_scattered(&self, row_start: u64, columns: &[u32], out: &mut [f32]) -> Result<(), WeightError> {
        let mut rest = out;
        for run in columns.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
            let (now, later) = rest.split_at_mut(run.len());
            self.read_base(row_start + u64::from(run[0]), now)?;
            rest = later;
        }
        Ok(())
    }

    /// The picked matrix seen transposed: blocks of its rows are read and scattered into the columns of `out`.
    fn read_transposed(&self, first: u64, out: &mut [f32]) -> Result<(), WeightError> {
        let (height, width) = (self.picked_rows(), self.picked_columns());
        let last = first + out.len() as u64 - 1;
        let (low, high) = (first / height, last / height);
        let (row_low, row_high) = if low == high {
            (first % height, last % height)
        } else {
            (0, height - 1)
        };
        // Whole rows come in larger reads; worth it when a good part of them is wanted.
        let wanted = high - low + 1;
        let whole = wanted * 4 >= width && width <= scratch::CAPACITY as u64;
        let (read_low, read_width) = if whole {
            (0, width)
        } else {
            (low, wanted.min(scratch::CAPACITY as u64))
        };
        let mut row = row_low;
        while row <= row_high {
            let rows = if whole {
                (scratch::CAPACITY as u64 / width).min(row_high - row + 1)
            } else {
                1
            };
            let mut column = read_low;
            while column <= high {
                let piece = read_width.min(width - column);
                scratch::with((rows * piece) as usize, |block| {
                    self.read_picked(row * width + column, block)?;
                    for (index, line) in block.chunks_exact(piece as usize).enumerate() {
                        for (value, at) in line.iter().zip(column..=high).filter(|(_, at)| *at >= low) {
                            let seen = at * height + row + index as u64;
                            if let Some(slot) =
                                seen.checked_sub(first).and_then(|at| out.get_mut(at as usize))
                            {
                                *slot = *value;
                            }
                        }
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

/// How many of the first rows to read together, and the lowest and highest of them: a sorted run of neighbours, or
/// rows whose span fits a buffer and is not mostly waste.
fn close_together(rows: &[u32], width: u64) -> (usize, u64, u64) {
    let run = 1 + rows
        .windows(2)
        .take_while(|pair| pair[0].checked_add(1) == Some(pair[1]))
        .count();
    let run_low = u64::from(rows[0]);
    let (mut low, mut high) = (run_low, run_low);
    let mut best = (run, run_low, run_low + run as u64 - 1);
    for (index, row) in rows.iter().map(|row| u64::from(*row)).enumerate() {
        (low, high) = (low.min(row), high.max(row));
        let span = high - low + 1;
        if span.saturating_mul(width) > scratch::CAPACITY as u64 {
            break;
        }
        let count = index + 1;
        if count > best.0 && span <= SPARSEST * count as u64 {
            best = (count, low, high);
        }
    }
    best
}
