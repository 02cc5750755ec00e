//! A result as people and other tools read it: text, Markdown, JUnit and one HTML page, all from the same
//! [`VerifyReport`]s. Nothing here measures or judges, and nothing depends on the clock.

mod arithmetics;
mod figures;
mod html;
mod junit;
mod markdown;
mod meaning;
mod schema;
mod svg;
mod text;

pub use html::html;
pub use junit::junit;
pub use markdown::{MARKDOWN_BYTES, markdown};
pub use schema::json_schema;

use crate::report::VerifyReport;

/// What one document is about: a package, or the variants of a release.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The model's name.
    pub title: &'a str,
    /// At least one.
    pub entries: &'a [Entry<'a>],
}

/// A judged package.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What tells it from the others.
    pub name: &'a str,
    /// What was found.
    pub report: &'a VerifyReport,
}

impl Document<'_> {
    fn passed(&self) -> bool {
        !self.entries.is_empty() && self.entries.iter().all(|entry| entry.report.verdict.passed)
    }

    fn warned(&self) -> bool {
        self.entries.iter().any(|entry| entry.report.warned())
    }

    /// Packages whose comparison was stopped before its end.
    fn interrupted(&self) -> bool {
        self.entries.iter().any(|entry| entry.report.interrupted)
    }

    /// The verdict in a sentence.
    fn headline(&self) -> String {
        let passed = self
            .entries
            .iter()
            .filter(|entry| entry.report.verdict.passed)
            .count();
        let all = self.entries.len();
        let warned = if self.warned() { ", with warnings" } else { "" };
        let failed: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| !entry.report.verdict.passed)
            .map(|entry| entry.name)
            .collect();
        match (all, passed) {
            (1, _) if self.interrupted() => {
                "Stopped before all inputs were compared: what follows holds for those that were, and is no verdict.".to_owned()
            }
            (1, 1) => format!("The package computes what its source computes{warned}."),
            (1, _) => "The package is below its thresholds.".to_owned(),
            (_, _) if passed == all => {
                format!("All {all} variants compute what their source computes{warned}.")
            }
            (_, 0) => format!("All {all} variants are below their thresholds."),
            (_, _) => format!(
                "{passed} of {all} variants pass{warned}; below their thresholds: {}.",
                failed.join(", ")
            ),
        }
    }
}

/// Why a document could not be written.
#[derive(Debug, thiserror::Error)]
#[error("writing the {what}: {reason}")]
pub struct RenderError {
    what: &'static str,
    reason: String,
}

#[cfg(test)]
pub(crate) mod examples;
