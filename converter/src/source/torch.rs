//! `pytorch_model.bin`: a state dict as `torch.save` writes it, a zip archive with a pickle that names tensors and
//! one stored entry per storage.
//!
//! Layout as in `torch/serialization.py` (`_save`) and `torch/_utils.py` (`_rebuild_tensor_v2`, `_v3`,
//! `_rebuild_parameter`): a tensor is a call with (storage, element offset, size, stride, …); a storage is the
//! persistent id `("storage", class, key, location, elements)`, its bytes the entry `data/<key>`.

use std::ops::Range;
use std::sync::Arc;

use super::dtype::StoredType;
use super::error::{Place, SourceError, shortened};
use super::file::SourceFile;
use super::pickle::{Id, Node, Pickle, PickleErrorKind};
use super::tensor_set::{TensorSlice, byte_len};
use super::zip::Archive;

/// Largest `data.pkl` read.
const MOST_PICKLE_BYTES: u64 = 16 << 20;

/// Largest `byteorder` entry read; it says `little` or `big`.
const MOST_BYTE_ORDER_BYTES: u64 = 16;

/// How torch.save's format before version 1.6 starts: a pickled magic number (`torch.serialization.MAGIC_NUMBER`).
const LEGACY_MAGIC: [u8; 14] = [
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
];

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

