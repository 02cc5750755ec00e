//! `corer release`: one file says what is released; what comes out was judged, and is what was judged.

mod cache;
mod earlier;
mod manifest;
mod stages;
mod view;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anstyle::AnsiColor;
use corer_publisher::trust::SigningKey;
use corer_publisher::{Bundle, BundleRequest, Reference, Version};
use corer_verifier::render::{Document, Entry};
use serde::Serialize;

use super::toml_reader::Mistake;
use super::trust::Signing;
use super::{publish, reports};
use crate::exit_codes::{self, Exit};
use crate::failure::{Failure, bold};
use crate::messages::Messages;
use crate::output;
use crate::progress::Bars;

use manifest::{Failing, Manifest, variant_tag};
use stages::{Judged, Stages};
use view::Outcome;

/// Convert, compress, verify and publish all variants of a model
///
/// Reads a manifest (see `corer init`), converts the source into each variant, verifies each against the source, and
/// publishes those that pass under TAG-VARIANT, the default one under TAG too. What an earlier run did and nothing has
/// changed since is not done again. When a variant fails, nothing is published and the command exits with 4, unless
/// the manifest says failing = "leave-out".
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{MANIFEST}\n\n{}", exit_codes::HELP))]
pub(crate) struct Arguments {
    /// The manifest
    #[arg(default_value = "corer.toml", value_name = "MANIFEST")]
    manifest: PathBuf,

    /// Publish here instead of where the manifest says
    #[arg(long, value_name = "URI", value_parser = publish::reference)]
    to: Option<Reference>,

    /// Write report.html, report.md and junit.xml over all variants here [default: `report` in the output directory]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// Talk to the registry without TLS, which is refused but for this machine
    #[arg(long)]
    plain_http: bool,

    #[command(flatten)]
    signing: Signing,

    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  corer init all-MiniLM-L6-v2
  corer release
  corer release minilm.toml --dry-run
  corer release minilm.toml --to oci://registry.example.com/team/minilm:1.1";

const MANIFEST: &str = "\
Manifest (paths are relative to it; all but name, source and to may be left out):
  name = \"MiniLM\"                      # packages are called MiniLM-VARIANT.mlpackage
  source = \"all-MiniLM-L6-v2\"          # checkpoint directory, .pt or .pt2
  output = \"MiniLM-release\"            # packages, reports, cache
  task = \"auto\"                        # as for `corer convert`, like these:
  target = \"ios16\"
  layout = \"ane\"
  sequence-length = [64, 128]          # or 128, or \"1..512\"
  batch-size = 1
  buckets = \"auto\"
  classifier = false
  token-types = true
  variants = [\"fp16\", \"int8\"]         # precisions, and schemes of `corer quantize`
  [verify]
  texts = \"texts.txt\"                  # one per line
  reference = \"checkpoint\"             # instead of the source itself, or:
  golden = \"expected.safetensors\"      # recorded inputs and outputs
  [gate]                               # as for `corer verify`: min-psnr, min-cosine, max-abs,
  min-psnr = 65                        # min-top1, min-overlap, max-padding-change
  max-psnr-drop = 1                    # how much worse than the last one published under the tag:
                                       # also max-cosine-drop, max-top1-drop, max-overlap-drop and
                                       # max-abs-growth; or worse than this one:
  baseline = \"last/report.json\"
  [gate.warn]                          # the same keys: only a warning
  min-psnr = 70
  [gate.int8]                          # for one variant
  min-psnr = 40
  [publish]
  to = \"oci-layout:registry:1.0\"       # or \"oci://HOST/REPOSITORY:1.0\"
  default = \"fp16\"                     # which one gets the plain tag; or \"smallest\" [the first]
  failing = \"stop\"                     # or \"leave-out\"
  sign-key = \"key.pem\"                 # or --sign-key, or CORER_SIGN_KEY";

/// Releases and says what was released.
///
/// # Errors
/// When the manifest has mistakes, a stage can't be done, a variant fails its gate, or the registry refuses.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    let manifest = read(&arguments.manifest, arguments.to.as_ref())?;
    let _turn = if arguments.dry_run {
        None
    } else {
        Some(take_turn(&manifest.output)?)
    };
    // A key that can't be read should not be found out after an hour's work.
    let key = arguments.signing.key(manifest.sign_key.as_deref())?;
    let stages = Stages::new(&manifest, arguments.plain_http, quiet)?;
    if arguments.dry_run {
        return plan(&stages).map(|()| Exit::Done);
    }
    clean_up_when_interrupted(&manifest);
    let mut judged = Vec::with_capacity(manifest.variants.len());
    for variant in &manifest.variants {
        judged.push(stages.judge(stages.make(variant)?)?);
    }
    let directory = arguments.report.clone();
    report(
        &directory.unwrap_or_else(|| manifest.output.join("report")),
        &manifest,
        &judged,
    )?;
    let failed: Vec<_> = judged.iter().filter(|variant| !variant.passed).collect();
    let stop = !failed.is_empty() && (manifest.failing == Failing::Stop || failed.len() == judged.len());
    let published = if stop {
        Vec::new()
    } else {
        send(&stages, &judged, arguments, key.as_ref())?
    };
    let document = Released::of(&manifest, &judged, &published, stop);
    document.print(arguments.json)?;
    if stop {
        return Err(below(&failed).already_on_stdout());
    }
    for variant in &failed {
        Messages::new(quiet).note(&format!(
            "{} is left out: {}",
            variant.made.variant.name,
            variant.reasons.join("; ")
        ))?;
    }
    Ok(Exit::Done)
}

/// One page over all variants.
fn report(directory: &Path, manifest: &Manifest, judged: &[Judged]) -> Result<(), Failure> {
    let entries: Vec<_> = judged
        .iter()
        .map(|variant| Entry {
            name: &variant.made.variant.name,
            report: &variant.report,
        })
        .collect();
    reports::write_release(
        directory,
        &Document {
            title: &manifest.name,
            entries: &entries,
        },
    )
}

fn read(path: &Path, to: Option<&Reference>) -> Result<Manifest, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        let failure = Failure::new(Exit::Usage, format!("{}: {error}", path.display()));
        failure.hint("`corer init CHECKPOINT` writes a manifest")
    })?;
    let mut manifest = Manifest::parse(path, &text).map_err(Mistake::into_failure)?;
    if let Some(to) = to {
        to.tag().map_err(publish::failure)?;
        manifest.to = to.clone();
    }
    Ok(manifest)
}

