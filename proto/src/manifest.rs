//! `Manifest.json`: which files a package is made of.
//!
//! ```text
//! { "fileFormatVersion": "1.0.0",
//!   "itemInfoEntries": { "<identifier>": { "author", "description", "name", "path" }, … },
//!   "rootModelIdentifier": "<identifier of the model's entry>" }
//! ```
//!
//! Paths are relative to the package's `Data` directory. coremltools draws identifiers at random; ours follow from
//! the files' digests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::digest::{Sha, hex};
use crate::error::ReadError;
use crate::limits::MANIFEST_BYTES;

/// The manifest's file name.
pub(crate) const FILE_NAME: &str = "Manifest.json";
/// The directory entries' paths are relative to.
pub(crate) const DATA: &str = "Data";
/// The model's path inside [`DATA`].
pub(crate) const MODEL_PATH: &str = "com.apple.CoreML/model.mlmodel";
/// The weight directory's path inside [`DATA`].
pub(crate) const WEIGHTS_PATH: &str = "com.apple.CoreML/weights";

const FORMAT_VERSION: &str = "1.0.0";
const AUTHOR: &str = "com.apple.CoreML";
const MODEL_NAME: &str = "model.mlmodel";
const WEIGHTS_NAME: &str = "weights";

/// What a manifest says.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The model, inside the package's directory.
    pub(crate) model: PathBuf,
    /// The weight directory, inside the package's directory.
    pub(crate) weights: Option<PathBuf>,
    /// All entries.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// One entry of a manifest, in the order of its keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) author: String,
    pub(crate) description: String,
    pub(crate) name: String,
    pub(crate) path: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    file_format_version: &'a str,
    item_info_entries: BTreeMap<String, Entry>,
    root_model_identifier: &'a str,
}

/// The manifest of a package with a model and, if given, weights of these digests.
pub(crate) fn encode(model: &Sha, weights: Option<&Sha>) -> Result<Vec<u8>, serde_json::Error> {
    let entry = |name: &str, path: &str, description: &str| Entry {
        author: AUTHOR.into(),
        description: description.into(),
        name: name.into(),
        path: path.into(),
    };
    let root = identifier(MODEL_PATH, model);
    let mut entries = BTreeMap::new();
    entries.insert(
        root.clone(),
        entry(MODEL_NAME, MODEL_PATH, "CoreML Model Specification"),
    );
    if let Some(weights) = weights {
        let id = identifier(WEIGHTS_PATH, weights);
        entries.insert(id, entry(WEIGHTS_NAME, WEIGHTS_PATH, "CoreML Model Weights"));
    }
    let document = Document {
        file_format_version: FORMAT_VERSION,
        item_info_entries: entries,
        root_model_identifier: &root,
    };
    let mut json = serde_json::to_vec_pretty(&document)?;
    json.push(b'\n');
    Ok(json)
}

/// A UUID (RFC 9562, version 8: made by the application) from what an entry holds and where.
fn identifier(path: &str, digest: &Sha) -> String {
    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update([0]);
    hash.update(digest);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes[6] = bytes[6] & 0x0F | 0x80;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let digits = hex(&bytes).to_uppercase();
    [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ]
    .join("-")
}

/// Whether the directory at `path` is a package, told by its manifest; if not, why.
pub(crate) fn is_package(path: &Path) -> Result<(), String> {
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if metadata.is_symlink() {
        return Err("it is a symbolic link".into());
    }
    if !metadata.is_dir() {
        return Err("it is not a directory".into());
    }
    let manifest = path.join(FILE_NAME);
    document(&manifest).map(|_| ()).map_err(|error| error.to_string())
}

/// Reads the manifest of the package at `package`.
pub(crate) fn read(package: &Path) -> Result<Manifest, ReadError> {
    let path = package.join(FILE_NAME);
    let document = document(&path)?;
    let fault = |key: &str, reason: String| ReadError::Manifest {
        path: path.clone(),
        key: key.into(),
        reason,
    };
    let Some(Value::Object(items)) = document.get("itemInfoEntries") else {
        return Err(fault("itemInfoEntries", "missing or not an object".into()));
    };
    let mut entries = BTreeMap::new();
    for (id, item) in items {
        let text = |key: &str| match item.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(fault(
                &format!("itemInfoEntries.{id}.{key}"),
                "missing or not a string".into(),
            )),
        };
        let entry = Entry {
            author: text("author")?,
            description: text("description")?,
            name: text("name")?,
            path: text("path")?,
        };
        inside(package, &entry.path)
            .map_err(|reason| fault(&format!("itemInfoEntries.{id}.path"), reason))?;
        entries.insert(id.clone(), entry);
    }
    let root = match document.get("rootModelIdentifier") {
        Some(Value::String(root)) => root,
        _ => return Err(fault("rootModelIdentifier", "missing or not a string".into())),
    };
    let model = entries.get(root).ok_or_else(|| {
        fault(
            "rootModelIdentifier",
            format!("`{root}` names no entry of itemInfoEntries"),
        )
    })?;
    let weights = entries
        .values()
        .find(|entry| entry.name == WEIGHTS_NAME && entry.author == AUTHOR);
    let data = package.join(DATA);
    Ok(Manifest {
        model: data.join(&model.path),
        weights: weights.map(|entry| data.join(&entry.path)),
        entries,
    })
}

/// The manifest as JSON, its version checked.
fn document(path: &Path) -> Result<Map<String, Value>, ReadError> {
    let io = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let fault = |key: &str, reason: String| ReadError::Manifest {
        path: path.to_owned(),
        key: key.into(),
        reason,
    };
    let size = fs::metadata(path).map_err(io)?.len();
    if size > MANIFEST_BYTES {
        return Err(ReadError::TooLarge {
            file: path.display().to_string(),
            size,
            limit: MANIFEST_BYTES,
        });
    }
    let bytes = fs::read(path).map_err(io)?;
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| fault("JSON", error.to_string()))?;
    let Value::Object(document) = document else {
        return Err(fault("JSON", "not an object".into()));
    };
    match document.get("fileFormatVersion") {
        Some(Value::String(version)) if version == FORMAT_VERSION => {}
        Some(Value::String(version)) => {
            let reason = format!("version {version} is unknown; only {FORMAT_VERSION} is read");
            return Err(fault("fileFormatVersion", reason));
        }
        _ => return Err(fault("fileFormatVersion", "missing or not a string".into())),
    }
    if !matches!(document.get("itemInfoEntries"), Some(Value::Object(_))) {
        return Err(fault("itemInfoEntries", "missing or not an object".into()));
    }
    Ok(document)
}

/// Checks that an entry's path stays inside the package and passes no symbolic link.
fn inside(package: &Path, path: &str) -> Result<(), String> {
    let plain = !path.is_empty()
        && !path.contains(['\\', '\0'])
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(format!("`{path}` must be a relative path inside the package"));
    }
    let mut place = package.join(DATA);
    for part in std::iter::once(Component::CurDir).chain(Path::new(path).components()) {
        place.push(part);
        if fs::symlink_metadata(&place).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(format!("`{path}` passes the symbolic link {}", place.display()));
        }
    }
    Ok(())
}
