//! The command line as clap sees it: commands, and flags all commands share.

use clap::builder::styling::{AnsiColor, Styles};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};

use crate::commands::{
    completions, convert, diff, explain, init, inspect, promote, publish, pull, quantize, release, trace,
    verify, verify_artifact,
};
use crate::exit_codes;

/// Turns a PyTorch BERT checkpoint into a Core ML package and proves that the package computes the same.
///
/// No Python and no Mac needed. stdout carries data, stderr carries progress and messages.
#[derive(Parser)]
#[command(
    name = "corer",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    infer_long_args = false,
    max_term_width = 100,
    styles = STYLES,
    after_help = AFTER_HELP,
    after_long_help = format!("{AFTER_HELP}\n\n{}", exit_codes::HELP),
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Nothing on stderr but errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// One variant per file in `commands/`.
#[derive(Subcommand)]
pub(crate) enum Command {
    Convert(Box<convert::Arguments>),
    Quantize(Box<quantize::Arguments>),
    Inspect(inspect::Arguments),
    Explain(explain::Arguments),
    Diff(diff::Arguments),
    Verify(Box<verify::Arguments>),
    Publish(publish::Arguments),
    Pull(pull::Arguments),
    Promote(promote::Arguments),
    VerifyArtifact(verify_artifact::Arguments),
    Release(release::Arguments),
    Init(init::Arguments),
    Trace(trace::Arguments),
    Completions(completions::Arguments),
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Examples:
  corer convert all-MiniLM-L6-v2 -o MiniLM.mlpackage --verify
  corer quantize MiniLM.mlpackage -o MiniLM-lut6.mlpackage --weights lut6
  corer inspect MiniLM.mlpackage
  corer verify MiniLM.mlpackage --reference all-MiniLM-L6-v2 --texts sentences.txt --report report
  corer publish MiniLM.mlpackage --report report --to oci-layout:models:1.0";

/// Parses one of a flag's spellings, each with the line the help shows for it.
///
/// `choices` pairs value, spelling and help.
pub(crate) fn one_of<T>(
    choices: &'static [(T, &'static str, &'static str)],
) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = choices
        .iter()
        .map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(names).try_map(move |text| {
        let found = choices.iter().find(|(_, name, _)| *name == text);
        found
            .map(|(value, ..)| *value)
            .ok_or("not one of the possible values")
    })
}
