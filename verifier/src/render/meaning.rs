//! What users of an output would notice, in words: choices, probabilities, neighbours, answers, scores on labels.

use super::figures::{self, count};
use crate::report::{BucketReport, OutputReport};

/// Something found, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    /// The output, unless it is about several.
    pub(super) output: Option<String>,
    /// What was looked at.
    pub(super) what: &'static str,
    /// What was found.
    pub(super) found: String,
}

/// Everything found in a bucket beyond distances.
pub(super) fn findings(bucket: &BucketReport) -> Vec<Finding> {
    let outputs = bucket.outputs.iter().flat_map(of_output);
    outputs.chain(answers(bucket)).collect()
}

fn of_output(output: &OutputReport) -> Vec<Finding> {
    let errors = &output.errors;
    let top1 = errors.top1.map(|top1| {
        let mut found = format!("{} equal", figures::decisions(&top1));
        if top1.agree < top1.total {
            found += &format!(
                "; the reference prefers its own by {:.2e} at most",
                top1.largest_lost_margin
            );
        }
        ("best score", found)
    });
    let top5 = errors.top5.map(|top5| {
        let found = format!("{} of {}", count(top5.agree), count(top5.total));
        ("the reference's best among the package's five best", found)
    });
    let divergence = errors.divergence.map(|divergence| {
        let mut found = format!(
            "{:.2e} nats on average, {:.2e} at most",
            divergence.mean, divergence.max
        );
        if let Some(row) = divergence.worst_row {
            found += &format!(", at input {row}");
        }
        ("KL divergence of the probabilities", found)
    });
    let sentence = errors.sentence.as_ref();
    let cosine = sentence
        .and_then(|sentence| sentence.cosine.as_ref())
        .map(|cosine| {
            let found = format!("{:.7} on average, {:.7} at least", cosine.mean, cosine.min);
            ("cosine of sentence vectors", found)
        });
    let correlation = sentence.and_then(|sentence| sentence.rank_correlation);
    let correlation = correlation.map(|correlation| {
        let found = format!("{correlation:.6}");
        ("rank correlation of all similarities", found)
    });
    let findings = [top1, top5, divergence, cosine, correlation]
        .into_iter()
        .flatten();
    findings
        .map(|(what, found)| Finding {
            output: Some(output.package.clone()),
            what,
            found,
        })
        .collect()
}

fn answers(bucket: &BucketReport) -> Option<Finding> {
    let spans = bucket.spans?;
    let mut found = format!(
        "{} of {} the same, mean F1 {:.4}",
        count(spans.exact),
        count(spans.rows),
        spans.mean_f1
    );
    if let (Some(row), Some(lowest)) = (spans.worst_row, spans.min_f1) {
        found += &format!(", lowest {lowest:.4} at input {row}");
    }
    Some(Finding {
        output: None,
        what: "answers",
        found,
    })
}

/// One score of both sides on labelled inputs, as text.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(super) struct Score {
    pub(super) output: String,
    pub(super) score: String,
    pub(super) reference: String,
    pub(super) package: String,
    pub(super) difference: String,
    /// 95 % confidence interval of the difference.
    pub(super) interval: String,
    pub(super) labels: String,
}

/// Every score on labels in a bucket.
pub(super) fn scores(bucket: &BucketReport) -> Vec<Score> {
    let labelled = bucket
        .outputs
        .iter()
        .filter_map(|output| Some((output, output.labelled.as_ref()?)));
    labelled
        .flat_map(|(output, labelled)| labelled.scores.iter().map(move |score| (output, labelled, score)))
        .map(|(output, labelled, score)| Score {
            output: output.package.clone(),
            score: score.score.clone(),
            reference: format!("{:.4}", score.reference),
            package: format!("{:.4}", score.package),
            difference: format!("{:+.4}", score.difference),
            interval: format!("{:+.4} to {:+.4}", score.interval[0], score.interval[1]),
            labels: count(labelled.labels as u64),
        })
        .collect()
}
