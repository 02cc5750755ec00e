//! Which of the two containers an archive is, and where in it program and tensors lie.

use crate::source::error::{Place, SourceError, shortened};
use crate::source::zip::Archive;

/// The program's entry up to torch 2.7.
const FLAT_PROGRAM: &str = "serialized_exported_program.json";
/// Its tensors.
const FLAT_STATE: &str = "serialized_state_dict.pt";
const FLAT_CONSTANTS: &str = "serialized_constants.pt";

/// What `archive_format` says in a PT2 archive.
const FORMAT: &[u8] = b"pt2";
/// The `archive_version` read; the only one there has been (`pt2_archive_constants.h`).
const VERSION: &[u8] = b"0";

/// Largest of the entries that hold a word.
const MOST_WORD_BYTES: u64 = 64;

/// Where in an archive program and tensors lie.
pub(super) struct Container {
    /// The program's text.
    pub(super) program: String,
    /// The tensors.
    pub(super) tensors: Tensors,
}

/// The entries tensors lie in.
pub(super) enum Tensors {
    /// Archives of torch.save's.
    Pickled { state: String, constants: String },
    /// JSON files that say which raw entry of the same folder holds which tensor.
    Raw { state: String, constants: String },
}

/// Whether an archive is of either kind; a promise of no more than that.
pub(super) fn is_export(archive: &Archive) -> bool {
    archive.get(FLAT_PROGRAM).is_some() || roots(archive).next().is_some()
}

/// Folders that hold an `archive_format`.
fn roots(archive: &Archive) -> impl Iterator<Item = &str> {
    archive
        .entries()
        .filter_map(|(name, _)| name.strip_suffix("/archive_format"))
        .filter(|root| !root.contains('/'))
}

impl Container {
    /// Looks at the archive's directory.
    ///
    /// # Errors
    /// When it is neither container, or its program or tensors are missing.
    pub(super) fn find(archive: &Archive) -> Result<Self, SourceError> {
        if archive.get(FLAT_PROGRAM).is_some() {
            return Ok(Self {
                program: FLAT_PROGRAM.into(),
                tensors: Tensors::Pickled {
                    state: FLAT_STATE.into(),
                    constants: FLAT_CONSTANTS.into(),
                },
            });
        }
        let path = archive.file().path();
        let mut found = roots(archive);
        let Some(root) = found.next() else {
            let reason = format!(
                "is a zip archive with neither {FLAT_PROGRAM} nor archive_format, not one of torch.export.save's"
            );
            return Err(SourceError::malformed(path, Place::Whole, reason));
        };
        if let Some(other) = found.next() {
            let reason = format!(
                "holds two archives, `{}` and `{}`",
                shortened(root),
                shortened(other)
            );
            return Err(SourceError::malformed(path, Place::Whole, reason));
        }
        Self::in_folder(archive, root)
    }

    fn in_folder(archive: &Archive, root: &str) -> Result<Self, SourceError> {
        word(
            archive,
            &format!("{root}/archive_format"),
            FORMAT,
            "is not a PT2 archive",
        )?;
        let entry = format!("{root}/archive_version");
        if archive.get(&entry).is_some() {
            let reason = "is a version of the PT2 archive that is not read; read: 0";
            word(archive, &entry, VERSION, reason)?;
        }
        let entry = format!("{root}/byteorder");
        if archive.get(&entry).is_some() {
            let reason = "tensors are big-endian; export the model on a little-endian machine";
            word(archive, &entry, b"little", reason)?;
        }
        let model = only_model(archive, root)?;
        let weights = format!("{root}/data/weights/{model}");
        let constants = format!("{root}/data/constants/{model}");
        let pickled = format!("{weights}.pt");
        let tensors = if archive.get(&pickled).is_some() {
            Tensors::Pickled {
                state: pickled,
                constants: format!("{constants}.pt"),
            }
        } else {
            Tensors::Raw {
                state: format!("{weights}_weights_config.json"),
                constants: format!("{constants}_constants_config.json"),
            }
        };
        Ok(Self {
            program: format!("{root}/models/{model}.json"),
            tensors,
        })
    }
}

/// Refuses the archive when a small entry holds anything but `wanted`.
fn word(archive: &Archive, entry: &str, wanted: &[u8], reason: &str) -> Result<(), SourceError> {
    let found = archive.read(entry, MOST_WORD_BYTES)?;
    if found.trim_ascii() == wanted {
        return Ok(());
    }
    let place = Place::Entry {
        name: entry.into(),
        offset: None,
    };
    let found = shortened(&String::from_utf8_lossy(&found));
    Err(SourceError::unsupported(
        archive.file().path(),
        place,
        format!("{reason} (it says `{found}`)"),
    ))
}

/// The name of the one program there is.
fn only_model(archive: &Archive, root: &str) -> Result<String, SourceError> {
    let folder = format!("{root}/models/");
    let models: Vec<&str> = archive
        .entries()
        .filter_map(|(name, _)| name.strip_prefix(&folder)?.strip_suffix(".json"))
        .collect();
    let reason = match models[..] {
        [model] => return Ok(model.to_owned()),
        [] => "holds no program (models/*.json); what AOTInductor compiled can't be converted, save the result of \
               torch.export.export with torch.export.save"
            .to_owned(),
        _ => {
            let names: Vec<String> = models.iter().take(8).map(|name| shortened(name)).collect();
            format!(
                "holds {} programs ({}); save the one to convert by itself",
                models.len(),
                names.join(", ")
            )
        }
    };
    Err(SourceError::unsupported(
        archive.file().path(),
        Place::Whole,
        reason,
    ))
}
