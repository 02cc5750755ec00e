//! Packages, reports on them, and a folder to publish to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use corer_publisher::{Bundle, BundleRequest, NoProgress, PublishError};
use serde_json::{Value, json};

/// A package with one function, and weights in a file.
pub(crate) const ONE_FUNCTION: &str = "linear-ios16-fp16";
/// A package with several functions.
pub(crate) const SEVERAL_FUNCTIONS: &str = "functions-ios18-fp16";

pub(crate) struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a scratch directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A copy of a package that coremltools wrote.
    pub(crate) fn package(&self, foreign: &str, name: &str) -> PathBuf {
        let conformance = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("conformance");
        let to = self.path(name);
        copy(
            &conformance.join("foreign").join(format!("{foreign}.mlpackage")),
            &to,
        );
        to
    }

    /// A report that says `package` passed, changed.
    pub(crate) fn report(&self, package: &Path, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let digest = corer_proto::package_digest(package).expect("a digest");
        let mut report = report(&digest, &["main"]);
        change(&mut report);
        let path = self.path(name);
        fs::write(&path, report.to_string()).expect("a report");
        path
    }
}

/// What the verifier would write of a package that passed.
pub(crate) fn report(digest: &str, functions: &[&str]) -> Value {
    let bucket = |function: &&str| {
        json!({
            "name": function, "function": function, "batch": 1, "length": 8,
            "verdict": { "passed": true, "reasons": [] },
            "precision": "fp16",
            "inputs": { "origin": "texts", "rows": 2, "tokens": 9, "truncated": 0 },
            "outputs": [{ "package": "y", "psnr": 81.5, "max_abs": 0.25, "cosine": { "min": 0.99999 } }],
            "thresholds": { "min_psnr": 65.0 },
        })
    };
    json!({
        "schema": 3, "corer": "0.1.0",
        "verdict": { "passed": true, "reasons": [] },
        "package": { "digest": digest },
        "reference": { "kind": "recording", "files": [] },
        "execution": { "engine": "cpu", "arithmetic": "as-written" },
        "buckets": functions.iter().map(bucket).collect::<Vec<_>>(),
        "not_judged": [],
    })
}

pub(crate) fn assemble(
    packages: &[PathBuf],
    reports: &[PathBuf],
    force: bool,
) -> Result<Bundle, PublishError> {
    Bundle::assemble(&BundleRequest {
        packages,
        reports,
        version: "1.0",
        force_unverified: force,
        include_texts: false,
        progress: &NoProgress,
    })
}

/// A package, its report, and their bundle.
pub(crate) fn bundle(scratch: &Scratch) -> Bundle {
    let package = scratch.package(ONE_FUNCTION, "X.mlpackage");
    let report = scratch.report(&package, "report.json", |_| {});
    assemble(&[package], &[report], false).expect("a bundle")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a committed directory") {
        let entry = entry.expect("a committed file");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a file or a directory").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Every file below a directory, with its bytes.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("below").display().to_string();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}
