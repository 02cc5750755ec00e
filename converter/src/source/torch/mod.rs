//! `pytorch_model.bin`: a state dict as `torch.save` writes it, a zip archive with a pickle that names tensors and
//! one stored entry per storage.
//!
//! Layout as in `torch/serialization.py` (`_save`) and `torch/_utils.py` (`_rebuild_tensor_v2`, `_v3`,
//! `_rebuild_parameter`, `_rebuild_parameter_with_state`): a tensor is a call with (storage, element offset, size, stride, …); a storage is the
//! persistent id `("storage", class, key, location, elements)`, its bytes the entry `data/<key>`.

mod script;
mod tensors;

use std::sync::Arc;

use super::error::{Place, SourceError, shortened};
use super::file::SourceFile;
use super::pickle::Id;
use super::tensor_set::TensorSlice;
use super::zip::Archive;
use tensors::{TensorReader, allowed, read_pickle};

pub(super) use tensors::{Order, order};

pub use script::{Attribute, ObjectId, ScriptArchive};

/// Largest `byteorder` entry read; it says `little` or `big`.
const MOST_BYTE_ORDER_BYTES: u64 = 16;

/// How torch.save's format before version 1.6 starts: a pickled magic number (`torch.serialization.MAGIC_NUMBER`).
const LEGACY_MAGIC: [u8; 14] = [
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
];

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
/// When the file is not such an archive, its pickle names anything but tensors, a tensor does not lie in its
/// storage, or there are no tensors.
pub fn read(file: &Arc<SourceFile>) -> Result<StateDict, SourceError> {
    read_as(file, state_dict)
}

/// Reads a dictionary of tensors that may well be empty, as the constants of an export are.
///
/// # Errors
/// As [`read`], but for an empty dictionary.
pub(super) fn read_possibly_empty(file: &Arc<SourceFile>) -> Result<StateDict, SourceError> {
    read_as(file, dictionary)
}

fn read_as(
    file: &Arc<SourceFile>,
    form: impl Fn(&TensorReader<'_>, Id) -> Result<StateDict, SourceError>,
) -> Result<StateDict, SourceError> {
    refuse_other_formats(file)?;
    let archive = Archive::open(file.clone())?;
    let folder = folder(&archive)?;
    check_byte_order(&archive, &folder)?;
    let entry = format!("{folder}/data.pkl");
    let pickle = read_pickle(&archive, &entry, &allowed)?;
    let reader = TensorReader {
        archive: &archive,
        storages: format!("{folder}/data"),
        entry,
        pickle: &pickle,
    };
    form(&reader, pickle.root())
}

/// Refuses tensors of the other byte order.
fn check_byte_order(archive: &Archive, folder: &str) -> Result<(), SourceError> {
    let order_entry = format!("{folder}/byteorder");
    if archive.get(&order_entry).is_some() {
        let order = archive.read(&order_entry, MOST_BYTE_ORDER_BYTES)?;
        if order != b"little" {
            let place = Place::Entry {
                name: order_entry,
                offset: None,
            };
            let reason = "tensors are big-endian; load the file in PyTorch and save it as model.safetensors";
            return Err(SourceError::unsupported(archive.file().path(), place, reason));
        }
    }
    Ok(())
}

/// Formats that share the file name and have an answer of their own.
pub(super) fn refuse_other_formats(file: &SourceFile) -> Result<(), SourceError> {
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

/// The tensors and other values of a dictionary that has tensors.
fn state_dict(reader: &TensorReader<'_>, root: Id) -> Result<StateDict, SourceError> {
    let found = dictionary(reader, root)?;
    if !found.tensors.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = found.others.iter().take(8).map(|name| shortened(name)).collect();
    let reason = if names.is_empty() {
        "the state dict is empty".to_owned()
    } else {
        format!(
            "there are no tensors at the top level, only {}; a training checkpoint? save model.state_dict() on its \
             own",
            names.join(", ")
        )
    };
    Err(reader.fail(root, &reason))
}

/// The tensors and other values of a dictionary.
fn dictionary(reader: &TensorReader<'_>, root: Id) -> Result<StateDict, SourceError> {
    let items = reader.items(root).ok_or_else(|| {
        let kind = reader.pickle.kind(root);
        reader.fail(
            root,
            &format!("the pickle holds {kind}, not a state dict; save model.state_dict()"),
        )
    })?;
    let mut found = StateDict::default();
    for (key, value) in items {
        let name = reader.pickle.text(*key).ok_or_else(|| {
            reader.fail(
                *key,
                &format!(
                    "a name in the state dict is {}, not a str",
                    reader.pickle.kind(*key)
                ),
            )
        })?;
        match reader.tensor(name, *value)? {
            Some(slice) => found.tensors.push(slice),
            None => found.others.push(name.to_owned()),
        }
    }
    Ok(found)
}
