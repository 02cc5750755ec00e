//! A temporary file for compressed bytes between the moment they are made and the moment the package is written.
//!
//! It has no name, so nothing of it stays however the process ends. Bytes go out and come back by positioned writes
//! and reads, so they never count as the process's memory.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corer_mil::{WeightError, WeightSource};

/// The file.
#[derive(Debug)]
pub(crate) struct Spill {
    file: File,
    len: AtomicU64,
}

impl Spill {
    /// An unnamed file in `directory`.
    pub(crate) fn new(directory: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            file: tempfile::tempfile_in(directory)?,
            len: AtomicU64::new(0),
        }))
    }

    /// Room for `len` bytes.
    pub(crate) fn room(self: &Arc<Self>, len: u64) -> Room {
        // Regions don't share pages, so that neighbours don't wait for each other.
        let start = self.len.fetch_add(len.next_multiple_of(4096), Ordering::Relaxed);
        Room {
            spill: Arc::clone(self),
            start,
            len,
        }
    }
}

/// A part of the file; a weight once it is written.
#[derive(Clone)]
pub(crate) struct Room {
    spill: Arc<Spill>,
    start: u64,
    len: u64,
}

impl Room {
    /// Writes `bytes` at `offset` within the room.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(offset + bytes.len() as u64 <= self.len, "written beyond the room");
        self.spill.file.write_all_at(bytes, self.start + offset)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({} bytes)", self.len)
    }
}

impl WeightSource for Room {
    fn byte_len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        let fail = |reason: String| WeightError {
            place: "compressed weight on its way into the package".into(),
            reason,
        };
        if offset
            .checked_add(out.len() as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(fail(format!(
                "{} bytes at offset {offset} lie outside it",
                out.len()
            )));
        }
        self.spill
            .file
            .read_exact_at(out, self.start + offset)
            .map_err(|error| fail(error.to_string()))
    }
}
