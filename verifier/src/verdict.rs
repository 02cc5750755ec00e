//! Pass or fail, and why.

mod gate;

use std::fmt;

use corer_runtime::Arithmetic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::OutputKind;
use crate::report::{
    BucketReport, ErrorReport, Number, OutputReport, Precision, ProbeReport, finite_or_text, optional,
};

pub use gate::{Drops, Gate, GateReport};

/// What a package must reach.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Thresholds {
    /// Lowest PSNR of an output, in decibels.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub min_psnr: f64,
    /// Lowest cosine of a vector: a token's, a row's, or a sentence's.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub min_cosine: f64,
    /// Largest absolute error; none by default, since it depends on the model's scale.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub max_abs: Option<f32>,
    /// Lowest share of decisions that agree or that the number format can't tell apart.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub min_top1: f64,
    /// Lowest mean share of nearest neighbours that agree.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub min_neighbour_overlap: f64,
    /// Whether outputs must be finite when a mask is all zero.
    pub finite_without_tokens: bool,
    /// The most a compared value may change when ids under the padding do.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
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

    /// All of them as limits.
    pub(crate) const fn limits(&self) -> ThresholdOverrides {
        ThresholdOverrides {
            min_psnr: Some(self.min_psnr),
            min_cosine: Some(self.min_cosine),
            max_abs: self.max_abs,
            min_top1: Some(self.min_top1),
            min_neighbour_overlap: Some(self.min_neighbour_overlap),
            finite_without_tokens: Some(self.finite_without_tokens),
            max_change_under_padding: self.max_change_under_padding,
        }
    }
}

/// Thresholds that replace the defaults, or limits of which any may be missing.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ThresholdOverrides {
    /// See [`Thresholds::min_psnr`].
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub min_psnr: Option<f64>,
    /// See [`Thresholds::min_cosine`].
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub min_cosine: Option<f64>,
    /// See [`Thresholds::max_abs`].
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub max_abs: Option<f32>,
    /// See [`Thresholds::min_top1`].
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub min_top1: Option<f64>,
    /// See [`Thresholds::min_neighbour_overlap`].
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub min_neighbour_overlap: Option<f64>,
    /// See [`Thresholds::finite_without_tokens`].
    pub finite_without_tokens: Option<bool>,
    /// See [`Thresholds::max_change_under_padding`]; infinity lets padding matter.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// No reason against it was found.
    pub passed: bool,
    /// Every reason against it.
    pub reasons: Vec<Reason>,
    /// What is worth a look and no reason against it.
    #[serde(default)]
    pub warnings: Vec<Reason>,
}

/// One limit that was not kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The bucket, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The package's output, unless the reason concerns all of them.
    pub output: Option<String>,
    /// What was measured.
    pub measure: String,
    /// What was found.
    pub found: String,
    /// What was asked for.
    pub limit: String,
    /// The input it shows most at.
    #[serde(default)]
    pub worst: Option<WorstInput>,
    /// The limit that would pass.
    #[serde(default)]
    pub would_pass: Option<WouldPass>,
}

/// An input and what became of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorstInput {
    /// Input row, from 0.
    pub row: usize,
    /// The beginning of the text.
    pub text: Option<String>,
    /// Index inside the row, as far as one place can be named.
    pub position: Vec<usize>,
    /// Both sides' values there, where it is about one value.
    pub values: Option<Values>,
}

/// One value on both sides.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Values {
    /// The reference's.
    pub reference: f32,
    /// The package's.
    pub package: f32,
}

/// A limit that what was found keeps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WouldPass {
    /// Its name in a gate's table; the flag's without dashes in front.
    pub key: String,
    /// Its value.
    pub limit: f64,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in [&self.bucket, &self.output].into_iter().flatten() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{} {}, asked for {}", self.measure, self.found, self.limit)?;
        let worst = self.worst.as_ref().map(ToString::to_string);
        let passing = self
            .would_pass
            .as_ref()
            .map(|passing| format!("{passing} would pass"));
        match (worst, passing) {
            (Some(worst), Some(passing)) => write!(f, " ({worst}; {passing})"),
            (Some(only), None) | (None, Some(only)) => write!(f, " ({only})"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for WorstInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "input {}", self.row)?;
        if let Some(text) = &self.text {
            write!(f, " {text:?}")?;
        }
        if !self.position.is_empty() {
            write!(f, " at {:?}", self.position)?;
        }
        match self.values {
            Some(values) => write!(
                f,
                ": {} where the reference has {}",
                values.package, values.reference
            ),
            None => Ok(()),
        }
    }
}

