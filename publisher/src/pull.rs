//! Brings an artifact back as files, hashing every one, and holds the packages against what was published.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;

use corer_proto::{Package, Staging, package_digest};

use crate::artifact::Artifact;
use crate::bundle::{self, PACKAGE_SUFFIX, REPORT_SUFFIX};
use crate::digest::Digest;
use crate::error::{ArtifactError, PublishError};
use crate::oci::{self, Descriptor, Manifest};
use crate::progress::Progress;
use crate::reference::Version;
use crate::report::Report;
use crate::store::Store;
use crate::trust::{Evidence, Policy, Requirement};

/// What was pulled.
#[derive(Clone, PartialEq, Debug)]
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
    /// What is attached to it.
    pub evidence: Evidence,
}

/// Unpacks an artifact into a directory that must not be there yet. It appears whole or not at all, and not before
/// all that the policy requires of it was checked.
///
/// # Errors
/// When the store lacks it, anything in it is not what its digest says, a path would leave the directory, or the
/// directory can't be written.
pub fn pull(
    store: &dyn Store,
    version: &Version,
    output: &Path,
    policy: &Policy<'_>,
    progress: &dyn Progress,
) -> Result<Pulled, PublishError> {
    let artifact = Artifact::open(store, version)?;
    let files = artifact.files()?;
    artifact.check_config(progress)?;
    refuse_existing(output)?;
    let evidence = Evidence::gather(&artifact, store, policy.keys)?;
    evidence.demand(&artifact.place, policy.required)?;
    // A manifest may claim any sizes.
    let total_bytes = files
        .iter()
        .fold(0, |total: u64, (_, layer)| total.saturating_add(layer.size));
    let staging = Staging::create(output)?;
    let root = staging.directory().to_owned();
    progress.start("pulling", total_bytes);
    for (path, layer) in &files {
        unpack(&artifact, layer, &root.join(path), progress)?;
    }
    progress.finish();
    let Artifact { place, manifest, .. } = &artifact;
    let (packages, verdicts) = check_packages(&root, manifest, place)?;
    if policy.required.contains(&Requirement::Parity) && (!verdicts || packages.is_empty()) {
        return Err(PublishError::Untrusted {
            place: place.clone(),
            reasons: vec!["parity: the reports in it do not say that all of it passed".into()],
        });
    }
    sync(&root)?;
    staging.commit(false, true)?;
    let unverified = manifest.annotations.get(oci::UNVERIFIED).cloned();
    let says_passed = manifest
        .annotations
        .get(oci::VERDICT)
        .is_some_and(|verdict| verdict == "passed");
    Ok(Pulled {
        digest: artifact.descriptor.digest.clone(),
        evidence,
        files: files.len(),
        bytes: total_bytes,
        passed: says_passed && !packages.is_empty() && verdicts,
        packages,
        unverified,
    })
}

fn unpack(
    artifact: &Artifact<'_>,
    layer: &Descriptor,
    to: &Path,
    progress: &dyn Progress,
) -> Result<(), PublishError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(PublishError::io(parent, "can't be created"))?;
    }
    let create = OpenOptions::new().write(true).create_new(true).open(to);
    let mut file = create.map_err(PublishError::io(to, "can't be created"))?;
    artifact
        .fetch(layer, &mut file, progress)
        .map_err(|error| match error {
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
