//! `corer quantize`: the report of every road, and what it refuses.

use std::fs;

use crate::checkpoint::Checkpoint;
use crate::harness::{Scratch, assert_run, fixture, foreign};

/// A scratch directory with a converted package of a tiny checkpoint.
fn converted(more: &[&str]) -> Scratch {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sentence-mean");
    let arguments = [
        &["convert", "model", "-o", "Model.mlpackage", "--quiet"][..],
        more,
    ]
    .concat();
    assert!(scratch.output(&arguments).status.success());
    scratch
}

const QUANTIZE: [&str; 4] = ["quantize", "Model.mlpackage", "-o", "Out.mlpackage"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&QUANTIZE[..], more].concat()
}

#[test]
fn quantize_reports_every_weight() {
    assert_run!(converted(&[]), with(&["--weights", "int8", "--threshold", "500"]));
}

#[test]
fn quantize_json_is_one_document() {
    let scratch = converted(&[]);
    let output = scratch.output(&with(&["--weights", "lut4", "--threshold", "500", "--json"]));
    assert!(output.status.success());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["exit_code"], 0);
    let weights = document["weights"].as_array().expect("weights");
    let changed = weights.iter().filter(|weight| weight["changed"] == true).count();
    assert_eq!(document["totals"]["changed"], changed);
    assert!(changed > 10);
    for weight in weights.iter().filter(|weight| weight["changed"] == true) {
        assert_eq!(weight["after"], "lut4");
        assert!(weight["sqnr_db"].as_f64().expect("a number") > 10.0);
        assert!(weight["bytes_after"].as_u64() < weight["bytes_before"].as_u64());
    }
}

#[test]
fn a_plan_writes_nothing() {
    let scratch = converted(&["--target", "ios18"]);
    assert_run!(
        scratch,
        [
            "quantize",
            "Model.mlpackage",
            "--weights",
            "int4-block32",
            "--threshold",
            "500",
            "--plan"
        ]
    );
    assert_eq!(fs::read_dir(scratch.path()).expect("the directory").count(), 2);
}

#[test]
fn a_plan_foretells_the_bytes() {
    let scratch = converted(&["--target", "ios18"]);
    for scheme in [
        "int8",
        "uint4-affine",
        "int4-block8",
        "lut6",
        "lut4-g8",
        "sparse50",
        "sparse2:4+int8",
    ] {
        let json = |more: &[&str]| -> serde_json::Value {
            let arguments = [
                &[
                    "quantize",
                    "Model.mlpackage",
                    "--weights",
                    scheme,
                    "--json",
                    "--threshold",
                    "500",
                ][..],
                more,
            ]
            .concat();
            let output = scratch.output(&arguments);
            assert!(output.status.success(), "{scheme}");
            serde_json::from_slice(&output.stdout).expect("one JSON document")
        };
        let planned = json(&["--plan"]);
        let done = json(&["-o", "Out.mlpackage", "--force"]);
        let bytes = |document: &serde_json::Value| document["totals"]["bytes_after"].as_f64().expect("bytes");
        let (planned, done) = (bytes(&planned), bytes(&done));
        // Zeros a weight has anyway, and equal magnitudes, make sparse ones a little smaller than foretold.
        let near = if scheme.contains("sparse") { 0.02 } else { 0.0 };
        assert!(
            (planned - done).abs() <= done * near,
            "{scheme}: {planned} {done}"
        );
    }
}

#[test]
fn a_target_too_old_is_refused_with_the_one_it_takes() {
    assert_run!(converted(&[]), with(&["--weights", "int4", "--threshold", "500"]));
}

#[test]
fn an_unknown_scheme_names_the_valid_ones() {
    assert_run!(converted(&[]), with(&["--weights", "int5"]));
}

#[test]
fn nothing_to_do_is_said() {
    assert_run!(converted(&[]), QUANTIZE);
}

#[test]
fn a_config_that_matches_nothing_warns() {
    let scratch = converted(&[]);
    fs::write(
        scratch.path().join("weights.toml"),
        "weights = \"int8\"\n[types]\nconvv = \"lut4\"\n[[pattern]]\nmatch = \"decoder*\"\nweights = \"skip\"\n[names]\n\"nobody\" = \"fp16\"\n",
    )
    .expect("a file");
    assert_run!(
        scratch,
        with(&["--config", "weights.toml", "--threshold", "500", "--plan"])
    );
}

#[test]
fn a_config_with_a_mistake_names_its_line() {
    let scratch = converted(&[]);
    fs::write(
        scratch.path().join("weights.toml"),
        "weights = \"int8\"\n\n[types]\nconv = \"lut5\"\n",
    )
    .expect("a file");
    assert_run!(scratch, with(&["--config", "weights.toml"]));
}

