//! The directory of a zip archive, checked against the file: which entry lies where.
//!
//! PyTorch's archives store tensors uncompressed, so that an entry is a range of the file that can be read where it
//! lies. Crates that unpack archives don't give that range, let the last of two equal names win, and believe the
//! central directory where it contradicts an entry's own header; here every such contradiction is an error.
//! Format: PKWARE APPNOTE 6.3.10, sections 4.3–4.5.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::error::{Place, SourceError};
use super::file::SourceFile;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END_RECORD: u32 = 0x0605_4b50;
const END_RECORD_64: u32 = 0x0606_4b50;
const END_LOCATOR_64: u32 = 0x0706_4b50;

/// Bytes of each record before its variable fields.
const LOCAL_LEN: u64 = 30;
const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;
const END_LEN_64: usize = 56;
const LOCATOR_LEN: u64 = 20;

/// Longest comment an archive may end with.
const MOST_COMMENT: u64 = 0xffff;

/// Largest central directory read: a million entries of ordinary names.
const MOST_DIRECTORY: u64 = 64 << 20;

/// Flag bits: encrypted, sizes follow the data, strong encryption, directory encrypted.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const SIZES_FOLLOW: u16 = 1 << 3;

/// Extra field that carries what does not fit 32 bits.
const EXTRA_ZIP64: u16 = 1;

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

/// Where the central directory lies and how many entries it has.
struct Directory {
    range: Range<u64>,
    entries: u64,
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
        if entry.method != 0 {
            let reason = format!(
                "is compressed (method {}), PyTorch stores tensors as they are; load the file in PyTorch and save \
                 it again",
                entry.method
            );
            return Err(SourceError::unsupported(path, place, reason));
        }
        Ok(entry.range.clone())
    }

    /// The contents of a small stored entry.
    ///
    /// # Errors
    /// As [`Self::stored`]; when it is larger than `most` or does not match its checksum.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, SourceError> {
        let range = self.stored(name)?;
        let bytes = self.file.read_vec(range.start, range.end - range.start, most)?;
        let wanted = self.entries.get(name).map_or(0, |entry| entry.crc32);
        if wanted != 0 && crc32fast::hash(&bytes) != wanted {
            let place = Place::Entry {
                name: name.into(),
                offset: None,
            };
            let reason = "does not match its checksum; the file is damaged, download it again";
            return Err(SourceError::malformed(self.file.path(), place, reason));
        }
        Ok(bytes)
    }
}

/// Finds the end records (4.3.14–4.3.16) and the central directory they point at.
fn find_directory(file: &SourceFile) -> Result<Directory, SourceError> {
    let fail = |place: Place, reason: &str| SourceError::malformed(file.path(), place, reason);
    let tail_len = file.len().min(END_LEN as u64 + MOST_COMMENT);
    let tail_start = file.len() - tail_len;
    let tail = file.read_vec(tail_start, tail_len, tail_len)?;
    let at = (0..(tail.len() + 1).saturating_sub(END_LEN)).rev().find(|at| {
        let record = &tail[*at..];
        // The comment must reach exactly to the end of the file.
        u32_at(record, 0) == END_RECORD && usize::from(u16_at(record, 20)) == record.len() - END_LEN
    });
    let Some(at) = at else {
        return Err(fail(
            Place::Whole,
            "is not a complete zip archive (no end record); the file is cut off or was not written by torch.save",
        ));
    };
    let (record, offset) = (&tail[at..], tail_start + at as u64);
    let mut directory = [
        u64::from(u16_at(record, 4)), // this disk
        u64::from(u16_at(record, 6)), // disk of the directory
        u64::from(u16_at(record, 8)), // entries on this disk
        u64::from(u16_at(record, 10)),
        u64::from(u32_at(record, 12)), // bytes
        u64::from(u32_at(record, 16)), // offset
    ];
    let mut end = offset;
    if let Some((wide, wide_offset)) = wide_end_record(file, offset)? {
        let limits = [0xffff, 0xffff, 0xffff, 0xffff, 0xffff_ffff, 0xffff_ffff];
        for ((narrow, wide), limit) in directory.iter_mut().zip(wide).zip(limits) {
            if *narrow != limit && *narrow != wide {
                return Err(fail(
                    Place::Offset(offset),
                    "the archive's two end records contradict each other",
                ));
            }
            *narrow = wide;
        }
        end = wide_offset;
    }
    let [disk, directory_disk, entries_here, entries, bytes, start] = directory;
    if disk != 0 || directory_disk != 0 || entries_here != entries {
        return Err(fail(
            Place::Offset(offset),
            "is one part of an archive split over several",
        ));
    }
    if start.checked_add(bytes) != Some(end) {
        let reason = format!(
            "the archive's directory of {bytes} bytes at {start} does not end where the end record starts ({end})"
        );
        return Err(fail(Place::Offset(offset), &reason));
    }
    if entries > bytes / CENTRAL_LEN as u64 {
        let reason = format!("{entries} entries don't fit the archive's directory of {bytes} bytes");
        return Err(fail(Place::Offset(offset), &reason));
    }
    Ok(Directory {
        range: start..end,
        entries,
    })
}

