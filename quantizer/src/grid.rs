//! A tensor cut into cells that share parameters.

use std::ops::Range;

/// A dense shape and, per axis, how many equal cells it is cut into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Grid {
    /// Sizes.
    pub(crate) shape: Vec<usize>,
    /// Cells along each axis; each divides the size.
    pub(crate) cells: Vec<usize>,
    /// The last axis that is cut; none when there is one cell.
    cut: Option<usize>,
    /// Row-major elements that follow each other within a cell.
    run: usize,
}

impl Grid {
    /// Cuts `shape`; `None` when a number of cells does not divide its size.
    pub(crate) fn new(shape: &[usize], cells: &[usize]) -> Option<Self> {
        let divides = shape
            .iter()
            .zip(cells)
            .all(|(size, cells)| *cells > 0 && size.is_multiple_of(*cells));
        if shape.len() != cells.len() || !divides {
            return None;
        }
        let cut = cells.iter().rposition(|cells| *cells > 1);
        let run = match cut {
            None => shape.iter().product(),
            Some(axis) => shape[axis] / cells[axis] * shape[axis + 1..].iter().product::<usize>(),
        };
        Some(Self {
            shape: shape.to_vec(),
            cells: cells.to_vec(),
            cut,
            run,
        })
    }

    /// One cell.
    pub(crate) fn whole(shape: &[usize]) -> Self {
        Self {
            shape: shape.to_vec(),
            cells: vec![1; shape.len()],
            cut: None,
            run: shape.iter().product(),
        }
    }

    /// One cell per index of `axis`, which is split into `cells`; the others are whole.
    pub(crate) fn along(shape: &[usize], axis: usize, cells: usize) -> Option<Self> {
        let mut all = vec![1; shape.len()];
        *all.get_mut(axis)? = cells;
        Self::new(shape, &all)
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of cells.
    pub(crate) fn count(&self) -> usize {
        self.cells.iter().product()
    }

    /// Elements in each cell.
    pub(crate) fn cell_len(&self) -> usize {
        self.len() / self.count().max(1)
    }

    /// Elements that follow each other within a cell.
    pub(crate) const fn run(&self) -> usize {
        self.run
    }

    /// Whether each cell is one stretch of row-major elements, cells following each other in order.
    pub(crate) fn contiguous(&self) -> bool {
        self.run == self.cell_len()
    }

    /// The cell of the `index`-th run.
    pub(crate) fn cell_of_run(&self, index: usize) -> usize {
        let Some(cut) = self.cut else { return 0 };
        if self.contiguous() {
            return index;
        }
        let mut rest = index / self.cells[cut];
        let mut cell = index % self.cells[cut];
        let mut stride = self.cells[cut];
        for axis in (0..cut).rev() {
            let size = self.shape[axis];
            cell += rest % size / (size / self.cells[axis]) * stride;
            rest /= size;
            stride *= self.cells[axis];
        }
        cell
    }

    /// Calls `visit` with each stretch of `range` that lies in one cell, relative to the range's start, and the cell.
    #[inline(always)]
    pub(crate) fn stretches(&self, range: Range<usize>, mut visit: impl FnMut(Range<usize>, usize)) {
        let mut at = range.start;
        while at < range.end {
            let index = at / self.run;
            let end = ((index + 1) * self.run).min(range.end);
            visit(at - range.start..end - range.start, self.cell_of_run(index));
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_that_do_not_divide_are_refused() {
        assert!(Grid::new(&[4, 6], &[3, 3]).is_none());
        assert!(Grid::new(&[4, 6], &[0, 3]).is_none());
        assert!(Grid::new(&[4, 6], &[4]).is_none());
    }

    proptest! {
        /// Against indices taken apart axis by axis.
        #[test]
        fn each_element_has_its_cell(
            axes in prop::collection::vec((1usize..5, 1usize..4), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let cells: Vec<usize> = axes.iter().map(|(cells, _)| *cells).collect();
            let shape: Vec<usize> = axes.iter().map(|(cells, size)| cells * size).collect();
            let grid = Grid::new(&shape, &cells).unwrap();
            let len: usize = shape.iter().product();
            let cell_of = |index: usize| {
                let (mut rest, mut cell, mut stride) = (index, 0, 1);
                for axis in (0..shape.len()).rev() {
                    cell += rest % shape[axis] / axes[axis].1 * stride;
                    stride *= cells[axis];
                    rest /= shape[axis];
                }
                cell
            };
            let start = cut.index(len);
            let mut seen = vec![usize::MAX; len - start];
            grid.stretches(start..len, |range, cell| seen[range].fill(cell));
            let expected: Vec<usize> = (start..len).map(cell_of).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
