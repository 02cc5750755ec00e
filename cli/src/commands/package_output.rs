//! Where a package goes: what is refused before work begins, what is cleaned up when it ends early.

use std::path::Path;

use corer_proto::WriteError;

use crate::exit_codes::Exit;
use crate::failure::Failure;

/// Refuses an output that can't be written before the source is read.
///
/// # Errors
/// When its name does not end in .mlpackage, something stands there, or its directory does not exist.
pub(super) fn check(output: &Path, force: bool) -> Result<(), Failure> {
    if output
        .extension()
        .is_none_or(|extension| extension != "mlpackage")
    {
        let message = format!("{}: a package's name must end in .mlpackage", output.display());
        return Err(Failure::new(Exit::Usage, message));
    }
    if !force && output.symlink_metadata().is_ok() {
        return Err(exists(output));
    }
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            let message = format!("{}: is not a directory", parent.display());
            Err(Failure::new(Exit::Usage, message).hint("the directory the package goes into must exist"))
        }
        _ => Ok(()),
    }
}

/// The directory a package goes into.
pub(super) fn directory(output: &Path) -> &Path {
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Something stands where the output goes.
pub(super) fn exists(output: &Path) -> Failure {
    Failure::new(Exit::Usage, format!("{}: already exists", output.display()))
        .hint("replace it with --force, or choose another --output")
}

/// The failure a package that could not be written stands for; `weights` is the code for weights that can't be read.
pub(super) fn failure(error: WriteError, weights: Exit) -> Failure {
    match error {
        WriteError::Exists { path } => exists(&path),
        WriteError::NotAPackage { .. } | WriteError::BadPath { .. } => Failure::new(Exit::Usage, error),
        WriteError::Weight { .. } => Failure::new(weights, error),
        WriteError::NoSpace { .. } | WriteError::Io { .. } | WriteError::Model { .. } => {
            Failure::new(Exit::Unexpected, error)
        }
    }
}

/// Has an interrupt (or a request to terminate) remove the unfinished package before the process ends.
pub(super) fn clean_up_when_interrupted(output: &Path) {
    let output = output.to_owned();
    // Without a handler the next run to the same place removes what is left behind.
    let _ = ctrlc::set_handler(move || {
        corer_proto::discard_unfinished(&output);
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
}
