//! `corer pull`: an artifact back as files, everything hashed again.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anstyle::AnsiColor;
use corer_publisher::trust::Requirement;
use corer_publisher::{Layout, Location, Pulled, Reference, Store};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::publish::{self, failure, reference};
use super::trust::{Trust, Trusting};
use crate::exit_codes::{self, Exit};
use crate::failure::{Failure, bold};
use crate::messages::Messages;
use crate::output;
use crate::progress::Bars;

/// Fetch a published artifact and check it
///
/// Unpacks what `corer publish` published into a new directory. Every file is hashed again and every package's digest
/// taken again: what was tampered with is refused, exit 5, and nothing is left. With --require, so is what lacks a
/// statement signed by a trusted key, exit 7, before anything is fetched.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}", exit_codes::HELP))]
pub(crate) struct Arguments {
    /// Where from: oci://HOST/REPOSITORY:TAG or oci-layout:DIRECTORY:TAG; @sha256:… in place of :TAG for one for good
    #[arg(value_name = "URI", value_parser = reference)]
    from: Reference,

    /// Where the files go: a directory that does not exist yet
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// Talk to the registry without TLS, which is refused but for this machine
    #[arg(long)]
    plain_http: bool,

    #[command(flatten)]
    trusting: Trusting,

    /// Also write the signature over the files here, for `corer verify-artifact` and `model_signing verify key`
    #[arg(long, value_name = "FILE", requires = "keys")]
    signature: Option<PathBuf>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  corer pull oci://registry.example.com/team/minilm:1.0 -o minilm
  corer pull oci-layout:models:1.0 -o minilm
  corer pull oci-layout:models:1.0 -o minilm --require signature,parity --key public.pem";

/// Pulls and says what was pulled.
///
/// # Errors
/// When there is no such artifact, it was tampered with, or it can't be written.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    let mut trust = arguments.trusting.trust(&[Requirement::Signature])?;
    if arguments.signature.is_some() {
        trust.require(Requirement::Signature);
    }
    let signature = arguments.signature.as_deref().map(NewFile::beside).transpose()?;
    let store = open(&arguments.from.location, arguments.plain_http)?;
    let unfinished = arguments.output.clone();
    // Without a handler the next pull to the same place removes what is left behind.
    let _ = ctrlc::set_handler(move || {
        corer_proto::discard_unfinished(&unfinished);
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
    let bars = Bars::new(quiet);
    let pulled = corer_publisher::pull(
        &*store,
        &arguments.from.version,
        &arguments.output,
        &trust.policy(),
        &bars,
    )
    .map_err(failure)?;
    if !pulled.passed {
        let reason = pulled
            .unverified
            .as_deref()
            .unwrap_or("it carries no report that says otherwise");
        Messages::new(quiet).note(&format!("{} is not verified: {reason}", arguments.from))?;
    }
    if let (Some(file), Some(proof)) = (signature, pulled.evidence.proof(Requirement::Signature)) {
        file.write(&proof.bundle)?;
    }
    Document::of(arguments, &trust, &pulled).print(arguments.json)?;
    Ok(Exit::Done)
}

/// A small file that appears whole or not at all. Where it can't be written is known before anything is fetched.
struct NewFile<'a> {
    path: &'a Path,
    unfinished: NamedTempFile,
}

impl<'a> NewFile<'a> {
    fn beside(path: &'a Path) -> Result<Self, Failure> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let unfinished = tempfile::Builder::new()
            .prefix(".corer-unfinished-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(directory.unwrap_or(Path::new(".")))
            .map_err(|error| Self::failure(path, &error))?;
        Ok(Self { path, unfinished })
    }

    fn write(mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self
            .unfinished
            .write_all(bytes)
            .and_then(|()| self.unfinished.as_file().sync_all())
            .and_then(|()| self.unfinished.persist(self.path).map_err(|error| error.error));
        written
            .map(drop)
            .map_err(|error| Self::failure(self.path, &error))
    }

    fn failure(path: &Path, error: &std::io::Error) -> Failure {
        Failure::new(Exit::Unexpected, format!("{}: {error}", path.display()))
    }
}

/// Opens a place to read from.
///
/// # Errors
/// When there is nothing to read.
pub(super) fn open(location: &Location, plain_http: bool) -> Result<Box<dyn Store>, Failure> {
    match location {
        Location::Layout(directory) => Ok(Box::new(Layout::open(directory).map_err(failure)?)),
        other => publish::store(other, plain_http),
    }
}

/// What was pulled.
#[derive(Serialize)]
struct Document<'a> {
    reference: String,
    digest: &'a str,
    output: String,
    files: usize,
    bytes: u64,
    packages: &'a BTreeMap<String, String>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    trusted: BTreeMap<&'static str, &'a str>,
    exit_code: u8,
}

impl<'a> Document<'a> {
    fn of(arguments: &Arguments, trust: &Trust, pulled: &'a Pulled) -> Self {
        Self {
            reference: arguments.from.to_string(),
            digest: pulled.digest.as_str(),
            output: arguments.output.display().to_string(),
            files: pulled.files,
            bytes: pulled.bytes,
            packages: &pulled.packages,
            verdict: if pulled.passed { "passed" } else { "unverified" },
            trusted: trust.proven(&pulled.evidence),
            exit_code: Exit::Done.code(),
        }
    }

    fn print(&self, json: bool) -> std::io::Result<()> {
        if json {
            return output::json(self);
        }
        output::text(|out| {
            let head = bold(AnsiColor::Green);
            writeln!(out, "{head}{}{head:#}", self.output)?;
            writeln!(out, "  digest   {}", self.digest)?;
            writeln!(out, "  verdict  {}", self.verdict)?;
            for (requirement, key) in &self.trusted {
                writeln!(out, "  {requirement:<10} signed by key {key}")?;
            }
            for (name, digest) in self.packages {
                writeln!(out, "  package  {name} {digest}")?;
            }
            writeln!(
                out,
                "  size     {} in {} files",
                output::bytes(self.bytes),
                self.files
            )
        })
    }
}
