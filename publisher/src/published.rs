//! The reports an artifact carries, read without its packages.

use std::path::PathBuf;

use crate::artifact::Artifact;
use crate::bundle::REPORT_SUFFIX;
use crate::error::PublishError;
use crate::progress::NoProgress;
use crate::reference::Version;
use crate::report::{MOST_BYTES, Report, StoredReport};
use crate::store::Store;

/// Every report in an artifact, in its order.
///
/// # Errors
/// When the store lacks the artifact, or something in it is no report where one should be.
pub fn published_reports(store: &dyn Store, version: &Version) -> Result<Vec<StoredReport>, PublishError> {
    let artifact = Artifact::open(store, version)?;
    let files = artifact.files()?.into_iter();
    let reports = files.filter(|(path, _)| path.ends_with(REPORT_SUFFIX));
    reports
        .map(|(path, layer)| {
            if layer.size > MOST_BYTES {
                return Err(artifact.malformed(format!("{path} is larger than a report ever is")));
            }
            let mut bytes = Vec::new();
            artifact.fetch(layer, &mut bytes, &NoProgress)?;
            let report =
                Report::parse(&bytes).map_err(|reason| artifact.malformed(format!("{path} {reason}")))?;
            Ok(StoredReport {
                path: PathBuf::from(path),
                bytes,
                report,
            })
        })
        .collect()
}