/// The six numbers of the zip64 end record and its offset, if a locator precedes the end record at `end`.
fn wide_end_record(file: &SourceFile, end: u64) -> Result<Option<([u64; 6], u64)>, SourceError> {
    let Some(locator_offset) = end.checked_sub(LOCATOR_LEN) else {
        return Ok(None);
    };
    let locator = file.read_vec(locator_offset, LOCATOR_LEN, LOCATOR_LEN)?;
    if u32_at(&locator, 0) != END_LOCATOR_64 {
        return Ok(None);
    }
    let offset = u64_at(&locator, 8);
    let fail = |place, reason: &str| SourceError::malformed(file.path(), Place::Offset(place), reason);
    if u32_at(&locator, 4) != 0 || u32_at(&locator, 16) > 1 {
        return Err(fail(
            locator_offset,
            "is one part of an archive split over several",
        ));
    }
    if offset
        .checked_add(END_LEN_64 as u64)
        .is_none_or(|record_end| record_end > locator_offset)
    {
        return Err(fail(
            locator_offset,
            "the zip64 end record does not lie before its locator",
        ));
    }
    let record = file.read_vec(offset, END_LEN_64 as u64, END_LEN_64 as u64)?;
    if u32_at(&record, 0) != END_RECORD_64 {
        return Err(fail(
            offset,
            "there is no zip64 end record where its locator points",
        ));
    }
    // The size leaves out the signature and itself.
    if u64_at(&record, 4).checked_add(12 + offset) != Some(locator_offset) {
        return Err(fail(offset, "the zip64 end record does not reach to its locator"));
    }
    let numbers = [
        u64::from(u32_at(&record, 16)),
        u64::from(u32_at(&record, 20)),
        u64_at(&record, 24),
        u64_at(&record, 32),
        u64_at(&record, 40),
        u64_at(&record, 48),
    ];
    Ok(Some((numbers, offset)))
}

/// One entry of the central directory (4.3.12), its local header read and compared.
fn central_entry(reader: &mut Fields<'_>, directory_start: u64) -> Result<(String, Entry), SourceError> {
    let offset = reader.offset();
    let file = reader.file;
    let fixed = reader.take(CENTRAL_LEN)?;
    let fail = |reason: String| SourceError::malformed(file.path(), Place::Offset(offset), reason);
    if u32_at(fixed, 0) != CENTRAL_HEADER {
        return Err(fail(
            "an entry of the archive's directory lacks its signature".into(),
        ));
    }
    let (flags, method, crc32) = (u16_at(fixed, 8), u16_at(fixed, 10), u32_at(fixed, 16));
    let name = reader.take(usize::from(u16_at(fixed, 28)))?;
    let name = checked_name(name).map_err(&fail)?;
    let extra = reader.take(usize::from(u16_at(fixed, 30)))?;
    reader.take(usize::from(u16_at(fixed, 32)))?;
    let sizes = [u32_at(fixed, 24), u32_at(fixed, 20), u32_at(fixed, 42)];
    let [size, packed, header_offset] = wide_sizes(sizes, extra)
        .ok_or_else(|| fail(format!("entry `{name}`: its zip64 field is cut off")))?;
    if u16_at(fixed, 34) != 0 {
        return Err(fail(format!(
            "entry `{name}` lies in another part of a split archive"
        )));
    }
    if method == 0 && size != packed {
        return Err(fail(format!(
            "entry `{name}` is stored as it is, yet claims {size} bytes in {packed}"
        )));
    }
    let place = LocalHeader {
        name: &name,
        flags,
        method,
        packed,
        size,
        header_offset,
    };
    let range = place.check(file, directory_start)?;
    let encrypted = flags & ENCRYPTED != 0;
    Ok((
        name,
        Entry {
            range,
            size,
            method,
            crc32,
            encrypted,
            header_offset,
        },
    ))
}

/// What the directory says of an entry, to hold against the header before its data (4.3.7).
struct LocalHeader<'a> {
    name: &'a str,
    flags: u16,
    method: u16,
    packed: u64,
    size: u64,
    header_offset: u64,
}

