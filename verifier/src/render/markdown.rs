//! Markdown for the summary of a CI step: the verdict, a table, why, and where it shows most.

use std::fmt::Write;

use super::figures::{Extremes, bytes, held};
use super::{Document, Entry};

/// Most bytes of the document: what GitHub takes of a step's summary.
pub const MARKDOWN_BYTES: usize = 1 << 20;

/// Most reasons spelled out for each package; the rest is counted.
const MOST_REASONS: usize = 50;

/// The document as Markdown, at most [`MARKDOWN_BYTES`] long. What does not fit is left out line by line, and said.
pub fn markdown(document: &Document<'_>) -> String {
    let mut out = Lines::default();
    let verdict = match (document.passed(), document.warned()) {
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
        let verdict = if report.verdict.passed {
            "passed"
        } else {
            "**failed**"
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
    out.line("");
    for entry in document.entries {
        let report = entry.report;
        out.line(format!(
            "- {}: package `{}`, judged by {}, executed {} by {}",
            escape(entry.name),
            code(&report.package.digest),
            escape(&report.reference.kind),
            escape(&report.execution.arithmetic),
            escape(&report.execution.engine),
        ));
    }
    out.finish()
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
}
