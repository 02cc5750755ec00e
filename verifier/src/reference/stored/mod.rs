//! Tensors in files: where they lie, and their values widened to f32 on request.
//!
//! Files are read with positioned reads straight into the f32 buffer the reference computes with. Nothing is
//! mapped: each tensor is read once, and a file truncated while mapped would kill the process.

mod pickle;
mod safetensors;
mod torch_zip;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use sha2::{Digest, Sha256};

use crate::error::ReferenceError;
use crate::report::FileDigest;

pub(crate) use safetensors::read_safetensors;
pub(crate) use torch_zip::read_torch_zip;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// A file tensors lie in.
#[derive(Debug)]
pub(crate) struct TensorFile {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) bytes: u64,
}

impl TensorFile {
    pub(crate) fn open(path: &Path) -> Result<Self, ReferenceError> {
        let io = |source| ReferenceError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(io(io::Error::other("not a regular file")));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes: metadata.len(),
        })
    }

    /// The whole file's SHA-256 under its name relative to `root`.
    pub(crate) fn digest(&self, root: &Path) -> Result<FileDigest, ReferenceError> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        while offset < self.bytes {
            let count = usize::try_from(self.bytes - offset).map_or(CHUNK, |rest| rest.min(CHUNK));
            self.read(offset, &mut buffer[..count])?;
            hash.update(&buffer[..count]);
            offset += count as u64;
        }
        let name = self.path.strip_prefix(root).unwrap_or(&self.path);
        let sha256: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(FileDigest {
            name: name.to_string_lossy().into_owned(),
            bytes: self.bytes,
            sha256,
        })
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReferenceError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|source| ReferenceError::Io {
                path: self.path.clone(),
                source,
            })
    }

    pub(crate) fn malformed(&self, offset: u64, reason: impl Into<String>) -> ReferenceError {
        ReferenceError::Malformed {
            path: self.path.clone(),
            offset,
            reason: reason.into(),
        }
    }
}

/// Element types a reference reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ElementType {
    F16,
    Bf16,
    F32,
    F64,
    I32,
    I64,
    /// Anything else; such a tensor can be listed but not read.
    Other,
}

impl ElementType {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Other => 0,
        }
    }
}

/// A contiguous row-major tensor in a file, its place checked against the file's size.
#[derive(Clone, Debug)]
pub(crate) struct StoredTensor {
    pub(crate) file: Arc<TensorFile>,
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) element: ElementType,
    pub(crate) shape: Vec<usize>,
}

impl StoredTensor {
    /// Elements of one row: of everything after the first axis.
    pub(crate) fn row_len(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// All values as f32.
    pub(crate) fn to_f32(&self) -> Result<Vec<f32>, ReferenceError> {
        self.range_f32(0, self.shape.iter().product())
    }

    /// Rows `first..first + rows` of the first axis as f32.
    pub(crate) fn rows_f32(&self, first: usize, rows: usize) -> Result<Vec<f32>, ReferenceError> {
        self.range_f32(first * self.row_len(), rows * self.row_len())
    }

    #[allow(clippy::cast_possible_truncation)] // f64 weights narrow as PyTorch's float() does
    fn range_f32(&self, first: usize, count: usize) -> Result<Vec<f32>, ReferenceError> {
        let mut values = Vec::with_capacity(count);
        match self.element {
            ElementType::F16 => self.each(first, count, |raw| values.push(f16::from_le_bytes(raw).to_f32())),
            ElementType::Bf16 => {
                self.each(first, count, |raw| values.push(bf16::from_le_bytes(raw).to_f32()))
            }
            ElementType::F32 => self.each(first, count, |raw| values.push(f32::from_le_bytes(raw))),
            ElementType::F64 => self.each(first, count, |raw| values.push(f64::from_le_bytes(raw) as f32)),
            ElementType::I32 | ElementType::I64 | ElementType::Other => {
                Err(self.wrong("is not a contiguous float tensor"))
            }
        }?;
        Ok(values)
    }

    /// All values of an integer tensor as i32.
    pub(crate) fn to_i32(&self) -> Result<Vec<i32>, ReferenceError> {
        let count = self.shape.iter().product();
        let mut values = Vec::with_capacity(count);
        let mut lost = false;
        match self.element {
            ElementType::I32 => self.each(0, count, |raw| values.push(i32::from_le_bytes(raw))),
            ElementType::I64 => self.each(0, count, |raw| {
                let value = i32::try_from(i64::from_le_bytes(raw));
                lost |= value.is_err();
                values.push(value.unwrap_or(0));
            }),
            _ => Err(self.wrong("is not an int32 or int64 tensor")),
        }?;
        if lost {
            Err(self.wrong("has values beyond int32"))
        } else {
            Ok(values)
        }
    }

    /// Calls `take` with the `N` bytes of each element in `first..first + count`.
    fn each<const N: usize>(
        &self,
        first: usize,
        count: usize,
        mut take: impl FnMut([u8; N]),
    ) -> Result<(), ReferenceError> {
        let mut buffer = vec![0; CHUNK.min(count * N)];
        let mut offset = self.offset + (first * N) as u64;
        let mut left = count * N;
        while left > 0 {
            let length = left.min(CHUNK);
            self.file.read(offset, &mut buffer[..length])?;
            buffer[..length]
                .as_chunks::<N>()
                .0
                .iter()
                .for_each(|raw| take(*raw));
            offset += length as u64;
            left -= length;
        }
        Ok(())
    }

    pub(crate) fn wrong(&self, reason: impl Into<String>) -> ReferenceError {
        ReferenceError::Tensor {
            path: self.file.path.clone(),
            name: self.name.clone(),
            reason: reason.into(),
        }
    }
}
