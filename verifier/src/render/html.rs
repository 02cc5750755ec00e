//! One self-contained HTML page: style and charts inline, no script, nothing fetched.
//!
//! `report.html.j2` is the page, with everything escaped that is not said to be safe; this module says what stands in
//! it. A section is there when the report has what it shows.

use std::fmt::Write;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

use super::figures::{self, Extremes, NONE, bytes, count, decibels, held};
use super::svg::{self, Column};
use super::{Document, Entry, RenderError};
use crate::metrics::Bin;
use crate::report::{BucketReport, OutputReport, Precision, Worst};
use crate::verdict::{Reason, ThresholdOverrides, Verdict};

const TEMPLATE: &str = include_str!("report.html.j2");
const STYLE: &str = include_str!("report.css");

/// The document as one HTML page.
///
/// # Errors
/// When it can't be written, which would be a defect here.
pub fn html(document: &Document<'_>) -> Result<String, RenderError> {
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    let whitespace = whitespace.map_err(failure)?;
    environment.set_syntax(whitespace);
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    // The name's ending turns escaping on.
    let page = environment.add_template("report.html", TEMPLATE).and_then(|()| {
        environment
            .get_template("report.html")?
            .render(Serde(Page::of(document)))
    });
    page.map_err(failure)
}

fn failure(error: minijinja::Error) -> RenderError {
    RenderError {
        what: "HTML report",
        reason: format!("{error:#}"),
    }
}

#[derive(Serialize)]
struct Page<'a> {
    style: Value,
    title: &'a str,
    verdict: Mark,
    headline: String,
    corer: &'a str,
    tool: Option<&'a str>,
    variants: Vec<Variant<'a>>,
}

/// A verdict as word and style.
#[derive(Serialize)]
struct Mark {
    class: &'static str,
    word: &'static str,
    sign: &'static str,
}

#[derive(Serialize)]
struct Variant<'a> {
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
    limits: Vec<(&'static str, String)>,
    probes: Vec<String>,
    facts: Vec<(&'static str, String)>,
    digests: Vec<(String, &'a str)>,
    notes: Vec<(&'a str, &'a str)>,
}

#[derive(Serialize)]
struct ReasonView<'a> {
    place: String,
    measure: &'a str,
    found: &'a str,
    limit: &'a str,
    row: Option<usize>,
    text: Option<&'a str>,
    values: Option<String>,
    would_pass: Option<String>,
}

#[derive(Serialize)]
struct Bucket<'a> {
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

#[derive(Serialize)]
struct Chart<'a> {
    output: &'a str,
    title: &'static str,
    caption: String,
    svg: Value,
}

#[derive(Serialize)]
struct WorstRows<'a> {
    output: &'a str,
    rows: Vec<WorstRow<'a>>,
}

#[derive(Serialize)]
struct WorstRow<'a> {
    row: usize,
    text: Option<&'a str>,
    position: String,
    reference: String,
    package: String,
    error: String,
    passing: String,
}

impl Mark {
    const fn of(verdict: &Verdict) -> Self {
        match (verdict.passed, verdict.warnings.is_empty()) {
            (true, true) => Self::PASSED,
            (true, false) => Self::WARNED,
            (false, _) => Self::FAILED,
        }
    }

    const PASSED: Self = Self {
        class: "pass",
        word: "Passed",
        sign: "✓",
    };
    const WARNED: Self = Self {
        class: "warn",
        word: "Passed with warnings",
        sign: "!",
    };
    const FAILED: Self = Self {
        class: "fail",
        word: "Failed",
        sign: "✕",
    };
}

impl<'a> Page<'a> {
    fn of(document: &'a Document<'a>) -> Self {
        let first = document.entries.first().map(|entry| entry.report);
        Self {
            style: Value::from_safe_string(STYLE.to_owned()),
            title: document.title,
            verdict: match (document.passed(), document.warned()) {
                (true, false) => Mark::PASSED,
                (true, true) => Mark::WARNED,
                (false, _) => Mark::FAILED,
            },
            headline: document.headline(),
            corer: first.map_or("", |report| &report.corer),
            tool: first.and_then(|report| report.tool_sha256.as_deref()),
            variants: document.entries.iter().enumerate().map(variant).collect(),
        }
    }
}

fn variant<'a>((index, entry): (usize, &Entry<'a>)) -> Variant<'a> {
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
    Variant {
        id: format!("variant-{}", index + 1),
        name: entry.name,
        verdict: Mark::of(&report.verdict),
        size: bytes(report.package.bytes),
        held: held(report),
        psnr,
        cosine,
        max_abs,
        decisions,
        reasons: report.verdict.reasons.iter().map(reason).collect(),
        warnings: report.verdict.warnings.iter().map(reason).collect(),
        several,
        buckets: report.buckets.iter().map(bucket).collect(),
        not_judged: &report.not_judged,
        charts: default.iter().flat_map(|bucket| charts(bucket)).collect(),
        worst: default
            .iter()
            .copied()
            .chain(failed)
            .flat_map(|bucket| bucket.outputs.iter().filter_map(worst_rows))
            .collect(),
        limits: default.map_or_else(Vec::new, |bucket| limits(&bucket.thresholds.limits())),
        probes: default.map_or_else(Vec::new, probes),
        facts: facts(entry),
        digests: digests(entry),
        notes: report
            .reference
            .notes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
    }
}

