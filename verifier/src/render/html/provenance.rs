//! What was judged, by what and on what, with the digests of both.

use crate::render::Entry;
use crate::render::figures::bytes;

/// What is known of the package, the reference and the machine.
pub(super) fn facts(entry: &Entry<'_>) -> Vec<(&'static str, String)> {
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
            "Environment",
            format!(
                "corer {}, executed {} by {} on a machine of {} cores",
                report.corer,
                report.execution.arithmetic,
                report.execution.engine,
                report.execution.host_cores
            ),
        ),
        (
            "Latency",
            "not measured: this report comes from a machine without Core ML".to_owned(),
        ),
    ]
}

/// Every digest there is, of what was judged and of what it was judged by.
pub(super) fn digests<'a>(entry: &Entry<'a>) -> Vec<(String, &'a str)> {
    let report = entry.report;
    let package = ("package".to_owned(), report.package.digest.as_str());
    let tool = report.tool_sha256.as_deref();
    let tool = tool.map(|digest| ("corer, the program that judged, SHA-256".to_owned(), digest));
    let metadata = report
        .package
        .metadata
        .iter()
        .map(|(key, value)| (format!("package metadata {key}"), value.as_str()));
    let files = report.reference.files.iter().map(|file| {
        let name = format!("reference {}, {}", file.name, bytes(file.bytes));
        (name, file.sha256.as_str())
    });
    std::iter::once(package)
        .chain(tool)
        .chain(metadata)
        .chain(files)
        .collect()
}
