//! Exports taken apart, changed in one place and put together again.

use std::path::Path;

use corer_converter::frontend::aten::Program;
use corer_converter::frontend::export;
use corer_converter::source::pt2::Pt2;
use corer_converter::source::zip::Archive;
use corer_converter::source::{SourceError, SourceFile};
use serde_json::Value;

use crate::zip_writer::Zip;

/// The entries of an archive.
#[derive(Clone)]
pub(crate) struct Bent {
    pub(crate) entries: Vec<(String, Vec<u8>)>,
}

impl Bent {
    pub(crate) fn open(path: &Path) -> Self {
        let archive = Archive::open(SourceFile::open(path).unwrap()).unwrap();
        let read = |name: &str| (name.to_owned(), archive.read(name, u64::MAX).unwrap());
        Self {
            entries: archive.entries().map(|(name, _)| read(name)).collect(),
        }
    }

    /// The entry whose name ends so.
    pub(crate) fn entry(&mut self, end: &str) -> &mut Vec<u8> {
        let found = self.entries.iter_mut().find(|(name, _)| name.ends_with(end));
        &mut found.unwrap().1
    }

    /// Changes a JSON entry.
    pub(crate) fn json(mut self, end: &str, change: impl FnOnce(&mut Value)) -> Self {
        let entry = self.entry(end);
        let mut value = serde_json::from_slice(entry).unwrap();
        change(&mut value);
        *entry = serde_json::to_vec(&value).unwrap();
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let entries: Vec<(&str, &[u8])> = self
            .entries
            .iter()
            .map(|(name, data)| (name.as_str(), &data[..]))
            .collect();
        Zip::of(&entries).bytes
    }

    pub(crate) fn read(&self) -> Result<Program, SourceError> {
        read_bytes(self.bytes())
    }

    /// The message it is refused with.
    pub(crate) fn refused(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

pub(crate) fn read_bytes(bytes: Vec<u8>) -> Result<Program, SourceError> {
    export::read(&Pt2::open(&SourceFile::memory("m.pt2", bytes))?)
}
