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
use crate::model::{Description, Model};

/// A model ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    message: messages::Model,
    /// The weight file.
    pub(crate) weights: Layout<'a>,
}

/// Encodes `model`, whose weights stay where they are; `threads` compare those that may be alike.
pub(crate) fn encode(model: &Model, threads: usize) -> Result<Encoded<'_>, WriteError> {
    let mut weights = Layout::new(threads);
    let description = description::description(&model.description)?;
    let program = program::program(&model.program, model.specification_version, &mut weights)?;
    let message = messages::Model {
        specification_version: model.specification_version,
        description: Some(description),
        ml_program: Some(program),
    };
    Ok(Encoded { message, weights })
}

impl Encoded<'_> {
    /// Describes the model anew, where something became known while the weights were written.
    pub(crate) fn describe(&mut self, description: &Description) -> Result<(), WriteError> {
        self.message.description = Some(description::description(description)?);
        Ok(())
    }

    /// The bytes of `model.mlmodel`.
    pub(crate) fn model(&self) -> Vec<u8> {
        self.message.encode_to_vec()
    }
}
