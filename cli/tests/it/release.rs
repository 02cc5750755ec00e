//! `corer release` and `corer init`: one file in, everything judged, nothing done twice, nothing half published.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::checkpoint::{Checkpoint, named};
use crate::harness::{Scratch, assert_run, copy_directory, fixtures};

const MANIFEST: &str = r#"
name = "Tiny"
source = "model"
output = "out"
sequence-length = 16
variants = ["fp16", "fp32"]

[publish]
to = "oci-layout:out/registry:1.0"
"#;

/// A scratch directory with a model and a manifest.
fn scratch(manifest: &str) -> (Scratch, Checkpoint) {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "sentence-mean");
    write(&scratch, manifest);
    (scratch, checkpoint)
}

fn write(scratch: &Scratch, manifest: &str) {
    fs::write(scratch.path().join("corer.toml"), manifest).expect("a manifest");
}

/// A run's exit code, its document and its stage lines as (stage, variant, unchanged or not).
fn release(scratch: &Scratch) -> (Option<i32>, Value, Vec<String>) {
    let output = scratch.output(&["release", "--json"]);
    let stderr = String::from_utf8(output.stderr).expect("text");
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    let done = stderr
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_stage = matches!(words.first(), Some(&"convert" | &"verify" | &"publish"));
            (is_stage && words[2] != "unchanged").then(|| format!("{} {}", words[0], words[1]))
        })
        .collect();
    (output.status.code(), document, done)
}

fn tags(scratch: &Scratch) -> Vec<String> {
    let Ok(bytes) = fs::read(scratch.path().join("out/registry/index.json")) else {
        return Vec::new();
    };
    let index: Value = serde_json::from_slice(&bytes).expect("an index");
    let manifests = index["manifests"].as_array().expect("manifests");
    // But for those that list what is attached.
    let mut tags: Vec<_> = manifests
        .iter()
        .map(|entry| {
            entry["annotations"]["org.opencontainers.image.ref.name"]
                .as_str()
                .expect("a tag")
                .to_owned()
        })
        .filter(|tag| !tag.starts_with("sha256-"))
        .collect();
    tags.sort();
    tags
}

const ALL: [&str; 6] = [
    "convert fp16",
    "verify fp16",
    "convert fp32",
    "verify fp32",
    "publish fp32",
    "publish fp16",
];

#[test]
fn everything_is_done_once() {
    let (scratch, _) = scratch(MANIFEST);
    let (code, first, done) = release(&scratch);
    assert_eq!((code, done), (Some(0), ALL.map(str::to_owned).to_vec()));
    assert_eq!(tags(&scratch), ["1.0", "1.0-fp16", "1.0-fp32"]);
    assert_eq!(first["variants"][0]["published"]["default"], true);
    let inode = |name: &str| fs::metadata(scratch.path().join(name)).expect("a file").ino();
    let files = [
        "out/registry/index.json",
        "out/Tiny-fp16.mlpackage",
        "out/Tiny-fp32.report/report.json",
    ];
    let before = files.map(inode);
    let (code, second, done) = release(&scratch);
    assert_eq!((code, done), (Some(0), vec![]));
    assert_eq!(files.map(inode), before);
    for variant in 0..2 {
        let (first, second) = (&first["variants"][variant], &second["variants"][variant]);
        assert_eq!(second["published"]["bytes_sent"], 0);
        assert_eq!(second["published"]["digest"], first["published"]["digest"]);
    }
    let pull = ["pull", "oci-layout:out/registry:1.0", "-o", "pulled", "--json"];
    let pulled: Value = serde_json::from_slice(&scratch.output(&pull).stdout).expect("JSON");
    assert_eq!(pulled["verdict"], "passed");
    assert_eq!(
        pulled["packages"]["Tiny-fp16.mlpackage"],
        first["variants"][0]["package_digest"]
    );
}

