//! What is asked of a package beyond what goes with its precision: limits that only warn, and being no worse than an
//! earlier package by more than so much.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Measure, Reason, ThresholdOverrides, Verdict, at_least, at_most, farthest, holds, measures, not_kept,
};
use crate::report::{BucketReport, Number, OutputReport, ProbeReport, VerifyReport, optional};

/// How much worse than in an earlier report a figure may be. Figures without a limit are not compared.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Drops {
    /// Decibels of PSNR, per output.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub psnr: Option<f64>,
    /// Of the lowest cosine.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub cosine: Option<f64>,
    /// Of the share of equal decisions.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub top1: Option<f64>,
    /// Of the share of equal nearest neighbours.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub neighbour_overlap: Option<f64>,
    /// Growth of the largest absolute error.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub max_abs: Option<f64>,
}

impl Drops {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits, and those of `general` where there are none.
    #[must_use]
    pub fn or(self, general: Self) -> Self {
        Self {
            psnr: self.psnr.or(general.psnr),
            cosine: self.cosine.or(general.cosine),
            top1: self.top1.or(general.top1),
            neighbour_overlap: self.neighbour_overlap.or(general.neighbour_overlap),
            max_abs: self.max_abs.or(general.max_abs),
        }
    }

    /// The limit on what a measure may lose, and its name in a gate.
    fn of(&self, measure: &Measure) -> (Option<f64>, &'static str) {
        match measure.key {
            "min-psnr" => (self.psnr, "max-psnr-drop"),
            "min-cosine" => (self.cosine, "max-cosine-drop"),
            "min-top1" => (self.top1, "max-top1-drop"),
            _ => (self.neighbour_overlap, "max-overlap-drop"),
        }
    }
}

/// Limits beside the thresholds a package must reach.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Gate {
    /// What falls short of these is a warning.
    pub warn: ThresholdOverrides,
    /// An earlier report.
    pub baseline: Option<Arc<VerifyReport>>,
    /// How much worse than the earlier report is a failure.
    pub drops: Drops,
    /// How much worse is a warning.
    pub warn_drops: Drops,
}

/// The gate as it was applied to a bucket.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GateReport {
    /// What falls short of these is a warning.
    pub warn: ThresholdOverrides,
    /// The digest of the package the earlier report is about.
    pub baseline: Option<String>,
    /// How much worse than the earlier report is a failure.
    pub drops: Drops,
    /// How much worse is a warning.
    pub warn_drops: Drops,
}

impl Gate {
    /// What of it there is to report.
    pub(crate) fn report(&self) -> Option<GateReport> {
        let baseline = self.baseline.as_ref();
        let report = GateReport {
            warn: self.warn,
            baseline: baseline.map(|report| report.package.digest.clone()),
            drops: self.drops,
            warn_drops: self.warn_drops,
        };
        let asked = self.warn != ThresholdOverrides::default() || report.baseline.is_some();
        asked.then_some(report)
    }

    /// The verdict on a bucket with what this gate adds to it: failures, and warnings where nothing failed already.
    pub(crate) fn apply(
        &self,
        verdict: Verdict,
        bucket: &str,
        outputs: &[OutputReport],
        probes: &ProbeReport,
    ) -> Verdict {
        let Verdict {
            mut reasons,
            mut warnings,
            ..
        } = verdict;
        let worse = |drops: &Drops| match &self.baseline {
            Some(baseline) => worse(baseline, bucket, outputs, drops),
            None => Vec::new(),
        };
        reasons.extend(worse(&self.drops));
        let known = |warning: &Reason| {
            let same = |reason: &Reason| reason.output == warning.output && reason.measure == warning.measure;
            reasons.iter().any(same)
        };
        let short = not_kept(outputs, probes, &self.warn).into_iter();
        let short = short.chain(worse(&self.warn_drops));
        warnings.extend(short.filter(|warning| !known(warning)));
        Verdict {
            passed: reasons.is_empty(),
            reasons,
            warnings,
        }
    }

    /// A reason when there is an earlier report and nothing in it to compare any of the buckets with.
    pub(crate) fn incomparable(&self, buckets: &[BucketReport]) -> Option<Reason> {
        let baseline = self.baseline.as_ref()?;
        let comparable = buckets.iter().any(|bucket| {
            let outputs = bucket.outputs.iter();
            let mut earlier = outputs.filter_map(|output| counterpart(baseline, &bucket.name, output));
            earlier.next().is_some()
        });
        let names: Vec<_> = baseline
            .buckets
            .iter()
            .map(|bucket| bucket.name.as_str())
            .collect();
        let found = format!("no output in common; it judged {}", names.join(", "));
        (!comparable).then(|| {
            Reason::of(
                None,
                "earlier report",
                found,
                "one of the same outputs".to_owned(),
            )
        })
    }
}

/// The output in an earlier report.
fn counterpart<'a>(
    baseline: &'a VerifyReport,
    bucket: &str,
    output: &OutputReport,
) -> Option<&'a OutputReport> {
    let bucket = baseline.buckets.iter().find(|earlier| earlier.name == bucket)?;
    let mut outputs = bucket.outputs.iter();
    outputs.find(|earlier| earlier.package == output.package && earlier.errors.kind == output.errors.kind)
}

/// Every figure that is worse than the earlier one by more than it may.
fn worse(baseline: &VerifyReport, bucket: &str, outputs: &[OutputReport], drops: &Drops) -> Vec<Reason> {
    let pairs = outputs
        .iter()
        .filter_map(|output| Some((output, counterpart(baseline, bucket, output)?)));
    pairs
        .flat_map(|(output, earlier)| {
            let mut reasons = lost(output, earlier, drops);
            reasons.extend(grown(output, earlier, drops));
            reasons
        })
        .collect()
}

