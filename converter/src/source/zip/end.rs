//! The records an archive ends with (4.3.14 to 4.3.16), which say where its directory lies.

use std::ops::Range;

use super::entry::CENTRAL_LEN;
use super::fields::{u16_at, u32_at, u64_at};
use crate::source::error::{Place, SourceError};
use crate::source::file::SourceFile;

const END_RECORD: u32 = 0x0605_4b50;
const END_RECORD_64: u32 = 0x0606_4b50;
const END_LOCATOR_64: u32 = 0x0706_4b50;

/// Bytes of each record, but for what varies.
const END_LEN: usize = 22;
const END_LEN_64: usize = 56;
const LOCATOR_LEN: u64 = 20;

/// Longest comment an archive may end with.
const MOST_COMMENT: u64 = 0xffff;

/// Where the central directory lies and how many entries it has.
pub(super) struct Directory {
    pub(super) range: Range<u64>,
    pub(super) entries: u64,
}

/// Finds the end records (4.3.14–4.3.16) and the central directory they point at.
pub(super) fn find_directory(file: &SourceFile) -> Result<Directory, SourceError> {
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