impl LocalHeader<'_> {
    /// Where the data lie.
    fn check(&self, file: &SourceFile, directory_start: u64) -> Result<Range<u64>, SourceError> {
        let start = self.header_offset;
        let fail = |reason: String| {
            let reason = format!("entry `{}` {reason}", self.name);
            SourceError::malformed(file.path(), Place::Offset(start), reason)
        };
        let outside = || {
            fail(format!(
                "does not lie before the archive's directory at {directory_start}"
            ))
        };
        let fixed_end = start.checked_add(LOCAL_LEN).filter(|end| *end <= directory_start);
        let fixed_end = fixed_end.ok_or_else(outside)?;
        let fixed = file.read_vec(start, LOCAL_LEN, LOCAL_LEN)?;
        if u32_at(&fixed, 0) != LOCAL_HEADER {
            return Err(fail("has no header where the directory says".into()));
        }
        let (name_len, extra_len) = (u64::from(u16_at(&fixed, 26)), u64::from(u16_at(&fixed, 28)));
        let data = fixed_end + name_len + extra_len;
        let end = data
            .checked_add(self.packed)
            .filter(|end| *end <= directory_start)
            .ok_or_else(outside)?;
        let variable = file.read_vec(fixed_end, name_len + extra_len, 2 * 0xffff)?;
        // At most 0xffff, checked to be read.
        let (name, extra) = variable.split_at(name_len as usize);
        if name != self.name.as_bytes() {
            return Err(fail("has another name in its own header".into()));
        }
        if u16_at(&fixed, 8) != self.method || (u16_at(&fixed, 6) ^ self.flags) & ENCRYPTED != 0 {
            return Err(fail(
                "has another compression or encryption in its own header".into(),
            ));
        }
        let narrow = [u32_at(&fixed, 22), u32_at(&fixed, 18), 0];
        let sizes =
            wide_sizes(narrow, extra).ok_or_else(|| fail("has a zip64 field that is cut off".into()))?;
        let known = [self.size, self.packed];
        // With the flag, the header may leave them open.
        let open = u16_at(&fixed, 6) & SIZES_FOLLOW != 0 && sizes[..2] == [0, 0];
        if sizes[..2] != known && !open {
            return Err(fail(format!(
                "has other sizes in its own header ({:?}, {known:?} in the directory)",
                &sizes[..2]
            )));
        }
        Ok(data..end)
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

/// A name that can't leave the archive: relative, forward slashes, no `..`.
fn checked_name(bytes: &[u8]) -> Result<String, String> {
    let name = std::str::from_utf8(bytes).map_err(|_| "an entry's name is not UTF-8".to_owned())?;
    let bad = name.is_empty()
        || name.starts_with('/')
        || name.contains(['\\', '\0', ':'])
        || name.chars().any(char::is_control)
        || name.split('/').any(|part| part == "..");
    if bad {
        return Err(format!(
            "entry `{}` has a name that leads out of the archive",
            super::error::shortened(name)
        ));
    }
    Ok(name.to_owned())
}

/// Size, packed size and header offset, those that are all ones taken from the zip64 field (4.5.3).
fn wide_sizes(narrow: [u32; 3], extra: &[u8]) -> Option<[u64; 3]> {
    let mut rest = extra;
    let mut wide: &[u8] = &[];
    while rest.len() >= 4 {
        let (tag, len) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
        // Padding that is no field at all ends the search, as it does for other readers.
        let Some(field) = rest.get(4..4 + len) else { break };
        if tag == EXTRA_ZIP64 {
            wide = field;
            break;
        }
        rest = &rest[4 + len..];
    }
    let mut sizes = [0; 3];
    for (size, narrow) in sizes.iter_mut().zip(narrow) {
        *size = if narrow == u32::MAX {
            let (value, later) = wide.split_first_chunk::<8>()?;
            wide = later;
            u64::from_le_bytes(*value)
        } else {
            u64::from(narrow)
        };
    }
    Some(sizes)
}

/// Bytes of the directory taken one field after the other.
struct Fields<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Offset of `bytes` in the file.
    start: u64,
    file: &'a SourceFile,
}

impl<'a> Fields<'a> {
    fn offset(&self) -> u64 {
        self.start + self.position as u64
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], SourceError> {
        let end = self
            .position
            .checked_add(len)
            .filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            let reason = "the archive's directory is cut off";
            return Err(SourceError::malformed(
                self.file.path(),
                Place::Offset(self.offset()),
                reason,
            ));
        };
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }
}

/// Little-endian numbers at positions the caller knows to be inside.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
