//! What a package costs on data whose answers are known: both sides' scores, and how sure their difference is.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spearman;

/// Draws for a confidence interval, and the most rows all of them together may have.
const DRAWS: usize = 1000;
const MOST_DRAWN: usize = 4_000_000;

/// Both sides on labelled rows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LabelledReport {
    /// Rows, or pairs of rows, with a label.
    pub labels: usize,
    /// One entry per score.
    pub scores: Vec<ScoreReport>,
}

/// One score of both sides.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScoreReport {
    /// `accuracy`, `macro F1` or `Spearman`.
    pub score: String,
    /// The reference's.
    pub reference: f64,
    /// The package's.
    pub package: f64,
    /// The package's less the reference's.
    pub difference: f64,
    /// 95 % confidence interval of the difference: a percentile bootstrap over rows drawn with replacement, both sides
    /// scored on the same draw, seeded.
    pub interval: [f64; 2],
}

/// What both sides say of one labelled row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Answer {
    /// A class each; `None` for a package whose scores are not numbers.
    Class {
        /// The label.
        truth: usize,
        /// The reference's best.
        reference: Option<usize>,
        /// The package's best.
        package: Option<usize>,
    },
    /// A number each, such as a similarity, that should order rows as the label does.
    Value {
        /// The label.
        truth: f64,
        /// The reference's.
        reference: f64,
        /// The package's.
        package: f64,
    },
}

/// Scores the answers; `None` where there are too few to score, or they are of both kinds.
pub fn labelled(answers: &[Answer]) -> Option<LabelledReport> {
    let scores: Vec<ScoreReport> = if answers
        .iter()
        .all(|answer| matches!(answer, Answer::Class { .. }))
    {
        [("accuracy", accuracy as Score), ("macro F1", macro_f1)]
            .into_iter()
            .filter_map(|(name, score)| both(name, score, answers))
            .collect()
    } else if answers
        .iter()
        .all(|answer| matches!(answer, Answer::Value { .. }))
    {
        both("Spearman", order, answers).into_iter().collect()
    } else {
        Vec::new()
    };
    (!scores.is_empty()).then_some(LabelledReport {
        labels: answers.len(),
        scores,
    })
}

/// A score of (reference, package) on some answers.
type Score = fn(&[Answer]) -> Option<(f64, f64)>;

/// The label of a classified row and what one side said.
type Said = fn(&Answer) -> Option<(usize, Option<usize>)>;

fn both(name: &'static str, score: Score, answers: &[Answer]) -> Option<ScoreReport> {
    let (reference, package) = score(answers)?;
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let draws = DRAWS.min(MOST_DRAWN / answers.len().max(1)).max(1);
    let mut differences: Vec<f64> = (0..draws)
        .filter_map(|_| {
            #[allow(clippy::cast_possible_truncation)] // below the number of answers
            let mut any = || ((u64::from(random.next_u32()) * answers.len() as u64) >> 32) as usize;
            let drawn: Vec<Answer> = (0..answers.len()).map(|_| answers[any()]).collect();
            score(&drawn).map(|(reference, package)| package - reference)
        })
        .collect();
    differences.sort_unstable_by(f64::total_cmp);
    Some(ScoreReport {
        score: name.to_owned(),
        reference,
        package,
        difference: package - reference,
        interval: [percentile(&differences, 0.025)?, percentile(&differences, 0.975)?],
    })
}

/// The value below which `share` of the sorted values lie.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)] // an index
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((share * last as f64).round() as usize).copied()
}

/// The share of rows whose class is the label.
#[allow(clippy::cast_precision_loss)] // counts of rows
fn accuracy(answers: &[Answer]) -> Option<(f64, f64)> {
    let right = |side: Said| {
        let right = answers
            .iter()
            .filter_map(side)
            .filter(|(truth, said)| Some(*truth) == *said);
        right.count() as f64 / answers.len() as f64
    };
    (!answers.is_empty()).then(|| (right(said_by_reference), right(said_by_package)))
}

