//! One module per command: its flags, its help, and what it does with the libraries.

mod calibration;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod diff;
pub(crate) mod explain;
mod gate;
pub(crate) mod init;
pub(crate) mod inspect;
mod mixed;
mod package_output;
pub(crate) mod promote;
pub(crate) mod publish;
pub(crate) mod pull;
pub(crate) mod quantize;
mod reference;
pub(crate) mod release;
mod reports;
mod toml_reader;
pub(crate) mod trace;
mod trust;
pub(crate) mod verify;
pub(crate) mod verify_artifact;

use crate::arguments::{Cli, Command};
use crate::exit_codes::Exit;
use crate::failure::Failure;

/// Runs the command the user asked for.
///
/// # Errors
/// Whatever stopped it, with the exit code it stands for.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Convert(arguments) => convert::run(&arguments, cli.quiet),
        Command::Quantize(arguments) => quantize::run(&arguments, cli.quiet),
        Command::Trace(arguments) => trace::run(&arguments, cli.quiet),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments, cli.quiet),
        Command::Release(arguments) => release::run(&arguments, cli.quiet),
        Command::Init(arguments) => init::run(&arguments),
        Command::Publish(arguments) => publish::run(&arguments, cli.quiet),
        Command::Promote(arguments) => promote::run(&arguments, cli.quiet),
        Command::Pull(arguments) => pull::run(&arguments, cli.quiet),
        Command::VerifyArtifact(arguments) => verify_artifact::run(&arguments, cli.quiet),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}
