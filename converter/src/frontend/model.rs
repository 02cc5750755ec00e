//! A source, ready to be read for one set of sizes after another.

use crate::error::ConvertError;
use crate::request::Request;
use crate::shapes::{InputShape, Sizes};
use crate::source::{Checkpoint, Source, SourceModel};

use super::aten::Program;
use super::{Imported, export, program, torchscript};

/// Rows and tokens of a checkpoint when nothing is asked for.
const USUAL: (u64, u64) = (1, 128);

/// A source whose program, if it brings one, has been read.
#[derive(Debug)]
pub enum Model<'a> {
    /// A checkpoint; the program is ours.
    Checkpoint(&'a Checkpoint),
    /// A traced or exported program.
    Program(Box<Program>),
}

impl<'a> Model<'a> {
    /// Reads the program of a source that brings one.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(source: &'a Source) -> Result<Self, ConvertError> {
        Ok(match &source.model {
            SourceModel::Checkpoint(checkpoint) => Self::Checkpoint(checkpoint),
            SourceModel::Script(script) => Self::Program(Box::new(torchscript::read(script)?)),
            SourceModel::Export(pt2) => Self::Program(Box::new(export::read(pt2)?)),
        })
    }

    /// Rows, and tokens per row, to convert for.
    ///
    /// # Errors
    /// When the program is not good for what is asked.
    pub fn sizes(&self, request: &Request) -> Result<(Sizes, Sizes), ConvertError> {
        let (batch, tokens) = (request.batch_size.as_ref(), request.sequence_length.as_ref());
        match self {
            Self::Checkpoint(_) => Ok((
                batch.cloned().unwrap_or_else(|| USUAL.0.into()),
                tokens.cloned().unwrap_or_else(|| USUAL.1.into()),
            )),
            Self::Program(program) => {
                let declared = program.declared_sizes();
                Ok((declared.batch(batch)?, declared.tokens(tokens)?))
            }
        }
    }

    /// The model as a graph, for inputs of the sizes given.
    ///
    /// # Errors
    /// Another architecture, tensors that don't match, operators that are not known, a request the model can't meet.
    pub fn import(&self, request: &Request, shape: InputShape) -> Result<Imported, ConvertError> {
        match self {
            Self::Checkpoint(checkpoint) => {
                for (flag, given) in [
                    ("--input", !request.inputs.is_empty()),
                    ("--output-name", !request.output_names.is_empty()),
                ] {
                    if given {
                        let reason = "is for traced and exported models; a checkpoint's are known".into();
                        return Err(ConvertError::Request { flag, reason });
                    }
                }
                super::checkpoint::import(checkpoint, request, shape)
            }
            Self::Program(program) => {
                program::import(program, &request.source.display().to_string(), request, shape)
            }
        }
    }
}
