//! Which file it was.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use corer_verifier::report::FileDigest;
use sha2::{Digest, Sha256};

use crate::error::LibtorchError;

/// The file's name, length and SHA-256.
pub(super) fn of(path: &Path) -> Result<FileDigest, LibtorchError> {
    let read = || -> io::Result<(u64, Sha256)> {
        let mut file = File::open(path)?;
        let (mut bytes, mut hash) = (0, Sha256::new());
        let mut piece = vec![0; 1 << 16];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok((bytes, hash)),
                count => {
                    hash.update(&piece[..count]);
                    bytes += count as u64;
                }
            }
        }
    };
    let (bytes, hash) = read().map_err(|source| LibtorchError::Io {
        path: path.into(),
        source,
    })?;
    Ok(FileDigest {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        bytes,
        sha256: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}
