//! A source file read at positions, by several threads at once, without being mapped.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Place, SourceError};

/// An open file, a part of one (an archive in an archive), or bytes that stand for one (computed tables, tests,
/// fuzzing).
pub struct SourceFile {
    path: PathBuf,
    len: u64,
    backing: Backing,
}

enum Backing {
    Disk(File),
    Memory(Vec<u8>),
    Section { whole: Arc<SourceFile>, start: u64 },
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceFile({}, {} bytes)", self.path.display(), self.len)
    }
}

impl SourceFile {
    /// Opens a regular file; its length now is the one everything is checked against.
    ///
    /// # Errors
    /// When it can't be opened or is not a regular file.
    pub fn open(path: &Path) -> Result<Arc<Self>, SourceError> {
        let fail = |error| SourceError::io(path, error);
        // Asked before opening: opening a named pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(fail)?.is_file() {
            return Err(SourceError::unsupported(
                path,
                Place::Whole,
                "is not a regular file",
            ));
        }
        let file = File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        Ok(Arc::new(Self {
            path: path.into(),
            len,
            backing: Backing::Disk(file),
        }))
    }

    /// Bytes in memory under a name for messages.
    pub fn memory(name: impl Into<PathBuf>, bytes: Vec<u8>) -> Arc<Self> {
        let (path, len) = (name.into(), bytes.len() as u64);
        Arc::new(Self {
            path,
            len,
            backing: Backing::Memory(bytes),
        })
    }

    /// A part of the file as a file of its own, under the file's path and `name`.
    ///
    /// # Errors
    /// When the range does not lie in the file.
    pub fn section(self: &Arc<Self>, name: &str, range: Range<u64>) -> Result<Arc<Self>, SourceError> {
        if range.start > range.end || range.end > self.len {
            let reason = format!(
                "`{name}` at {range:?} does not lie in the file's {} bytes",
                self.len
            );
            return Err(SourceError::malformed(
                &self.path,
                Place::Offset(range.start),
                reason,
            ));
        }
        Ok(Arc::new(Self {
            path: self.path.join(name),
            len: range.end - range.start,
            backing: Backing::Section {
                whole: self.clone(),
                start: range.start,
            },
        }))
    }

    /// Path, as opened; within a section, followed by its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// As the system gives them; `UnexpectedEof` when the file, or the section, ends before.
    pub fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.backing {
            Backing::Section { whole, start } => {
                let end = offset.checked_add(out.len() as u64);
                if end.is_none_or(|end| end > self.len) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                whole.read_exact_at(out, start + offset)
            }
            Backing::Disk(file) => file.read_exact_at(out, offset),
            Backing::Memory(bytes) => {
                let range = usize::try_from(offset)
                    .ok()
                    .and_then(|start| Some(start..start.checked_add(out.len())?))
                    .and_then(|range| bytes.get(range));
                out.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// `len` bytes from `offset` on in a vector, refusing more than `most`.
    ///
    /// # Errors
    /// When the range lies outside the file, is longer than `most`, or can't be read.
    pub fn read_vec(&self, offset: u64, len: u64, most: u64) -> Result<Vec<u8>, SourceError> {
        let fail = |reason: String| SourceError::malformed(&self.path, Place::Offset(offset), reason);
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(fail(format!(
                "{len} bytes are needed here, but the file ends at {}",
                self.len
            )));
        }
        if len > most {
            return Err(fail(format!(
                "{len} bytes are more than the {most} this may take"
            )));
        }
        let size = usize::try_from(len).map_err(|_| fail("too large for this machine".into()))?;
        let mut bytes = vec![0; size];
        self.read_exact_at(&mut bytes, offset)
            .map_err(|error| SourceError::io(&self.path, error))?;
        Ok(bytes)
    }
}
