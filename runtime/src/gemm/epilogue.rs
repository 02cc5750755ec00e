//! What happens to a product's rows while they are still in cache: bias, rounding, activations.

use std::sync::Arc;

use crate::ane::Accumulator;
use crate::half_values::Rounding;
use crate::kernels::Unary;

/// Added to the sums.
#[derive(Clone, Debug, Default)]
pub(crate) enum Bias {
    #[default]
    None,
    /// One number for each row of C.
    Row(Arc<[f32]>),
    /// One number for each column of C.
    Column(Arc<[f32]>),
}

/// Bias, then rounding if the value is fp16, then functions, each with its own rounding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epilogue {
    /// How the sums are held.
    pub(crate) accumulator: Accumulator,
    pub(crate) bias: Bias,
    pub(crate) round: Rounding,
    pub(crate) stages: Vec<(Unary, Rounding)>,
}

impl Bias {
    /// What is added to an element of C.
    pub(crate) fn at(&self, row: usize, column: usize) -> f32 {
        match self {
            Self::None => 0.0,
            Self::Row(bias) => bias[row],
            Self::Column(bias) => bias[column],
        }
    }
}

impl Epilogue {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.bias, Bias::None) && self.round == Rounding::None && self.stages.is_empty()
    }

    /// Finishes a piece of row `row` that starts at `column`.
    #[inline(always)]
    pub(crate) fn apply(&self, row: usize, column: usize, values: &mut [f32]) {
        match &self.bias {
            Bias::None => {}
            Bias::Row(bias) => {
                let bias = bias[row];
                for value in values.iter_mut() {
                    *value += bias;
                }
            }
            Bias::Column(bias) => {
                for (value, bias) in values.iter_mut().zip(&bias[column..]) {
                    *value += bias;
                }
            }
        }
        self.finish(values);
    }

    /// What follows the bias.
    #[inline(always)]
    pub(crate) fn finish(&self, values: &mut [f32]) {
        self.round.all(values);
        for (function, round) in &self.stages {
            function.apply(values);
            round.all(values);
        }
    }
}