#[test]
fn every_variant_is_signed() {
    let (scratch, _) = scratch(&format!("{MANIFEST}sign-key = \"keys/sec1.pem\"\n"));
    let stderr = String::from_utf8(scratch.output(&["release"]).stderr).expect("text");
    assert!(stderr.contains("keys/sec1.pem: No such file"), "{stderr}");
    assert!(
        !scratch.path().join("out").join("Tiny-fp16.mlpackage").exists(),
        "found out first"
    );
    let keys = fixtures().with_file_name("publisher").join("tests/keys");
    copy_directory(&keys, &scratch.path().join("keys"));
    assert_eq!(release(&scratch).0, Some(0));
    for tag in ["1.0", "1.0-fp16", "1.0-fp32"] {
        let artifact = format!("oci-layout:out/registry:{tag}");
        let check = [
            "verify-artifact",
            &artifact,
            "--key",
            "keys/public.pem",
            "--require",
        ];
        let output = scratch.output(&[&check[..], &["signature,parity,provenance"]].concat());
        assert_eq!(output.status.code(), Some(0), "{tag}");
    }
    assert_eq!(release(&scratch).2, Vec::<String>::new());
}

#[test]
fn what_changed_is_done_again_and_no_more() {
    let (scratch, checkpoint) = scratch(MANIFEST);
    assert_eq!(release(&scratch).0, Some(0));
    // Another limit: judged again, and the report is published.
    write(&scratch, &format!("{MANIFEST}[gate.fp32]\nmin-psnr = 90\n"));
    assert_eq!(release(&scratch).2, ["verify fp32", "publish fp32"]);
    // A package that was tampered with is made again. Its bytes are the same then, so nothing else is.
    let weights = scratch
        .path()
        .join("out/Tiny-fp16.mlpackage/Data/com.apple.CoreML/weights/weight.bin");
    let mut bytes = fs::read(&weights).expect("weights");
    bytes[1000] ^= 1;
    fs::write(&weights, bytes).expect("written");
    assert_eq!(release(&scratch).2, ["convert fp16"]);
    // A report that was tampered with is written again.
    fs::write(scratch.path().join("out/Tiny-fp16.report/report.json"), "{}").expect("written");
    assert_eq!(release(&scratch).2, ["verify fp16"]);
    // Other weights: everything.
    checkpoint.edit_tensors(|tensors| named(tensors, "encoder.layer.0.output.dense.bias").set(0, 0.5));
    assert_eq!(release(&scratch).2.len(), 6);
}

#[test]
fn a_variant_that_fails_stops_the_release() {
    let (scratch, _) = scratch(&format!("{MANIFEST}[gate.fp32]\nmin-psnr = 300\n"));
    let (code, document, _) = release(&scratch);
    assert_eq!((code, &document["exit_code"]), (Some(4), &4.into()));
    assert_eq!(
        (
            &document["variants"][0]["passed"],
            &document["variants"][1]["passed"]
        ),
        (&true.into(), &false.into())
    );
    assert!(document["reference"].is_null() && tags(&scratch).is_empty());
    let stderr = String::from_utf8(scratch.output(&["release"]).stderr).expect("text");
    assert!(
        stderr.contains("error: nothing was published: a variant is below the gate: fp32: "),
        "{stderr}"
    );
}

#[test]
fn a_variant_that_fails_is_left_out_if_so_asked() {
    let manifest = format!("{MANIFEST}failing = \"leave-out\"\n[gate.fp32]\nmin-psnr = 300\n");
    let (scratch, _) = scratch(&manifest);
    assert_eq!(release(&scratch).0, Some(0));
    assert_eq!(tags(&scratch), ["1.0", "1.0-fp16"]);
    write(
        &scratch,
        &manifest
            .replace("1.0", "2.0")
            .replace("failing", "default = \"fp32\"\nfailing"),
    );
    let output = scratch.output(&["release"]);
    assert_eq!(output.status.code(), Some(4), "the default variant failed");
    write(
        &scratch,
        &manifest.replace("1.0", "2.0").replace("[gate.fp32]", "[gate]"),
    );
    assert_eq!(release(&scratch).0, Some(4), "none passed");
    assert_eq!(tags(&scratch), ["1.0", "1.0-fp16"]);
}

