//! `corer publish`: verified packages in, an artifact in a registry out.

use std::path::PathBuf;

use anstyle::AnsiColor;
use corer_publisher::trust::SigningKey;
use corer_publisher::{
    Bundle, BundleRequest, Layout, Location, PublishError, Published, Reference, Registry, Store,
};
use serde::Serialize;

use super::trust::{self, Signing};
use crate::exit_codes::{self, Exit};
use crate::failure::{Failure, bold};
use crate::messages::Messages;
use crate::output;
use crate::progress::Bars;

/// Publish verified packages
///
/// Bundles packages with the reports that judged them, a model card and the SHA-256 of every file, as one artifact in
/// the CNCF ModelPack layout, and puts it where --to says. A report counts for the package whose digest it gives: what is
/// published are the very bytes that passed, or the command exits with 4. What is there already is not written again;
/// the tag moves last.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}\n\n{}", trust::KEYS, exit_codes::HELP))]
pub(crate) struct Arguments {
    /// The .mlpackage directories
    #[arg(required = true, value_name = "PACKAGE")]
    packages: Vec<PathBuf>,

    /// Where to: oci://HOST/REPOSITORY:TAG, a registry, or oci-layout:DIRECTORY:TAG, a folder in the OCI image layout
    #[arg(long, value_name = "URI", value_parser = reference)]
    to: Reference,

    /// A report of `corer verify`, or the directory it wrote; repeatable, in any order; without one, exit 4
    #[arg(long = "report", value_name = "PATH")]
    reports: Vec<PathBuf>,

    /// Talk to the registry without TLS, which is refused but for this machine
    #[arg(long)]
    plain_http: bool,

    /// Publish packages that did not pass, or that no report judges; the artifact will say so
    #[arg(long)]
    force_unverified: bool,

    /// Leave excerpts of the texts in the published reports; without it, only the numbers of the worst inputs
    #[arg(long)]
    include_texts: bool,

    #[command(flatten)]
    signing: Signing,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  corer verify MiniLM.mlpackage --reference all-MiniLM-L6-v2 --report report
  corer publish MiniLM.mlpackage --report report --to oci-layout:models:1.0
  corer publish MiniLM.mlpackage --report report --to oci://registry.example.com/team/minilm:1.0
  corer publish MiniLM.mlpackage --report report --to oci-layout:models:1.0 --sign-key key.pem

Credentials for a registry are those of `docker login`, or CORER_REGISTRY_USERNAME and CORER_REGISTRY_PASSWORD.";

/// Publishes and says what was done.
///
/// # Errors
/// When the packages can't be bundled or are not verified, or the registry refuses.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    let tag = arguments.to.tag().map_err(failure)?;
    let bars = Bars::new(quiet);
    let request = BundleRequest {
        packages: &arguments.packages,
        reports: &arguments.reports,
        version: tag,
        force_unverified: arguments.force_unverified,
        include_texts: arguments.include_texts,
        progress: &bars,
    };
    let key = arguments.signing.key(None)?;
    let bundle = Bundle::assemble(&request).map_err(failure)?;
    let attachments = arguments.signing.sign(&bundle, key.as_ref());
    let messages = Messages::new(quiet);
    for package in &bundle.packages {
        if let Some(reason) = &package.objection {
            messages.note(&format!("{} is published unverified: {reason}", package.name))?;
        }
    }
    let store = store(&arguments.to.location, arguments.plain_http)?;
    let published =
        corer_publisher::publish(&bundle, &attachments, &*store, &[tag], &bars).map_err(failure)?;
    Document::of(&arguments.to, &bundle, key.as_ref(), &published).print(arguments.json)?;
    Ok(Exit::Done)
}

