//! The stages of a release: packages made, packages judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use corer_converter::source::Source;
use corer_proto::WriteOptions;
use corer_publisher::Digest;
use corer_publisher::report::StoredReport;
use corer_quantizer::Config;
use corer_verifier::{Inputs, VerifyReport, VerifyRequest};

use super::super::reference::{Against, Engine};
use super::super::verify::{Looking, Verification};
use super::super::{convert, package_output, quantize, reports, verify};
use super::cache::{self, Cache};
use super::earlier::Earlier;
use super::manifest::{Judge, Manifest, Variant};
use super::view::{Outcome, View};
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::messages::Messages;
use crate::output;
use crate::progress::Bars;

/// Everything stages share.
pub(super) struct Stages<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) cache: Cache,
    pub(super) view: View,
    pub(super) quiet: bool,
    plain_http: bool,
    tool: Digest,
    source: SourceDigest,
    judge: String,
}

/// What a source holds.
struct SourceDigest {
    /// The digest recorded in packages.
    summary: String,
    /// One over every file a conversion reads.
    all: String,
}

/// A variant on its way.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) variant: Variant,
    pub(super) package: PathBuf,
    pub(super) report: PathBuf,
    pub(super) digest: String,
    pub(super) bytes: u64,
}

/// A variant that was judged.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) made: Made,
    pub(super) passed: bool,
    /// The lowest PSNR of its outputs.
    pub(super) psnr: Option<f64>,
    /// Every reason against it.
    pub(super) reasons: Vec<String>,
    /// All that was found.
    pub(super) report: VerifyReport,
}

impl<'a> Stages<'a> {
    /// Takes the digests of everything the release depends on.
    ///
    /// # Errors
    /// When a file can't be read.
    pub(super) fn new(manifest: &'a Manifest, plain_http: bool, quiet: bool) -> Result<Self, Failure> {
        let request = &manifest.request;
        let source = Source::open(&request.source).map_err(|error| Failure::new(Exit::Source, error))?;
        let digest = source
            .digest(&mut |_| {})
            .map_err(|error| Failure::new(Exit::Source, error))?;
        let files = digest.weights.iter().chain(&digest.configuration);
        let all: String = files
            .map(|file| format!("{} {}\n", file.sha256, file.name))
            .collect();
        let read = |path: &Path, error: std::io::Error| {
            Failure::new(Exit::Source, format!("{}: {error}", path.display()))
        };
        let mut judge = match &manifest.reference {
            Judge::Recording(file) => Digest::of_file(file)
                .map_err(|error| read(file, error))?
                .to_string(),
            Judge::Source(path) if *path == request.source => all.clone(),
            Judge::Source(path) => {
                let source = Source::open(path).map_err(|error| Failure::new(Exit::Source, error))?;
                let digest = source
                    .digest(&mut |_| {})
                    .map_err(|error| Failure::new(Exit::Source, error))?;
                let files = digest.weights.iter().chain(&digest.configuration);
                files
                    .map(|file| format!("{} {}\n", file.sha256, file.name))
                    .collect()
            }
        };
        if let Judge::Source(path) = &manifest.reference {
            judge.push_str(&cache::text_files(path).map_err(|error| read(path, error))?);
        }
        if let Some(texts) = &manifest.texts {
            judge.push_str(
                Digest::of_file(texts)
                    .map_err(|error| read(texts, error))?
                    .as_str(),
            );
        }
        Ok(Self {
            manifest,
            cache: Cache::new(manifest.output.join(".corer-cache")),
            view: View::new(quiet),
            quiet,
            plain_http,
            tool: cache::tool()?,
            source: SourceDigest {
                summary: digest.summary(),
                all,
            },
            judge,
        })
    }

    fn package(&self, variant: &Variant) -> PathBuf {
        let Manifest { output, name, .. } = self.manifest;
        output.join(format!("{name}-{}.mlpackage", variant.label))
    }

