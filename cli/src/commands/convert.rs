//! `corer convert`: a checkpoint in, a package out.

use crate::exit_codes::Exit;
use crate::failure::Failure;

/// Convert a checkpoint to a Core ML package
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments, _quiet: bool) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Unexpected, "conversion is not wired yet"))
}
