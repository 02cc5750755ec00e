//! Whether embeddings keep each other's company: the overlap of nearest neighbours, and the order of all similarities.

use super::ranks::spearman;

/// Rows beyond this many are left out: the cost grows with the square of their number.
pub const MOST_ROWS: usize = 1024;

/// How alike two sets of vectors see the similarities between their rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Company {
    /// The mean share of each row's nearest neighbours by cosine, among the other rows, that both sets agree on.
    pub overlap: f64,
    /// The number of neighbours looked at.
    pub neighbours: usize,
    /// Spearman's rank correlation between the cosines of all pairs of different rows in one set and those in the other;
    /// `None` where one set's are all the same.
    pub rank_correlation: Option<f64>,
}

/// Compares the similarities among the rows of `a` with those among the rows of `b`, over the first [`MOST_ROWS`].
///
/// At most `neighbours` and at most half of the other rows are looked at: with all of them the overlap would be 1
/// whatever the numbers. `None` with fewer than 3 rows. Equally near rows count in row order.
pub fn company(a: &[Vec<f32>], b: &[Vec<f32>], neighbours: usize) -> Option<Company> {
    let rows = a.len().min(b.len()).min(MOST_ROWS);
    let count = neighbours.min(rows.saturating_sub(1) / 2);
    if count == 0 {
        return None;
    }
    let (a, b) = (Cosines::of(&a[..rows]), Cosines::of(&b[..rows]));
    let mut shared = 0usize;
    for row in 0..rows {
        let near = a.nearest(row, count);
        shared += b
            .nearest(row, count)
            .iter()
            .filter(|index| near.contains(index))
            .count();
    }
    #[allow(clippy::cast_precision_loss)] // small counts
    Some(Company {
        overlap: shared as f64 / (rows * count) as f64,
        neighbours: count,
        rank_correlation: spearman(&a.pairs(), &b.pairs()),
    })
}

/// Cosines between all rows of one set, row-major.
struct Cosines {
    rows: usize,
    values: Vec<f64>,
}

impl Cosines {
    fn of(vectors: &[Vec<f32>]) -> Self {
        let units = units(vectors);
        let rows = units.len();
        let mut values = vec![0.0; rows * rows];
        for (i, a) in units.iter().enumerate() {
            for (j, b) in units.iter().enumerate().take(i + 1) {
                let cosine = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                values[i * rows + j] = cosine;
                values[j * rows + i] = cosine;
            }
        }
        Self { rows, values }
    }

    /// The `count` rows nearest to row `of`, itself left out.
    fn nearest(&self, of: usize, count: usize) -> Vec<usize> {
        let cosines = &self.values[of * self.rows..][..self.rows];
        let mut near: Vec<usize> = (0..self.rows).filter(|index| *index != of).collect();
        near.sort_by(|a, b| cosines[*b].total_cmp(&cosines[*a]).then(a.cmp(b)));
        near.truncate(count);
        near
    }

    /// One cosine for each pair of different rows.
    fn pairs(&self) -> Vec<f64> {
        (0..self.rows)
            .flat_map(|row| &self.values[row * self.rows..][..row])
            .copied()
            .collect()
    }
}

/// Rows scaled to length 1; rows of length 0 stay.
fn units(rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let unit = |row: &Vec<f32>| {
        let norm = row
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            .sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        row.iter().map(|value| f64::from(*value) * scale).collect()
    };
    rows.iter().map(unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on the unit circle at these angles in degrees.
    fn circle(degrees: &[f32]) -> Vec<Vec<f32>> {
        degrees
            .iter()
            .map(|angle| vec![angle.to_radians().cos(), angle.to_radians().sin()])
            .collect()
    }

    fn overlap(a: &[Vec<f32>], b: &[Vec<f32>], neighbours: usize) -> Option<(f64, usize)> {
        company(a, b, neighbours).map(|company| (company.overlap, company.neighbours))
    }

    #[test]
    fn by_hand() {
        // Nearest two of each, by angle: 0:{1,2} 1:{0,2} 2:{1,3} 3:{2,4} 4:{3,2}
        let a = circle(&[0.0, 10.0, 25.0, 45.0, 70.0]);
        assert_eq!(overlap(&a, &a, 2), Some((1.0, 2)));
        // Row 4 moves to 4 degrees. Now 0:{4,1} 1:{4,0} 2:{1,3} (4 is 21 degrees away, 3 is 20) 3:{2,1} 4:{0,1}:
        // shared are 1, 1, 2, 1 and 0 of 2 each.
        let b = circle(&[0.0, 10.0, 25.0, 45.0, 4.0]);
        assert_eq!(overlap(&a, &b, 2), Some((0.5, 2)));
    }

    #[test]
    fn scale_does_not_matter_and_few_rows_say_nothing() {
        let a = circle(&[0.0, 10.0, 25.0, 45.0, 70.0, 100.0]);
        let scaled: Vec<Vec<f32>> = a
            .iter()
            .map(|row| row.iter().map(|value| value * 7.0).collect())
            .collect();
        assert_eq!(overlap(&a, &scaled, 10), Some((1.0, 2)));
        assert_eq!(overlap(&a[..2], &a[..2], 10), None);
        assert_eq!(overlap(&a[..3], &a[..3], 10), Some((1.0, 1)));
    }

    #[test]
    fn the_order_of_similarities_is_compared_over_all_pairs() {
        // Distances of the pairs 01, 02, 12: 10, 30, 20 degrees.
        let a = circle(&[0.0, 10.0, 30.0]);
        let correlation = |b: &[Vec<f32>]| company(&a, b, 1).unwrap().rank_correlation;
        assert_eq!(correlation(&circle(&[0.0, 1.0, 3.0])), Some(1.0));
        // 25, 5, 20: ranks 3 1 2 by distance where `a` has 1 3 2, the very opposite.
        assert_eq!(correlation(&circle(&[0.0, 25.0, 5.0])), Some(-1.0));
        // All the same place: nothing to rank.
        assert_eq!(correlation(&circle(&[7.0, 7.0, 7.0])), None);
    }
}
