//! PyTorch's zip files (`torch.save` since 1.6): `data.pkl` describes tensors, `data/N` hold their storages,
//! uncompressed.

use std::collections::BTreeMap;
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{PickledTensor, state_dict};
use super::{ElementType, StoredTensor, TensorFile};
use crate::error::ReferenceError;

/// The longest `data.pkl` read; a state dictionary takes about 100 bytes per tensor.
const LONGEST_PICKLE: u64 = 64 << 20;

/// An uncompressed entry: where its bytes lie in the file.
#[derive(Clone, Copy)]
struct Entry {
    offset: u64,
    bytes: u64,
}

/// The tensors of a PyTorch state dictionary, none of them read yet.
pub(crate) fn read_torch_zip(
    file: &Arc<TensorFile>,
) -> Result<BTreeMap<String, StoredTensor>, ReferenceError> {
    let entries = entries(file)?;
    let mut pickles = entries
        .iter()
        .filter(|(name, _)| name.ends_with("/data.pkl") || *name == "data.pkl");
    let (Some((name, pickle)), None) = (pickles.next(), pickles.next()) else {
        return Err(file.malformed(0, "a PyTorch file holds exactly one data.pkl"));
    };
    let root = name.strip_suffix("data.pkl").unwrap_or_default();
    if let Some(order) = entries.get(&format!("{root}byteorder"))
        && read(file, *order, 16)? != b"little"
    {
        return Err(file.malformed(order.offset, "weights are not little-endian"));
    }
    let tensors = state_dict(&read(file, *pickle, LONGEST_PICKLE)?).map_err(|error| {
        file.malformed(
            pickle.offset + error.offset as u64,
            format!("data.pkl: {}", error.reason),
        )
    })?;
    let stored = tensors.into_iter().map(|(name, tensor)| {
        let storage = entries.get(&format!("{root}data/{}", tensor.key)).copied();
        Ok((name.clone(), place(file, name, &tensor, storage)?))
    });
    stored.collect()
}

fn read(file: &TensorFile, entry: Entry, longest: u64) -> Result<Vec<u8>, ReferenceError> {
    if entry.bytes > longest {
        return Err(file.malformed(
            entry.offset,
            format!("an entry of {} bytes, expected {longest} at most", entry.bytes),
        ));
    }
    let mut bytes = vec![0; usize::try_from(entry.bytes).unwrap_or(0)];
    file.read(entry.offset, &mut bytes)?;
    Ok(bytes)
}

fn entries(file: &TensorFile) -> Result<BTreeMap<String, Entry>, ReferenceError> {
    let malformed =
        |error: zip::result::ZipError| file.malformed(0, format!("not a zip file PyTorch wrote: {error}"));
    let mut archive = ZipArchive::new(std::io::BufReader::new(&file.file)).map_err(malformed)?;
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(malformed)?;
        let name = entry.name().map_err(malformed)?.into_owned();
        if entry.is_dir() {
            continue;
        }
        let offset = entry.data_start().unwrap_or(u64::MAX);
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(file.malformed(
                entry.header_start(),
                format!("entry `{name}` is compressed or encrypted"),
            ));
        }
        let bytes = entry.size();
        if offset.checked_add(bytes).is_none_or(|end| end > file.bytes) {
            return Err(file.malformed(
                entry.header_start(),
                format!("entry `{name}` reaches beyond the file"),
            ));
        }
        if entries.insert(name.clone(), Entry { offset, bytes }).is_some() {
            return Err(file.malformed(entry.header_start(), format!("entry `{name}` is there twice")));
        }
    }
    Ok(entries)
}

/// Checks that a tensor lies inside its storage.
fn place(
    file: &Arc<TensorFile>,
    name: String,
    tensor: &PickledTensor,
    storage: Option<Entry>,
) -> Result<StoredTensor, ReferenceError> {
    let wrong = |reason: String| ReferenceError::Tensor {
        path: file.path.clone(),
        name: name.clone(),
        reason,
    };
    let storage = storage.ok_or_else(|| wrong(format!("its storage `data/{}` is missing", tensor.key)))?;
    let element = element(&tensor.storage);
    let inside = || {
        let shape: Option<Vec<usize>> = tensor
            .shape
            .iter()
            .map(|size| usize::try_from(*size).ok())
            .collect();
        let count = tensor
            .shape
            .iter()
            .try_fold(1u64, |count, size| count.checked_mul(*size))?;
        let width = element.bytes() as u64;
        let start = tensor.offset.checked_mul(width)?;
        let end = count.checked_mul(width)?.checked_add(start)?;
        (end <= storage.bytes).then_some((shape?, storage.offset + start))
    };
    let (shape, offset) = inside().ok_or_else(|| wrong("reaches beyond its storage".into()))?;
    // A tensor that can't be read can be listed; most such are index buffers no reference asks for.
    let element = if contiguous(tensor) {
        element
    } else {
        ElementType::Other
    };
    Ok(StoredTensor {
        file: Arc::clone(file),
        name,
        offset,
        element,
        shape,
    })
}

/// Whether the elements lie in row-major order without gaps; strides of axes of size 1 mean nothing.
fn contiguous(tensor: &PickledTensor) -> bool {
    let mut expected = 1u64;
    tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .rev()
        .all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected = expected.saturating_mul(*size);
            fits
        })
}

fn element(storage: &str) -> ElementType {
    match storage {
        "FloatStorage" => ElementType::F32,
        "HalfStorage" => ElementType::F16,
        "BFloat16Storage" => ElementType::Bf16,
        "DoubleStorage" => ElementType::F64,
        "IntStorage" => ElementType::I32,
        "LongStorage" => ElementType::I64,
        _ => ElementType::Other,
    }
}
