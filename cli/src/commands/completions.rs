//! `corer completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Cli;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::output;

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The shell to complete in
    #[arg(value_enum)]
    shell: Shell,
}

const AFTER_HELP: &str = "\
Examples:
  corer completions bash > ~/.local/share/bash-completion/completions/corer
  corer completions zsh > ~/.zfunc/_corer
  corer completions fish > ~/.config/fish/completions/corer.fish";

/// Prints the script.
///
/// # Errors
/// When stdout can't be written.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "corer", &mut script);
    output::text(|out| out.write_all(&script))?;
    Ok(Exit::Done)
}
