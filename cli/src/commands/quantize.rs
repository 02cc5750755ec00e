//! `corer quantize`: a package in, one with compressed weights out.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use corer_mil::Target;
use corer_proto::{Model, Package, WriteOptions};
use corer_quantizer::{Calibration, Config, QuantizeError, Report, Request, Scheme, Wanted, WeightReport};
use corer_verifier::{Inputs, VerifyReport, VerifyRequest};
use serde::Serialize;

use super::calibration::{Rows, Texts};
use super::package_output;
use super::reference::Against;
use super::verify::{Looking, Verification, below, verify};
use crate::arguments::one_of;
use crate::exit_codes::{self, Exit};
use crate::failure::Failure;
use crate::messages::Messages;
use crate::output;
use crate::progress::Bars;

/// Compress the weights of a package
///
/// Reads an ML Program package, corer's or another's, and writes one whose weights are integers, palettes, sparse, or
/// joins of these. Says for every weight what that costs. The package appears whole or not at all.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{SCHEMES}\n\n{}", exit_codes::HELP))]
pub(crate) struct Arguments {
    /// The .mlpackage directory
    package: PathBuf,

    /// Where the compressed package goes; must end in .mlpackage
    #[arg(short, long, value_name = "OUT.mlpackage", required_unless_present = "plan")]
    output: Option<PathBuf>,

    /// Replace a package that stands there
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    schemes: Schemes,

    /// Weights of at most N elements stay as they are [default: 2048]
    #[arg(long, value_name = "N", help_heading = WEIGHTS)]
    threshold: Option<u64>,

    /// Compress weights that are compressed already once more
    #[arg(long, help_heading = WEIGHTS)]
    recompress: bool,

    #[command(flatten)]
    texts: Texts,

    /// Execute the written package and the one it was made from on the same inputs and report what compression costs
    #[arg(long, conflicts_with = "plan", help_heading = PARITY)]
    verify: bool,

    /// Texts to compare on, one per line, through the tokenizer of --tokenizer; none of those calibrated on [default:
    /// forty of corer's own with a tokenizer, else random token ids]
    #[arg(long = "verify-texts", value_name = "FILE", requires_all = ["verify", "tokenizer"], help_heading = PARITY)]
    verify_texts: Option<PathBuf>,

    /// Write the program for this target, should it be older
    #[arg(long, value_parser = one_of(TARGETS))]
    target: Option<Target>,

    /// Say what would be done to each weight and write nothing
    #[arg(long)]
    plan: bool,

    /// Threads to work with; the result is the same [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Which weight gets which scheme.
#[derive(clap::Args)]
pub(super) struct Schemes {
    /// Scheme for all weights the configuration says nothing of: int8, int4-block32, lut6, sparse50+lut4, … (see --help)
    #[arg(long, value_name = "SCHEME", value_parser = scheme, help_heading = WEIGHTS)]
    weights: Option<Scheme>,

