//! Limits from a file, limits that only warn, and being no worse than an earlier report, by `corer verify` and
//! `corer release`.

use std::fs;

use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::harness::Scratch;

/// A scratch directory with `model` and, made from it, `fp32.mlpackage` and `fp16.mlpackage`.
fn scratch() -> Scratch {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sentence-mean");
    for precision in ["fp32", "fp16"] {
        let package = format!("{precision}.mlpackage");
        let convert = [
            "convert",
            "model",
            "-o",
            &package,
            "--precision",
            precision,
            "--sequence-length",
            "16",
        ];
        assert!(scratch.output(&convert).status.success());
    }
    scratch
}

/// Exit code, document (null without one) and stderr of a verification.
fn verify(scratch: &Scratch, package: &str, flags: &[&str]) -> (Option<i32>, Value, String) {
    let common = [
        "verify",
        package,
        "--reference",
        "model",
        "--fast",
        "--no-drift",
        "--json",
    ];
    let output = scratch.output(&[&common, flags].concat());
    (
        output.status.code(),
        serde_json::from_slice(&output.stdout).unwrap_or_default(),
        String::from_utf8(output.stderr).expect("text"),
    )
}

fn measures(report: &Value, kind: &str) -> Vec<String> {
    let reasons = report["verdict"][kind].as_array().expect("a list");
    let measures = reasons
        .iter()
        .map(|reason| reason["measure"].as_str().expect("a name").to_owned());
    measures.collect()
}

#[test]
fn a_file_says_what_fails_and_what_warns() {
    let scratch = scratch();
    let gate = "[gate]\nmin-psnr = 20\n[gate.warn]\nmin-psnr = 200\n[gate.int8]\nmin-psnr = 300\n";
    fs::write(scratch.path().join("gate.toml"), gate).expect("a file");
    let (code, report, _) = verify(
        &scratch,
        "fp16.mlpackage",
        &["--gate", "gate.toml", "--report", "warned"],
    );
    assert_eq!(
        (code, &report["verdict"]["passed"]),
        (Some(0), &Value::Bool(true))
    );
    assert!(measures(&report, "reasons").is_empty());
    assert_eq!(measures(&report, "warnings"), ["PSNR"]);
    assert_eq!(report["buckets"][0]["gate"]["warn"]["min_psnr"], 200.0);
    // Every form of the report says so.
    for (file, said) in [
        ("report.html", "warning"),
        ("report.md", "warnings"),
        ("junit.xml", "200"),
    ] {
        let text = fs::read_to_string(scratch.path().join("warned").join(file)).expect("a report");
        assert!(text.contains(said), "{file} lacks `{said}`");
    }
    // A variant's own table comes first, and flags before any table.
    let of_variant = ["--gate", "gate.toml", "--variant", "int8"];
    let (code, report, said) = verify(&scratch, "fp16.mlpackage", &of_variant);
    assert_eq!(
        (code, measures(&report, "reasons")),
        (Some(4), vec!["PSNR".to_owned()])
    );
    assert!(
        said.lines().last().is_some_and(|line| line.contains("PSNR")),
        "{said}"
    );
    let (code, ..) = verify(
        &scratch,
        "fp16.mlpackage",
        &[&of_variant[..], &["--min-psnr", "20"]].concat(),
    );
    assert_eq!(code, Some(0));
}

#[test]
fn mistakes_in_a_gate_are_told_where_they_are() {
    let scratch = scratch();
    let refused = |gate: &str, flags: &[&str]| {
        fs::write(scratch.path().join("gate.toml"), gate).expect("a file");
        let (code, _, said) = verify(
            &scratch,
            "fp16.mlpackage",
            &[&["--gate", "gate.toml"], flags].concat(),
        );
        assert_eq!(code, Some(2), "{said}");
        said
    };
    let said = refused("[gate]\nmin-psrn = 20\n", &[]);
    assert!(
        said.contains("gate.toml:2") && said.contains("did you mean `min-psnr`?"),
        "{said}"
    );
    let said = refused("[gate.warn]\nmin-psnr = \"much\"\n", &[]);
    assert!(
        said.contains("gate.toml:2") && said.contains("a number"),
        "{said}"
    );
    let said = refused("[gate.int8]\nmin-psnr = 20\n", &["--variant", "int4"]);
    assert!(said.contains("int4") && said.contains("int8"), "{said}");
    let said = refused("name = \"x\"\n", &[]);
    assert!(said.contains("[gate]"), "{said}");
    let said = refused("[gate]\nmax-psnr-drop = 1\n", &[]);
    assert!(said.contains("--baseline"), "{said}");
    let said = refused("[gate]\nmax-psnr-drop = 1\nbaseline = \"none.json\"\n", &[]);
    assert!(said.contains("none.json"), "{said}");
}

