//! Tags moved from one artifact to another, with a record of what they pointed to before.
//!
//! A record is a statement attached to the artifact that got the tag: which tag, what it pointed to before, and how
//! many times it was moved. No clock is needed to tell the last one, and none is written.

use serde::Deserialize;
use serde_json::json;

use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::PublishError;
use crate::examine::{Examined, examine};
use crate::oci::{self, Descriptor};
use crate::progress::{NoProgress, Progress};
use crate::reference::Version;
use crate::store::Store;
use crate::trust::statement::Statement;
use crate::trust::{Attachment, Policy, SigningKey, dsse};

/// The predicate type of a record.
pub const PROMOTION: &str = "urn:corer:promotion:v1";

/// A tag that was moved, or stood there already.
#[derive(Clone, PartialEq, Debug)]
pub struct Promoted {
    /// The artifact it points to, which was checked whole.
    pub artifact: Examined,
    /// What it pointed to before, if to something else.
    pub previous: Option<Digest>,
    /// Whether it moved.
    pub moved: bool,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
struct Record {
    tag: String,
    /// Counts the moves of the tag.
    number: u64,
    previous: Option<Digest>,
}

/// Moves a tag to an artifact of the same store, once all of it was checked and what the policy requires was found.
/// The record is signed with `key`, if there is one, and attached before the tag moves.
///
/// # Errors
/// When there is no such artifact, it is not what its digests say or lacks something required, or the store refuses.
pub fn promote(
    store: &dyn Store,
    version: &Version,
    tag: &str,
    policy: &Policy<'_>,
    key: Option<&SigningKey>,
    progress: &dyn Progress,
) -> Result<Promoted, PublishError> {
    let artifact = examine(store, version, policy, progress)?;
    let (manifest, bytes) = store.manifest(&Version::Digest(artifact.digest.clone()))?;
    let current = match store.manifest(&Version::Tag(tag.to_owned())) {
        Ok((current, _)) => Some(current.digest),
        Err(error) if error.is_missing() => None,
        Err(error) => return Err(error),
    };
    if current.as_ref() == Some(&manifest.digest) {
        return Ok(Promoted {
            artifact,
            previous: None,
            moved: false,
        });
    }
    let number = match &current {
        Some(current) => 1 + last(store, current, tag, None)?.map_or(0, |record| record.number),
        None => 1,
    };
    let predicate = json!({ "tag": tag, "number": number, "previous": current });
    let statement = Statement::about(tag, manifest.digest.hex(), PROMOTION, predicate);
    let record = Attachment::of(&statement, &manifest, key);
    for (blob, content) in &record.blobs {
        if !store.holds(blob, &NoProgress)? {
            store.put(blob, content, &NoProgress)?;
        }
    }
    store.attach(&record.manifest, &record.manifest_bytes, &manifest.digest)?;
    let mut entry = manifest;
    entry.annotations.remove(oci::REF_NAME);
    let moved = store.tag(&entry, &bytes, tag)?;
    let (found, _) = store.manifest(&Version::Tag(tag.to_owned()))?;
    if found.digest != entry.digest {
        return Err(PublishError::refused(
            format!("{}:{tag}", store.place()),
            format!(
                "points to {} and not to what it was moved to; somebody else moved it",
                found.digest
            ),
        ));
    }
    Ok(Promoted {
        artifact,
        previous: current,
        moved,
    })
}

/// Gives a tag back to what it pointed to before it was promoted last, under the same conditions. With keys in the
/// policy, only records that one of them signed count.
///
/// # Errors
/// When no record says what the tag pointed to, or as [`promote`].
pub fn restore(
    store: &dyn Store,
    tag: &str,
    policy: &Policy<'_>,
    key: Option<&SigningKey>,
    progress: &dyn Progress,
) -> Result<Promoted, PublishError> {
    let (current, _) = store.manifest(&Version::Tag(tag.to_owned()))?;
    let trusted = Some(policy).filter(|policy| !policy.keys.is_empty());
    let record = last(store, &current.digest, tag, trusted)?;
    let previous = record.and_then(|record| record.previous);
    let previous = previous.ok_or_else(|| {
        PublishError::refused(
            format!("{}:{tag}", store.place()),
            format!("no record says what it pointed to before {}", current.digest),
        )
    })?;
    promote(store, &Version::Digest(previous), tag, policy, key, progress)
}

/// The record of a tag's last move to an artifact.
fn last(
    store: &dyn Store,
    artifact: &Digest,
    tag: &str,
    policy: Option<&Policy<'_>>,
) -> Result<Option<Record>, PublishError> {
    let mut last: Option<Record> = None;
    for entry in store.referrers(artifact)? {
        let said = entry.annotations.get(oci::PREDICATE_TYPE);
        if said.is_none_or(|said| said != PROMOTION) {
            continue;
        }
        let Some(record) = read(store, artifact, &entry, policy)? else {
            continue;
        };
        let is_later = last.as_ref().is_none_or(|last| last.number < record.number);
        if record.tag == tag && is_later {
            last = Some(record);
        }
    }
    Ok(last)
}

/// Reads a record; `None` for what is none, or not signed by a key that is asked for.
fn read(
    store: &dyn Store,
    artifact: &Digest,
    entry: &Descriptor,
    policy: Option<&Policy<'_>>,
) -> Result<Option<Record>, PublishError> {
    let attached = Artifact::open(store, &Version::Digest(entry.digest.clone()))?;
    let layer =
        Attachment::layer_of(&attached.manifest, artifact).map_err(|reason| attached.malformed(reason))?;
    let mut content = Vec::new();
    attached.fetch(layer, &mut content, &NoProgress)?;
    let payload = match (policy, layer.media_type.as_str()) {
        (Some(policy), _) => dsse::open(&content, policy.keys)
            .map(|opened| opened.payload)
            .ok(),
        (None, dsse::BUNDLE) => dsse::payload(&content).ok(),
        (None, _) => Some(content),
    };
    let statement = payload.and_then(|payload| Statement::parse(&payload).ok());
    Ok(statement
        .filter(|statement| statement.predicate_type == PROMOTION && statement.is_about(artifact))
        .and_then(|statement| serde_json::from_value(statement.predicate).ok()))
}
