//! How far the sums of a product go, for a watch over overflow.

use std::sync::Mutex;
use std::sync::PoisonError;

use super::settle::Line;
use super::tile::geometry;
use super::{Bias, Product};
use crate::team::Team;
use crate::vectorised::vectorised;

/// How far sums of products went: magnitudes, the largest over all elements of a result.
///
/// A sum begins at the bias, if there is one, and takes up the products one after the other, in the order of the axis
/// that is summed over. The order a device adds in is not known, so what it may reach is given too.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sums {
    /// The largest at the end.
    pub last: f32,
    /// The largest on the way, the beginning and the end included.
    pub reached: f32,
    /// The largest |bias| + Σ|product|: no order of the same products reaches more.
    pub bound: f32,
}

impl Sums {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            last: self.last.max(other.last),
            reached: self.reached.max(other.reached),
            bound: self.bound.max(other.bound),
        }
    }
}

/// Columns worked on at a time.
const WIDTH: usize = 16;

/// Measures a product's sums. NaN is passed over.
pub(crate) fn measure(team: Team, product: Product<'_>, bias: &Bias) -> Sums {
    let columns = geometry().columns;
    let all = Mutex::new(Sums::default());
    team.each(product.n.div_ceil(columns), |panel| {
        let mut own = Sums::default();
        for first in (panel * columns..((panel + 1) * columns).min(product.n)).step_by(WIDTH) {
            let width = WIDTH.min(product.n - first).min((panel + 1) * columns - first);
            for row in 0..product.m {
                own = own.max(stretch(&product, bias, row, first, width));
            }
        }
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        *all = all.max(own);
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The sums of `width` neighbouring elements of a row of C, in one panel.
fn stretch(product: &Product<'_>, bias: &Bias, row: usize, first: usize, width: usize) -> Sums {
    let (line, other) = (Line::row(product, row), Line::column(product, first));
    let left = product.left.get(line.first..).unwrap_or(&[]);
    let right = product.right.get(other.first..).unwrap_or(&[]);
    let start: [f32; WIDTH] = std::array::from_fn(|column| match column < width {
        true => bias.at(row, first + column),
        false => 0.0,
    });
    let mut sums = [start, start.map(f32::abs), start.map(f32::abs)];
    vectorised(
        #[inline(always)]
        || {
            let [mut sum, mut reached, mut bound] = sums;
            let mut step = |a: f32, b: &[f32; WIDTH]| {
                for column in 0..WIDTH {
                    let term = a * b[column];
                    sum[column] += term;
                    bound[column] += term.abs();
                    let magnitude = sum[column].abs();
                    reached[column] = if magnitude > reached[column] {
                        magnitude
                    } else {
                        reached[column]
                    };
                }
            };
            let factors = left.iter().step_by(line.step).take(product.k);
            for (a, b) in factors.zip(right.chunks(other.step)) {
                match b.first_chunk::<WIDTH>() {
                    Some(b) => step(*a, b),
                    // A narrow panel, or the end of the last line.
                    None => {
                        let mut spare = [0.0; WIDTH];
                        spare[..b.len()].copy_from_slice(b);
                        step(*a, &spare);
                    }
                }
            }
            sums = [sum, reached, bound];
        },
    );
    let [sum, reached, bound] = sums;
    let largest = |values: [f32; WIDTH]| {
        values[..width]
            .iter()
            .fold(0f32, |best, value| best.max(value.abs()))
    };
    Sums {
        last: largest(sum),
        reached: largest(reached),
        bound: largest(bound),
    }
}
