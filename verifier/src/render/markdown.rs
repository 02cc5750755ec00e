//! Markdown for the summary of a CI step: the verdict, a table, why, and where it shows most.

use std::fmt::Write;

use super::arithmetics::{self, HeadroomRow, LossRow};
use super::figures::{Extremes, bytes, count, decibels, held};
use super::{Document, Entry, meaning};
use crate::report::drift::DriftReport;
use crate::report::numerics::NumericsReport;
use crate::report::{BucketReport, VerifyReport};

/// Most bytes of the document: what GitHub takes of a step's summary.
pub const MARKDOWN_BYTES: usize = 1 << 20;

/// Most operations and inputs named for each package.
const MOST_NAMED: usize = 5;

/// Most reasons spelled out for each package; the rest is counted.
const MOST_REASONS: usize = 50;

/// The document as Markdown, at most [`MARKDOWN_BYTES`] long. What does not fit is left out line by line, and said.
pub fn markdown(document: &Document<'_>) -> String {
    let mut out = Lines::default();
    let verdict = match (document.passed(), document.warned()) {
        _ if document.interrupted() => "❌ Failed, partial",
        (false, _) => "❌ Failed",
        (true, true) => "⚠️ Passed with warnings",
        (true, false) => "✅ Passed",
    };
    out.line(format!("## {verdict}: {}", escape(document.title)));
    out.line("");
    out.line(document.headline());
    out.line("");
    out.line("| variant | verdict | size | weights | lowest PSNR | lowest cosine | largest error | equal decisions |");
    out.line("|---|---|---:|---|---:|---:|---:|---:|");
    for entry in document.entries {
        let report = entry.report;
        let [psnr, cosine, error, decisions] = Extremes::of(report).shown();
        let verdict = match report.verdict.passed {
            _ if report.interrupted => "**partial**",
            true if report.warned() => "passed with warnings",
            true => "passed",
            false => "**failed**",
        };
        out.line(format!(
            "| {} | {verdict} | {} | {} | {psnr} | {cosine} | {error} | {decisions} |",
            escape(entry.name),
            bytes(report.package.bytes),
            escape(&held(report)),
        ));
    }
    for entry in document.entries {
        reasons(&mut out, entry);
    }
    for entry in document.entries {
        measured(&mut out, entry);
    }
    out.line("");
    out.line("### Provenance");
    out.line("");
    for entry in document.entries {
        provenance(&mut out, entry);
    }
    out.finish()
}

/// What was found of a package, whatever the verdict.
fn measured(out: &mut Lines, entry: &Entry<'_>) {
    let report = entry.report;
    out.line("");
    out.line(format!("### {}", escape(entry.name)));
    out.line("");
    out.line("| size | output | PSNR | SQNR | lowest cosine | largest error | 99 % below | mean error |");
    out.line("|---|---|---:|---:|---:|---:|---:|---:|");
    for bucket in &report.buckets {
        for output in &bucket.outputs {
            let errors = &output.errors;
            let cosine = errors.cosine.as_ref();
            out.line(format!(
                "| {} | {} | {} | {} | {} | {:.2e} | {:.2e} | {:.2e} |",
                escape(&bucket.name),
                escape(&output.package),
                decibels(errors.psnr),
                decibels(errors.sqnr),
                cosine.map_or_else(|| "–".to_owned(), |cosine| format!("{:.7}", cosine.min)),
                errors.max_abs,
                errors.p99_abs,
                errors.mean_abs,
            ));
        }
    }
    // What a caller who chooses nothing gets stands for the others.
    let mut buckets = report.buckets.iter();
    let default = buckets
        .clone()
        .find(|bucket| bucket.default)
        .or_else(|| buckets.next());
    if let Some(bucket) = default {
        details(out, report, bucket);
    }
    if let Some(found) = &report.drift {
        drift(out, found);
    }
}

fn drift(out: &mut Lines, found: &DriftReport) {
    out.line("");
    out.line(match &found.departure {
        Some(departure) => format!("Departs first at {}", escape(&departure.to_string())),
        None => format!("No operation is below {} dB.", found.threshold),
    });
    out.line("");
    out.line("| block | gathered | by itself | largest error |");
    out.line("|---|---:|---:|---:|");
    for block in &found.blocks {
        out.line(format!(
            "| {} | {} | {} | {:.2e} |",
            escape(&block.place),
            decibels(block.cumulative.sqnr),
            decibels(block.isolated.sqnr),
            block.cumulative.max_abs
        ));
    }
}

