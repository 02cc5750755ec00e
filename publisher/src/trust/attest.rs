//! What is attested of an artifact, by the digest of its manifest: the verdict as an in-toto test result
//! (`in-toto/attestation`, `spec/predicates/test-result.md`), the build as SLSA provenance
//! (`slsa.dev/spec/v1.0/provenance`).
//!
//! Nothing here depends on the clock: equal bundles have equal statements, so that publishing twice attaches once.

use serde_json::{Map, Value, json};

use super::statement::{Statement, shown};
use crate::bundle::{self, Bundle, Bundled};
use crate::digest::Digest;
use crate::report::Bucket;

/// The predicate type of a test result.
pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// The predicate type of provenance.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// How corer builds: a source is converted, compressed if so asked, verified and bundled.
const BUILD_TYPE: &str = "urn:corer:build:v1";

/// The verdict on a bundle, when every package was judged.
pub(crate) fn parity(bundle: &Bundle) -> Option<Statement> {
    let mut configuration = Vec::new();
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for package in &bundle.packages {
        let report = package.report.as_ref()?;
        configuration.push(json!({
            "name": report_name(package),
            "digest": { "sha256": Digest::of(&report.bytes).hex() },
        }));
        for bucket in &report.report.buckets {
            let tests = if bucket.verdict.passed {
                &mut passed
            } else {
                &mut failed
            };
            tests.push(test(package, bucket));
        }
        failed.extend(
            package
                .objection
                .iter()
                .map(|objection| format!("{}: {objection}", package.name)),
        );
    }
    let is_passed = bundle.packages.iter().all(|package| package.objection.is_none());
    let predicate = json!({
        "result": if is_passed { "PASSED" } else { "FAILED" },
        "configuration": configuration,
        "passedTests": passed,
        "warnedTests": [],
        "failedTests": failed,
    });
    Some(about(bundle, TEST_RESULT, predicate))
}

/// Where a package's report lies in the bundle.
fn report_name(package: &Bundled) -> String {
    let stem = package.name.trim_end_matches(bundle::PACKAGE_SUFFIX);
    format!("{stem}{}", bundle::REPORT_SUFFIX)
}

/// A function at one size is one test; its limits and figures are in the report.
fn test(package: &Bundled, bucket: &Bucket) -> String {
    let Bucket {
        name, batch, length, ..
    } = bucket;
    format!("{}: {name}: {batch} × {length}", package.name)
}

/// How a bundle was built, as far as the packages and reports say.
pub(crate) fn provenance(bundle: &Bundle, builder: &str) -> Statement {
    let packages: Vec<_> = bundle
        .packages
        .iter()
        .map(|package| {
            let metadata = &package.model.description.metadata.user_defined;
            let own: Map<String, Value> = metadata
                .iter()
                .filter(|(key, _)| key.starts_with("corer."))
                .map(|(key, value)| (key.clone(), value.clone().into()))
                .collect();
            json!({ "name": package.name, "packageDigest": package.digest, "metadata": own })
        })
        .collect();
    let mut dependencies = Vec::new();
    for package in &bundle.packages {
        let report = package.report.iter();
        for file in report.flat_map(|report| &report.report.reference.files) {
            let dependency = json!({ "name": file.name, "digest": { "sha256": file.sha256 } });
            if !dependencies.contains(&dependency) {
                dependencies.push(dependency);
            }
        }
    }
    let predicate = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": { "packages": packages },
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": { "id": builder, "version": { "corer": env!("CARGO_PKG_VERSION") } },
        },
    });
    about(bundle, PROVENANCE, predicate)
}

fn about(bundle: &Bundle, predicate_type: &str, predicate: Value) -> Statement {
    let name = bundle::title(&bundle.packages);
    Statement::about(&name, bundle.manifest.digest.hex(), predicate_type, predicate)
}

/// Whether a test result says that all passed.
pub(crate) fn check_test_result(statement: &Statement) -> Result<(), String> {
    match statement.predicate["result"].as_str() {
        Some("PASSED") => Ok(()),
        Some(other) => Err(format!("the verdict is {}", shown(other))),
        None => Err("the statement has no verdict".into()),
    }
}
