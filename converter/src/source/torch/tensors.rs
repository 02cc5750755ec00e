//! Tensors as PyTorch's pickles tell them: a call that rebuilds one from a storage, and where that storage lies.

use std::ops::Range;

use super::super::dtype::StoredType;
use super::super::error::{Place, SourceError, shortened};
use super::super::pickle::{Id, Node, Pickle, PickleErrorKind};
use super::super::tensor_set::{TensorSlice, byte_len};
use super::super::zip::Archive;

/// Largest pickle read.
const MOST_PICKLE_BYTES: u64 = 16 << 20;

/// What a typed storage's class says of its elements.
const STORAGE_CLASSES: [(&str, StoredType); 10] = [
    ("FloatStorage", StoredType::F32),
    ("HalfStorage", StoredType::F16),
    ("BFloat16Storage", StoredType::BF16),
    ("DoubleStorage", StoredType::F64),
    ("LongStorage", StoredType::I64),
    ("IntStorage", StoredType::I32),
    ("ShortStorage", StoredType::I16),
    ("CharStorage", StoredType::I8),
    ("ByteStorage", StoredType::U8),
    ("BoolStorage", StoredType::Bool),
];

/// `torch.<dtype>`, as tensors over untyped storages name theirs.
const DTYPES: [(&str, StoredType); 15] = [
    ("float32", StoredType::F32),
    ("float16", StoredType::F16),
    ("bfloat16", StoredType::BF16),
    ("float64", StoredType::F64),
    ("int64", StoredType::I64),
    ("int32", StoredType::I32),
    ("int16", StoredType::I16),
    ("int8", StoredType::I8),
    ("uint8", StoredType::U8),
    ("bool", StoredType::Bool),
    ("uint16", StoredType::U16),
    ("uint32", StoredType::U32),
    ("uint64", StoredType::U64),
    ("float8_e4m3fn", StoredType::F8E4M3),
    ("float8_e5m2", StoredType::F8E5M2),
];

/// Everything tensors need to name; nothing of it is imported.
pub(super) fn allowed(module: &str, name: &str) -> bool {
    match module {
        "collections" => name == "OrderedDict",
        "torch._utils" => {
            matches!(
                name,
                "_rebuild_tensor_v2"
                    | "_rebuild_tensor_v3"
                    | "_rebuild_parameter"
                    | "_rebuild_parameter_with_state"
            )
        }
        "torch.storage" => name == "UntypedStorage",
        "torch" => name == "Size" || class_dtype(name).is_some() || dtype_named(name).is_some(),
        _ => false,
    }
}

fn class_dtype(name: &str) -> Option<StoredType> {
    STORAGE_CLASSES
        .iter()
        .find(|(class, _)| *class == name)
        .map(|(_, dtype)| *dtype)
}

fn dtype_named(name: &str) -> Option<StoredType> {
    DTYPES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, dtype)| *dtype)
}

/// Reads the pickle of one entry, naming nothing but what `allowed` lets it.
pub(super) fn read_pickle(
    archive: &Archive,
    entry: &str,
    allowed: &dyn Fn(&str, &str) -> bool,
) -> Result<Pickle, SourceError> {
    let file = archive.file();
    let bytes = archive.read(entry, MOST_PICKLE_BYTES)?;
    let place = |offset| Place::Entry {
        name: entry.to_owned(),
        offset: Some(offset),
    };
    let pickle = Pickle::read(&bytes, allowed).map_err(|error| match error.kind {
        PickleErrorKind::ForbiddenGlobal(global) => SourceError::ForbiddenGlobal {
            file: file.path().into(),
            place: place(error.offset),
            global,
        },
        kind => SourceError::malformed(file.path(), place(error.offset), kind.to_string()),
    })?;
    if pickle.consumed() != bytes.len() {
        let reason = "there is more after the pickle's end";
        return Err(SourceError::malformed(
            file.path(),
            place(pickle.consumed() as u64),
            reason,
        ));
    }
    Ok(pickle)
}

/// A storage: the element type where its class says one, and where its bytes lie.
struct Storage {
    dtype: Option<StoredType>,
    range: Range<u64>,
}

