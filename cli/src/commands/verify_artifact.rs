//! `corer verify-artifact`: whether an artifact, or a directory one was unpacked to, is what a trusted key signed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anstyle::AnsiColor;
use corer_publisher::trust::{Requirement, check};
use corer_publisher::{Examined, Reference};
use serde::Serialize;

use super::publish::{failure, reference};
use super::pull;
use super::trust::{self, Trust, Trusting};
use crate::exit_codes::{self, Exit};
use crate::failure::{Failure, bold};
use crate::output;
use crate::progress::Bars;

/// Check a published artifact, or a directory it was pulled to, against a key
///
/// In a registry or a layout, reads and hashes every blob, and checks the statements attached: the signature over the
/// files, the verdict, the provenance. A directory is held against a signature over its files (`corer pull --signature
/// FILE` writes one, `model_signing sign key` another): a byte changed, a file missing or one too many is refused.
/// Exit 7 when what is required is missing or not signed by a trusted key, 5 when the artifact is not what its digests say.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}\n\n{}", trust::KEYS, exit_codes::HELP))]
pub(crate) struct Arguments {
    /// An artifact (oci://HOST/REPOSITORY:TAG or oci-layout:DIRECTORY:TAG; @sha256:… in place of :TAG) or a directory
    #[arg(value_name = "URI|DIR", value_parser = target)]
    target: Target,

    #[command(flatten)]
    trusting: Trusting,

    /// The signature over a directory's files
    #[arg(long, value_name = "FILE", default_value = "model.sig")]
    signature: PathBuf,

    /// Talk to the registry without TLS, which is refused but for this machine
    #[arg(long)]
    plain_http: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  corer verify-artifact oci-layout:models:1.0 --key public.pem
  corer verify-artifact oci://registry.example.com/team/minilm:1.0 --key public.pem --require signature,parity,provenance
  corer pull oci-layout:models:1.0 -o minilm --key public.pem --signature model.sig
  corer verify-artifact minilm --key public.pem --signature model.sig

Without --require: signature and parity for an artifact, signature for a directory.
Without --key nothing is trusted: an artifact's digests are checked, and no more.";

/// What is to be checked.
#[derive(Clone)]
enum Target {
    Artifact(Reference),
    Directory(PathBuf),
}

fn target(text: &str) -> Result<Target, String> {
    match reference(text) {
        Ok(reference) => Ok(Target::Artifact(reference)),
        Err(_) if Path::new(text).is_dir() => Ok(Target::Directory(text.into())),
        Err(reason) => Err(format!("{reason}, or a directory that is there")),
    }
}

/// Checks and says what was found.
///
/// # Errors
/// When it is not what it should be.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    match &arguments.target {
        Target::Artifact(reference) => artifact(arguments, reference, quiet),
        Target::Directory(directory) => self::directory(arguments, directory),
    }?;
    Ok(Exit::Done)
}

fn artifact(arguments: &Arguments, reference: &Reference, quiet: bool) -> Result<(), Failure> {
    let trust = arguments
        .trusting
        .trust(&[Requirement::Signature, Requirement::Parity])?;
    let store = pull::open(&reference.location, arguments.plain_http)?;
    let bars = Bars::new(quiet);
    let examined =
        corer_publisher::examine(&*store, &reference.version, &trust.policy(), &bars).map_err(failure)?;
    Document::of(reference, &trust, &examined).print(arguments.json)?;
    Ok(())
}

fn directory(arguments: &Arguments, directory: &Path) -> Result<(), Failure> {
    let trust = arguments.trusting.trust(&[Requirement::Signature])?;
    if let Some(other) = trust
        .policy()
        .required
        .iter()
        .find(|requirement| **requirement != Requirement::Signature)
    {
        let message = format!("{other} is attached to an artifact, not to a directory");
        return Err(Failure::new(Exit::Usage, message).hint("give the artifact's URI"));
    }
    if trust.keys().is_empty() {
        return Err(Failure::new(Exit::Usage, "a directory is checked with a key").hint("give --key FILE"));
    }
    let key = check::directory(directory, &arguments.signature, trust.keys()).map_err(failure)?;
    let document = Document {
        target: directory.display().to_string(),
        digest: None,
        packages: None,
        files: None,
        bytes: None,
        trusted: [(Requirement::Signature.name(), key.as_str())].into(),
        missing: BTreeMap::new(),
        exit_code: Exit::Done.code(),
    };
    document.print(arguments.json)?;
    Ok(())
}

/// What was checked.
#[derive(Serialize)]
struct Document<'a> {
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// By which key.
    trusted: BTreeMap<&'static str, &'a str>,
    /// What was not required, and why it would not have been met.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    missing: BTreeMap<&'static str, String>,
    exit_code: u8,
}

impl<'a> Document<'a> {
    fn of(reference: &Reference, trust: &Trust, examined: &'a Examined) -> Self {
        let objections = Requirement::ALL
            .into_iter()
            .filter_map(|requirement| Some((requirement.name(), examined.evidence.objection(requirement)?)));
        let missing = match trust.keys() {
            [] => BTreeMap::new(),
            _ => objections.collect(),
        };
        Self {
            target: reference.to_string(),
            digest: Some(examined.digest.as_str()),
            packages: Some(&examined.packages),
            files: Some(examined.files),
            bytes: Some(examined.bytes),
            trusted: trust.proven(&examined.evidence),
            missing,
            exit_code: Exit::Done.code(),
        }
    }

    fn print(&self, json: bool) -> std::io::Result<()> {
        if json {
            return output::json(self);
        }
        output::text(|out| {
            let head = bold(AnsiColor::Green);
            writeln!(out, "{head}{}{head:#}", self.target)?;
            if let Some(digest) = self.digest {
                writeln!(out, "  digest      {digest}")?;
            }
            for (requirement, key) in &self.trusted {
                writeln!(out, "  {requirement:<11} signed by key {key}")?;
            }
            for (requirement, reason) in &self.missing {
                writeln!(out, "  {requirement:<11} not trusted: {reason}")?;
            }
            if self.trusted.is_empty() && self.missing.is_empty() {
                writeln!(out, "  trust       not checked, no --key")?;
            }
            for (name, digest) in self.packages.into_iter().flatten() {
                writeln!(out, "  package     {name} {digest}")?;
            }
            if let (Some(bytes), Some(files)) = (self.bytes, self.files) {
                writeln!(out, "  size        {} in {files} files", output::bytes(bytes))?;
            }
            Ok(())
        })
    }
}
