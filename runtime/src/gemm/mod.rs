//! Products of f32 matrices: C = A · B with B and C read along rows by vector instructions.
//!
//! Both operands are packed into panels first ([`pack`]): A into panels of a few rows, B into panels of two vectors'
//! width, each panel stored along k, so that the innermost loop reads both one after the other. A constant operand
//! is packed once, when a program is compiled; that and the epilogue (bias, rounding, activation on rows still in
//! cache) are why this exists beside a general library. The register tile is written over `pulp`'s vectors and is
//! the same code for AVX-512, AVX2, NEON and none.
//!
//! Every element of C sums its products along k in order, in blocks of [`BLOCK`] whose sums are then added in
//! order. Nothing depends on the number of threads or the width of vectors.

mod epilogue;
mod measure;
mod pack;
mod settle;
mod tile;
mod tiles;

pub(crate) use epilogue::{Bias, Epilogue};
pub use measure::Sums;
pub(crate) use measure::measure;
pub(crate) use pack::{Layout, Side, pack_into, panel_words};
pub(crate) use tile::geometry;
pub(crate) use tiles::Tiles;

use crate::team::Team;

/// How many products are summed before the sum goes to C. Short enough that a block of either panel stays in the
/// nearest caches; the sum of blocks also loses less to rounding than one long sum.
pub(crate) const BLOCK: usize = 384;

/// One product of packed operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    /// Panels of A.
    pub(crate) left: &'a [f32],
    /// Panels of B.
    pub(crate) right: &'a [f32],
    /// Rows of A and C.
    pub(crate) m: usize,
    /// Columns of B and C.
    pub(crate) n: usize,
    /// Columns of A, rows of B.
    pub(crate) k: usize,
}

/// Where C goes: element (i, j) at `offset + i · row_stride + j`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) tiles: &'a Tiles<'a>,
    pub(crate) offset: usize,
    pub(crate) row_stride: usize,
}

/// Panels of one operand: which are still to do.
type Panels = std::ops::Range<usize>;

/// Which operand's panels a task keeps to itself: the larger one, usually the weights, so that each is read from
/// memory by one thread once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Split {
    Left,
    Right,
}

/// Computes C with all threads of the team.
pub(crate) fn multiply(
    team: Team,
    product: Product<'_>,
    split: Split,
    target: Target<'_>,
    epilogue: &Epilogue,
) {
    let geometry = geometry();
    let left = product.m.div_ceil(geometry.rows);
    let right = product.n.div_ceil(geometry.columns);
    let whole = if split == Split::Left { left } else { right };
    // Enough tasks that one slow core doesn't hold up the rest, but not so few panels each that the other operand
    // is read from afar too often.
    let per_task = whole.div_ceil(team.threads() * 4).clamp(1, 8);
    team.each(whole.div_ceil(per_task), |task| {
        let mine = task * per_task..((task + 1) * per_task).min(whole);
        match split {
            Split::Left => task_of(product, mine, 0..right, split, target, epilogue),
            Split::Right => task_of(product, 0..left, mine, split, target, epilogue),
        }
    });
}

/// Computes the part of C where the given panels meet.
fn task_of(
    product: Product<'_>,
    left: Panels,
    right: Panels,
    split: Split,
    target: Target<'_>,
    epilogue: &Epilogue,
) {
    tile::run(product, left.clone(), right.clone(), split, target, epilogue);
    if epilogue.accumulator.differs() {
        settle::run(product, left, right, target, epilogue);
    }
}

/// Computes C on this thread.
pub(crate) fn multiply_alone(product: Product<'_>, target: Target<'_>, epilogue: &Epilogue) {
    multiply(Team::ALONE, product, Split::Left, target, epilogue);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half_values::Rounding;
    use crate::kernels::Unary;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    /// All strides, ragged sizes and both splits against a plain sum in f64.
    #[test]
    fn products_are_right() {
        for (m, n, k) in [
            (1, 1, 1),
            (13, 33, 7),
            (12, 32, 384),
            (5, 70, 385),
            (64, 17, 800),
            (3, 5, 0),
        ] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let bias = numbers(m.max(n), 3);
            for (left_rows, right_rows) in [(true, true), (false, false), (true, false)] {
                let left = if left_rows {
                    Layout {
                        offset: 0,
                        rows: m,
                        columns: k,
                        row_stride: k as isize,
                        column_stride: 1,
                    }
                } else {
                    Layout {
                        offset: 0,
                        rows: m,
                        columns: k,
                        row_stride: 1,
                        column_stride: m as isize,
                    }
                };
                let right = if right_rows {
                    Layout {
                        offset: 0,
                        rows: k,
                        columns: n,
                        row_stride: n as isize,
                        column_stride: 1,
                    }
                } else {
                    Layout {
                        offset: 0,
                        rows: k,
                        columns: n,
                        row_stride: 1,
                        column_stride: k as isize,
                    }
                };
                let mut packed_left = vec![0.0; panel_words(Side::Left, m, k)];
                let mut packed_right = vec![0.0; panel_words(Side::Right, n, k)];
                pack_into(Team::ALONE, Side::Left, &a, left, &mut packed_left);
                pack_into(Team::ALONE, Side::Right, &b, right, &mut packed_right);
                let product = Product {
                    left: &packed_left,
                    right: &packed_right,
                    m,
                    n,
                    k,
                };
                for split in [Split::Left, Split::Right] {
                    let by_row = split == Split::Left;
                    let epilogue = Epilogue {
                        accumulator: crate::ane::Accumulator::default(),
                        bias: if by_row {
                            Bias::Row(bias.clone().into())
                        } else {
                            Bias::Column(bias.clone().into())
                        },
                        round: Rounding::None,
                        stages: vec![(Unary::Relu, Rounding::None)],
                    };
                    let stride = n + 3;
                    let mut c = vec![f32::NAN; m * stride];
                    let tiles = Tiles::new(&mut c);
                    multiply(
                        Team::of(2),
                        product,
                        split,
                        Target {
                            tiles: &tiles,
                            offset: 0,
                            row_stride: stride,
                        },
                        &epilogue,
                    );
                    for i in 0..m {
                        for j in 0..n {
                            let sum: f64 = (0..k)
                                .map(|x| {
                                    let a = a[i * left.row_stride as usize + x * left.column_stride as usize];
                                    let b =
                                        b[x * right.row_stride as usize + j * right.column_stride as usize];
                                    f64::from(a) * f64::from(b)
                                })
                                .sum();
                            let wanted = (sum + f64::from(bias[if by_row { i } else { j }])).max(0.0);
                            let actual = f64::from(c[i * stride + j]);
                            assert!(
                                (wanted - actual).abs() < 2e-5,
                                "{m}x{n}x{k} at {i},{j}: {actual} for {wanted}"
                            );
                        }
                        assert!(c[i * stride + n..(i + 1) * stride].iter().all(|x| x.is_nan()));
                    }
                }
            }
        }
    }
}
