//! Sums that the Neural Engine's accumulator would not hold as f32 does, computed again one by one.
//!
//! No partial sum of a row and a column is larger than the product of their lengths (Cauchy and Schwarz), so where
//! only the limit matters a glance at the lengths spares nearly all of them.

use super::tile::{geometry, left_width, right_width, segment};
use super::{Epilogue, Panels, Product, Target};
use crate::ane::LIMIT;

/// A row of A or a column of B among its panels: its first element and the distance from one to the next.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) first: usize,
    pub(super) step: usize,
}

impl Line {
    pub(super) fn row(product: &Product<'_>, row: usize) -> Self {
        let rows = geometry().rows;
        let (panel, within) = (row / rows, row % rows);
        let high = rows.min(product.m - panel * rows);
        let step = if high == rows { rows } else { left_width(high) };
        Self {
            first: panel * rows * product.k + within,
            step,
        }
    }

    pub(super) fn column(product: &Product<'_>, column: usize) -> Self {
        let columns = geometry().columns;
        let (panel, within) = (column / columns, column % columns);
        let wide = columns.min(product.n - panel * columns);
        let step = if wide == columns {
            columns
        } else {
            right_width(wide)
        };
        Self {
            first: panel * columns * product.k + within,
            step,
        }
    }

    fn elements(self, data: &[f32], k: usize) -> impl Iterator<Item = f32> {
        // A panel that is shorter than k elements has none.
        let data = data.get(self.first..).unwrap_or(&[]);
        data.iter().step_by(self.step).take(k).copied()
    }

    /// √Σx², a little too large rather than too small.
    fn length(self, data: &[f32], k: usize) -> f32 {
        let squares: f64 = self.elements(data, k).map(|x| f64::from(x) * f64::from(x)).sum();
        squares.sqrt() as f32 * (1.0 + 1e-6)
    }
}

/// Replaces the elements of C where the given panels meet that come out otherwise.
pub(super) fn run(
    product: Product<'_>,
    left: Panels,
    right: Panels,
    target: Target<'_>,
    epilogue: &Epilogue,
) {
    let accumulator = epilogue.accumulator;
    let k = product.k;
    let rows = left.start * geometry().rows..(left.end * geometry().rows).min(product.m);
    let columns = right.start * geometry().columns..(right.end * geometry().columns).min(product.n);
    let column_lines: Vec<(Line, f32)> = columns
        .clone()
        .map(|column| {
            let line = Line::column(&product, column);
            (line, line.length(product.right, k))
        })
        .collect();
    for row in rows {
        let line = Line::row(&product, row);
        let length = line.length(product.left, k);
        for (column, (other, width)) in columns.clone().zip(&column_lines) {
            let bias = epilogue.bias.at(row, column);
            // Written so that NaN is looked at.
            let safe = length * width + bias.abs() < LIMIT;
            if safe && !accumulator.grid {
                continue;
            }
            let products = line
                .elements(product.left, k)
                .zip(other.elements(product.right, k));
            let mut value = [accumulator.sum(bias, products)];
            epilogue.finish(&mut value);
            segment(target, row, column, 1).copy_from_slice(&value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ane::{Accumulator, AneRules};
    use crate::gemm::*;
    use crate::team::Team;

    fn product_of(a: &[f32], b: &[f32], [m, n, k]: [usize; 3], rules: AneRules, bias: Bias) -> Vec<f32> {
        let left = Layout {
            offset: 0,
            rows: m,
            columns: k,
            row_stride: k as isize,
            column_stride: 1,
        };
        let right = Layout {
            offset: 0,
            rows: k,
            columns: n,
            row_stride: n as isize,
            column_stride: 1,
        };
        let mut packed = [
            vec![0.0; left.words(Side::Left)],
            vec![0.0; right.words(Side::Right)],
        ];
        pack_into(Team::ALONE, Side::Left, a, left, &mut packed[0]);
        pack_into(Team::ALONE, Side::Right, b, right, &mut packed[1]);
        let product = Product {
            left: &packed[0],
            right: &packed[1],
            m,
            n,
            k,
        };
        let mut c = vec![0.0; m * n];
        let target = Target {
            tiles: &Tiles::new(&mut c),
            offset: 0,
            row_stride: n,
        };
        let epilogue = Epilogue {
            accumulator: Accumulator::new(rules),
            bias,
            ..Epilogue::default()
        };
        multiply(Team::of(2), product, Split::Left, target, &epilogue);
        c
    }

    /// Ragged sizes: one row and one column overflow on the way, though their sum is small; nothing else changes.
    #[test]
    fn only_sums_that_overflow_change() {
        let [m, n, k] = [29, 43, 400];
        let value = |index: usize| ((index * 7919) % 127) as f32 / 64.0 - 1.0;
        let mut a: Vec<f32> = (0..m * k).map(value).collect();
        let b: Vec<f32> = (0..k * n).map(|index| value(index + 13) + 1.5).collect();
        for (position, element) in a[17 * k..18 * k].iter_mut().enumerate() {
            *element = if position < k / 2 { 120.0 } else { -120.0 };
        }
        let plain = product_of(&a, &b, [m, n, k], AneRules::NONE, Bias::None);
        let limited = product_of(&a, &b, [m, n, k], "N1".parse().unwrap(), Bias::None);
        for row in 0..m {
            for column in 0..n {
                let at = row * n + column;
                let half: f64 = (0..k / 2)
                    .map(|x| f64::from(a[row * k + x]) * f64::from(b[x * n + column]))
                    .sum();
                if half >= 32768.0 {
                    assert_eq!((row, limited[at]), (17, f32::INFINITY));
                    assert!(plain[at].abs() < 32768.0);
                } else {
                    assert!((limited[at] - plain[at]).abs() < 0.05, "{row},{column}");
                }
            }
        }
        assert_eq!(limited.iter().filter(|value| value.is_infinite()).count(), n);
    }

    #[test]
    fn the_bias_is_where_sums_begin() {
        let [m, n, k] = [1, 2, 2];
        let bias = Bias::Column(vec![-16384.0, 0.0].into());
        let found = product_of(
            &[16384.0, 16384.0],
            &[1.0, 1.0, 1.0, 1.0],
            [m, n, k],
            AneRules::default(),
            bias,
        );
        assert_eq!(found, [16384.0, f32::INFINITY]);
    }
}
