//! A model whose sums pass the Neural Engine's accumulator while its values stay within fp16: as written it passes,
//! by the published rules it fails, and what is at fault is named.

use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::harness::Scratch;

/// The layer whose sums overflow.
const LAYER: &str = "encoder_layer_0_output_dense";

fn run(scratch: &Scratch, arguments: &[&str]) -> (i32, String) {
    let output = scratch.output(arguments);
    let code = output.status.code().expect("an exit code");
    assert!(
        [0, 4].contains(&code),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (code, String::from_utf8(output.stdout).expect("text"))
}

fn report(scratch: &Scratch, more: &[&str]) -> (i32, Value) {
    let arguments = ["verify", "Out.mlpackage", "--reference", "model", "--json"];
    let (code, text) = run(scratch, &[&arguments, more].concat());
    (code, serde_json::from_str(&text).expect("a JSON document"))
}

fn numerics(report: &Value) -> &Value {
    &report["buckets"][0]["numerics"]
}

/// Converts `model` and returns what was printed.
fn convert(scratch: &Scratch, more: &[&str]) -> String {
    let arguments = [
        "convert",
        "model",
        "-o",
        "Out.mlpackage",
        "--force",
        "--sequence-length",
        "64",
    ];
    let (code, text) = run(scratch, &[&arguments, more].concat());
    assert_eq!(code, 0);
    text
}

/// The operation of the layer among those whose headroom is reported.
fn layer(report: &Value) -> &Value {
    let all = numerics(report)["headroom"].as_array().expect("a list");
    let found = all
        .iter()
        .find(|op| op["operation"].as_str().is_some_and(|name| name.contains(LAYER)));
    found.expect("the layer")
}

/// Scales a layer's weights so that its largest result is 45000: beyond the accumulator's 32768, within fp16's 65504.
/// The norm that follows takes the scale out again.
fn overflowing(scratch: &Scratch) {
    let checkpoint = Checkpoint::copy(scratch, "feature-extraction");
    convert(scratch, &[]);
    let (_, before) = report(scratch, &["--numerics", "headroom"]);
    let largest = layer(&before)["largest"].as_f64().expect("a number");
    let factor = (45000.0 / largest) as f32;
    checkpoint.edit_tensors(|tensors| {
        let mut scaled = 0;
        for tensor in tensors {
            if tensor.name.contains("encoder.layer.0.output.dense.") {
                for word in tensor.bytes.as_chunks_mut::<4>().0 {
                    *word = (f32::from_le_bytes(*word) * factor).to_le_bytes();
                }
                scaled += 1;
            }
        }
        assert_eq!(scaled, 2);
    });
}

#[test]
fn an_accumulator_that_overflows_is_named() {
    let scratch = Scratch::new();
    overflowing(&scratch);
    for layout in ["ane", "standard"] {
        convert(&scratch, &["--layout", layout]);
        let (code, found) = report(&scratch, &["--numerics", "f32,ane,headroom"]);
        assert_eq!(code, 0, "as written it passes: {}", found["verdict"]);
        let modes = numerics(&found)["modes"].as_array().expect("modes");
        let passed: Vec<(&str, bool)> = modes
            .iter()
            .map(|mode| {
                let name = mode["arithmetic"].as_str().expect("a name");
                (name, mode["verdict"]["passed"] == true)
            })
            .collect();
        assert_eq!(passed, [("f32", true), ("ane", false)]);
        let rules = modes[1]["rules"].as_array().expect("rules");
        assert!(
            rules
                .iter()
                .any(|rule| rule["id"] == "N1" && rule["grade"] == "measured")
        );
        // It has the least headroom of all.
        let first = &numerics(&found)["headroom"][0];
        assert_eq!(first, layer(&found));
        let reached = first["sums"]["reached"].as_f64().expect("a number");
        let largest = first["largest"].as_f64().expect("a number");
        assert!(reached >= 44000.0 && largest < 65504.0, "{first}");
        assert!(first["headroom"].as_f64().expect("a number") < 1.0);
        let warnings: Vec<&str> = numerics(&found)["warnings"]
            .as_array()
            .expect("warnings")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert!(
            warnings.len() == 2 && warnings[0].contains(LAYER) && warnings[0].contains("N1"),
            "{warnings:?}"
        );
        assert_eq!(report(&scratch, &["--arithmetic", "ane", "--fast"]).0, 4);
        // The limit alone is what it fails by.
        assert_eq!(
            report(&scratch, &["--arithmetic", "ane", "--ane-rules", "-N1", "--fast"]).0,
            0
        );
        convert(
            &scratch,
            &["--layout", layout, "--keep-f32", "encoder.layer.0.output.dense"],
        );
        let (code, found) = report(&scratch, &["--arithmetic", "ane", "--numerics", "headroom"]);
        assert_eq!(code, 0, "{}", found["verdict"]);
        assert_eq!(numerics(&found)["warnings"], serde_json::json!([]));
    }
}

#[test]
fn numerics_can_be_left_out() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "feature-extraction");
    convert(&scratch, &[]);
    let (_, fast) = report(&scratch, &["--fast"]);
    assert!(numerics(&fast).is_null());
    let (_, few) = report(&scratch, &["--numerics-rows", "3"]);
    assert_eq!(numerics(&few)["rows"], 3);
    let output = scratch.output(&[
        "verify",
        "Out.mlpackage",
        "--reference",
        "model",
        "--ane-rules",
        "N4",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("accumulator-limit (N1)"));
}