#[test]
fn blocks_that_do_not_divide_are_refused() {
    assert_run!(
        converted(&["--target", "ios18"]),
        with(&["--weights", "int4-block7", "--threshold", "500"])
    );
}

#[test]
fn a_path_that_is_no_package() {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("Model.mlpackage"), "text").expect("a file");
    assert_run!(scratch, with(&["--weights", "int8"]));
}

#[test]
fn the_same_package_twice_stays_the_same() {
    let scratch = converted(&[]);
    assert!(
        scratch
            .output(&with(&["--weights", "int8", "--threshold", "500", "-q"]))
            .status
            .success()
    );
    let arguments = [
        "quantize",
        "Out.mlpackage",
        "-o",
        "Again.mlpackage",
        "--weights",
        "int8",
        "--threshold",
        "500",
    ];
    let output = scratch.output(&arguments);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("0 of"), "{text}");
    // And back: dense again, of the same size as before.
    let arguments = [
        "quantize",
        "Again.mlpackage",
        "-o",
        "Dense.mlpackage",
        "--weights",
        "fp16",
        "--json",
    ];
    let output = scratch.output(&arguments);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert!(
        document["weights"]
            .as_array()
            .expect("weights")
            .iter()
            .all(|weight| weight["after"] == "fp16")
    );
}

#[test]
fn texts_that_are_none_are_refused() {
    let scratch = converted(&[]);
    let tokenizer = fixture("sentence-mean");
    for (name, bytes, part) in [
        ("empty.txt", &b"\n \n"[..], "at least one text per line"),
        ("latin.txt", &b"good\nna\xEFve\n"[..], "is not UTF-8"),
        (
            "invisible.txt",
            "\u{200b}\n\u{200b}\u{feff}\u{200b}\n".as_bytes(),
            "none of the texts in invisible.txt has a token",
        ),
    ] {
        fs::write(scratch.path().join(name), bytes).expect("a file");
        let arguments = with(&[
            "--weights",
            "int8",
            "--threshold",
            "500",
            "--calibrate",
            name,
            "--tokenizer",
            &tokenizer,
        ]);
        let output = scratch.output(&arguments);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let message = String::from_utf8(output.stderr).expect("text");
        assert!(message.contains(part), "{message}");
        assert!(!scratch.path().join("Out.mlpackage").exists());
    }
    assert_run!(scratch, with(&["--weights", "int8", "--calibrate", "empty.txt"]));
}

/// What compression is tuned on must not be what it is measured on.
#[test]
fn the_calibration_set_is_not_the_measured_one() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(fixtures.join(name)).expect("a fixture");
        text.lines().map(str::to_lowercase).collect()
    };
    let runs = |text: &str| -> std::collections::BTreeSet<String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.windows(5).map(|run| run.join(" ")).collect()
    };
    let measured = lines("sentences.txt");
    let seen: std::collections::BTreeSet<String> = measured.iter().flat_map(|text| runs(text)).collect();
    let calibration = lines("calibration.txt");
    assert_eq!((measured.len(), calibration.len()), (200, 699));
    for text in &calibration {
        assert!(!measured.contains(text), "{text}");
        if let Some(run) = runs(text).intersection(&seen).next() {
            panic!("`{run}` of `{text}` is measured on");
        }
    }
}

