//! Pass or fail, and why.

use std::fmt;

use corer_runtime::Arithmetic;
use serde::Serialize;

use crate::metrics::OutputKind;
use crate::report::{BucketReport, OutputReport, Precision, ProbeReport};

/// What a package must reach.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Thresholds {
    /// Lowest PSNR of an output, in decibels.
    pub min_psnr: f64,
    /// Lowest cosine of a vector: a token's, a row's, or a sentence's.
    pub min_cosine: f64,
    /// Largest absolute error; none by default, since it depends on the model's scale.
    pub max_abs: Option<f32>,
    /// Lowest share of decisions that agree or that the number format can't tell apart.
    pub min_top1: f64,
    /// Lowest mean share of nearest neighbours that agree.
    pub min_neighbour_overlap: f64,
    /// Whether outputs must be finite when a mask is all zero.
    pub finite_without_tokens: bool,
    /// The most a compared value may change when ids under the padding do.
    pub max_change_under_padding: Option<f32>,
}

impl Thresholds {
    /// What corer's own packages of a precision are expected to reach.
    ///
    /// - `fp32`: two correct f32 implementations differ by rounding order alone, 120 dB and more.
    /// - `fp16`: 10 bits of fraction after a dozen layers; BERT-base and MiniLM reach 70 to 80 dB. What
    ///   coremltools writes in fp16 passes too.
    /// - `compressed`: a floor that catches broken packages. What a model can bear is for its owner to say.
    ///
    /// Padding must not matter at all: e to the −10⁴ is zero in every float format.
    pub const fn for_precision(precision: Precision) -> Self {
        let (min_psnr, min_cosine, min_top1, min_neighbour_overlap) = match precision {
            Precision::Fp32 => (100.0, 0.999_999, 0.999, 0.99),
            Precision::Fp16 => (65.0, 0.9999, 0.99, 0.95),
            Precision::Compressed => (30.0, 0.98, 0.95, 0.8),
        };
        Self {
            min_psnr,
            min_cosine,
            max_abs: None,
            min_top1,
            min_neighbour_overlap,
            finite_without_tokens: true,
            max_change_under_padding: Some(0.0),
        }
    }

    /// The defaults in one arithmetic. By the Neural Engine's rules a package can't be as near as on a CPU: gelu alone
    /// is off by up to 6e-3 (rule N8). Apple's own bar for a compiled model against PyTorch is 40 dB (rule N9); the
    /// rest is as for compressed packages.
    pub const fn for_arithmetic(precision: Precision, arithmetic: Arithmetic) -> Self {
        match (arithmetic, precision) {
            (Arithmetic::Ane(_), Precision::Fp16) => Self {
                min_psnr: 40.0,
                ..Self::for_precision(Precision::Compressed)
            },
            _ => Self::for_precision(precision),
        }
    }
}

/// Thresholds that replace the defaults.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ThresholdOverrides {
    /// See [`Thresholds::min_psnr`].
    pub min_psnr: Option<f64>,
    /// See [`Thresholds::min_cosine`].
    pub min_cosine: Option<f64>,
    /// See [`Thresholds::max_abs`].
    pub max_abs: Option<f32>,
    /// See [`Thresholds::min_top1`].
    pub min_top1: Option<f64>,
    /// See [`Thresholds::min_neighbour_overlap`].
    pub min_neighbour_overlap: Option<f64>,
    /// See [`Thresholds::finite_without_tokens`].
    pub finite_without_tokens: Option<bool>,
    /// See [`Thresholds::max_change_under_padding`]; infinity lets padding matter.
    pub max_change_under_padding: Option<f32>,
}

impl ThresholdOverrides {
    /// These values where given, the defaults elsewhere.
    pub fn over(&self, defaults: Thresholds) -> Thresholds {
        Thresholds {
            min_psnr: self.min_psnr.unwrap_or(defaults.min_psnr),
            min_cosine: self.min_cosine.unwrap_or(defaults.min_cosine),
            max_abs: self.max_abs.or(defaults.max_abs),
            min_top1: self.min_top1.unwrap_or(defaults.min_top1),
            min_neighbour_overlap: self
                .min_neighbour_overlap
                .unwrap_or(defaults.min_neighbour_overlap),
            finite_without_tokens: self
                .finite_without_tokens
                .unwrap_or(defaults.finite_without_tokens),
            max_change_under_padding: self
                .max_change_under_padding
                .or(defaults.max_change_under_padding),
        }
    }
}

/// Whether the package passed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Verdict {
    /// No reason against it was found.
    pub passed: bool,
    /// Every reason against it.
    pub reasons: Vec<Reason>,
}