#[test]
fn compressed_variants_are_made_judged_and_published() {
    let variants = MANIFEST
        .replace("sequence", "target = \"ios18\"\nsequence")
        .replace("\"fp16\", \"fp32\"", "\"fp16\", \"int8\", \"sparse50+lut4\"");
    let gate = "[gate.\"sparse50+lut4\"]\nmin-psnr = 5\nmin-cosine = 0.1\nmin-overlap = 0\n";
    let (scratch, _) = scratch(&format!("{variants}default = \"smallest\"\n{gate}"));
    let (code, document, _) = release(&scratch);
    assert_eq!(code, Some(0), "{document:#}");
    assert_eq!(
        tags(&scratch),
        ["1.0", "1.0-fp16", "1.0-int8", "1.0-sparse50_lut4"]
    );
    let bytes = |variant: usize| document["variants"][variant]["bytes"].as_u64().expect("bytes");
    assert!(bytes(2) < bytes(1) && bytes(1) < bytes(0), "{document:#}");
    assert_eq!(document["variants"][2]["published"]["default"], true);
    assert_eq!(release(&scratch).2, Vec::<String>::new());
}

#[test]
fn the_smallest_may_be_the_default() {
    let manifest = MANIFEST.replace("\"fp16\", \"fp32\"", "\"fp32\", \"fp16\"");
    let (scratch, _) = scratch(&manifest);
    let default = |document: &Value| {
        let variants = document["variants"].as_array().expect("variants");
        let found = variants
            .iter()
            .find(|variant| variant["published"]["default"] == true);
        found.expect("a default")["name"].clone()
    };
    assert_eq!(default(&release(&scratch).1), "fp32");
    write(&scratch, &format!("{manifest}default = \"smallest\"\n"));
    assert_eq!(default(&release(&scratch).1), "fp16");
}

