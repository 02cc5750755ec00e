//! Content digests as OCI spells them: `sha256:` and 64 lower-case hexadecimal digits.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::blob::{self, CopyError};

const ALGORITHM: &str = "sha256:";

/// The SHA-256 of a blob. A value of this type is well-formed, so that it can name a file.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is no digest.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is no sha256 digest (sha256: and 64 lower-case hexadecimal digits)")]
pub struct DigestError {
    text: String,
}

impl Digest {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// The digest of a file.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let read = blob::pieces(&mut file, |piece| {
            hash.update(piece);
            Ok(())
        });
        match read {
            Ok(_) => Ok(Self::finish(hash)),
            Err(CopyError::Read(error) | CopyError::Write(error)) => Err(error),
            Err(CopyError::Mismatch(error)) => Err(io::Error::other(error)),
        }
    }

    /// The digest of what was hashed.
    pub(crate) fn finish(hash: Sha256) -> Self {
        let digits = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Self(format!("{ALGORITHM}{digits}"))
    }

    /// The 64 digits.
    pub fn hex(&self) -> &str {
        &self.0[ALGORITHM.len()..]
    }

    /// As OCI spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(ALGORITHM).unwrap_or_default();
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() == 64 && digits.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            // A hostile index should not fill the terminal.
            let text = text.chars().take(100).collect();
            Err(DigestError { text })
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn of_nothing_and_of_abc() {
        // FIPS 180-4's own example, and the empty message.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let nothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"abc").as_str(), abc);
        assert_eq!(Digest::of(b"").as_str(), nothing);
    }

    #[test]
    fn nothing_else_is_one() {
        let good = Digest::of(b"").to_string();
        for bad in [
            String::new(),
            good.to_uppercase(),
            good.replace("sha256", "sha512"),
            good[..70].to_owned(),
            format!("{good}0"),
            format!("sha256:../../{}", &good[13..]),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
