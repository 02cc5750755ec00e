//! Drift as text, for people.

use std::fmt;

use crate::report::Decibels;
use crate::report::drift::{DepartedBy, Departure, DriftErrors, DriftReport};

/// Unpaired places shown.
const SHOWN: usize = 5;

impl fmt::Display for DriftReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "drift on {} rows of {}, against {} (no part of the verdict)",
            self.rows, self.bucket, self.reference
        )?;
        let names = self.blocks.iter().map(|block| block.place.as_str());
        let costly = self.costliest();
        let operations = costly.iter().map(|operation| operation.operation.as_str());
        let names = names.chain(operations).map(|name| name.chars().count());
        let width = names.chain(["costliest operations".len()]).max().unwrap_or(0);
        writeln!(
            f,
            "  {:<width$}  {:>11}  {:>11}  {:>9}",
            "block", "cumulative", "by itself", "max abs"
        )?;
        for block in &self.blocks {
            row(f, width, &block.place, &block.cumulative, &block.isolated)?;
        }
        writeln!(f, "  costliest operations")?;
        for operation in costly {
            row(
                f,
                width,
                &operation.operation,
                &operation.cumulative,
                &operation.isolated,
            )?;
        }
        if !self.unpaired.is_empty() {
            let shown: Vec<&str> = self
                .unpaired
                .iter()
                .take(SHOWN)
                .map(|unpaired| unpaired.place.as_str())
                .collect();
            let more = if self.unpaired.len() > SHOWN { ", ..." } else { "" };
            writeln!(
                f,
                "  {} of the reference's values have no counterpart: {}{more}",
                self.unpaired.len(),
                shown.join(", ")
            )?;
        }
        match &self.departure {
            Some(departure) => writeln!(f, "departs first: {departure}"),
            None => writeln!(f, "nothing is below {} dB", self.threshold),
        }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) in {}: ", self.operation, self.op, self.block)?;
        match self.by {
            DepartedBy::Itself => write!(f, "{} by itself", shown(self.sqnr))?,
            DepartedBy::Gathering => write!(f, "{} gathered, most of it here", shown(self.sqnr))?,
        }
        match &self.within[..] {
            [] | [_] => Ok(()),
            [first, ..] => write!(f, ", somewhere from {first} on"),
        }
    }
}

fn row(
    f: &mut fmt::Formatter<'_>,
    width: usize,
    name: &str,
    cumulative: &DriftErrors,
    isolated: &DriftErrors,
) -> fmt::Result {
    writeln!(
        f,
        "  {name:<width$}  {:>11}  {:>11}  {:>9}",
        shown(cumulative.sqnr),
        shown(isolated.sqnr),
        format!("{:.2e}", cumulative.max_abs)
    )
}

fn shown(sqnr: Decibels) -> String {
    match sqnr.0 {
        exact if exact == f64::INFINITY => "exact".into(),
        value if value.is_finite() => format!("{value:.2} dB"),
        _ => "-inf dB".into(),
    }
}