/// Opens a place to publish to.
///
/// # Errors
/// When it can't be written.
pub(super) fn store(location: &Location, plain_http: bool) -> Result<Box<dyn Store>, Failure> {
    match location {
        Location::Registry { host, repository } => {
            let registry = Registry::new(host, repository, plain_http).map_err(failure)?;
            Ok(Box::new(registry))
        }
        Location::Layout(directory) => Ok(Box::new(Layout::create(directory).map_err(failure)?)),
        other => Err(Failure::new(
            Exit::Usage,
            format!("{other}: can't be published to"),
        )),
    }
}

/// Opens a place to move tags in, which must be there.
///
/// # Errors
/// When it is not there, or can't be written.
pub(super) fn existing(location: &Location, plain_http: bool) -> Result<Box<dyn Store>, Failure> {
    if let Location::Layout(directory) = location {
        Layout::open(directory).map_err(failure)?;
    }
    store(location, plain_http)
}

/// A reference on the command line.
pub(super) fn reference(text: &str) -> Result<Reference, String> {
    text.parse().map_err(|error| match error {
        PublishError::Reference { reason, .. } => reason,
        other => other.to_string(),
    })
}

/// The failure that an error of the publisher stands for.
pub(super) fn failure(error: PublishError) -> Failure {
    if let PublishError::Output(corer_proto::WriteError::Exists { path }) = &error {
        return Failure::new(Exit::Usage, format!("{}: already exists", path.display()))
            .hint("choose another --output, or move it away");
    }
    let exit = match &error {
        PublishError::Reference { .. } | PublishError::Bundle { .. } | PublishError::Key { .. } => {
            Exit::Usage
        }
        PublishError::Package(_) | PublishError::Artifact { .. } => Exit::Package,
        PublishError::Unverified { .. } | PublishError::Report { .. } => Exit::Gate,
        PublishError::Registry { .. } => Exit::Registry,
        PublishError::Untrusted { .. } => Exit::Trust,
        _ => Exit::Unexpected,
    };
    let hint = match &error {
        PublishError::Unverified { .. } => {
            Some("--force-unverified publishes it all the same, and says so in the artifact")
        }
        PublishError::Changed { .. } => Some("publish again when nobody writes to it; the tag was not moved"),
        _ => None,
    };
    let failure = Failure::new(exit, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What was published.
#[derive(Serialize)]
struct Document<'a> {
    reference: String,
    digest: &'a str,
    verdict: &'static str,
    packages: Vec<PackageView<'a>>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<&'a str>,
    blobs_sent: usize,
    blobs_present: usize,
    bytes_sent: u64,
    tag_moved: bool,
    exit_code: u8,
}

#[derive(Serialize)]
struct PackageView<'a> {
    name: &'a str,
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unverified: Option<&'a str>,
}

impl<'a> Document<'a> {
    fn of(to: &Reference, bundle: &'a Bundle, key: Option<&'a SigningKey>, published: &Published) -> Self {
        let packages: Vec<_> = bundle
            .packages
            .iter()
            .map(|package| PackageView {
                name: &package.name,
                digest: &package.digest,
                unverified: package.objection.as_deref(),
            })
            .collect();
        let verified = packages.iter().all(|package| package.unverified.is_none());
        Self {
            reference: to.to_string(),
            digest: bundle.manifest.digest.as_str(),
            verdict: if verified { "passed" } else { "unverified" },
            packages,
            bytes: bundle.bytes(),
            signed_by: key.map(|key| key.verifying_key().hint()),
            blobs_sent: published.blobs_sent,
            blobs_present: published.blobs_present,
            bytes_sent: published.bytes_sent,
            tag_moved: !published.tags_moved.is_empty(),
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
            writeln!(out, "  digest   {}", self.digest)?;
            writeln!(out, "  verdict  {}", self.verdict)?;
            if let Some(key) = self.signed_by {
                writeln!(out, "  signed   by key {key}")?;
            }
            for package in &self.packages {
                writeln!(out, "  package  {} {}", package.name, package.digest)?;
            }
            writeln!(
                out,
                "  sent     {} blobs, {}; {} were there",
                self.blobs_sent,
                output::bytes(self.bytes_sent),
                self.blobs_present
            )
        })
    }
}