fn details(out: &mut Lines, report: &VerifyReport, bucket: &BucketReport) {
    let inputs = &bucket.inputs;
    out.line("");
    out.line(format!(
        "{} inputs of {} to {} tokens at length {}, from {}",
        count(inputs.rows as u64),
        inputs.shortest,
        inputs.longest,
        inputs.length,
        escape(&inputs.origin)
    ));
    let findings = meaning::findings(bucket);
    if !findings.is_empty() {
        out.line("");
    }
    for finding in findings {
        let output = finding
            .output
            .map_or_else(String::new, |output| format!("{}: ", escape(&output)));
        out.line(format!("- {output}{}: {}", finding.what, escape(&finding.found)));
    }
    let scores = meaning::scores(bucket);
    if !scores.is_empty() {
        out.line("");
        out.line("| output | score | labels | reference | package | difference | 95 % confidence |");
        out.line("|---|---|---:|---:|---:|---:|---:|");
    }
    for score in scores {
        out.line(format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            escape(&score.output),
            escape(&score.score),
            score.labels,
            score.reference,
            score.package,
            score.difference,
            score.interval
        ));
    }
    if let Some(found) = &bucket.numerics {
        numerics(out, report, bucket, found);
    }
    worst(out, bucket);
}

fn numerics(out: &mut Lines, report: &VerifyReport, bucket: &BucketReport, found: &NumericsReport) {
    if !found.warnings.is_empty() {
        out.line("");
    }
    for warning in &found.warnings {
        out.line(format!("- ⚠️ {}", escape(warning)));
    }
    let modes = arithmetics::modes(report, bucket);
    if !modes.is_empty() {
        out.line("");
        out.line(format!(
            "Arithmetics side by side, those not judged on the first {} inputs:",
            count(found.rows as u64)
        ));
        out.line("");
        out.line("| arithmetic | | output | PSNR | SQNR | lowest cosine | largest error | not finite |");
        out.line("|---|---|---|---:|---:|---:|---:|---:|");
    }
    for mode in modes {
        out.line(format!(
            "| {}{} | {} | {} | {} | {} | {} | {} | {} |",
            escape(&mode.arithmetic),
            if mode.judged { " (judged)" } else { "" },
            if mode.passes { "passes" } else { "**fails**" },
            escape(&mode.output),
            mode.psnr,
            mode.sqnr,
            mode.cosine,
            mode.max_abs,
            mode.not_finite
        ));
    }
    let least = found.headroom.iter().take(MOST_NAMED).map(HeadroomRow::of);
    if !found.headroom.is_empty() {
        out.line("");
        out.line("| least headroom | | times | result | sum | any order |");
        out.line("|---|---|---:|---:|---:|---:|");
    }
    for row in least {
        out.line(format!(
            "| {} | {} | {} | {} | {} | {} |",
            escape(&row.operation),
            escape(&row.op),
            row.times,
            row.result,
            row.sum,
            row.bound
        ));
    }
    if !found.losses.is_empty() {
        out.line("");
        out.line("| loses most by itself | | signal to loss |");
        out.line("|---|---|---:|");
    }
    for row in found.losses.iter().take(MOST_NAMED).map(LossRow::of) {
        out.line(format!(
            "| {} | {} | {} |",
            escape(&row.operation),
            escape(&row.op),
            row.sqnr
        ));
    }
}

/// The inputs with the largest errors.
fn worst(out: &mut Lines, bucket: &BucketReport) {
    for output in &bucket.outputs {
        let rows = output.errors.worst_rows.iter().filter(|worst| worst.error > 0.0);
        let rows: Vec<_> = rows.take(MOST_NAMED).collect();
        if rows.is_empty() {
            continue;
        }
        out.line("");
        out.line(format!("Worst inputs of {}:", escape(&output.package)));
        out.line("");
        out.line("| input | text | at | reference | package | error |");
        out.line("|---:|---|---|---:|---:|---:|");
        for worst in rows {
            out.line(format!(
                "| {} | {} | {} | {} | {} | {:.3e} |",
                worst.row,
                worst.text.as_deref().map_or_else(String::new, escape),
                escape(&format!("{:?}", worst.position)),
                worst.reference,
                worst.package,
                worst.error
            ));
        }
    }
}