/// Makes the output directory, and has two releases into it wait for one another.
fn take_turn(output: &Path) -> Result<File, Failure> {
    let take = || {
        fs::create_dir_all(output)?;
        let turn = File::open(output)?;
        turn.lock()?;
        Ok(turn)
    };
    take().map_err(|error: std::io::Error| {
        Failure::new(Exit::Unexpected, format!("{}: {error}", output.display()))
    })
}

/// Has an interrupt remove the unfinished package before the process ends.
fn clean_up_when_interrupted(manifest: &Manifest) {
    let packages: Vec<_> = manifest
        .variants
        .iter()
        .map(|variant| {
            manifest
                .output
                .join(format!("{}-{}.mlpackage", manifest.name, variant.label))
        })
        .collect();
    // Without a handler the next release removes what is left behind.
    let _ = ctrlc::set_handler(move || {
        packages
            .iter()
            .for_each(|package| corer_proto::discard_unfinished(package));
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
}

/// What a release would do, as far as that is known before doing it.
fn plan(stages: &Stages<'_>) -> Result<(), Failure> {
    for variant in &stages.manifest.variants {
        let made = stages.made_before(variant);
        let (outcome, said) = match &made {
            Some(digest) => (Outcome::Reused, digest.as_str()),
            None => (Outcome::Planned, ""),
        };
        stages.view.stage("convert", &variant.name, outcome, said)?;
        let judged = match made {
            Some(digest) => stages.judged_before(variant, &digest, &stages.earlier(variant, &digest)?),
            None => None,
        };
        let (outcome, said) = match &judged {
            Some(report) if report.report.verdict.passed => (Outcome::Reused, "passed"),
            Some(_) => (Outcome::Reused, "FAILED"),
            None => (Outcome::Planned, ""),
        };
        stages.view.stage("verify", &variant.name, outcome, said)?;
        let to = reference(stages.manifest, Some(&variant.label));
        stages
            .view
            .stage("publish", &variant.name, Outcome::Planned, &to)?;
    }
    Ok(())
}

/// Where a variant goes; `None` for the default one's plain tag.
fn reference(manifest: &Manifest, label: Option<&str>) -> String {
    let Version::Tag(tag) = &manifest.to.version else {
        return manifest.to.to_string();
    };
    let tag = match label {
        Some(label) => variant_tag(tag, label),
        None => tag.clone(),
    };
    format!("{}:{tag}", manifest.to.location)
}

/// A variant in the registry.
struct Sent {
    variant: String,
    digest: String,
    is_default: bool,
    bytes_sent: u64,
    tags_moved: usize,
}

/// Publishes every variant that passed.
fn send(
    stages: &Stages<'_>,
    judged: &[Judged],
    arguments: &Arguments,
    key: Option<&SigningKey>,
) -> Result<Vec<Sent>, Failure> {
    let manifest = stages.manifest;
    let tag = manifest.to.tag().map_err(publish::failure)?;
    let passed: Vec<_> = judged.iter().filter(|variant| variant.passed).collect();
    let default = match &manifest.default {
        manifest::Default::First => passed.first(),
        manifest::Default::Smallest => passed.iter().min_by_key(|variant| variant.made.bytes),
        manifest::Default::Variant(name) => passed.iter().find(|variant| variant.made.variant.name == *name),
    };
    let Some(default) = default else {
        let message = "the default variant failed, so there is nothing the plain tag could point to";
        return Err(Failure::new(Exit::Gate, message).hint("choose another `default` in [publish]"));
    };
    let default = default.made.variant.name.clone();
    let bars = Bars::new(stages.quiet);
    // All of them are bundled before the first is sent, so that no refusal leaves half a release.
    let mut bundles = Vec::with_capacity(passed.len());
    for variant in &passed {
        let request = BundleRequest {
            packages: std::slice::from_ref(&variant.made.package),
            reports: std::slice::from_ref(&variant.made.report),
            version: tag,
            force_unverified: false,
            include_texts: false,
            progress: &bars,
        };
        bundles.push(Bundle::assemble(&request).map_err(publish::failure)?);
    }
    let store = publish::store(&manifest.to.location, arguments.plain_http)?;
    let mut sent = Vec::with_capacity(passed.len());
    let ends = |name: &str| name == default;
    // The plain tag moves last of all.
    let mut order: Vec<_> = passed.iter().zip(&bundles).collect();
    order.sort_by_key(|(variant, _)| ends(&variant.made.variant.name));
    for (variant, bundle) in order {
        let began = Instant::now();
        let name = &variant.made.variant.name;
        let own = variant_tag(tag, &variant.made.variant.label);
        let tags = if ends(name) {
            vec![own.as_str(), tag]
        } else {
            vec![own.as_str()]
        };
        let attachments = arguments.signing.sign(bundle, key);
        let published = corer_publisher::publish(bundle, &attachments, &*store, &tags, &bars)
            .map_err(publish::failure)?;
        let unchanged = published.blobs_sent + published.attached == 0 && published.tags_moved.is_empty();
        let outcome = if unchanged {
            Outcome::Reused
        } else {
            Outcome::Done(began.elapsed())
        };
        stages.view.stage(
            "publish",
            name,
            outcome,
            &reference(manifest, Some(&variant.made.variant.label)),
        )?;
        sent.push(Sent {
            variant: name.clone(),
            digest: bundle.manifest.digest.to_string(),
            is_default: ends(name),
            bytes_sent: published.bytes_sent,
            tags_moved: published.tags_moved.len(),
        });
    }
    Ok(sent)
}

/// The failure of a release, with every reason.
fn below(failed: &[&Judged]) -> Failure {
    let each: Vec<_> = failed
        .iter()
        .map(|variant| format!("{}: {}", variant.made.variant.name, variant.reasons.join("; ")))
        .collect();
    let message = format!(
        "nothing was published: {} below the gate: {}",
        match each.len() {
            1 => "a variant is".to_owned(),
            several => format!("{several} variants are"),
        },
        each.join(" · ")
    );
    Failure::new(Exit::Gate, message)
}

/// What was released.
#[derive(Serialize)]
struct Released {
    name: String,
    reference: Option<String>,
    variants: Vec<VariantView>,
    exit_code: u8,
}

#[derive(Serialize)]
struct VariantView {
    name: String,
    package: String,
    package_digest: String,
    bytes: u64,
    passed: bool,
    psnr: Option<f64>,
    reasons: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<PublishedView>,
}

#[derive(Serialize)]
struct PublishedView {
    reference: String,
    digest: String,
    default: bool,
    bytes_sent: u64,
    tags_moved: usize,
}

impl Released {
    fn of(manifest: &Manifest, judged: &[Judged], sent: &[Sent], stopped: bool) -> Self {
        let variants = judged.iter().map(|variant| {
            let name = &variant.made.variant.name;
            let sent = sent.iter().find(|sent| sent.variant == *name);
            VariantView {
                name: name.clone(),
                package: variant.made.package.display().to_string(),
                package_digest: variant.made.digest.clone(),
                bytes: variant.made.bytes,
                passed: variant.passed,
                psnr: variant.psnr,
                reasons: variant.reasons.clone(),
                published: sent.map(|sent| PublishedView {
                    reference: reference(manifest, Some(&variant.made.variant.label)),
                    digest: sent.digest.clone(),
                    default: sent.is_default,
                    bytes_sent: sent.bytes_sent,
                    tags_moved: sent.tags_moved,
                }),
            }
        });
        Self {
            name: manifest.name.clone(),
            reference: (!stopped).then(|| reference(manifest, None)),
            variants: variants.collect(),
            exit_code: if stopped { Exit::Gate } else { Exit::Done }.code(),
        }
    }

    fn print(&self, json: bool) -> std::io::Result<()> {
        if json {
            return output::json(self);
        }
        output::text(|out| {
            let head = bold(AnsiColor::Green);
            let to = self.reference.as_deref().unwrap_or("not published");
            writeln!(out, "{head}{}{head:#} {to}", self.name)?;
            for variant in &self.variants {
                let psnr = variant
                    .psnr
                    .map_or("-".to_owned(), |psnr| format!("{psnr:.2} dB"));
                let verdict = if variant.passed { "passed" } else { "FAILED" };
                let is_default = variant
                    .published
                    .as_ref()
                    .is_some_and(|published| published.default);
                writeln!(
                    out,
                    "  {:<12} {:>11} {psnr:>10}  {verdict}  {}{}",
                    variant.name,
                    output::bytes(variant.bytes),
                    variant
                        .published
                        .as_ref()
                        .map_or("-", |published| &published.digest),
                    if is_default { "  default" } else { "" },
                )?;
            }
            Ok(())
        })
    }
}
