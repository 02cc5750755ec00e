//! `docs/schema/verify-report.json` is what the types say, and reports are what it says.

use std::fs;
use std::path::Path;

use corer_verifier::VerifyReport;
use corer_verifier::render::json_schema;
use serde_json::Value;

use crate::case::{Against, Case};
use crate::fixtures;

#[test]
fn the_committed_schema_is_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/verify-report.json");
    let text = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("CORER_UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, text,
        "docs/schema/verify-report.json is not what the types say; CORER_UPDATE_DOCS=1 writes it anew"
    );
}

/// A report of a package coremltools wrote.
fn report(against: Against, strict: bool) -> VerifyReport {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conformance/foreign-bert/sequence-classification-ios16-fp16.mlpackage");
    let mut case = Case::new(&package, against);
    case.thresholds.finite_without_tokens = Some(false);
    if strict {
        case.thresholds.min_psnr = Some(f64::INFINITY);
        case.thresholds.max_abs = Some(0.0);
    }
    case.verify().unwrap()
}

#[test]
fn reports_are_what_the_schema_says_and_come_back_as_they_went() {
    let validator = jsonschema::draft202012::new(&json_schema()).unwrap();
    let directory = fixtures().join("sequence-classification");
    let checkpoint = Against::Checkpoint(directory.clone());
    let recording = Against::Recording(directory.join("expected.safetensors"));
    for (source, strict) in [(checkpoint.clone(), false), (checkpoint, true), (recording, true)] {
        let report = report(source, strict);
        assert_eq!(report.verdict.passed, !strict);
        let text = serde_json::to_string(&report).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(faults, Vec::<String>::new());
        let back = VerifyReport::parse(text.as_bytes()).unwrap();
        assert_eq!(back, report);
    }
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let validator = jsonschema::draft202012::new(&json_schema()).unwrap();
    let file = fixtures().join("sequence-classification/expected.safetensors");
    let good = serde_json::to_value(report(Against::Recording(file), false)).unwrap();
    assert!(validator.is_valid(&good));
    for (pointer, wrong) in [
        ("/schema", Value::from(1)),
        ("/verdict/passed", "yes".into()),
        ("/buckets/0/outputs/0/psnr", "high".into()),
        ("/buckets/0/outputs/0/error_histogram/0/count", Value::from(-1)),
        ("/execution", Value::Null),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = wrong;
        assert!(!validator.is_valid(&bad), "{pointer}");
    }
}