/// Reads tensors out of one pickle of an archive.
pub(super) struct TensorReader<'a> {
    pub(super) archive: &'a Archive,
    /// Folder the storages lie in: `model/data`.
    pub(super) storages: String,
    /// Entry the pickle was read from.
    pub(super) entry: String,
    pub(super) pickle: &'a Pickle,
}

impl TensorReader<'_> {
    /// The items of a dict or an OrderedDict.
    pub(super) fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.pickle.node(id) {
            Node::Dict(items) => Some(items),
            Node::Object(object) => {
                let (global, arguments, _) = self.pickle.call(id)?;
                (&*global.name == "OrderedDict" && arguments.is_empty()).then_some(&object.items[..])
            }
            _ => None,
        }
    }

    /// The tensor a value stands for; `None` when it stands for something else.
    pub(super) fn tensor(&self, name: &str, value: Id) -> Result<Option<TensorSlice>, SourceError> {
        let mut id = value;
        // A parameter is a tensor with a flag, maybe with attributes someone gave it; nobody wraps one in another.
        if let Some((global, arguments, _)) = self.pickle.call(id)
            && matches!(
                &*global.name,
                "_rebuild_parameter" | "_rebuild_parameter_with_state"
            )
        {
            id = *arguments
                .first()
                .ok_or_else(|| self.fail(id, &format!("parameter `{}` has no tensor", shortened(name))))?;
        }
        let Some((global, arguments, _)) = self.pickle.call(id) else {
            return Ok(None);
        };
        let untyped = match &*global.name {
            "_rebuild_tensor_v2" => false,
            "_rebuild_tensor_v3" => true,
            _ => return Ok(None),
        };
        let fail = |reason: &str| self.fail(id, &format!("tensor `{}` {reason}", shortened(name)));
        let (&[storage, offset, size, stride, ..], true) = (arguments, arguments.len() >= 6) else {
            return Err(fail("is rebuilt from too few arguments"));
        };
        let storage = self.storage(name, storage)?;
        let dtype = if untyped {
            let named = arguments.get(6).and_then(|dtype| self.pickle.global(*dtype));
            named
                .filter(|global| &*global.module == "torch")
                .and_then(|global| dtype_named(&global.name))
        } else {
            storage.dtype
        };
        let dtype = dtype.ok_or_else(|| fail("has no known element type"))?;
        let size = self
            .lengths(size)
            .ok_or_else(|| fail("has a size that is not a tuple of lengths"))?;
        let stride = self
            .lengths(stride)
            .ok_or_else(|| fail("has a stride that is not a tuple of lengths"))?;
        if size.len() != stride.len() {
            return Err(fail(&format!("has size {size:?} but stride {stride:?}")));
        }
        let bytes = byte_len(dtype, &size).ok_or_else(|| fail(&format!("of size {size:?} overflows")))?;
        let column_major = match order(&size, &stride) {
            Some(order) => order == Order::ColumnMajor,
            None => {
                let reason = format!(
                    "of size {size:?} has stride {stride:?}, which is neither dense nor a transpose; \
                     save tensor.contiguous()"
                );
                return Err(SourceError::unsupported(
                    self.archive.file().path(),
                    self.place(id),
                    format!("tensor `{}` {reason}", shortened(name)),
                ));
            }
        };
        let start = self
            .pickle
            .int(offset)
            .and_then(|offset| u64::try_from(offset).ok()?.checked_mul(dtype.size()))
            .and_then(|offset| offset.checked_add(storage.range.start));
        let start = start
            .filter(|start| {
                start
                    .checked_add(bytes)
                    .is_some_and(|end| end <= storage.range.end)
            })
            .ok_or_else(|| {
                let room = storage.range.end - storage.range.start;
                fail(&format!("of {bytes} bytes does not lie in its storage of {room}"))
            })?;
        let mut slice = TensorSlice::new(name, self.archive.file().clone(), start, dtype, size)?;
        slice.column_major = column_major;
        Ok(Some(slice))
    }

    /// The storage behind a persistent id.
    fn storage(&self, tensor: &str, id: Id) -> Result<Storage, SourceError> {
        let fail = |reason: &str| self.fail(id, &format!("the storage of `{}` {reason}", shortened(tensor)));
        let Node::Persistent(tag) = self.pickle.node(id) else {
            return Err(fail("is not a persistent id"));
        };
        let Some(&[kind, class, key, _, count]) = self.pickle.sequence(*tag) else {
            return Err(fail("is not (\"storage\", class, key, location, elements)"));
        };
        let (Some("storage"), Some(class), Some(key), Some(count)) = (
            self.pickle.text(kind),
            self.pickle.global(class),
            self.pickle.text(key),
            self.pickle.int(count).and_then(|count| u64::try_from(count).ok()),
        ) else {
            return Err(fail("is not (\"storage\", class, key, location, elements)"));
        };
        let dtype = match (&*class.module, &*class.name) {
            ("torch.storage", "UntypedStorage") => None,
            ("torch", name) if class_dtype(name).is_some() => class_dtype(name),
            _ => return Err(fail(&format!("has `{class}` for a class"))),
        };
        let range = self.archive.stored(&format!("{}/{key}", self.storages))?;
        let bytes = count.checked_mul(dtype.map_or(1, StoredType::size));
        if bytes != Some(range.end - range.start) {
            let reason = format!(
                "claims {count} elements, but entry `{}/{}` has {} bytes",
                self.storages,
                shortened(key),
                range.end - range.start
            );
            return Err(fail(&reason));
        }
        Ok(Storage { dtype, range })
    }

    /// A tuple of lengths, or `torch.Size` of one.
    fn lengths(&self, id: Id) -> Option<Vec<u64>> {
        let elements = match self.pickle.call(id) {
            Some((global, [inner], _)) if &*global.name == "Size" => self.pickle.sequence(*inner)?,
            Some(_) => return None,
            None => self.pickle.sequence(id)?,
        };
        elements
            .iter()
            .map(|element| u64::try_from(self.pickle.int(*element)?).ok())
            .collect()
    }

    fn place(&self, id: Id) -> Place {
        Place::Entry {
            name: self.entry.clone(),
            offset: Some(self.pickle.offset(id)),
        }
    }

    /// An error about a value of the pickle.
    pub(super) fn fail(&self, id: Id, reason: &str) -> SourceError {
        SourceError::malformed(self.archive.file().path(), self.place(id), reason)
    }
}

