//! Fields of records: little-endian numbers, one after the other.

use crate::source::error::{Place, SourceError};
use crate::source::file::SourceFile;

/// Bytes of the directory taken one field after the other.
pub(super) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) position: usize,
    /// Offset of `bytes` in the file.
    pub(super) start: u64,
    pub(super) file: &'a SourceFile,
}

impl<'a> Fields<'a> {
    pub(super) fn offset(&self) -> u64 {
        self.start + self.position as u64
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], SourceError> {
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
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
