//! A package opened for reading.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blob::format;
use crate::blob::read::BlobFile;
use crate::decode::{self, Reference, WeightFiles};
use crate::error::ReadError;
use crate::limits::MODEL_BYTES;
use crate::manifest::{self, Entry};
use crate::model::Model;

/// A package read from disk. Its weights stay mapped as long as any value of the program refers to them.
#[derive(Clone, Debug)]
pub struct Package {
    /// The package's directory.
    pub path: PathBuf,
    /// The model.
    pub model: Model,
    /// Size of `model.mlmodel` in bytes.
    pub model_bytes: u64,
    /// Weight files the model refers to, by file name.
    pub blobs: Vec<BlobFileInfo>,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) files: BTreeMap<String, Arc<BlobFile>>,
    pub(crate) references: Vec<Reference>,
}

/// Facts about one weight file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobFileInfo {
    /// File name inside the package's weights directory.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Blob count its header claims.
    pub count: u32,
    /// How often the model refers to one of its blobs; more than [`Self::count`] when weights are shared.
    pub references: usize,
}

impl Package {
    /// Opens a `.mlpackage` directory.
    ///
    /// # Errors
    /// When it is no package, a file is malformed, or the model is of another kind than ML Program.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let no_package = |reason: &str| ReadError::NotAPackage {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(no_package(
                    "it is a file; a package is a directory with a Manifest.json",
                ));
            }
            Err(source) => {
                return Err(ReadError::Io {
                    path: path.to_owned(),
                    source,
                });
            }
        }
        if !path.join(manifest::FILE_NAME).is_file() {
            return Err(no_package("it has no Manifest.json"));
        }
        let manifest = manifest::read(path)?;
        let bytes = read_model(&manifest.model)?;
        let mut weights = WeightFiles::in_directory(manifest.weights);
        let model = decode::decode(&manifest.model.display().to_string(), &bytes, &mut weights)?;
        let (files, references) = weights.into_parts();
        let blobs = files
            .iter()
            .map(|(name, file)| BlobFileInfo {
                name: name.clone(),
                bytes: file.len(),
                count: file.count(),
                references: references
                    .iter()
                    .filter(|reference| reference.file == *name)
                    .count(),
            })
            .collect();
        Ok(Self {
            path: path.to_owned(),
            model,
            model_bytes: bytes.len() as u64,
            blobs,
            entries: manifest.entries,
            files,
            references,
        })
    }

    /// The package's digest; see [`crate::package_digest`]. Reads every file.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn digest(&self) -> Result<String, ReadError> {
        crate::package_digest(&self.path)
    }

    /// Bytes of all files in the package's directory.
    ///
    /// # Errors
    /// When a directory can't be read.
    pub fn bytes(&self) -> Result<u64, ReadError> {
        bytes_of(&self.path)
    }
}

/// Bytes of all files below a directory. Links are not followed.
fn bytes_of(directory: &Path) -> Result<u64, ReadError> {
    let io = |source| ReadError::Io {
        path: directory.to_owned(),
        source,
    };
    let mut total = 0;
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        total += if entry.file_type().map_err(io)?.is_dir() {
            bytes_of(&entry.path())?
        } else {
            entry.metadata().map_err(io)?.len()
        };
    }
    Ok(total)
}

fn read_model(path: &Path) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let too_large = |size| ReadError::TooLarge {
        file: path.display().to_string(),
        size,
        limit: MODEL_BYTES,
    };
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > MODEL_BYTES {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(MODEL_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MODEL_BYTES {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// Decodes a model from the bytes of `model.mlmodel` and of `weights/weight.bin`, without a file system.
///
/// # Errors
/// As [`Package::open`]. Empty `weights` stand for a package without weights.
pub fn decode_model(model: &[u8], weights: &[u8]) -> Result<Model, ReadError> {
    let mut files = if weights.is_empty() {
        WeightFiles::default()
    } else {
        WeightFiles::with_file(
            format::FILE_NAME,
            BlobFile::from_bytes(format::FILE_NAME, weights.to_vec())?,
        )
    };
    decode::decode("model.mlmodel", model, &mut files)
}
