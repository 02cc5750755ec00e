//! What a layer is fed, summed up: products of its input channels over all tokens.

use corer_runtime::Tensor;

use super::matrix::{add_gram, rows_times, solve_row, upper_factor};
use crate::error::QuantizeError;

/// Sums over the tokens of all calibration rows.
#[derive(Debug)]
pub(crate) struct Statistics {
    channels: usize,
    /// Σ x·xᵀ, x being what the model as compressed so far feeds the layer.
    gram: Vec<f32>,
    tokens: usize,
}

/// Tokens of a value, as rows of channels.
pub(crate) fn tokens(
    tensor: &Tensor,
    channel_axis: usize,
    channels: usize,
    is_token: &[bool],
) -> Option<Vec<f32>> {
    let shape = tensor.shape();
    if shape.get(channel_axis) != Some(&channels) {
        return None;
    }
    let inner: usize = shape[channel_axis + 1..].iter().product();
    let positions = tensor.len() / channels.max(1);
    let values = tensor.to_f32();
    // Values with another number of positions (one per row, say) are no tokens; all of them count.
    let wanted = |position: usize| is_token.len() != positions || is_token[position];
    let mut rows = Vec::with_capacity(values.len());
    for position in (0..positions).filter(|position| wanted(*position)) {
        let start = position / inner * channels * inner + position % inner;
        rows.extend((0..channels).map(|channel| values[start + channel * inner]));
    }
    Some(rows)
}

impl Statistics {
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            channels,
            gram: vec![0.0; channels * channels],
            tokens: 0,
        }
    }

    /// Adds tokens, rows of channels.
    pub(crate) fn add(&mut self, tokens: &[f32]) {
        let n = self.channels;
        add_gram(&mut self.gram, tokens, n);
        self.tokens += tokens.len() / n;
    }

    /// The metric errors are measured in, made safe to invert by a hundredth of its mean on the diagonal.
    pub(crate) fn metric(self, damping: f32) -> Result<Metric, QuantizeError> {
        let n = self.channels;
        let mut gram = self.gram;
        let scale = 1.0 / self.tokens.max(1) as f32;
        gram.iter_mut().for_each(|value| *value *= scale);
        let mean = (0..n).map(|i| gram[i * n + i]).sum::<f32>() / n.max(1) as f32;
        let damp = (mean * damping).max(1e-10);
        (0..n).for_each(|i| gram[i * n + i] += damp);
        let factor = upper_factor(&gram, n).ok_or_else(|| QuantizeError::Calibration {
            reason: "a layer's inputs are not finite".into(),
        })?;
        Ok(Metric { n, gram, factor })
    }
}

/// How errors of a layer's weights add up at its outputs.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) n: usize,
    /// Σ x·xᵀ, damped.
    pub(crate) gram: Vec<f32>,
    /// Upper R with R·Rᵀ = gram.
    factor: Vec<f32>,
}

impl Metric {
    /// The diagonal of gram⁻¹.
    pub(crate) fn inverse_diagonal(&self) -> Vec<f32> {
        use rayon::prelude::*;
        (0..self.n)
            .into_par_iter()
            .map(|i| {
                let mut row = vec![0f32; self.n];
                row[i] = 1.0;
                solve_row(&mut row, &self.factor);
                row[i].max(f32::MIN_POSITIVE)
            })
            .collect()
    }

    /// How far outputs are off, summed over output channels, with `values` in place of `weights`.
    pub(crate) fn error(&self, weights: &[f32], values: &[f32]) -> f64 {
        let off: Vec<f32> = weights.iter().zip(values).map(|(a, b)| a - b).collect();
        off.iter()
            .zip(rows_times(&off, &self.gram, self.n))
            .map(|(off, pull)| f64::from(*off) * f64::from(pull))
            .sum()
    }

    /// The diagonal of gram.
    pub(crate) fn diagonal(&self) -> Vec<f32> {
        (0..self.n).map(|i| self.gram[i * self.n + i]).collect()
    }
}