/// Everything a state dict needs to name; nothing of it is imported.
fn allowed(module: &str, name: &str) -> bool {
    match module {
        "collections" => name == "OrderedDict",
        "torch._utils" => {
            matches!(
                name,
                "_rebuild_tensor_v2" | "_rebuild_tensor_v3" | "_rebuild_parameter"
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

/// The tensors of a state dict, in the order saved, and the names of top-level values that are not tensors.
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    /// Tensors.
    pub tensors: Vec<TensorSlice>,
    /// Names of everything else.
    pub others: Vec<String>,
}

/// Reads a state dict; tensor bytes stay where they are.
///
/// # Errors
/// When the file is not such an archive, its pickle names anything but tensors, or a tensor does not lie in its
/// storage.
pub fn read(file: &Arc<SourceFile>) -> Result<StateDict, SourceError> {
    refuse_other_formats(file)?;
    let archive = Archive::open(file.clone())?;
    let folder = folder(&archive)?;
    let order_entry = format!("{folder}/byteorder");
    if archive.get(&order_entry).is_some() {
        let order = archive.read(&order_entry, MOST_BYTE_ORDER_BYTES)?;
        if order != b"little" {
            let place = Place::Entry {
                name: order_entry,
                offset: None,
            };
            let reason = "tensors are big-endian; load the file in PyTorch and save it as model.safetensors";
            return Err(SourceError::unsupported(file.path(), place, reason));
        }
    }
    let entry = format!("{folder}/data.pkl");
    let bytes = archive.read(&entry, MOST_PICKLE_BYTES)?;
    let pickle = Pickle::read(&bytes, &allowed).map_err(|error| {
        let place = Place::Entry {
            name: entry.clone(),
            offset: Some(error.offset),
        };
        match error.kind {
            PickleErrorKind::ForbiddenGlobal(global) => SourceError::ForbiddenGlobal {
                file: file.path().into(),
                place,
                global,
            },
            kind => SourceError::malformed(file.path(), place, kind.to_string()),
        }
    })?;
    let reader = Reader {
        archive: &archive,
        folder,
        entry,
        pickle: &pickle,
    };
    if pickle.consumed() != bytes.len() {
        return Err(reader.fail_at(pickle.consumed() as u64, "there is more after the pickle's end"));
    }
    reader.state_dict(pickle.root())
}

/// Formats that share the file name and have an answer of their own.
fn refuse_other_formats(file: &SourceFile) -> Result<(), SourceError> {
    let mut start = [0; LEGACY_MAGIC.len()];
    let len = start.len().min(usize::try_from(file.len()).unwrap_or(usize::MAX));
    let start = &mut start[..len];
    file.read_exact_at(start, 0)
        .map_err(|error| SourceError::io(file.path(), error))?;
    let reason = if *start == LEGACY_MAGIC {
        "is in torch.save's format from before PyTorch 1.6; load it in PyTorch and save it again, best as \
         model.safetensors"
    } else if start.starts_with(b"version https:") {
        "is a Git LFS pointer, not the file itself; run `git lfs pull`"
    } else {
        return Ok(());
    };
    Err(SourceError::unsupported(file.path(), Place::Offset(0), reason))
}

/// The folder everything lies in: the one whose `data.pkl` there is.
fn folder(archive: &Archive) -> Result<String, SourceError> {
    let mut folders = archive
        .entries()
        .filter_map(|(name, _)| name.strip_suffix("/data.pkl"))
        .filter(|folder| !folder.contains('/'));
    let path = archive.file().path();
    let folder = folders.next().ok_or_else(|| {
        SourceError::malformed(
            path,
            Place::Whole,
            "is a zip archive without data.pkl, not one of torch.save's",
        )
    })?;
    if let Some(other) = folders.next() {
        let reason = format!("holds two pickles, `{folder}/data.pkl` and `{other}/data.pkl`");
        return Err(SourceError::malformed(path, Place::Whole, reason));
    }
    if archive.get(&format!("{folder}/constants.pkl")).is_some() {
        let reason = "is a TorchScript archive, not a state dict; save model.state_dict() instead";
        return Err(SourceError::unsupported(path, Place::Whole, reason));
    }
    Ok(folder.to_owned())
}

/// A storage: the element type where its class says one, and where its bytes lie.
struct Storage {
    dtype: Option<StoredType>,
    range: Range<u64>,
}

struct Reader<'a> {
    archive: &'a Archive,
    folder: String,
    entry: String,
    pickle: &'a Pickle,
}

impl Reader<'_> {
    fn state_dict(&self, root: Id) -> Result<StateDict, SourceError> {
        let items = self.items(root).ok_or_else(|| {
            let kind = self.pickle.kind(root);
            self.fail(
                root,
                &format!("the pickle holds {kind}, not a state dict; save model.state_dict()"),
            )
        })?;
        let mut found = StateDict::default();
        for (key, value) in items {
            let name = self.pickle.text(*key).ok_or_else(|| {
                self.fail(
                    *key,
                    &format!(
                        "a name in the state dict is {}, not a str",
                        self.pickle.kind(*key)
                    ),
                )
            })?;
            match self.tensor(name, *value)? {
                Some(slice) => found.tensors.push(slice),
                None => found.others.push(name.to_owned()),
            }
        }
        if found.tensors.is_empty() {
            let names: Vec<String> = found.others.iter().take(8).map(|name| shortened(name)).collect();
            let reason = if names.is_empty() {
                "the state dict is empty".to_owned()
            } else {
                format!(
                    "there are no tensors at the top level, only {}; a training checkpoint? \
                     save model.state_dict() on its own",
                    names.join(", ")
                )
            };
            return Err(self.fail(root, &reason));
        }
        Ok(found)
    }

    /// The items of a dict or an OrderedDict.
    fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
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
    fn tensor(&self, name: &str, value: Id) -> Result<Option<TensorSlice>, SourceError> {
        let mut id = value;
        // A parameter is a tensor with a flag; nobody wraps one in another.
        if let Some((global, arguments, _)) = self.pickle.call(id)
            && &*global.name == "_rebuild_parameter"
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
        let range = self.archive.stored(&format!("{}/data/{key}", self.folder))?;
        let bytes = count.checked_mul(dtype.map_or(1, StoredType::size));
        if bytes != Some(range.end - range.start) {
            let reason = format!(
                "claims {count} elements, but entry `{}/data/{}` has {} bytes",
                self.folder,
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

    fn fail(&self, id: Id, reason: &str) -> SourceError {
        self.fail_at(self.pickle.offset(id), reason)
    }

    fn fail_at(&self, offset: u64, reason: &str) -> SourceError {
        let place = Place::Entry {
            name: self.entry.clone(),
            offset: Some(offset),
        };
        SourceError::malformed(self.archive.file().path(), place, reason)
    }
}

/// How a dense tensor's elements follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    RowMajor,
    ColumnMajor,
}

/// The order strides describe; `None` when it is not dense or a permutation other than a matrix's transpose. Axes of
/// length 1 may have any stride, tensors without elements too.
fn order(size: &[u64], stride: &[u64]) -> Option<Order> {
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