#[test]
fn no_worse_than_an_earlier_report() {
    let scratch = scratch();
    let (code, exact, _) = verify(&scratch, "fp32.mlpackage", &["--report", "before"]);
    assert_eq!(code, Some(0));
    let against = |limit: &[&str]| {
        verify(
            &scratch,
            "fp16.mlpackage",
            &[&["--baseline", "before"], limit].concat(),
        )
    };
    let (code, report, said) = against(&["--max-psnr-drop", "1"]);
    assert_eq!(code, Some(4), "{said}");
    let reason = &report["verdict"]["reasons"][0];
    assert!(
        reason["found"]
            .as_str()
            .is_some_and(|found| found.contains("where it was")),
        "{reason}"
    );
    assert_eq!(
        report["buckets"][0]["gate"]["baseline"],
        exact["package"]["digest"]
    );
    assert!(
        said.lines()
            .last()
            .is_some_and(|line| line.contains("where it was")),
        "{said}"
    );
    // What the report says would pass does.
    let passing = &reason["would_pass"];
    assert_eq!(passing["key"], "max-psnr-drop");
    let limit = passing["limit"].as_f64().expect("a limit").to_string();
    let (code, ..) = against(&["--max-psnr-drop", &limit]);
    assert_eq!(code, Some(0));
    // A warning where a file asks for no more than that.
    fs::write(
        scratch.path().join("gate.toml"),
        "[gate]\nbaseline = \"before/report.json\"\n[gate.warn]\nmax-psnr-drop = 1\n",
    )
    .expect("a file");
    let (code, report, _) = verify(&scratch, "fp16.mlpackage", &["--gate", "gate.toml"]);
    assert_eq!(
        (code, measures(&report, "warnings")),
        (Some(0), vec!["PSNR".to_owned()])
    );
    // Nothing is worse than itself, and a report nobody compares with is a mistake.
    let (code, ..) = verify(
        &scratch,
        "fp32.mlpackage",
        &["--baseline", "before", "--max-psnr-drop", "0"],
    );
    assert_eq!(code, Some(0));
    let (code, _, said) = against(&[]);
    assert!(code == Some(2) && said.contains("--max-psnr-drop"), "{said}");
}

#[test]
fn a_release_is_held_against_the_one_published_before() {
    let scratch = scratch();
    let manifest = |gate: &str| {
        let text = format!(
            "name = \"Tiny\"\nsource = \"model\"\noutput = \"out\"\nsequence-length = 16\nvariants = [\"fp16\"]\n[gate]\n{gate}\n\
             [publish]\nto = \"oci-layout:registry:1.0\"\n"
        );
        fs::write(scratch.path().join("corer.toml"), text).expect("a manifest");
    };
    let release = || {
        let output = scratch.output(&["release"]);
        (
            output.status.code(),
            String::from_utf8(output.stderr).expect("text"),
        )
    };
    // Under the tag that the variant will have lies a better package.
    let (code, ..) = verify(&scratch, "fp32.mlpackage", &["--report", "before"]);
    assert_eq!(code, Some(0));
    let publish = [
        "publish",
        "fp32.mlpackage",
        "--report",
        "before",
        "--to",
        "oci-layout:registry:1.0-fp16",
    ];
    assert!(scratch.output(&publish).status.success());
    manifest("max-psnr-drop = 1");
    let (code, said) = release();
    assert!(
        code == Some(4) && said.contains("where it was"),
        "{code:?}: {said}"
    );
    // Asked for less it is published, and is what the next one is held against.
    manifest("max-psnr-drop = 200");
    let (code, said) = release();
    assert_eq!(code, Some(0), "{said}");
    manifest("max-psnr-drop = 1");
    let (code, said) = release();
    assert_eq!(code, Some(0), "its own bytes are no worse: {said}");
    // A report that is named comes before what is published.
    manifest("max-psnr-drop = 1\nbaseline = \"before/report.json\"");
    let (code, said) = release();
    assert!(
        code == Some(4) && said.contains("where it was"),
        "{code:?}: {said}"
    );
}
