//! One entry: what the directory says of it (4.3.12), held against the header before its data (4.3.7).

use std::ops::Range;

use super::Entry;
use super::fields::{Fields, u16_at, u32_at};
use crate::source::error::{Place, SourceError, shortened};
use crate::source::file::SourceFile;

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;

/// Bytes of each header, but for what varies.
const LOCAL_LEN: u64 = 30;
pub(super) const CENTRAL_LEN: usize = 46;

/// Flag bits: encrypted, sizes follow the data, strong encryption, directory encrypted.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const SIZES_FOLLOW: u16 = 1 << 3;

/// Extra field that carries what does not fit 32 bits.
const EXTRA_ZIP64: u16 = 1;

/// One entry of the central directory (4.3.12), its local header read and compared.
pub(super) fn central_entry(
    reader: &mut Fields<'_>,
    directory_start: u64,
) -> Result<(String, Entry), SourceError> {
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
        crc32,
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
    crc32: u32,
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
        // With the flag, the header may leave sizes and checksum open.
        let follow = u16_at(&fixed, 6) & SIZES_FOLLOW != 0;
        let open = follow && sizes[..2] == [0, 0];
        if sizes[..2] != known && !open {
            return Err(fail(format!(
                "has other sizes in its own header ({:?}, {known:?} in the directory)",
                &sizes[..2]
            )));
        }
        let crc32 = u32_at(&fixed, 14);
        if crc32 != self.crc32 && !(follow && crc32 == 0) {
            return Err(fail("has another checksum in its own header".into()));
        }
        Ok(data..end)
    }
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
            shortened(name)
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
