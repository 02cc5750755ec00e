//! A classifier's labels and probabilities, held against the logits of its reference.

use crate::error::VerifyError;
use crate::interface::Subject;
use crate::reference::Reference;

pub(super) fn class_mismatch(
    subject: &Subject,
    output: &str,
    reference: &dyn Reference,
    classes: &[String],
) -> VerifyError {
    let theirs = reference
        .labels()
        .map_or_else(|| "of another number".to_owned(), |labels| labels.join(", "));
    subject.fail(format!(
        "output `{output}` has classes {}; the reference's are {theirs}",
        classes.join(", ")
    ))
}

/// Probabilities by the package's classes; `None` when a class is not the reference's. Without names the order of
/// both is taken for the same.
pub(super) fn in_class_order(
    probabilities: &[f32],
    classes: &[String],
    names: Option<&[String]>,
) -> Option<Vec<f32>> {
    let Some(names) = names else {
        return Some(probabilities.to_vec());
    };
    let by_name = |class: &String| {
        probabilities
            .get(names.iter().position(|name| name == class)?)
            .copied()
    };
    classes.iter().map(by_name).collect()
}

pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|logit| f64::from(logit - largest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    #[allow(clippy::cast_possible_truncation)] // back to the precision it came from
    powers.iter().map(|power| (power / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_by_hand() {
        let probabilities = softmax(&[0.0, 3f32.ln(), 1000.0 - 1000.0]);
        for (found, wanted) in probabilities.iter().zip([0.2, 0.6, 0.2]) {
            assert!((found - wanted).abs() < 1e-6);
        }
        assert_eq!(softmax(&[1000.0, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn classes_are_matched_by_name() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ours = names(&["b", "a"]);
        assert_eq!(
            in_class_order(&[0.1, 0.9], &ours, Some(&names(&["a", "b"]))),
            Some(vec![0.9, 0.1])
        );
        assert_eq!(
            in_class_order(&[0.1, 0.9], &ours, Some(&names(&["a", "c"]))),
            None
        );
        assert_eq!(in_class_order(&[0.1, 0.9], &ours, None), Some(vec![0.1, 0.9]));
    }
}
