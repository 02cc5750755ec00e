//! The files of a report: one result as JSON for programs, JUnit and Markdown for CI, HTML and text for people.

use std::path::Path;

use corer_publisher::Digest;
use corer_verifier::VerifyReport;
use corer_verifier::render::{self, Document, Entry, RenderError};

use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::{output, report_directory};

/// The help of `--report`.
pub(super) const HELP: &str = "Write report.html, report.json, report.md, report.txt and junit.xml into a directory, whatever the verdict";

/// Notes which program judged.
///
/// # Errors
/// When this program can't be read.
pub(super) fn sign(report: &mut VerifyReport) -> Result<(), Failure> {
    let tool = Digest::of_file(&std::env::current_exe()?)?;
    report.tool_sha256 = Some(hex(&tool));
    Ok(())
}

/// A digest's digits without the algorithm's name.
pub(super) fn hex(digest: &Digest) -> String {
    let text = digest.as_str();
    text.rsplit(':').next().unwrap_or(text).to_owned()
}

/// Writes every form of a package's report into a directory.
///
/// # Errors
/// When it can't be written.
pub(super) fn write(directory: &Path, report: &VerifyReport) -> Result<(), Failure> {
    let name = name(report);
    let entries = [Entry { name, report }];
    let mut files = shared(&Document {
        title: name,
        entries: &entries,
    })?;
    files.push(("report.json", output::json_text(report)?));
    files.push(("report.txt", report.to_string()));
    report_directory::write(directory, &files)
}

/// Writes the page, the summary and the cases of several packages into a directory.
///
/// # Errors
/// When they can't be written.
pub(super) fn write_release(directory: &Path, document: &Document<'_>) -> Result<(), Failure> {
    report_directory::write(directory, &shared(document)?)
}

fn shared(document: &Document<'_>) -> Result<Vec<(&'static str, String)>, Failure> {
    let failure = |error: RenderError| Failure::new(Exit::Unexpected, error);
    Ok(vec![
        ("report.html", render::html(document).map_err(failure)?),
        ("report.md", render::markdown(document)),
        ("junit.xml", render::junit(document).map_err(failure)?),
    ])
}

/// The package's name without its ending.
fn name(report: &VerifyReport) -> &str {
    let path = Path::new(&report.package.path);
    path.file_stem()
        .and_then(|name| name.to_str())
        .unwrap_or(&report.package.path)
}
