//! The digest that names a package's contents.

use std::path::Path;

use crate::error::ReadError;

/// The digest of a whole package, 64 lower-case hexadecimal digits.
///
/// # Errors
/// When a file can't be read.
pub fn package_digest(path: &Path) -> Result<String, ReadError> {
    Err(ReadError::NotAPackage {
        path: path.to_owned(),
        reason: "reading is being written".into(),
    })
}
