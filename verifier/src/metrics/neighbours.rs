//! Whether embeddings keep each other's company: the overlap of nearest neighbours.

/// Rows beyond this many are left out: the cost grows with the square of their number.
pub const MOST_ROWS: usize = 1024;

/// The mean share of each row's nearest neighbours by cosine, among the other rows, that both sets agree on, and the
/// number of neighbours looked at.
///
/// At most `neighbours` and at most half of the other rows are looked at: with all of them the overlap would be 1
/// whatever the numbers. `None` with fewer than 3 rows. Equally near rows count in row order.
pub fn neighbour_overlap(a: &[Vec<f32>], b: &[Vec<f32>], neighbours: usize) -> Option<(f64, usize)> {
    let rows = a.len().min(b.len()).min(MOST_ROWS);
    let count = neighbours.min(rows.saturating_sub(1) / 2);
    if count == 0 {
        return None;
    }
    let (a, b) = (units(&a[..rows]), units(&b[..rows]));
    let mut shared = 0usize;
    for row in 0..rows {
        let near = nearest(&a, row, count);
        shared += nearest(&b, row, count)
            .iter()
            .filter(|index| near.contains(index))
            .count();
    }
    #[allow(clippy::cast_precision_loss)] // small counts
    Some((shared as f64 / (rows * count) as f64, count))
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

fn nearest(rows: &[Vec<f64>], of: usize, count: usize) -> Vec<usize> {
    let dot = |other: &Vec<f64>| rows[of].iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
    let mut near: Vec<(f64, usize)> = rows
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != of)
        .map(|(index, row)| (dot(row), index))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    near.into_iter().take(count).map(|(_, index)| index).collect()
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

    #[test]
    fn by_hand() {
        // Nearest two of each, by angle: 0:{1,2} 1:{0,2} 2:{1,3} 3:{2,4} 4:{3,2}
        let a = circle(&[0.0, 10.0, 25.0, 45.0, 70.0]);
        assert_eq!(neighbour_overlap(&a, &a, 2), Some((1.0, 2)));
        // Row 4 moves to 4 degrees. Now 0:{4,1} 1:{4,0} 2:{1,3} (4 is 21 degrees away, 3 is 20) 3:{2,1} 4:{0,1}:
        // shared are 1, 1, 2, 1 and 0 of 2 each.
        let b = circle(&[0.0, 10.0, 25.0, 45.0, 4.0]);
        assert_eq!(neighbour_overlap(&a, &b, 2), Some((0.5, 2)));
    }

    #[test]
    fn scale_does_not_matter_and_few_rows_say_nothing() {
        let a = circle(&[0.0, 10.0, 25.0, 45.0, 70.0, 100.0]);
        let scaled: Vec<Vec<f32>> = a
            .iter()
            .map(|row| row.iter().map(|value| value * 7.0).collect())
            .collect();
        assert_eq!(neighbour_overlap(&a, &scaled, 10), Some((1.0, 2)));
        assert_eq!(neighbour_overlap(&a[..2], &a[..2], 10), None);
        assert_eq!(neighbour_overlap(&a[..3], &a[..3], 10), Some((1.0, 1)));
    }
}
