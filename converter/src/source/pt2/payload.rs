//! Tensors of a PT2 archive: one raw entry per storage, and a JSON file that says which tensor lies where in which.

use serde::Deserialize;

use super::meta::{SymInt, TensorMeta};
use crate::source::error::{Place, SourceError, shortened};
use crate::source::json::{self, UniqueMap};
use crate::source::tensor_set::{TensorSet, TensorSlice};
use crate::source::torch;
use crate::source::zip::Archive;

/// Largest such JSON file read: about 300 bytes a tensor.
const MOST_CONFIG_BYTES: u64 = 64 << 20;

/// The JSON file (`schema.PayloadConfig`).
#[derive(Deserialize)]
struct Config {
    config: UniqueMap<Payload>,
}

/// One tensor or object (`schema.PayloadMeta`).
#[derive(Deserialize)]
struct Payload {
    /// Entry in the folder of the JSON file.
    path_name: String,
    /// Whether the entry is a pickle: tensor subclasses and objects.
    use_pickle: bool,
    /// What is known of a tensor; objects have none.
    tensor_meta: Option<TensorMeta>,
}

/// The tensors a configuration entry lists, each checked to lie in its entry. Objects that are no tensors are left
/// out: who needs one will miss it.
///
/// # Errors
/// When the entry can't be read, or a tensor does not lie where it says.
pub(super) fn read(archive: &Archive, entry: &str) -> Result<TensorSet, SourceError> {
    let text = archive.read(entry, MOST_CONFIG_BYTES)?;
    let config: Config = json::parse_entry(archive.file().path(), entry, &text)?;
    let folder = entry.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut set = TensorSet::default();
    for (name, payload) in &config.config.0 {
        let Some(meta) = &payload.tensor_meta else {
            continue;
        };
        let fault = Fault {
            archive,
            entry,
            tensor: name,
        };
        if payload.use_pickle {
            return Err(fault.unsupported("is of a tensor subclass, saved as a pickle; export plain tensors"));
        }
        // Names in a map of unique names don't come twice.
        set.insert(slice(archive, folder, name, payload, meta, &fault)?);
    }
    Ok(set)
}

/// Where one tensor lies.
fn slice(
    archive: &Archive,
    folder: &str,
    name: &str,
    payload: &Payload,
    meta: &TensorMeta,
    fault: &Fault<'_>,
) -> Result<TensorSlice, SourceError> {
    let dtype = meta.dtype.stored().ok_or_else(|| {
        fault.unsupported(&format!(
            "has the element type {}, which is not read",
            meta.dtype.0
        ))
    })?;
    let size = fault.lengths("size", &meta.sizes)?;
    let stride = fault.lengths("stride", &meta.strides)?;
    let order = if size.len() == stride.len() {
        torch::order(&size, &stride)
    } else {
        return Err(fault.malformed(&format!("has size {size:?} but stride {stride:?}")));
    };
    let order = order.ok_or_else(|| {
        fault.unsupported(&format!(
            "of size {size:?} has stride {stride:?}, which is neither dense nor a transpose; make it contiguous()"
        ))
    })?;
    let range = archive.stored(&format!("{folder}/{}", payload.path_name))?;
    let offset = match &meta.storage_offset {
        SymInt::Int(offset) => u64::try_from(*offset).ok(),
        SymInt::Expression(_) => None,
    };
    let start = offset
        .and_then(|offset| offset.checked_mul(dtype.size())?.checked_add(range.start))
        .ok_or_else(|| fault.malformed("has no storage offset"))?;
    let mut slice = TensorSlice::new(name, archive.file().clone(), start, dtype, size)?;
    let end = start.checked_add(slice.byte_len());
    if end.is_none_or(|end| end > range.end) {
        let reason = format!(
            "of {} bytes does not lie in its entry `{}` of {}",
            slice.byte_len(),
            shortened(&payload.path_name),
            range.end - range.start
        );
        return Err(fault.malformed(&reason));
    }
    slice.column_major = order == torch::Order::ColumnMajor;
    Ok(slice)
}

/// Says what is wrong with a tensor.
struct Fault<'a> {
    archive: &'a Archive,
    entry: &'a str,
    tensor: &'a str,
}

impl Fault<'_> {
    fn place(&self) -> Place {
        Place::Member {
            entry: self.entry.into(),
            path: format!("config.{}", self.tensor),
        }
    }

    fn malformed(&self, reason: &str) -> SourceError {
        SourceError::malformed(self.archive.file().path(), self.place(), reason)
    }

    fn unsupported(&self, reason: &str) -> SourceError {
        SourceError::unsupported(self.archive.file().path(), self.place(), reason)
    }

    /// Sizes or strides of a stored tensor.
    fn lengths(&self, what: &str, values: &[SymInt]) -> Result<Vec<u64>, SourceError> {
        let length = |value: &SymInt| match value {
            SymInt::Int(value) => u64::try_from(*value).ok(),
            SymInt::Expression(_) => None,
        };
        let lengths = values.iter().map(length).collect::<Option<Vec<u64>>>();
        lengths.ok_or_else(|| self.malformed(&format!("has a {what} that is not a list of lengths")))
    }
}
