//! Copying strided elements to row-major order: what transpositions and reversals come down to.

use super::{Fault, Io, Kernel};
use crate::team::Team;
use crate::view::{Nest, View, row_major};

/// Copies a view row-major.
#[derive(Debug)]
pub(crate) struct Copy {
    nest: Nest,
    offset: usize,
}

impl Copy {
    pub(crate) fn new(view: &View) -> Self {
        Self {
            nest: Nest::new(&view.shape, &[&view.strides]),
            offset: view.offset,
        }
    }
}

impl Kernel for Copy {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        copy(io.team, io.inputs[0], self.offset, &self.nest, io.output);
        Ok(())
    }
}

/// Edge of the squares a transposition goes by.
const EDGE: usize = 16;

/// Copies the elements of `nest`'s first operand to `out` in row-major order.
pub(crate) fn copy(team: Team, data: &[u32], offset: usize, nest: &Nest, out: &mut [u32]) {
    let inner = nest.inner();
    if inner == 0 || out.is_empty() {
        return;
    }
    let stride = nest.inner_stride(0);
    let axes = nest.sizes.len();
    // An axis read without gaps, when the innermost is not: the two make a transposition.
    let other = (0..axes - 1).find(|axis| nest.strides[0][*axis] == 1 && nest.sizes[*axis] > 1);
    if let (true, Some(axis)) = (stride != 1 && stride != 0, other) {
        return transpose(team, data, offset, nest, axis, out);
    }
    let runs_per_task = (super::elementwise::TASK / inner).max(1);
    team.pieces(out, runs_per_task * inner, |task, out| {
        for (run, line) in out.chunks_mut(inner).enumerate() {
            let start = offset.wrapping_add_signed(nest.start(0, task * runs_per_task + run));
            if stride == 1 {
                line.copy_from_slice(&data[start..start + line.len()]);
            } else {
                let mut at = start;
                for word in line {
                    *word = data[at];
                    at = at.wrapping_add_signed(stride);
                }
            }
        }
    });
}

/// As [`copy`], when `axis` is read without gaps and the innermost axis is not.
fn transpose(team: Team, data: &[u32], offset: usize, nest: &Nest, axis: usize, out: &mut [u32]) {
    let axes = nest.sizes.len();
    let (rows, columns) = (nest.sizes[axis], nest.sizes[axes - 1]);
    let column_stride = nest.strides[0][axes - 1];
    let out_strides = row_major(&nest.sizes);
    let row_stride = out_strides[axis] as usize;
    // Everything outside `axis` is cut into tasks; everything between it and the innermost axis is looped over.
    let outside: usize = nest.sizes[..axis].iter().product();
    let between: Vec<usize> = nest.sizes[axis + 1..axes - 1].to_vec();
    let middle: usize = between.iter().product();
    let block = row_stride * rows;
    // One piece of output is a stretch of rows of `axis` within one outside index.
    let rows_per_task = if outside >= team.threads() * 2 {
        rows
    } else {
        rows.div_ceil(team.threads() * 2).next_multiple_of(EDGE).min(rows)
    };
    let tasks_per_block = rows.div_ceil(rows_per_task);
    let task = |index: usize, first: usize, out: &mut [u32]| {
        let mut base = offset as isize;
        let mut rest = index;
        for outer in (0..axis).rev() {
            base += (rest % nest.sizes[outer]) as isize * nest.strides[0][outer];
            rest /= nest.sizes[outer];
        }
        let count = out.len() / row_stride;
        for between_index in 0..middle {
            let (mut from, mut to) = (base, 0usize);
            let mut rest = between_index;
            for inner in (axis + 1..axes - 1).rev() {
                let position = rest % nest.sizes[inner];
                from += position as isize * nest.strides[0][inner];
                to += position * out_strides[inner] as usize;
                rest /= nest.sizes[inner];
            }
            for row in (0..count).step_by(EDGE) {
                let high = EDGE.min(count - row);
                for column in (0..columns).step_by(EDGE) {
                    let wide = EDGE.min(columns - column);
                    let mut square = [[0u32; EDGE]; EDGE];
                    for (c, line) in square.iter_mut().enumerate().take(wide) {
                        let start = (from + (column + c) as isize * column_stride) as usize + first + row;
                        line[..high].copy_from_slice(&data[start..start + high]);
                    }
                    for r in 0..high {
                        let start = to + (row + r) * row_stride + column;
                        for (word, line) in out[start..start + wide].iter_mut().zip(&square) {
                            *word = line[r];
                        }
                    }
                }
            }
        }
    };
    if tasks_per_block == 1 {
        team.pieces(out, block, |index, out| task(index, 0, out));
    } else {
        for (index, out) in out.chunks_mut(block).enumerate() {
            team.pieces(out, rows_per_task * row_stride, |piece, out| {
                task(index, piece * rows_per_task, out);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use corer_mil::DataType;

    use super::*;
    use crate::view::Storage;

    #[test]
    fn copies_any_strides_with_any_number_of_threads() {
        let shape = [3, 20, 2, 37];
        let data: Vec<u32> = (0..shape.iter().product::<usize>() as u32).collect();
        let whole = View::whole(Storage::Buffer(0), shape.to_vec(), DataType::Int32);
        let mut views = vec![
            whole.clone(),
            whole.sliced(3, 35, 18, -2),
            whole.sliced(1, 19, 20, -1),
        ];
        for perm in [
            [3, 0, 1, 2],
            [0, 3, 2, 1],
            [0, 2, 3, 1],
            [3, 2, 1, 0],
            [1, 0, 3, 2],
            [2, 3, 0, 1],
        ] {
            views.push(whole.permuted(&perm));
            views.push(views[2].permuted(&perm));
        }
        for view in views {
            let mut expected = Vec::new();
            let ones = Nest {
                sizes: view.shape.clone(),
                strides: vec![view.strides.clone()],
            };
            for run in 0..ones.runs() {
                for column in 0..ones.inner() {
                    let at =
                        view.offset as isize + ones.start(0, run) + column as isize * ones.inner_stride(0);
                    expected.push(data[at as usize]);
                }
            }
            for threads in [1, 2, 5] {
                let mut out = vec![0; view.count()];
                copy(
                    Team::of(threads),
                    &data,
                    view.offset,
                    &Nest::new(&view.shape, &[&view.strides]),
                    &mut out,
                );
                assert_eq!(out, expected, "{:?} {:?}", view.shape, view.strides);
            }
        }
    }
}
