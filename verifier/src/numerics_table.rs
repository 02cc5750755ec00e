//! Numerics as text, for people.

use std::fmt;

use crate::report::numerics::{HeadroomReport, ModeReport, NumericsReport};

/// Operations shown.
const SHOWN: usize = 5;

impl fmt::Display for NumericsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "numerics on {} rows (no part of the verdict; `ane` is a prediction from what others measured)",
            self.rows
        )?;
        for mode in &self.modes {
            writeln!(f, "  {}", line(mode))?;
            if !mode.rules.is_empty() {
                let rules: Vec<String> = mode
                    .rules
                    .iter()
                    .map(|rule| format!("{} {}", rule.id, rule.name))
                    .collect();
                writeln!(f, "    by {}", rules.join(", "))?;
            }
        }
        if !self.headroom.is_empty() {
            let shown = &self.headroom[..SHOWN.min(self.headroom.len())];
            let width = shown.iter().map(|op| op.operation.len() + op.op.len() + 3).max();
            let width = width.unwrap_or(0);
            writeln!(
                f,
                "  {:<width$}  {:>9}  {:>10}  {:>10}  {:>10}",
                "least headroom", "times", "result", "sum", "at most"
            )?;
            for op in shown {
                row(f, op, width)?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

fn line(mode: &ModeReport) -> String {
    let verdict = if mode.verdict.passed { "passes" } else { "FAILS" };
    let outputs: Vec<String> = mode
        .outputs
        .iter()
        .map(|output| {
            let errors = &output.errors;
            match errors.nonfinite_package {
                0 => format!("{} {:.2} dB", output.package, errors.psnr.0),
                some => format!("{} has {some} values that are not finite", output.package),
            }
        })
        .collect();
    format!("{:<10} {verdict}: {}", mode.arithmetic, outputs.join(", "))
}

fn row(f: &mut fmt::Formatter<'_>, op: &HeadroomReport, width: usize) -> fmt::Result {
    let number = |value: Option<f32>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4e}"));
    let name = format!("{} ({})", op.operation, op.op);
    writeln!(
        f,
        "  {name:<width$}  {:>9.2}  {:>10}  {:>10}  {:>10}",
        op.headroom,
        number(Some(op.largest)),
        number(op.sums.map(|sums| sums.reached)),
        number(op.sums.map(|sums| sums.bound)),
    )
}