    /// TOML file with schemes by type of operation, name pattern and name
    #[arg(long, value_name = "FILE", help_heading = WEIGHTS)]
    config: Option<PathBuf>,
}

const WEIGHTS: &str = "Weights";
const PARITY: &str = "End to end";

const TARGETS: &[(Target, &str, &str)] = &[
    (Target::Ios16, "ios16", "iOS 16, macOS 13"),
    (Target::Ios17, "ios17", "iOS 17, macOS 14"),
    (Target::Ios18, "ios18", "iOS 18, macOS 15"),
    (Target::Ios26, "ios26", "iOS 26, macOS 26"),
];

const AFTER_HELP: &str = "\
Examples:
  corer quantize MiniLM.mlpackage -o MiniLM-int8.mlpackage --weights int8
  corer quantize MiniLM.mlpackage -o MiniLM-lut4.mlpackage --weights lut4-g16 --target ios18
  corer quantize MiniLM.mlpackage -o MiniLM-int4.mlpackage --weights int4 --calibrate texts.txt --tokenizer all-MiniLM-L6-v2
  corer quantize MiniLM.mlpackage -o MiniLM-lut6.mlpackage --weights lut6 --verify --tokenizer all-MiniLM-L6-v2
  corer quantize MiniLM.mlpackage --config weights.toml --plan
  corer quantize MiniLM-int8.mlpackage -o MiniLM.mlpackage --weights fp16";

const SCHEMES: &str = "\
Schemes:
  fp16                     dense: decompresses what is compressed
  int8, uint8              a scale per output channel; -tensor for one, -affine for an offset too
  int4, uint4              the same in four bits (ios18)
  int4-block32             a scale per 32 input channels (ios18)
  lut1, 2, 3, 4, 6, lut8   a table of values, the best there is; -uniform, or lut-unique for what has few values
  lut4-g16                 a table per 16 channels (ios18); -axis1 along another axis
  lut4-v2                  a table of pairs (ios18)
  sparse50                 the smaller half zero; sparse50-block4 in blocks, sparse2:4 two of four, sparse-below0.01
  sparse50+lut4            joined: sparse+lut, sparse+int8, lut4+int8 for int8 entries (ios18)

Configuration file, the most specific rule wins (names, then patterns, then types, then weights):
  weights = \"int8\"                      # all others
  threshold = 2048                      # weights of at most so many elements stay
  [types]
  gather = \"lut6\"                       # by type of an operation that uses the weight
  [[pattern]]
  match = \"encoder_layer_0_*\"           # * any text, ? any character; the first that matches
  weights = \"skip\"
  [names]
  pooler_dense_weight = { weights = \"lut4\", threshold = 100 }";

fn scheme(text: &str) -> Result<Scheme, String> {
    text.parse::<Scheme>().map_err(|error| error.reason)
}

/// Compresses, writes and says what it did.
///
/// # Errors
/// When the package can't be read, can't be compressed so, or the result can't be written.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    if let Some(output) = &arguments.output
        && !arguments.plan
    {
        package_output::check(output, arguments.force)?;
    }
    if !arguments.verify {
        arguments.texts.refuse_idle_tokenizer("--calibrate or --verify")?;
    }
    let config = arguments.config()?;
    let package = Package::open(&arguments.package).map_err(|error| Failure::new(Exit::Package, error))?;
    let messages = Messages::new(quiet);
    let mut model = package.model;
    let (Some(output), false) = (&arguments.output, arguments.plan) else {
        let report = corer_quantizer::plan(&model.program, &config, arguments.target)
            .map_err(|error| failure(error, Exit::Package))?;
        tell(&report, &messages)?;
        arguments.print(&report, None, None)?;
        return Ok(Exit::Done);
    };
    let texts = arguments.texts.rows(&model.program, None)?;
    let threads = arguments.threads.map(NonZeroUsize::get);
    package_output::clean_up_when_interrupted(output);
    let directory = package_output::directory(output);
    let how = How {
        config: &config,
        target: arguments.target,
        texts: texts.as_ref(),
        scratch: directory,
        threads,
    };
    let report = compress(&mut model, &how, quiet).map_err(|error| failure(error, Exit::Package))?;
    tell(&report, &messages)?;
    let bars = Bars::new(quiet);
    let options = WriteOptions {
        overwrite: arguments.force,
        threads,
        progress: &bars,
        ..WriteOptions::default()
    };
    let written = corer_proto::write(output, &model, &options)
        .map_err(|error| package_output::failure(error, Exit::Package))?;
    let written = Written {
        package: output.display().to_string(),
        digest: written.digest,
        bytes: written.bytes,
    };
    let verification = match arguments.verify {
        true => {
            let hint = "the package was written; only its verification did not come to a verdict";
            let judged = verify(&arguments.verification(output), quiet);
            Some(judged.map_err(|failure| failure.hint(hint))?)
        }
        false => None,
    };
    arguments.print(&report, Some(&written), verification.as_ref())?;
    match verification.filter(|report| !report.verdict.passed) {
        Some(report) => {
            messages.note(&format!("{} stays where it was written", written.package))?;
            Err(below(&report).already_on_stdout())
        }
        None => Ok(Exit::Done),
    }
}

/// How to compress a model's weights.
pub(super) struct How<'a> {
    pub(super) config: &'a Config,
    pub(super) target: Option<Target>,
    pub(super) texts: Option<&'a Rows>,
    pub(super) scratch: &'a Path,
    pub(super) threads: Option<usize>,
}

