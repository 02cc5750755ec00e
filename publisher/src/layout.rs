//! A folder in the OCI image layout: `oci-layout`, `index.json`, `blobs/sha256/<digits>`.
//!
//! Blobs are written beside, synced, read back and renamed; the index, which holds the tags, is exchanged last. A kill
//! at any moment leaves the old index or the new one, and blobs that are whole. Writers to one folder take turns.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::{Builder, NamedTempFile};

use crate::blob::{self, CopyError};
use crate::digest::Digest;
use crate::error::{ArtifactError, Fault, PublishError};
use crate::oci::{self, DOCUMENT_BYTES, Descriptor, Index, REF_NAME, referrers_tag};
use crate::progress::{NoProgress, Progress};
use crate::reference::Version;
use crate::store::{Content, Store};

const MARKER: &str = "oci-layout";
const MARKER_TEXT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
const LAYOUT_VERSION: &str = "1.0.0";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";
/// How files under construction begin.
const UNFINISHED: &str = ".corer-unfinished-";

/// A folder in the OCI image layout.
#[derive(Debug)]
pub struct Layout {
    directory: PathBuf,
    /// Holds the turn to write; none when only reading.
    _turn: Option<File>,
}

impl Layout {
    /// Opens a folder to read from.
    ///
    /// # Errors
    /// When it is no OCI image layout.
    pub fn open(directory: &Path) -> Result<Self, PublishError> {
        let layout = Self {
            directory: directory.to_owned(),
            _turn: None,
        };
        layout.check_marker()?;
        Ok(layout)
    }

    /// Opens a folder to publish to; one that is missing or empty becomes a layout. Waits for its turn.
    ///
    /// # Errors
    /// When something else is there, or it can't be written.
    pub fn create(directory: &Path) -> Result<Self, PublishError> {
        fs::create_dir_all(directory).map_err(PublishError::io(directory, "can't be created"))?;
        let turn = File::open(directory).map_err(PublishError::io(directory, "can't be opened"))?;
        turn.lock()
            .map_err(PublishError::io(directory, "can't be locked"))?;
        let layout = Self {
            directory: directory.to_owned(),
            _turn: Some(turn),
        };
        let blobs = directory.join(BLOBS);
        if layout.directory.join(MARKER).symlink_metadata().is_ok() {
            layout.check_marker()?;
        } else if layout.has_foreign_files()? {
            return Err(layout.refuse("is neither empty nor an OCI image layout (it has no oci-layout file)"));
        }
        // Whoever left these no longer runs: it would hold the turn.
        clear_unfinished(directory);
        clear_unfinished(&blobs);
        fs::create_dir_all(&blobs).map_err(PublishError::io(&blobs, "can't be created"))?;
        if !directory.join(MARKER).is_file() {
            replace(directory, MARKER, MARKER_TEXT)?;
        }
        Ok(layout)
    }

