//! Brings an artifact back as files, hashing every one, and holds the packages against what was published.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use corer_proto::{Package, Staging, package_digest};

use crate::blob::{self, CopyError};
use crate::bundle::{self, PACKAGE_SUFFIX, REPORT_SUFFIX};
use crate::digest::Digest;
use crate::error::{ArtifactError, PublishError};
use crate::oci::{self, DOCUMENT_BYTES, Descriptor, Manifest};
use crate::progress::Progress;
use crate::reference::Version;
use crate::report::Report;
use crate::store::Store;

/// Most files in an artifact.
const MOST_FILES: usize = 10_000;
/// Longest path of a file.
const LONGEST_PATH: usize = 1024;

/// What was pulled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pulled {
    /// The manifest's digest, which stands for all of it.
    pub digest: Digest,
    /// Files written.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The packages among them, by name, with their digests.
    pub packages: BTreeMap<String, String>,
    /// Whether every package passed: the artifact says so, and the reports in it do for these bytes.
    pub passed: bool,
    /// Why not, where the artifact says.
    pub unverified: Option<String>,
}

/// Unpacks an artifact into a directory that must not be there yet. It appears whole or not at all.
///
/// # Errors
/// When the store lacks it, anything in it is not what its digest says, a path would leave the directory, or the
/// directory can't be written.
pub fn pull(
    store: &dyn Store,
    version: &Version,
    output: &Path,
    progress: &dyn Progress,
) -> Result<Pulled, PublishError> {
    let place = format!("{}{version}", store.place());
    let malformed = |reason: String| PublishError::malformed(&place, reason);
    let (descriptor, bytes) = store.manifest(version)?;
    if descriptor.media_type != oci::MANIFEST {
        return Err(malformed(format!(
            "is a {}, not a single artifact",
            descriptor.media_type.escape_debug()
        )));
    }
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
    let files = files(&manifest).map_err(malformed)?;
    check_config(store, &manifest, &place, progress)?;
    refuse_existing(output)?;
    // A manifest may claim any sizes.
    let total_bytes = files
        .iter()
        .fold(0, |total: u64, (_, layer)| total.saturating_add(layer.size));
    let staging = Staging::create(output)?;
    let root = staging.directory().to_owned();
    progress.start("pulling", total_bytes);
    for (path, layer) in &files {
        unpack(store, layer, &root.join(path), &place, progress)?;
    }
    progress.finish();
    let (packages, verdicts) = check_packages(&root, &manifest, &place)?;
    sync(&root)?;
    staging.commit(false, true)?;
    let unverified = manifest.annotations.get(oci::UNVERIFIED).cloned();
    let says_passed = manifest
        .annotations
        .get(oci::VERDICT)
        .is_some_and(|verdict| verdict == "passed");
    Ok(Pulled {
        digest: descriptor.digest,
        files: files.len(),
        bytes: total_bytes,
        passed: says_passed && !packages.is_empty() && verdicts,
        packages,
        unverified,
    })
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

/// The configuration must be there, and list the layers.
fn check_config(
    store: &dyn Store,
    manifest: &Manifest,
    place: &str,
    progress: &dyn Progress,
) -> Result<(), PublishError> {
    let config = &manifest.config;
    let malformed = |reason: String| PublishError::malformed(format!("{place}: configuration"), reason);
    if config.size > DOCUMENT_BYTES {
        return Err(malformed(format!("has {} bytes", config.size)));
    }
    let mut bytes = Vec::new();
    fetch(store, config, &mut bytes, place, progress)?;
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

fn fetch(
    store: &dyn Store,
    blob: &Descriptor,
    to: &mut dyn std::io::Write,
    place: &str,
    progress: &dyn Progress,
) -> Result<(), PublishError> {
    let mut from = store.read(blob)?;
    blob::copy(blob, &mut *from, to, progress).map_err(|error| match error {
        CopyError::Mismatch(source) => PublishError::Artifact {
            place: format!("{place}: blob {}", blob.digest),
            source,
        },
        CopyError::Read(error) => PublishError::Registry {
            place: format!("{place}: blob {}", blob.digest),
            reason: format!("can't be read: {error}"),
        },
        CopyError::Write(error) => PublishError::io(PathBuf::new(), "can't be written")(error),
    })
}

fn unpack(
    store: &dyn Store,
    layer: &Descriptor,
    to: &Path,
    place: &str,
    progress: &dyn Progress,
) -> Result<(), PublishError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(PublishError::io(parent, "can't be created"))?;
    }
    let create = OpenOptions::new().write(true).create_new(true).open(to);
    let mut file = create.map_err(PublishError::io(to, "can't be created"))?;
    fetch(store, layer, &mut file, place, progress).map_err(|error| match error {
        PublishError::Io { action, source, .. } => PublishError::io(to, action)(source),
        other => other,
    })?;
    file.sync_all()
        .map_err(PublishError::io(to, "can't be flushed to disk"))
}

