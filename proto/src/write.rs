//! Writes a package, whole or not at all.
//!
//! The weight file is laid out before a byte of it exists; threads then produce, hash and write its pieces in any
//! order, each with one piece in memory. Its digest, and from it the manifest, follow without reading it again.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use corer_mil::WeightError;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::atomic::{self, Staging};
use crate::blob::format;
use crate::blob::write::{Layout, SourceFault};
use crate::digest::{self, Sha};
use crate::encode::encode;
use crate::error::WriteError;
use crate::manifest;
use crate::model::Model;
use crate::pieces;
use crate::progress::{NoProgress, Progress};

/// How to write.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// Replace an existing package.
    pub overwrite: bool,
    /// Threads that produce weights; all cores when `None`. The bytes written don't depend on it.
    pub threads: Option<usize>,
    /// Told about weight bytes written.
    pub progress: &'a dyn Progress,
    /// Wait until the disk has it (fsync) before the package appears.
    pub durable: bool,
    /// User-defined metadata that takes as long to find as the weights to write (the source's digest): asked for
    /// once they are written.
    pub late_metadata: Option<&'a LateMetadata<'a>>,
}

/// Gives further user-defined metadata, waiting for it where it must.
pub type LateMetadata<'a> = dyn Fn() -> Result<BTreeMap<String, String>, WeightError> + 'a;

impl Default for WriteOptions<'_> {
    fn default() -> Self {
        Self {
            overwrite: false,
            threads: None,
            progress: &NoProgress,
            durable: true,
            late_metadata: None,
        }
    }
}

impl fmt::Debug for WriteOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteOptions")
            .field("overwrite", &self.overwrite)
            .field("threads", &self.threads)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Digest of the package; see [`crate::package_digest`].
    pub digest: String,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of the weight file; 0 when no weight needed one.
    pub weight_bytes: u64,
    /// Weights stored in the weight file.
    pub weights_stored: u64,
    /// Weights not stored again because an identical one already was.
    pub weights_shared: u64,
}

/// Writes `model` as a package at `path`.
///
/// # Errors
/// When the target exists, the model holds something a package can't, a weight can't be produced, or the disk
/// refuses. Nothing is left behind then, and what stood at `path` stands there still.
pub fn write(path: &Path, model: &Model, options: &WriteOptions<'_>) -> Result<Written, WriteError> {
    atomic::check_target(path, options.overwrite)?;
    let mut encoded = encode(model, pieces::threads(options.threads))?;
    let staging = Staging::create(path)?;
    let mut output = Output {
        root: staging.directory(),
        durable: options.durable,
        files: BTreeMap::new(),
        bytes: 0,
    };

    let data = format!("{}/{}", manifest::DATA, manifest::MODEL_PATH);
    let weight_directory = format!("{}/{}", manifest::DATA, manifest::WEIGHTS_PATH);
    let has_weights = encoded.weights.stored() > 0;
    output.create_directories(if has_weights {
        &weight_directory
    } else {
        parent(&data)
    })?;
    let weight_bytes = if has_weights { encoded.weights.len() } else { 0 };
    options.progress.start(weight_bytes);
    let weights = if has_weights {
        let relative = format!("{weight_directory}/{}", format::FILE_NAME);
        Some(output.weights(&relative, &encoded.weights, options)?)
    } else {
        None
    };
    if let Some(late) = options.late_metadata {
        let mut description = model.description.clone();
        let found = late().map_err(|source| WriteError::Weight {
            place: "metadata".into(),
            source,
        })?;
        description.metadata.user_defined.extend(found);
        encoded.describe(&description)?;
    }
    let digest = output.file(&data, &encoded.model())?;
    let manifest = manifest::encode(&digest, weights.as_ref()).map_err(|error| WriteError::Io {
        path: path.join(manifest::FILE_NAME),
        action: "can't be written",
        source: error.into(),
    })?;
    output.file(manifest::FILE_NAME, &manifest)?;
    if options.durable {
        output.sync_directories(if has_weights {
            &weight_directory
        } else {
            parent(&data)
        })?;
    }
    let written = Written {
        digest: digest::from_files(&output.files),
        bytes: output.bytes,
        weight_bytes,
        weights_stored: encoded.weights.stored(),
        weights_shared: encoded.weights.shared(),
    };
    staging.commit(options.overwrite, options.durable)?;
    options.progress.finish();
    Ok(written)
}

/// The part of a relative path before its last `/`.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The files of a package under construction.
struct Output<'a> {
    root: &'a Path,
    durable: bool,
    files: BTreeMap<String, Sha>,
    bytes: u64,
}

