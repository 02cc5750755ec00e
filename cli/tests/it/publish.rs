//! `corer publish` and `corer pull`: what passed goes out and comes back the same, anything else is refused.

use std::fs;

use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::harness::{Scratch, assert_run};

const PUBLISH: [&str; 6] = [
    "publish",
    "Out.mlpackage",
    "--report",
    "report",
    "--to",
    "oci-layout:models:1.0",
];
const PULL: [&str; 4] = ["pull", "oci-layout:models:1.0", "-o", "pulled"];

pub(crate) fn succeeds(scratch: &Scratch, arguments: &[&str]) -> Vec<u8> {
    let output = scratch.output(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A scratch directory with `Out.mlpackage` and, in `report`, the report on it.
pub(crate) fn verified() -> Scratch {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "formats/f16");
    succeeds(
        &scratch,
        &[
            "convert",
            "model",
            "-o",
            "Out.mlpackage",
            "--sequence-length",
            "16",
        ],
    );
    succeeds(
        &scratch,
        &[
            "verify",
            "Out.mlpackage",
            "--reference",
            "model",
            "--report",
            "report",
        ],
    );
    scratch
}

#[test]
fn what_passed_goes_out_and_comes_back() {
    let scratch = verified();
    let document = |arguments: &[&str]| -> Value {
        serde_json::from_slice(&succeeds(&scratch, &[arguments, &["--json"]].concat())).expect("JSON")
    };
    let published = document(&PUBLISH);
    assert_eq!(
        (&published["verdict"], &published["tag_moved"]),
        (&"passed".into(), &true.into())
    );
    let again = document(&PUBLISH);
    assert_eq!(again["digest"], published["digest"]);
    assert_eq!(
        (&again["bytes_sent"], &again["tag_moved"]),
        (&0.into(), &false.into())
    );
    let pulled = document(&PULL);
    assert_eq!(
        (&pulled["verdict"], &pulled["digest"]),
        (&"passed".into(), &published["digest"])
    );
    assert_eq!(
        pulled["packages"]["Out.mlpackage"],
        published["packages"][0]["digest"]
    );
    let inspect = |package: &str| -> Value {
        serde_json::from_slice(&succeeds(&scratch, &["inspect", package, "--json"])).expect("JSON")
    };
    assert_eq!(
        inspect("pulled/Out.mlpackage")["digest"],
        inspect("Out.mlpackage")["digest"]
    );
    // The report that came along is good for publishing what came along.
    let mut republish = PUBLISH;
    republish[1] = "pulled/Out.mlpackage";
    republish[3] = "pulled/Out.report.json";
    assert_eq!(document(&republish)["digest"], published["digest"]);
}

#[test]
fn publish_says_what_it_sent() {
    let scratch = verified();
    let transcript = scratch.transcript(&PUBLISH);
    let lines: Vec<_> = transcript.lines().collect();
    assert_eq!(
        lines[..3],
        ["exit: 0", "----- stdout -----", "oci-layout:models:1.0"]
    );
    assert_eq!(lines[4], "  verdict  passed");
    assert!(lines[6].starts_with("  sent     8 blobs, "), "{transcript}");
}

#[test]
fn a_package_of_another_digest_is_refused() {
    let scratch = verified();
    let convert = [
        "convert",
        "model",
        "-o",
        "Out.mlpackage",
        "--sequence-length",
        "8",
        "--force",
    ];
    succeeds(&scratch, &convert);
    assert_run!(scratch, PUBLISH);
    assert!(!scratch.path().join("models").exists());
}

#[test]
fn a_report_that_says_failed_is_refused() {
    let scratch = verified();
    let verify = [
        "verify",
        "Out.mlpackage",
        "--reference",
        "model",
        "--report",
        "report",
        "--min-psnr",
        "300",
    ];
    assert_eq!(scratch.output(&verify).status.code(), Some(4));
    let output = scratch.output(&PUBLISH);
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("its report says that it failed: "), "{stderr}");
}

#[test]
fn forced_it_is_published_and_says_so() {
    let scratch = verified();
    let to = "oci-layout:models:1.0";
    succeeds(
        &scratch,
        &[
            "publish",
            "Out.mlpackage",
            "--force-unverified",
            "--to",
            to,
            "--quiet",
        ],
    );
    let output = scratch.output(&PULL);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && stdout.contains("  verdict  unverified\n"),
        "{stdout}"
    );
    assert!(
        stderr.contains("note: oci-layout:models:1.0 is not verified: Out.mlpackage: there is no report"),
        "{stderr}"
    );
}

#[test]
fn publish_without_a_report() {
    assert_run!(
        verified(),
        ["publish", "Out.mlpackage", "--to", "oci-layout:models:1.0"]
    );
}

#[test]
fn publish_with_a_report_that_is_missing() {
    let arguments = [
        "publish",
        "Out.mlpackage",
        "--report",
        "r",
        "--to",
        "oci-layout:models:1.0",
    ];
    assert_run!(verified(), arguments);
}

#[test]
fn publish_to_a_place_that_is_none() {
    assert_run!(
        Scratch::new(),
        ["publish", "Out.mlpackage", "--report", "r", "--to", "models"]
    );
}

#[test]
fn publish_a_report_that_is_none() {
    let scratch = verified();
    fs::write(scratch.path().join("report/report.json"), "{\"schema\": 1}").expect("written");
    assert_run!(scratch, PUBLISH);
}

#[test]
fn publish_into_a_directory_of_something_else() {
    let scratch = verified();
    fs::create_dir(scratch.path().join("models")).expect("a directory");
    fs::write(scratch.path().join("models/cat.jpg"), "cat").expect("written");
    assert_run!(scratch, PUBLISH);
}

#[test]
fn pull_from_a_layout_that_is_missing() {
    assert_run!(Scratch::new(), PULL);
}

#[test]
fn pull_a_tag_that_is_missing() {
    let scratch = verified();
    succeeds(&scratch, &PUBLISH);
    assert_run!(scratch, ["pull", "oci-layout:models:2.0", "-o", "pulled"]);
}

#[test]
fn pull_where_something_is() {
    let scratch = verified();
    succeeds(&scratch, &PUBLISH);
    assert_run!(scratch, ["pull", "oci-layout:models:1.0", "-o", "model"]);
}

#[test]
fn pull_what_was_tampered_with() {
    let scratch = verified();
    succeeds(&scratch, &PUBLISH);
    let blobs = fs::read_dir(scratch.path().join("models/blobs/sha256")).expect("blobs");
    let largest = blobs
        .map(|entry| entry.expect("a blob").path())
        .max_by_key(|path| fs::metadata(path).expect("a blob").len())
        .expect("a blob");
    let mut bytes = fs::read(&largest).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).expect("written");
    let output = scratch.output(&PULL);
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("tampered with or damaged"), "{stderr}");
    assert!(!scratch.path().join("pulled").exists());
}
