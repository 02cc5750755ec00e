//! `corer convert`: the good road for every head, and each way a source or an output can be wrong.

use std::fs;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, named};
use crate::harness::{Scratch, assert_conversion, assert_run, fixture};

const CONVERT: [&str; 4] = ["convert", "model", "-o", "Out.mlpackage"];

fn convert_with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&CONVERT[..], more].concat()
}

#[test]
fn convert_says_what_it_wrote() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    assert_conversion!(scratch, CONVERT);
    assert!(scratch.path().join("Out.mlpackage/Manifest.json").is_file());
}

#[test]
fn convert_json_is_one_document() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    assert_conversion!(scratch, convert_with(&["--json"]));
}

#[test]
fn every_fixture_converts_in_every_form_and_checks() {
    let scratch = Scratch::new();
    let heads = [
        "feature-extraction",
        "sequence-classification",
        "token-classification",
        "question-answering",
        "fill-mask",
        "sentence-mean",
        "sentence-cls-dense",
        "sentence-max",
        "formats/sharded",
        "formats/f16",
        "formats/bf16",
        "formats/prefixed",
        "formats/pickle",
        "formats/pickle-tied",
        "formats/gamma-beta",
    ];
    let forms = [
        &[][..],
        &["--layout", "standard"],
        &["--attention", "split", "--target", "ios17"],
        &["--precision", "fp32", "--target", "ios26"],
        &[
            "--layout",
            "standard",
            "--target",
            "ios18",
            "--output-dtype",
            "fp32",
            "--no-token-types",
        ],
    ];
    for head in heads {
        let source = fixture(head);
        for form in forms {
            let arguments = [
                &["convert", &source, "-o", "Out.mlpackage", "--force", "--json"],
                form,
            ]
            .concat();
            let output = scratch.output(&arguments);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{head} {form:?}: {error}");
            let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
            let check = scratch.output(&["inspect", "Out.mlpackage", "--check", "--json"]);
            let check: Value = serde_json::from_slice(&check.stdout).expect("one JSON document");
            assert_eq!(check["faults"], json!([]), "{head} {form:?}");
            let summary = scratch.output(&["inspect", "Out.mlpackage", "--json"]);
            let summary: Value = serde_json::from_slice(&summary.stdout).expect("one JSON document");
            assert_eq!(report["digest"], summary["digest"], "{head} {form:?}");
        }
    }
}

#[test]
fn the_same_bytes_whatever_the_threads() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "fill-mask");
    let digest = |threads: &str, output: &str| {
        let output = scratch.output(&["convert", "model", "-o", output, "--threads", threads, "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        report["digest"].as_str().expect("a digest").to_owned()
    };
    let one = digest("1", "One.mlpackage");
    assert_eq!(one, digest("2", "Two.mlpackage"));
    assert_eq!(one, digest("7", "Seven.mlpackage"));
    for file in [
        "Manifest.json",
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
    ] {
        let read =
            |package: &str| fs::read(scratch.path().join(package).join(file)).expect("a package's file");
        assert_eq!(read("One.mlpackage"), read("Two.mlpackage"), "{file}");
    }
}

#[test]
fn an_output_that_exists_is_kept() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    fs::write(scratch.path().join("Out.mlpackage"), "precious").expect("a file");
    assert_run!(scratch, CONVERT);
    assert_eq!(
        fs::read(scratch.path().join("Out.mlpackage")).expect("still there"),
        b"precious"
    );
}

#[test]
fn force_replaces_packages_only() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    fs::create_dir(scratch.path().join("Out.mlpackage")).expect("a directory");
    fs::write(scratch.path().join("Out.mlpackage/thesis.txt"), "precious").expect("a file");
    assert_run!(scratch, convert_with(&["--force"]));
    assert!(scratch.path().join("Out.mlpackage/thesis.txt").is_file());
}

#[test]
fn force_replaces_a_package() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    let digest = |arguments: &[&str]| {
        let output = scratch.output(arguments);
        assert!(output.status.success());
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        report["digest"].clone()
    };
    let first = digest(&convert_with(&["--json"]));
    let second = digest(&convert_with(&["--json", "--force", "--layout", "standard"]));
    assert_ne!(first, second);
    let names: Vec<_> = fs::read_dir(scratch.path())
        .expect("scratch")
        .map(|e| e.expect("entry").file_name())
        .collect();
    assert_eq!(
        names.len(),
        2,
        "only the source and the package are left: {names:?}"
    );
}

