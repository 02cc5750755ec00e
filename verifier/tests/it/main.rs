//! The verifier against what PyTorch recorded, and against files that are broken.

mod against_pytorch;
mod broken_references;
mod buckets;
mod case;
mod foreign;
mod schema;
mod texts;
mod toy;
mod verdicts;

use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bert-tiny")
}
