//! Where a trace goes: written in a directory of its own beside the target, then renamed over it.
//!
//! libtorch names the folder inside the archive after the file it writes, so that the file must have its final name
//! while it is written; else bytes would depend on a name nobody chose.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::LibtorchError;

/// Refuses a target that can't be written before any work.
pub(super) fn check(output: &Path, overwrite: bool) -> Result<(), LibtorchError> {
    match output.symlink_metadata() {
        Ok(found) if found.is_dir() || !overwrite => Err(LibtorchError::Exists { path: output.into() }),
        _ => Ok(()),
    }
}

/// Has `save` write a file of the target's name, and puts it in place. Gives its size.
pub(super) fn write(
    output: &Path,
    overwrite: bool,
    save: impl FnOnce(&Path) -> Result<(), LibtorchError>,
) -> Result<u64, LibtorchError> {
    let (Some(name), Some(unfinished)) = (output.file_name(), unfinished(output)) else {
        return Err(LibtorchError::Io {
            path: output.into(),
            source: io::ErrorKind::InvalidFilename.into(),
        });
    };
    discard(&unfinished);
    let written = unfinished.join(name);
    let result = fs::create_dir(&unfinished)
        .map_err(|source| LibtorchError::Io {
            path: output.into(),
            source,
        })
        .and_then(|()| save(&written))
        .and_then(|()| place(&written, output, overwrite));
    discard(&unfinished);
    result
}

fn discard(unfinished: &Path) {
    // Nothing there is the usual case; what can't be removed is found by its name.
    let _ = fs::remove_dir_all(unfinished);
}

/// The directory this process writes in before the archive is whole, named as `corer_proto` names its own, so that one
/// call cleans up after an interrupt.
fn unfinished(output: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(output.file_name()?);
    name.push(format!(".tmp-{}", std::process::id()));
    Some(output.with_file_name(name))
}

fn place(written: &Path, output: &Path, overwrite: bool) -> Result<u64, LibtorchError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => LibtorchError::Exists { path: output.into() },
        _ => LibtorchError::Io {
            path: output.into(),
            source,
        },
    };
    let file = File::open(written).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    match overwrite {
        true => fs::rename(written, output),
        // Unlike a rename, a link never replaces what appeared meanwhile.
        false => fs::hard_link(written, output),
    }
    .map_err(failed)?;
    let beside = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Makes the new name last; some file systems can't.
    let _ = File::open(beside).and_then(|directory| directory.sync_all());
    Ok(bytes)
}
