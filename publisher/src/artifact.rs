//! An artifact in a store: its manifest, checked as far as a manifest goes, and the files it names.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use crate::blob::{self, CopyError};
use crate::error::{Fault, PublishError};
use crate::oci::{self, DOCUMENT_BYTES, Descriptor, Manifest};
use crate::progress::Progress;
use crate::reference::Version;
use crate::store::Store;

/// Most files in an artifact.
const MOST_FILES: usize = 10_000;
/// Longest path of a file.
const LONGEST_PATH: usize = 1024;

/// An artifact that was opened.
pub(crate) struct Artifact<'s> {
    store: &'s dyn Store,
    /// Where it is, for messages.
    pub(crate) place: String,
    /// The manifest's own descriptor.
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
}

impl<'s> Artifact<'s> {
    /// Reads an artifact's manifest.
    ///
    /// # Errors
    /// When the store lacks it, or it is no single artifact.
    pub(crate) fn open(store: &'s dyn Store, version: &Version) -> Result<Self, PublishError> {
        let place = format!("{}{version}", store.place());
        let (descriptor, bytes) = store.manifest(version)?;
        if descriptor.media_type != oci::MANIFEST {
            let kind = descriptor.media_type.escape_debug();
            return Err(PublishError::malformed(
                &place,
                format!("is a {kind}, not a single artifact"),
            ));
        }
        let manifest = serde_json::from_slice(&bytes)
            .map_err(|error| PublishError::malformed(&place, error.to_string()))?;
        Ok(Self {
            store,
            place,
            descriptor,
            manifest,
        })
    }

    /// An error about what it says.
    pub(crate) fn malformed(&self, reason: impl Into<String>) -> PublishError {
        PublishError::malformed(&self.place, reason)
    }

    /// The files it holds, by path, and their blobs.
    ///
    /// # Errors
    /// When a layer names no file, or one outside of the directory it would be unpacked to.
    pub(crate) fn files(&self) -> Result<Vec<(&str, &Descriptor)>, PublishError> {
        files(&self.manifest).map_err(|reason| self.malformed(reason))
    }

    /// The configuration must be there, and list the layers.
    ///
    /// # Errors
    /// When it is not or does not.
    pub(crate) fn check_config(&self, progress: &dyn Progress) -> Result<(), PublishError> {
        let Self { manifest, place, .. } = self;
        let config = &manifest.config;
        let malformed = |reason: String| PublishError::malformed(format!("{place}: configuration"), reason);
        if config.size > DOCUMENT_BYTES {
            return Err(malformed(format!("has {} bytes", config.size)));
        }
        let mut bytes = Vec::new();
        self.fetch(config, &mut bytes, progress)?;
        if config.media_type != oci::MODEL_CONFIG {
            return Ok(());
        }
        let document: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        let listed = document
            .pointer("/modelfs/diffIds")
            .and_then(serde_json::Value::as_array);
        let listed = listed.map(|ids| {
            ids.iter()
                .filter_map(serde_json::Value::as_str)
                .collect::<Vec<_>>()
        });
        // Layers of others may be compressed, and have other digests then.
        let raw = manifest
            .layers
            .iter()
            .all(|layer| layer.media_type.ends_with(".raw"));
        let own: Vec<_> = manifest
            .layers
            .iter()
            .map(|layer| layer.digest.as_str())
            .collect();
        if raw && listed.is_some_and(|listed| listed != own) {
            return Err(malformed("lists other layers than the manifest".into()));
        }
        Ok(())
    }

    /// Reads a blob and makes sure that it is the one described.
    ///
    /// # Errors
    /// When the store lacks it, it is another, or `to` can't be written.
    pub(crate) fn fetch(
        &self,
        blob: &Descriptor,
        to: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<(), PublishError> {
        let place = &self.place;
        let mut from = self.store.read(blob)?;
        blob::copy(blob, &mut *from, to, progress).map_err(|error| match error {
            CopyError::Mismatch(source) => PublishError::Artifact {
                place: format!("{place}: blob {}", blob.digest),
                source,
            },
            CopyError::Read(error) => PublishError::Registry {
                place: format!("{place}: blob {}", blob.digest),
                reason: format!("can't be read: {error}"),
                fault: Fault::Passing(None),
            },
            CopyError::Write(error) => PublishError::io(PathBuf::new(), "can't be written")(error),
        })
    }
}

/// The files an artifact holds: where each goes, and its blob.
fn files(manifest: &Manifest) -> Result<Vec<(&str, &Descriptor)>, String> {
    if manifest.layers.len() > MOST_FILES {
        return Err(format!(
            "has {} layers, more than {MOST_FILES}",
            manifest.layers.len()
        ));
    }
    let mut files = BTreeMap::new();
    for layer in &manifest.layers {
        let names: Vec<_> = [oci::FILE_PATH, oci::TITLE]
            .into_iter()
            .filter_map(|key| layer.annotations.get(key))
            .collect();
        let path = match &names[..] {
            [] => return Err(format!("layer {} names no file", layer.digest)),
            [first, others @ ..] if others.iter().all(|other| other == first) => first.as_str(),
            _ => return Err(format!("layer {} has two names", layer.digest)),
        };
        check_path(path).map_err(|reason| format!("layer path `{}`: {reason}", path.escape_debug()))?;
        if files.insert(path, layer).is_some() {
            return Err(format!("two layers are called `{}`", path.escape_debug()));
        }
    }
    for (path, next) in files.keys().zip(files.keys().skip(1)) {
        if next.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')) {
            return Err(format!("`{}` is a file and a directory", path.escape_debug()));
        }
    }
    Ok(files.into_iter().collect())
}

/// Whether a path stays inside the directory it is unpacked to.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > LONGEST_PATH {
        return Err("is empty or too long");
    }
    if path.contains(|c: char| c.is_control() || c == '\\' || c == ':') {
        return Err("has a character that not every system takes in a name");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("leaves the directory, or is not in its simplest form");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_path;

    #[test]
    fn a_path_can_not_leave_the_directory() {
        for good in [
            "README.md",
            "X.mlpackage/Data/com.apple.CoreML/model.mlmodel",
            "..a/b..",
        ] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
        ] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }
}
