//! A bundle is bound to the verdict.

use std::fs;

use corer_publisher::{Content, PublishError};
use serde_json::{Value, json};

use crate::harness::{ONE_FUNCTION, SEVERAL_FUNCTIONS, Scratch, assemble, bundle};

fn refusal(scratch: &Scratch, foreign: &str, change: impl FnOnce(&mut Value)) -> String {
    let package = scratch.package(foreign, "X.mlpackage");
    let report = scratch.report(&package, "report.json", change);
    match assemble(&[package], &[report], false) {
        Err(PublishError::Unverified { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failed_partial_or_foreign_report_refuses() {
    let cases: [(&str, &str, &str, Value); 5] = [
        ("it failed", ONE_FUNCTION, "/verdict/passed", json!(false)),
        (
            "was not judged",
            ONE_FUNCTION,
            "/not_judged",
            json!([{ "name": "b", "reason": "none" }]),
        ),
        ("in f32", ONE_FUNCTION, "/execution/arithmetic", json!("f32")),
        ("this one has", ONE_FUNCTION, "/package/digest", json!("00")),
        ("function `", SEVERAL_FUNCTIONS, "/corer", json!("0.1.0")),
    ];
    for (expected, foreign, pointer, value) in cases {
        let found = refusal(&Scratch::new(), foreign, |report| {
            *report.pointer_mut(pointer).expect("a field") = value;
        });
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn a_package_changed_after_it_was_judged_refuses() {
    let scratch = Scratch::new();
    let package = scratch.package(ONE_FUNCTION, "X.mlpackage");
    let report = scratch.report(&package, "report.json", |_| {});
    let weights = package.join("Data/com.apple.CoreML/weights/weight.bin");
    let mut bytes = fs::read(&weights).expect("weights");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&weights, bytes).expect("written");
    let result = assemble(&[package], &[report], false);
    assert!(
        matches!(result, Err(PublishError::Unverified { .. })),
        "{result:?}"
    );
}

#[test]
fn what_was_forced_is_recorded_where_everyone_sees_it() {
    let scratch = Scratch::new();
    let package = scratch.package(ONE_FUNCTION, "X.mlpackage");
    assert!(matches!(
        assemble(std::slice::from_ref(&package), &[], false),
        Err(PublishError::Unverified { .. })
    ));
    let forced = assemble(&[package], &[], true).expect("a bundle");
    let manifest: Value = serde_json::from_slice(&forced.manifest_bytes).expect("a manifest");
    assert_eq!(manifest["annotations"]["corer.verdict"], "unverified");
    let reason = manifest["annotations"]["corer.unverified"]
        .as_str()
        .expect("a reason");
    assert!(reason.starts_with("X.mlpackage: there is no report"), "{reason}");
    assert!(card(&forced).contains("**Not verified.**"));
}

fn card(bundle: &corer_publisher::Bundle) -> String {
    let found = bundle
        .layers
        .iter()
        .find(|(layer, _)| layer.annotations["org.cncf.model.filepath"] == "README.md");
    match &found.expect("a card").1 {
        Content::Bytes(bytes) => String::from_utf8(bytes.clone()).expect("text"),
        Content::File(path) => panic!("{}", path.display()),
    }
}

#[test]
fn the_manifest_is_a_model_pack() {
    let bundle = bundle(&Scratch::new());
    let manifest: Value = serde_json::from_slice(&bundle.manifest_bytes).expect("a manifest");
    assert_eq!(
        manifest["artifactType"],
        "application/vnd.cncf.model.manifest.v1+json"
    );
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.cncf.model.config.v1+json"
    );
    let layers = manifest["layers"].as_array().expect("layers");
    let paths: Vec<_> = layers
        .iter()
        .map(|layer| {
            let annotations = &layer["annotations"];
            assert_eq!(
                annotations["org.cncf.model.filepath"],
                annotations["org.opencontainers.image.title"]
            );
            annotations["org.cncf.model.filepath"].as_str().expect("a path")
        })
        .collect();
    assert_eq!(
        paths,
        [
            "README.md",
            "SHA256SUMS",
            "X.mlpackage/Data/com.apple.CoreML/model.mlmodel",
            "X.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
            "X.mlpackage/Manifest.json",
            "X.report.json",
            "bom.cdx.json",
        ]
    );
    let Content::Bytes(config) = &bundle.config.1 else {
        panic!("in memory")
    };
    let config: Value = serde_json::from_slice(config).expect("a configuration");
    let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    assert_eq!(config["modelfs"], json!({ "type": "layers", "diffIds": digests }));
    let keys: Vec<_> = config.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["config", "descriptor", "modelfs"]);
    assert!(
        card(&bundle).contains("| X.mlpackage | main | 1 × 8 | y | 81.50 dB | 0.99999000 | 2.50e-1 | - |")
    );
}

#[test]
fn several_packages_find_their_own_reports() {
    let scratch = Scratch::new();
    let a = scratch.package(ONE_FUNCTION, "A.mlpackage");
    let b = scratch.package("normalise-ios16-fp16", "B.mlpackage");
    let reports = [
        scratch.report(&b, "b.json", |_| {}),
        scratch.report(&a, "a.json", |_| {}),
    ];
    let bundle = assemble(&[a.clone(), b], &reports, false).expect("a bundle");
    let found: Vec<_> = bundle
        .packages
        .iter()
        .map(|package| package.report.as_ref().expect("a report").path.clone())
        .collect();
    assert_eq!(found, [reports[1].clone(), reports[0].clone()]);
    let twice = assemble(&[a.clone(), a], &reports, false);
    assert!(matches!(twice, Err(PublishError::Bundle { .. })), "{twice:?}");
}
