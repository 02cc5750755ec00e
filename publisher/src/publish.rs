//! Brings a bundle to a store: blobs first, then what is attached to it, then the manifest, the tags last.

use crate::bundle::Bundle;
use crate::error::{ArtifactError, PublishError};
use crate::progress::Progress;
use crate::reference::Version;
use crate::store::Store;
use crate::trust::Attachment;

/// What publishing did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// Blobs the store did not have.
    pub blobs_sent: usize,
    /// Blobs the store had.
    pub blobs_present: usize,
    /// Bytes of the blobs sent.
    pub bytes_sent: u64,
    /// Statements attached that were not before.
    pub attached: usize,
    /// Tags that point elsewhere than before.
    pub tags_moved: Vec<String>,
}

/// Publishes a bundle and what is attached to it under tags. Blobs the store holds are not sent again; nothing is
/// tagged before the store holds all of it.
///
/// # Errors
/// When the store refuses, or a file changed since it was bundled. Tags then point where they did, save those already
/// moved.
pub fn publish(
    bundle: &Bundle,
    attachments: &[Attachment],
    store: &dyn Store,
    tags: &[&str],
    progress: &dyn Progress,
) -> Result<Published, PublishError> {
    let mut done = Published::default();
    progress.start("publishing", bundle.bytes());
    let attached = attachments.iter().flat_map(|attachment| &attachment.blobs);
    let blobs = std::iter::once(&bundle.config)
        .chain(&bundle.layers)
        .chain(attached);
    for (blob, content) in blobs {
        if store.holds(blob, progress)? {
            done.blobs_present += 1;
        } else {
            store.put(blob, content, progress)?;
            done.blobs_sent += 1;
            done.bytes_sent += blob.size;
        }
    }
    progress.finish();
    for Attachment {
        manifest,
        manifest_bytes,
        ..
    } in attachments
    {
        done.attached += usize::from(store.attach(manifest, manifest_bytes, &bundle.manifest.digest)?);
    }
    for tag in tags {
        if store.tag(&bundle.manifest, &bundle.manifest_bytes, tag)? {
            done.tags_moved.push((*tag).to_owned());
        }
        let (found, bytes) = store.manifest(&Version::Tag((*tag).to_owned()))?;
        if found.digest != bundle.manifest.digest || bytes != bundle.manifest_bytes {
            return Err(PublishError::Artifact {
                place: format!("{}:{tag}", store.place()),
                source: ArtifactError::Mismatch {
                    expected: bundle.manifest.digest.to_string(),
                    bytes: bundle.manifest.size,
                    found: found.digest.to_string(),
                },
            });
        }
    }
    Ok(done)
}