/// What should be large and is smaller.
fn lost(output: &OutputReport, earlier: &OutputReport, drops: &Drops) -> Vec<Reason> {
    let none = ThresholdOverrides::default();
    let before = measures(earlier, &none);
    let now = measures(output, &none).into_iter();
    now.filter_map(|measure| {
        let (limit, key) = drops.of(&measure);
        let limit = limit?;
        let before = before.iter().find(|before| before.name == measure.name)?.found;
        // Exact both times is no loss; their difference is not a number.
        let drop = if before == measure.found {
            0.0
        } else {
            before - measure.found
        };
        if holds(drop, limit) {
            return None;
        }
        let unit = measure.unit;
        let show = |value: f64| match unit {
            "" => value.to_string(),
            unit => format!("{value:.2}{unit}"),
        };
        let found = format!("{} where it was {}", show(measure.found), show(before));
        let limit = format!("at most {limit}{unit} less");
        let passing = at_least(-drop, measure.decimals).map(|passing| -passing);
        let reason = Reason::of(Some(output), measure.name, found, limit);
        Some(reason.at(measure.worst).passing(key, passing))
    })
    .collect()
}

/// The largest error, where it grew.
#[allow(clippy::cast_possible_truncation)] // a limit on the growth of f32 errors
fn grown(output: &OutputReport, earlier: &OutputReport, drops: &Drops) -> Option<Reason> {
    let limit = drops.max_abs?;
    let (now, before) = (output.errors.max_abs, earlier.errors.max_abs);
    let growth = f64::from(now) - f64::from(before);
    if now == before || holds(growth, limit) {
        return None;
    }
    let found = format!("{now:e} where it was {before:e}");
    let reason = Reason::of(
        Some(output),
        "largest error",
        found,
        format!("at most {limit:e} more"),
    );
    let reason = reason.at(farthest(&output.errors));
    Some(reason.passing("max-abs-growth", at_most(growth as f32)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::examples;

    fn held(gate: &Gate, report: &VerifyReport) -> Verdict {
        let bucket = &report.buckets[0];
        gate.apply(
            bucket.verdict.clone(),
            &bucket.name,
            &bucket.outputs,
            &bucket.probes,
        )
    }

    #[test]
    fn warnings_are_no_failures_and_repeat_none() {
        let (good, bad) = (examples::passed(), examples::failed());
        let gate = Gate {
            warn: ThresholdOverrides {
                min_psnr: Some(200.0),
                ..ThresholdOverrides::default()
            },
            ..Gate::default()
        };
        let verdict = held(&gate, &good);
        assert!(verdict.passed && verdict.reasons.is_empty());
        assert_eq!(verdict.warnings.len(), 1);
        assert_eq!(verdict.warnings[0].measure, "PSNR");
        let verdict = held(&gate, &bad);
        assert!(!verdict.passed);
        assert!(verdict.warnings.iter().all(|warning| warning.measure != "PSNR"));
        assert_eq!(held(&Gate::default(), &good), good.buckets[0].verdict);
        assert_eq!(Gate::default().report(), None);
    }

    #[test]
    fn no_worse_than_an_earlier_report() {
        let (good, bad) = (examples::passed(), examples::failed());
        let strict = Drops {
            psnr: Some(0.0),
            cosine: Some(0.0),
            top1: Some(0.0),
            neighbour_overlap: Some(0.0),
            max_abs: Some(0.0),
        };
        let against = |baseline: &VerifyReport, drops, warn_drops| Gate {
            baseline: Some(Arc::new(baseline.clone())),
            drops,
            warn_drops,
            ..Gate::default()
        };
        assert_eq!(
            held(&against(&good, strict, strict), &good),
            good.buckets[0].verdict
        );
        // Better than before passes as it would without.
        assert_eq!(
            held(&against(&bad, strict, strict), &good),
            good.buckets[0].verdict
        );
        let verdict = held(&against(&good, strict, Drops::default()), &bad);
        let added: Vec<_> = verdict
            .reasons
            .iter()
            .filter(|reason| reason.found.contains("where it was"))
            .collect();
        let keys: Vec<_> = added
            .iter()
            .map(|reason| reason.would_pass.as_ref().unwrap().key.as_str())
            .collect();
        assert_eq!(keys, ["max-psnr-drop", "max-cosine-drop", "max-abs-growth"]);
        // What is said to pass does, and nothing much smaller.
        let limit = |index: usize| added[index].would_pass.as_ref().unwrap().limit;
        let loose = Drops {
            psnr: Some(limit(0)),
            cosine: Some(limit(1)),
            max_abs: Some(limit(2)),
            ..strict
        };
        assert_eq!(
            held(&against(&good, loose, Drops::default()), &bad),
            bad.buckets[0].verdict
        );
        let tight = Drops {
            psnr: Some(limit(0) - 0.02),
            ..loose
        };
        assert_ne!(
            held(&against(&good, tight, Drops::default()), &bad),
            bad.buckets[0].verdict
        );
        let warned = held(&against(&good, Drops::default(), strict), &bad);
        assert_eq!(warned.reasons, bad.buckets[0].verdict.reasons);
    }

    #[test]
    fn a_report_of_something_else_is_no_measure() {
        let good = examples::passed();
        let mut other = good.clone();
        other.buckets[0].outputs[0].package = "other".into();
        let gate = |baseline: &VerifyReport| Gate {
            baseline: Some(Arc::new(baseline.clone())),
            ..Gate::default()
        };
        assert_eq!(gate(&good).incomparable(&good.buckets), None);
        let reason = gate(&other).incomparable(&good.buckets).unwrap();
        assert!(reason.found.contains("main"), "{reason}");
        assert_eq!(Gate::default().incomparable(&good.buckets), None);
    }
}
