//! What a registry must be able to do.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::PublishError;
use crate::oci::Descriptor;
use crate::progress::Progress;
use crate::reference::Version;

/// Where a blob's bytes come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A file.
    File(PathBuf),
    /// Memory.
    Bytes(Vec<u8>),
}

impl Content {
    /// Reads it from its beginning.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn open(&self) -> Result<Box<dyn Read + Send + '_>, PublishError> {
        match self {
            Self::File(path) => {
                let file = File::open(path).map_err(PublishError::io(path, "can't be read"))?;
                Ok(Box::new(file))
            }
            Self::Bytes(bytes) => Ok(Box::new(bytes.as_slice())),
        }
    }
}

/// A registry, or a folder that stands for one.
pub trait Store {
    /// Where it is, for messages.
    fn place(&self) -> String;

    /// Whether it holds a blob, whole and unharmed.
    ///
    /// # Errors
    /// When it can't be asked.
    fn holds(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<bool, PublishError>;

    /// Takes a blob, and makes sure it has taken the right bytes.
    ///
    /// # Errors
    /// When it refuses, or the content is not what the descriptor says.
    fn put(&self, blob: &Descriptor, content: &Content, progress: &dyn Progress) -> Result<(), PublishError>;

    /// Makes a tag point to a manifest, all of whose blobs are there. Says whether it did not before.
    ///
    /// # Errors
    /// When it refuses.
    fn tag(&self, manifest: &Descriptor, bytes: &[u8], tag: &str) -> Result<bool, PublishError>;

    /// The manifest of a version: its descriptor and its bytes, which have that digest.
    ///
    /// # Errors
    /// When there is none.
    fn manifest(&self, version: &Version) -> Result<(Descriptor, Vec<u8>), PublishError>;

    /// Takes a manifest that has a subject, all of whose blobs are there, and lists it among what is attached to its
    /// subject. Says whether it was not listed before.
    ///
    /// # Errors
    /// When it refuses.
    fn attach(&self, manifest: &Descriptor, bytes: &[u8], subject: &Digest) -> Result<bool, PublishError>;

    /// The manifests attached to one, as the store lists them. Nobody vouches for the list.
    ///
    /// # Errors
    /// When it can't be asked, or the list is none.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, PublishError>;

    /// Reads a blob; whoever does must check its digest.
    ///
    /// # Errors
    /// When there is none.
    fn read(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>, PublishError>;
}
