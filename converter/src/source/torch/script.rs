//! A TorchScript archive as data: the tree of module objects, the constants, and the text of its code.
//!
//! Layout as in `torch/csrc/jit/serialization/export_module.cpp`: `data.pkl` holds the root module, its tensors in
//! `data/`; `constants.pkl` a tuple of the tensors code calls `CONSTANTS.cN`, their storages in `constants/`;
//! `code/` the classes, one text per qualified name of their module; `version` the file format's number.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::error::{Place, SourceError, shortened};
use super::super::file::SourceFile;
use super::super::pickle::{Id, Node, Pickle};
use super::super::tensor_set::TensorSlice;
use super::super::zip::Archive;
use super::tensors::{self, TensorReader, read_pickle};
use super::{check_byte_order, refuse_other_formats};

/// Format versions read (`caffe2/serialize/versions.h`): 3 is the first that code was written in as today, 10 the
/// newest there is.
const VERSIONS: RangeInclusive<u64> = 3..=10;

/// Largest text read: a trace of a hundred layers takes a few hundred kilobytes in all.
const MOST_CODE_BYTES: u64 = 32 << 20;

/// Largest `version` entry read; it holds a number.
const MOST_VERSION_BYTES: u64 = 32;

/// An object of the archive: an instance of one of its classes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectId(Id);

/// What an attribute of an object holds.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// A list or tuple.
    List(Vec<Attribute>),
    /// A tensor, unread.
    Tensor(TensorSlice),
    /// Another object.
    Object(ObjectId),
}

/// A TorchScript archive, opened: objects and tensors known, weights still on disk.
#[derive(Debug)]
pub struct ScriptArchive {
    archive: Archive,
    folder: String,
    objects: Pickle,
    constants: Vec<Attribute>,
}

/// Names of classes the archive defines itself are inert: an object is what its attributes are.
fn allowed(module: &str, name: &str) -> bool {
    match module {
        "torch.jit._pickle" => matches!(
            name,
            "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist" | "restore_type_tag"
        ),
        _ if module == "__torch__" || module.starts_with("__torch__.") => true,
        _ => tensors::allowed(module, name),
    }
}

impl ScriptArchive {
    /// Whether an archive has what only TorchScript writes.
    ///
    /// # Errors
    /// When the file is not a zip archive.
    pub fn is_one(archive: &Archive) -> bool {
        archive
            .entries()
            .any(|(name, _)| matches!(name.split_once('/'), Some((_, "constants.pkl"))))
    }

    /// Opens an archive `torch.jit.save` wrote.
    ///
    /// # Errors
    /// When the file is something else, was written in a format of another version, or lies about its contents.
    pub fn open(file: &Arc<SourceFile>) -> Result<Self, SourceError> {
        refuse_other_formats(file)?;
        let archive = Archive::open(file.clone())?;
        let folder = folder(&archive)?;
        check_version(&archive, &folder)?;
        check_byte_order(&archive, &folder)?;
        let objects = read_pickle(&archive, &format!("{folder}/data.pkl"), &allowed)?;
        let mut opened = Self {
            archive,
            folder,
            objects,
            constants: Vec::new(),
        };
        opened.constants = opened.read_constants()?;
        Ok(opened)
    }

    /// The file.
    pub fn file(&self) -> &Arc<SourceFile> {
        self.archive.file()
    }

    /// The module that was saved.
    ///
    /// # Errors
    /// When the archive holds something that is not a module.
    pub fn root(&self) -> Result<ObjectId, SourceError> {
        let root = self.objects.root();
        match self.objects.call(root) {
            Some((global, [], _)) if global.module.starts_with("__torch__") => Ok(ObjectId(root)),
            _ => {
                let kind = self.objects.kind(root);
                Err(self
                    .reader()
                    .fail(root, &format!("the archive holds {kind}, not a module")))
            }
        }
    }

