//! Arithmetics side by side, headroom and single operations' losses, as text.

use serde::Serialize;

use super::figures::{NONE, decibels};
use crate::report::numerics::{HeadroomReport, LossReport, ModeReport};
use crate::report::{BucketReport, OutputReport, VerifyReport};

/// Operations shown: those with the least headroom, and those that lose most.
pub(super) const SHOWN: usize = 10;

/// One output in one arithmetic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct ModeRow {
    pub(super) arithmetic: String,
    /// Whether the verdict is about it.
    pub(super) judged: bool,
    pub(super) passes: bool,
    pub(super) output: String,
    pub(super) psnr: String,
    pub(super) sqnr: String,
    pub(super) cosine: String,
    pub(super) max_abs: String,
    pub(super) not_finite: u64,
}

/// Every arithmetic the bucket was looked at in, the judged one first; empty when that is the only one.
pub(super) fn modes(report: &VerifyReport, bucket: &BucketReport) -> Vec<ModeRow> {
    let Some(numerics) = bucket.numerics.as_ref().filter(|found| !found.modes.is_empty()) else {
        return Vec::new();
    };
    let name = &report.execution.arithmetic;
    let judged = bucket
        .outputs
        .iter()
        .map(|output| row(name, true, bucket.verdict.passed, output));
    let others = numerics.modes.iter().flat_map(|mode| {
        let ModeReport {
            arithmetic, verdict, ..
        } = mode;
        mode.outputs
            .iter()
            .map(move |output| row(arithmetic, false, verdict.passed, output))
    });
    judged.chain(others).collect()
}

fn row(arithmetic: &str, judged: bool, passes: bool, output: &OutputReport) -> ModeRow {
    let errors = &output.errors;
    let measured = |text: String| match errors.elements {
        0 => NONE.to_owned(),
        _ => text,
    };
    let cosine = errors.cosine.as_ref();
    ModeRow {
        arithmetic: arithmetic.to_owned(),
        judged,
        passes,
        output: output.package.clone(),
        psnr: measured(decibels(errors.psnr)),
        sqnr: measured(decibels(errors.sqnr)),
        cosine: cosine.map_or_else(|| NONE.to_owned(), |cosine| format!("{:.7}", cosine.min)),
        max_abs: measured(format!("{:.2e}", errors.max_abs)),
        not_finite: errors.nonfinite_package,
    }
}

/// One operation's largest values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct HeadroomRow {
    pub(super) operation: String,
    pub(super) op: String,
    /// How many times as large its values could be.
    pub(super) times: String,
    pub(super) result: String,
    /// The largest sum on the way.
    pub(super) sum: String,
    /// What no order of adding exceeds.
    pub(super) bound: String,
}

impl HeadroomRow {
    pub(super) fn of(found: &HeadroomReport) -> Self {
        let sum = |value: Option<f32>| value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.3e}"));
        Self {
            operation: found.operation.clone(),
            op: found.op.clone(),
            times: times(found.headroom),
            result: format!("{:.3e}", found.largest),
            sum: sum(found.sums.map(|sums| sums.reached)),
            bound: sum(found.sums.map(|sums| sums.bound)),
        }
    }
}

/// `3.4 ×`, or `0.2 ×` where a limit is passed.
fn times(headroom: f32) -> String {
    match headroom {
        ..1000.0 => format!("{headroom:.2} ×"),
        _ => format!("{headroom:.1e} ×"),
    }
}

/// What one operation loses by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct LossRow {
    pub(super) operation: String,
    pub(super) op: String,
    pub(super) sqnr: String,
}

impl LossRow {
    pub(super) fn of(found: &LossReport) -> Self {
        Self {
            operation: found.operation.clone(),
            op: found.op.clone(),
            sqnr: decibels(crate::report::Decibels(found.sqnr)),
        }
    }
}
