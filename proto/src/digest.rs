//! The digest that names a package's contents.
//!
//! A plain SHA-256 of a large file is one long chain that only one core can work on. So a file's digest is taken in
//! two steps, which any shell can repeat:
//!
//! - *file digest*: SHA-256 over the SHA-256 digests (32 bytes each) of the file's consecutive pieces of 1 MiB; the
//!   last piece is shorter, an empty file has none.
//! - *package digest*: SHA-256 over one line per file, `<file digest in hex>  <path>\n`, where the path is relative
//!   to the package, has `/` between its parts, and the lines are sorted by path, byte by byte.
//!
//! ```text
//! cd X.mlpackage && find . -type f | sed 's|^\./||' | LC_ALL=C sort | while read -r f; do
//!   h=$(split -b 1M --filter='sha256sum | cut -c1-64 | xxd -r -p' "$f" | sha256sum | cut -c1-64)
//!   printf '%s  %s\n' "$h" "$f"
//! done | sha256sum
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::ReadError;
use crate::pieces;

/// A SHA-256 digest.
pub type Sha = [u8; 32];

/// Most directory levels inside a package; Core ML's own has three.
const DEPTH: usize = 16;

/// The digest of one piece of a file.
pub(crate) fn piece(bytes: &[u8]) -> Sha {
    Sha256::digest(bytes).into()
}

/// The digest of a file from those of its pieces.
pub(crate) fn from_pieces(pieces: &[Sha]) -> Sha {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update(piece);
    }
    hash.finalize().into()
}

/// The digest of a small file that is in memory.
pub(crate) fn from_bytes(bytes: &[u8]) -> Sha {
    let pieces: Vec<Sha> = bytes.chunks(pieces::PIECE).map(piece).collect();
    from_pieces(&pieces)
}

/// Takes a file's digest while its bytes pass by, for whoever reads them anyway.
#[derive(Clone, Debug, Default)]
pub struct FileDigester {
    pieces: Sha256,
    piece: Sha256,
    filled: usize,
}

impl FileDigester {
    /// A file of which no byte has been seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(pieces::PIECE - self.filled));
            self.piece.update(now);
            self.filled += now.len();
            if self.filled == pieces::PIECE {
                self.end_piece();
            }
            bytes = later;
        }
    }

    /// The file digest, once all bytes were seen.
    pub fn finish(mut self) -> Sha {
        if self.filled > 0 {
            self.end_piece();
        }
        self.pieces.finalize().into()
    }

    fn end_piece(&mut self) {
        self.pieces.update(self.piece.finalize_reset());
        self.filled = 0;
    }
}

/// The package digest from the file digests by path, for whoever has taken these with [`FileDigester`].
pub fn from_files(files: &BTreeMap<String, Sha>) -> String {
    let mut hash = Sha256::new();
    for (path, digest) in files {
        hash.update(format!("{}  {path}\n", hex(digest)));
    }
    hex(&hash.finalize())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// The digest of a whole package, 64 lower-case hexadecimal digits; how it is taken is said at the top of
/// [this module](crate::digest). Equal digests mean equal files.
///
/// # Errors
/// When a file can't be read or is neither a regular file nor a directory.
pub fn package_digest(path: &Path) -> Result<String, ReadError> {
    let mut files = BTreeMap::new();
    gather(path, "", 0, &mut files)?;
    if files.is_empty() {
        return Err(ReadError::NotAPackage {
            path: path.to_owned(),
            reason: "it holds no file".into(),
        });
    }
    Ok(from_files(&files))
}

fn gather(
    directory: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, Sha>,
) -> Result<(), ReadError> {
    let io = |source| ReadError::Io {
        path: directory.to_owned(),
        source,
    };
    if depth > DEPTH {
        return Err(io(io::Error::other(format!(
            "directories nested deeper than {DEPTH}"
        ))));
    }
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        let fail = |reason: &str| ReadError::Io {
            path: path.clone(),
            source: io::Error::other(reason),
        };
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| fail("the name is not UTF-8"))?;
        let relative = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry.file_type().map_err(io)?;
        if kind.is_dir() {
            gather(&path, &relative, depth + 1, files)?;
        } else if kind.is_file() {
            files.insert(relative, file_digest(&path)?);
        } else {
            return Err(fail("neither a regular file nor a directory"));
        }
    }
    Ok(())
}

fn file_digest(path: &Path) -> Result<Sha, ReadError> {
    let io = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let len = file.metadata().map_err(io)?.len();
    let pieces = pieces::for_each(len, pieces::threads(None), |offset, buffer| {
        file.read_exact_at(buffer, offset)?;
        Ok(piece(buffer))
    });
    Ok(from_pieces(&pieces.map_err(io)?))
}

#[cfg(test)]
mod tests {
    use super::{FileDigester, from_bytes};
    use crate::pieces::PIECE;

    #[test]
    fn a_file_has_one_digest_however_its_bytes_pass_by() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 7] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            for step in [7001, PIECE, 3 * PIECE] {
                let mut digester = FileDigester::new();
                bytes.chunks(step).for_each(|chunk| digester.update(chunk));
                assert_eq!(
                    digester.finish(),
                    from_bytes(&bytes),
                    "{len} bytes, {step} at a time"
                );
            }
        }
    }
}
