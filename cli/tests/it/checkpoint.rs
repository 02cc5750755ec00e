//! Copies of committed checkpoints, to be spoiled.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::harness::{Scratch, copy_directory, fixtures};

/// A writable copy of a fixture in a scratch directory.
pub(crate) struct Checkpoint {
    root: PathBuf,
}

impl Checkpoint {
    /// Copies `fixtures/bert-tiny/<name>` to `<scratch>/model`.
    pub(crate) fn copy(scratch: &Scratch, name: &str) -> Self {
        let root = scratch.path().join("model");
        copy_directory(&fixtures().join("bert-tiny").join(name), &root);
        Self { root }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Sets a key of `config.json`.
    pub(crate) fn configure(&self, key: &str, value: Value) {
        let path = self.path("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("config")).expect("JSON");
        config[key] = value;
        fs::write(path, config.to_string()).expect("config");
    }

    /// Rewrites `model.safetensors` after `edit` changed its tensors.
    pub(crate) fn edit_tensors(&self, edit: impl FnOnce(&mut Vec<Tensor>)) {
        let path = self.path("model.safetensors");
        let mut tensors = read_safetensors(&path);
        edit(&mut tensors);
        write_safetensors(&path, &tensors);
    }
}

/// Gives a copy of `formats/prefixed` a vocabulary of `rows` zero rows, as a hole in the file.
pub(crate) fn with_vocabulary(checkpoint: &Checkpoint, rows: u64) {
    checkpoint.configure("vocab_size", json!(rows));
    let path = checkpoint.path("model.safetensors");
    let mut tensors = read_safetensors(&path);
    let table = tensors
        .iter()
        .position(|tensor| tensor.name.ends_with("word_embeddings.weight"));
    let mut table = tensors.remove(table.expect("an embedding table"));
    table.shape[0] = rows;
    let hole = rows * table.shape[1] * 4;
    table.bytes.clear();
    tensors.push(table);
    write_with_hole(&path, &tensors, hole);
}

/// One tensor of a safetensors file.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
}

impl Tensor {
    /// Repeats the rows again and again until there are `rows`.
    pub(crate) fn repeat_rows(&mut self, rows: u64) {
        let row = self.bytes.len() / usize::try_from(self.shape[0]).expect("small");
        let length = row * usize::try_from(rows).expect("small");
        self.bytes = self.bytes.iter().copied().cycle().take(length).collect();
        self.shape[0] = rows;
    }

    /// Overwrites one f32 element.
    pub(crate) fn set(&mut self, element: usize, value: f32) {
        assert_eq!(self.dtype, "F32");
        self.bytes[element * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

/// The tensor of that name.
pub(crate) fn named<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    tensors
        .iter_mut()
        .find(|tensor| tensor.name == name)
        .expect("a tensor of that name")
}

// The layout is the safetensors format's: u64 header length, JSON header, data.
pub(crate) fn read_safetensors(path: &Path) -> Vec<Tensor> {
    let bytes = fs::read(path).expect("weights");
    let header_len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + header_len]).expect("header");
    let data = &bytes[8 + header_len..];
    let entries = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let mut tensors: Vec<_> = entries
        .map(|(name, entry)| {
            let offset = |end: usize| entry["data_offsets"][end].as_u64().expect("an offset") as usize;
            Tensor {
                name,
                dtype: entry["dtype"].as_str().expect("a dtype").to_owned(),
                shape: serde_json::from_value(entry["shape"].clone()).expect("a shape"),
                bytes: data[offset(0)..offset(1)].to_vec(),
            }
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

pub(crate) fn write_safetensors(path: &Path, tensors: &[Tensor]) {
    write_with_hole(path, tensors, 0);
}

/// Writes tensors, the last of them followed by `hole` zero bytes that take no room on the disk.
fn write_with_hole(path: &Path, tensors: &[Tensor], hole: u64) {
    let mut header = Map::new();
    let mut data = Vec::new();
    for (position, tensor) in tensors.iter().enumerate() {
        let begin = data.len() as u64;
        data.extend_from_slice(&tensor.bytes);
        let last = position + 1 == tensors.len();
        let end = data.len() as u64 + if last { hole } else { 0 };
        let entry = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end]});
        header.insert(tensor.name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&data);
    fs::write(path, &bytes).expect("weights");
    let file = fs::OpenOptions::new().write(true).open(path).expect("weights");
    file.set_len(bytes.len() as u64 + hole).expect("a hole");
}
