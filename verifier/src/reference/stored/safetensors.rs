//! safetensors files: an 8-byte length, a JSON header, the tensors' bytes without gaps
//! (<https://github.com/huggingface/safetensors#format>). The header is checked by the format's own crate.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::{ElementType, StoredTensor, TensorFile};
use crate::error::ReferenceError;

/// The longest header the format's own reader accepts.
const LONGEST_HEADER: u64 = 100_000_000;

/// What a safetensors file holds.
pub(crate) struct SafetensorsFile {
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
    /// The header's `__metadata__`.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Reads the header and checks that the tensors fill the rest of the file exactly.
pub(crate) fn read_safetensors(file: &Arc<TensorFile>) -> Result<SafetensorsFile, ReferenceError> {
    let mut length = [0; 8];
    if file.bytes < 8 {
        return Err(file.malformed(
            0,
            format!("a safetensors file has at least 8 bytes, this has {}", file.bytes),
        ));
    }
    file.read(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length > file.bytes - 8 {
        return Err(file.malformed(0, format!("header of {length} bytes in a file of {}", file.bytes)));
    }
    let mut header = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read(8, &mut header)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|error| file.malformed(8, format!("header: {error}")))?;
    let data = 8 + length;
    if header.data_len() as u64 != file.bytes - data {
        return Err(file.malformed(
            data,
            format!(
                "the header accounts for {} bytes, {} follow it",
                header.data_len(),
                file.bytes - data
            ),
        ));
    }
    let metadata = header
        .metadata()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()));
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let tensor = StoredTensor {
            file: Arc::clone(file),
            name: name.clone(),
            offset: data + info.data_offsets.0 as u64,
            element: element(info.dtype),
            shape: info.shape.clone(),
        };
        (name, tensor)
    });
    Ok(SafetensorsFile {
        tensors: tensors.collect(),
        metadata: metadata.collect(),
    })
}

fn element(dtype: Dtype) -> ElementType {
    match dtype {
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::Bf16,
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        Dtype::I32 => ElementType::I32,
        Dtype::I64 => ElementType::I64,
        _ => ElementType::Other,
    }
}
