//! Programs `torch.export.save` wrote, into ATen programs.
//!
//! What an archive holds is [`crate::source::pt2`]'s business; here its JSON becomes calls. Names are looked up once,
//! so that a name used before it is given one, and with it any cycle, is an error at its place in the JSON. Checks of
//! what was true when the model was exported are left out.

mod argument;
mod names;
mod operator;
mod reader;
mod schema;
mod scope;
mod signature;
mod symbol;

use crate::source::pt2::Pt2;
use crate::source::{Place, SourceError, json, shortened};

use super::aten::Program;
use reader::Reader;
use schema::{ExportedProgram, Versioned};

/// Major schema versions that are read: torch 2.5 writes 7, later ones 8.
const MAJORS: [i64; 2] = [7, 8];

/// Reads an archive's program.
///
/// # Errors
/// When the JSON is not of a version that is read, is not what the version says, names what it does not define, or
/// the program does what a converted model can't: change its parameters, take custom objects. With the way to the
/// member at fault.
pub fn read(pt2: &Pt2) -> Result<Program, SourceError> {
    let path = pt2.file.path();
    let text = json::quote_non_finite(&pt2.program);
    let versioned: Versioned = json::parse_entry(path, &pt2.entry, &text)?;
    let version = versioned.schema_version;
    if !MAJORS.contains(&version.major) {
        let by = versioned.torch_version.map_or_else(String::new, |version| {
            format!(", written by torch {}", shortened(&version))
        });
        let reason = format!(
            "is version {}.{} of the schema{by}; versions 7 and 8 are read (torch 2.5 and later): export the model \
             again with one of those",
            version.major, version.minor
        );
        let place = Place::Member {
            entry: pt2.entry.clone(),
            path: "schema_version".into(),
        };
        return Err(SourceError::unsupported(path, place, reason));
    }
    let program: ExportedProgram = json::parse_entry(path, &pt2.entry, &text)?;
    Reader::new(pt2, &program).read()
}
