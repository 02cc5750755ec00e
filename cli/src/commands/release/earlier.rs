//! What a variant must be no worse than: a report the manifest names, or the last one published under its tag.

use corer_publisher::{Digest, Version, published_reports};
use corer_verifier::VerifyReport;

use super::super::{gate, pull};
use super::manifest::{Manifest, Variant, variant_tag};
use crate::failure::Failure;
use crate::messages::Messages;
use crate::output;

/// An earlier report of a variant.
#[derive(Clone, Debug, Default)]
pub(super) struct Earlier {
    /// What tells it from others; empty where there is none.
    pub(super) id: String,
    /// The report, where there is one and it is about other bytes than those to be judged.
    pub(super) report: Option<VerifyReport>,
}

impl Earlier {
    /// Finds it for a variant whose package has the digest `package`. Nothing published yet is no error: the first
    /// release has nothing to be worse than.
    ///
    /// # Errors
    /// When a report the manifest names can't be read.
    pub(super) fn of(
        manifest: &Manifest,
        variant: &Variant,
        package: &str,
        plain_http: bool,
        messages: &Messages,
    ) -> Result<Self, Failure> {
        if let Some(path) = &variant.gate.baseline {
            let report = gate::earlier_report(path)?;
            let id = Digest::of(output::json_text(&report)?.as_bytes()).to_string();
            return Ok(Self {
                id,
                report: Some(report),
            });
        }
        if !variant.gate.compares() {
            return Ok(Self::default());
        }
        match published(manifest, variant, plain_http) {
            Ok(Some(report)) if report.package.digest == package => Ok(Self {
                // These very bytes are published, and were held against what came before them then.
                id: report
                    .buckets
                    .iter()
                    .find_map(|bucket| bucket.gate.as_ref()?.baseline.clone())
                    .unwrap_or_default(),
                report: None,
            }),
            Ok(Some(report)) => Ok(Self {
                id: report.package.digest.clone(),
                report: Some(report),
            }),
            Ok(None) => Ok(Self::default()),
            Err(reason) => {
                let name = &variant.name;
                messages.note(&format!(
                    "{name} is not held against an earlier release: {reason}"
                ))?;
                Ok(Self::default())
            }
        }
    }
}

/// The report last published under the variant's tag, or why there is none to be had.
fn published(
    manifest: &Manifest,
    variant: &Variant,
    plain_http: bool,
) -> Result<Option<VerifyReport>, String> {
    let Version::Tag(tag) = &manifest.to.version else {
        return Ok(None);
    };
    let version = Version::Tag(variant_tag(tag, &variant.label));
    let store = pull::open(&manifest.to.location, plain_http).map_err(|failure| failure.to_string())?;
    let reports = published_reports(&*store, &version).map_err(|error| error.to_string())?;
    let parsed = reports.first().map(|report| VerifyReport::parse(&report.bytes));
    parsed.transpose()
}
