//! `corer verify` and `convert --verify`: good packages pass, spoiled ones don't, and each says why.

use std::fs;

use serde_json::Value;

use crate::checkpoint::{Checkpoint, named};
use crate::harness::{Scratch, assert_run, fixture, fixtures};

/// A scratch directory with `model`, a copy of a fixture, and `Out.mlpackage` made from it.
fn converted(name: &str, more: &[&str]) -> (Scratch, Checkpoint) {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, name);
    let output = scratch.output(&[&["convert", "model", "-o", "Out.mlpackage"], more].concat());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (scratch, checkpoint)
}

fn json(scratch: &Scratch, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = scratch.output(arguments);
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| {
        panic!(
            "no JSON document: {error}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
    (output.status.code(), document)
}

#[test]
fn every_head_passes_against_its_checkpoint_and_its_recording() {
    let heads = [
        ("feature-extraction", "64"),
        ("sequence-classification", "64"),
        ("token-classification", "64"),
        ("question-answering", "64"),
        ("fill-mask", "32"),
        ("sentence-mean", "64"),
        ("sentence-cls-dense", "64"),
        ("sentence-max", "64"),
        ("formats/gamma-beta", "16"),
    ];
    for (head, length) in heads {
        for layout in ["ane", "standard"] {
            let scratch = Scratch::new();
            let source = fixture(head);
            let recording = format!("{source}/expected.safetensors");
            let convert = [
                "convert",
                &source,
                "-o",
                "Out.mlpackage",
                "--sequence-length",
                length,
                "--layout",
                layout,
            ];
            let (code, report) = json(&scratch, &[&convert[..], &["--verify", "--json"]].concat());
            assert_eq!(
                (code, &report["verification"]["verdict"]["passed"]),
                (Some(0), &Value::Bool(true)),
                "{head}"
            );
            assert_eq!(report["exit_code"], 0);
            let (code, report) = json(
                &scratch,
                &[
                    "verify",
                    "Out.mlpackage",
                    "--golden",
                    &recording,
                    "--min-psnr",
                    "70",
                    "--min-top1",
                    "1",
                    "--json",
                ],
            );
            assert_eq!(
                (code, &report["verdict"]["passed"]),
                (Some(0), &Value::Bool(true)),
                "{head} {layout}: {report:#}"
            );
        }
    }
}

#[test]
fn a_package_of_other_weights_fails_the_gate() {
    let (scratch, checkpoint) = converted("sequence-classification", &[]);
    checkpoint.edit_tensors(|tensors| named(tensors, "classifier.bias").set(0, 9.0));
    let output = scratch.output(&["verify", "Out.mlpackage", "--reference", "model"]);
    assert_eq!(output.status.code(), Some(4));
    let stderr = String::from_utf8(output.stderr).expect("text");
    let last = stderr.lines().last().expect("a reason");
    assert!(
        last.starts_with("error: Out.mlpackage is below its thresholds: logits: "),
        "{last}"
    );
    let (code, report) = json(
        &scratch,
        &["verify", "Out.mlpackage", "--reference", "model", "--json"],
    );
    assert_eq!((code, &report["exit_code"]), (Some(4), &Value::from(4)));
    assert_eq!(report["verdict"]["passed"], false);
}

#[test]
fn each_threshold_can_fail() {
    let (scratch, _) = converted("sentence-mean", &[]);
    let verify = [
        "verify",
        "Out.mlpackage",
        "--reference",
        "model",
        "--random-tokens",
        "12",
        "--seed",
        "3",
        "--json",
    ];
    assert_eq!(json(&scratch, &verify).0, Some(0));
    let tighter = [
        ("--min-psnr", "200", "PSNR"),
        ("--min-cosine", "1.0000001", "lowest cosine"),
        ("--max-abs", "1e-12", "largest error"),
        ("--min-overlap", "1.01", "nearest neighbours shared"),
    ];
    for (flag, limit, measure) in tighter {
        let (code, report) = json(&scratch, &[&verify[..], &[flag, limit]].concat());
        let reasons = report["verdict"]["reasons"].as_array().expect("reasons");
        assert_eq!(code, Some(4), "{flag}");
        assert!(
            reasons.iter().any(|reason| reason["measure"] == measure),
            "{flag}: {reasons:?}"
        );
    }
}

#[test]
fn a_report_directory_holds_what_was_printed() {
    let (scratch, _) = converted("token-classification", &[]);
    let verify = [
        "verify",
        "Out.mlpackage",
        "--reference",
        "model",
        "--report",
        "out/report",
    ];
    let output = scratch.output(&verify);
    assert_eq!(output.status.code(), Some(0));
    let read = |name: &str| fs::read(scratch.path().join("out/report").join(name)).expect("a report");
    assert_eq!(read("report.txt"), output.stdout);
    let report: Value = serde_json::from_slice(&read("report.json")).expect("JSON");
    assert_eq!(report["verdict"]["passed"], true);
    assert_eq!(
        scratch.output(&verify).status.code(),
        Some(0),
        "an older report is replaced"
    );
}

#[test]
fn verify_needs_a_reference() {
    assert_run!(Scratch::new(), ["verify", "Out.mlpackage"]);
}

#[test]
fn verify_takes_one_reference() {
    assert_run!(
        Scratch::new(),
        ["verify", "Out.mlpackage", "--reference", "a", "--golden", "b"]
    );
}

#[test]
fn verify_a_package_that_is_missing() {
    assert_run!(
        Scratch::new(),
        ["verify", "Out.mlpackage", "--reference", "model"]
    );
}

#[test]
fn verify_against_a_checkpoint_that_is_missing() {
    let (scratch, _) = converted("formats/f16", &[]);
    assert_run!(scratch, ["verify", "Out.mlpackage", "--reference", "elsewhere"]);
}

#[test]
fn verify_on_texts_that_are_missing() {
    let (scratch, _) = converted("formats/f16", &[]);
    assert_run!(
        scratch,
        [
            "verify",
            "Out.mlpackage",
            "--reference",
            "model",
            "--texts",
            "missing.txt"
        ]
    );
}

#[test]
fn verify_at_another_length_than_recorded() {
    let (scratch, _) = converted("formats/f16", &[]);
    assert_run!(
        scratch,
        [
            "verify",
            "Out.mlpackage",
            "--golden",
            "model/expected.safetensors"
        ]
    );
}

#[test]
fn verify_with_a_pair_that_is_none() {
    assert_run!(
        Scratch::new(),
        [
            "verify",
            "Out.mlpackage",
            "--reference",
            "model",
            "--output",
            "logits"
        ]
    );
}

/// A conversion and its verification in one command, with nothing recorded.
#[test]
fn every_family_trace_and_export_is_verified_against_its_source() {
    let families = fixtures().join("families");
    let mut sources: Vec<_> = ["roberta", "distilbert", "deberta-v3", "modernbert", "nomic-bert"]
        .map(|family| families.join(family).join("feature-extraction"))
        .into();
    sources.push(families.join("roberta/sequence-classification"));
    sources.push(families.join("bert/feature-extraction/torch2.7-sdpa.pt"));
    sources.push(families.join("bert/feature-extraction/torch2.7-export.pt2"));
    sources.push(fixtures().join("own-model/model.pt"));
    for source in sources {
        let scratch = Scratch::new();
        let path = source.display().to_string();
        let mut convert = vec!["convert", &path, "-o", "Out.mlpackage", "--verify", "--json"];
        if !path.ends_with(".pt2") {
            convert.extend(["--sequence-length", "24"]);
        }
        if path.contains("own-model") {
            convert.extend(["--input", "customer=float32:B,5"]);
        }
        let (code, report) = json(&scratch, &convert);
        assert_eq!(code, Some(0), "{path}: {report}");
        let reference = &report["verification"]["reference"];
        assert_eq!(
            reference["kind"], "the source's operations one by one, f32",
            "{path}"
        );
        // The same by hand, the head taken from the package.
        let verify = [
            "verify",
            "Out.mlpackage",
            "--reference",
            &path,
            "--random-tokens",
            "9",
            "--json",
        ];
        let (code, report) = json(&scratch, &verify);
        assert_eq!(code, Some(0), "{path}: {report}");
    }
}

#[test]
fn engines_can_be_chosen_and_agree() {
    let (scratch, _) = converted("sequence-classification", &[]);
    let verify = [
        "verify",
        "Out.mlpackage",
        "--reference",
        "model",
        "--json",
        "--reference-engine",
    ];
    let mut found = Vec::new();
    for engine in ["candle", "graph"] {
        let (code, report) = json(&scratch, &[&verify[..], &[engine]].concat());
        assert_eq!(code, Some(0), "{engine}: {report}");
        let output = &report["buckets"][0]["outputs"][0];
        found.push((
            report["reference"]["kind"].clone(),
            output["max_abs"].as_f64().expect("a number"),
        ));
    }
    assert_ne!(found[0].0, found[1].0);
    assert!((found[0].1 - found[1].1).abs() < 1e-5, "{found:?}");
}

#[test]
fn a_reference_of_another_architecture_is_an_error_that_says_so() {
    let (scratch, _) = converted("sequence-classification", &["--sequence-length", "32"]);
    let families = fixtures().join("families");
    for (reference, engine, said) in [
        // Another task's outputs, another family's vocabulary: what differs is told.
        ("roberta/sequence-classification", "auto", "logits"),
        ("roberta/feature-extraction", "candle", "model_type"),
    ] {
        let path = families.join(reference).display().to_string();
        let verify = [
            "verify",
            "Out.mlpackage",
            "--reference",
            &path,
            "--random-tokens",
            "4",
            "--reference-engine",
            engine,
        ];
        let output = scratch.output(&verify);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(2..=4)),
            "{reference}: {stderr}"
        );
        assert!(stderr.contains(said), "{reference}: {stderr}");
    }
}

