//! One file per family: what its `config.json` says, its embeddings and layers under its own names, its heads.

mod albert;
mod bert;
mod deberta;
mod distilbert;
mod electra;
mod modernbert;
mod mpnet;
mod nomic;
mod roberta;

use super::architecture::Family;
use super::build::Build;
use super::config::Config;
use super::inputs::Inputs;
use crate::error::ConvertError;
use crate::graph::ValueId;
use crate::request::Task;

/// What has to be known of an encoder before it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// Longest input.
    pub(super) positions: u64,
    /// Types of tokens that are told apart; none when the family knows of no types.
    pub(super) token_types: u64,
    /// A tensor every checkpoint of the family has, by which the prefix of its names is found.
    pub(super) landmark: &'static str,
    /// How the names of its layers start.
    pub(super) layers: &'static str,
}

/// The word table's name in most families.
const WORDS: &str = "embeddings.word_embeddings.weight";

/// A family's model, its configuration read.
pub(super) trait Model {
    fn traits(&self) -> Traits;

    /// Writes the embeddings and every layer; gives (B, S, C).
    fn encode(&self, build: &mut Build<'_>, inputs: &Inputs) -> Result<ValueId, ConvertError>;

    /// Writes the head of `task` and the outputs. Returns notes worth telling the user.
    fn head(
        &self,
        build: &mut Build<'_>,
        inputs: &Inputs,
        task: Task,
        hidden: ValueId,
    ) -> Result<Vec<String>, ConvertError>;
}

/// Reads a configuration as the family's.
pub(super) fn read(family: Family, config: &Config<'_>) -> Result<Box<dyn Model>, ConvertError> {
    Ok(match family {
        Family::Bert => Box::new(bert::Bert::read(config)?),
        Family::DistilBert => Box::new(distilbert::DistilBert::read(config)?),
        Family::Roberta | Family::XlmRoberta | Family::Camembert => Box::new(roberta::Roberta::read(config)?),
        Family::MpNet => Box::new(mpnet::MpNet::read(config)?),
        Family::Electra => Box::new(electra::Electra::read(config)?),
        Family::Albert => Box::new(albert::Albert::read(config)?),
        Family::DebertaV2 => Box::new(deberta::Deberta::read(config)?),
        Family::ModernBert => Box::new(modernbert::ModernBert::read(config)?),
        Family::NomicBert => Box::new(nomic::NomicBert::read(config)?),
    })
}
