//! `corer promote`: a tag moved to an artifact that was checked, or given back, with a record.

use std::collections::BTreeMap;

use anstyle::AnsiColor;
use corer_publisher::trust::Requirement;
use corer_publisher::{Promoted, Reference, Version, reference::check_tag};
use serde::Serialize;

use super::publish::{self, failure, reference};
use super::trust::{self, SignKey, Trust, Trusting};
use crate::exit_codes::{self, Exit};
use crate::failure::{Failure, bold};
use crate::output;
use crate::progress::Bars;

/// Move a tag to an artifact that is published already
///
/// Reads and hashes all of the artifact, checks what --require asks for, attaches a record of what the tag pointed to
/// before, and moves the tag. --back gives a tag back to what the record says, under the same conditions.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}\n\n{}", trust::KEYS, exit_codes::HELP))]
pub(crate) struct Arguments {
    /// The artifact: oci://HOST/REPOSITORY:TAG or oci-layout:DIRECTORY:TAG; @sha256:… in place of :TAG. With --back,
    /// the tag to give back
    #[arg(value_name = "URI", value_parser = reference)]
    artifact: Reference,

    /// The tag to move, in the same repository or folder
    #[arg(long, value_name = "TAG", value_parser = tag, required_unless_present = "back")]
    to: Option<String>,

    /// Give the tag back to what it pointed to before it was promoted last
    #[arg(long, conflicts_with = "to")]
    back: bool,

    #[command(flatten)]
    trusting: Trusting,

    #[command(flatten)]
    signing: SignKey,

    /// Talk to the registry without TLS, which is refused but for this machine
    #[arg(long)]
    plain_http: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  corer promote oci://registry.example.com/team/minilm:1.1 --to production --key public.pem --require signature,parity
  corer promote oci://registry.example.com/team/minilm:production --back
  corer promote oci-layout:models:1.0-int8 --to small --sign-key key.pem";

fn tag(text: &str) -> Result<String, String> {
    check_tag(text).map(|()| text.to_owned())
}

/// Moves a tag and says from where to where.
///
/// # Errors
/// When the artifact is not what it should be, or the registry refuses.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    let trust = arguments
        .trusting
        .trust(&[Requirement::Signature, Requirement::Parity])?;
    let key = arguments.signing.key(None)?;
    let store = publish::existing(&arguments.artifact.location, arguments.plain_http)?;
    let bars = Bars::new(quiet);
    let (policy, version) = (trust.policy(), &arguments.artifact.version);
    let (tag, promoted) = match &arguments.to {
        Some(tag) => (
            tag.as_str(),
            corer_publisher::promote(&*store, version, tag, &policy, key.as_ref(), &bars),
        ),
        None => {
            let tag = arguments.artifact.tag().map_err(failure)?;
            (
                tag,
                corer_publisher::restore(&*store, tag, &policy, key.as_ref(), &bars),
            )
        }
    };
    let promoted = promoted.map_err(failure)?;
    let reference = Reference {
        location: arguments.artifact.location.clone(),
        version: Version::Tag(tag.to_owned()),
    };
    Document::of(&reference, &trust, &promoted).print(arguments.json)?;
    Ok(Exit::Done)
}

/// What was moved.
#[derive(Serialize)]
struct Document<'a> {
    reference: String,
    digest: &'a str,
    previous: Option<&'a str>,
    tag_moved: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    trusted: BTreeMap<&'static str, &'a str>,
    exit_code: u8,
}

impl<'a> Document<'a> {
    fn of(reference: &Reference, trust: &Trust, promoted: &'a Promoted) -> Self {
        Self {
            reference: reference.to_string(),
            digest: promoted.artifact.digest.as_str(),
            previous: promoted.previous.as_ref().map(corer_publisher::Digest::as_str),
            tag_moved: promoted.moved,
            trusted: trust.proven(&promoted.artifact.evidence),
            exit_code: Exit::Done.code(),
        }
    }

    fn print(&self, json: bool) -> std::io::Result<()> {
        if json {
            return output::json(self);
        }
        output::text(|out| {
            let head = bold(AnsiColor::Green);
            writeln!(out, "{head}{}{head:#}", self.reference)?;
            writeln!(out, "  digest     {}", self.digest)?;
            let before = match (self.tag_moved, self.previous) {
                (false, _) => "the same, nothing was moved",
                (true, Some(previous)) => previous,
                (true, None) => "nothing",
            };
            writeln!(out, "  before     {before}")?;
            for (requirement, key) in &self.trusted {
                writeln!(out, "  {requirement:<10} signed by key {key}")?;
            }
            Ok(())
        })
    }
}
