//! Packing matrices into panels.
//!
//! A left panel holds `geometry().rows` rows of A, element (i, k) of the panel at `k · rows + i`; a right panel
//! holds `geometry().columns` columns of B, element (k, j) at `k · columns + j`. Panels follow one another. The last
//! may be narrower: the smallest width the register tile exists for, filled up with zeros.

use super::tile::{geometry, left_width, right_width};
use crate::team::Team;

/// How a matrix lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Layout {
    /// Index of element (0, 0).
    pub(crate) offset: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: isize,
    pub(crate) column_stride: isize,
}

/// Which operand of a product a matrix is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    /// The usual width of a panel.
    fn width(self) -> usize {
        match self {
            Self::Left => geometry().rows,
            Self::Right => geometry().columns,
        }
    }

    /// The width of the last panel when `rest` rows or columns are left.
    fn last_width(self, rest: usize) -> usize {
        match self {
            Self::Left => left_width(rest),
            Self::Right => right_width(rest),
        }
    }
}

/// Words the panels take of an operand with `across` rows (left) or columns (right) and `k` columns or rows.
pub(crate) fn panel_words(side: Side, across: usize, k: usize) -> usize {
    let width = side.width();
    let rest = across % width;
    let last = if rest == 0 { 0 } else { side.last_width(rest) };
    ((across - rest).saturating_add(last)).saturating_mul(k)
}

impl Layout {
    /// Rows or columns that are cut into panels, elements along k, and the strides of both.
    fn seen_from(&self, side: Side) -> (usize, usize, isize, isize) {
        match side {
            Side::Left => (self.rows, self.columns, self.row_stride, self.column_stride),
            Side::Right => (self.columns, self.rows, self.column_stride, self.row_stride),
        }
    }

    /// Words its panels take.
    pub(crate) fn words(&self, side: Side) -> usize {
        let (across, k, ..) = self.seen_from(side);
        panel_words(side, across, k)
    }
}

/// Packs a matrix into `out`, which has [`Layout::words`].
pub(crate) fn pack_into(team: Team, side: Side, data: &[f32], matrix: Layout, out: &mut [f32]) {
    let (across, k, minor, major) = matrix.seen_from(side);
    if k == 0 {
        return;
    }
    let width = side.width();
    // Small matrices are not worth a second thread.
    let team = if out.len() < 1 << 14 { Team::ALONE } else { team };
    team.pieces(out, width * k, |panel, out| {
        let first = panel * width;
        let count = width.min(across - first);
        let start = matrix.offset.wrapping_add_signed(first as isize * minor);
        pack_panel(data, start, minor, major, count, out.len() / k, out);
    });
}

/// Element (p, i) of the panel is at `start + i · minor + p · major`, for i below `count`.
fn pack_panel(
    data: &[f32],
    start: usize,
    minor: isize,
    major: isize,
    count: usize,
    width: usize,
    out: &mut [f32],
) {
    if minor == 1 {
        let mut at = start;
        for line in out.chunks_exact_mut(width) {
            line[..count].copy_from_slice(&data[at..at + count]);
            line[count..].fill(0.0);
            at = at.wrapping_add_signed(major);
        }
        return;
    }
    if count < width {
        out.fill(0.0);
    }
    let depth = out.len() / width;
    if major == 1 {
        // Short stretches at a time, so that the lines being written stay in the nearest cache.
        const STRETCH: usize = 16;
        let mut p = 0;
        while p < depth {
            let stretch = STRETCH.min(depth - p);
            let lines = &mut out[p * width..(p + stretch) * width];
            for i in 0..count {
                let from = start.wrapping_add_signed(i as isize * minor) + p;
                let values = &data[from..from + stretch];
                for (line, value) in lines.chunks_exact_mut(width).zip(values) {
                    line[i] = *value;
                }
            }
            p += stretch;
        }
        return;
    }
    for (p, line) in out.chunks_exact_mut(width).enumerate() {
        let at = start.wrapping_add_signed(p as isize * major);
        for (i, value) in line[..count].iter_mut().enumerate() {
            *value = data[at.wrapping_add_signed(i as isize * minor)];
        }
    }
}
