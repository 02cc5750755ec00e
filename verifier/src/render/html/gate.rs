//! What was asked for, and what was not kept.

use serde::Serialize;

use crate::render::figures::count;
use crate::report::BucketReport;
use crate::verdict::{Drops, Reason, ThresholdOverrides};

/// One limit that was not kept.
#[derive(Serialize)]
pub(super) struct ReasonView<'a> {
    place: String,
    measure: &'a str,
    found: &'a str,
    limit: &'a str,
    row: Option<usize>,
    text: Option<&'a str>,
    values: Option<String>,
    would_pass: Option<String>,
}

impl<'a> ReasonView<'a> {
    pub(super) fn of(reason: &'a Reason) -> Self {
        let places: Vec<_> = [&reason.bucket, &reason.output]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let worst = reason.worst.as_ref();
        Self {
            place: places.join(", "),
            measure: &reason.measure,
            found: &reason.found,
            limit: &reason.limit,
            row: worst.map(|worst| worst.row),
            text: worst.and_then(|worst| worst.text.as_deref()),
            values: worst.and_then(|worst| {
                let values = worst.values?;
                Some(format!(
                    "{} where the reference has {}, at {:?}",
                    values.package, values.reference, worst.position
                ))
            }),
            would_pass: reason.would_pass.as_ref().map(ToString::to_string),
        }
    }
}

/// Everything asked of a bucket, by name.
pub(super) fn asked(bucket: &BucketReport) -> Vec<(String, String)> {
    let fails = limits(&bucket.thresholds.limits()).into_iter();
    let mut all: Vec<_> = fails.map(|(name, limit)| (name.to_owned(), limit)).collect();
    let Some(gate) = &bucket.gate else {
        return all;
    };
    let warns = limits(&gate.warn).into_iter();
    all.extend(warns.map(|(name, limit)| (format!("warning: {name}"), limit)));
    if let Some(digest) = &gate.baseline {
        all.push(("earlier report, of package".to_owned(), digest.clone()));
    }
    all.extend(drops(&gate.drops).map(|(name, limit)| (name.to_owned(), limit)));
    all.extend(drops(&gate.warn_drops).map(|(name, limit)| (format!("warning: {name}"), limit)));
    all
}

fn drops(drops: &Drops) -> impl Iterator<Item = (&'static str, String)> {
    [
        (
            "PSNR below the earlier by at most",
            drops.psnr.map(|limit| format!("{limit} dB")),
        ),
        (
            "cosine below the earlier by at most",
            drops.cosine.map(|limit| limit.to_string()),
        ),
        (
            "equal decisions below the earlier by at most",
            drops.top1.map(|limit| limit.to_string()),
        ),
        (
            "shared neighbours below the earlier by at most",
            drops.neighbour_overlap.map(|limit| limit.to_string()),
        ),
        (
            "absolute error above the earlier by at most",
            drops.max_abs.map(|limit| format!("{limit:e}")),
        ),
    ]
    .into_iter()
    .filter_map(|(name, limit)| Some((name, limit?)))
}

/// Limits by name, those that are there.
fn limits(limits: &ThresholdOverrides) -> Vec<(&'static str, String)> {
    [
        (
            "PSNR at least",
            limits.min_psnr.map(|limit| format!("{limit} dB")),
        ),
        (
            "cosine at least",
            limits.min_cosine.map(|limit| limit.to_string()),
        ),
        (
            "absolute error at most",
            limits.max_abs.map(|limit| format!("{limit:e}")),
        ),
        (
            "equal decisions at least",
            limits.min_top1.map(|limit| limit.to_string()),
        ),
        (
            "shared neighbours at least",
            limits.min_neighbour_overlap.map(|limit| limit.to_string()),
        ),
        (
            "change under padding at most",
            limits.max_change_under_padding.map(|limit| limit.to_string()),
        ),
    ]
    .into_iter()
    .filter_map(|(name, limit)| Some((name, limit?)))
    .collect()
}

/// What was found of padding and of empty masks, in sentences.
pub(super) fn probes(bucket: &BucketReport) -> Vec<String> {
    let probes = &bucket.probes;
    let empty = probes.nonfinite_without_tokens.map(|found| match found {
        0 => "An all-zero mask gives finite values.".to_owned(),
        found => format!(
            "An all-zero mask gives {} values that are not finite.",
            count(found)
        ),
    });
    let padding = probes.change_under_padding.map(|change| {
        if change == 0.0 {
            "What stands under the padding changes nothing.".to_owned()
        } else {
            format!("What stands under the padding changes outputs by {change:e} at most.")
        }
    });
    [empty, padding].into_iter().flatten().collect()
}
