//! Reading checkpoints: real files written by PyTorch and transformers, views against a plain model of them, and
//! files that lie.

mod broken_pickles;
mod broken_safetensors;
mod checkpoints;
mod directories;
mod opened;
mod pickle_writer;
mod views;
mod zip_writer;

use std::path::PathBuf;

/// A checkpoint of `fixtures/bert-tiny`.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/bert-tiny")).join(name)
}