    /// Qualified name of an object's class: `__torch__.transformers.models.bert.modeling_bert.BertModel`.
    pub fn class(&self, object: ObjectId) -> Option<String> {
        self.objects.call(object.0).map(|(global, ..)| global.to_string())
    }

    /// An attribute of an object; `name` is the qualified name a tensor gets.
    ///
    /// # Errors
    /// When the value is of a kind modules don't have, or a tensor does not lie in its storage.
    pub fn attribute(
        &self,
        object: ObjectId,
        attribute: &str,
        name: &str,
    ) -> Result<Option<Attribute>, SourceError> {
        let Some((_, _, call)) = self.objects.call(object.0) else {
            return Ok(None);
        };
        let Some(state) = call.state else { return Ok(None) };
        let reader = self.reader();
        let Some(items) = reader.items(state) else {
            let kind = self.objects.kind(state);
            return Err(reader.fail(
                state,
                &format!("the state of an object is {kind}, not a dict of its attributes"),
            ));
        };
        let found = items
            .iter()
            .rev()
            .find(|(key, _)| self.objects.text(*key) == Some(attribute));
        found
            .map(|(_, value)| value_of(&reader, *value, name, 0))
            .transpose()
    }

    /// A constant code refers to as `CONSTANTS.c<index>`.
    pub fn constant(&self, index: usize) -> Option<&Attribute> {
        self.constants.get(index)
    }

    /// Names of the modules there is code of, without `code/` and `.py`, parts joined with dots.
    pub fn modules(&self) -> impl Iterator<Item = String> {
        let prefix = format!("{}/code/", self.folder);
        self.archive.entries().filter_map(move |(name, _)| {
            let path = name.strip_prefix(&prefix)?.strip_suffix(".py")?;
            Some(path.replace('/', "."))
        })
    }

    /// The entry and the text of a module's code: `__torch__.torch.nn.modules.linear`.
    ///
    /// # Errors
    /// When there is none, or it is no text.
    pub fn code(&self, module: &str) -> Result<(String, String), SourceError> {
        let inner = format!("code/{}.py", module.replace('.', "/"));
        let entry = format!("{}/{inner}", self.folder);
        let bytes = self.archive.read(&entry, MOST_CODE_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let place = Place::Entry {
                name: entry,
                offset: Some(error.utf8_error().valid_up_to() as u64),
            };
            SourceError::malformed(self.file().path(), place, "is not UTF-8")
        })?;
        Ok((inner, text))
    }

    fn read_constants(&self) -> Result<Vec<Attribute>, SourceError> {
        let entry = format!("{}/constants.pkl", self.folder);
        let pickle = read_pickle(&self.archive, &entry, &allowed)?;
        let reader = TensorReader {
            archive: &self.archive,
            storages: format!("{}/constants", self.folder),
            entry,
            pickle: &pickle,
        };
        let Some(elements) = pickle.sequence(pickle.root()) else {
            return Err(reader.fail(pickle.root(), "the constants are not a tuple"));
        };
        elements
            .iter()
            .enumerate()
            .map(|(index, id)| value_of(&reader, *id, &format!("CONSTANTS.c{index}"), 0))
            .collect()
    }

    fn reader(&self) -> TensorReader<'_> {
        TensorReader {
            archive: &self.archive,
            storages: format!("{}/data", self.folder),
            entry: format!("{}/data.pkl", self.folder),
            pickle: &self.objects,
        }
    }
}

/// Lists in lists beyond this are no attribute a model needs.
const DEEPEST: usize = 16;

