//! A traced module, run by libtorch itself beside the package that was made of it.

mod example;
#[cfg(feature = "libtorch")]
mod running;

#[cfg(not(feature = "libtorch"))]
use absent as running;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use corer_verifier::inputs::Batch;
use corer_verifier::reference::{Feed, Intake, file_digest};
use corer_verifier::report::{FileDigest, ReferenceReport};
use corer_verifier::{Reference, ReferenceError, Tensor};

use crate::error::LibtorchError;

/// A TorchScript archive, loaded and ready to run.
///
/// This runs code that comes with the model, which nothing else in corer does: only for files that are trusted.
pub struct LibtorchReference {
    path: PathBuf,
    file: FileDigest,
    module: running::Running,
    /// Rows to run at once, as the function that is judged does.
    batch: usize,
    /// Names of the results, in order; known once it was run. Those the module gives no name are numbered.
    outputs: Vec<String>,
}

impl LibtorchReference {
    /// Loads the archive.
    ///
    /// # Errors
    /// When this build lacks libtorch, or libtorch can't load the file.
    pub fn open(path: &Path) -> Result<Self, ReferenceError> {
        let module = running::Running::load(path).map_err(|error| engine(path, error))?;
        let file = file_digest(path)?;
        Ok(Self {
            path: path.into(),
            file,
            module,
            batch: 0,
            outputs: Vec::new(),
        })
    }

    /// Results of a batch, named, in order; run in pieces of as many rows as the module is used to.
    fn run(&self, batch: &Batch<'_>) -> Result<Vec<(String, Tensor)>, ReferenceError> {
        let failed = |error| engine(&self.path, error);
        let mut joined: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
        let step = self.batch.max(1);
        for first in (0..batch.rows.len()).step_by(step) {
            let rows = &batch.rows[first..(first + step).min(batch.rows.len())];
            // The last piece is filled up, for modules traced at one number of rows.
            let mut padded = rows.to_vec();
            padded.resize(step, rows[rows.len() - 1].clone());
            let piece = Batch {
                first_row: batch.first_row + first,
                length: batch.length,
                rows: &padded,
            };
            let results = self.module.run(&piece).map_err(failed)?;
            for (index, (name, tensor)) in results.into_iter().enumerate() {
                if tensor.rows() != step {
                    let reason = format!("output `{name}` has shape {:?} for {step} rows", tensor.shape());
                    return Err(failed(LibtorchError::Torch {
                        step: "running the module".into(),
                        reason,
                    }));
                }
                let values = (0..rows.len()).flat_map(|row| tensor.row(row)).copied();
                match joined.get_mut(index) {
                    Some((_, shape, all)) => {
                        shape[0] += rows.len();
                        all.extend(values);
                    }
                    None => {
                        let mut shape = tensor.shape().to_vec();
                        shape[0] = rows.len();
                        joined.push((name, shape, values.collect()));
                    }
                }
            }
        }
        let tensors = joined.into_iter().map(|(name, shape, values)| {
            let tensor = Tensor::new(shape, values).ok_or_else(|| {
                let reason = format!("output `{name}` changes its shape from row to row");
                failed(LibtorchError::Torch {
                    step: "running the module".into(),
                    reason,
                })
            })?;
            Ok((name, tensor))
        });
        tensors.collect()
    }
}

impl fmt::Debug for LibtorchReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LibtorchReference")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Reference for LibtorchReference {
    fn describe(&self) -> ReferenceReport {
        ReferenceReport {
            kind: "libtorch, the module itself".into(),
            path: self.path.display().to_string(),
            task: None,
            files: vec![self.file.clone()],
            notes: BTreeMap::new(),
        }
    }

    fn intake(&self) -> Intake {
        // Its tables are the package's, which says how large they are.
        Intake {
            tokenizer: Some(self.path.with_file_name("tokenizer.json")),
            ..Intake::default()
        }
    }

    fn prepare(&mut self, feed: &Feed) -> Result<(), ReferenceError> {
        self.batch = feed.batch;
        let example = example::rows(feed);
        let batch = Batch {
            first_row: 0,
            length: feed.length,
            rows: &example,
        };
        // A module traced at one length fails at others; what it says then is the reason.
        let results = self.run(&batch).map_err(|error| match error {
            ReferenceError::Engine { source, .. } => ReferenceError::Size {
                path: self.path.clone(),
                reason: format!(
                    "does not run on {} tokens ({source}); a trace may be good for the length it was made at only",
                    feed.length
                ),
            },
            other => other,
        })?;
        self.outputs = results.into_iter().map(|(name, _)| name).collect();
        Ok(())
    }

    fn task_outputs(&self) -> Vec<String> {
        self.outputs.clone()
    }

    fn outputs(&self, batch: &Batch<'_>) -> Result<BTreeMap<String, Tensor>, ReferenceError> {
        Ok(self.run(batch)?.into_iter().collect())
    }
}

fn engine(path: &Path, error: LibtorchError) -> ReferenceError {
    ReferenceError::Engine {
        path: path.into(),
        source: Box::new(error),
    }
}

/// What stands in for a running module in a build without libtorch.
#[cfg(not(feature = "libtorch"))]
mod absent {
    use std::path::Path;

    use corer_verifier::Tensor;
    use corer_verifier::inputs::Batch;

    use crate::error::LibtorchError;

    /// Never made.
    pub(super) enum Running {}

    impl Running {
        pub(super) fn load(_: &Path) -> Result<Self, LibtorchError> {
            Err(LibtorchError::NotBuilt)
        }

        pub(super) fn run(&self, _: &Batch<'_>) -> Result<Vec<(String, Tensor)>, LibtorchError> {
            match *self {}
        }
    }
}
