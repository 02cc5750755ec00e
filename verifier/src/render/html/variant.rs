//! One package: its row in the table of variants, and its sections.

use serde::Serialize;

use super::drift::Drift;
use super::errors::{self, Chart};
use super::gate::{self, ReasonView};
use super::meaning::Meaning;
use super::numerics::Numerics;
use super::outputs::Bucket;
use super::worst::WorstRows;
use super::{Mark, provenance};
use crate::render::Entry;
use crate::render::figures::{Extremes, bytes, held};

/// What the page says of one package.
#[derive(Serialize)]
pub(super) struct Variant<'a> {
    id: String,
    name: &'a str,
    verdict: Mark,
    size: String,
    held: String,
    psnr: String,
    cosine: String,
    max_abs: String,
    decisions: String,
    reasons: Vec<ReasonView<'a>>,
    warnings: Vec<ReasonView<'a>>,
    several: bool,
    buckets: Vec<Bucket<'a>>,
    not_judged: &'a [crate::report::NotJudged],
    charts: Vec<Chart<'a>>,
    worst: Vec<WorstRows<'a>>,
    meaning: Option<Meaning>,
    drift: Option<Drift<'a>>,
    drift_missing: Option<&'a str>,
    numerics: Option<Numerics<'a>>,
    limits: Vec<(String, String)>,
    probes: Vec<String>,
    facts: Vec<(&'static str, String)>,
    digests: Vec<(String, &'a str)>,
    notes: Vec<(&'a str, &'a str)>,
}

impl<'a> Variant<'a> {
    /// The sections about the entry at `index`.
    pub(super) fn of((index, entry): (usize, &Entry<'a>)) -> Self {
        let report = entry.report;
        let [psnr, cosine, max_abs, decisions] = Extremes::of(report).shown();
        // What a caller who chooses nothing gets stands for the others.
        let default = report
            .buckets
            .iter()
            .find(|bucket| bucket.default)
            .or_else(|| report.buckets.first());
        let failed = report.buckets.iter().filter(|bucket| {
            !bucket.verdict.passed && default.is_some_and(|default| default.name != bucket.name)
        });
        let several = report.buckets.len() > 1;
        Self {
            id: format!("variant-{}", index + 1),
            name: entry.name,
            verdict: match report.interrupted {
                true => Mark::PARTIAL,
                false => Mark::of(report.verdict.passed, report.warned()),
            },
            size: bytes(report.package.bytes),
            held: held(report),
            psnr,
            cosine,
            max_abs,
            decisions,
            reasons: report.verdict.reasons.iter().map(ReasonView::of).collect(),
            warnings: report.verdict.warnings.iter().map(ReasonView::of).collect(),
            several,
            buckets: report.buckets.iter().map(Bucket::of).collect(),
            not_judged: &report.not_judged,
            charts: default.iter().flat_map(|bucket| errors::charts(bucket)).collect(),
            worst: default
                .iter()
                .copied()
                .chain(failed)
                .flat_map(|bucket| bucket.outputs.iter().filter_map(WorstRows::of))
                .collect(),
            meaning: default.map(Meaning::of),
            drift: report.drift.as_ref().map(Drift::of),
            drift_missing: report.drift_missing.as_deref(),
            numerics: default.and_then(|bucket| Numerics::of(report, bucket)),
            limits: default.map_or_else(Vec::new, gate::asked),
            probes: default.map_or_else(Vec::new, gate::probes),
            facts: provenance::facts(entry),
            digests: provenance::digests(entry),
            notes: report
                .reference
                .notes
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
        }
    }
}