    fn report(&self, variant: &Variant) -> PathBuf {
        let Manifest { output, name, .. } = self.manifest;
        output.join(format!("{name}-{}.report", variant.label))
    }

    fn make_key(&self, variant: &Variant) -> Digest {
        cache::key(&[
            ("stage", "convert".into()),
            ("tool", self.tool.to_string()),
            ("source", self.source.all.clone()),
            (
                "request",
                format!(
                    "{:?}",
                    corer_converter::Request {
                        source: PathBuf::new(),
                        ..self.manifest.request.clone()
                    }
                ),
            ),
            ("variant", variant.name.clone()),
        ])
    }

    fn judge_key(&self, variant: &Variant, package: &str, earlier: &Earlier) -> Digest {
        cache::key(&[
            ("stage", "verify".into()),
            ("tool", self.tool.to_string()),
            ("package", package.to_owned()),
            ("judge", self.judge.clone()),
            ("task", self.manifest.request.task.name().into()),
            ("gate", format!("{:?}", variant.gate)),
            ("earlier", earlier.id.clone()),
        ])
    }

    /// The digest of the variant's package, when it stands there as an earlier run with equal inputs left it.
    pub(super) fn made_before(&self, variant: &Variant) -> Option<String> {
        let recorded = self
            .cache
            .result(&format!("convert-{}", variant.label), &self.make_key(variant))?;
        let found = corer_proto::package_digest(&self.package(variant)).ok()?;
        (found == recorded).then_some(found)
    }

    /// What the variant must be no worse than, its package being `package`.
    ///
    /// # Errors
    /// When a report the manifest names can't be read.
    pub(super) fn earlier(&self, variant: &Variant, package: &str) -> Result<Earlier, Failure> {
        let messages = Messages::new(self.quiet);
        Earlier::of(self.manifest, variant, package, self.plain_http, &messages)
    }

    /// The variant's report, when it stands there as an earlier run with equal inputs left it.
    pub(super) fn judged_before(
        &self,
        variant: &Variant,
        package: &str,
        earlier: &Earlier,
    ) -> Option<StoredReport> {
        let key = self.judge_key(variant, package, earlier);
        let recorded = self.cache.result(&format!("verify-{}", variant.label), &key)?;
        let report = StoredReport::read(&self.report(variant)).ok()?;
        (Digest::of(&report.bytes).as_str() == recorded).then_some(report)
    }

    /// Makes a variant's package.
    ///
    /// # Errors
    /// When the source can't be converted or the package can't be written.
    pub(super) fn make(&self, variant: &Variant) -> Result<Made, Failure> {
        let began = Instant::now();
        let package = self.package(variant);
        let (digest, outcome) = match self.made_before(variant) {
            Some(digest) => (digest, Outcome::Reused),
            None => {
                let digest = self.convert(variant, &package)?;
                self.cache.record(
                    &format!("convert-{}", variant.label),
                    &self.make_key(variant),
                    &digest,
                )?;
                (digest, Outcome::Done(began.elapsed()))
            }
        };
        let bytes = size(&package)?;
        self.view
            .stage("convert", &variant.name, outcome, &output::bytes(bytes))?;
        Ok(Made {
            variant: variant.clone(),
            report: self.report(variant),
            package,
            digest,
            bytes,
        })
    }

