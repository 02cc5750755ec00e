//! `--sign-key`, `--require` and `corer verify-artifact`: what a trusted key signed is accepted, anything else refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Scratch, assert_run, fixtures};
use crate::publish::{succeeds, verified};

const PUBLISH: [&str; 8] = [
    "publish",
    "Out.mlpackage",
    "--report",
    "report",
    "--to",
    "oci-layout:models:1.0",
    "--sign-key",
    "key.pem",
];
const PULL: [&str; 8] = [
    "pull",
    "oci-layout:models:1.0",
    "-o",
    "pulled",
    "--require",
    "signature,parity,provenance",
    "--key",
    "public.pem",
];
const CHECK: [&str; 4] = ["verify-artifact", "oci-layout:models:1.0", "--key", "public.pem"];

/// The keys of `publisher/tests`, which OpenSSL made.
fn key(name: &str) -> PathBuf {
    fixtures()
        .with_file_name("publisher")
        .join("tests/keys")
        .join(name)
}

/// A verified package, keys beside it: `key.pem`, `public.pem` and another one's `other.pem`.
pub(crate) fn with_keys() -> Scratch {
    let scratch = verified();
    for (from, to) in [
        ("sec1.pem", "key.pem"),
        ("public.pem", "public.pem"),
        ("other-public.pem", "other.pem"),
        ("encrypted.pem", "encrypted.pem"),
    ] {
        fs::copy(key(from), scratch.path().join(to)).expect("a key");
    }
    scratch
}

/// As above, signed and published.
pub(crate) fn signed() -> Scratch {
    let scratch = with_keys();
    succeeds(&scratch, &PUBLISH);
    scratch
}

fn refused(scratch: &Scratch, arguments: &[&str], code: i32, reason: &str) {
    let Output { status, stderr, .. } = scratch.output(arguments);
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
    assert!(!scratch.path().join("pulled").exists());
    let hidden = fs::read_dir(scratch.path()).expect("a directory").any(|entry| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().starts_with(".pulled")
    });
    assert!(!hidden, "{arguments:?} left something");
}

