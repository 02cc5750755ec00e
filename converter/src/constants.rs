//! Layers applied to constants, computed once at conversion: what a model projects that no input reaches.

use crate::source::{LazyTensor, SourceError};

/// `rows · weightᵀ + bias` for rows of as many values as the weight has columns.
pub(crate) fn dense(rows: &[f32], weight: &LazyTensor, bias: &LazyTensor) -> Result<Vec<f32>, SourceError> {
    let (values, bias) = (weight.read_f32()?, bias.read_f32()?);
    let width = values.len() / bias.len().max(1);
    let mut result = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(width.max(1)) {
        for (column, bias) in values.chunks_exact(width.max(1)).zip(&bias) {
            result.push(dot(row, column) + bias);
        }
    }
    Ok(result)
}

/// Sums in lanes, so that the compiler can keep them apart, and the lanes in f64.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(a * b));
    #[allow(clippy::cast_possible_truncation)] // a sum of f32
    let sum = (lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>() + rest.sum::<f64>()) as f32;
    sum
}

/// Layer norm of each row.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // widths are small, results are f32
pub(crate) fn layer_norm(rows: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f64) {
    let width = weight.len().max(1);
    for row in rows.chunks_exact_mut(width) {
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
        let scale = (variance + epsilon).sqrt().recip();
        for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *x = (((f64::from(*x) - mean) * scale) as f32) * weight + bias;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_adds_the_bias_to_each_row() {
        let tensor = |shape: &[u64], values: &[f32]| {
            LazyTensor::from_values("t", shape.to_vec(), values.to_vec()).expect("a tensor")
        };
        let weight = tensor(&[2, 3], &[1.0, 2.0, 3.0, 0.0, -1.0, 0.0]);
        let rows = [1.0, 1.0, 1.0, 2.0, 0.0, -1.0];
        let result = dense(&rows, &weight, &tensor(&[2], &[0.5, 0.0])).expect("computes");
        assert_eq!(result, [6.5, -1.0, -0.5, 0.0]);
    }
}
