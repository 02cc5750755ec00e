//! The report as text, for people.

use std::fmt;

use crate::report::{ErrorReport, OutputReport, VerifyReport};

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
        writeln!(f, "{} ({})", self.package.path, self.package.function)?;
        write!(f, "  against  {}: {}", self.reference.kind, self.reference.path)?;
        match &self.reference.task {
            Some(task) => writeln!(f, " ({task})")?,
            None => writeln!(f)?,
        }
        let inputs = &self.inputs;
        write!(
            f,
            "  on       {} rows of {} to {} tokens at length {}, from {}",
            inputs.rows, inputs.shortest, inputs.longest, inputs.length, inputs.origin
        )?;
        if inputs.truncated > 0 {
            write!(f, " ({} cut)", inputs.truncated)?;
        }
        writeln!(f)?;
        if !inputs.not_taken.is_empty() {
            writeln!(
                f,
                "           the package takes no {}",
                inputs.not_taken.join(", ")
            )?;
        }
        writeln!(
            f,
            "  executed {} by {}\n",
            self.execution.arithmetic, self.execution.engine
        )?;

        let rows: Vec<[String; 8]> = self.outputs.iter().map(cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEADINGS[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: [usize; 8] = std::array::from_fn(width);
        line(f, &HEADINGS.map(str::to_owned), &widths)?;
        for row in &rows {
            line(f, row, &widths)?;
        }
        writeln!(f)?;
        for output in &self.outputs {
            worst(f, output)?;
        }
        let probes = &self.probes;
        if let Some(count) = probes.nonfinite_without_tokens {
            writeln!(f, "all-zero mask: {count} values not finite")?;
        }
        if let Some(change) = probes.change_under_padding {
            writeln!(
                f,
                "ids under the padding changed: outputs change by {change:e} at most"
            )?;
        }
        if self.verdict.passed {
            let limits = &self.thresholds;
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
        } else {
            writeln!(f, "FAILED")?;
            self.verdict
                .reasons
                .iter()
                .try_for_each(|reason| writeln!(f, "  {reason}"))
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: &[String; 8], widths: &[usize; 8]) -> fmt::Result {
    write!(f, "{:<width$}", cells[0], width = widths[0])?;
    for (cell, width) in cells.iter().zip(widths).skip(1) {
        write!(f, "  {cell:>width$}")?;
    }
    writeln!(f)
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