/// One limit that was not kept.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Reason {
    /// The bucket, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The package's output, unless the reason concerns all of them.
    pub output: Option<String>,
    /// What was measured.
    pub measure: &'static str,
    /// What was found.
    pub found: String,
    /// What was asked for.
    pub limit: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in [&self.bucket, &self.output].into_iter().flatten() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{} {}, asked for {}", self.measure, self.found, self.limit)
    }
}

impl Verdict {
    /// The verdict on a package: it passes when each of its buckets does, and there is one.
    pub fn over(buckets: &[BucketReport]) -> Self {
        let several = buckets.len() > 1;
        let reasons = buckets.iter().flat_map(|bucket| {
            let reasons = bucket.verdict.reasons.iter().cloned();
            reasons.map(|reason| Reason {
                bucket: several.then(|| bucket.name.clone()),
                ..reason
            })
        });
        Self {
            passed: !buckets.is_empty() && buckets.iter().all(|bucket| bucket.verdict.passed),
            reasons: reasons.collect(),
        }
    }

    /// This verdict, unless the comparison was stopped before its end: then it is no pass.
    #[must_use]
    pub fn unless(mut self, interrupted: bool) -> Self {
        if interrupted {
            self.passed = false;
            self.reasons.push(Reason {
                bucket: None,
                output: None,
                measure: "comparison",
                found: "interrupted".into(),
                limit: "all of it".into(),
            });
        }
        self
    }

    /// Holds every output and probe against the thresholds.
    pub fn reach(outputs: &[OutputReport], probes: &ProbeReport, thresholds: &Thresholds) -> Self {
        let mut reasons = Vec::new();
        for output in outputs {
            judge_output(output, thresholds, &mut |measure, found, limit| {
                reasons.push(Reason {
                    bucket: None,
                    output: Some(output.package.clone()),
                    measure,
                    found,
                    limit,
                });
            });
        }
        let mut overall = |measure, found, limit| {
            reasons.push(Reason {
                bucket: None,
                output: None,
                measure,
                found,
                limit,
            })
        };
        if outputs.is_empty() {
            overall("outputs", "none".into(), "at least one".into());
        }
        if let Some(count @ 1..) = probes.nonfinite_without_tokens
            && thresholds.finite_without_tokens
        {
            overall(
                "values that are not finite under an all-zero mask",
                count.to_string(),
                "none".into(),
            );
        }
        if let (Some(change), Some(limit)) =
            (probes.change_under_padding, thresholds.max_change_under_padding)
            && !holds(f64::from(change), f64::from(limit))
        {
            overall(
                "change when ids under the padding change",
                format!("{change:e}"),
                format!("at most {limit:e}"),
            );
        }
        Self {
            passed: reasons.is_empty(),
            reasons,
        }
    }
}

/// Whether `value` is at most `limit`; NaN never is.
fn holds(value: f64, limit: f64) -> bool {
    value <= limit
}

