//! What can go wrong between a package and a registry, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use corer_proto::{ReadError, WriteError};

/// Why something was not published or pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The text names no place in a registry.
    #[error("`{text}`: {reason}")]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is to be published can't be named or bundled so.
    #[error("{}: {reason}", path.display())]
    Bundle {
        /// The package or file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The package can't be read.
    #[error(transparent)]
    Package(#[from] ReadError),
    /// The report can't be read.
    #[error("{}: {reason}", path.display())]
    Report {
        /// The report.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No report says that these very bytes passed.
    #[error("{}: not published: {reason}", package.display())]
    Unverified {
        /// The package.
        package: PathBuf,
        /// What the reports lack.
        reason: String,
    },
    /// A key can't be read, or is none.
    #[error("{place}: {reason}")]
    Key {
        /// Where it should be. Never the key.
        place: String,
        /// Why not.
        reason: String,
    },
    /// What was required of an artifact is not attached to it, or not signed by a key that is trusted.
    #[error("{place}: not trusted: {}", reasons.join("; "))]
    Untrusted {
        /// The artifact or directory.
        place: String,
        /// What is missing or wrong, one by one.
        reasons: Vec<String>,
    },
    /// A file changed while it was being published.
    #[error("{}: changed while it was being published", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The registry refuses, lacks what was asked for, or can't be reached.
    #[error("{place}: {reason}")]
    Registry {
        /// The registry, and what in it.
        place: String,
        /// Why.
        reason: String,
        /// What that means for whoever asked.
        fault: Fault,
    },
    /// What the registry holds is not what its digests say, or no artifact this program can unpack.
    #[error("{place}: {source}")]
    Artifact {
        /// The registry, and what in it.
        place: String,
        /// What is wrong.
        source: ArtifactError,
    },
    /// A file or directory can't be read or written.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Where an artifact is to be unpacked to can't be written.
    #[error(transparent)]
    Output(#[from] WriteError),
}

/// What a registry's no means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It won't do what was asked; asking again does not help.
    Refused,
    /// It does not have what was asked for.
    Missing,
    /// It could not be reached or stumbled; asking again may help, after so long if it said so.
    Passing(Option<Duration>),
}

/// What is wrong with an artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// A blob's bytes are not those its digest stands for.
    #[error("tampered with or damaged: expected {expected} ({bytes} bytes), found {found}")]
    Mismatch {
        /// The digest by which it was asked for.
        expected: String,
        /// The length it should have.
        bytes: u64,
        /// What it is.
        found: String,
    },
    /// A package's digest is not the one the artifact was published with.
    #[error("the package's digest is {found}, {said_by} says {expected}")]
    Package {
        /// The digest found.
        found: String,
        /// The digest expected.
        expected: String,
        /// Who expects it.
        said_by: &'static str,
    },
    /// A document is malformed.
    #[error("{0}")]
    Malformed(String),
}

impl PublishError {
    /// Whether a registry said that it has no such thing.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::Registry {
                fault: Fault::Missing,
                ..
            }
        )
    }

    pub(crate) fn refused(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Registry {
            place: place.into(),
            reason: reason.into(),
            fault: Fault::Refused,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, action, source }
    }

    pub(crate) fn malformed(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Artifact {
            place: place.into(),
            source: ArtifactError::Malformed(reason.into()),
        }
    }
}