fn reason(reason: &Reason) -> ReasonView<'_> {
    let places: Vec<_> = [&reason.bucket, &reason.output]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let worst = reason.worst.as_ref();
    ReasonView {
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

fn bucket(bucket: &BucketReport) -> Bucket<'_> {
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
    Bucket {
        name: &bucket.name,
        default: bucket.default,
        verdict: Mark::of(&bucket.verdict),
        inputs: said,
        outputs: bucket.outputs.iter().map(output).collect(),
    }
}

fn output(output: &OutputReport) -> Output {
    let errors = &output.errors;
    let measured = |text: String| {
        if errors.elements > 0 {
            text
        } else {
            NONE.to_owned()
        }
    };
    let none = || NONE.to_owned();
    Output {
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

fn charts(bucket: &BucketReport) -> Vec<Chart<'_>> {
    let format = match bucket.precision {
        Precision::Fp32 => "f32",
        Precision::Fp16 | Precision::Compressed => "fp16",
    };
    let mut charts = Vec::new();
    for output in &bucket.outputs {
        let errors = &output.errors;
        if errors.elements == 0 {
            continue;
        }
        for (title, axis, bins, label) in [
            (
                "Errors",
                "absolute error",
                &errors.error_histogram,
                power_of_two as fn(i32) -> String,
            ),
            (
                "Errors in steps of the number format",
                "steps between neighbouring numbers",
                &errors.step_histogram,
                steps,
            ),
        ] {
            if bins.is_empty() {
                continue;
            }
            let caption = match title {
                "Errors" => format!(
                    "{} elements: mean {:.2e}, 99 % below {:.2e}, largest {:.2e}",
                    count(errors.elements),
                    errors.mean_abs,
                    errors.p99_abs,
                    errors.max_abs
                ),
                _ => format!(
                    "{} within half a step of {format} at the reference's value",
                    percent(within_half_a_step(bins), errors.elements)
                ),
            };
            let name = format!("{title}, {}: {caption}", output.package);
            charts.push(Chart {
                output: &output.package,
                title,
                caption,
                svg: Value::from_safe_string(svg::histogram(&name, axis, &columns(bins, label))),
            });
        }
    }
    charts
}

/// Most columns that can be told apart on a phone. Smaller errors than these share the first.
const MOST_COLUMNS: usize = 24;

fn columns(bins: &[Bin], label: fn(i32) -> String) -> Vec<Column> {
    let exact = bins.iter().filter(|bin| bin.exponent.is_none());
    let rest: Vec<_> = bins.iter().filter(|bin| bin.exponent.is_some()).collect();
    let (small, large) = rest.split_at(rest.len().saturating_sub(MOST_COLUMNS));
    let mut columns: Vec<_> = exact
        .map(|bin| Column {
            label: "0".into(),
            title: format!("exact: {}", count(bin.count)),
            count: bin.count,
            exact: true,
        })
        .collect();
    let smaller: u64 = small.iter().map(|bin| bin.count).sum();
    for (index, bin) in large.iter().enumerate() {
        let exponent = bin.exponent.unwrap_or(0);
        let more = if index == 0 { smaller } else { 0 };
        let low = if more > 0 { "0".to_owned() } else { label(exponent) };
        columns.push(Column {
            label: label(exponent),
            title: format!("{low} to {}: {}", label(exponent + 1), count(bin.count + more)),
            count: bin.count + more,
            exact: false,
        });
    }
    columns
}

/// 2^exponent to one digit, in decimal.
fn power_of_two(exponent: i32) -> String {
    let value = 2f64.powi(exponent);
    if (0.01..1000.0).contains(&value) {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.0e}")
    }
}

/// 2^exponent steps.
fn steps(exponent: i32) -> String {
    match exponent {
        0.. if exponent < 14 => (1u32 << exponent).to_string(),
        0.. => format!("{:.0e}", 2f64.powi(exponent)),
        -3 => "⅛".into(),
        -2 => "¼".into(),
        -1 => "½".into(),
        _ => format!("{:.0e}", 2f64.powi(exponent)),
    }
}

fn within_half_a_step(bins: &[Bin]) -> u64 {
    let within = bins
        .iter()
        .filter(|bin| bin.exponent.is_none_or(|exponent| exponent < -1));
    within.map(|bin| bin.count).sum()
}

#[allow(clippy::cast_precision_loss)] // one digit is shown
fn percent(part: u64, of: u64) -> String {
    format!("{:.1} %", part as f64 / of.max(1) as f64 * 100.0)
}

