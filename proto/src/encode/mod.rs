//! Turns a [`Model`] into the bytes of `model.mlmodel` and a layout of the weight file.
//!
//! Maps are encoded in key order ([`messages`]), so the same model always gives the same bytes.

mod description;
mod messages;
mod program;
mod types;
mod values;

use prost::Message;

use crate::blob::write::Layout;
use crate::error::WriteError;
use crate::model::Model;

/// A model ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    /// The bytes of `model.mlmodel`.
    pub(crate) model: Vec<u8>,
    /// The weight file.
    pub(crate) weights: Layout<'a>,
}

/// Encodes `model`, whose weights stay where they are.
pub(crate) fn encode(model: &Model) -> Result<Encoded<'_>, WriteError> {
    let mut weights = Layout::default();
    let description = description::description(&model.description)?;
    let program = program::program(&model.program, model.specification_version, &mut weights)?;
    let message = messages::Model {
        specification_version: model.specification_version,
        description: Some(description),
        ml_program: Some(program),
    };
    Ok(Encoded {
        model: message.encode_to_vec(),
        weights,
    })
}
