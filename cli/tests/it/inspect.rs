//! `corer inspect`: summary, one operation, text, and what is wrong with spoiled packages.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Scratch, assert_run, fixture};

/// A scratch directory with `Model.mlpackage` in it.
fn package() -> Scratch {
    let scratch = Scratch::new();
    let source = fixture("sequence-classification");
    let output = scratch.output(&[
        "convert",
        &source,
        "-o",
        "Model.mlpackage",
        "--sequence-length",
        "16",
        "--classifier",
    ]);
    assert!(output.status.success());
    scratch
}

fn model(scratch: &Scratch) -> PathBuf {
    scratch
        .path()
        .join("Model.mlpackage/Data/com.apple.CoreML/model.mlmodel")
}

fn weights(scratch: &Scratch) -> PathBuf {
    scratch
        .path()
        .join("Model.mlpackage/Data/com.apple.CoreML/weights/weight.bin")
}

#[test]
fn inspect_summary() {
    assert_run!(package(), ["inspect", "Model.mlpackage"]);
}

#[test]
fn inspect_summary_json() {
    assert_run!(package(), ["inspect", "Model.mlpackage", "--json"]);
}

#[test]
fn inspect_check() {
    assert_run!(package(), ["inspect", "Model.mlpackage", "--check"]);
}

#[test]
fn inspect_op() {
    assert_run!(
        package(),
        ["inspect", "Model.mlpackage", "--op", "classLabel_probs"]
    );
}

#[test]
fn inspect_op_json() {
    assert_run!(
        package(),
        ["inspect", "Model.mlpackage", "--op", "classLabel_probs", "--json"]
    );
}

#[test]
fn inspect_op_that_is_missing() {
    assert_run!(
        package(),
        ["inspect", "Model.mlpackage", "--op", "classLabel_prob"]
    );
}

#[test]
fn inspect_a_path_that_is_missing() {
    assert_run!(Scratch::new(), ["inspect", "Missing.mlpackage"]);
}

#[test]
fn inspect_a_directory_that_is_no_package() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("Empty.mlpackage")).expect("a directory");
    assert_run!(scratch, ["inspect", "Empty.mlpackage"]);
}

#[test]
fn inspect_a_model_cut_short() {
    let scratch = package();
    let bytes = fs::read(model(&scratch)).expect("a model");
    fs::write(model(&scratch), &bytes[..bytes.len() / 2]).expect("a model");
    assert_run!(scratch, ["inspect", "Model.mlpackage"]);
}

#[test]
fn inspect_weights_cut_short() {
    let scratch = package();
    let bytes = fs::read(weights(&scratch)).expect("weights");
    fs::write(weights(&scratch), &bytes[..bytes.len() / 2]).expect("weights");
    assert_run!(scratch, ["inspect", "Model.mlpackage", "--check"]);
}

#[test]
fn inspect_a_wrong_sentinel() {
    let scratch = package();
    let mut bytes = fs::read(weights(&scratch)).expect("weights");
    bytes[64] ^= 0xff;
    fs::write(weights(&scratch), bytes).expect("weights");
    assert_run!(scratch, ["inspect", "Model.mlpackage", "--check"]);
}

#[test]
fn inspect_an_operation_nobody_knows() {
    let scratch = package();
    let mut bytes = fs::read(model(&scratch)).expect("a model");
    // Same length, so that no length prefix changes.
    let at = bytes
        .windows(4)
        .position(|window| window == b"gelu")
        .expect("a gelu");
    bytes[at..at + 4].copy_from_slice(b"gelo");
    fs::write(model(&scratch), bytes).expect("a model");
    assert_run!(scratch, ["inspect", "Model.mlpackage", "--check"]);
}