/// The mean, over the classes that are a label of some row, of 2·TP / (2·TP + FP + FN).
#[allow(clippy::cast_precision_loss)] // counts of rows
fn macro_f1(answers: &[Answer]) -> Option<(f64, f64)> {
    let mut classes: Vec<usize> = answers
        .iter()
        .filter_map(said_by_reference)
        .map(|(truth, _)| truth)
        .collect();
    classes.sort_unstable();
    classes.dedup();
    let f1 = |side: Said| {
        let of_class = |class: &usize| {
            let (mut both, mut either) = (0u64, 0u64);
            for (truth, said) in answers.iter().filter_map(side) {
                let (truth, said) = (truth == *class, said == Some(*class));
                both += u64::from(truth && said);
                either += u64::from(truth) + u64::from(said);
            }
            2.0 * both as f64 / either.max(1) as f64
        };
        classes.iter().map(of_class).sum::<f64>() / classes.len() as f64
    };
    (!classes.is_empty()).then(|| (f1(said_by_reference), f1(said_by_package)))
}

/// Rank correlation with the labels.
fn order(answers: &[Answer]) -> Option<(f64, f64)> {
    let column = |pick: fn(f64, f64, f64) -> f64| -> Vec<f64> {
        let values = answers.iter().filter_map(|answer| match *answer {
            Answer::Value {
                truth,
                reference,
                package,
            } => Some(pick(truth, reference, package)),
            Answer::Class { .. } => None,
        });
        values.collect()
    };
    let truth = column(|truth, _, _| truth);
    let reference = spearman(&column(|_, reference, _| reference), &truth)?;
    Some((reference, spearman(&column(|_, _, package| package), &truth)?))
}

fn said_by_reference(answer: &Answer) -> Option<(usize, Option<usize>)> {
    match *answer {
        Answer::Class { truth, reference, .. } => Some((truth, reference)),
        Answer::Value { .. } => None,
    }
}

fn said_by_package(answer: &Answer) -> Option<(usize, Option<usize>)> {
    match *answer {
        Answer::Class { truth, package, .. } => Some((truth, package)),
        Answer::Value { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(truth: usize, reference: usize, package: usize) -> Answer {
        Answer::Class {
            truth,
            reference: Some(reference),
            package: Some(package),
        }
    }

    #[test]
    fn classes_by_hand() {
        // The package errs once: class 1 called 0.
        let answers = [class(0, 0, 0), class(0, 0, 0), class(1, 1, 0), class(1, 1, 1)];
        let report = labelled(&answers).unwrap();
        let [accuracy, f1] = &report.scores[..] else {
            panic!("{report:?}");
        };
        assert_eq!(
            (accuracy.reference, accuracy.package, accuracy.difference),
            (1.0, 0.75, -0.25)
        );
        // F1 of class 0: 2·2/(2·2 + 1) = 4/5; of class 1: 2·1/(2·1 + 1) = 2/3.
        assert!((f1.package - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-15);
        assert!(
            accuracy.interval[0] < -0.25 && accuracy.interval[1] > -0.25,
            "{accuracy:?}"
        );
    }

    #[test]
    fn equal_sides_differ_by_nothing_for_sure() {
        let answers: Vec<Answer> = (0..50).map(|row| class(row % 3, row % 2, row % 2)).collect();
        for score in labelled(&answers).unwrap().scores {
            assert_eq!(
                (score.difference, score.interval),
                (0.0, [0.0, 0.0]),
                "{}",
                score.score
            );
        }
    }

    #[test]
    fn the_interval_has_the_width_of_the_textbook() {
        // 400 rows, the package wrong on 100 the reference gets right: standard error √(0.25·0.75/400) = 0.02165.
        let answers: Vec<Answer> = (0..400)
            .map(|row| class(1, 1, usize::from(row % 4 != 0)))
            .collect();
        let accuracy = labelled(&answers).unwrap().scores.remove(0);
        let half = (accuracy.interval[1] - accuracy.interval[0]) / 2.0;
        assert!((half - 1.96 * 0.02165).abs() < 0.006, "{half}");
    }

    #[test]
    fn numbers_are_judged_by_their_order() {
        let value = |truth: f64, package: f64| Answer::Value {
            truth,
            reference: truth * truth,
            package,
        };
        let report = labelled(&[value(1.0, 3.0), value(2.0, 2.0), value(3.0, 1.0)]).unwrap();
        assert_eq!(
            (report.scores[0].reference, report.scores[0].package),
            (1.0, -1.0)
        );
        assert_eq!(labelled(&[]), None);
        assert_eq!(labelled(&[value(1.0, 1.0), class(0, 0, 0)]), None);
    }
}
