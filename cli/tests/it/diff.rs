//! `corer diff`: what differs is named, what does not is not.

use serde_json::Value;

use crate::checkpoint::{Checkpoint, named};
use crate::harness::Scratch;

/// A scratch directory with `model` and `A.mlpackage` made from it.
fn scratch() -> (Scratch, Checkpoint) {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "sequence-classification");
    convert(&scratch, "A", &[]);
    (scratch, checkpoint)
}

fn convert(scratch: &Scratch, name: &str, more: &[&str]) {
    let package = format!("{name}.mlpackage");
    let sizes = ["--sequence-length", "16", "--target", "ios18"];
    let convert = ["convert", "model", "-o", &package];
    let output = scratch.output(&[&convert[..], &sizes, more].concat());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn diff(scratch: &Scratch) -> (Option<i32>, Value) {
    let arguments = ["diff", "A.mlpackage", "B.mlpackage", "--json", "--exit-code"];
    let output = scratch.output(&arguments);
    let document = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.code(), document)
}

fn weights(document: &Value, outcome: &str) -> Vec<String> {
    let weights = document["weights"].as_array().expect("weights").iter();
    weights
        .filter(|weight| weight["outcome"] == outcome)
        .map(|weight| weight["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn the_same_is_the_same() {
    let (scratch, _) = scratch();
    convert(&scratch, "B", &[]);
    let (code, document) = diff(&scratch);
    assert_eq!(
        (code, &document["same"]),
        (Some(0), &Value::Bool(true)),
        "{document:#}"
    );
    assert_eq!(document["weights"], Value::Array(Vec::new()));
    assert!(document["weights_same"].as_u64().expect("a count") > 20);
    let output = scratch.output(&["diff", "A.mlpackage", "B.mlpackage"]);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("the same files\n"));
}

#[test]
fn one_weight_is_found_among_all() {
    let (scratch, checkpoint) = scratch();
    checkpoint.edit_tensors(|tensors| named(tensors, "classifier.bias").set(0, 9.0));
    convert(&scratch, "B", &[]);
    let (code, document) = diff(&scratch);
    assert_eq!((code, &document["same"]), (Some(4), &Value::Bool(false)));
    let changed = weights(&document, "values");
    assert_eq!(changed.len(), 1, "{document:#}");
    assert_eq!(document["operations"], Value::Array(Vec::new()));
    let weight = &document["weights"][0];
    let most = weight["max_abs"].as_f64().expect("a number");
    assert!((15.0..15.5).contains(&most), "{weight:#}");
    assert!(weight["psnr"].as_f64().is_some());
    // Without the flag a difference is no failure.
    let output = scratch.output(&["diff", "A.mlpackage", "B.mlpackage"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&changed[0]));
}

#[test]
fn compression_shows_its_form_and_what_it_costs() {
    let (scratch, _) = scratch();
    convert(&scratch, "B", &["--weights", "int8"]);
    let (code, document) = diff(&scratch);
    assert_eq!(code, Some(4));
    let changed = weights(&document, "values");
    assert!(changed.len() > 5, "{document:#}");
    for weight in document["weights"].as_array().expect("weights") {
        let (first, second) = (&weight["first"], &weight["second"]);
        assert_eq!(first["form"], "fp16", "{weight:#}");
        assert_eq!(second["form"], "blockwise_shift_scale", "{weight:#}");
        assert!(second["bytes"].as_u64() < first["bytes"].as_u64());
        assert!(weight["psnr"].as_f64().expect("decibels") > 30.0, "{weight:#}");
    }
    assert_eq!(
        document["operations"],
        Value::Array(Vec::new()),
        "only weights changed"
    );
}

#[test]
fn other_sizes_and_layouts_change_operations() {
    let (scratch, _) = scratch();
    convert(&scratch, "B", &["--layout", "standard"]);
    let (code, document) = diff(&scratch);
    assert_eq!(code, Some(4));
    assert!(!document["operations"].as_array().expect("operations").is_empty());
}

#[test]
fn what_is_no_package_is_an_error() {
    let (scratch, _) = scratch();
    let output = scratch.output(&["diff", "A.mlpackage", "model"]);
    assert_eq!(output.status.code(), Some(5));
}
