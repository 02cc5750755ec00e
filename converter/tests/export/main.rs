//! Reading exported programs: files several versions of PyTorch wrote, and files that lie.

mod bent;
mod broken;
mod corners;
mod families;
#[allow(dead_code)] // other tests bend more of it
#[path = "../source/zip_writer.rs"]
mod zip_writer;

use std::path::{Path, PathBuf};

use corer_converter::frontend::aten::Program;
use corer_converter::frontend::export;
use corer_converter::source::pt2::Pt2;
use corer_converter::source::{SourceError, SourceFile};

/// Opens and reads an export.
fn read(path: &Path) -> Result<Program, SourceError> {
    export::read(&Pt2::open(&SourceFile::open(path)?)?)
}

/// Every export below `fixtures/families`, in name order.
fn families() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/families"
    ))];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "pt2") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 15, "{found:?}");
    found
}