    fn convert(&self, variant: &Variant, package: &Path) -> Result<String, Failure> {
        let mut request = self.manifest.request.clone();
        request.precision = variant.precision;
        let mut conversion = corer_converter::convert(&request)
            .map_err(|error| convert::conversion_failure(error, request.task))?;
        let messages = Messages::new(self.quiet);
        for note in &conversion.notes {
            messages.note(note)?;
        }
        if !conversion.unused.is_empty() {
            messages.note(&convert::unused(&conversion.unused))?;
        }
        if let Some(scheme) = variant.scheme {
            let how = quantize::How {
                config: &Config::uniform(scheme),
                target: None,
                texts: None,
                scratch: package_output::directory(package),
                threads: None,
            };
            let report = quantize::compress(&mut conversion.model, &how, self.quiet)
                .map_err(|error| quantize::failure(error, Exit::Source))?;
            quantize::tell(&report, &messages)?;
        }
        let key = corer_converter::SOURCE_DIGEST_KEY.to_owned();
        let metadata = &mut conversion.model.description.metadata.user_defined;
        metadata.insert(key, self.source.summary.clone());
        let bars = Bars::new(self.quiet);
        let options = WriteOptions {
            overwrite: true,
            progress: &bars,
            ..WriteOptions::default()
        };
        let written = corer_proto::write(package, &conversion.model, &options)
            .map_err(|error| package_output::failure(error, Exit::Source))?;
        Ok(written.digest)
    }

    /// Judges a variant's package.
    ///
    /// # Errors
    /// When no verdict can be reached.
    pub(super) fn judge(&self, made: Made) -> Result<Judged, Failure> {
        let began = Instant::now();
        let variant = &made.variant;
        let earlier = self.earlier(variant, &made.digest)?;
        let (report, outcome) = match self.judged_before(variant, &made.digest, &earlier) {
            Some(report) => (report, Outcome::Reused),
            None => (self.verify(&made, earlier)?, Outcome::Done(began.elapsed())),
        };
        let report = VerifyReport::parse(&report.bytes).map_err(|reason| {
            Failure::new(Exit::Unexpected, format!("{}: {reason}", report.path.display()))
        })?;
        let outputs = || report.buckets.iter().flat_map(|bucket| &bucket.outputs);
        let psnr = outputs()
            .map(|output| output.errors.psnr.0)
            .filter(|psnr| psnr.is_finite())
            .min_by(f64::total_cmp);
        let reasons: Vec<_> = report.verdict.reasons.iter().map(ToString::to_string).collect();
        let passed = report.verdict.passed;
        let verdict = if passed { "passed" } else { "FAILED" };
        let mut said = match psnr {
            Some(psnr) => format!("{verdict}, PSNR {psnr:.2} dB"),
            None => verdict.to_owned(),
        };
        for warning in &report.verdict.warnings {
            said += &format!("; warning: {warning}");
        }
        self.view.stage("verify", &variant.name, outcome, &said)?;
        Ok(Judged {
            made,
            passed,
            psnr,
            reasons,
            report,
        })
    }

    fn verify(&self, made: &Made, earlier: Earlier) -> Result<StoredReport, Failure> {
        let key = self.judge_key(&made.variant, &made.digest, &earlier);
        let mut verification = match &self.manifest.reference {
            Judge::Source(path) => {
                verify::after_conversion(&made.package, path, self.manifest.request.task, Engine::Auto)
            }
            Judge::Recording(file) => Verification {
                package: made.package.clone(),
                against: Against::Recording { file: file.clone() },
                request: VerifyRequest::new(Inputs::Recorded),
                drift: Looking::default(),
            },
        };
        if let Some(texts) = &self.manifest.texts {
            verification.request.inputs = Inputs::Texts {
                file: Some(texts.clone()),
                tokenizer: None,
            };
        }
        verification.request.thresholds = made.variant.gate.fail.figures;
        verification.request.gate = made.variant.gate.gate(earlier.report);
        let mut report = verify::verify(&verification, self.quiet)?;
        report.tool_sha256 = Some(reports::hex(&self.tool));
        let digest = Digest::of(output::json_text(&report)?.as_bytes());
        reports::write(&made.report, &report)?;
        self.cache
            .record(&format!("verify-{}", made.variant.label), &key, digest.as_str())?;
        StoredReport::read(&made.report).map_err(|error| Failure::new(Exit::Unexpected, error))
    }
}

/// Bytes of a package's files.
fn size(directory: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        total += if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(total)
}
