//! `corer init`: a release manifest for a model, to start from.

use std::io::Write;
use std::path::{Path, PathBuf};

use corer_converter::Request;

use super::convert;
use crate::exit_codes::{self, Exit};
use crate::failure::Failure;
use crate::output;

/// Write a release manifest for a model
///
/// Looks at the model (no weight is read) and writes a manifest that `corer release` takes as it is, with every choice
/// spelled out.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}", exit_codes::HELP))]
pub(crate) struct Arguments {
    /// Checkpoint directory, traced model (.pt) or exported model (.pt2)
    source: PathBuf,

    /// The manifest to write; must not be there yet
    #[arg(short, long, value_name = "FILE", default_value = "corer.toml")]
    output: PathBuf,
}

const AFTER_HELP: &str = "\
Examples:
  corer init all-MiniLM-L6-v2
  corer init all-MiniLM-L6-v2 -o minilm.toml && corer release minilm.toml";

/// Writes the manifest.
///
/// # Errors
/// When the model can't be converted, or the manifest is in the way.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let request = Request::new(&arguments.source);
    let conversion = corer_converter::convert(&request)
        .map_err(|error| convert::conversion_failure(error, request.task))?;
    let flags = conversion
        .model
        .description
        .metadata
        .user_defined
        .get("corer.flags");
    let tokens = flags.and_then(|flags| flags.split("--sequence-length ").nth(1)?.split(' ').next());
    let text = manifest(arguments, conversion.task.name(), tokens.unwrap_or("128"))?;
    write(&arguments.output, &text)?;
    output::text(|out| writeln!(out, "{}", arguments.output.display()))?;
    Ok(Exit::Done)
}

fn manifest(arguments: &Arguments, task: &str, tokens: &str) -> Result<String, Failure> {
    let source = &arguments.source;
    let absolute = source
        .canonicalize()
        .map_err(|error| Failure::new(Exit::Source, format!("{}: {error}", source.display())))?;
    let beside = |path: &Path| path.parent().is_none_or(|parent| parent.as_os_str().is_empty());
    // A path in a manifest is relative to the manifest.
    let written = if beside(&arguments.output) {
        source
    } else {
        &absolute
    };
    let stem = if absolute.is_dir() {
        absolute.file_name()
    } else {
        absolute.file_stem()
    };
    let name: String = stem
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = name.trim_start_matches('.');
    let name = if name.is_empty() { "Model" } else { name };
    // JSON's strings are TOML's basic strings.
    let quoted = |text: &str| serde_json::to_string(text).map_err(std::io::Error::from);
    let judge = if absolute.is_dir() {
        "# texts = \"texts.txt\"   # one per line, the kind the model is for; else forty of corer's own"
    } else {
        "# golden = \"expected.safetensors\"   # inputs and outputs recorded from PyTorch; else the model's own operations in f32"
    };
    Ok(format!(
        "\
# What `corer release` makes of this model. `corer release --help` lists every key.
name = {name}
source = {source}
output = {output}

task = \"{task}\"
target = \"ios16\"             # oldest system that must run it: ios16, ios17, ios18, ios26
layout = \"ane\"               # for the Neural Engine; standard for CPU and GPU
sequence-length = \"{tokens}\"      # tokens per input: one, several (\"32,64,128\") or a range (\"1..512\")
batch-size = 1
variants = [\"fp16\", \"int8\"]  # and any scheme of `corer quantize --help`

[verify]
{judge}

# Without limits here, those that go with each variant's precision hold.
[gate]
# min-psnr = 65
# min-cosine = 0.9999

[publish]
to = {to}
failing = \"stop\"             # or \"leave-out\": publish the variants that pass
# sign-key = \"key.pem\"       # sign what is published; `corer publish --help` says how to make a key
",
        name = quoted(name)?,
        source = quoted(&written.to_string_lossy())?,
        output = quoted(&format!("{name}-release"))?,
        to = quoted(&format!("oci-layout:{name}-release/registry:1.0"))?,
    ))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let fail = |error: std::io::Error| {
        let message = format!("{}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(Exit::Usage, format!("{}: already exists", path.display()))
                    .hint("choose another --output, or move it away")
            }
            std::io::ErrorKind::NotFound => Failure::new(Exit::Usage, message),
            _ => Failure::new(Exit::Unexpected, message),
        }
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(fail)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(fail)?;
    file.persist_noclobber(path).map_err(|error| fail(error.error))?;
    Ok(())
}