fn document(scratch: &Scratch, arguments: &[&str]) -> Value {
    serde_json::from_slice(&succeeds(scratch, &[arguments, &["--json"]].concat())).expect("JSON")
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn what_was_signed_is_trusted() {
    let scratch = signed();
    let checked = document(&scratch, &CHECK);
    for kind in ["signature", "parity", "provenance"] {
        assert!(checked["trusted"][kind].is_string(), "{checked:#}");
    }
    let pulled = document(&scratch, &PULL);
    assert_eq!(pulled["trusted"], checked["trusted"]);
    assert_eq!(pulled["digest"], checked["digest"]);
    assert_eq!(pulled["packages"], checked["packages"]);
    // Signing does not change what is published, and signing again attaches nothing new.
    let mut unsigned = PUBLISH;
    unsigned[5] = "oci-layout:unsigned:1.0";
    assert_eq!(document(&scratch, &unsigned[..6])["digest"], checked["digest"]);
    let before = files(&scratch.path().join("models"));
    let again = document(&scratch, &PUBLISH);
    assert_eq!(
        (&again["bytes_sent"], &again["tag_moved"]),
        (&0.into(), &false.into())
    );
    assert_eq!(files(&scratch.path().join("models")), before);
}

#[test]
fn a_directory_is_held_against_its_signature() {
    let scratch = signed();
    succeeds(
        &scratch,
        &[&PULL[..4], &["--key", "public.pem", "--signature", "model.sig"]].concat(),
    );
    let check = ["verify-artifact", "pulled", "--key", "public.pem"];
    succeeds(&scratch, &check);
    // The signature may lie in the directory.
    fs::copy(
        scratch.path().join("model.sig"),
        scratch.path().join("pulled/model.sig"),
    )
    .expect("copied");
    let inside = [&check[..], &["--signature", "pulled/model.sig"]].concat();
    succeeds(&scratch, &inside);
    fs::remove_file(scratch.path().join("pulled/model.sig")).expect("removed");

    let fails = |reason: &str| {
        let output = scratch.output(&check);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(7), "{reason}: {stderr}");
        assert!(stderr.contains(reason), "{stderr}");
    };
    let extra = scratch.path().join("pulled/Out.mlpackage/extra");
    fs::write(&extra, "").expect("written");
    fails("`Out.mlpackage/extra` is not signed");
    fs::remove_file(&extra).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", &extra).expect("a link");
    fails("is neither a regular file nor a directory");
    fs::remove_file(&extra).expect("removed");
    for file in files(&scratch.path().join("pulled")) {
        let bytes = fs::read(&file).expect("a file");
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        fs::write(&file, flipped).expect("written");
        fails(" differs");
        fs::remove_file(&file).expect("removed");
        fails(" is missing");
        fs::write(&file, bytes).expect("written");
    }
    succeeds(&scratch, &check);
    // A second signature takes the first one's place; one that can't be written is known beforehand.
    let again = [
        "pull",
        "oci-layout:models:1.0",
        "-o",
        "again",
        "--key",
        "public.pem",
        "--signature",
    ];
    succeeds(&scratch, &[&again[..], &["model.sig"]].concat());
    fs::remove_dir_all(scratch.path().join("again")).expect("removed");
    let output = scratch.output(&[&again[..], &["missing/model.sig"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(!scratch.path().join("again").exists());
    let missing = scratch.output(&[&check[..], &["--signature", "missing.sig"]].concat());
    assert_eq!(missing.status.code(), Some(7));
    let other = ["verify-artifact", "pulled", "--key", "other.pem"];
    assert_eq!(scratch.output(&other).status.code(), Some(7));
}

#[test]
fn what_is_not_signed_is_refused() {
    let scratch = with_keys();
    succeeds(&scratch, &PUBLISH[..6]);
    refused(
        &scratch,
        &PULL,
        7,
        "signature: none is attached; parity: none is attached",
    );
    refused(&scratch, &CHECK, 7, "signature: none is attached");
    // Nothing required: nothing refused.
    succeeds(&scratch, &PULL[..4]);
}

#[test]
fn another_key_is_refused() {
    let scratch = signed();
    let mut pull = PULL;
    pull[7] = "other.pem";
    refused(&scratch, &pull, 7, "signature: is signed by another key");
    // One of several is enough.
    let both = [&pull[..], &["--key", "public.pem"]].concat();
    succeeds(&scratch, &both);
}

#[test]
fn a_forced_artifact_has_a_signature_and_no_parity() {
    let scratch = with_keys();
    let forced = [&["publish", "Out.mlpackage", "--force-unverified"], &PUBLISH[4..]].concat();
    succeeds(&scratch, &forced);
    refused(&scratch, &PULL, 7, "not trusted: parity: none is attached");
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
    succeeds(&scratch, &[&PUBLISH[..], &["--force-unverified"]].concat());
    refused(&scratch, &PULL, 7, "not trusted: parity: the verdict is FAILED");
    let mut pull = PULL;
    pull[5] = "signature,provenance";
    succeeds(&scratch, &pull);
}

/// Statements of one artifact attached to another, by whoever may write to the store.
#[test]
fn statements_about_another_artifact_prove_nothing() {
    let scratch = signed();
    // The same package under another version is another artifact with other files (its card).
    let other: Vec<_> = PUBLISH[..6]
        .iter()
        .map(|argument| argument.replace("1.0", "2.0"))
        .collect();
    let other: Vec<_> = other.iter().map(String::as_str).collect();
    succeeds(&scratch, &other);
    let path = scratch.path().join("models/index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).expect("an index")).expect("JSON");
    let manifests = index["manifests"].as_array_mut().expect("a list");
    let name = "org.opencontainers.image.ref.name";
    let digest = |tag: &str| {
        let entry = manifests.iter().find(|entry| entry["annotations"][name] == tag);
        entry.expect("a tag")["digest"]
            .as_str()
            .expect("a digest")
            .replace(':', "-")
    };
    let (from, to) = (digest("1.0"), digest("2.0"));
    let list = manifests
        .iter_mut()
        .find(|entry| entry["annotations"][name] == from.as_str());
    list.expect("a list")["annotations"][name] = to.into();
    fs::write(&path, index.to_string()).expect("written");
    let mut pull = PULL;
    pull[1] = "oci-layout:models:2.0";
    refused(&scratch, &pull, 7, "attached to another artifact");
}

#[test]
fn tampered_statements_are_refused() {
    let scratch = signed();
    let blobs = scratch.path().join("models/blobs/sha256");
    let mut bundles = 0;
    for file in files(&blobs) {
        let text = fs::read(&file).expect("a blob");
        if text.starts_with(b"{\"mediaType\":\"application/vnd.dev.sigstore") {
            let mut changed = text.clone();
            changed[300] ^= 1;
            fs::write(&file, changed).expect("written");
            bundles += 1;
        }
    }
    assert_eq!(bundles, 3);
    refused(&scratch, &PULL, 7, "tampered with or damaged");
    refused(&scratch, &CHECK, 7, "tampered with or damaged");
}

#[test]
fn the_key_may_come_from_the_environment() {
    let scratch = with_keys();
    let pem = fs::read_to_string(scratch.path().join("key.pem")).expect("a key");
    for value in [pem.as_str(), "key.pem"] {
        let mut command: Command = scratch.command(&PUBLISH[..6]);
        let output = command
            .env("CORER_SIGN_KEY", value)
            .output()
            .expect("the binary starts");
        assert!(output.status.success());
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("PRIVATE KEY"));
        succeeds(&scratch, &CHECK);
    }
    let mut command = scratch.command(&PUBLISH[..6]);
    let output = command
        .env("CORER_SIGN_KEY", "missing.pem")
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_encrypted_key_is_refused() {
    let mut publish = PUBLISH;
    publish[7] = "encrypted.pem";
    let scratch = with_keys();
    assert_run!(scratch, publish);
    assert!(!scratch.path().join("models").exists());
}

#[test]
fn a_requirement_takes_a_key() {
    assert_run!(Scratch::new(), PULL[..6]);
}

#[test]
fn a_requirement_that_is_none() {
    let mut pull = PULL;
    pull[5] = "signature,love";
    assert_run!(Scratch::new(), pull);
}

#[test]
fn check_what_is_neither_artifact_nor_directory() {
    assert_run!(
        Scratch::new(),
        ["verify-artifact", "nowhere", "--key", "public.pem"]
    );
}

/// What a tag of a layout points to.
fn tagged(scratch: &Scratch, tag: &str) -> Option<String> {
    let bytes = fs::read(scratch.path().join("models/index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&bytes).expect("JSON");
    let manifests = index["manifests"].as_array().expect("a list");
    let entry = manifests
        .iter()
        .find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag)?;
    Some(entry["digest"].as_str().expect("a digest").to_owned())
}

#[test]
fn a_tag_is_promoted_and_given_back() {
    let scratch = signed();
    let publish_2 = PUBLISH.map(|argument| argument.replace("1.0", "2.0"));
    succeeds(&scratch, &publish_2.each_ref().map(String::as_str));
    let (first, second) = (tagged(&scratch, "1.0"), tagged(&scratch, "2.0"));
    assert_ne!(first, second);
    let key = ["--key", "public.pem", "--sign-key", "key.pem"];
    let promote = |from: &str| {
        let from = format!("oci-layout:models:{from}");
        let arguments = ["promote", from.as_str(), "--to", "production"];
        document(&scratch, &[&arguments[..], &key].concat())
    };
    let back = || {
        let arguments = ["promote", "oci-layout:models:production", "--back"];
        document(&scratch, &[&arguments[..], &key].concat())
    };
    let moved = promote("1.0");
    assert_eq!(
        (&moved["previous"], &moved["tag_moved"]),
        (&Value::Null, &true.into())
    );
    assert_eq!(promote("1.0")["tag_moved"], false);
    assert_eq!(promote("2.0")["previous"], first.clone().expect("a digest"));
    assert_eq!(tagged(&scratch, "production"), second);
    assert_eq!(back()["digest"], first.clone().expect("a digest"));
    assert_eq!(tagged(&scratch, "production"), first);
    // Back again is forward; the last of several records counts.
    assert_eq!(back()["digest"], second.clone().expect("a digest"));
    assert_eq!(promote("1.0")["digest"], first.clone().expect("a digest"));
    assert_eq!(back()["digest"], second.clone().expect("a digest"));
    let pull = [
        "pull",
        "oci-layout:models:production",
        "-o",
        "pulled",
        "--require",
        "signature,parity",
        "--key",
    ];
    succeeds(&scratch, &[&pull[..], &["public.pem"]].concat());
}

#[test]
fn a_tag_is_not_promoted_to_what_is_not_trusted() {
    let scratch = with_keys();
    succeeds(&scratch, &PUBLISH[..6]);
    let promote = ["promote", "oci-layout:models:1.0", "--to", "production"];
    refused(
        &scratch,
        &[&promote[..], &["--key", "public.pem"]].concat(),
        7,
        "signature: none is attached",
    );
    assert_eq!(tagged(&scratch, "production"), None);
    // Unsigned artifacts can be promoted with unsigned records, and those count for nobody who asks for a key.
    succeeds(&scratch, &promote);
    succeeds(
        &scratch,
        &PUBLISH.map(|argument| {
            if argument == "oci-layout:models:1.0" {
                "oci-layout:models:2.0"
            } else {
                argument
            }
        }),
    );
    succeeds(
        &scratch,
        &["promote", "oci-layout:models:2.0", "--to", "production"],
    );
    let back = ["promote", "oci-layout:models:production", "--back"];
    refused(
        &scratch,
        &[&back[..], &["--key", "public.pem"]].concat(),
        6,
        "no record says",
    );
    succeeds(&scratch, &back);
    assert_eq!(tagged(&scratch, "production"), tagged(&scratch, "1.0"));
    // A blob that was tampered with.
    let blobs = files(&scratch.path().join("models/blobs/sha256"));
    let largest = blobs
        .iter()
        .max_by_key(|blob| fs::metadata(blob).expect("a blob").len());
    let mut bytes = fs::read(largest.expect("a blob")).expect("a blob");
    bytes[1000] ^= 1;
    fs::write(largest.expect("a blob"), bytes).expect("written");
    refused(
        &scratch,
        &["promote", "oci-layout:models:2.0", "--to", "production"],
        5,
        "tampered with or damaged",
    );
    assert_eq!(tagged(&scratch, "production"), tagged(&scratch, "1.0"));
}

#[test]
fn promote_without_a_tag() {
    assert_run!(Scratch::new(), ["promote", "oci-layout:models:1.0"]);
}

#[test]
fn promote_in_a_layout_that_is_missing() {
    assert_run!(
        Scratch::new(),
        ["promote", "oci-layout:models:1.0", "--to", "production"]
    );
}
