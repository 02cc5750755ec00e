//! A package opened for reading.

use std::path::{Path, PathBuf};

use crate::error::ReadError;
use crate::model::Model;

/// A package read from disk. Its weights stay mapped as long as any value of the program refers to them.
#[derive(Clone, Debug)]
pub struct Package {
    /// The package's directory.
    pub path: PathBuf,
    /// The model.
    pub model: Model,
    /// Weight files, by file name.
    pub blobs: Vec<BlobFileInfo>,
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
}

impl Package {
    /// Opens a `.mlpackage` directory.
    ///
    /// # Errors
    /// When it is no package, a file is malformed, or the model is of another kind than ML Program.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Err(ReadError::NotAPackage {
            path: path.to_owned(),
            reason: "reading is being written".into(),
        })
    }

    /// The package's digest; see [`crate::package_digest`].
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn digest(&self) -> Result<String, ReadError> {
        crate::package_digest(&self.path)
    }
}

/// Decodes a model from the bytes of `model.mlmodel` and of `weights/weight.bin`, without a file system.
///
/// # Errors
/// As [`Package::open`].
pub fn decode_model(model: &[u8], weights: &[u8]) -> Result<Model, ReadError> {
    let _ = (model, weights);
    Err(ReadError::Protobuf {
        file: "model.mlmodel".into(),
        offset: 0,
        reason: "reading is being written".into(),
    })
}
