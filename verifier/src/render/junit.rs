//! JUnit XML: a suite per package and size, a case per output and one for what must hold whatever the reference says.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Document, Entry, RenderError, figures};
use crate::report::{BucketReport, OutputReport};
use crate::verdict::{Reason, Verdict};

/// What is judged beside the outputs.
const PROBES: &str = "padding and empty masks";

/// The document as JUnit XML.
///
/// # Errors
/// When it can't be written, which would be a defect here.
pub fn junit(document: &Document<'_>) -> Result<String, RenderError> {
    let mut report = Report::new(format!("corer verify {}", document.title));
    for entry in document.entries {
        for bucket in &entry.report.buckets {
            report.add_test_suite(suite(entry, bucket));
        }
        if entry.report.interrupted {
            report.add_test_suite(interrupted(entry));
        }
        if !entry.report.not_judged.is_empty() {
            let mut suite = TestSuite::new(format!("{} not judged", entry.name));
            for bucket in &entry.report.not_judged {
                let mut status = TestCaseStatus::skipped();
                status.set_message(bucket.reason.clone());
                let mut case = TestCase::new(bucket.name.clone(), status);
                case.set_classname(entry.name);
                suite.add_test_case(case);
            }
            report.add_test_suite(suite);
        }
    }
    report.to_string().map_err(|error| RenderError {
        what: "JUnit report",
        reason: error.to_string(),
    })
}

/// A comparison that was stopped is an error: nothing failed, and nothing is known of what is left.
fn interrupted(entry: &Entry<'_>) -> TestSuite {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type("interrupted");
    status.set_message("stopped before all inputs were compared");
    let mut case = TestCase::new("all inputs compared", status);
    case.set_classname(entry.name);
    let mut suite = TestSuite::new(format!("{} comparison", entry.name));
    suite.add_test_case(case);
    suite
}

fn suite(entry: &Entry<'_>, bucket: &BucketReport) -> TestSuite {
    let mut suite = TestSuite::new(format!("{} {}", entry.name, bucket.name));
    let report = entry.report;
    for (name, value) in [
        ("corer", &report.corer),
        ("package", &report.package.digest),
        ("reference", &report.reference.kind),
        ("arithmetic", &report.execution.arithmetic),
        ("inputs", &bucket.inputs.origin),
    ] {
        suite.add_property((name, &**value));
    }
    let class = format!("{}.{}", entry.name, bucket.name);
    for output in &bucket.outputs {
        let mut case = case(&bucket.verdict, Some(&output.package), &output.package, &class);
        case.set_system_out(measured(output));
        suite.add_test_case(case);
    }
    suite.add_test_case(case(&bucket.verdict, None, PROBES, &class));
    if let Some(numerics) = &bucket.numerics {
        let mut case = TestCase::new("numerics", TestCaseStatus::success());
        case.set_classname(&class);
        if !numerics.warnings.is_empty() {
            let lines: String = numerics
                .warnings
                .iter()
                .map(|warning| format!("warning: {warning}\n"))
                .collect();
            case.set_system_err(lines);
        }
        suite.add_test_case(case);
    }
    suite
}

/// A case with the reasons that concern an output, or none in particular.
fn case(verdict: &Verdict, output: Option<&str>, name: &str, class: &str) -> TestCase {
    let about = |reasons: &[Reason]| -> Vec<Reason> {
        let about = |reason: &&Reason| reason.output.as_deref() == output;
        reasons.iter().filter(about).cloned().collect()
    };
    let reasons = about(&verdict.reasons);
    let status = if reasons.is_empty() {
        TestCaseStatus::success()
    } else {
        let short: Vec<_> = reasons.iter().map(|reason| reason.measure.as_str()).collect();
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_type("below threshold");
        status.set_message(format!("below threshold: {}", short.join(", ")));
        status.set_description(lines(&reasons));
        status
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    let warnings = about(&verdict.warnings);
    if !warnings.is_empty() {
        case.set_system_err(format!("warning:\n{}", lines(&warnings)));
    }
    case
}

fn lines(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| format!("{reason}\n")).collect()
}

fn measured(output: &OutputReport) -> String {
    let errors = &output.errors;
    format!(
        "PSNR {}, SQNR {}, largest error {:e}, mean error {:e}, {} elements of {} rows",
        figures::decibels(errors.psnr),
        figures::decibels(errors.sqnr),
        errors.max_abs,
        errors.mean_abs,
        errors.elements,
        errors.rows
    )
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn cases_are_outputs_and_failures_name_the_input() {
        let (good, bad) = (examples::passed(), examples::failed());
        let entries = [
            Entry {
                name: "fp16",
                report: &good,
            },
            Entry {
                name: "int8",
                report: &bad,
            },
        ];
        let document = Document {
            title: "Tiny",
            entries: &entries,
        };
        let text = junit(&document).expect("a document");
        let read = Report::deserialize_from_str(&text).expect("JUnit");
        let names: Vec<_> = read.test_suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["fp16 main", "int8 main"]);
        assert_eq!(
            (read.test_suites[0].failures, read.test_suites[1].failures),
            (0, 1)
        );
        let case = &read.test_suites[1].test_cases[0];
        let TestCaseStatus::NonSuccess { description, .. } = &case.status else {
            panic!("{case:?}");
        };
        let description = description.as_ref().expect("a description").as_str();
        assert!(
            description.contains("input 1") && description.contains("would pass"),
            "{description}"
        );
        assert!(!text.contains("timestamp"), "{text}");
        assert_eq!(text, junit(&document).expect("a document"));
    }

    #[test]
    fn warnings_and_interruptions_are_there() {
        let (warned, mut partial) = (examples::looked_into(), examples::passed());
        partial.interrupted = true;
        let entries = [
            Entry {
                name: "fp16",
                report: &warned,
            },
            Entry {
                name: "int8",
                report: &partial,
            },
        ];
        let document = Document {
            title: "Tiny",
            entries: &entries,
        };
        let read = Report::deserialize_from_str(&junit(&document).expect("a document")).expect("JUnit");
        let numerics = read.test_suites[0]
            .test_cases
            .iter()
            .find(|case| case.name.as_str() == "numerics");
        let said = numerics
            .and_then(|case| case.system_err.as_ref())
            .expect("a warning");
        assert!(
            said.as_str()
                .contains("warning: layer <1> linear (linear): a sum reaches 40000"),
            "{said:?}"
        );
        let errors: Vec<_> = read.test_suites.iter().map(|suite| suite.errors).collect();
        assert_eq!(errors, [0, 0, 1]);
    }
}
