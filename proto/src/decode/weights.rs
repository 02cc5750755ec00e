//! Finds the blobs a model refers to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use corer_mil::{TensorType, WeightSource};

use super::Problem;
use crate::blob::format::{PATH_PREFIX, padding_bits};
use crate::blob::read::BlobFile;
use crate::error::ReadError;

/// The weight files of a package, opened when first referred to.
#[derive(Debug, Default)]
pub(crate) struct WeightFiles {
    directory: Option<PathBuf>,
    open: BTreeMap<String, Arc<BlobFile>>,
    references: Vec<Reference>,
}

/// One use of a blob by the model.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Reference {
    /// File name.
    pub(crate) file: String,
    /// Offset of the blob's record.
    pub(crate) offset: u64,
}

impl WeightFiles {
    /// Files in a directory; without one, any reference is an error.
    pub(crate) fn in_directory(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            ..Self::default()
        }
    }

    /// One file that is open already.
    pub(crate) fn with_file(name: &str, file: BlobFile) -> Self {
        Self {
            open: BTreeMap::from([(name.to_owned(), Arc::new(file))]),
            ..Self::default()
        }
    }

    /// The files opened and the references met.
    pub(crate) fn into_parts(self) -> (BTreeMap<String, Arc<BlobFile>>, Vec<Reference>) {
        (self.open, self.references)
    }

    /// The weight of type `ty` that `file_name` and `offset` refer to.
    pub(super) fn weight(
        &mut self,
        file_name: &str,
        offset: u64,
        ty: &TensorType,
    ) -> Result<Arc<dyn WeightSource>, Problem> {
        let file = self.file(file_name)?;
        let record = file.record(offset).map_err(Problem::Weights)?;
        let fault = |at: u64, reason: String| {
            Problem::Weights(ReadError::Blob {
                file: file.name().to_owned(),
                offset: at,
                reason,
            })
        };
        match record.ty.data_type() {
            None => {
                return Err(fault(
                    offset + 4,
                    format!("blob type {} is not supported", record.ty.name()),
                ));
            }
            Some(dtype) if dtype != ty.dtype => {
                return Err(fault(
                    offset + 4,
                    format!("blob holds {dtype}, the model declares {ty}"),
                ));
            }
            Some(_) => {}
        }
        let count = ty
            .element_count()
            .ok_or_else(|| Problem::Reason(format!("a weight's shape must be known, is {ty}")))?;
        if ty.byte_len() != Some(record.byte_len) {
            let reason = format!("blob has {} bytes, which don't fill {ty}", record.byte_len);
            return Err(fault(offset + 8, reason));
        }
        let padding = padding_bits(count, ty.dtype.bits());
        if record.padding_bits != padding {
            let reason = format!(
                "blob has {} padding bits, {ty} needs {padding}",
                record.padding_bits
            );
            return Err(fault(offset + 24, reason));
        }
        let file_name = file_name.strip_prefix(PATH_PREFIX).unwrap_or(file_name);
        self.references.push(Reference {
            file: file_name.to_owned(),
            offset,
        });
        Ok(file.weight(&record))
    }

    fn file(&mut self, file_name: &str) -> Result<Arc<BlobFile>, Problem> {
        let name = file_name
            .strip_prefix(PATH_PREFIX)
            .ok_or_else(|| format!("weight file `{file_name}`: the name must start with `{PATH_PREFIX}`"))?;
        if let Some(file) = self.open.get(name) {
            return Ok(Arc::clone(file));
        }
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']) {
            return Err(format!("weight file `{file_name}`: must be a plain file name").into());
        }
        let Some(directory) = &self.directory else {
            return Err(format!("weight file `{file_name}`: the package has no weights").into());
        };
        let path = directory.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                return Err(format!("weight file `{file_name}`: is a symbolic link").into());
            }
            Ok(_) => {}
            Err(source) => return Err(Problem::Weights(ReadError::Io { path, source })),
        }
        let file = Arc::new(BlobFile::open(&path).map_err(Problem::Weights)?);
        self.open.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}