#[test]
fn another_package_is_a_reference_on_token_ids_or_on_texts() {
    let (scratch, _) = converted("feature-extraction", &["--sequence-length", "16"]);
    let quantize = [
        "quantize",
        "Out.mlpackage",
        "-o",
        "Small.mlpackage",
        "--weights",
        "int8",
    ];
    assert!(scratch.output(&quantize).status.success());
    let (code, report) = json(
        &scratch,
        &[
            "verify",
            "Small.mlpackage",
            "--reference",
            "Out.mlpackage",
            "--json",
        ],
    );
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["reference"]["kind"], "another package");
    let psnr = |report: &Value| {
        report["buckets"][0]["outputs"][0]["psnr"]
            .as_f64()
            .expect("decibels")
    };
    assert!((30.0..70.0).contains(&psnr(&report)), "{report}");
    let texts = ["--tokenizer", "model/tokenizer.json"];
    let verify = [
        "verify",
        "Small.mlpackage",
        "--reference",
        "Out.mlpackage",
        "--json",
    ];
    let (code, report) = json(&scratch, &[&verify[..], &texts].concat());
    assert_eq!(
        (code, &report["buckets"][0]["inputs"]["rows"]),
        (Some(0), &Value::from(40)),
        "{report}"
    );
    // A package of another length has no answers.
    let other = [
        "convert",
        "model",
        "-o",
        "Long.mlpackage",
        "--sequence-length",
        "32",
    ];
    assert!(scratch.output(&other).status.success());
    let output = scratch.output(&["verify", "Small.mlpackage", "--reference", "Long.mlpackage"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("takes 1 × 32 tokens, not 1 × 16"), "{said}");
}