/// Kills a release at many moments. Whatever tag the registry shows then must be whole, verified and signed.
#[test]
fn killed_at_any_moment_the_registry_shows_what_was_verified() {
    let (scratch, checkpoint) = scratch(&format!("{MANIFEST}sign-key = \"keys/sec1.pem\"\n"));
    let keys = fixtures().with_file_name("publisher").join("tests/keys");
    copy_directory(&keys, &scratch.path().join("keys"));
    assert_eq!(release(&scratch).0, Some(0));
    for round in 0..12_u16 {
        // Other weights every time, so that nothing is reused.
        checkpoint.edit_tensors(|tensors| {
            named(tensors, "encoder.layer.0.output.dense.bias").set(0, f32::from(round) / 16.0);
        });
        let mut command = scratch.command(&["release", "--quiet"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        std::thread::sleep(Duration::from_millis(u64::from(round) * 70));
        child.kill().expect("a child");
        child.wait().expect("it ends");
        let tags = tags(&scratch);
        assert_eq!(tags.len(), 3, "round {round}");
        for (index, tag) in tags.into_iter().enumerate() {
            let output = format!("pulled-{round}-{index}");
            let pull = [
                "pull",
                &format!("oci-layout:out/registry:{tag}"),
                "-o",
                &output,
                "--require",
                "signature,parity,provenance",
                "--key",
                "keys/public.pem",
                "--json",
            ];
            let pulled: Value = serde_json::from_slice(&scratch.output(&pull).stdout).expect("JSON");
            assert_eq!(pulled["verdict"], "passed", "round {round}, {tag}");
        }
    }
    assert_eq!(release(&scratch).0, Some(0));
    let left: Vec<_> = fs::read_dir(scratch.path().join("out/registry/blobs/sha256"))
        .expect("blobs")
        .map(|entry| entry.expect("a blob").file_name().to_string_lossy().into_owned())
        .filter(|name| name.len() != 64)
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_trace_and_an_export_are_judged_by_their_own_operations() {
    for file in ["torch2.7-sdpa.pt", "torch2.7-export.pt2"] {
        let scratch = Scratch::new();
        let from = fixtures().join("families/bert/feature-extraction").join(file);
        let source = format!("model.{}", file.rsplit('.').next().expect("an ending"));
        fs::copy(from, scratch.path().join(&source)).expect("a copy");
        let manifest = MANIFEST
            .replace("\"model\"", &format!("{source:?}"))
            .replace("16\n", "32\n");
        write(&scratch, &manifest);
        let (code, document, _) = release(&scratch);
        assert_eq!(code, Some(0), "{file}: {document}");
        let report = fs::read(scratch.path().join("out/Tiny-fp16.report/report.json"));
        let report: Value = serde_json::from_slice(&report.expect("a report")).expect("JSON");
        assert_eq!(
            report["reference"]["kind"], "the source's operations one by one, f32",
            "{file}"
        );
        // It is a comparison: a limit that fp16 can't reach is not reached.
        write(&scratch, &format!("{manifest}[gate]\nmin-psnr = 150\n"));
        assert_eq!(release(&scratch).0, Some(4), "{file}");
    }
}

#[test]
fn a_dry_run_does_nothing() {
    let (scratch, _) = scratch(MANIFEST);
    assert_run!(scratch, ["release", "--dry-run"]);
    assert!(!scratch.path().join("out").exists());
}

#[test]
fn mistakes_in_a_manifest_are_shown_where_they_are() {
    let mistakes = [
        ("unknown_key", MANIFEST.replace("variants", "variant")),
        ("unknown_key_below", format!("{MANIFEST}[gate]\nmin_psnr = 70\n")),
        ("wrong_type", MANIFEST.replace("\"model\"", "7")),
        ("unknown_variant", MANIFEST.replace("\"fp32\"", "\"itn8\"")),
        (
            "unknown_target",
            MANIFEST.replace("sequence-length", "target = \"ios61\"\nsequence-length"),
        ),
        ("no_size", MANIFEST.replace("16\n", "\"16,x\"\n")),
        (
            "nowhere",
            MANIFEST
                .replace("to = ", "default = ")
                .replace("oci-layout:out/registry:1.0", "fp16"),
        ),
        ("no_tag", MANIFEST.replace(":1.0", "")),
        (
            "twice",
            MANIFEST.replace("\"fp16\", \"fp32\"", "\"fp16\", \"fp16\""),
        ),
        ("default_of_nothing", format!("{MANIFEST}default = \"int8\"\n")),
        ("no_toml", MANIFEST.replace("[publish]", "[publish")),
        ("no_name", MANIFEST.replace("\"Tiny\"", "\"../Tiny\"")),
    ];
    let (scratch, _) = scratch(MANIFEST);
    for (name, manifest) in mistakes {
        write(&scratch, &manifest);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_suffix => name }, {
            insta::assert_snapshot!("manifest", scratch.transcript(&["release"]));
        });
    }
}

#[test]
fn a_manifest_that_is_missing() {
    assert_run!(Scratch::new(), ["release", "minilm.toml"]);
}

#[test]
fn what_init_writes_can_be_released() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sentence-mean");
    assert_run!(scratch, ["init", "model"]);
    let text = fs::read_to_string(scratch.path().join("corer.toml")).expect("a manifest");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("what_init_writes", text);
    });
    let output = scratch.output(&["release"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(scratch.path().join("model-release/registry/index.json").exists());
}

#[test]
fn init_keeps_what_is_there() {
    let (scratch, _) = scratch(MANIFEST);
    assert_run!(scratch, ["init", "model"]);
    assert_eq!(
        fs::read_to_string(scratch.path().join("corer.toml")).expect("a manifest"),
        MANIFEST
    );
}
