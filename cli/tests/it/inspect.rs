//! `corer inspect`: summary, one operation, text, and what is wrong with spoiled packages.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Scratch, assert_run, foreign};

/// A sequence classifier as coremltools writes it: it changes only when the tests do.
fn package() -> Scratch {
    foreign("foreign-bert/sequence-classification-ios16-fp16")
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

/// Turns the first `gelu` of the model into an operation nobody knows.
fn rename_gelu(scratch: &Scratch) {
    let mut bytes = fs::read(model(scratch)).expect("a model");
    // `Operation.type`, field 1. Same length, so that no length prefix changes.
    let at = bytes
        .windows(6)
        .position(|window| window == b"\x0a\x04gelu")
        .expect("a gelu");
    bytes[at + 2..at + 6].copy_from_slice(b"gelo");
    fs::write(model(scratch), bytes).expect("a model");
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
fn inspect_several_functions() {
    assert_run!(
        foreign("foreign/functions-ios18-fp16"),
        ["inspect", "Model.mlpackage"]
    );
}

#[test]
fn inspect_a_range_of_shapes() {
    assert_run!(
        foreign("foreign/range-ios17-fp32"),
        ["inspect", "Model.mlpackage"]
    );
}

#[test]
fn inspect_listed_shapes() {
    assert_run!(
        foreign("foreign/enumerated-ios17-fp32"),
        ["inspect", "Model.mlpackage"]
    );
}

#[test]
fn inspect_a_classifier() {
    assert_run!(
        foreign("foreign/classifier-ios16-fp32"),
        ["inspect", "Model.mlpackage"]
    );
}

#[test]
fn inspect_op() {
    assert_run!(
        foreign("foreign/classifier-ios16-fp32"),
        ["inspect", "Model.mlpackage", "--op", "label_probs"]
    );
}

#[test]
fn inspect_op_json() {
    let scratch = foreign("foreign/classifier-ios16-fp32");
    assert_run!(
        scratch,
        ["inspect", "Model.mlpackage", "--op", "label_probs", "--json"]
    );
}

#[test]
fn inspect_op_in_several_functions() {
    assert_run!(
        foreign("foreign/functions-ios18-fp16"),
        ["inspect", "Model.mlpackage", "--op", "y"]
    );
}

#[test]
fn inspect_op_that_is_missing() {
    assert_run!(
        foreign("foreign/classifier-ios16-fp32"),
        ["inspect", "Model.mlpackage", "--op", "label_prob"]
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
    rename_gelu(&scratch);
    assert_run!(scratch, ["inspect", "Model.mlpackage", "--check"]);
}

#[test]
fn inspect_check_json_of_an_operation_nobody_knows() {
    let scratch = package();
    rename_gelu(&scratch);
    assert_run!(scratch, ["inspect", "Model.mlpackage", "--check", "--json"]);
}

#[test]
fn inspect_listing() {
    assert_run!(
        foreign("foreign/functions-ios18-fp16"),
        ["inspect", "Model.mlpackage", "--listing"]
    );
}

#[test]
fn inspect_text_is_the_program_itself() {
    let scratch = package();
    let output = scratch.output(&["inspect", "Model.mlpackage", "--text"]);
    assert!(output.status.success());
    let package = corer_proto::Package::open(&scratch.path().join("Model.mlpackage")).expect("a package");
    let weights = corer_mil::text::print(&package.model.program).weights;
    let text = String::from_utf8(output.stdout).expect("text");
    let parsed = corer_mil::text::parse(&text, &weights).expect("MIL text");
    assert_eq!(corer_mil::difference(&package.model.program, &parsed), None);
}
