//! The inputs with the largest errors, both sides' values beside each other.

use serde::Serialize;

use crate::render::figures::NONE;
use crate::report::{OutputReport, Worst};

/// One output's.
#[derive(Serialize)]
pub(super) struct WorstRows<'a> {
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

impl<'a> WorstRows<'a> {
    /// `None` where nothing is off.
    pub(super) fn of(output: &'a OutputReport) -> Option<Self> {
        let rows: Vec<_> = output
            .errors
            .worst_rows
            .iter()
            .filter(|worst| worst.error > 0.0)
            .map(WorstRow::of)
            .collect();
        (!rows.is_empty()).then(|| Self {
            output: &output.package,
            rows,
        })
    }
}

impl<'a> WorstRow<'a> {
    fn of(worst: &'a Worst) -> Self {
        Self {
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
}