/// Compresses a model's weights in place.
///
/// # Errors
/// Whatever the quantizer refuses.
pub(super) fn compress(model: &mut Model, how: &How<'_>, quiet: bool) -> Result<Report, QuantizeError> {
    let bars = Bars::new(quiet);
    let calibration = how.texts.map(|texts| Calibration {
        function: &texts.function,
        rows: &texts.rows,
    });
    let request = Request {
        config: how.config,
        target: how.target,
        scratch: how.scratch,
        threads: how.threads,
        calibration: calibration.as_ref(),
        progress: &bars,
    };
    let quantized = corer_quantizer::quantize(std::mem::take(&mut model.program), &request)?;
    model.program = quantized.program;
    let newest = model
        .program
        .functions
        .values()
        .map(|function| function.opset)
        .max();
    if let Some(opset) = newest {
        model.specification_version = model.specification_version.max(opset.specification_version());
    }
    // What was asked for, so that a package tells how it came to be.
    let key = "corer.weights".to_owned();
    model
        .description
        .metadata
        .user_defined
        .insert(key, summary(&quantized.report));
    Ok(quantized.report)
}

/// The schemes in use, with how many weights have each.
fn summary(report: &Report) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for weight in report.weights.iter().filter(|weight| weight.changed) {
        *counts.entry(weight.after.as_str()).or_insert(0usize) += 1;
    }
    let listed: Vec<String> = counts
        .iter()
        .map(|(scheme, count)| format!("{scheme} × {count}"))
        .collect();
    listed.join(", ")
}

/// The failure a refusal stands for; `weights` is the code for weights that can't be read or compressed.
pub(super) fn failure(error: QuantizeError, weights: Exit) -> Failure {
    let exit = match &error {
        QuantizeError::Scheme(_)
        | QuantizeError::Config { .. }
        | QuantizeError::Opset { .. }
        | QuantizeError::Raise { .. }
        | QuantizeError::Nothing { .. } => Exit::Usage,
        QuantizeError::NotFinite { .. } | QuantizeError::Weight { .. } | QuantizeError::Decompress { .. } => {
            weights
        }
        QuantizeError::Calibration { .. } => Exit::Usage,
        QuantizeError::Spill { .. } | QuantizeError::Threads { .. } => Exit::Unexpected,
    };
    let hint = match &error {
        QuantizeError::Opset { needs, .. } => Some(format!("write the program for it with --target {needs}")),
        _ => None,
    };
    let failure = Failure::new(exit, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Tells what the user should know of a report: rules that match nothing, what may leave the Neural Engine.
pub(super) fn tell(report: &Report, messages: &Messages) -> std::io::Result<()> {
    for note in &report.notes {
        messages.note(note)?;
    }
    let mut warnings: Vec<_> = report
        .weights
        .iter()
        .flat_map(|weight| weight.warnings.iter().map(move |warning| (warning, weight)))
        .collect();
    warnings.sort_by(|a, b| a.0.cmp(b.0));
    for alike in warnings.chunk_by(|a, b| a.0 == b.0) {
        let (warning, weight) = alike[0];
        let others = match alike.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let instead = match &warning.instead {
            Some(scheme) => format!("; {scheme} stays"),
            None => String::new(),
        };
        messages.note(&format!(
            "rule {}: {}{instead} (`{}`{others})",
            warning.rule, warning.text, weight.name
        ))?;
    }
    Ok(())
}

impl Schemes {
    /// The configuration; `None` when nothing was asked for.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn config(&self) -> Result<Option<Config>, Failure> {
        if self.weights.is_none() && self.config.is_none() {
            return Ok(None);
        }
        let mut config = match &self.config {
            Some(path) => Config::read(path).map_err(|error| Failure::new(Exit::Usage, error))?,
            None => Config::default(),
        };
        if let Some(scheme) = self.weights {
            config.global = Some(Wanted::Scheme(scheme));
        }
        Ok(Some(config))
    }
}

impl Arguments {
    fn config(&self) -> Result<Config, Failure> {
        let config = self.schemes.config()?;
        let mut config = config.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "nothing to do: neither --weights nor --config is given",
            )
            .hint("--weights int8 halves most models at nearly no loss")
        })?;
        if let Some(threshold) = self.threshold {
            config.threshold = threshold;
        }
        config.recompress |= self.recompress;
        Ok(config)
    }

    /// The written package against the one it was made from.
    fn verification(&self, output: &Path) -> Verification {
        let inputs = match self.texts.tokenizer() {
            Some(tokenizer) => Inputs::Texts {
                file: self.verify_texts.clone(),
                tokenizer: Some(tokenizer),
            },
            None => Inputs::Tokens { seed: 0, rows: 32 },
        };
        let mut request = VerifyRequest::new(inputs);
        request.threads = self.threads.map(NonZeroUsize::get);
        Verification {
            package: output.to_owned(),
            against: Against::Package {
                package: self.package.clone(),
            },
            request,
            drift: Looking::default(),
        }
    }

    fn print(
        &self,
        report: &Report,
        written: Option<&Written>,
        verification: Option<&VerifyReport>,
    ) -> std::io::Result<()> {
        let exit = match verification {
            Some(verification) if !verification.verdict.passed => Exit::Gate,
            _ => Exit::Done,
        };
        if self.json {
            return output::json(&Document {
                written,
                plan: self.plan,
                report,
                verification,
                exit_code: exit.code(),
            });
        }
        output::text(|out| {
            write!(out, "{}", Table(report))?;
            match written {
                Some(written) => writeln!(
                    out,
                    "\n{}\n  size     {}\n  digest   {}",
                    written.package,
                    output::bytes(written.bytes),
                    written.digest
                ),
                None => writeln!(out, "\nnothing was written"),
            }?;
            match verification {
                Some(verification) => write!(out, "\n{verification}"),
                None => Ok(()),
            }
        })
    }
}