impl fmt::Display for WouldPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.limit != 0.0 && self.limit.abs() < 1e-4;
        match small {
            true => write!(f, "{} {:e}", self.key, self.limit),
            false => write!(f, "{} {}", self.key, self.limit),
        }
    }
}

impl Verdict {
    /// The verdict on a package: it passes when each of its buckets does, and there is one.
    pub fn over(buckets: &[BucketReport]) -> Self {
        let several = buckets.len() > 1;
        let gather = |reasons: fn(&Self) -> &[Reason]| -> Vec<Reason> {
            let named = |bucket: &BucketReport, reason: &Reason| Reason {
                bucket: several.then(|| bucket.name.clone()),
                ..reason.clone()
            };
            buckets
                .iter()
                .flat_map(|bucket| {
                    reasons(&bucket.verdict)
                        .iter()
                        .map(move |reason| named(bucket, reason))
                })
                .collect()
        };
        Self {
            passed: !buckets.is_empty() && buckets.iter().all(|bucket| bucket.verdict.passed),
            reasons: gather(|verdict| &verdict.reasons),
            warnings: gather(|verdict| &verdict.warnings),
        }
    }

    /// This verdict, unless the comparison was stopped before its end: then it is no pass.
    #[must_use]
    pub fn unless(mut self, interrupted: bool) -> Self {
        if interrupted {
            self.passed = false;
            let (found, limit) = ("interrupted".to_owned(), "all of it".to_owned());
            self.reasons.push(Reason::of(None, "comparison", found, limit));
        }
        self
    }

    /// This verdict, unless there is a reason against it.
    #[must_use]
    pub(crate) fn with(mut self, reason: Option<Reason>) -> Self {
        self.passed &= reason.is_none();
        self.reasons.extend(reason);
        self
    }

    /// Holds every output and probe against the thresholds.
    pub fn reach(outputs: &[OutputReport], probes: &ProbeReport, thresholds: &Thresholds) -> Self {
        let mut reasons: Vec<_> = outputs.iter().flat_map(faults).collect();
        if outputs.is_empty() {
            reasons.push(Reason::of(
                None,
                "outputs",
                "none".to_owned(),
                "at least one".to_owned(),
            ));
        }
        reasons.extend(not_kept(outputs, probes, &thresholds.limits()));
        Self {
            passed: reasons.is_empty(),
            reasons,
            warnings: Vec::new(),
        }
    }
}

impl Reason {
    pub(crate) fn of(output: Option<&OutputReport>, measure: &str, found: String, limit: String) -> Self {
        Self {
            bucket: None,
            output: output.map(|output| output.package.clone()),
            measure: measure.to_owned(),
            found,
            limit,
            worst: None,
            would_pass: None,
        }
    }

    pub(crate) fn at(mut self, worst: Option<WorstInput>) -> Self {
        self.worst = worst;
        self
    }

    pub(crate) fn passing(mut self, key: &str, limit: Option<f64>) -> Self {
        self.would_pass = limit.map(|limit| WouldPass {
            key: key.to_owned(),
            limit,
        });
        self
    }
}

/// Whether `value` is at most `limit`; NaN never is.
fn holds(value: f64, limit: f64) -> bool {
    value <= limit
}

/// What is wrong with an output whatever the limits.
fn faults(output: &OutputReport) -> Vec<Reason> {
    let errors = &output.errors;
    let compared = match errors.kind {
        OutputKind::Label => errors.top1.map_or(0, |top1| top1.total),
        _ => errors.elements,
    };
    let counts = [
        ("values that are not finite", errors.nonfinite_package),
        (
            "values of the reference that are not finite",
            errors.nonfinite_reference,
        ),
    ];
    let mut reasons: Vec<_> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(measure, count)| Reason::of(Some(output), measure, count.to_string(), "none".to_owned()))
        .collect();
    if compared == 0 {
        let limit = "at least one: inputs need tokens".to_owned();
        reasons.push(Reason::of(
            Some(output),
            "values compared",
            "none".to_owned(),
            limit,
        ));
    }
    reasons
}

