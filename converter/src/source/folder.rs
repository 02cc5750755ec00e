//! The weight files of one folder: which of those there are is read, whole or in shards.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::error::{Place, SourceError, shortened};
use super::file::SourceFile;
use super::json::{self, UniqueMap};
use super::tensor_set::{TensorSet, TensorSlice};
use super::{safetensors, torch};

/// Names of weight files in the order Hugging Face prefers them.
const WEIGHT_FILES: [(&str, Format); 4] = [
    ("model.safetensors", Format::Safetensors),
    ("model.safetensors.index.json", Format::Safetensors),
    ("pytorch_model.bin", Format::Pickle),
    ("pytorch_model.bin.index.json", Format::Pickle),
];

/// Weight files of other frameworks, whose presence explains what is missing.
const FOREIGN: [(&str, &str); 7] = [
    ("tf_model.h5", "TensorFlow"),
    ("model.ckpt.index", "TensorFlow"),
    ("bert_model.ckpt.index", "TensorFlow"),
    ("flax_model.msgpack", "Flax"),
    ("rust_model.ot", "rust-bert"),
    ("model.onnx", "ONNX"),
    ("openvino_model.xml", "OpenVINO"),
];

/// Most shards of one model: each stays open.
const MOST_SHARDS: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Safetensors,
    Pickle,
}

impl Format {
    fn read(self, file: &Arc<SourceFile>) -> Result<Vec<TensorSlice>, SourceError> {
        match self {
            Self::Safetensors => safetensors::read(file),
            // What is not a tensor is no weight: an epoch count, a dict of settings.
            Self::Pickle => Ok(torch::read(file)?.tensors),
        }
    }
}

/// The weights of one folder.
pub(super) struct FolderWeights {
    pub(super) tensors: TensorSet,
    /// Files they come from.
    pub(super) files: Vec<Arc<SourceFile>>,
    /// The index, when they come in shards.
    pub(super) index: Option<Arc<SourceFile>>,
}

/// A shard index.
#[derive(Deserialize)]
struct Index {
    weight_map: UniqueMap<String>,
}

/// Opens the weights of a folder, safetensors before pickles.
///
/// # Errors
/// When there are none, or they can't be read.
pub(super) fn open(folder: &Path) -> Result<FolderWeights, SourceError> {
    for (name, format) in WEIGHT_FILES {
        let Some(file) = open_optional(&folder.join(name))? else {
            continue;
        };
        if name.ends_with(".json") {
            return sharded(folder, file, format);
        }
        let mut tensors = TensorSet::default();
        for slice in format.read(&file)? {
            insert(&mut tensors, slice)?;
        }
        return Ok(FolderWeights {
            tensors,
            files: vec![file],
            index: None,
        });
    }
    let foreign = FOREIGN.iter().find(|(name, _)| folder.join(name).is_file());
    let reason = match foreign {
        Some((name, framework)) => format!(
            "there are only {framework} weights ({name}); load them with transformers in PyTorch and save them with \
             save_pretrained"
        ),
        None => "there are no weights".into(),
    };
    let looked_for = WEIGHT_FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    Err(SourceError::NotFound {
        root: folder.into(),
        reason,
        looked_for,
    })
}

/// Opens a file unless it does not exist.
pub(super) fn open_optional(path: &Path) -> Result<Option<Arc<SourceFile>>, SourceError> {
    match SourceFile::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(SourceError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A path a file of the checkpoint names, as a path below `folder`; `None` when it leads out of it.
pub(super) fn below(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.contains(['\\', '\0'])
        && Path::new(name)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
    plain.then(|| folder.join(name))
}

fn sharded(folder: &Path, index: Arc<SourceFile>, format: Format) -> Result<FolderWeights, SourceError> {
    let UniqueMap(weight_map) = json::read::<Index>(&index)?.weight_map;
    let key = |name: &str| Place::Key(format!("weight_map.{}", shortened(name)));
    let mut by_shard: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &weight_map {
        if shard.is_empty() || shard.contains('/') || below(folder, shard).is_none() {
            let reason = format!(
                "`{}` is not the name of a file beside the index",
                shortened(shard)
            );
            return Err(SourceError::malformed(index.path(), key(tensor), reason));
        }
        by_shard.entry(shard).or_default().push(tensor);
    }
    if by_shard.is_empty() || by_shard.len() > MOST_SHARDS {
        let reason = format!("names {} shards; 1 to {MOST_SHARDS} can be read", by_shard.len());
        return Err(SourceError::malformed(
            index.path(),
            Place::Key("weight_map".into()),
            reason,
        ));
    }
    let (mut tensors, mut files) = (TensorSet::default(), Vec::new());
    for (shard, wanted) in by_shard {
        let file = open_optional(&folder.join(shard))?.ok_or_else(|| {
            let reason = format!("shard `{}` is missing; download it too", shortened(shard));
            SourceError::malformed(index.path(), key(wanted[0]), reason)
        })?;
        let mut found = TensorSet::default();
        for slice in format.read(&file)? {
            insert(&mut found, slice)?;
        }
        for name in wanted {
            let slice = found.get(name).ok_or_else(|| {
                let reason = format!("is not in shard `{}`, where the index has it", shortened(shard));
                SourceError::malformed(file.path(), Place::Tensor(name.into()), reason)
            })?;
            insert(&mut tensors, slice.clone())?;
        }
        files.push(file);
    }
    Ok(FolderWeights {
        tensors,
        files,
        index: Some(index),
    })
}

fn insert(tensors: &mut TensorSet, slice: TensorSlice) -> Result<(), SourceError> {
    let (path, name) = (slice.path().to_owned(), slice.name().to_owned());
    if tensors.insert(slice) {
        return Ok(());
    }
    Err(SourceError::malformed(
        &path,
        Place::Tensor(name),
        "is given twice",
    ))
}
