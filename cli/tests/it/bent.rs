//! Traces and exports taken apart, changed in one place and put together again.

use std::fs;
use std::path::Path;

use corer_converter::source::SourceFile;
use corer_converter::source::zip::Archive;
use serde_json::Value;

use crate::zip_writer::Zip;

/// A model taken apart, to be put together again with a change.
pub(crate) struct Bent {
    /// The file's name.
    pub(crate) name: String,
    entries: Vec<(String, Vec<u8>)>,
}

impl Bent {
    pub(crate) fn open(path: &Path) -> Self {
        let archive = Archive::open(SourceFile::open(path).expect("a fixture")).expect("an archive");
        let entries = archive
            .entries()
            .map(|(name, _)| (name.to_owned(), archive.read(name, u64::MAX).expect("an entry")))
            .collect();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        Self { name, entries }
    }

    /// The entries whose names end so, of which there must be some.
    fn entries(&mut self, end: &str) -> impl Iterator<Item = &mut Vec<u8>> {
        assert!(self.entries.iter().any(|(name, _)| name.ends_with(end)), "{end}");
        let ends = move |entry: &&mut (String, Vec<u8>)| entry.0.ends_with(end);
        self.entries.iter_mut().filter(ends).map(|(_, data)| data)
    }

    pub(crate) fn with(mut self, end: &str, data: &[u8]) -> Self {
        for entry in self.entries(end) {
            *entry = data.to_vec();
        }
        self
    }

    /// Replaces text wherever it stands in code or JSON; it must stand somewhere.
    pub(crate) fn replaced(mut self, end: &str, old: &str, new: &str) -> Self {
        let mut found = 0;
        for entry in self.entries(end) {
            let text = String::from_utf8(entry.clone()).expect("text");
            found += text.matches(old).count();
            *entry = text.replace(old, new).into_bytes();
        }
        assert!(found > 0, "{old}");
        self
    }

    /// Changes the program of an export.
    pub(crate) fn program(mut self, change: impl FnOnce(&mut Value)) -> Self {
        if let Some(entry) = self.entries("serialized_exported_program.json").next() {
            let mut program = serde_json::from_slice(entry).expect("JSON");
            change(&mut program);
            *entry = serde_json::to_vec(&program).expect("JSON");
        }
        self
    }

    /// Writes it to a file.
    pub(crate) fn write(&self, path: &Path) {
        let entries: Vec<(&str, &[u8])> = self
            .entries
            .iter()
            .map(|(name, data)| (name.as_str(), &data[..]))
            .collect();
        fs::write(path, Zip::of(&entries).bytes).expect("a copy");
    }
}