/// Every limit that is there and not kept.
pub(crate) fn not_kept(
    outputs: &[OutputReport],
    probes: &ProbeReport,
    limits: &ThresholdOverrides,
) -> Vec<Reason> {
    let mut reasons: Vec<_> = outputs
        .iter()
        .flat_map(|output| output_limits(output, limits))
        .collect();
    if let (Some(count @ 1..), Some(true)) = (probes.nonfinite_without_tokens, limits.finite_without_tokens) {
        let measure = "values that are not finite under an all-zero mask";
        reasons.push(Reason::of(None, measure, count.to_string(), "none".to_owned()));
    }
    if let (Some(change), Some(limit)) = (probes.change_under_padding, limits.max_change_under_padding)
        && !holds(f64::from(change), f64::from(limit))
    {
        let measure = "change when ids under the padding change";
        let reason = Reason::of(None, measure, format!("{change:e}"), format!("at most {limit:e}"));
        reasons.push(reason.passing("max-padding-change", at_most(change)));
    }
    reasons
}

/// Something an output must reach.
struct Measure {
    name: &'static str,
    /// The limit's name in a gate.
    key: &'static str,
    found: f64,
    limit: Option<f64>,
    /// Digits behind the point, of the limit that would pass and (for decibels) of what is shown.
    decimals: u32,
    unit: &'static str,
    worst: Option<WorstInput>,
}

/// What of an output is held against lower limits, with where each is worst.
fn measures(output: &OutputReport, limits: &ThresholdOverrides) -> Vec<Measure> {
    let errors = &output.errors;
    let mut measures = Vec::new();
    if errors.elements > 0 {
        measures.push(Measure {
            name: "PSNR",
            key: "min-psnr",
            found: errors.psnr.0,
            limit: limits.min_psnr,
            decimals: 2,
            unit: " dB",
            worst: farthest(errors),
        });
    }
    let cosine = |name, cosine: &crate::report::CosineReport| Measure {
        name,
        key: "min-cosine",
        found: cosine.min,
        limit: limits.min_cosine,
        decimals: 6,
        unit: "",
        worst: Some(WorstInput {
            row: cosine.worst.row,
            text: cosine.worst.text.clone(),
            position: cosine.worst.token.into_iter().collect(),
            values: None,
        }),
    };
    if let Some(found) = &errors.cosine {
        measures.push(cosine("lowest cosine", found));
    }
    if let Some(top1) = &errors.top1 {
        measures.push(Measure {
            name: "top-1 agreement",
            key: "min-top1",
            found: top1.ratio(),
            limit: limits.min_top1,
            decimals: 4,
            unit: "",
            worst: None,
        });
    }
    if let Some(sentence) = &errors.sentence {
        if let Some(found) = &sentence.cosine {
            measures.push(cosine("lowest sentence cosine", found));
        }
        if let Some(overlap) = sentence.neighbour_overlap {
            measures.push(Measure {
                name: "nearest neighbours shared",
                key: "min-overlap",
                found: overlap,
                limit: limits.min_neighbour_overlap,
                decimals: 4,
                unit: "",
                worst: None,
            });
        }
    }
    measures
}

fn output_limits(output: &OutputReport, limits: &ThresholdOverrides) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for measure in measures(output, limits) {
        let Some(limit) = measure.limit.filter(|limit| !holds(*limit, measure.found)) else {
            continue;
        };
        let show = |value: f64| match measure.unit {
            "" => value.to_string(),
            unit => format!("{value:.2}{unit}"),
        };
        let reason = Reason::of(
            Some(output),
            measure.name,
            show(measure.found),
            format!("at least {}", show(limit)),
        );
        let passing = at_least(measure.found, measure.decimals);
        reasons.push(reason.at(measure.worst).passing(measure.key, passing));
    }
    let errors = &output.errors;
    if let Some(limit) = limits.max_abs
        && !holds(f64::from(errors.max_abs), f64::from(limit))
    {
        let reason = Reason::of(
            Some(output),
            "largest error",
            format!("{:e}", errors.max_abs),
            format!("at most {limit:e}"),
        );
        reasons.push(
            reason
                .at(farthest(errors))
                .passing("max-abs", at_most(errors.max_abs)),
        );
    }
    reasons
}

