//! Bytes on their way from one place to another, hashed as they pass.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::ArtifactError;
use crate::oci::Descriptor;
use crate::progress::Progress;

/// Bytes between two system calls.
const CHUNK: usize = 1 << 18;

/// Why a blob could not be copied.
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
    Mismatch(ArtifactError),
}

/// Reads all of `from`, hands each piece on, and gives the number of bytes.
pub(crate) fn pieces(
    from: &mut dyn Read,
    mut each: impl FnMut(&[u8]) -> Result<(), CopyError>,
) -> Result<u64, CopyError> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        total += count as u64;
        each(&buffer[..count])?;
    }
}

/// Copies a blob, reading no more than one byte beyond its length, and checks that it is the one described.
pub(crate) fn copy(
    blob: &Descriptor,
    from: &mut dyn Read,
    to: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<(), CopyError> {
    let mut hash = Sha256::new();
    let mut limited = from.take(blob.size.saturating_add(1));
    let bytes = pieces(&mut limited, |piece| {
        hash.update(piece);
        progress.advance(piece.len() as u64);
        to.write_all(piece).map_err(CopyError::Write)
    })?;
    let mismatch = |found: String| {
        Err(CopyError::Mismatch(ArtifactError::Mismatch {
            expected: blob.digest.to_string(),
            bytes: blob.size,
            found,
        }))
    };
    if bytes > blob.size {
        return mismatch("more bytes".into());
    }
    let found = Digest::finish(hash);
    if bytes < blob.size {
        return mismatch(format!("{bytes} bytes"));
    }
    if found != blob.digest {
        return mismatch(found.to_string());
    }
    Ok(())
}
