//! The directory of a zip archive, checked against the file: which entry lies where.
//!
//! PyTorch's archives store tensors uncompressed, so that an entry is a range of the file that can be read where it
//! lies, by several threads. Not read with the `zip` crate, which wants a cursor of its own and whose errors name
//! neither entry nor byte; a fuzz target holds this reader against it instead.
//! Format: PKWARE APPNOTE 6.3.10, sections 4.3–4.5.

mod end;
mod entry;
mod fields;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::error::{Place, SourceError};
use super::file::SourceFile;
use end::find_directory;
use entry::central_entry;
use fields::Fields;

/// Largest central directory read: a million entries of ordinary names.
const MOST_DIRECTORY: u64 = 64 << 20;

/// Compression methods (4.4.5): none, deflate.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// One entry, its place in the file checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where its bytes lie in the file, compressed or not.
    pub range: Range<u64>,
    /// Bytes it has once decompressed; the length of `range` when it is stored as it is.
    pub size: u64,
    /// Compression method: 0 stored, 8 deflated.
    pub method: u16,
    /// CRC-32 of its contents as the directory gives it (PyTorch writes 0 when told not to compute it).
    pub crc32: u32,
    encrypted: bool,
    header_offset: u64,
}

/// The entries of an archive.
#[derive(Clone, Debug)]
pub struct Archive {
    file: Arc<SourceFile>,
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Reads the directory and the header of every entry.
    ///
    /// # Errors
    /// When the file is not a zip archive, or its records contradict the file or each other.
    pub fn open(file: Arc<SourceFile>) -> Result<Self, SourceError> {
        let directory = find_directory(&file)?;
        let bytes = file.read_vec(
            directory.range.start,
            directory.range.end - directory.range.start,
            MOST_DIRECTORY,
        )?;
        let mut entries = BTreeMap::new();
        let mut reader = Fields {
            bytes: &bytes,
            position: 0,
            start: directory.range.start,
            file: &file,
        };
        for _ in 0..directory.entries {
            let offset = reader.offset();
            let (name, entry) = central_entry(&mut reader, directory.range.start)?;
            if entries.insert(name.clone(), entry).is_some() {
                let reason = format!("entry `{name}` is listed twice in the archive's directory");
                return Err(SourceError::malformed(file.path(), Place::Offset(offset), reason));
            }
        }
        if reader.position != bytes.len() {
            let reason = "the archive's directory holds more than its entries";
            return Err(SourceError::malformed(
                file.path(),
                Place::Offset(reader.offset()),
                reason,
            ));
        }
        check_overlaps(&file, &entries)?;
        Ok(Self { file, entries })
    }

    /// Whether a file starts as zip archives do: with an entry's header, or the end of an empty directory.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn starts_like_one(file: &SourceFile) -> Result<bool, SourceError> {
        if file.len() < 4 {
            return Ok(false);
        }
        let start = file.read_vec(0, 4, 4)?;
        Ok(matches!(&start[..], b"PK\x03\x04" | b"PK\x05\x06"))
    }

    /// The file.
    pub fn file(&self) -> &Arc<SourceFile> {
        &self.file
    }

    /// Entries in name order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Where an entry's contents lie in the file.
    ///
    /// # Errors
    /// When there is no such entry, or it is compressed or encrypted.
    pub fn stored(&self, name: &str) -> Result<Range<u64>, SourceError> {
        let entry = self.found(name)?;
        if entry.method != STORED {
            let reason = format!(
                "is compressed (method {}), PyTorch stores tensors as they are; load the file in PyTorch and save \
                 it again",
                entry.method
            );
            let place = Place::Entry {
                name: name.into(),
                offset: None,
            };
            return Err(SourceError::unsupported(self.file.path(), place, reason));
        }
        Ok(entry.range.clone())
    }

    /// The contents of a small entry, decompressed.
    ///
    /// # Errors
    /// When there is no such entry, it is encrypted or compressed with anything but deflate, is larger than `most`
    /// or does not match its checksum.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, SourceError> {
        let entry = self.found(name)?;
        let packed = entry.range.end - entry.range.start;
        let mut bytes = self.file.read_vec(entry.range.start, packed, most)?;
        let fail = |reason: String| {
            let place = Place::Entry {
                name: name.into(),
                offset: None,
            };
            SourceError::malformed(self.file.path(), place, reason)
        };
        match entry.method {
            STORED => {}
            DEFLATED => {
                let size = usize::try_from(entry.size.min(most)).unwrap_or(usize::MAX);
                if entry.size > most {
                    return Err(fail(format!(
                        "{} bytes are more than the {most} this may take",
                        entry.size
                    )));
                }
                bytes = miniz_oxide::inflate::decompress_to_vec_with_limit(&bytes, size)
                    .map_err(|error| fail(format!("can't be decompressed: {error}")))?;
                if bytes.len() != size {
                    return Err(fail(format!(
                        "decompresses to {} bytes, not the {size} the directory says",
                        bytes.len()
                    )));
                }
            }
            method => {
                let reason = format!("is compressed with method {method}, which PyTorch does not write");
                let place = Place::Entry {
                    name: name.into(),
                    offset: None,
                };
                return Err(SourceError::unsupported(self.file.path(), place, reason));
            }
        }
        if entry.crc32 != 0 && crc32fast::hash(&bytes) != entry.crc32 {
            return Err(fail(
                "does not match its checksum; the file is damaged, download it again".into(),
            ));
        }
        Ok(bytes)
    }

    /// The entry, unless it is missing or encrypted.
    fn found(&self, name: &str) -> Result<&Entry, SourceError> {
        let place = Place::Entry {
            name: name.into(),
            offset: None,
        };
        let path = self.file.path();
        let Some(entry) = self.entries.get(name) else {
            return Err(SourceError::malformed(path, place, "is missing from the archive"));
        };
        if entry.encrypted {
            return Err(SourceError::unsupported(
                path,
                place,
                "is encrypted; decrypt the archive first",
            ));
        }
        Ok(entry)
    }
}

/// Entries must not share bytes: archives that overlap expand to far more than they are.
fn check_overlaps(file: &SourceFile, entries: &BTreeMap<String, Entry>) -> Result<(), SourceError> {
    let mut placed: Vec<(&String, &Entry)> = entries.iter().collect();
    placed.sort_by_key(|(_, entry)| entry.header_offset);
    for pair in placed.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        if a.range.end > b.header_offset {
            let reason = format!("entries `{first}` and `{second}` share bytes");
            return Err(SourceError::malformed(
                file.path(),
                Place::Offset(b.header_offset),
                reason,
            ));
        }
    }
    Ok(())
}
