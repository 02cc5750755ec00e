//! `corer trace`: a checkpoint in, a TorchScript archive out, by way of libtorch.

use std::num::NonZeroU64;
use std::path::PathBuf;

use anstyle::AnsiColor;
use corer_converter::Task;
use corer_libtorch::{LibtorchError, TraceRequest, Traced};
use serde::Serialize;

use super::{convert, package_output};
use crate::arguments::one_of;
use crate::exit_codes::{self, Exit};
use crate::failure::{Failure, bold};
use crate::messages::Messages;
use crate::output;

/// Trace a checkpoint to TorchScript, without Python
///
/// Builds the model with libtorch from a directory `corer convert` reads, records what it computes, and saves it as
/// torch.jit.save does: parameters under their names, modules where they were, a dictionary of named outputs. PyTorch
/// loads the file, and so do `corer convert` and `corer verify --reference`. It appears whole or not at all.
///
/// Needs a corer that was built with libtorch: cargo build --release --features libtorch
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}", exit_codes::HELP))]
pub(crate) struct Arguments {
    /// Checkpoint directory
    checkpoint: PathBuf,

    /// Where the trace goes
    #[arg(short, long, value_name = "MODEL.pt")]
    output: PathBuf,

    /// Replace a file that stands there
    #[arg(long)]
    force: bool,

    /// The head to build
    #[arg(long, default_value = "auto", value_parser = one_of(TASKS))]
    task: Task,

    /// Tokens of the example it is traced with; most families' traces take any number afterwards
    #[arg(long, value_name = "N", default_value = "128")]
    sequence_length: NonZeroU64,

    /// Rows of the example it is traced with; traces take any number afterwards
    #[arg(long, value_name = "N", default_value = "1")]
    batch_size: NonZeroU64,

    /// Leave the token_type_ids input out; they are then all zero
    #[arg(long)]
    no_token_types: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const TASKS: &[(Task, &str, &str)] = convert::CHECKPOINT_TASKS;

const AFTER_HELP: &str = "\
Examples:
  corer trace all-MiniLM-L6-v2 -o MiniLM.pt
  corer trace bert-base-uncased -o Bert.pt --task fill-mask --sequence-length 256
  corer convert MiniLM.pt -o MiniLM.mlpackage --verify --reference-engine libtorch";

/// Traces and says what was written.
///
/// # Errors
/// When this build lacks libtorch, the output is in the way, or the checkpoint can't be read.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    if !corer_libtorch::BUILT_IN {
        return Err(failure(LibtorchError::NotBuilt, arguments.task));
    }
    package_output::clean_up_when_interrupted(&arguments.output);
    let request = TraceRequest {
        checkpoint: arguments.checkpoint.clone(),
        task: arguments.task,
        sequence_length: arguments.sequence_length.get(),
        batch_size: arguments.batch_size.get(),
        token_types: !arguments.no_token_types,
    };
    let traced = corer_libtorch::trace(&request, &arguments.output, arguments.force)
        .map_err(|error| failure(error, arguments.task))?;
    let messages = Messages::new(quiet);
    for note in &traced.notes {
        messages.note(note)?;
    }
    if !traced.any_length {
        let length = arguments.sequence_length;
        messages.note(&format!(
            "the model has tables of one length: this trace is good for {length} tokens only"
        ))?;
    }
    let report = Report {
        trace: arguments.output.display().to_string(),
        bytes: traced.bytes,
        class: &traced.class,
        task: traced.task.name(),
        inputs: &traced.inputs,
        outputs: &traced.outputs,
        parameters: traced.parameters,
        any_length: traced.any_length,
        notes: &traced.notes,
        exit_code: Exit::Done.code(),
    };
    if arguments.json {
        output::json(&report)?;
    } else {
        report.print(&traced)?;
    }
    Ok(Exit::Done)
}

/// The failure that an error of libtorch's stands for.
pub(super) fn failure(error: LibtorchError, task: Task) -> Failure {
    match error {
        LibtorchError::NotBuilt => Failure::new(Exit::Usage, error),
        LibtorchError::Exists { path } => package_output::exists(&path),
        LibtorchError::Model(error) => convert::conversion_failure(error, task),
        LibtorchError::Io { .. } | LibtorchError::Torch { .. } => Failure::new(Exit::Unexpected, error),
        _ => Failure::new(Exit::Source, error),
    }
}

/// What was traced.
#[derive(Serialize)]
struct Report<'a> {
    trace: String,
    bytes: u64,
    class: &'a str,
    task: &'static str,
    inputs: &'a [String],
    outputs: &'a [String],
    /// Tensors in the file.
    parameters: usize,
    /// Whether it is good for any number of tokens the model has positions for.
    any_length: bool,
    notes: &'a [String],
    exit_code: u8,
}

impl Report<'_> {
    fn print(&self, traced: &Traced) -> std::io::Result<()> {
        output::text(|out| {
            let head = bold(AnsiColor::Green);
            writeln!(out, "{head}{}{head:#}", self.trace)?;
            writeln!(out, "  task     {}", self.task)?;
            writeln!(out, "  class    {}", self.class)?;
            writeln!(out, "  inputs   {}", traced.inputs.join(", "))?;
            writeln!(out, "  outputs  {}", traced.outputs.join(", "))?;
            writeln!(
                out,
                "  size     {}, {} tensors",
                output::bytes(self.bytes),
                self.parameters
            )
        })
    }
}