fn value_of(reader: &TensorReader<'_>, id: Id, name: &str, depth: usize) -> Result<Attribute, SourceError> {
    let pickle = reader.pickle;
    if depth > DEEPEST {
        return Err(reader.fail(id, "lists are nested too deeply"));
    }
    if let Some(tensor) = reader.tensor(name, id)? {
        return Ok(Attribute::Tensor(tensor));
    }
    let elements = |ids: &[Id]| {
        let each = ids.iter().map(|id| value_of(reader, *id, name, depth + 1));
        each.collect::<Result<Vec<_>, _>>().map(Attribute::List)
    };
    match pickle.node(id) {
        Node::None => Ok(Attribute::None),
        Node::Bool(value) => Ok(Attribute::Bool(*value)),
        Node::Int(value) => Ok(Attribute::Int(*value)),
        Node::Float(value) => Ok(Attribute::Float(*value)),
        Node::Text(text) => Ok(Attribute::Text(text.to_string())),
        Node::List(ids) => elements(ids),
        Node::Tuple(ids) => elements(ids),
        Node::Object(_) => match pickle.call(id) {
            Some((global, [], _)) if global.module.starts_with("__torch__") => {
                Ok(Attribute::Object(ObjectId(id)))
            }
            // Typed lists: `build_intlist(list)`, `restore_type_tag(value, "List[int]")`.
            Some((global, [inner, ..], _)) if &*global.module == "torch.jit._pickle" => {
                value_of(reader, *inner, name, depth + 1)
            }
            _ => Err(reader.fail(
                id,
                &format!("`{}` is an object of a kind modules don't have", shortened(name)),
            )),
        },
        // Dictionaries and the like may be attributes; they are only refused where code takes them.
        _ => Ok(Attribute::None),
    }
}

/// The folder everything lies in.
fn folder(archive: &Archive) -> Result<String, SourceError> {
    let path = archive.file().path();
    let mut folders = archive
        .entries()
        .filter_map(|(name, _)| name.strip_suffix("/constants.pkl"))
        .filter(|folder| !folder.contains('/'));
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder.to_owned()),
        (Some(first), Some(second)) => {
            let reason = format!("holds two archives, `{first}` and `{second}`");
            Err(SourceError::malformed(path, Place::Whole, reason))
        }
        (None, _) => Err(SourceError::unsupported(
            path,
            Place::Whole,
            not_torchscript(archive),
        )),
    }
}

/// What a zip archive is that is not TorchScript, and what to do with it.
fn not_torchscript(archive: &Archive) -> String {
    let has = |suffix: &str| archive.entries().any(|(name, _)| name.ends_with(suffix));
    if has("/data.pkl") {
        "holds no program, only what torch.save pickled (a state dict or a whole module). Give the checkpoint's \
         directory (config.json beside pytorch_model.bin or model.safetensors), or trace the model in PyTorch: \
         torch.jit.trace(model, inputs).save(\"model.pt\")"
            .into()
    } else {
        "is a zip archive, but neither TorchScript (no constants.pkl) nor anything torch.save writes".into()
    }
}

fn check_version(archive: &Archive, folder: &str) -> Result<(), SourceError> {
    // Both names have been used; torch writes `version` today, older ones `.data/version` too.
    let entry = [format!("{folder}/version"), format!("{folder}/.data/version")]
        .into_iter()
        .find(|entry| archive.get(entry).is_some());
    let path = archive.file().path();
    let Some(entry) = entry else {
        return Err(SourceError::malformed(
            path,
            Place::Whole,
            "has no `version` entry, so it can't be told how to read it",
        ));
    };
    let text = archive.read(&entry, MOST_VERSION_BYTES)?;
    let text = String::from_utf8_lossy(&text);
    let version = text.trim().parse::<u64>();
    match version {
        Ok(version) if VERSIONS.contains(&version) => Ok(()),
        _ => {
            let place = Place::Entry {
                name: entry,
                offset: None,
            };
            let reason = format!(
                "is format version `{}`; {} to {} are read, which is what PyTorch from 1.5 on writes. Trace the model \
                 again with such a version",
                shortened(text.trim()),
                VERSIONS.start(),
                VERSIONS.end()
            );
            Err(SourceError::unsupported(path, place, reason))
        }
    }
}
