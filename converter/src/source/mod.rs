//! Checkpoint directories read as data: configuration, tensor names and shapes now, weights when their bytes
//! are asked for.
//!
//! Nothing in a source file is executed or believed: pickles run through an allow-list, every length and offset
//! is checked against the file before it is used. Weights are read with positioned reads into small buffers,
//! never mapped, so memory does not grow with the checkpoint.

mod checkpoint;
mod digest;
mod dtype;
mod error;
mod file;
mod folder;
pub(crate) mod json;
mod lazy;
mod near;
mod opened;
pub mod pickle;
pub mod pt2;
pub mod safetensors;
mod sentence;
mod tensor_set;
pub mod torch;
pub mod zip;

pub use checkpoint::Checkpoint;
pub use digest::{CheckpointDigest, DigestHandle, FileDigest};
pub use dtype::StoredType;
pub(crate) use error::shortened;
pub use error::{Place, SourceError};
pub use file::SourceFile;
pub use lazy::{LazyTensor, Overflow};
pub use opened::{Source, SourceModel};
pub use sentence::{DenseActivation, DenseModule, Pooling, PoolingMode, SentenceModules, SentenceStep};
pub use tensor_set::{TensorSet, TensorSlice};
pub use torch::{Attribute, ObjectId, ScriptArchive};
