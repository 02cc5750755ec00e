//! Layouts written to do harm.

use std::fs;
use std::path::Path;

use corer_publisher::trust::Policy;
use corer_publisher::{Digest, Layout, NoProgress, PublishError, Version, publish, pull};
use serde_json::{Value, json};

use crate::harness::{Scratch, bundle, tree};

/// Publishes a bundle, changes its manifest and index, and says what pulling gives.
fn pulled_after(change: impl FnOnce(&mut Value, &mut Value)) -> (Scratch, Result<(), PublishError>) {
    let scratch = Scratch::new();
    let layout = Layout::create(&scratch.path("layout")).expect("a layout");
    let bundle = bundle(&scratch);
    publish(&bundle, &[], &layout, &["1.0"], &NoProgress).expect("published");
    let read =
        |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON") };
    let index_path = scratch.path("layout/index.json");
    let blobs = scratch.path("layout/blobs/sha256");
    let mut manifest = read(&blobs.join(bundle.manifest.digest.hex()));
    let mut index = read(&index_path);
    let before = index["manifests"][0].clone();
    change(&mut manifest, &mut index);
    let bytes = manifest.to_string();
    let digest = Digest::of(bytes.as_bytes());
    fs::write(blobs.join(digest.hex()), &bytes).expect("written");
    for (key, value) in [("digest", digest.as_str().into()), ("size", bytes.len().into())] {
        if index["manifests"][0][key] == before[key] {
            index["manifests"][0][key] = value;
        }
    }
    fs::write(index_path, index.to_string()).expect("written");
    let result = pull(
        &layout,
        &Version::Tag("1.0".into()),
        &scratch.path("out"),
        &Policy::default(),
        &NoProgress,
    );
    (scratch, result.map(|_| ()))
}

fn rename(layer: &mut Value, path: &str) {
    for key in ["org.cncf.model.filepath", "org.opencontainers.image.title"] {
        layer["annotations"][key] = path.into();
    }
}

fn refused(change: impl FnOnce(&mut Value, &mut Value), expected: &str) {
    let (scratch, result) = pulled_after(change);
    let error = result.expect_err(expected);
    let text = format!(
        "{error} {}",
        std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default()
    );
    assert!(text.contains(expected), "{expected}: {text}");
    assert!(!scratch.path("out").exists());
    let outside = tree(&scratch.path(""))
        .into_keys()
        .filter(|name| !name.starts_with("layout/"));
    assert!(
        outside
            .into_iter()
            .all(|name| name.starts_with("X.mlpackage/") || name == "report.json")
    );
}

#[test]
fn the_change_alone_is_no_reason() {
    pulled_after(|_, _| {}).1.expect("pulled");
}

#[test]
fn paths_that_leave_the_directory() {
    for path in ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", ""] {
        refused(
            |manifest, _| rename(&mut manifest["layers"][0], path),
            "layer path",
        );
    }
}

#[test]
fn names_that_clash() {
    refused(
        |manifest, _| rename(&mut manifest["layers"][0], "SHA256SUMS"),
        "two layers are called",
    );
    refused(
        |manifest, _| rename(&mut manifest["layers"][0], "X.mlpackage"),
        "a file and a directory",
    );
    refused(
        |manifest, _| manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = "other".into(),
        "two names",
    );
    refused(
        |manifest, _| manifest["layers"][0]["annotations"] = json!({}),
        "names no file",
    );
}

#[test]
fn documents_that_are_none() {
    refused(|manifest, _| *manifest = json!([]), "invalid length");
    refused(
        |manifest, _| manifest["layers"][0]["digest"] = "sha256:../../../etc/passwd".into(),
        "no sha256 digest",
    );
    refused(|_, index| index["manifests"] = json!({}), "invalid type");
    refused(
        |_, index| index["manifests"][0]["size"] = (1_u64 << 40).into(),
        "its manifest has 1099511627776 bytes",
    );
    refused(
        |_, index| index["manifests"][0]["mediaType"] = "application/vnd.oci.image.index.v1+json".into(),
        "not a single artifact",
    );
}

#[test]
fn sizes_that_are_lies() {
    refused(
        |manifest, _| manifest["layers"][3]["size"] = 1.into(),
        "tampered with",
    );
    refused(
        |manifest, _| manifest["layers"][3]["size"] = u64::MAX.into(),
        "tampered with",
    );
    refused(
        |manifest, _| manifest["config"]["size"] = u64::MAX.into(),
        "configuration",
    );
}

#[test]
fn a_layer_exchanged_or_taken_away() {
    // Every blob is whole; what they make up is not what was published.
    refused(
        |manifest, _| {
            let other = manifest["layers"][0]["digest"].clone();
            let size = manifest["layers"][0]["size"].clone();
            manifest["layers"][3]["digest"] = other;
            manifest["layers"][3]["size"] = size;
        },
        "other layers than the manifest",
    );
    refused(
        |manifest, _| {
            manifest["layers"].as_array_mut().expect("layers").remove(3);
        },
        "other layers than the manifest",
    );
    refused(
        |manifest, _| manifest["annotations"]["corer.package-digest.X.mlpackage"] = "00".into(),
        "the manifest says 00",
    );
    refused(
        |manifest, _| manifest["annotations"]["corer.package-digest.Y.mlpackage"] = "00".into(),
        "its package Y.mlpackage is missing",
    );
}
