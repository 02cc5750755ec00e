//! The report as text, for people.

use std::fmt;

use crate::report::{BucketReport, ErrorReport, InputReport, OutputReport, VerifyReport};

const HEADINGS: [&str; 8] = [
    "output",
    "PSNR",
    "SQNR",
    "min cosine",
    "max abs",
    "mean abs",
    "top-1",
    "neighbours",
];

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.buckets[..] {
            [only] => writeln!(f, "{} ({})", self.package.path, only.name)?,
            several => writeln!(f, "{} ({} buckets)", self.package.path, several.len())?,
        }
        write!(f, "  against  {}: {}", self.reference.kind, self.reference.path)?;
        match &self.reference.task {
            Some(task) => writeln!(f, " ({task})")?,
            None => writeln!(f)?,
        }
        let names = self.buckets.iter().map(|bucket| shown(bucket).chars().count());
        let width = names.max().unwrap_or(0);
        for (index, bucket) in self.buckets.iter().enumerate() {
            write!(f, "  {:<7}  ", if index == 0 { "on" } else { "" })?;
            if self.buckets.len() > 1 {
                write!(f, "{:<width$}  ", shown(bucket))?;
            }
            inputs(f, &bucket.inputs)?;
        }
        writeln!(
            f,
            "  executed {} by {}\n",
            self.execution.arithmetic, self.execution.engine
        )?;
        match &self.buckets[..] {
            [only] => {
                rows(
                    f,
                    only.outputs.iter().map(|output| cells(output).to_vec()),
                    &HEADINGS,
                )?;
                writeln!(f)?;
                details(f, only)?;
            }
            several => {
                let table = several.iter().flat_map(|bucket| {
                    bucket.outputs.iter().enumerate().map(|(index, output)| {
                        let verdict = if bucket.verdict.passed { "passed" } else { "FAILED" };
                        let first = [shown(bucket), verdict.to_owned()];
                        let first = if index == 0 { first } else { Default::default() };
                        first.into_iter().chain(cells(output)).collect()
                    })
                });
                rows(f, table, &[&["bucket", "verdict"][..], &HEADINGS].concat())?;
                writeln!(f)?;
                for bucket in several.iter().filter(|bucket| !bucket.verdict.passed) {
                    writeln!(f, "{}", bucket.name)?;
                    details(f, bucket)?;
                }
            }
        }
        for numerics in self.buckets.iter().filter_map(|bucket| bucket.numerics.as_ref()) {
            write!(f, "{numerics}")?;
        }
        if let Some(drift) = &self.drift {
            write!(f, "{drift}")?;
        }
        if let Some(reason) = &self.drift_missing {
            writeln!(f, "not known where it departs: {reason}")?;
        }
        for bucket in &self.not_judged {
            writeln!(f, "not judged: {}: {}", bucket.name, bucket.reason)?;
        }
        for warning in &self.verdict.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        if !self.verdict.passed {
            writeln!(f, "FAILED")?;
            let mut reasons = self.verdict.reasons.iter();
            return reasons.try_for_each(|reason| writeln!(f, "  {reason}"));
        }
        // Functions of one package have one precision, and so the same limits.
        let Some(limits) = self.buckets.first().map(|bucket| &bucket.thresholds) else {
            return writeln!(f, "passed");
        };
        write!(
            f,
            "passed: PSNR >= {} dB, cosine >= {}",
            limits.min_psnr, limits.min_cosine
        )?;
        write!(
            f,
            ", top-1 >= {}, neighbours >= {}",
            limits.min_top1, limits.min_neighbour_overlap
        )?;
        match limits.max_abs {
            Some(limit) => writeln!(f, ", max abs <= {limit:e}"),
            None => writeln!(f),
        }
    }
}

/// A bucket's name, and whether it is the default.
fn shown(bucket: &BucketReport) -> String {
    match bucket.default {
        true => format!("{} (default)", bucket.name),
        false => bucket.name.clone(),
    }
}

fn inputs(f: &mut fmt::Formatter<'_>, inputs: &InputReport) -> fmt::Result {
    write!(
        f,
        "{} rows of {} to {} tokens at length {}, from {}",
        inputs.rows, inputs.shortest, inputs.longest, inputs.length, inputs.origin
    )?;
    if inputs.truncated > 0 {
        write!(f, " ({} cut)", inputs.truncated)?;
    }
    writeln!(f)?;
    if inputs.not_taken.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "           the package takes no {}",
        inputs.not_taken.join(", ")
    )
}

