//! Core ML package files: manifest, model, weight blobs.
//!
//! [`Package::open`] reads a `.mlpackage`, [`write()`] writes one, [`check()`] says what is wrong with one beyond
//! what reading refuses. Reader and writer share no code but the format's constants.

mod atomic;
pub mod blob;
pub mod check;
mod decode;
pub mod digest;
mod encode;
pub mod error;
mod limits;
mod manifest;
pub mod model;
pub mod package;
mod pieces;
pub mod progress;
pub mod write;

pub use atomic::{Staging, discard_unfinished};
pub use check::{Fault, check};
pub use digest::package_digest;
pub use error::{ReadError, WriteError};
pub use model::{
    ArrayType, ColorSpace, DefaultValue, Description, Feature, FeatureType, Flexibility, FunctionDescription,
    ImageFlexibility, LabelType, Metadata, Model,
};
pub use package::{BlobFileInfo, Package, decode_model};
pub use progress::{NoProgress, Progress};
pub use write::{LateMetadata, WriteOptions, Written, write};
