//! The `corer` command: PyTorch encoders to Core ML packages, proven and published.
//!
//! stdout carries data, stderr progress and messages; [`exit_codes`] says what the process ends with.

mod arguments;
mod commands;
mod exit_codes;
mod failure;
mod messages;
mod output;
mod progress;
mod report_directory;

use std::process::ExitCode;

use clap::Parser;

use crate::exit_codes::Exit;
use crate::failure::Failure;

fn main() -> ExitCode {
    // `--json` must hold for a command line that does not parse, too.
    let json = std::env::args_os()
        .skip(1)
        .take_while(|arg| arg != "--")
        .any(|arg| arg == "--json");
    let cli = match arguments::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && json => return fail(&usage_failure(&error), true),
        Err(error) => {
            // Help and version go to stdout with 0, mistakes to stderr with 2.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            let _ = error.print();
            return exit.into();
        }
    };
    match commands::run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure, json),
    }
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    if failure.is_broken_pipe() {
        // `corer inspect … | head`: whoever read has read enough.
        return Exit::Done.into();
    }
    failure.report(json);
    failure.exit().into()
}

/// A command line clap refused, in the form every other error has.
fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let message = text.split("\n\n").next().unwrap_or(text).trim_end();
    Failure::new(Exit::Usage, message.to_owned())
}
