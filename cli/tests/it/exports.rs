//! `corer convert model.pt2`: every family's export, by every version of PyTorch, gives what PyTorch recorded.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Scratch, fixtures};

/// Every file of that extension below `fixtures/families`, in name order.
pub(crate) fn saved(wanted: &str) -> Vec<PathBuf> {
    let mut folders = vec![fixtures().join("families")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the fixtures are there") {
            let path = entry.expect("the fixtures can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == wanted) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 15, "{found:?}");
    found
}

/// Converts and verifies against the recording beside the model; what is wrong with it, if anything.
pub(crate) fn judge(
    export: &std::path::Path,
    length: &[&str],
    layout: &str,
    precision: &str,
    limits: &[&str],
) -> Result<(), String> {
    let scratch = Scratch::new();
    let source = export.display().to_string();
    let recording = export
        .with_file_name("expected.safetensors")
        .display()
        .to_string();
    let convert = [
        "convert",
        &source,
        "-o",
        "Out.mlpackage",
        "--layout",
        layout,
        "--precision",
        precision,
    ];
    let output = scratch.output(&[&convert, length].concat());
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let verify = ["verify", "Out.mlpackage", "--golden", &recording, "--json"];
    let output = scratch.output(&[&verify, limits].concat());
    let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!(
            "no JSON document: {error}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    match (output.status.code(), &report["verdict"]["passed"]) {
        (Some(0), Value::Bool(true)) => Ok(()),
        _ => Err(format!("{:#}", report["verdict"])),
    }
}

fn all_pass(precision: &str, limits: &[&str]) {
    let mut wrong = Vec::new();
    for export in saved("pt2") {
        for layout in ["ane", "standard"] {
            // Exported for 32 tokens, or with symbols for up to 47.
            let dynamic = export.to_string_lossy().contains("dynamic");
            let length: &[&str] = if dynamic {
                &["--sequence-length", "32"]
            } else {
                &[]
            };
            if let Err(reason) = judge(&export, length, layout, precision, limits) {
                wrong.push(format!("{} {layout}: {reason}", export.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} fail:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_family_gives_what_pytorch_recorded_in_f32() {
    all_pass("fp32", &["--max-abs", "1e-5"]);
}

#[test]
fn every_family_gives_what_pytorch_recorded_in_half_precision() {
    all_pass("fp16", &["--min-psnr", "60"]);
}

/// How often each operation stands in the package made of a source for 32 tokens.
fn operations(source: &std::path::Path) -> Value {
    let scratch = Scratch::new();
    let source = source.display().to_string();
    let output = scratch.output(&[
        "convert",
        &source,
        "-o",
        "Out.mlpackage",
        "--sequence-length",
        "32",
    ]);
    assert!(
        output.status.success(),
        "{source}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = scratch.output(&["inspect", "Out.mlpackage", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let function = match &document["functions"] {
        Value::Array(functions) => &functions[0],
        functions => &functions["main"],
    };
    let operations = function["operations"].clone();
    assert!(operations["softmax"].is_u64(), "{document:#}");
    operations
}

#[test]
fn an_export_gives_the_operations_its_checkpoint_gives() {
    let bert = fixtures().join("families/bert/feature-extraction");
    let checkpoint = operations(&bert);
    for export in [
        "torch2.7-export.pt2",
        "torch2.7-export-dynamic.pt2",
        "torch2.7-export-core.pt2",
        "torch2.15-export.pt2",
    ] {
        assert_eq!(operations(&bert.join(export)), checkpoint, "{export}");
    }
}