#[test]
fn texts_make_compressed_weights_lose_less() {
    let scratch = converted(&["--target", "ios18"]);
    let texts: String = (0..60)
        .map(|i| {
            format!(
                "the quick brown fox number {i} jumps over the lazy dog {}\n",
                i * 7
            )
        })
        .collect();
    fs::write(scratch.path().join("texts.txt"), texts).expect("a file");
    let checkpoint = fixture("sentence-mean");
    let mut psnr = Vec::new();
    for more in [
        &[][..],
        &["--calibrate", "texts.txt", "--tokenizer", checkpoint.as_str()],
    ] {
        let arguments = [
            &with(&["--weights", "int4", "--threshold", "500", "--force"])[..],
            more,
        ]
        .concat();
        let output = scratch.output(&arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let arguments = [
            "verify",
            "Out.mlpackage",
            "--reference",
            &checkpoint,
            "--texts",
            "texts.txt",
            "--json",
        ];
        let output = scratch.output(&arguments);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        psnr.push(find_psnr(&document).expect("a PSNR"));
    }
    assert!(psnr[1] > psnr[0] + 1.0, "{psnr:?}");
}

/// The first PSNR of a report.
fn find_psnr(document: &serde_json::Value) -> Option<f64> {
    match document {
        serde_json::Value::Object(map) => map.iter().find_map(|(key, value)| {
            (key == "psnr")
                .then(|| value.as_f64())
                .flatten()
                .or_else(|| find_psnr(value))
        }),
        serde_json::Value::Array(list) => list.iter().find_map(find_psnr),
        _ => None,
    }
}

#[test]
fn foreign_packages_are_compressed_too() {
    let scratch = foreign("foreign-bert/sentence-mean-ios18-fp16");
    let output = scratch.output(&with(&["--weights", "lut4", "--threshold", "500"]));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = scratch.output(&["inspect", "Out.mlpackage", "--check"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn convert_with_a_scheme_writes_what_quantize_does() {
    let scratch = converted(&[]);
    let arguments = with(&["--weights", "int8", "--threshold", "2048", "-q"]);
    assert!(scratch.output(&arguments).status.success());
    let arguments = [
        "convert",
        "model",
        "-o",
        "Direct.mlpackage",
        "--weights",
        "int8",
        "-q",
    ];
    assert!(scratch.output(&arguments).status.success());
    let weights = |name: &str| {
        let path = scratch
            .path()
            .join(name)
            .join("Data/com.apple.CoreML/weights/weight.bin");
        fs::read(path).expect("weights")
    };
    assert!(weights("Out.mlpackage") == weights("Direct.mlpackage"));
}

#[test]
fn what_was_written_is_held_against_what_it_was_made_from() {
    let scratch = converted(&[]);
    for (more, origin) in [
        (&["--tokenizer", "model"][..], "sentences"),
        (&[], "token ids from seed 0"),
    ] {
        let arguments = with(&[
            "--weights",
            "int8",
            "--threshold",
            "500",
            "--verify",
            "--json",
            "--force",
        ]);
        let output = scratch.output(&[&arguments[..], more].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let parity = &document["verification"];
        assert_eq!(parity["reference"]["kind"], "another package");
        assert_eq!(parity["package"]["digest"], document["digest"]);
        let bucket = &parity["buckets"][0];
        let said = bucket["inputs"]["origin"].as_str().expect("an origin");
        assert!(said.contains(origin), "{said}");
        let sentences = &bucket["outputs"][0]["sentence"]["cosine"];
        let (least, mean) = (sentences["min"].as_f64(), sentences["mean"].as_f64());
        // Something is lost, and little of it.
        assert!(least > Some(0.99) && mean < Some(1.0 - 1e-9), "{sentences}");
    }
}

#[test]
fn compression_that_costs_too_much_ends_with_the_gate() {
    let scratch = converted(&[]);
    let output = scratch.output(&with(&[
        "--weights",
        "lut1",
        "--threshold",
        "500",
        "--verify",
        "--json",
    ]));
    assert_eq!(output.status.code(), Some(4));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["exit_code"], 4);
    assert_eq!(document["verification"]["verdict"]["passed"], false);
    assert!(scratch.path().join("Out.mlpackage").is_dir());
}

#[test]
fn a_tokenizer_nobody_uses_is_refused() {
    let scratch = converted(&[]);
    let output = scratch.output(&with(&["--weights", "int8", "--tokenizer", "model"]));
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("--tokenizer is only of use with --calibrate or --verify"),
        "{said}"
    );
}

#[test]
fn a_package_of_another_kind_is_told_by_name() {
    let scratch = converted(&[]);
    // A specification version and an empty field 500, `neuralNetwork`.
    let model = [0x08, 0x04, 0xa2, 0x1f, 0x00];
    let path = "Model.mlpackage/Data/com.apple.CoreML/model.mlmodel";
    fs::write(scratch.path().join(path), model).expect("a file");
    assert_run!(scratch, with(&["--weights", "int8"]));
    assert!(!scratch.path().join("Out.mlpackage").exists());
}

/// Overwrites an element of the largest weight in `Model.mlpackage`.
fn spoil(scratch: &Scratch, element: usize, bits: u16) {
    let path = scratch
        .path()
        .join("Model.mlpackage/Data/com.apple.CoreML/weights/weight.bin");
    let mut bytes = fs::read(&path).expect("weights");
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    // Each blob has 64 bytes before it: a mark, its type, its size and its place.
    let blobs = (64..bytes.len() - 64)
        .step_by(64)
        .filter(|at| bytes[*at..*at + 4] == 0xdead_beef_u32.to_le_bytes());
    let (_, place) = blobs
        .map(|at| (word(at + 8), word(at + 16)))
        .max()
        .expect("a weight");
    let at = place as usize + element * 2;
    bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    fs::write(path, bytes).expect("weights");
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    for (bits, said) in [(0x7e00, "NaN"), (0x7c00, "inf"), (0xfc00, "-inf")] {
        for scheme in ["int8", "lut4", "sparse50"] {
            let scratch = converted(&[]);
            spoil(&scratch, 77, bits);
            let output = scratch.output(&with(&["--weights", scheme, "--threshold", "500"]));
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(5), "{message}");
            assert!(
                message.contains("embeddings_word_embeddings_weight")
                    && message.contains(&format!("element 77 is {said};")),
                "{message}"
            );
            assert!(!scratch.path().join("Out.mlpackage").exists());
        }
    }
}
