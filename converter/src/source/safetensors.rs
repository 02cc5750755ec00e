//! The header of a safetensors file, checked against the file before any of it is used.
//!
//! Layout: u64 little-endian header length, the header as JSON (`name → {dtype, shape, data_offsets}` and an
//! optional `__metadata__` of strings), then the tensors' bytes, which must cover the rest of the file without
//! gap or overlap. Format: <https://github.com/huggingface/safetensors#format>. The `safetensors` crate reads
//! the same header but wants the whole file in memory or mapped, lets the last of two equal names win, and does
//! not say which tensor is at fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::dtype::StoredType;
use super::error::{Place, SourceError, shortened};
use super::file::SourceFile;
use super::tensor_set::{TensorSlice, byte_len};

/// Longest header the format allows.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// Bytes of the header length.
const LENGTH_BYTES: u64 = 8;

/// The tensors a file declares, in the order of their data.
///
/// # Errors
/// When the header does not fit the file, is not what the format says, or an element type is unknown.
pub fn read(file: &Arc<SourceFile>) -> Result<Vec<TensorSlice>, SourceError> {
    let path = file.path();
    if file.len() < LENGTH_BYTES {
        return Err(SourceError::malformed(
            path,
            Place::Whole,
            format!(
                "{} bytes are too few for a safetensors file; download it again",
                file.len()
            ),
        ));
    }
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0)
        .map_err(|error| SourceError::io(path, error))?;
    let header_len = u64::from_le_bytes(length);
    let room = file.len() - LENGTH_BYTES;
    if header_len > room || header_len > MOST_HEADER_BYTES {
        let pointer = if length.starts_with(b"version ") {
            " (this is a Git LFS pointer: run `git lfs pull`)"
        } else {
            ""
        };
        return Err(SourceError::malformed(
            path,
            Place::Offset(0),
            format!(
                "the header claims {header_len} bytes, {} are left in the file and {MOST_HEADER_BYTES} is the limit; \
                 the file is cut off or not a safetensors file{pointer}",
                room
            ),
        ));
    }
    let header = file.read_vec(LENGTH_BYTES, header_len, MOST_HEADER_BYTES)?;
    let text = std::str::from_utf8(&header).map_err(|error| {
        let place = Place::Offset(LENGTH_BYTES + error.valid_up_to() as u64);
        SourceError::malformed(path, place, "the header is not valid: it is not UTF-8")
    })?;
    let Header(declared) = serde_json::from_str(text).map_err(|error| json_error(file, &header, &error))?;
    let data_start = LENGTH_BYTES + header_len;
    slices(file, declared, data_start)
}

/// What the header says of one tensor, unchecked.
struct Declared {
    name: String,
    info: Info,
}

/// The value of one header entry.
#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's entries in file order; a name given twice is an error.
struct Header(Vec<Declared>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut seen = BTreeSet::new();
                let mut declared = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        let name = shortened(&name);
                        return Err(A::Error::custom(format_args!("`{name}` is given twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<Option<BTreeMap<String, String>>>()?;
                        continue;
                    }
                    let info = map.next_value().map_err(|error| {
                        A::Error::custom(format_args!("tensor `{}`: {error}", shortened(&name)))
                    })?;
                    declared.push(Declared { name, info });
                }
                Ok(Header(declared))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// A JSON error with the byte offset in the file it stands at.
fn json_error(file: &SourceFile, header: &[u8], error: &serde_json::Error) -> SourceError {
    // serde_json counts lines and columns from 1; the column is in bytes.
    let line_start: usize = header
        .split_inclusive(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let offset = LENGTH_BYTES + (line_start + error.column().saturating_sub(1)) as u64;
    SourceError::malformed(
        file.path(),
        Place::Offset(offset),
        format!("the header is not valid: {error}"),
    )
}

/// Checks that the tensors cover the data exactly, one after the other.
fn slices(
    file: &Arc<SourceFile>,
    mut declared: Vec<Declared>,
    data_start: u64,
) -> Result<Vec<TensorSlice>, SourceError> {
    declared.sort_by_key(|tensor| tensor.info.data_offsets);
    let room = file.len() - data_start;
    let mut covered = 0;
    let mut slices = Vec::with_capacity(declared.len());
    for Declared {
        name,
        info: Info {
            dtype,
            shape,
            data_offsets: (begin, end),
        },
    } in declared
    {
        let fail = |reason: String| SourceError::malformed(file.path(), Place::Tensor(name.clone()), reason);
        if end < begin {
            return Err(fail(format!(
                "its data ends at {end}, before it begins at {begin}"
            )));
        }
        if end > room {
            return Err(fail(format!(
                "its data_offsets {begin}..{end} reach beyond the file's {room} data bytes; the file is cut off"
            )));
        }
        if begin != covered {
            let what = if begin < covered {
                "overlap the tensor before it, which ends"
            } else {
                "leave a gap"
            };
            return Err(fail(format!(
                "its data_offsets {begin}..{end} {what} at {covered}"
            )));
        }
        let Some(stored) = StoredType::from_name(&dtype) else {
            return Err(SourceError::unsupported(
                file.path(),
                Place::Tensor(name),
                format!("element type `{}` is not known", shortened(&dtype)),
            ));
        };
        match byte_len(stored, &shape) {
            None => return Err(fail(format!("the size of shape {shape:?} overflows"))),
            Some(bytes) if bytes != end - begin => {
                return Err(fail(format!(
                    "{stored} of shape {shape:?} takes {bytes} bytes, its data_offsets {begin}..{end} give {}",
                    end - begin
                )));
            }
            Some(_) => {}
        }
        slices.push(TensorSlice::new(
            &name,
            file.clone(),
            data_start + begin,
            stored,
            shape,
        )?);
        covered = end;
    }
    if covered != room {
        return Err(SourceError::malformed(
            file.path(),
            Place::Offset(data_start + covered),
            format!("{} bytes after the last tensor belong to none", room - covered),
        ));
    }
    Ok(slices)
}
