//! What is attached to an artifact, held against the keys one trusts.
//!
//! Whoever can write to the registry can attach anything and can take anything away. So what counts is what a trusted
//! key signed about this very artifact; the rest is as good as absent, and is told only when something required is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::attachment::Attachment;
use super::attest::{self, PROVENANCE, TEST_RESULT};
use super::dsse::{self, BUNDLE};
use super::key::VerifyingKey;
use super::model_signing::{self, Tree};
use super::statement::{Statement, shown};
use crate::artifact::Artifact;
use crate::error::PublishError;
use crate::oci::{self, DOCUMENT_BYTES, Descriptor, Manifest};
use crate::progress::NoProgress;
use crate::reference::Version;
use crate::store::Store;

/// Most attachments looked at: each costs two requests.
const MOST_ATTACHMENTS: usize = 256;

/// What can be required of an artifact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Requirement {
    /// A signature over exactly its files.
    Signature,
    /// A signed verdict on it, and it passed.
    Parity,
    /// A signed statement of how it was built.
    Provenance,
}

impl Requirement {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Signature, Self::Parity, Self::Provenance];

    /// As spelled on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Parity => "parity",
            Self::Provenance => "provenance",
        }
    }

    /// The requirement that statements of a type serve.
    fn of(predicate_type: &str) -> Option<Self> {
        match predicate_type {
            model_signing::PREDICATE => Some(Self::Signature),
            TEST_RESULT => Some(Self::Parity),
            PROVENANCE => Some(Self::Provenance),
            _ => None,
        }
    }
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|requirement| requirement.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` can't be required; there is {names}")
        })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whom one trusts, and for what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy<'a> {
    /// The keys trusted.
    pub keys: &'a [VerifyingKey],
    /// What an artifact must have, signed by one of them.
    pub required: &'a [Requirement],
}

/// What was found attached to an artifact.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Evidence {
    /// What a trusted key signed, and in which form ([`VerifyingKey::hint`] and the bundle's bytes).
    proven: BTreeMap<Requirement, Proof>,
    /// Why other attachments don't count.
    doubts: BTreeMap<Requirement, Vec<String>>,
    /// Attachments whose kind is not known.
    unknown: Vec<String>,
    /// A trusted key signed that it failed, which no verdict signed at another time makes up for.
    failed: Option<String>,
}

/// A statement that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The key it was checked with ([`VerifyingKey::hint`]).
    pub key: String,
    /// The sigstore bundle.
    pub bundle: Vec<u8>,
}

impl Evidence {
    /// Reads all that is attached to an artifact. Without keys nothing is asked for.
    pub(crate) fn gather(
        artifact: &Artifact<'_>,
        store: &dyn Store,
        keys: &[VerifyingKey],
    ) -> Result<Self, PublishError> {
        let mut evidence = Self::default();
        if keys.is_empty() {
            return Ok(evidence);
        }
        let tree = model_signing::tree_of_layers(artifact.manifest.layers.iter());
        let listed = store.referrers(&artifact.descriptor.digest)?;
        let bundles: Vec<_> = listed.iter().filter(|entry| may_be_bundle(entry)).collect();
        if bundles.len() > MOST_ATTACHMENTS {
            return Err(artifact.malformed(format!(
                "has {} attachments, more than {MOST_ATTACHMENTS}",
                bundles.len()
            )));
        }
        for entry in bundles {
            let said = entry.annotations.get(oci::PREDICATE_TYPE).map(String::as_str);
            match read(artifact, store, entry) {
                Ok(bundle) => evidence.add(artifact, &tree, keys, said, bundle),
                // What is listed and not there proves nothing; a store that can't be asked is another matter.
                Err(error @ PublishError::Artifact { .. }) => evidence.doubt(said, error.to_string()),
                Err(error) if error.is_missing() => evidence.doubt(said, error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(evidence)
    }

    /// Takes a bundle for what it is.
    fn add(
        &mut self,
        artifact: &Artifact<'_>,
        tree: &Tree,
        keys: &[VerifyingKey],
        said: Option<&str>,
        bundle: Vec<u8>,
    ) {
        let opened = dsse::open(&bundle, keys).and_then(|opened| {
            let statement = Statement::parse(&opened.payload)?;
            Ok((opened.key.hint().to_owned(), statement))
        });
        let (key, statement) = match opened {
            Ok(opened) => opened,
            Err(reason) => return self.doubt(said, reason),
        };
        let Some(kind) = Requirement::of(&statement.predicate_type) else {
            return;
        };
        let digest = &artifact.descriptor.digest;
        let checked = match kind {
            Requirement::Signature => model_signing::check(&statement, tree),
            _ if !statement.is_about(digest) => Err("its statement is about another artifact".into()),
            Requirement::Parity => attest::check_test_result(&statement),
            Requirement::Provenance => Ok(()),
        };
        match checked {
            Ok(()) => {
                self.proven.entry(kind).or_insert(Proof { key, bundle });
            }
            Err(reason) if kind == Requirement::Parity && statement.is_about(digest) => {
                self.failed = Some(reason);
            }
            Err(reason) => self.doubts.entry(kind).or_default().push(reason),
        }
    }

    fn doubt(&mut self, said: Option<&str>, reason: String) {
        match said.and_then(Requirement::of) {
            Some(kind) => self.doubts.entry(kind).or_default().push(reason),
            None => self.unknown.push(reason),
        }
    }

    /// What proves that a requirement is met.
    pub fn proof(&self, requirement: Requirement) -> Option<&Proof> {
        match requirement {
            Requirement::Parity if self.failed.is_some() => None,
            requirement => self.proven.get(&requirement),
        }
    }

    /// Why a requirement is not met; `None` when it is.
    pub fn objection(&self, requirement: Requirement) -> Option<String> {
        if self.proof(requirement).is_some() {
            return None;
        }
        if requirement == Requirement::Parity && self.failed.is_some() {
            return self.failed.clone();
        }
        let doubts = self.doubts.get(&requirement);
        let reasons = doubts
            .or(Some(&self.unknown))
            .filter(|reasons| !reasons.is_empty());
        Some(match reasons {
            None => "none is attached".into(),
            Some(reasons) => reasons.join(", "),
        })
    }

    /// Refuses an artifact that lacks something required.
    ///
    /// # Errors
    /// [`PublishError::Untrusted`], with every reason.
    pub fn demand(&self, place: &str, required: &[Requirement]) -> Result<(), PublishError> {
        let reasons: Vec<_> = required
            .iter()
            .filter_map(|requirement| Some(format!("{requirement}: {}", self.objection(*requirement)?)))
            .collect();
        if reasons.is_empty() {
            return Ok(());
        }
        Err(PublishError::Untrusted {
            place: place.to_owned(),
            reasons,
        })
    }
}

/// Lists of others may leave the type out.
fn may_be_bundle(entry: &Descriptor) -> bool {
    entry.artifact_type.as_deref().is_none_or(|kind| kind == BUNDLE)
}

/// Reads the bundle of an attachment.
fn read(artifact: &Artifact<'_>, store: &dyn Store, entry: &Descriptor) -> Result<Vec<u8>, PublishError> {
    let place = || format!("attachment {}", entry.digest);
    let (_, bytes) = store.manifest(&Version::Digest(entry.digest.clone()))?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| PublishError::malformed(place(), error.to_string()))?;
    let layer = Attachment::layer_of(&manifest, &artifact.descriptor.digest)
        .map_err(|reason| PublishError::malformed(place(), reason))?;
    let mut bundle = Vec::new();
    artifact.fetch(layer, &mut bundle, &NoProgress)?;
    Ok(bundle)
}

/// Checks a directory against a signature over its files; gives the hint of the key that signed it. `signature` is left
/// out of the tree if it lies in it.
///
/// # Errors
/// When a file can't be read, there is no signature, or the files are not exactly those that one of the keys signed.
pub fn directory(directory: &Path, signature: &Path, keys: &[VerifyingKey]) -> Result<String, PublishError> {
    let untrusted = |reason: String| PublishError::Untrusted {
        place: directory.display().to_string(),
        reasons: vec![format!("signature: {reason}")],
    };
    let bundle = match signature.metadata() {
        Ok(file) if file.len() > DOCUMENT_BYTES => {
            return Err(untrusted(format!("{} is too large", signature.display())));
        }
        _ => std::fs::read(signature)
            .map_err(|error| untrusted(format!("{}: {error}", signature.display())))?,
    };
    let opened = dsse::open(&bundle, keys).map_err(untrusted)?;
    let statement = Statement::parse(&opened.payload).map_err(untrusted)?;
    let tree = model_signing::tree_of_directory(directory, signature).map_err(|error| match error {
        PublishError::Bundle { path, reason } => {
            untrusted(format!("{} {reason}", shown(&path.to_string_lossy())))
        }
        other => other,
    })?;
    model_signing::check(&statement, &tree).map_err(untrusted)?;
    Ok(opened.key.hint().to_owned())
}
