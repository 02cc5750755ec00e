//! Products and triangular factors of the sizes statistics have: a few thousand rows and columns, row-major.

use rayon::prelude::*;

use crate::vectorised::vectorised;

/// A number the kernels compute with. Products and sums are rounded apart: a fused step is a function call wherever
/// the compiler does not see that the machine has it.
pub(crate) trait Number:
    Copy + Send + Sync + Default + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self>
{
}

impl Number for f32 {}
impl Number for f64 {}

/// The left operand of a product: element (row, term) lies at `row · by_row + term · by_term`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) by_row: usize,
    pub(crate) by_term: usize,
}

const ROWS: usize = 4;
const COLUMNS: usize = 32;
/// Rows that read a block of the right operand one after another, and the block's terms and columns: it stays in a
/// core's own cache meanwhile.
const STRIP: usize = 64;
const TERMS: usize = 256;
const WIDTH: usize = 256;

/// out += left · right, where `out` has `columns` columns and `right` is `terms` × `columns`.
pub(crate) fn add_product<T: Number>(
    out: &mut [T],
    left: Left<'_, T>,
    right: &[T],
    terms: usize,
    columns: usize,
) {
    add_from(out, left, right, terms, columns, |_| 0);
}

/// rows · square, where `square` is n × n and `rows` has rows of n.
pub(crate) fn rows_times(rows: &[f32], square: &[f32], n: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    let left = Left {
        values: rows,
        by_row: n,
        by_term: 1,
    };
    add_product(&mut out, left, square, n, n);
    out
}

/// out += rowsᵀ · rows, symmetric; `out` is n × n and `rows` has rows of n.
pub(crate) fn add_gram<T: Number>(out: &mut [T], rows: &[T], n: usize) {
    let turned = Left {
        values: rows,
        by_row: 1,
        by_term: n,
    };
    add_from(out, turned, rows, rows.len() / n.max(1), n, |row| row);
    for row in 1..n {
        for column in 0..row {
            out[row * n + column] = out[column * n + row];
        }
    }
}

/// The same from some column on, which depends on the first row of a strip.
fn add_from<T: Number>(
    out: &mut [T],
    left: Left<'_, T>,
    right: &[T],
    terms: usize,
    columns: usize,
    from: impl Fn(usize) -> usize + Sync,
) {
    if columns == 0 || terms == 0 {
        return;
    }
    out.par_chunks_mut(columns * STRIP)
        .enumerate()
        .with_max_len(1)
        .for_each_init(Vec::new, |packed, (strip, out)| {
            let first = strip * STRIP;
            for start in (from(first)..columns).step_by(WIDTH) {
                let range = start..(start + WIDTH).min(columns);
                for term in (0..terms).step_by(TERMS) {
                    let terms = term..(term + TERMS).min(terms);
                    for (block, out) in out.chunks_mut(columns * ROWS).enumerate() {
                        let first = first + block * ROWS;
                        let rows = out.len() / columns;
                        packed.clear();
                        for term in terms.clone() {
                            let row = |row| left.values[(first + row) * left.by_row + term * left.by_term];
                            packed.extend((0..rows).map(row));
                        }
                        let right = &right[terms.start * columns..terms.end * columns];
                        add_block(out, packed, right, rows, columns, range.clone());
                    }
                }
            }
        });
}

/// A few rows, some of their columns; `left` has a row's worth of each term after the other.
fn add_block<T: Number>(
    out: &mut [T],
    left: &[T],
    right: &[T],
    rows: usize,
    columns: usize,
    range: std::ops::Range<usize>,
) {
    vectorised(
        #[inline(always)]
        || {
            for start in range.clone().step_by(COLUMNS) {
                let width = COLUMNS.min(range.end - start);
                if rows == ROWS && width == COLUMNS {
                    let mut sums = [[T::default(); COLUMNS]; ROWS];
                    for (left, right) in left.as_chunks::<ROWS>().0.iter().zip(right.chunks_exact(columns)) {
                        let right = &right[start..][..COLUMNS];
                        for (left, sums) in left.iter().zip(&mut sums) {
                            for lane in 0..COLUMNS {
                                sums[lane] = *left * right[lane] + sums[lane];
                            }
                        }
                    }
                    for (row, sums) in sums.iter().enumerate() {
                        let out = &mut out[row * columns + start..][..COLUMNS];
                        for lane in 0..COLUMNS {
                            out[lane] = out[lane] + sums[lane];
                        }
                    }
                } else {
                    for (left, right) in left.chunks_exact(rows).zip(right.chunks_exact(columns)) {
                        let right = &right[start..][..width];
                        for (row, left) in left.iter().enumerate() {
                            let out = &mut out[row * columns + start..][..width];
                            for lane in 0..width {
                                out[lane] = *left * right[lane] + out[lane];
                            }
                        }
                    }
                }
            }
        },
    );
}

/// to += factor · from.
#[inline(always)]
pub(crate) fn add_scaled(to: &mut [f32], factor: f32, from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * *from;
    }
}

/// Σ a · b.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The upper triangular R with R·Rᵀ equal to the symmetric positive definite `matrix`, n × n; `None` when it is not.
pub(crate) fn upper_factor(matrix: &[f32], n: usize) -> Option<Vec<f32>> {
    // Taken from the last row and column to the first, R is Cholesky's lower factor.
    let mut lower: Vec<f64> = matrix.iter().rev().map(|value| f64::from(*value)).collect();
    cholesky(&mut lower, n)?;
    Some(lower.iter().rev().map(|value| *value as f32).collect())
}

