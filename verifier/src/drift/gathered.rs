//! Loss at one place, gathered row by row, and how values lie, settled by what fits best.

use std::collections::BTreeMap;

use super::Filled;
use super::arrangement::Arrangement;
use super::pairing::Pair;
use crate::metrics::ElementErrors;
use crate::report::drift::DriftErrors;
use crate::report::{Decibels, Precision};

/// Loss over all tokens seen so far.
#[derive(Clone)]
pub(super) struct Loss {
    errors: ElementErrors,
    nonfinite: u64,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            // Its histogram of steps is not read here.
            errors: ElementErrors::new(Precision::Fp16.step()),
            nonfinite: 0,
        }
    }
}

impl Loss {
    /// Adds a batch. Values without a token are left out: nothing reads them.
    pub(super) fn add(
        &mut self,
        pair: &Pair,
        arrangement: Arrangement,
        exact: &[f32],
        package: &[f32],
        batch: &Filled,
    ) {
        let ordered = arrangement.to_reference(package, pair.sizes);
        let channels = pair.sizes.channels.max(1);
        let vectors = exact.chunks(channels).zip(ordered.chunks(channels));
        for (at, (exact, package)) in vectors.enumerate() {
            let (row, position) = (at / pair.sizes.positions, at % pair.sizes.positions);
            let Some(row) = batch.rows.get(row).filter(|_| row < batch.count) else {
                break;
            };
            let counts = match pair.sizes.positions {
                1 => row.tokens() > 0,
                _ => row.is_token(position),
            };
            if !counts {
                continue;
            }
            self.errors.add(exact, package);
            let lost = exact.iter().zip(package);
            self.nonfinite += lost
                .filter(|(exact, package)| exact.is_finite() && !package.is_finite())
                .count() as u64;
        }
    }

    /// Signal to loss in decibels.
    fn sqnr(&self) -> f64 {
        match self.nonfinite {
            0 => self.errors.sqnr(),
            _ => f64::NEG_INFINITY,
        }
    }

    pub(super) fn report(&self) -> DriftErrors {
        DriftErrors {
            sqnr: Decibels(self.sqnr()),
            max_abs: self.errors.max_abs(),
            nonfinite: self.nonfinite,
        }
    }
}

/// Signal to loss beyond which nothing is gained by another arrangement, in decibels.
const CLEAR: f64 = 60.0;

/// How each value lies: of the ways its shape allows, the one in which values at the same place of all layers, together,
/// are nearest to the reference, so that a fault in one layer is not taken for an arrangement. `found` has each pair
/// with both sides' values.
pub(super) fn settle(found: &[(&Pair, &[f32], &[f32])], batch: &Filled) -> Vec<Arrangement> {
    let layers = |place: &str| -> String {
        let parts = place.split('.').map(|part| match part.parse::<usize>() {
            Ok(_) => "#",
            Err(_) => part,
        });
        parts.collect::<Vec<_>>().join(".")
    };
    let mut scores: BTreeMap<(String, usize), Vec<f64>> = BTreeMap::new();
    for (pair, exact, package) in found {
        let alike = (layers(&pair.place), pair.candidates.len());
        let scores = scores.entry(alike).or_default();
        scores.resize(pair.candidates.len(), 0.0);
        for (score, candidate) in scores.iter_mut().zip(&pair.candidates) {
            let mut loss = Loss::default();
            loss.add(pair, *candidate, exact, package, batch);
            *score += loss.sqnr().clamp(0.0, CLEAR);
        }
    }
    found
        .iter()
        .map(|(pair, _, _)| {
            let scores = &scores[&(layers(&pair.place), pair.candidates.len())];
            // The plainest of equally good ones.
            let mut best = 0;
            for (index, score) in scores.iter().enumerate() {
                if *score > scores[best] {
                    best = index;
                }
            }
            pair.candidates[best]
        })
        .collect()
}
