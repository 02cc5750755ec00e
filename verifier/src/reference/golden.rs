//! PyTorch's outputs, recorded elsewhere and played back.
//!
//! A recording is a safetensors file with `input.input_ids`, `input.attention_mask`, `input.token_type_ids` (int32 or
//! int64, (N, S); the last two may be missing: all ones, all zeros), `input.<name>` for what else the model takes
//! ((N, …), or anything else where all rows share it), and `output.<name>` (float, (N, …)).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::stored::{ElementType, StoredTensor, TensorFile, read_safetensors};
use super::{Intake, OUTPUT_ORDER, Reference};
use crate::error::ReferenceError;
use crate::inputs::{self, Batch, InputSet};
use crate::report::{FileDigest, ReferenceReport};
use crate::tensor::Tensor;

/// A recording, its inputs read, its outputs read batch by batch.
#[derive(Debug)]
pub struct GoldenReference {
    path: PathBuf,
    inputs: InputSet,
    outputs: BTreeMap<String, StoredTensor>,
    digest: FileDigest,
    notes: BTreeMap<String, String>,
}

impl GoldenReference {
    /// Opens a recording.
    ///
    /// # Errors
    /// When it can't be read, is malformed, or inputs and outputs differ in their number of rows.
    pub fn open(path: &Path) -> Result<Self, ReferenceError> {
        Self::open_group(path, "")
    }

    /// Opens one group of a recording that has several: keys are `<group>.input.…` and `<group>.output.…`; the
    /// unnamed group's have no prefix.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_group(path: &Path, group: &str) -> Result<Self, ReferenceError> {
        let file = Arc::new(TensorFile::open(path)?);
        let prefix = if group.is_empty() {
            String::new()
        } else {
            format!("{group}.")
        };
        let mut inputs = BTreeMap::new();
        let mut outputs = BTreeMap::new();
        let recorded = read_safetensors(&file)?;
        for (key, tensor) in recorded.tensors {
            let Some(key) = key.strip_prefix(&prefix) else {
                continue;
            };
            if let Some(name) = key.strip_prefix("input.") {
                inputs.insert(name.to_owned(), tensor);
            } else if let Some(name) = key.strip_prefix("output.") {
                outputs.insert(name.to_owned(), tensor);
            }
        }
        let missing = |name: &str| ReferenceError::MissingTensors {
            path: path.to_owned(),
            names: vec![format!("{prefix}{name}")],
        };
        let inputs = inputs::stored_rows(path, &format!("{prefix}input."), inputs)?;
        let rows = inputs.rows.len();
        if outputs.is_empty() {
            return Err(missing("output.*"));
        }
        for tensor in outputs.values() {
            if tensor.shape.first() != Some(&rows) {
                return Err(tensor.wrong(format!("has shape {:?}, expected {rows} rows", tensor.shape)));
            }
            if matches!(
                tensor.element,
                ElementType::I32 | ElementType::I64 | ElementType::Other
            ) {
                return Err(tensor.wrong("is no float tensor"));
            }
        }
        let digest = file.digest(path.parent().unwrap_or(Path::new("")))?;
        Ok(Self {
            path: path.to_owned(),
            inputs,
            outputs,
            digest,
            notes: recorded.metadata,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The inputs the outputs were recorded for.
    pub const fn inputs(&self) -> &InputSet {
        &self.inputs
    }
}

impl Reference for GoldenReference {
    fn describe(&self) -> ReferenceReport {
        ReferenceReport {
            kind: "recorded outputs".into(),
            path: self.path.display().to_string(),
            task: None,
            files: vec![self.digest.clone()],
            notes: self.notes.clone(),
        }
    }

    fn intake(&self) -> Intake {
        Intake::default()
    }

    fn recorded(&self) -> Option<&InputSet> {
        Some(&self.inputs)
    }

    fn task_outputs(&self) -> Vec<String> {
        let known = OUTPUT_ORDER
            .into_iter()
            .filter(|name| self.outputs.contains_key(*name))
            .map(str::to_owned);
        let others = self
            .outputs
            .keys()
            .filter(|name| !OUTPUT_ORDER.contains(&name.as_str()))
            .cloned();
        known.chain(others).collect()
    }

    fn outputs(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
        let last = batch.first_row.saturating_add(batch.rows.len());
        if self.inputs.rows.get(batch.first_row..last) != Some(batch.rows) {
            return Err(ReferenceError::NotRecorded {
                path: self.path.clone(),
                recorded: self.inputs.rows.len(),
                length: self.inputs.length,
                asked: format!("rows {}..{last} as given", batch.first_row),
            });
        }
        let tensors = self.outputs.iter().map(|(name, stored)| {
            let mut shape = stored.shape.clone();
            shape[0] = batch.rows.len();
            let values = stored.rows_f32(batch.first_row, batch.rows.len())?;
            let tensor =
                Tensor::new(shape, values).ok_or_else(|| stored.wrong("shape and values disagree"))?;
            Ok((name.clone(), tensor))
        });
        tensors.collect()
    }
}
