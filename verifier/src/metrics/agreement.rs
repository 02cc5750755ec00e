//! Whether the best score is the same one.

use serde::Serialize;

/// How often the package's best choice is the reference's.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Agreement {
    /// Decisions on which both agree.
    pub agree: u64,
    /// Decisions in all.
    pub total: u64,
    /// Over the decisions that differ, the most by which the reference prefers its own choice to the package's: a
    /// small number against the scores says that the reference was undecided.
    pub largest_lost_margin: f32,
}

impl Agreement {
    /// Adds one decision. The package must choose an index whose reference score is the reference's highest; among
    /// equal scores of its own the package chooses the first, as `argmax` does. A NaN is never right.
    pub(super) fn add(&mut self, reference: &[f32], package: &[f32]) -> bool {
        self.total += 1;
        let (Some(wanted), Some(chosen)) = (argmax(reference), argmax(package)) else {
            return false;
        };
        let margin = reference[wanted] - reference[chosen];
        let agrees = margin == 0.0;
        self.agree += u64::from(agrees);
        if !agrees {
            self.largest_lost_margin = self.largest_lost_margin.max(margin);
        }
        agrees
    }

    /// Adds one decision between names, of which a margin is not known.
    pub(super) fn add_label(&mut self, agrees: bool) {
        self.total += 1;
        self.agree += u64::from(agrees);
    }

    /// The share of decisions that agree; 1 when there were none.
    #[allow(clippy::cast_precision_loss)] // counts of decisions
    pub fn ratio(&self) -> f64 {
        if self.total == 0 {
            1.0
        } else {
            self.agree as f64 / self.total as f64
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

    #[test]
    fn the_same_choice_agrees_whatever_the_scores() {
        let mut agreement = Agreement::default();
        assert!(agreement.add(&[0.1, 0.9], &[5.0, 6.0]));
        assert!(!agreement.add(&[0.1, 0.9], &[6.0, 5.0]));
        assert!(!agreement.add(&[1.0, 1.5, 0.0], &[2.0, 1.0, 0.0]));
        assert_eq!((agreement.agree, agreement.total), (1, 3));
        assert_eq!(agreement.largest_lost_margin, 0.9 - 0.1);
        assert!((agreement.ratio() - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn a_tie_in_the_reference_may_be_broken_either_way_one_in_the_package_goes_to_the_first() {
        let mut agreement = Agreement::default();
        assert!(agreement.add(&[2.0, 2.0], &[0.0, 1.0]));
        assert!(!agreement.add(&[1.0, 2.0], &[1.0, 1.0]));
        assert!(agreement.add(&[2.0, 1.0], &[1.0, 1.0]));
    }

    #[test]
    fn nan_never_agrees() {
        let mut agreement = Agreement::default();
        assert!(!agreement.add(&[1.0, 2.0], &[f32::NAN, 1.0]));
        assert!(!agreement.add(&[], &[]));
        assert_eq!(agreement.ratio(), 0.0);
        assert_eq!(Agreement::default().ratio(), 1.0);
    }
}
