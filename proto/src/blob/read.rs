//! Reads weight files without loading them: the file is mapped, and a weight is a slice of the mapping.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use corer_mil::{WeightError, WeightSource};
use memmap2::Mmap;

use super::format::{ALIGNMENT, BlobType, HEADER_LEN, RECORD_LEN, SENTINEL, VERSION, align};
use crate::error::ReadError;

/// A weight file opened for reading.
pub(crate) struct BlobFile {
    name: String,
    storage: Storage,
    count: u32,
}

/// Where a weight file's bytes are.
enum Storage {
    /// On disk: mapped for those who want a slice, and open for those who copy (so that copying a whole file does
    /// not make all of it resident).
    Mapped { map: Mmap, file: File },
    /// In memory.
    Memory(Vec<u8>),
}

/// A blob's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) ty: BlobType,
    pub(crate) data_offset: u64,
    pub(crate) byte_len: u64,
    pub(crate) padding_bits: u64,
}

impl Record {
    /// One past the last byte of data.
    pub(crate) const fn end(&self) -> u64 {
        self.data_offset + self.byte_len
    }
}

impl BlobFile {
    /// Maps the file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(io(std::io::Error::other("not a regular file")));
        }
        let storage = if metadata.len() == 0 {
            Storage::Memory(Vec::new())
        } else {
            // SAFETY: the mapping is private to this process and read-only. Should another process truncate the
            // file meanwhile, access faults the process as with any mapped file; a package is a finished artefact
            // that its writer replaces by renaming and never edits in place.
            #[allow(unsafe_code)]
            let map = unsafe { Mmap::map(&file) }.map_err(io)?;
            Storage::Mapped { map, file }
        };
        Self::parse(path.display().to_string(), storage)
    }

    /// Takes a weight file's bytes from memory.
    pub(crate) fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, ReadError> {
        Self::parse(name.to_owned(), Storage::Memory(bytes))
    }

    fn parse(name: String, storage: Storage) -> Result<Self, ReadError> {
        let mut file = Self {
            name,
            storage,
            count: 0,
        };
        let Some(header) = file.bytes().first_chunk::<{ HEADER_LEN as usize }>() else {
            return Err(file.fault(
                0,
                format!(
                    "the file has {} bytes, its header alone needs {HEADER_LEN}",
                    file.len()
                ),
            ));
        };
        let count = u32_at(header, 0);
        match u32_at(header, 4) {
            VERSION => {}
            1 => {
                return Err(file.fault(
                    4,
                    "blob storage version 1 is not supported; only version 2 is".into(),
                ));
            }
            other => {
                return Err(file.fault(
                    4,
                    format!("unknown blob storage version {other}; only version 2 is read"),
                ));
            }
        }
        if u64::from(count) > file.len() / RECORD_LEN {
            return Err(file.fault(
                0,
                format!("claims {count} blobs, more than {} bytes can hold", file.len()),
            ));
        }
        file.count = count;
        Ok(file)
    }

    /// Display name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Blob count the header claims.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Mapped { map, .. } => map,
            Storage::Memory(bytes) => bytes,
        }
    }

    fn fault(&self, offset: u64, reason: String) -> ReadError {
        ReadError::Blob {
            file: self.name.clone(),
            offset,
            reason,
        }
    }

    /// The bytes of a record; `None` when they would reach beyond the file. Copied from the file rather than looked
    /// at in the mapping, where touching one record makes its whole neighbourhood resident.
    fn record_bytes(&self, offset: u64) -> Result<Option<[u8; RECORD_LEN as usize]>, ReadError> {
        if offset.checked_add(RECORD_LEN).is_none_or(|end| end > self.len()) {
            return Ok(None);
        }
        match &self.storage {
            Storage::Mapped { file, .. } => {
                let mut record = [0; RECORD_LEN as usize];
                file.read_exact_at(&mut record, offset)
                    .map_err(|error| self.fault(offset, format!("can't be read: {error}")))?;
                Ok(Some(record))
            }
            Storage::Memory(bytes) => Ok(usize::try_from(offset)
                .ok()
                .and_then(|start| bytes.get(start..)?.first_chunk().copied())),
        }
    }

    /// The record at `offset`, its fields checked against the file.
    pub(crate) fn record(&self, offset: u64) -> Result<Record, ReadError> {
        if !offset.is_multiple_of(ALIGNMENT) || offset < HEADER_LEN {
            return Err(self.fault(offset, format!("no blob record can lie here (records start at {HEADER_LEN} and at multiples of {ALIGNMENT})")));
        }
        let record = &self.record_bytes(offset)?.ok_or_else(|| {
            self.fault(
                offset,
                format!("a blob record would reach beyond the file's {} bytes", self.len()),
            )
        })?;
        let sentinel = u32_at(record, 0);
        if sentinel != SENTINEL {
            return Err(self.fault(
                offset,
                format!("blob sentinel is {sentinel:#010x}, must be {SENTINEL:#010x}"),
            ));
        }
        let code = u32_at(record, 4);
        let ty = BlobType::from_code(code)
            .ok_or_else(|| self.fault(offset + 4, format!("unknown blob type code {code}")))?;
        let byte_len = u64_at(record, 8);
        let data_offset = u64_at(record, 16);
        let padding_bits = u64_at(record, 24);
        if !data_offset.is_multiple_of(ALIGNMENT) {
            return Err(self.fault(
                offset + 16,
                format!("data offset {data_offset} is no multiple of {ALIGNMENT}"),
            ));
        }
        if data_offset
            .checked_add(byte_len)
            .is_none_or(|end| end > self.len())
        {
            return Err(self.fault(
                offset + 8,
                format!(
                    "{byte_len} bytes of data at {data_offset} reach beyond the file's {} bytes",
                    self.len()
                ),
            ));
        }
        if data_offset < HEADER_LEN + RECORD_LEN {
            return Err(self.fault(
                offset + 16,
                format!("data offset {data_offset} lies within the header"),
            ));
        }
        if padding_bits > 7 {
            return Err(self.fault(
                offset + 24,
                format!("{padding_bits} padding bits, can be 7 at most"),
            ));
        }
        Ok(Record {
            offset,
            ty,
            data_offset,
            byte_len,
            padding_bits,
        })
    }

    /// Every record in file order, found by walking from one to the next; ends at the first that can't be read.
    pub(crate) fn walk(&self) -> impl Iterator<Item = Result<Record, ReadError>> + '_ {
        let mut next = Some(HEADER_LEN);
        std::iter::from_fn(move || {
            let offset = next.take().filter(|offset| *offset < self.len())?;
            let record = self.record(offset);
            if let Ok(record) = &record {
                // A record that points backwards would make the walk go round for ever.
                next = align(record.end()).filter(|end| *end > offset);
            }
            Some(record)
        })
    }

    /// The data of a record as a weight.
    pub(crate) fn weight(self: &Arc<Self>, record: &Record) -> Arc<dyn WeightSource> {
        Arc::new(BlobWeight {
            file: Arc::clone(self),
            offset: record.data_offset,
            byte_len: record.byte_len,
        })
    }
}