/// What is kept is what overflows; with it the package passes by the rules, and nothing else is written differently.
#[test]
fn mixed_precision_keeps_what_overflows() {
    let scratch = Scratch::new();
    overflowing(&scratch);
    for layout in ["ane", "standard"] {
        let options = ["--layout", layout, "--precision", "mixed", "--json"];
        let text = convert(&scratch, &options);
        let found: Value = serde_json::from_str(&text).expect("a JSON document");
        let kept = found["mixed"]["kept"].as_array().expect("a list");
        assert_eq!(kept.len(), 1, "{kept:?}");
        let name = kept[0]["operation"].as_str().expect("a name");
        assert!(name.contains(LAYER), "{name}");
        assert!(kept[0]["reason"].as_str().expect("a reason").contains("rule N1"));
        assert_eq!(found["placement"]["off_engine"], 1);
        assert_eq!(report(&scratch, &["--arithmetic", "ane", "--fast"]).0, 0);
        // By hand it is the same package, to the byte.
        convert(&scratch, &["--layout", layout, "--keep-f32", name]);
        let (_, again) = report(&scratch, &["--fast"]);
        assert_eq!(again["package"]["digest"], found["digest"]);
    }
}

#[test]
fn mixed_precision_keeps_nothing_where_nothing_needs_it() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sentence-mean");
    let arguments = [
        "convert",
        "model",
        "-o",
        "Out.mlpackage",
        "--sequence-length",
        "64",
        "--precision",
        "mixed",
        "--json",
    ];
    let (code, text) = run(&scratch, &arguments);
    let found: Value = serde_json::from_str(&text).expect("a JSON document");
    assert_eq!((code, &found["mixed"]["kept"]), (0, &serde_json::json!([])));
    convert(&scratch, &[]);
    let (_, plain) = report(&scratch, &["--fast"]);
    assert_eq!(plain["package"]["digest"], found["digest"]);
    for refused in [
        &["convert", "model", "-o", "X.mlpackage", "--texts", "x.txt"][..],
        &[
            "convert",
            "model",
            "-o",
            "X.mlpackage",
            "--precision",
            "mixed",
            "--weights",
            "int8",
        ],
        &["convert", "model", "-o", "X.mlpackage", "--keep-f32", "no.such.*"],
    ] {
        assert_eq!(scratch.output(refused).status.code(), Some(2), "{refused:?}");
    }
}
