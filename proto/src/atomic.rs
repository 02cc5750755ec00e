//! A directory that appears whole or not at all.
//!
//! A package (or what a registry holds of one) is built in a hidden directory beside its target (`.NAME.tmp-<pid>`) and renamed when complete. The
//! builder holds a lock on that directory; the system drops it when the process ends, however it ends, so the next
//! writer can tell what a killed one left behind and clears it away.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::WriteError;
use crate::manifest::is_package;

/// A directory under construction. Dropping it before [`Staging::commit`] removes it.
#[derive(Debug)]
pub struct Staging {
    target: PathBuf,
    parent: PathBuf,
    directory: PathBuf,
    /// Open, and locked, until the package stands at its target.
    lock: File,
    committed: bool,
}

/// Refuses targets that can't be written before any work is done.
pub(crate) fn check_target(target: &Path, overwrite: bool) -> Result<(), WriteError> {
    split(target)?;
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(WriteError::Io {
            path: target.to_owned(),
            action: "can't be examined",
            source,
        }),
        Ok(_) if !overwrite => Err(WriteError::Exists {
            path: target.to_owned(),
        }),
        Ok(_) => is_package(target).map_err(|reason| WriteError::NotAPackage {
            path: target.to_owned(),
            reason,
        }),
    }
}

/// The directory a target lies in, and its name there.
fn split(target: &Path) -> Result<(PathBuf, OsString), WriteError> {
    let Some(name) = target.file_name() else {
        let reason = "names no file".into();
        return Err(WriteError::BadPath {
            path: target.to_owned(),
            reason,
        });
    };
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok((parent, name.to_owned()))
}

impl Staging {
    /// Starts a directory that is to stand at `target`, beside it.
    ///
    /// # Errors
    /// When it can't be created there.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
        let (parent, name) = split(target)?;
        let mut prefix = OsString::from(".");
        prefix.push(&name);
        prefix.push(".tmp-");
        clear_abandoned(&parent, &prefix);
        let pid = std::process::id();
        for attempt in 0..1000u32 {
            let mut temporary = prefix.clone();
            temporary.push(if attempt == 0 {
                format!("{pid}")
            } else {
                format!("{pid}-{attempt}")
            });
            let directory = parent.join(temporary);
            match fs::create_dir(&directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(source) => {
                    return Err(WriteError::Io {
                        path: directory,
                        action: "can't be created",
                        source,
                    });
                }
            }
            let Ok(lock) = File::open(&directory) else {
                continue;
            };
            // Between creating and locking, another writer may have taken it for abandoned.
            if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) || !is_at(&lock, &directory) {
                continue;
            }
            return Ok(Self {
                target: target.to_owned(),
                parent,
                directory,
                lock,
                committed: false,
            });
        }
        Err(WriteError::BadPath {
            path: target.to_owned(),
            reason:
                "too many unfinished packages of this name beside it; remove the hidden .tmp- directories"
                    .into(),
        })
    }

    /// Where to build.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts the directory in place. With `overwrite`, a package that stands there is exchanged for it and removed.
    ///
    /// # Errors
    /// When something stands there that may not be replaced, or the directory can't be moved.
    pub fn commit(mut self, overwrite: bool, durable: bool) -> Result<(), WriteError> {
        let replaced = self.rename(overwrite)?;
        self.committed = true;
        if durable {
            sync_directory(&self.parent)?;
        }
        if let Some(old) = replaced {
            // The new package stands. What can't be removed of the old one, the next writer clears away.
            let _ = fs::remove_dir_all(old);
        }
        Ok(())
    }

    /// Moves the directory to the target; where the package that stood there lies now, if one did.
    fn rename(&self, overwrite: bool) -> Result<Option<PathBuf>, WriteError> {
        let fail = |source: io::Error| WriteError::Io {
            path: self.target.clone(),
            action: "the finished package can't be moved there",
            source,
        };
        match renameat_with(CWD, &self.directory, CWD, &self.target, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(None),
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            // File systems that don't know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                if fs::symlink_metadata(&self.target).is_err() {
                    fs::rename(&self.directory, &self.target).map_err(fail)?;
                    return Ok(None);
                }
            }
            Err(error) => return Err(fail(error.into())),
        }
        check_target(&self.target, overwrite)?;
        match renameat_with(CWD, &self.directory, CWD, &self.target, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => return self.replace_in_steps().map(Some),
            Err(error) => return Err(fail(error.into())),
        }
        // What was exchanged is what gets removed: make sure it still is the package that was looked at.
        if let Err(reason) = is_package(&self.directory) {
            renameat_with(CWD, &self.directory, CWD, &self.target, RenameFlags::EXCHANGE)
                .map_err(|error| fail(error.into()))?;
            return Err(WriteError::NotAPackage {
                path: self.target.clone(),
                reason,
            });
        }
        Ok(Some(self.directory.clone()))
    }

    /// Where the file system can't exchange: the old package steps aside first, to a name nobody clears away, so
    /// that a kill between the two renames loses nothing.
    fn replace_in_steps(&self) -> Result<PathBuf, WriteError> {
        let fail = |source: io::Error| WriteError::Io {
            path: self.target.clone(),
            action: "the old package can't be replaced",
            source,
        };
        let mut name = OsString::from(".");
        name.push(self.target.file_name().unwrap_or_default());
        name.push(format!(".old-{}", std::process::id()));
        let aside = self.parent.join(name);
        fs::rename(&self.target, &aside).map_err(fail)?;
        if let Err(error) = fs::rename(&self.directory, &self.target) {
            fs::rename(&aside, &self.target).map_err(fail)?;
            return Err(fail(error));
        }
        Ok(aside)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed && is_at(&self.lock, &self.directory) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Makes sure a directory's entries are on disk, as far as its file system knows how to.
pub(crate) fn sync_directory(path: &Path) -> Result<(), WriteError> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        Err(source)
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Err(WriteError::Io {
                path: path.to_owned(),
                action: "can't be flushed to disk",
                source,
            })
        }
        _ => Ok(()),
    }
}

/// Whether `path` still is the directory opened as `directory`.
fn is_at(directory: &File, path: &Path) -> bool {
    match (directory.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

/// Removes what this process has under construction for `target`, for a caller that is about to end it on a signal.
/// What a write in progress adds meanwhile is removed too; it must not be waited for.
pub fn discard_unfinished(target: &Path) {
    let Ok((parent, name)) = split(target) else { return };
    let own = format!(".tmp-{}", std::process::id());
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let entry_name = entry.file_name();
        let rest = entry_name.as_encoded_bytes().strip_prefix(b".");
        let rest = rest.and_then(|rest| rest.strip_prefix(name.as_encoded_bytes()));
        let rest = rest.and_then(|rest| rest.strip_prefix(own.as_bytes()));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-")) {
            // A file that appears between listing and removing makes one attempt fail.
            let removed = |_: &u32| fs::remove_dir_all(entry.path()).is_ok();
            let _ = (0..10u32).find(removed);
        }
    }
}

/// Removes what writers to the same target left behind that no longer run. Failing to is no reason not to write.
fn clear_abandoned(parent: &Path, prefix: &OsString) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes())
            .is_some_and(|rest| !rest.is_empty() && rest.iter().all(|b| b.is_ascii_digit() || *b == b'-'));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if let Ok(directory) = File::open(&path)
            && directory.try_lock().is_ok()
            && is_at(&directory, &path)
        {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