fn judge_output(
    output: &OutputReport,
    thresholds: &Thresholds,
    fail: &mut dyn FnMut(&'static str, String, String),
) {
    let errors = &output.errors;
    if errors.nonfinite_package > 0 {
        fail(
            "values that are not finite",
            errors.nonfinite_package.to_string(),
            "none".into(),
        );
    }
    if errors.nonfinite_reference > 0 {
        fail(
            "values of the reference that are not finite",
            errors.nonfinite_reference.to_string(),
            "none".into(),
        );
    }
    let mut at_least = |measure, value: f64, limit: f64, show: &dyn Fn(f64) -> String| {
        if !holds(limit, value) {
            fail(measure, show(value), format!("at least {}", show(limit)));
        }
    };
    let plain = |value: f64| format!("{value}");
    if errors.elements > 0 {
        at_least("PSNR", errors.psnr.0, thresholds.min_psnr, &|value| {
            format!("{value:.2} dB")
        });
    }
    if let Some(cosine) = &errors.cosine {
        at_least("lowest cosine", cosine.min, thresholds.min_cosine, &plain);
    }
    if let Some(top1) = &errors.top1 {
        at_least("top-1 agreement", top1.ratio(), thresholds.min_top1, &plain);
    }
    if let Some(sentence) = &errors.sentence {
        if let Some(cosine) = &sentence.cosine {
            at_least(
                "lowest sentence cosine",
                cosine.min,
                thresholds.min_cosine,
                &plain,
            );
        }
        if let Some(overlap) = sentence.neighbour_overlap {
            at_least(
                "nearest neighbours shared",
                overlap,
                thresholds.min_neighbour_overlap,
                &plain,
            );
        }
    }
    if let Some(limit) = thresholds.max_abs
        && !holds(f64::from(errors.max_abs), f64::from(limit))
    {
        fail(
            "largest error",
            format!("{:e}", errors.max_abs),
            format!("at most {limit:e}"),
        );
    }
    let compared = match errors.kind {
        OutputKind::Label => errors.top1.map_or(0, |top1| top1.total),
        _ => errors.elements,
    };
    if compared == 0 {
        fail(
            "values compared",
            "none".into(),
            "at least one: inputs need tokens".into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::InputRow;
    use crate::metrics::OutputComparison;
    use crate::report::PairedBy;

    fn row() -> InputRow {
        InputRow {
            input_ids: vec![1],
            attention_mask: vec![1],
            token_type_ids: vec![0],
            ..InputRow::default()
        }
    }

    fn judged(reference: &[f32], package: &[f32], overrides: ThresholdOverrides) -> Verdict {
        let mut comparison = OutputComparison::new(OutputKind::Logits, &[reference.len()], 0.0);
        comparison.add_row(0, &row(), reference, package);
        let output = OutputReport {
            package: "logits".into(),
            reference: "logits".into(),
            paired_by: PairedBy::Name,
            row_shape: vec![reference.len()],
            errors: comparison.report(),
            labelled: None,
        };
        let thresholds = overrides.over(Thresholds::for_precision(Precision::Fp16));
        Verdict::reach(&[output], &ProbeReport::default(), &thresholds)
    }

    fn measures(verdict: &Verdict) -> Vec<&'static str> {
        assert_eq!(verdict.passed, verdict.reasons.is_empty());
        verdict.reasons.iter().map(|reason| reason.measure).collect()
    }

    #[test]
    fn each_limit_fails_on_its_own() {
        let none = ThresholdOverrides::default();
        assert!(judged(&[1.0, 2.0], &[1.0, 2.0], none).passed);
        assert_eq!(
            measures(&judged(&[1.0, 2.0], &[2.0, 1.0], none)),
            ["PSNR", "lowest cosine", "top-1 agreement"]
        );
        let max_abs = ThresholdOverrides {
            max_abs: Some(1e-6),
            ..none
        };
        assert_eq!(
            measures(&judged(&[1.0, 2.0], &[1.0, 2.00001], max_abs)),
            ["largest error"]
        );
        let psnr = ThresholdOverrides {
            min_psnr: Some(f64::INFINITY),
            ..none
        };
        assert_eq!(measures(&judged(&[1.0, 2.0], &[1.0, 2.00001], psnr)), ["PSNR"]);
        let cosine = ThresholdOverrides {
            min_cosine: Some(1.1),
            ..none
        };
        assert_eq!(
            measures(&judged(&[1.0, 2.0], &[1.0, 2.0], cosine)),
            ["lowest cosine"]
        );
    }

    #[test]
    fn limits_can_be_lowered() {
        let low = ThresholdOverrides {
            min_psnr: Some(0.0),
            min_cosine: Some(0.0),
            min_top1: Some(0.0),
            ..ThresholdOverrides::default()
        };
        assert!(judged(&[1.0, 2.0], &[2.0, 1.0], low).passed);
    }

    #[test]
    fn nan_fails_whatever_the_limits() {
        let low = ThresholdOverrides {
            min_psnr: Some(f64::NEG_INFINITY),
            min_cosine: Some(-1.0),
            min_top1: Some(0.0),
            ..ThresholdOverrides::default()
        };
        assert_eq!(
            measures(&judged(&[1.0, 2.0], &[1.0, f32::NAN], low)),
            ["values that are not finite"]
        );
        assert_eq!(
            measures(&judged(&[1.0, f32::INFINITY], &[1.0, 2.0], low)),
            ["values of the reference that are not finite"]
        );
        // A limit that is NaN can't be kept either.
        let nan = ThresholdOverrides {
            min_psnr: Some(f64::NAN),
            ..low
        };
        assert_eq!(measures(&judged(&[1.0, 2.0], &[1.0, 2.0], nan)), ["PSNR"]);
    }

    #[test]
    fn comparing_nothing_is_no_pass() {
        let thresholds = Thresholds::for_precision(Precision::Fp16);
        assert!(!Verdict::reach(&[], &ProbeReport::default(), &thresholds).passed);
        assert_eq!(
            measures(&judged(&[], &[], ThresholdOverrides::default())),
            ["values compared"]
        );
    }

    #[test]
    fn probes_fail() {
        let thresholds = Thresholds::for_precision(Precision::Fp16);
        let probes = ProbeReport {
            nonfinite_without_tokens: Some(3),
            change_under_padding: Some(0.5),
        };
        let verdict = Verdict::reach(&[], &probes, &thresholds);
        assert_eq!(verdict.reasons.len(), 3);
        let nan = ProbeReport {
            change_under_padding: Some(f32::NAN),
            ..ProbeReport::default()
        };
        assert_eq!(Verdict::reach(&[], &nan, &thresholds).reasons.len(), 2);
    }
}