fn worst_rows(output: &OutputReport) -> Option<WorstRows<'_>> {
    let rows: Vec<_> = output
        .errors
        .worst_rows
        .iter()
        .filter(|worst| worst.error > 0.0)
        .map(worst_row)
        .collect();
    (!rows.is_empty()).then(|| WorstRows {
        output: &output.package,
        rows,
    })
}

fn worst_row(worst: &Worst) -> WorstRow<'_> {
    WorstRow {
        row: worst.row,
        text: worst.text.as_deref(),
        position: worst
            .position
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        reference: worst.reference.to_string(),
        package: worst.package.to_string(),
        error: format!("{:.3e}", worst.error),
        passing: crate::verdict::at_most(worst.error)
            .map_or_else(|| NONE.to_owned(), |limit| format!("{limit:e}")),
    }
}

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

fn probes(bucket: &BucketReport) -> Vec<String> {
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

fn facts(entry: &Entry<'_>) -> Vec<(&'static str, String)> {
    let report = entry.report;
    let reference = &report.reference;
    let task = reference
        .task
        .as_ref()
        .map_or_else(String::new, |task| format!(" ({task})"));
    vec![
        ("Package", report.package.path.clone()),
        (
            "Specification version",
            report.package.specification_version.to_string(),
        ),
        (
            "Reference",
            format!("{}: {}{task}", reference.kind, reference.path),
        ),
        (
            "Executed",
            format!(
                "{} by {}, on {} cores",
                report.execution.arithmetic, report.execution.engine, report.execution.host_cores
            ),
        ),
        (
            "Latency",
            "not measured: this report comes from a machine without Core ML".to_owned(),
        ),
    ]
}

/// Every digest there is, of what was judged and of what it was judged by.
fn digests<'a>(entry: &Entry<'a>) -> Vec<(String, &'a str)> {
    let report = entry.report;
    let package = ("package".to_owned(), report.package.digest.as_str());
    let metadata = report
        .package
        .metadata
        .iter()
        .map(|(key, value)| (format!("package metadata {key}"), value.as_str()));
    let files = report.reference.files.iter().map(|file| {
        let name = format!("reference {}, {}", file.name, bytes(file.bytes));
        (name, file.sha256.as_str())
    });
    std::iter::once(package).chain(metadata).chain(files).collect()
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    fn page(entries: &[Entry<'_>]) -> String {
        html(&Document {
            title: "Tiny </title><script>alert(1)</script>",
            entries,
        })
        .expect("a page")
    }

    #[test]
    fn nothing_of_others_is_markup_and_nothing_is_fetched() {
        let (good, bad) = (examples::passed(), examples::failed());
        let text = page(&[
            Entry {
                name: "<i>",
                report: &good,
            },
            Entry {
                name: "int8",
                report: &bad,
            },
        ]);
        for forbidden in [
            "<script",
            "<i>",
            "<b>",
            "http:",
            "https:",
            "url(",
            "@import",
            "javascript:",
        ] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        assert!(
            text.contains("&lt;b&gt;markup&lt;&#x2f;b&gt;"),
            "texts are shown as they are"
        );
        assert_eq!(
            text,
            page(&[
                Entry {
                    name: "<i>",
                    report: &good
                },
                Entry {
                    name: "int8",
                    report: &bad
                },
            ])
        );
    }

    #[test]
    fn the_verdict_comes_first_and_sections_follow() {
        let (good, bad) = (examples::passed(), examples::failed());
        let passed = page(&[Entry {
            name: "fp16",
            report: &good,
        }]);
        let body = passed.split_once("<body>").expect("a body").1;
        let order = [
            "Passed",
            "<h1",
            "id=\"variants\"",
            "id=\"variant-1\"",
            "<svg",
            "Worst inputs",
            "Provenance",
        ];
        let places: Vec<_> = order
            .iter()
            .map(|part| body.find(part).unwrap_or_else(|| panic!("{part}")))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert!(!body.contains("Failed") && !body.contains("class=\"reasons\""));
        let failed = page(&[
            Entry {
                name: "fp16",
                report: &good,
            },
            Entry {
                name: "int8",
                report: &bad,
            },
        ]);
        let body = failed.split_once("<body>").expect("a body").1;
        assert!(body.find("Failed").expect("a verdict") < body.find("<h1").expect("a heading"));
        assert!(body.contains("1.75 where the reference has 2") && body.contains("would pass"));
    }

    #[test]
    fn columns_are_few_and_lose_nothing() {
        let bins: Vec<_> = std::iter::once(None)
            .chain((-60..-2).map(Some))
            .map(|exponent| Bin { exponent, count: 2 })
            .collect();
        let columns = columns(&bins, power_of_two);
        assert_eq!(columns.len(), MOST_COLUMNS + 1);
        let total: u64 = columns.iter().map(|column| column.count).sum();
        assert_eq!(total, 2 * bins.len() as u64);
        assert_eq!(
            (power_of_two(-1), power_of_two(-20), power_of_two(3)),
            ("0.5".into(), "1e-6".into(), "8".into())
        );
    }
}
