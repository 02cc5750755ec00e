//! Turns the bytes of `model.mlmodel` into a [`Model`].
//!
//! Three steps: [`scan`] walks the bytes and refuses what is too large, too deep or of another kind, without
//! allocating; prost decodes them; the other modules turn messages into our types and check every reference.

mod description;
mod program;
mod scan;
mod types;
mod values;
mod weights;

use prost::Message;

pub(crate) use weights::{Reference, WeightFiles};

use crate::error::ReadError;
use crate::model::Model;

/// What is wrong with a part of a model; the caller that knows the part's name adds it.
#[derive(Debug)]
enum Problem {
    /// Something the model says.
    Reason(String),
    /// Something in the weight file the model refers to.
    Weights(ReadError),
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<&str> for Problem {
    fn from(reason: &str) -> Self {
        Self::Reason(reason.to_owned())
    }
}

impl Problem {
    fn at(self, file: &str, place: String) -> ReadError {
        match self {
            Self::Reason(reason) => ReadError::Model {
                file: file.to_owned(),
                place,
                reason,
            },
            Self::Weights(ReadError::Blob { file, offset, reason }) => ReadError::Blob {
                file,
                offset,
                reason: format!("{reason} (weight of {place})"),
            },
            Self::Weights(other) => other,
        }
    }
}

/// Decodes a model; `file` is what errors call its file.
pub(crate) fn decode(file: &str, bytes: &[u8], weights: &mut WeightFiles) -> Result<Model, ReadError> {
    scan::scan(file, bytes)?;
    let mut rest = bytes;
    let message = coreml_proto::proto::Model::decode(&mut rest).map_err(|error| ReadError::Protobuf {
        file: file.to_owned(),
        offset: (bytes.len() - rest.len()) as u64,
        reason: error.to_string(),
    })?;
    let wrong = |place: &str, reason: &str| ReadError::Model {
        file: file.to_owned(),
        place: place.to_owned(),
        reason: reason.to_owned(),
    };
    let Some(coreml_proto::proto::model::Type::MlProgram(program)) = message.r#type else {
        return Err(wrong("mlProgram", "missing: the file holds no program"));
    };
    if message.is_updatable {
        return Err(wrong(
            "isUpdatable",
            "an ML Program can't be updated on the device",
        ));
    }
    let description = message
        .description
        .ok_or_else(|| wrong("description", "missing"))?;
    Ok(Model {
        specification_version: message.specification_version,
        description: description::description(file, description)?,
        program: program::program(file, program, weights)?,
    })
}
