//! Checks an artifact where it lies: every blob is read and hashed, nothing is unpacked.

use std::collections::BTreeMap;
use std::io::{self, Write};

use corer_proto::digest::{FileDigester, Sha};

use crate::artifact::Artifact;
use crate::bundle::PACKAGE_SUFFIX;
use crate::digest::Digest;
use crate::error::{ArtifactError, PublishError};
use crate::oci;
use crate::progress::Progress;
use crate::reference::Version;
use crate::store::Store;
use crate::trust::{Evidence, Policy};

/// An artifact that is what its digests say, and has what was required.
#[derive(Clone, PartialEq, Debug)]
pub struct Examined {
    /// The manifest's digest, which stands for all of it.
    pub digest: Digest,
    /// Files in it.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The packages among them, by name, with their digests.
    pub packages: BTreeMap<String, String>,
    /// What is attached to it.
    pub evidence: Evidence,
}

/// Checks an artifact: what is attached first, then every blob against its digest, and the packages' digests against
/// the manifest.
///
/// # Errors
/// When the store lacks it, it lacks something required, or anything in it is not what its digest says.
pub fn examine(
    store: &dyn Store,
    version: &Version,
    policy: &Policy<'_>,
    progress: &dyn Progress,
) -> Result<Examined, PublishError> {
    let artifact = Artifact::open(store, version)?;
    let files = artifact.files()?;
    artifact.check_config(progress)?;
    let evidence = Evidence::gather(&artifact, store, policy.keys)?;
    evidence.demand(&artifact.place, policy.required)?;
    let bytes = files
        .iter()
        .fold(0, |total: u64, (_, layer)| total.saturating_add(layer.size));
    let mut trees: BTreeMap<&str, BTreeMap<String, Sha>> = BTreeMap::new();
    progress.start("checking", bytes);
    for (path, layer) in &files {
        let mut hash = InPackage(FileDigester::new());
        artifact.fetch(layer, &mut hash, progress)?;
        if let Some((name, inside)) = path.split_once('/')
            && name.ends_with(PACKAGE_SUFFIX)
        {
            let tree = trees.entry(name).or_default();
            tree.insert(inside.to_owned(), hash.0.finish());
        }
    }
    progress.finish();
    let packages: BTreeMap<_, _> = trees
        .into_iter()
        .map(|(name, tree)| (name.to_owned(), corer_proto::digest::from_files(&tree)))
        .collect();
    for (key, said) in &artifact.manifest.annotations {
        let Some(name) = key.strip_prefix(oci::PACKAGE_DIGEST) else {
            continue;
        };
        match packages.get(name) {
            Some(found) if found == said => {}
            Some(found) => {
                return Err(PublishError::Artifact {
                    place: format!("{}: {}", artifact.place, name.escape_debug()),
                    source: ArtifactError::Package {
                        found: found.clone(),
                        expected: said.chars().take(64).collect(),
                        said_by: "the manifest",
                    },
                });
            }
            None => {
                return Err(artifact.malformed(format!("its package {} is missing", name.escape_debug())));
            }
        }
    }
    Ok(Examined {
        digest: artifact.descriptor.digest.clone(),
        files: files.len(),
        bytes,
        packages,
        evidence,
    })
}

/// Takes a file's digest as packages count it.
struct InPackage(FileDigester);

impl Write for InPackage {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
