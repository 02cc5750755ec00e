//! Weight files: blob storage version 2, read by mapping and written as a stream.

pub mod format;
pub(crate) mod read;
pub(crate) mod write;

pub use format::BlobType;
