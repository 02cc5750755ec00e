//! Report files in a directory, each whole or not there.

use std::io::{self, Write};
use std::path::Path;

use crate::exit_codes::Exit;
use crate::failure::Failure;

/// Writes files (name and contents) into `directory`, which is made if need be; older ones are replaced.
///
/// # Errors
/// When the directory can't be made or written to.
pub(crate) fn write(directory: &Path, files: &[(&str, String)]) -> Result<(), Failure> {
    let write = || {
        std::fs::create_dir_all(directory)?;
        files
            .iter()
            .try_for_each(|(name, contents)| replace(directory, name, contents))
    };
    write().map_err(|error: io::Error| {
        Failure::new(
            Exit::Unexpected,
            format!("{}: the report can't be written: {error}", directory.display()),
        )
    })
}

fn replace(directory: &Path, name: &str, contents: &str) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(contents.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(directory.join(name))?;
    Ok(())
}
