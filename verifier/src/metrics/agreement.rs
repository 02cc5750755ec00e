//! Whether the best score is the same one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often the package's best choice is the reference's.
///
/// Every decision counts in [`Self::agree`] and [`Self::total`]. Those that differ where the reference itself leads by
/// less than the package's number format can tell are counted apart: rounding the reference's own scores to that
/// format might have made the same choice. Whether a decision is one of these depends on the reference's scores, not on
/// how wrong the package is.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    /// Decisions on which both agree.
    pub agree: u64,
    /// Decisions in all.
    pub total: u64,
    /// Decisions that differ where the reference prefers its choice to the package's by no more than
    /// [`Self::resolution`] times the larger of the two scores.
    pub undecided: u64,
    /// One step of the package's number format, relative to a number's size.
    pub resolution: f32,
    /// Over the decisions that differ, the most by which the reference prefers its own choice to the package's.
    pub largest_lost_margin: f32,
}

/// How often the reference's best choice is among the package's five best, for scores of more than five classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TopFive {
    /// Decisions where it is.
    pub agree: u64,
    /// Decisions in all.
    pub total: u64,
}

impl TopFive {
    /// The number of classes it takes for being among five to mean something.
    pub(super) const CLASSES: usize = 6;

    /// Adds one decision. Where several of the reference's scores are the highest, any of them will do; among equal scores
    /// of the package the first come first. Scores with a NaN never agree.
    pub(super) fn add(&mut self, reference: &[f32], package: &[f32]) {
        self.total += 1;
        let Some(best) = argmax(reference).map(|best| reference[best]) else {
            return;
        };
        if package.iter().any(|score| score.is_nan()) {
            return;
        }
        let above = |index: usize| {
            let ahead = |(other, score): (usize, &f32)| {
                *score > package[index] || (*score == package[index] && other < index)
            };
            package
                .iter()
                .enumerate()
                .filter(|other| ahead(*other))
                .take(5)
                .count()
        };
        let mut candidates =
            (0..reference.len().min(package.len())).filter(|index| reference[*index] >= best);
        self.agree += u64::from(candidates.any(|index| above(index) < 5));
    }
}

impl Agreement {
    /// No decisions yet.
    pub(super) const fn new(resolution: f32) -> Self {
        Self {
            agree: 0,
            total: 0,
            undecided: 0,
            resolution,
            largest_lost_margin: 0.0,
        }
    }

    /// Adds one decision by scores; among equal scores of its own the package chooses the first, as `argmax` does.
    pub(super) fn add(&mut self, reference: &[f32], package: &[f32]) {
        self.add_choice(reference, argmax(package));
    }

    /// Adds one decision. The package must choose an index whose reference score is the reference's highest. No choice,
    /// or one among scores with a NaN, is never right.
    pub(super) fn add_choice(&mut self, reference: &[f32], chosen: Option<usize>) {
        self.total += 1;
        let Some(best) = argmax(reference).map(|best| reference[best]) else {
            return;
        };
        let Some(score) = chosen.and_then(|chosen| reference.get(chosen).copied()) else {
            return;
        };
        let margin = best - score;
        if margin == 0.0 {
            self.agree += 1;
        } else {
            self.largest_lost_margin = self.largest_lost_margin.max(margin);
            self.undecided += u64::from(margin <= self.resolution * best.abs().max(score.abs()));
        }
    }

    /// The share of decisions that agree or that the package's number format can't tell apart even when nothing
    /// else is rounded; 1 when there were none.
    #[allow(clippy::cast_precision_loss)] // counts of decisions
    pub fn ratio(&self) -> f64 {
        if self.total == 0 {
            1.0
        } else {
            (self.agree + self.undecided) as f64 / self.total as f64
        }
    }
}

/// The first index of the largest value; `None` when there is none or one is NaN.
pub(crate) fn argmax(values: &[f32]) -> Option<usize> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let better = |best: usize, index: usize| if values[index] > values[best] { index } else { best };
    (0..values.len()).reduce(better)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(decisions: &[(&[f32], &[f32])]) -> Agreement {
        let mut agreement = Agreement::new(1.0 / 1024.0);
        for (reference, package) in decisions {
            agreement.add(reference, package);
        }
        agreement
    }

    #[test]
    fn the_same_choice_agrees_whatever_the_scores() {
        let agreement = of(&[
            (&[0.1, 0.9], &[5.0, 6.0]),
            (&[0.1, 0.9], &[6.0, 5.0]),
            (&[1.0, 1.5, 0.0], &[2.0, 1.0, 0.0]),
        ]);
        assert_eq!((agreement.agree, agreement.total, agreement.undecided), (1, 3, 0));
        assert_eq!(agreement.largest_lost_margin, 0.9 - 0.1);
        assert!((agreement.ratio() - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn a_tie_in_the_reference_may_be_broken_either_way_one_in_the_package_goes_to_the_first() {
        assert_eq!(of(&[(&[2.0, 2.0], &[0.0, 1.0])]).agree, 1);
        assert_eq!(of(&[(&[1.0, 2.0], &[1.0, 1.0])]).agree, 0);
        assert_eq!(of(&[(&[2.0, 1.0], &[1.0, 1.0])]).agree, 1);
    }

    #[test]
    fn undecided_is_what_the_reference_leads_by_not_how_wrong_the_package_is() {
        // One step of fp16 at 8 is 1/128.
        let narrow = of(&[(&[8.0, 8.0 + 1.0 / 128.0], &[9.0, -9.0])]);
        assert_eq!((narrow.agree, narrow.undecided, narrow.ratio()), (0, 1, 1.0));
        let wide = of(&[(&[8.0, 8.0 + 3.0 / 128.0], &[8.0, 7.999])]);
        assert_eq!((wide.agree, wide.undecided, wide.ratio()), (0, 0, 0.0));
        // Small scores have small steps.
        assert_eq!(of(&[(&[0.0, 1.0 / 128.0], &[1.0, 0.0])]).undecided, 0);
    }

    #[test]
    fn among_five() {
        let five = |reference: &[f32], package: &[f32]| {
            let mut five = TopFive::default();
            five.add(reference, package);
            (five.agree, five.total)
        };
        let reference = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        assert_eq!(five(&reference, &[9.0, 8.0, 7.0, 6.0, 0.0, 5.0]), (1, 1));
        assert_eq!(five(&reference, &[9.0, 8.0, 7.0, 6.0, 5.0, 0.0]), (0, 1));
        // Equal scores: the first five of them.
        assert_eq!(five(&reference, &[1.0; 6]), (0, 1));
        assert_eq!(five(&[1.0, 0.0, 0.0, 0.0, 0.0, 1.0], &[1.0; 6]), (1, 1));
        assert_eq!(five(&reference, &[f32::NAN, 0.0, 0.0, 0.0, 0.0, 1.0]), (0, 1));
    }

    #[test]
    fn nan_never_agrees() {
        let agreement = of(&[
            (&[1.0, 2.0], &[f32::NAN, 1.0]),
            (&[], &[]),
            (&[f32::NAN, 1.0], &[0.0, 1.0]),
        ]);
        assert_eq!((agreement.agree, agreement.undecided, agreement.total), (0, 0, 3));
        assert_eq!(Agreement::new(0.0).ratio(), 1.0);
        let mut none = Agreement::new(1.0);
        none.add_choice(&[1.0, 2.0], None);
        none.add_choice(&[1.0, 2.0], Some(2));
        assert_eq!((none.agree, none.undecided, none.total), (0, 0, 2));
    }
}