/// How a dense tensor's elements follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::source) enum Order {
    RowMajor,
    ColumnMajor,
}

/// The order strides describe; `None` when it is not dense or a permutation other than a matrix's transpose. Axes of
/// length 1 may have any stride, tensors without elements too.
pub(in crate::source) fn order(size: &[u64], stride: &[u64]) -> Option<Order> {
    if size.contains(&0) {
        return Some(Order::RowMajor);
    }
    let mut expected = 1u64;
    let dense = size.iter().zip(stride).rev().all(|(size, stride)| {
        let fits = *size == 1 || *stride == expected;
        expected = expected.saturating_mul(*size);
        fits
    });
    if dense {
        return Some(Order::RowMajor);
    }
    match (size, stride) {
        ([rows, _], [1, column]) if column == rows => Some(Order::ColumnMajor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_tell_the_order() {
        assert_eq!(order(&[2, 3, 4], &[12, 4, 1]), Some(Order::RowMajor));
        assert_eq!(order(&[1, 512], &[0, 1]), Some(Order::RowMajor));
        assert_eq!(order(&[2, 3], &[1, 2]), Some(Order::ColumnMajor));
        assert_eq!(order(&[], &[]), Some(Order::RowMajor));
        assert_eq!(order(&[0, 7], &[9, 9]), Some(Order::RowMajor));
        for (size, stride) in [
            (&[4u64, 4][..], &[0u64, 1][..]),
            (&[2, 3], &[6, 2]),
            (&[2, 3, 4], &[1, 2, 6]),
        ] {
            assert_eq!(order(size, stride), None);
        }
    }
}