#[derive(Serialize)]
struct Written {
    package: String,
    digest: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    written: Option<&'a Written>,
    plan: bool,
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<&'a VerifyReport>,
    exit_code: u8,
}

/// A report as text: a line per weight that changed or has something to say, small ones counted.
pub(super) struct Table<'a>(pub(super) &'a Report);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let small = |weight: &&WeightReport| !weight.changed && weight.bytes_before < 1 << 16;
        let shown: Vec<&WeightReport> = report.weights.iter().filter(|weight| !small(weight)).collect();
        let name_width = shown
            .iter()
            .map(|weight| weight.name.len())
            .max()
            .unwrap_or(6)
            .clamp(6, 60);
        let scheme_width = shown
            .iter()
            .map(|weight| weight.after.len())
            .max()
            .unwrap_or(6)
            .max(6);
        writeln!(
            f,
            "{:name_width$}  {:scheme_width$}  {:>10}  {:>10}  {:>8}  {:>9}",
            "weight", "scheme", "before", "after", "SQNR dB", "max error"
        )?;
        for weight in shown {
            write!(
                f,
                "{:name_width$}  {:scheme_width$}  {:>10}  {:>10}  {:>8}  {:>9}",
                weight.name,
                weight.after,
                output::bytes(weight.bytes_before),
                output::bytes(weight.bytes_after),
                decibels(weight.sqnr_db, weight.max_error),
                weight
                    .max_error
                    .map_or_else(|| "-".into(), |error| format!("{error:.2e}")),
            )?;
            match &weight.note {
                Some(note) => writeln!(f, "  {note}")?,
                None => writeln!(f)?,
            }
        }
        let left = report.weights.iter().filter(small).count();
        if left > 0 {
            writeln!(f, "{left} small ones stay as they are")?;
        }
        let totals = report.totals;
        let share = totals.bytes_after as f64 / totals.bytes_before.max(1) as f64 * 100.0;
        writeln!(
            f,
            "{} of {} weights, {} → {} ({share:.1} %), SQNR {}",
            totals.changed,
            totals.weights,
            output::bytes(totals.bytes_before),
            output::bytes(totals.bytes_after),
            decibels(totals.sqnr_db, totals.max_error),
        )
    }
}

fn decibels(sqnr: Option<f64>, error: Option<f32>) -> String {
    match (sqnr, error) {
        (Some(sqnr), _) => format!("{sqnr:.1}"),
        (None, Some(0.0)) => "lossless".into(),
        _ => "-".into(),
    }
}
