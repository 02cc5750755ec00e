//! What users would notice: choices, answers, neighbours, scores on labels.

use serde::Serialize;

use crate::render::meaning::{self, Score};
use crate::report::BucketReport;

/// One size's.
#[derive(Serialize)]
pub(super) struct Meaning {
    /// Name and text.
    findings: Vec<(String, String)>,
    scores: Vec<Score>,
}

impl Meaning {
    pub(super) fn of(bucket: &BucketReport) -> Self {
        let several = bucket.outputs.len() > 1;
        let findings = meaning::findings(bucket).into_iter().map(|finding| {
            let name = match finding.output.filter(|_| several) {
                Some(output) => format!("{output}: {}", finding.what),
                None => finding.what.to_owned(),
            };
            (name, finding.found)
        });
        Self {
            findings: findings.collect(),
            scores: meaning::scores(bucket),
        }
    }
}