    /// Whether anything is there that a killed first publication does not explain.
    fn has_foreign_files(&self) -> Result<bool, PublishError> {
        let fail = || PublishError::io(&self.directory, "can't be read");
        for entry in fs::read_dir(&self.directory).map_err(fail())? {
            let name = entry.map_err(fail())?.file_name();
            if name != OsStr::new("blobs") && !name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check_marker(&self) -> Result<(), PublishError> {
        let no_layout = |reason: String| self.refuse(&format!("is no OCI image layout: {reason}"));
        let bytes = read_document(&self.directory.join(MARKER))
            .map_err(|error| no_layout(format!("{MARKER}: {error}")))?;
        let marker: Value =
            serde_json::from_slice(&bytes).map_err(|error| no_layout(format!("{MARKER}: {error}")))?;
        match marker.get("imageLayoutVersion").and_then(Value::as_str) {
            Some(LAYOUT_VERSION) => Ok(()),
            _ => Err(no_layout(format!(
                "{MARKER} does not say imageLayoutVersion {LAYOUT_VERSION}"
            ))),
        }
    }

    fn refuse(&self, reason: &str) -> PublishError {
        PublishError::refused(self.place(), reason)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join(BLOBS).join(digest.hex())
    }

    /// The index; `None` before anything was published.
    fn index(&self) -> Result<Option<Index>, PublishError> {
        let path = self.directory.join(INDEX);
        let bytes = match read_document(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(PublishError::io(path, "can't be read")(error)),
        };
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| PublishError::malformed(path.display().to_string(), error.to_string()))?;
        Ok(Some(index))
    }

    /// What is attached to a manifest.
    fn list(&self, subject: &Digest) -> Result<Index, PublishError> {
        let tag = referrers_tag(subject);
        let index = self.index()?.unwrap_or_default();
        let tagged = index
            .manifests
            .iter()
            .find(|entry| entry.annotations.get(REF_NAME) == Some(&tag));
        let Some(entry) = tagged else {
            return Ok(Index::default());
        };
        let place = format!("{}:{tag}", self.place());
        serde_json::from_slice(&self.document(entry, &place)?)
            .map_err(|error| PublishError::malformed(place, error.to_string()))
    }

    /// The descriptor of a manifest that no tag names: one that is attached to another.
    fn untagged(&self, digest: &Digest) -> Result<Option<Descriptor>, PublishError> {
        let path = self.blob(digest);
        let bytes = match read_document(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(PublishError::io(path, "can't be read")(error)),
        };
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let media_type = document.get("mediaType").and_then(Value::as_str);
        let is_manifest = |kind: &&str| [oci::MANIFEST, oci::INDEX].contains(kind);
        let size = bytes.len() as u64;
        // Its digest is checked by whoever reads the whole.
        Ok(media_type
            .filter(is_manifest)
            .map(|media_type| Descriptor::new(media_type, digest.clone(), size)))
    }

    /// A manifest's or an index's bytes, which have its digest.
    fn document(&self, entry: &Descriptor, place: &str) -> Result<Vec<u8>, PublishError> {
        if entry.size > DOCUMENT_BYTES {
            return Err(PublishError::malformed(
                place,
                format!("its manifest has {} bytes", entry.size),
            ));
        }
        let mut bytes = Vec::new();
        let mut file = self.read(entry)?;
        blob::copy(entry, &mut file, &mut bytes, &NoProgress).map_err(|error| match error {
            CopyError::Mismatch(source) => PublishError::Artifact {
                place: place.to_owned(),
                source,
            },
            CopyError::Read(error) | CopyError::Write(error) => {
                PublishError::io(self.blob(&entry.digest), "can't be read")(error)
            }
        })?;
        Ok(bytes)
    }

    fn no_artifact(&self, version: &Version, index: &Index) -> PublishError {
        let tags: Vec<_> = index
            .manifests
            .iter()
            .filter_map(|entry| entry.annotations.get(REF_NAME))
            .filter(|tag| !oci::is_referrers_tag(tag))
            .collect();
        let there: String = match &tags[..] {
            [] => "it holds nothing with a tag".into(),
            tags => {
                let some: Vec<_> = tags
                    .iter()
                    .take(10)
                    .map(|tag| tag.escape_debug().to_string())
                    .collect();
                format!("there is {}", some.join(", "))
            }
        };
        PublishError::Registry {
            place: self.place(),
            reason: format!("has no artifact {version}; {there}"),
            fault: Fault::Missing,
        }
    }

    fn compare(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<bool, PublishError> {
        let path = self.blob(&blob.digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(PublishError::io(path, "can't be read")(error)),
        };
        match blob::copy(blob, &mut file, &mut io::sink(), progress) {
            Ok(()) => Ok(true),
            Err(CopyError::Mismatch(_)) => Ok(false),
            Err(CopyError::Read(error) | CopyError::Write(error)) => {
                Err(PublishError::io(path, "can't be read")(error))
            }
        }
    }

    fn put_from(
        &self,
        blob: &Descriptor,
        content: &Content,
        progress: &dyn Progress,
    ) -> Result<(), PublishError> {
        let blobs = self.directory.join(BLOBS);
        let mut file = unfinished(&blobs)?;
        let copied = blob::copy(blob, &mut *content.open()?, file.as_file_mut(), progress);
        copied.map_err(|error| match (error, content) {
            (CopyError::Write(error), _) => PublishError::io(file.path(), "can't be written")(error),
            (CopyError::Mismatch(_), Content::File(path)) => PublishError::Changed { path: path.clone() },
            (CopyError::Read(error), Content::File(path)) => PublishError::io(path, "can't be read")(error),
            (CopyError::Mismatch(source), Content::Bytes(_)) => PublishError::Artifact {
                place: self.place(),
                source,
            },
            (CopyError::Read(error), Content::Bytes(_)) => {
                PublishError::io(file.path(), "can't be read")(error)
            }
        })?;
        persist(file, &self.blob(&blob.digest))?;
        sync_directory(&blobs)?;
        if self.compare(blob, &NoProgress)? {
            return Ok(());
        }
        Err(PublishError::Artifact {
            place: format!("{}: blob {}", self.place(), blob.digest),
            source: ArtifactError::Malformed("what was written does not read back".into()),
        })
    }
}

impl Store for Layout {
    fn place(&self) -> String {
        self.directory.display().to_string()
    }

    fn holds(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<bool, PublishError> {
        self.compare(blob, progress)
    }

    fn put(&self, blob: &Descriptor, content: &Content, progress: &dyn Progress) -> Result<(), PublishError> {
        self.put_from(blob, content, progress)
    }

    fn tag(&self, manifest: &Descriptor, bytes: &[u8], tag: &str) -> Result<bool, PublishError> {
        if !self.compare(manifest, &NoProgress)? {
            self.put_from(manifest, &Content::Bytes(bytes.to_vec()), &NoProgress)?;
        }
        let mut entry = manifest.clone();
        entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        let mut index = self.index()?.unwrap_or_default();
        let mut tagged = index
            .manifests
            .iter_mut()
            .filter(|other| other.annotations.get(REF_NAME).is_some_and(|name| name == tag));
        match tagged.next() {
            Some(same) if *same == entry => return Ok(false),
            Some(old) => *old = entry,
            None => index.manifests.push(entry),
        }
        replace(&self.directory, INDEX, &oci::json(&index))?;
        Ok(true)
    }

    fn manifest(&self, version: &Version) -> Result<(Descriptor, Vec<u8>), PublishError> {
        let index = self.index()?.unwrap_or_default();
        let wanted = |entry: &&Descriptor| match version {
            Version::Tag(tag) => entry.annotations.get(REF_NAME) == Some(tag),
            Version::Digest(digest) => entry.digest == *digest,
        };
        let entry = match (index.manifests.iter().find(wanted), version) {
            (Some(entry), _) => entry.clone(),
            (None, Version::Digest(digest)) => self
                .untagged(digest)?
                .ok_or_else(|| self.no_artifact(version, &index))?,
            (None, Version::Tag(_)) => return Err(self.no_artifact(version, &index)),
        };
        let bytes = self.document(&entry, &format!("{}{version}", self.place()))?;
        Ok((entry, bytes))
    }

    fn attach(&self, manifest: &Descriptor, bytes: &[u8], subject: &Digest) -> Result<bool, PublishError> {
        let tag = referrers_tag(subject);
        let mut list = self.list(subject)?;
        if !list.refer(manifest) {
            return Ok(false);
        }
        if !self.compare(manifest, &NoProgress)? {
            self.put_from(manifest, &Content::Bytes(bytes.to_vec()), &NoProgress)?;
        }
        let list = oci::json(&list);
        self.tag(&Descriptor::of(oci::INDEX, &list), &list, &tag)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, PublishError> {
        Ok(self.list(subject)?.manifests)
    }

    fn read(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>, PublishError> {
        let path = self.blob(&blob.digest);
        match File::open(&path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PublishError::malformed(
                self.place(),
                format!("blob {} is missing", blob.digest),
            )),
            Err(error) => Err(PublishError::io(path, "can't be read")(error)),
        }
    }
}

/// Reads a small document.
fn read_document(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCUMENT_BYTES {
        return Err(io::Error::other(format!("is larger than {DOCUMENT_BYTES} bytes")));
    }
    Ok(bytes)
}

/// A file under construction; it goes away unless persisted.
fn unfinished(directory: &Path) -> Result<NamedTempFile, PublishError> {
    Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(directory)
        .map_err(PublishError::io(directory, "can't be written to"))
}

fn persist(file: NamedTempFile, to: &Path) -> Result<(), PublishError> {
    let fail = || PublishError::io(to, "can't be written");
    readable(file.as_file()).map_err(fail())?;
    file.as_file().sync_all().map_err(fail())?;
    file.persist(to).map_err(|error| fail()(error.error))?;
    Ok(())
}

/// Temporary files are for their owner alone; what is published is for everyone.
fn readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// Writes a small file whole, in place of one that may be there.
fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), PublishError> {
    let mut file = unfinished(directory)?;
    let written = file.as_file_mut().write_all(bytes);
    written.map_err(PublishError::io(directory.join(name), "can't be written"))?;
    persist(file, &directory.join(name))?;
    sync_directory(directory)
}

pub(crate) fn sync_directory(path: &Path) -> Result<(), PublishError> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        // File systems that don't know how to.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result.map_err(PublishError::io(path, "can't be flushed to disk")),
    }
}

/// Removes what killed writers left. Failing to is no reason not to write.
fn clear_unfinished(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}