/// What was judged, by what and where.
fn provenance(out: &mut Lines, entry: &Entry<'_>) {
    let report = entry.report;
    out.line(format!(
        "- {}: package `{}`, judged by {}, executed {} by {} on a machine of {} cores, by corer {}{}",
        escape(entry.name),
        code(&report.package.digest),
        escape(&report.reference.kind),
        escape(&report.execution.arithmetic),
        escape(&report.execution.engine),
        report.execution.host_cores,
        escape(&report.corer),
        report
            .tool_sha256
            .as_ref()
            .map_or_else(String::new, |digest| format!(" (SHA-256 `{}`)", code(digest))),
    ));
    for file in &report.reference.files {
        out.line(format!("  - {} `{}`", escape(&file.name), code(&file.sha256)));
    }
}

fn reasons(out: &mut Lines, entry: &Entry<'_>) {
    let verdict = &entry.report.verdict;
    for (title, reasons) in [
        ("is below its thresholds", &verdict.reasons),
        ("has warnings", &verdict.warnings),
    ] {
        if reasons.is_empty() {
            continue;
        }
        out.line("");
        out.line(format!("**{} {title}**", escape(entry.name)));
        out.line("");
        for reason in reasons.iter().take(MOST_REASONS) {
            out.line(format!("- {}", escape(&reason.to_string())));
        }
        if reasons.len() > MOST_REASONS {
            out.line(format!("- and {} more", reasons.len() - MOST_REASONS));
        }
    }
    if !entry.report.not_judged.is_empty() {
        out.line("");
    }
    for bucket in &entry.report.not_judged {
        out.line(format!(
            "- {} {} was not judged: {}",
            escape(entry.name),
            escape(&bucket.name),
            escape(&bucket.reason)
        ));
    }
}

/// Text that does not grow beyond its limit.
#[derive(Default)]
struct Lines {
    text: String,
    left_out: usize,
}

impl Lines {
    /// Room for the line that says how many were left out.
    const RESERVE: usize = 128;

    fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if self.left_out > 0 || self.text.len() + line.len() + 1 > MARKDOWN_BYTES - Self::RESERVE {
            self.left_out += 1;
            return;
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn finish(mut self) -> String {
        if self.left_out > 0 {
            let _ = writeln!(self.text, "\n{} more lines: see report.html", self.left_out);
        }
        self.text
    }
}

/// Text of others as text: no markup, no line breaks.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '!' | '&' | '~'
            | '@' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Text of others between backticks.
fn code(text: &str) -> String {
    let replace = |c: char| if c.is_control() || c == '`' { ' ' } else { c };
    text.chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn text_of_others_writes_no_markup() {
        let mut bad = examples::failed();
        bad.package
            .metadata
            .insert("corer.weights".into(), "x|y\n<b>".into());
        let entries = [Entry {
            name: "int8 | x",
            report: &bad,
        }];
        let text = markdown(&Document {
            title: "# Tiny <script>",
            entries: &entries,
        });
        assert!(
            text.starts_with("## ❌ Failed: \\# Tiny \\<script\\>\n"),
            "{text}"
        );
        assert!(
            text.contains("| int8 \\| x | **failed** |") && text.contains("x\\|y \\<b\\>"),
            "{text}"
        );
        assert!(text.contains("input 1") && text.contains("would pass"), "{text}");
    }

    #[test]
    fn a_summary_has_a_largest_size() {
        let mut bad = examples::failed();
        let reason = bad.verdict.reasons[0].clone();
        bad.verdict.reasons = vec![reason; 40];
        bad.verdict.reasons[3].found = "x".repeat(MARKDOWN_BYTES);
        let entries = [Entry {
            name: "int8",
            report: &bad,
        }];
        let text = markdown(&Document {
            title: "Tiny",
            entries: &entries,
        });
        assert!(text.len() <= MARKDOWN_BYTES);
        assert!(text.contains("more lines: see report.html"));
    }

    #[test]
    fn everything_looked_into_is_shown() {
        let mut report = examples::looked_into();
        let shown = |report: &VerifyReport| {
            let entries = [Entry { name: "fp16", report }];
            markdown(&Document {
                title: "Tiny",
                entries: &entries,
            })
        };
        let text = shown(&report);
        for line in [
            "## ⚠️ Passed with warnings: Tiny",
            "| logits | accuracy | 1\u{202f}200 | 0.7500 | 0.7375 | -0.0125 | -0.0300 to +0.0100 |",
            "| layer \\<1\\> linear | linear | 0.82 × | 3.000e4 | 4.000e4 | 8.000e4 |",
            "| layer\\_0\\_gelu | gelu | 61.25 dB |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(
            text.contains("a sum reaches 40000") && text.contains("| ane | passes | logits |"),
            "{text}"
        );
        report.interrupted = true;
        report.verdict = report.verdict.unless(true);
        assert!(shown(&report).starts_with("## ❌ Failed, partial: Tiny\n"));
    }
}
