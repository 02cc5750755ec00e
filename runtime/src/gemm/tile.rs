//! The register tile and the loops around it.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

use super::{BLOCK, Epilogue, Panels, Product, Split, Target};

/// The size of the register tile on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Geometry {
    /// Rows of a left panel.
    pub(crate) rows: usize,
    /// Columns of a right panel: two vectors.
    pub(crate) columns: usize,
}

/// Rows of the tile where there are 32 vector registers: 24 sums, 2 vectors of B and room to spare.
const ROWS_32: usize = 12;
/// Rows where there are 16: 12 sums, 2 vectors of B, one element of A.
const ROWS_16: usize = 6;
/// Vectors across a right panel.
const VECTORS: usize = 2;

/// The register tile of this machine.
pub(crate) fn geometry() -> Geometry {
    struct Ask;
    impl WithSimd for Ask {
        type Output = Geometry;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> Geometry {
            Geometry {
                rows: if S::REGISTER_COUNT >= 32 { ROWS_32 } else { ROWS_16 },
                columns: S::F32_LANES * VECTORS,
            }
        }
    }
    static GEOMETRY: OnceLock<Geometry> = OnceLock::new();
    *GEOMETRY.get_or_init(|| Arch::new().dispatch(Ask))
}

/// Widths a last left panel may have.
const WIDTHS: [usize; 6] = [1, 2, 4, 6, 8, 12];

/// The narrowest panel that holds `rest` rows.
pub(super) fn left_width(rest: usize) -> usize {
    WIDTHS
        .into_iter()
        .find(|width| *width >= rest)
        .unwrap_or(ROWS_32)
        .min(geometry().rows)
}

/// The narrowest panel that holds `rest` columns: one vector or two.
pub(super) fn right_width(rest: usize) -> usize {
    let lanes = geometry().columns / VECTORS;
    rest.div_ceil(lanes) * lanes
}

/// Computes the part of C where the given panels meet.
pub(super) fn run(
    product: Product<'_>,
    left: Panels,
    right: Panels,
    split: Split,
    target: Target<'_>,
    epilogue: &Epilogue,
) {
    Arch::new().dispatch(Task {
        product,
        left,
        right,
        split,
        target,
        epilogue,
    });
}

struct Task<'a> {
    product: Product<'a>,
    left: Panels,
    right: Panels,
    split: Split,
    target: Target<'a>,
    epilogue: &'a Epilogue,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { m, n, k, .. } = self.product;
        let Geometry { rows, columns } = geometry();
        let mut start = 0;
        loop {
            let depth = BLOCK.min(k - start);
            match self.split {
                Split::Left => {
                    for p in self.left.clone() {
                        for q in self.right.clone() {
                            self.meet(simd, p, q, start, depth);
                        }
                    }
                }
                Split::Right => {
                    for q in self.right.clone() {
                        for p in self.left.clone() {
                            self.meet(simd, p, q, start, depth);
                        }
                    }
                }
            }
            start += depth;
            if start >= k {
                break;
            }
        }
        if !self.epilogue.is_empty() {
            let first = self.right.start * columns;
            let last = (self.right.end * columns).min(n);
            for row in self.left.start * rows..(self.left.end * rows).min(m) {
                self.epilogue
                    .apply(row, first, segment(self.target, row, first, last - first));
            }
        }
    }
}

/// Part of a row of C.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn segment<'a>(target: Target<'a>, row: usize, column: usize, length: usize) -> &'a mut [f32] {
    // SAFETY: tasks that run at one time have different left or right panels, hence different rows or columns of
    // one C, and the callers of `multiply` give different C different places. A task uses one segment at a time.
    unsafe {
        target
            .tiles
            .segment(target.offset + row * target.row_stride + column, length)
    }
}

impl Task<'_> {
    /// Adds one block's products where left panel `p` and right panel `q` meet.
    #[inline(always)]
    fn meet<S: Simd>(&self, simd: S, p: usize, q: usize, start: usize, depth: usize) {
        let Product { left, right, m, n, k } = self.product;
        let Geometry { rows, columns } = geometry();
        let high = rows.min(m - p * rows);
        let wide = columns.min(n - q * columns);
        let height = if high == rows { rows } else { left_width(high) };
        let width = if wide == columns {
            columns
        } else {
            right_width(wide)
        };
        let a = &left[p * rows * k + start * height..][..depth * height];
        let b = &right[q * columns * k + start * width..][..depth * width];
        let place = Place {
            target: self.target,
            row: p * rows,
            column: q * columns,
            high,
            wide,
            first: start == 0,
        };
        if width == columns {
            by_height::<S, VECTORS>(simd, height, a, b, place);
        } else {
            by_height::<S, 1>(simd, height, a, b, place);
        }
    }
}

/// Where a tile's sums go, and how much of the tile counts.
#[derive(Clone, Copy)]
struct Place<'a> {
    target: Target<'a>,
    row: usize,
    column: usize,
    high: usize,
    wide: usize,
    /// Whether these are the first sums, which replace what is there.
    first: bool,
}

#[inline(always)]
fn by_height<S: Simd, const V: usize>(simd: S, height: usize, a: &[f32], b: &[f32], place: Place<'_>) {
    if S::REGISTER_COUNT >= 32 {
        match height {
            12 => tile::<S, 12, V>(simd, a, b, place),
            8 => tile::<S, 8, V>(simd, a, b, place),
            6 => tile::<S, 6, V>(simd, a, b, place),
            4 => tile::<S, 4, V>(simd, a, b, place),
            2 => tile::<S, 2, V>(simd, a, b, place),
            _ => tile::<S, 1, V>(simd, a, b, place),
        }
    } else {
        match height {
            6 => tile::<S, 6, V>(simd, a, b, place),
            4 => tile::<S, 4, V>(simd, a, b, place),
            2 => tile::<S, 2, V>(simd, a, b, place),
            _ => tile::<S, 1, V>(simd, a, b, place),
        }
    }
}

/// Sums H × V vectors over a block and puts them where they belong.
#[inline(always)]
fn tile<S: Simd, const H: usize, const V: usize>(simd: S, a: &[f32], b: &[f32], place: Place<'_>) {
    let mut sums = [[simd.splat_f32s(0.0); V]; H];
    let (a, _) = a.as_chunks::<H>();
    let (b, _) = S::as_simd_f32s(b).0.as_chunks::<V>();
    for (a, b) in a.iter().zip(b) {
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = simd.splat_f32s(*a);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = simd.mul_add_f32s(a, *b, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate().take(place.high) {
        let out = segment(place.target, place.row + row, place.column, place.wide);
        if place.wide == S::F32_LANES * V {
            for (out, sum) in S::as_mut_simd_f32s(out).0.iter_mut().zip(sums) {
                *out = if place.first {
                    *sum
                } else {
                    simd.add_f32s(*out, *sum)
                };
            }
        } else {
            let sums: &[f32] = bytemuck::cast_slice(sums);
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if place.first { *sum } else { *out + *sum };
            }
        }
    }
}
