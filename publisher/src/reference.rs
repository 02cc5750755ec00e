//! Where artifacts lie: `oci-layout:DIR:TAG`, `oci://HOST/REPOSITORY:TAG`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::PublishError;

const LAYOUT: &str = "oci-layout:";
const REGISTRY: &str = "oci://";

/// An artifact's place: where, and which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reference {
    /// Where.
    pub location: Location,
    /// Which of those that lie there.
    pub version: Version,
}

/// A place that holds artifacts.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Location {
    /// A directory in the OCI image layout.
    Layout(PathBuf),
    /// A repository in a registry.
    Registry {
        /// Name or address, and port.
        host: String,
        /// Path of the repository.
        repository: String,
    },
}

/// Which artifact of a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Version {
    /// Whatever the tag points to.
    Tag(String),
    /// The one with this manifest.
    Digest(Digest),
}

impl Reference {
    /// The tag, for publishing, which can't choose a digest.
    ///
    /// # Errors
    /// When a digest was given.
    pub fn tag(&self) -> Result<&str, PublishError> {
        match &self.version {
            Version::Tag(tag) => Ok(tag),
            Version::Digest(_) => Err(PublishError::Reference {
                text: self.to_string(),
                reason: "a digest can't be chosen, end it with a tag, such as :1.0".into(),
            }),
        }
    }
}

impl FromStr for Reference {
    type Err = PublishError;

    fn from_str(text: &str) -> Result<Self, PublishError> {
        let refuse = |reason: String| PublishError::Reference {
            text: text.to_owned(),
            reason,
        };
        if let Some(place) = text.strip_prefix(REGISTRY) {
            let (place, version) = split(place).map_err(refuse)?;
            let (host, repository) = place
                .split_once('/')
                .ok_or_else(|| refuse("names no repository; it is oci://HOST/REPOSITORY:TAG".into()))?;
            check_host(host).map_err(refuse)?;
            check_repository(repository).map_err(refuse)?;
            return Ok(Self {
                location: Location::Registry {
                    host: host.to_owned(),
                    repository: repository.to_owned(),
                },
                version,
            });
        }
        let Some(place) = text.strip_prefix(LAYOUT) else {
            return Err(refuse(
                "must be oci://HOST/REPOSITORY:TAG or oci-layout:DIRECTORY:TAG".into(),
            ));
        };
        let (directory, version) = split(place).map_err(refuse)?;
        if directory.is_empty() {
            return Err(refuse(
                "names no directory; it is oci-layout:DIRECTORY:TAG".into(),
            ));
        }
        Ok(Self {
            location: Location::Layout(directory.into()),
            version,
        })
    }
}

/// Splits `PLACE:TAG` or `PLACE@sha256:…`.
fn split(text: &str) -> Result<(&str, Version), String> {
    if let Some((place, digest)) = text.rsplit_once('@')
        && digest.starts_with("sha256:")
    {
        let digest = digest.parse::<Digest>().map_err(|error| error.to_string())?;
        return Ok((place, Version::Digest(digest)));
    }
    match text.rsplit_once(':') {
        Some((place, tag)) if !tag.contains('/') => match check_tag(tag) {
            Ok(()) => Ok((place, Version::Tag(tag.to_owned()))),
            Err(reason) => Err(reason),
        },
        _ => Err("has no tag; end it with one, such as :1.0".into()),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if !host.is_empty() && host.chars().all(good) {
        return Ok(());
    }
    Err("its host must be a name or an address, with a port if need be".into())
}

/// The distribution specification's grammar of names.
fn check_repository(repository: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(word)
            && part.ends_with(word)
            && part.chars().all(|c| word(c) || matches!(c, '.' | '_' | '-'))
    };
    if repository.split('/').all(part) {
        return Ok(());
    }
    Err("its repository takes lower-case letters and digits, with `.`, `_`, `-` and `/` between them".into())
}

/// Whether a text may be a tag (the distribution specification's grammar).
///
/// # Errors
/// Why it may not.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good =
        tag.starts_with(word) && tag.len() <= 128 && tag.chars().all(|c| word(c) || c == '.' || c == '-');
    if good {
        return Ok(());
    }
    Err(format!(
        "`{tag}` is no tag: up to 128 letters, digits, `_`, `.` and `-`, beginning with a letter, digit or `_`"
    ))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.location, self.version)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(directory) => write!(f, "{LAYOUT}{}", directory.display()),
            Self::Registry { host, repository } => write!(f, "{REGISTRY}{host}/{repository}"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Location, Reference, Version};
    use crate::digest::Digest;

    #[test]
    fn places_and_versions() {
        let digest = Digest::of(b"");
        for (text, directory, version) in [
            (
                "oci-layout:models:1.0".to_owned(),
                "models",
                Version::Tag("1.0".into()),
            ),
            (
                "oci-layout:/a:b/c:latest".into(),
                "/a:b/c",
                Version::Tag("latest".into()),
            ),
            (
                format!("oci-layout:a@{digest}"),
                "a",
                Version::Digest(digest.clone()),
            ),
        ] {
            let reference: Reference = text.parse().expect("a reference");
            assert_eq!(reference.location, Location::Layout(directory.into()));
            assert_eq!(reference.version, version);
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn registries() {
        let text = "oci://localhost:5000/team/minilm:1.0";
        let reference: Reference = text.parse().expect("a reference");
        let (host, repository) = ("localhost:5000".to_owned(), "team/minilm".to_owned());
        assert_eq!(reference.location, Location::Registry { host, repository });
        assert_eq!(reference.to_string(), text);
        for (text, reason) in [
            ("oci://localhost:5000", "names no repository"),
            ("oci://localhost/minilm", "has no tag"),
            ("oci://host:1.0", "names no repository"),
            ("oci://me:secret@host/minilm:1.0", "its host must be"),
            ("oci://host/MiniLM:1.0", "lower-case"),
            ("oci://host/../x:1.0", "lower-case"),
            ("oci://host/a?b:1.0", "lower-case"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_a_reason() {
        for (text, reason) in [
            ("models:1.0", "must be"),
            ("oci-layout:models", "has no tag"),
            ("oci-layout:a:b/models", "has no tag"),
            ("oci-layout::1.0", "names no directory"),
            ("oci-layout:models:", "is no tag"),
            ("oci-layout:models:.x", "is no tag"),
            ("oci-layout:models:a b", "is no tag"),
            ("oci-layout:models@sha256:12", "no sha256 digest"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