/// The input with the largest error.
pub(crate) fn farthest(errors: &ErrorReport) -> Option<WorstInput> {
    errors.worst.as_ref().map(|worst| WorstInput {
        row: worst.row,
        text: worst.text.clone(),
        position: worst.position.clone(),
        values: Some(Values {
            reference: worst.reference,
            package: worst.package,
        }),
    })
}

/// The largest number of so many decimals that `found` is not below.
fn at_least(found: f64, decimals: u32) -> Option<f64> {
    let scale = f64::from(10u32.pow(decimals));
    let rounded = (found * scale).floor() / scale;
    let passing = if rounded <= found {
        rounded
    } else {
        ((found * scale).floor() - 1.0) / scale
    };
    passing.is_finite().then_some(passing)
}

/// A number of three digits that `found` is not above.
#[allow(clippy::cast_possible_truncation)] // compared as the f32 it is held against
pub(crate) fn at_most(found: f32) -> Option<f64> {
    let found = f64::from(found);
    if found == 0.0 {
        return Some(0.0);
    }
    let unit = 10f64.powi(found.abs().log10().floor() as i32 - 2);
    let up = |steps: f64| {
        format!("{:.2e}", ((found / unit).ceil() + steps) * unit)
            .parse::<f64>()
            .ok()
    };
    let passing = up(0.0)
        .filter(|limit| f64::from(*limit as f32) >= found)
        .or_else(|| up(1.0));
    passing.filter(|limit| limit.is_finite())
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

    fn measures(verdict: &Verdict) -> Vec<&str> {
        assert_eq!(verdict.passed, verdict.reasons.is_empty());
        verdict
            .reasons
            .iter()
            .map(|reason| reason.measure.as_str())
            .collect()
    }

    #[test]
    fn the_limit_that_would_pass_does() {
        let strict = ThresholdOverrides {
            max_abs: Some(0.0),
            min_cosine: Some(1.0),
            min_psnr: Some(f64::INFINITY),
            ..ThresholdOverrides::default()
        };
        let (reference, package) = ([1.0, 2.0, 0.25], [1.0123, 2.0, 0.24996]);
        let verdict = judged(&reference, &package, strict);
        assert_eq!(measures(&verdict), ["PSNR", "lowest cosine", "largest error"]);
        let mut named = ThresholdOverrides::default();
        for reason in &verdict.reasons {
            let passing = reason.would_pass.as_ref().expect("a limit");
            match &*passing.key {
                "min-psnr" => named.min_psnr = Some(passing.limit),
                "min-cosine" => named.min_cosine = Some(passing.limit),
                "max-abs" => named.max_abs = Some(passing.limit as f32),
                other => panic!("{other}"),
            }
            let worst = reason.worst.as_ref().expect("an input");
            assert_eq!(worst.row, 0);
        }
        assert!(judged(&reference, &package, named).passed, "{named:?}");
        let said = verdict.reasons[0].to_string();
        assert!(
            said.ends_with("(input 0 at [0]: 1.0123 where the reference has 1; min-psnr 48.99 would pass)"),
            "{said}"
        );
        for found in [1e-7f32, 0.1, 0.999_999, 1.0, 9.995, 12345.678, 3e-42] {
            let limit = at_most(found).expect("finite");
            assert!(
                limit as f32 >= found && limit < f64::from(found) * 1.02 + 1e-44,
                "{found}: {limit}"
            );
        }
        for found in [0.29, 0.999_999_5, 71.239_999, -3.0] {
            let limit = at_least(found, 2).expect("finite");
            assert!(limit <= found && limit > found - 0.011, "{found}: {limit}");
        }
        assert_eq!(at_least(f64::NEG_INFINITY, 2), None);
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