impl Output<'_> {
    fn create_directories(&self, relative: &str) -> Result<(), WriteError> {
        let path = self.root.join(relative);
        fs::create_dir_all(&path).map_err(|source| failure(path, 0, "can't be created", source))
    }

    /// Flushes the directory `relative` and those it lies in, innermost first.
    fn sync_directories(&self, relative: &str) -> Result<(), WriteError> {
        let mut relative = relative;
        while !relative.is_empty() {
            atomic::sync_directory(&self.root.join(relative))?;
            relative = parent(relative);
        }
        atomic::sync_directory(self.root)
    }

    fn create(&self, relative: &str, len: u64) -> Result<(PathBuf, File), WriteError> {
        let path = self.root.join(relative);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => Ok((path, file)),
            Err(source) => Err(failure(path, len, "can't be created", source)),
        }
    }

    /// Writes a small file and gives its digest.
    fn file(&mut self, relative: &str, bytes: &[u8]) -> Result<Sha, WriteError> {
        let len = bytes.len() as u64;
        let (path, file) = self.create(relative, len)?;
        let result = file
            .write_all_at(bytes, 0)
            .and_then(|()| if self.durable { file.sync_all() } else { Ok(()) });
        result.map_err(|source| failure(path, len, "can't be written", source))?;
        let digest = digest::from_bytes(bytes);
        self.files.insert(relative.to_owned(), digest);
        self.bytes += len;
        Ok(digest)
    }

    /// Writes the weight file and gives its digest.
    fn weights(
        &mut self,
        relative: &str,
        layout: &Layout<'_>,
        options: &WriteOptions<'_>,
    ) -> Result<Sha, WriteError> {
        let len = layout.len();
        let (path, file) = self.create(relative, len)?;
        let fail = |action, source| failure(path.clone(), len, action, source);
        reserve(&file, len).map_err(|source| fail("can't be made room for", source))?;
        let flusher = Flusher::new();
        let threads = pieces::threads(options.threads);
        let digests = std::thread::scope(|scope| {
            if len > 2 * FLUSH_STEP && self.durable {
                // Where the system gives no thread, all is flushed at the end.
                let _ = std::thread::Builder::new().spawn_scoped(scope, || flusher.run(&file));
            }
            let _stop = StopOnDrop(&flusher);
            pieces::for_each(len, threads, |offset, piece| {
                layout
                    .fill(offset, piece)
                    .map_err(|SourceFault { place, error }| WriteError::Weight { place, source: error })?;
                // Hashed while it is in the cache.
                let digest = digest::piece(piece);
                file.write_all_at(piece, offset)
                    .map_err(|source| fail("can't be written", source))?;
                options.progress.advance(piece.len() as u64);
                flusher.written.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Ok::<_, WriteError>(digest)
            })
        })?;
        if self.durable {
            let failed = flusher
                .failed
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            failed
                .map_or_else(|| file.sync_all(), Err)
                .map_err(|source| fail("can't be flushed to disk", source))?;
        }
        let digest = digest::from_pieces(&digests);
        self.files.insert(relative.to_owned(), digest);
        self.bytes += len;
        Ok(digest)
    }
}

/// Reserves the file's blocks, so that a full disk is known before the work is done; merely sets the length on file
/// systems that can't.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => {}
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    file.set_len(len)
}

fn failure(path: PathBuf, needed: u64, action: &'static str, source: io::Error) -> WriteError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            WriteError::NoSpace { path, needed, source }
        }
        _ => WriteError::Io { path, action, source },
    }
}

/// Bytes written between two flushes.
const FLUSH_STEP: u64 = 32 << 20;

/// Keeps the disk busy while pieces are still being made, so that little is left to wait for at the end.
struct Flusher {
    written: AtomicU64,
    stop: AtomicBool,
    /// The system reports a failed write once, so it must not get lost here.
    failed: Mutex<Option<io::Error>>,
}

impl Flusher {
    const fn new() -> Self {
        Self {
            written: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    fn run(&self, file: &File) {
        let mut next = FLUSH_STEP;
        while !self.stop.load(Ordering::Relaxed) {
            if self.written.load(Ordering::Relaxed) < next {
                std::thread::park_timeout(Duration::from_millis(2));
                continue;
            }
            if let Err(error) = file.sync_data() {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
            next = self.written.load(Ordering::Relaxed) + FLUSH_STEP;
        }
    }
}

/// Ends the flusher however the work ends, a panic in a weight source included.
struct StopOnDrop<'a>(&'a Flusher);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
