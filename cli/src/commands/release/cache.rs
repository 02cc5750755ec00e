//! What earlier runs did, by content: a stage is done again only when what it depends on has changed.
//!
//! A record says which key (a digest over everything a stage depends on, this program included) led to which result
//! (a digest of what stands in the output directory). It counts when the key is the same and the result still is
//! there, unharmed.

use std::path::{Path, PathBuf};

use corer_publisher::Digest;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::{output, report_directory};

/// The folder of records.
pub(super) struct Cache {
    folder: PathBuf,
}

/// What a stage depended on and what came of it.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    key: Digest,
    result: String,
}

impl Cache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The result recorded under a name, if the key is the same.
    pub(super) fn result(&self, name: &str, key: &Digest) -> Option<String> {
        let bytes = std::fs::read(self.folder.join(file_name(name))).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        (record.key == *key).then_some(record.result)
    }

    /// Records a result.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub(super) fn record(&self, name: &str, key: &Digest, result: &str) -> Result<(), Failure> {
        let record = Record {
            key: key.clone(),
            result: result.to_owned(),
        };
        report_directory::write(&self.folder, &[(&file_name(name), output::json_text(&record)?)])
    }
}

fn file_name(name: &str) -> String {
    format!("{name}.json")
}

/// A key from everything a stage depends on.
pub(super) fn key(parts: &[(&str, String)]) -> Digest {
    let lines: String = parts
        .iter()
        .map(|(name, value)| format!("{name} {}:{value}\n", value.len()))
        .collect();
    Digest::of(lines.as_bytes())
}

/// The digest of this program: another build may give other bytes.
///
/// # Errors
/// When it can't be read.
pub(super) fn tool() -> std::io::Result<Digest> {
    Digest::of_file(&std::env::current_exe()?)
}

/// One digest for the text files of a checkpoint, or beside a trace or export (tokenizer, vocabulary), which decide what
/// is judged.
///
/// # Errors
/// When one can't be read.
pub(super) fn text_files(source: &Path) -> std::io::Result<String> {
    let directory = match source.parent() {
        _ if source.is_dir() => source,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut files: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    let mut lines = String::new();
    for file in files {
        let path = file.path();
        let is_text = path
            .extension()
            .is_some_and(|extension| extension == "json" || extension == "txt");
        if is_text && path.is_file() {
            lines.push_str(&format!(
                "{} {}\n",
                Digest::of_file(&path)?,
                path.file_name().unwrap_or_default().display()
            ));
        }
    }
    Ok(Digest::of(lines.as_bytes()).to_string())
}
