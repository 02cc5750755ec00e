//! `.pt2`: what `torch.export.save` writes, in either of its containers, as a program's text and named tensors.
//!
//! Up to torch 2.7 (`torch/export/__init__.py`, `save`) a zip archive of four fixed entries: the program as JSON, and
//! state dict, constants and example inputs as archives of torch.save's own. From 2.8 on a PT2 archive
//! (`torch/export/pt2_archive/_package.py`): `models/<name>.json`, and below `data/` either again such archives (2.8)
//! or one raw entry per storage with a JSON file that says which tensor lies where. Example inputs are never read.

mod container;
mod meta;
mod payload;

use std::sync::Arc;

use super::error::{Place, SourceError};
use super::file::SourceFile;
use super::tensor_set::TensorSet;
use super::torch;
use super::zip::Archive;
use container::Container;

pub(crate) use meta::{Number, ScalarCode, SymInt, TensorMeta};

/// Largest program text read. BERT-base exports to about two megabytes, most of it stack traces.
const MOST_PROGRAM_BYTES: u64 = 256 << 20;

/// An exported program's archive, opened: names and shapes known, weights still on disk.
#[derive(Debug)]
pub struct Pt2 {
    /// The archive.
    pub file: Arc<SourceFile>,
    /// Entry the program's text comes from.
    pub entry: String,
    /// The program, as JSON.
    pub program: Vec<u8>,
    /// Parameters and persistent buffers, by qualified name.
    pub state: TensorSet,
    /// Tensor constants and non-persistent buffers, by name.
    pub constants: TensorSet,
}

impl Pt2 {
    /// Opens an archive.
    ///
    /// # Errors
    /// When it is not one `torch.export.save` wrote, is damaged, or holds several programs or none.
    pub fn open(file: &Arc<SourceFile>) -> Result<Self, SourceError> {
        let archive = Archive::open(file.clone())?;
        let container = Container::find(&archive)?;
        let entry = container.program.clone();
        let program = archive.read(&entry, MOST_PROGRAM_BYTES)?;
        let [state, constants] = match &container.tensors {
            container::Tensors::Pickled { state, constants } => {
                [pickled(&archive, state)?, pickled(&archive, constants)?]
            }
            container::Tensors::Raw { state, constants } => [
                payload::read(&archive, state)?,
                payload::read(&archive, constants)?,
            ],
        };
        Ok(Self {
            file: file.clone(),
            entry,
            program,
            state,
            constants,
        })
    }

    /// Whether an archive's directory is that of an exported program.
    pub fn is_one(archive: &Archive) -> bool {
        container::is_export(archive)
    }
}

/// The tensors of an archive of torch.save's within the archive.
fn pickled(archive: &Archive, entry: &str) -> Result<TensorSet, SourceError> {
    let inner = archive.file().section(entry, archive.stored(entry)?)?;
    let mut set = TensorSet::default();
    for slice in torch::read_possibly_empty(&inner)?.tensors {
        let name = slice.name().to_owned();
        if !set.insert(slice) {
            let reason = "the name is given twice";
            return Err(SourceError::malformed(inner.path(), Place::Tensor(name), reason));
        }
    }
    Ok(set)
}