const BLOCK: usize = 48;

/// Cholesky's lower factor in place; what is above the diagonal becomes zero.
fn cholesky(matrix: &mut [f64], n: usize) -> Option<()> {
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let width = end - start;
        for column in start..end {
            let row = &matrix[column * n..];
            let square: f64 = row[start..column].iter().map(|value| value * value).sum();
            let pivot = row[column] - square;
            if pivot <= 0.0 || !pivot.is_finite() {
                return None;
            }
            let pivot = pivot.sqrt();
            matrix[column * n + column] = pivot;
            let done: Vec<f64> = matrix[column * n + start..column * n + column].to_vec();
            for below in column + 1..end {
                let row = &mut matrix[below * n..];
                let sum: f64 = row[start..column].iter().zip(&done).map(|(a, b)| a * b).sum();
                row[column] = (row[column] - sum) / pivot;
            }
        }
        if end == n {
            break;
        }
        let (above, below) = matrix.split_at_mut(end * n);
        below.par_chunks_mut(n).for_each(|row| {
            for column in start..end {
                let factor = &above[column * n..];
                let sum: f64 = row[start..column]
                    .iter()
                    .zip(&factor[start..column])
                    .map(|(a, b)| a * b)
                    .sum();
                row[column] = (row[column] - sum) / factor[column];
            }
        });
        let rest = n - end;
        // The panel turned, so that the product's right side has long rows.
        let mut turned = vec![0f64; width * rest];
        let mut negative = vec![0f64; width * rest];
        for (index, row) in below.chunks(n).enumerate() {
            for column in 0..width {
                turned[column * rest + index] = row[start + column];
                negative[column * rest + index] = -row[start + column];
            }
        }
        let mut update = vec![0f64; rest * rest];
        let left = Left {
            values: negative.as_slice(),
            by_row: 1,
            by_term: rest,
        };
        add_product(&mut update, left, &turned, width, rest);
        below
            .par_chunks_mut(n)
            .zip(update.par_chunks(rest))
            .for_each(|(row, update)| {
                for (value, update) in row[end..].iter_mut().zip(update) {
                    *value += update;
                }
            });
    }
    for row in 0..n {
        matrix[row * n + row + 1..(row + 1) * n].fill(0.0);
    }
    Some(())
}

/// Solves x · (R·Rᵀ) = x in place for one row x, R upper triangular n × n.
pub(crate) fn solve_row(row: &mut [f32], upper: &[f32]) {
    let n = row.len();
    vectorised(
        #[inline(always)]
        || {
            for j in (0..n).rev() {
                let factor = &upper[j * n..][..n];
                row[j] = (row[j] - dot(&row[j + 1..], &factor[j + 1..])) / factor[j];
            }
            for j in 0..n {
                let factor = &upper[j * n..][..n];
                row[j] /= factor[j];
                let value = row[j];
                add_scaled(&mut row[j + 1..], -value, &factor[j + 1..]);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        (0..count)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn products((m, n, k) in (1usize..9, 1usize..70, 1usize..20), seed in any::<u64>()) {
            let (a, b, mut out) = (random(m * k, seed), random(k * n, seed ^ 1), random(m * n, seed ^ 2));
            let expected: Vec<f32> = (0..m * n)
                .map(|i| out[i] + (0..k).map(|t| a[i / n * k + t] * b[t * n + i % n]).sum::<f32>())
                .collect();
            let turned: Vec<f32> = (0..m * k).map(|i| a[i % m * k + i / m]).collect();
            let mut other = out.clone();
            add_product(&mut out, Left { values: &a, by_row: k, by_term: 1 }, &b, k, n);
            add_product(&mut other, Left { values: &turned, by_row: 1, by_term: m }, &b, k, n);
            for ((a, b), expected) in out.iter().zip(&other).zip(&expected) {
                prop_assert!((a - expected).abs() < 1e-4 && (b - expected).abs() < 1e-4);
            }
        }

        #[test]
        fn factors_and_solutions(n in 1usize..130, seed in any::<u64>()) {
            let x = random(n * (n + 3), seed);
            let mut matrix = vec![0f32; n * n];
            let left = Left { values: &x, by_row: 1, by_term: n };
            add_product(&mut matrix, left, &x, n + 3, n);
            (0..n).for_each(|i| matrix[i * n + i] += 1.0);
            let upper = upper_factor(&matrix, n).unwrap();
            for i in 0..n {
                for j in 0..n {
                    let product: f32 = (0..n).map(|k| upper[i * n + k] * upper[j * n + k]).sum();
                    prop_assert!((product - matrix[i * n + j]).abs() < 1e-3, "{} {}", product, matrix[i * n + j]);
                    prop_assert!(j >= i || upper[i * n + j] == 0.0);
                }
            }
            let wanted = random(n, seed ^ 3);
            let mut row: Vec<f32> = (0..n).map(|j| (0..n).map(|k| wanted[k] * matrix[k * n + j]).sum()).collect();
            solve_row(&mut row, &upper);
            for (found, wanted) in row.iter().zip(&wanted) {
                prop_assert!((found - wanted).abs() < 1e-2, "{found} {wanted}");
            }
        }
    }

    #[test]
    fn what_is_not_positive_has_no_factor() {
        assert!(upper_factor(&[1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(upper_factor(&[f32::NAN], 1).is_none());
    }
}