/// Where the largest errors are, and what the probes found.
fn details(f: &mut fmt::Formatter<'_>, bucket: &BucketReport) -> fmt::Result {
    for output in &bucket.outputs {
        worst(f, output)?;
        meaning(f, output)?;
    }
    if let Some(spans) = &bucket.spans {
        writeln!(
            f,
            "answers: {}/{} the same span, mean F1 {:.4}",
            spans.exact, spans.rows, spans.mean_f1
        )?;
    }
    let probes = &bucket.probes;
    if let Some(count) = probes.nonfinite_without_tokens {
        writeln!(f, "all-zero mask: {count} values not finite")?;
    }
    if let Some(change) = probes.change_under_padding {
        writeln!(
            f,
            "ids under the padding changed: outputs change by {change:e} at most"
        )?;
    }
    Ok(())
}

/// A table: names to the left, figures to the right.
fn rows(
    f: &mut fmt::Formatter<'_>,
    table: impl Iterator<Item = Vec<String>>,
    headings: &[&str],
) -> fmt::Result {
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let names = 1 + headings.len() - HEADINGS.len();
    let table: Vec<Vec<String>> = std::iter::once(headings).chain(table).collect();
    let width = |column: usize| {
        let cells = table.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    for row in &table {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            if column < names {
                write!(f, "{gap}{cell:<width$}")?;
            } else {
                write!(f, "{gap}{cell:>width$}")?;
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

fn cells(output: &OutputReport) -> [String; 8] {
    let errors = &output.errors;
    let none = || "-".to_owned();
    let name = if output.package == output.reference {
        output.package.clone()
    } else {
        format!("{} = {}", output.package, output.reference)
    };
    let measured = |text: String| if errors.elements > 0 { text } else { none() };
    [
        name,
        measured(decibels(errors.psnr.0)),
        measured(decibels(errors.sqnr.0)),
        errors
            .cosine
            .as_ref()
            .map_or_else(none, |cosine| format!("{:.8}", cosine.min)),
        measured(format!("{:.2e}", errors.max_abs)),
        measured(format!("{:.2e}", errors.mean_abs)),
        errors
            .top1
            .map_or_else(none, |top1| format!("{}/{}", top1.agree, top1.total)),
        neighbours(errors).unwrap_or_else(none),
    ]
}

fn neighbours(errors: &ErrorReport) -> Option<String> {
    let sentence = errors.sentence.as_ref()?;
    Some(format!(
        "{:.4} of {}",
        sentence.neighbour_overlap?, sentence.neighbours?
    ))
}

fn decibels(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.2} dB")
    } else if value > 0.0 {
        "exact".into()
    } else {
        "-inf dB".into()
    }
}

/// What users of the output would notice.
fn meaning(f: &mut fmt::Formatter<'_>, output: &OutputReport) -> fmt::Result {
    let (name, errors) = (&output.package, &output.errors);
    if let Some(divergence) = errors.divergence.filter(|divergence| divergence.max > 0.0) {
        writeln!(
            f,
            "{name}: KL divergence {:.2e} on average, {:.2e} at most",
            divergence.mean, divergence.max
        )?;
    }
    if let Some(top5) = errors.top5.filter(|top5| top5.agree < top5.total) {
        writeln!(
            f,
            "{name}: best of the reference among the best five {}/{}",
            top5.agree, top5.total
        )?;
    }
    let correlation = errors
        .sentence
        .as_ref()
        .and_then(|sentence| sentence.rank_correlation);
    if let Some(correlation) = correlation {
        writeln!(
            f,
            "{name}: similarities of all pairs in the same order, rank correlation {correlation:.6}"
        )?;
    }
    for score in output.labelled.iter().flat_map(|labelled| &labelled.scores) {
        writeln!(
            f,
            "{name}: {} {:.4} where the reference has {:.4}: {:+.4}, 95 % within [{:+.4}, {:+.4}]",
            score.score,
            score.package,
            score.reference,
            score.difference,
            score.interval[0],
            score.interval[1]
        )?;
    }
    Ok(())
}

fn worst(f: &mut fmt::Formatter<'_>, output: &OutputReport) -> fmt::Result {
    let quoted = |text: &Option<String>| {
        text.as_ref()
            .map_or_else(String::new, |text| format!(" \"{text}\""))
    };
    if let Some(worst) = output.errors.worst.as_ref().filter(|worst| worst.error > 0.0) {
        writeln!(
            f,
            "{}: farthest in row {}{} at {:?}: {} where the reference has {}",
            output.package,
            worst.row,
            quoted(&worst.text),
            worst.position,
            worst.package,
            worst.reference
        )?;
    }
    if let Some(top1) = output.errors.top1.filter(|top1| top1.agree < top1.total) {
        writeln!(
            f,
            "{}: {} of {} best scores differ, {} of them closer in the reference than the format's step; \
             the reference preferred its own by {:e} at most",
            output.package,
            top1.total - top1.agree,
            top1.total,
            top1.undecided,
            top1.largest_lost_margin
        )?;
    }
    Ok(())
}
