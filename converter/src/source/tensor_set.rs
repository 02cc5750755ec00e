//! The tensors a checkpoint declares: where each lies, never its values.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::dtype::StoredType;
use super::error::{Place, SourceError};
use super::file::SourceFile;
use super::near;

/// One tensor's elements in a file, row-major without gaps (or column-major, for a matrix saved as a transpose).
#[derive(Clone, Debug)]
pub struct TensorSlice {
    pub(super) name: Arc<str>,
    pub(super) file: Arc<SourceFile>,
    pub(super) offset: u64,
    pub(super) dtype: StoredType,
    pub(super) shape: Vec<u64>,
    pub(super) column_major: bool,
}

impl TensorSlice {
    /// A tensor whose bytes were checked to lie in the file.
    ///
    /// # Errors
    /// When the shape's size overflows or the bytes don't lie in the file.
    pub(super) fn new(
        name: &str,
        file: Arc<SourceFile>,
        offset: u64,
        dtype: StoredType,
        shape: Vec<u64>,
    ) -> Result<Self, SourceError> {
        let fail = |reason: String| SourceError::malformed(file.path(), Place::Tensor(name.into()), reason);
        let bytes =
            byte_len(dtype, &shape).ok_or_else(|| fail(format!("the size of shape {shape:?} overflows")))?;
        if offset.checked_add(bytes).is_none_or(|end| end > file.len()) {
            return Err(fail(format!(
                "{bytes} bytes at offset {offset} reach beyond the file's {} bytes",
                file.len()
            )));
        }
        Ok(Self {
            name: name.into(),
            file,
            offset,
            dtype,
            shape,
            column_major: false,
        })
    }

    /// Name in the checkpoint.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// File it lies in.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Byte offset of its first element in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Stored element type.
    pub fn dtype(&self) -> StoredType {
        self.dtype
    }

    /// Shape, outermost axis first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Bytes its elements take.
    pub(super) fn byte_len(&self) -> u64 {
        self.count() * self.dtype.size()
    }

    /// Number of elements.
    pub fn count(&self) -> u64 {
        // Checked not to overflow when it was made.
        self.shape.iter().product()
    }
}

/// Bytes a dense tensor takes; `None` on overflow. A zero anywhere makes it empty, whatever the others are.
pub(super) fn byte_len(dtype: StoredType, shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(dtype.size(), |bytes, size| bytes.checked_mul(*size))
}

/// All tensors of a checkpoint, in name order.
#[derive(Clone, Debug, Default)]
pub struct TensorSet {
    tensors: BTreeMap<String, TensorSlice>,
}

impl TensorSet {
    /// The tensor of exactly this name.
    pub fn get(&self, name: &str) -> Option<&TensorSlice> {
        self.tensors.get(name)
    }

    /// Names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &TensorSlice> {
        self.tensors.values()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Up to three names that come near a missing one, nearest first.
    pub fn nearest(&self, name: &str) -> Vec<&str> {
        near::nearest(name, self.names())
    }

    /// Adds a tensor; `false` when the name is taken.
    pub(super) fn insert(&mut self, slice: TensorSlice) -> bool {
        match self.tensors.entry(slice.name.to_string()) {
            std::collections::btree_map::Entry::Occupied(_) => false,
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(slice);
                true
            }
        }
    }
}
