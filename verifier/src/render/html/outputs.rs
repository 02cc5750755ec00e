//! Sizes judged, and the figures of their outputs.

use std::fmt::Write;

use serde::Serialize;

use super::Mark;
use crate::render::figures::{self, NONE, count, decibels};
use crate::report::{BucketReport, OutputReport};

/// One size of the inputs.
#[derive(Serialize)]
pub(super) struct Bucket<'a> {
    name: &'a str,
    default: bool,
    verdict: Mark,
    inputs: String,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Output {
    name: String,
    psnr: String,
    sqnr: String,
    cosine: String,
    max_abs: String,
    p99_abs: String,
    mean_abs: String,
    decisions: String,
    neighbours: String,
}

impl<'a> Bucket<'a> {
    pub(super) fn of(bucket: &'a BucketReport) -> Self {
        let inputs = &bucket.inputs;
        let mut said = format!(
            "{} inputs of {} to {} tokens at length {}, from {}",
            count(inputs.rows as u64),
            inputs.shortest,
            inputs.longest,
            inputs.length,
            inputs.origin
        );
        if inputs.truncated > 0 {
            let _ = write!(said, "; {} cut to fit", inputs.truncated);
        }
        if !inputs.not_taken.is_empty() {
            let _ = write!(said, "; the package takes no {}", inputs.not_taken.join(", "));
        }
        Self {
            name: &bucket.name,
            default: bucket.default,
            verdict: Mark::of(bucket.verdict.passed, !bucket.verdict.warnings.is_empty()),
            inputs: said,
            outputs: bucket.outputs.iter().map(Output::of).collect(),
        }
    }
}

impl Output {
    fn of(output: &OutputReport) -> Self {
        let errors = &output.errors;
        let measured = |text: String| {
            if errors.elements > 0 {
                text
            } else {
                NONE.to_owned()
            }
        };
        let none = || NONE.to_owned();
        Self {
            name: if output.package == output.reference {
                output.package.clone()
            } else {
                format!("{} = {}", output.package, output.reference)
            },
            psnr: measured(decibels(errors.psnr)),
            sqnr: measured(decibels(errors.sqnr)),
            cosine: errors
                .cosine
                .as_ref()
                .map_or_else(none, |cosine| format!("{:.7}", cosine.min)),
            max_abs: measured(format!("{:.2e}", errors.max_abs)),
            p99_abs: measured(format!("{:.2e}", errors.p99_abs)),
            mean_abs: measured(format!("{:.2e}", errors.mean_abs)),
            decisions: errors.top1.as_ref().map_or_else(none, figures::decisions),
            neighbours: errors
                .sentence
                .as_ref()
                .and_then(|sentence| Some((sentence.neighbour_overlap?, sentence.neighbours?)))
                .map_or_else(none, |(overlap, of)| format!("{:.2} % of {of}", overlap * 100.0)),
        }
    }
}