#[test]
fn an_output_must_be_called_a_package() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    assert_run!(scratch, ["convert", "model", "-o", "Out"]);
}

#[test]
fn an_output_directory_that_is_missing() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    assert_run!(scratch, ["convert", "model", "-o", "nowhere/Out.mlpackage"]);
}

#[test]
fn a_source_that_is_missing() {
    assert_run!(Scratch::new(), CONVERT);
}

#[test]
fn a_source_that_is_missing_as_json() {
    assert_run!(Scratch::new(), convert_with(&["--json"]));
}

#[test]
fn a_source_without_weights() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "feature-extraction");
    fs::remove_file(checkpoint.path("model.safetensors")).expect("weights");
    assert_run!(scratch, CONVERT);
}

#[test]
fn a_source_of_another_architecture() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "feature-extraction");
    checkpoint.configure("model_type", json!("llama"));
    checkpoint.configure("architectures", json!(["LlamaForCausalLM"]));
    assert_run!(scratch, CONVERT);
}

#[test]
fn a_config_that_is_no_json() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "feature-extraction");
    fs::write(checkpoint.path("config.json"), "{\"model_type\": \"bert\",").expect("config");
    assert_run!(scratch, CONVERT);
}

#[test]
fn a_truncated_safetensors() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "feature-extraction");
    let weights = fs::read(checkpoint.path("model.safetensors")).expect("weights");
    fs::write(
        checkpoint.path("model.safetensors"),
        &weights[..weights.len() / 2],
    )
    .expect("weights");
    assert_run!(scratch, CONVERT);
}

#[test]
fn missing_and_extra_tensors_are_listed_together() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "sequence-classification");
    checkpoint.edit_tensors(|tensors| {
        named(tensors, "bert.encoder.layer.1.attention.self.query.weight").name =
            "bert.encoder.layer.1.attention.self.quarry.weight".into();
        tensors.retain(|tensor| tensor.name != "classifier.bias");
    });
    assert_run!(scratch, CONVERT);
}

#[test]
fn a_hidden_size_the_heads_do_not_divide() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "feature-extraction");
    checkpoint.configure("num_attention_heads", json!(3));
    assert_run!(scratch, CONVERT);
}

#[test]
fn a_sequence_beyond_the_position_table() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "feature-extraction");
    assert_run!(scratch, convert_with(&["--sequence-length", "129"]));
}

#[test]
fn a_classifier_without_classes() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "token-classification");
    assert_run!(scratch, convert_with(&["--classifier"]));
}

#[test]
fn a_task_the_checkpoint_has_no_head_for() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "feature-extraction");
    assert_run!(scratch, convert_with(&["--task", "question-answering"]));
}

#[test]
fn weights_that_are_not_numbers() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "feature-extraction");
    checkpoint.edit_tensors(|tensors| named(tensors, "encoder.layer.0.output.dense.weight").set(7, f32::NAN));
    assert_run!(scratch, CONVERT);
    assert!(!scratch.path().join("Out.mlpackage").exists());
}

#[test]
fn weights_beyond_fp16() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "feature-extraction");
    checkpoint.edit_tensors(|tensors| named(tensors, "encoder.layer.0.output.dense.weight").set(7, 70_000.0));
    assert_run!(scratch, CONVERT);
    assert!(scratch.output(&convert_with(&["--saturate"])).status.success());
    assert!(
        scratch
            .output(&convert_with(&["--force", "--precision", "fp32"]))
            .status
            .success()
    );
}

#[test]
fn quiet_leaves_notes_out() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "formats/gamma-beta");
    let output = scratch.output(&convert_with(&["--quiet"]));
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[test]
fn tensors_without_a_use_are_noted() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "formats/gamma-beta");
    assert_conversion!(scratch, CONVERT);
}

#[test]
fn convert_verifies_when_asked() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    let output = scratch.output(&convert_with(&["--verify"]));
    let stdout = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(
        stdout
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("passed: ")),
        "{stdout}"
    );
}

#[test]
fn convert_verifies_without_a_tokenizer() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "feature-extraction");
    fs::remove_file(checkpoint.path("tokenizer.json")).expect("a tokenizer");
    let output = scratch.output(&convert_with(&["--verify"]));
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
