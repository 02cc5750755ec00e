//! The weights of a checkpoint directory under one set of names, as candle asks for them.
//!
//! Hugging Face's loader strips the `bert.` prefix where a head gave one and reads `LayerNorm.gamma`/`.beta` as
//! `.weight`/`.bias` (`modeling_utils.py`, `_fix_state_dict_key_on_load`); so does this.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;

use super::config::JsonFile;
use crate::error::ReferenceError;
use crate::reference::stored::{StoredTensor, TensorFile, read_safetensors, read_torch_zip};
use crate::report::FileDigest;

/// Weight files in the order Hugging Face prefers them.
const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// A checkpoint's tensors by canonical name.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) directory: PathBuf,
    tensors: BTreeMap<String, StoredTensor>,
    files: Vec<Arc<TensorFile>>,
}

impl Checkpoint {
    /// Finds the weight files of `directory` and lists their tensors.
    pub(super) fn open(directory: &Path) -> Result<Self, ReferenceError> {
        let found = WEIGHT_FILES
            .into_iter()
            .find(|name| directory.join(name).is_file());
        let Some(name) = found else {
            return Err(ReferenceError::NoCheckpoint {
                path: directory.into(),
                looked_for: WEIGHT_FILES.to_vec(),
            });
        };
        let paths = if name.ends_with(".index.json") {
            shards(&directory.join(name))?
        } else {
            vec![directory.join(name)]
        };
        let mut checkpoint = Self {
            directory: directory.into(),
            tensors: BTreeMap::new(),
            files: Vec::new(),
        };
        for path in paths {
            let file = Arc::new(TensorFile::open(&path)?);
            let tensors = if path
                .extension()
                .is_some_and(|extension| extension == "safetensors")
            {
                read_safetensors(&file)?.tensors
            } else {
                read_torch_zip(&file)?
            };
            for (name, tensor) in tensors {
                if let Some(earlier) = checkpoint.tensors.insert(canonical(&name), tensor) {
                    return Err(
                        earlier.wrong(format!("is there twice, also as `{name}` in {}", path.display()))
                    );
                }
            }
            checkpoint.files.push(file);
        }
        Ok(checkpoint)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// SHA-256 of every weight file.
    pub(super) fn digests(&self, root: &Path) -> Result<Vec<FileDigest>, ReferenceError> {
        self.files.iter().map(|file| file.digest(root)).collect()
    }
}

/// The shard files an index names, each once, in name order.
fn shards(index: &Path) -> Result<Vec<PathBuf>, ReferenceError> {
    let file = JsonFile::read(index)?;
    let map = file.value["weight_map"]
        .as_object()
        .ok_or_else(|| file.fail("weight_map", "is missing".into()))?;
    let mut names = BTreeSet::new();
    for shard in map.values() {
        let name = shard.as_str().unwrap_or_default();
        // A shard lies beside its index; anything that could lead elsewhere is refused.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Err(file.fail("weight_map", format!("{shard} is no file name")));
        }
        names.insert(name);
    }
    let directory = index.parent().unwrap_or(Path::new(""));
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

/// The name a tensor has in a bare `BertModel` of today.
fn canonical(name: &str) -> String {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    if let Some(norm) = name.strip_suffix("LayerNorm.gamma") {
        format!("{norm}LayerNorm.weight")
    } else if let Some(norm) = name.strip_suffix("LayerNorm.beta") {
        format!("{norm}LayerNorm.bias")
    } else {
        name.into()
    }
}

/// Hands tensors to candle's builders, widened to f32, and keeps the errors that say more than candle's.
pub(super) struct Weights {
    checkpoint: Arc<Checkpoint>,
    failure: Arc<Mutex<Option<ReferenceError>>>,
}

impl Weights {
    /// The backend, and where its first failure can be picked up.
    pub(super) fn new(checkpoint: Arc<Checkpoint>) -> (Self, Arc<Mutex<Option<ReferenceError>>>) {
        let failure = Arc::new(Mutex::new(None));
        (
            Self {
                checkpoint,
                failure: Arc::clone(&failure),
            },
            failure,
        )
    }

    fn load(&self, name: &str, expected: Option<&Shape>) -> Result<Tensor, ReferenceError> {
        let stored = self
            .checkpoint
            .get(name)
            .ok_or_else(|| ReferenceError::MissingTensors {
                path: self.checkpoint.directory.clone(),
                names: vec![name.into()],
            })?;
        if let Some(expected) = expected
            && expected.dims() != stored.shape
        {
            let reason = format!(
                "has shape {:?}, config.json asks for {:?}",
                stored.shape,
                expected.dims()
            );
            return Err(stored.wrong(reason));
        }
        Tensor::from_vec(stored.to_f32()?, stored.shape.as_slice(), &Device::Cpu).map_err(|source| {
            ReferenceError::Candle {
                step: format!("tensor {name}"),
                source,
            }
        })
    }

    fn keep(&self, error: ReferenceError) -> candle_core::Error {
        let message = error.to_string();
        if let Ok(mut slot) = self.failure.lock() {
            slot.get_or_insert(error);
        }
        candle_core::Error::Msg(message)
    }
}

impl SimpleBackend for Weights {
    fn get(&self, shape: Shape, name: &str, _: Init, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        self.load(name, Some(&shape)).map_err(|error| self.keep(error))
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        self.load(name, None).map_err(|error| self.keep(error))
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.checkpoint.contains(name)
    }
}