/// Takes each package's digest anew. Gives them, and whether a passed report on each is in the artifact.
fn check_packages(
    root: &Path,
    manifest: &Manifest,
    place: &str,
) -> Result<(BTreeMap<String, String>, bool), PublishError> {
    let mut packages = BTreeMap::new();
    let mut passed = true;
    let fail = || PublishError::io(root, "can't be read");
    for entry in fs::read_dir(root).map_err(fail())? {
        let entry = entry.map_err(fail())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(PACKAGE_SUFFIX) {
            continue;
        }
        let found = package_digest(&entry.path())?;
        let expect = |expected: &str, said_by| match expected == found {
            true => Ok(()),
            false => Err(PublishError::Artifact {
                place: format!("{place}: {name}"),
                source: ArtifactError::Package {
                    found: found.clone(),
                    expected: expected.chars().take(64).collect(),
                    said_by,
                },
            }),
        };
        if let Some(said) = manifest
            .annotations
            .get(&format!("{}{name}", oci::PACKAGE_DIGEST))
        {
            expect(said, "the manifest")?;
        }
        let report = root.join(format!(
            "{}{REPORT_SUFFIX}",
            name.trim_end_matches(PACKAGE_SUFFIX)
        ));
        match fs::read(&report) {
            Ok(bytes) => match Report::parse(&bytes) {
                Ok(report) => {
                    expect(&report.package.digest, "its report")?;
                    passed &= is_passed(&entry.path(), &report);
                }
                Err(_) => passed = false,
            },
            Err(_) => passed = false,
        }
        packages.insert(name, found);
    }
    for key in manifest.annotations.keys() {
        if let Some(name) = key.strip_prefix(oci::PACKAGE_DIGEST)
            && !packages.contains_key(name)
        {
            let reason = format!("its package {} is missing", name.escape_debug());
            return Err(PublishError::malformed(place, reason));
        }
    }
    Ok((packages, passed))
}

/// Whether a report says that the whole package passed. A package nobody here can open did not.
fn is_passed(package: &Path, report: &Report) -> bool {
    Package::open(package).is_ok_and(|package| report.objection(&bundle::functions(&package)).is_none())
}

fn refuse_existing(output: &Path) -> Result<(), PublishError> {
    match output.symlink_metadata() {
        Ok(_) => Err(corer_proto::WriteError::Exists {
            path: output.to_owned(),
        }
        .into()),
        Err(_) => Ok(()),
    }
}

/// Makes sure the directories' entries are on disk; the files' bytes are.
fn sync(directory: &Path) -> Result<(), PublishError> {
    let fail = || PublishError::io(directory, "can't be flushed to disk");
    for entry in fs::read_dir(directory).map_err(fail())? {
        let entry = entry.map_err(fail())?;
        if entry.file_type().map_err(fail())?.is_dir() {
            sync(&entry.path())?;
        }
    }
    crate::layout::sync_directory(directory)
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