impl fmt::Debug for BlobFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobFile({}, {} bytes)", self.name, self.len())
    }
}

/// A slice of a weight file. Made only from a checked [`Record`], so the range lies within the file.
struct BlobWeight {
    file: Arc<BlobFile>,
    offset: u64,
    byte_len: u64,
}

impl fmt::Debug for BlobWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BlobWeight({} at {}, {} bytes)",
            self.file.name, self.offset, self.byte_len
        )
    }
}

impl BlobWeight {
    fn slice(&self) -> &[u8] {
        let range = usize::try_from(self.offset)
            .ok()
            .zip(usize::try_from(self.offset + self.byte_len).ok())
            .and_then(|(start, end)| self.file.bytes().get(start..end));
        range.unwrap_or_default()
    }
}

impl WeightSource for BlobWeight {
    fn byte_len(&self) -> u64 {
        self.byte_len
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        let fail = |reason| WeightError {
            place: format!("{} at {}", self.file.name, self.offset),
            reason,
        };
        let fits = offset
            .checked_add(out.len() as u64)
            .is_some_and(|end| end <= self.byte_len);
        let start = usize::try_from(offset).ok().filter(|_| fits).ok_or_else(|| {
            fail(format!(
                "{} bytes at {offset} lie outside the weight's {}",
                out.len(),
                self.byte_len
            ))
        })?;
        match &self.file.storage {
            Storage::Mapped { file, .. } => file
                .read_exact_at(out, self.offset + offset)
                .map_err(|source| fail(format!("can't be read: {source}"))),
            Storage::Memory(_) => {
                out.copy_from_slice(&self.slice()[start..start + out.len()]);
                Ok(())
            }
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self.slice())
    }
}

fn u32_at(bytes: &[u8; 64], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8; 64], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}
