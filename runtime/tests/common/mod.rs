//! Reading recorded tensors.
#![allow(dead_code)] // not every test uses all of it

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_runtime::{Tensor, TensorData};

/// A folder of the repository.
pub(crate) fn repository(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder)
}

/// A safetensors file's F32 and I32 tensors, and its metadata.
pub(crate) fn recorded(path: &Path) -> (BTreeMap<String, Tensor>, BTreeMap<String, String>) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a safetensors file");
    let metadata = header
        .metadata()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let tensors = tensors.tensors().into_iter().map(|(name, view)| {
        let words = view.data().as_chunks::<4>().0;
        let data = match view.dtype() {
            safetensors::Dtype::F32 => {
                TensorData::F32(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
            }
            safetensors::Dtype::I32 => {
                TensorData::I32(words.iter().map(|word| i32::from_le_bytes(*word)).collect())
            }
            safetensors::Dtype::I64 => TensorData::I32(
                view.data()
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|word| i32::try_from(i64::from_le_bytes(*word)).expect("an int32"))
                    .collect(),
            ),
            other => panic!("`{name}` is {other:?}"),
        };
        (
            name,
            Tensor::new(view.shape(), data).expect("as many elements as the shape says"),
        )
    });
    (tensors.collect(), metadata)
}

/// The tensors whose names start with `prefix`, by the rest of their names.
pub(crate) fn with_prefix(tensors: &BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())))
        .collect()
}
