//! `corer verify`: a package against what it was made from.

use crate::exit_codes::Exit;
use crate::failure::Failure;

/// Verify a package against its source
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments, _quiet: bool) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Unexpected, "verification is not wired yet"))
}
