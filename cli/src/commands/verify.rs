//! `corer verify`: a package, as it stands on disk, against what it was made from.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use corer_proto::Package;
use corer_verifier::{
    AneRules, Arithmetic, Drift, Drops, InputError, Inputs, Labels, Numerics, Progress as _, Task,
    ThresholdOverrides, VerifyError, VerifyReport, VerifyRequest,
};
use serde::Serialize;

use super::gate::{self, Asked, Limits};
use super::reference::{Against, ENGINES, Engine};
use super::reports;
use crate::arguments::one_of;
use crate::exit_codes::{self, Exit};
use crate::failure::Failure;
use crate::output;
use crate::progress::{self, Bars};

/// Verify a package against its source
///
/// Executes the package on this CPU, as it stands on disk and in the precision it declares, computes the same inputs
/// with a reference that shares no code with passes, lowering and runtime, and compares. Every function and every size the package
/// takes is judged, a range at its ends, its default and one size in between. Exits with 4 when any of them is below a
/// threshold.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}", exit_codes::HELP))]
pub(crate) struct Arguments {
    /// The .mlpackage directory
    package: PathBuf,

    #[command(flatten)]
    reference: ReferenceArguments,

    /// The head to compute [default: what the package was converted for, else what the source says]
    #[arg(long, value_parser = one_of(TASKS), conflicts_with = "golden", help_heading = REFERENCE)]
    task: Option<Task>,

    /// What computes the reference
    #[arg(long, default_value = "auto", value_parser = one_of(ENGINES), conflicts_with = "golden", help_heading = REFERENCE)]
    reference_engine: Engine,

    /// Pair an output of the package with one of the reference when their names don't say it; repeatable
    #[arg(long = "output", value_name = "PACKAGE=REFERENCE", value_parser = pair, help_heading = REFERENCE)]
    outputs: Vec<(String, String)>,

    /// Texts to compare on, one per line, a tab before a second sentence [default: forty of corer's own]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["golden", "tokens", "random_tokens"], help_heading = INPUTS)]
    texts: Option<PathBuf>,

    /// Known answers, one per text: classes by name or number, numbers for a single score, or for embeddings the
    /// similarity of the first text and the second, the third and the fourth, ...
    #[arg(long, value_name = "FILE", requires = "texts", help_heading = INPUTS)]
    labels: Option<PathBuf>,

    /// The tokenizer.json for the texts [default: the checkpoint's]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["golden", "tokens", "random_tokens"], help_heading = INPUTS)]
    tokenizer: Option<PathBuf>,

    /// Token ids to compare on, one row per line: ids between spaces, a JSON list of them, or a JSON object with
    /// input_ids and, if wanted, attention_mask, token_type_ids and text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["golden", "random_tokens"], help_heading = INPUTS)]
    tokens: Option<PathBuf>,

    /// Compare on N rows of random token ids of every length instead of texts
    #[arg(long, value_name = "N", conflicts_with = "golden", help_heading = INPUTS)]
    random_tokens: Option<NonZeroUsize>,

    /// Seed of the random token ids
    #[arg(long, value_name = "N", default_value = "0", requires = "random_tokens", help_heading = INPUTS)]
    seed: u64,

    /// The function to judge [default: every one the package describes]
    #[arg(long, value_name = "NAME", help_heading = EXECUTION)]
    function: Option<String>,

    /// Arithmetic to execute and judge in
    #[arg(long, default_value = "as-written", value_parser = one_of(MODES), help_heading = EXECUTION)]
    arithmetic: Mode,

    #[command(flatten)]
    numerics: NumericsArguments,

    /// Threads to execute with [default: all cores]
    #[arg(long, value_name = "N", help_heading = EXECUTION)]
    threads: Option<NonZeroUsize>,

    #[command(flatten)]
    drift: DriftArguments,

    #[command(flatten)]
    thresholds: ThresholdArguments,

    #[command(flatten)]
    gate: GateArguments,

    #[arg(long, value_name = "DIR", help = reports::HELP)]
    report: Option<PathBuf>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct ReferenceArguments {
    /// What the package was made from, computed in f32: a checkpoint directory, a traced (.pt) or exported (.pt2) model;
    /// or another package, executed as written
    #[arg(long, value_name = "SOURCE", help_heading = REFERENCE)]
    reference: Option<PathBuf>,

    /// Inputs and outputs recorded from PyTorch, a safetensors file
    #[arg(long, value_name = "FILE", help_heading = REFERENCE)]
    golden: Option<PathBuf>,
}

/// What replaces the thresholds that go with the package's precision.
#[derive(clap::Args)]
struct ThresholdArguments {
    /// Lowest PSNR of an output [default: fp32 100, fp16 65, compressed 30]
    #[arg(long, value_name = "DB", help_heading = THRESHOLDS)]
    min_psnr: Option<f64>,

    /// Lowest cosine of a token, row or sentence [default: fp32 0.999999, fp16 0.9999, compressed 0.98]
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    min_cosine: Option<f64>,

    /// Largest absolute error [default: none]
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    max_abs: Option<f32>,

    /// Lowest share of equal decisions, near ties aside, 0 to 1 [default: fp32 0.999, fp16 0.99, compressed 0.95]
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    min_top1: Option<f64>,

    /// Lowest share of equal nearest neighbours, 0 to 1 [default: fp32 0.99, fp16 0.95, compressed 0.8]
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    min_overlap: Option<f64>,

    /// Most that outputs may change when ids under the padding do [default: 0]
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    max_padding_change: Option<f32>,

    /// Accept NaN and infinities where the mask is all zero
    #[arg(long, help_heading = THRESHOLDS)]
    allow_nonfinite_without_tokens: bool,
}

/// Limits from a file, and being no worse than before.
#[derive(clap::Args)]
struct GateArguments {
    /// Take limits from the [gate] table of a TOML file, such as a release's manifest; flags come before it. Its
    /// [gate.warn] only warns
    #[arg(long, value_name = "FILE", help_heading = THRESHOLDS)]
    gate: Option<PathBuf>,

    /// Take those of [gate.NAME] in the file first
    #[arg(long, value_name = "NAME", requires = "gate", help_heading = THRESHOLDS)]
    variant: Option<String>,

    /// An earlier report.json the package must not be worse than by more than:
    #[arg(long, value_name = "REPORT", help_heading = THRESHOLDS)]
    baseline: Option<PathBuf>,

    /// Most PSNR an output may lose against the earlier report
    #[arg(long, value_name = "DB", help_heading = THRESHOLDS)]
    max_psnr_drop: Option<f64>,

    /// Most its lowest cosine may lose
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    max_cosine_drop: Option<f64>,

    /// Most its share of equal decisions may lose
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    max_top1_drop: Option<f64>,

    /// Most its share of equal nearest neighbours may lose
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    max_overlap_drop: Option<f64>,

    /// Most its largest absolute error may grow
    #[arg(long, value_name = "X", help_heading = THRESHOLDS)]
    max_abs_growth: Option<f64>,
}

impl GateArguments {
    /// What is asked: flags, then the file.
    fn asked(&self, figures: ThresholdOverrides) -> Result<Asked, Failure> {
        let flags = Limits {
            figures,
            drops: Drops {
                psnr: self.max_psnr_drop,
                cosine: self.max_cosine_drop,
                top1: self.max_top1_drop,
                neighbour_overlap: self.max_overlap_drop,
                max_abs: self.max_abs_growth,
            },
        };
        let mut asked = match &self.gate {
            Some(file) => Asked::read(file, self.variant.as_deref())?,
            None => Asked::default(),
        };
        asked.fail = flags.or(asked.fail);
        asked.baseline = self.baseline.clone().or(asked.baseline);
        match (&asked.baseline, asked.compares()) {
            (None, true) => {
                let message = "a limit against an earlier report, and no report";
                Err(Failure::new(Exit::Usage, message).hint("name it with --baseline"))
            }
            (Some(report), false) => {
                let message = format!("{}: an earlier report, and no limit against it", report.display());
                Err(Failure::new(Exit::Usage, message).hint("say by how much, such as --max-psnr-drop 1"))
            }
            _ => Ok(asked),
        }
    }
}

/// What is looked at beside the verdict.
#[derive(clap::Args)]
struct NumericsArguments {
    /// Arithmetics to report beside the judged one: f32, as-written, ane; and headroom, how near values come to a
    /// limit. No part of the verdict
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "ane,headroom",
        value_parser = one_of(LOOKS),
        hide_possible_values = true,
        help_heading = NUMERICS
    )]
    numerics: Vec<Look>,

    /// Rules of the arithmetic `ane`: all, default, none, names or ids, each with + or - [default: all but contested
    /// ones]
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, help_heading = NUMERICS)]
    ane_rules: Option<AneRules>,

    /// Look at the first N rows
    #[arg(long, value_name = "N", default_value_t = Numerics::ROWS, help_heading = NUMERICS)]
    numerics_rows: usize,

    /// Leave numerics out
    #[arg(long, help_heading = NUMERICS)]
    fast: bool,
}

/// Where the values inside the package depart from the reference's.
#[derive(clap::Args)]
struct DriftArguments {
    /// Hold the values inside the package against the reference's, block by block and operation by operation; done
    /// whenever the package is below a threshold. No part of the verdict
    #[arg(long, help_heading = DRIFT)]
    drift: bool,

    /// As --drift, and name the first operation whose own signal to loss is below DB [default: fp32 70, fp16 35,
    /// compressed 10]
    #[arg(long, value_name = "DB", num_args = 0..=1, help_heading = DRIFT)]
    bisect: Option<Option<f64>>,

    /// Look at the first N rows
    #[arg(long, value_name = "N", default_value_t = Drift::ROWS, help_heading = DRIFT)]
    drift_rows: usize,

    /// Leave drift out, whatever the verdict
    #[arg(long, conflicts_with_all = ["drift", "bisect"], help_heading = DRIFT)]
    no_drift: bool,
}

impl DriftArguments {
    fn wanted(&self) -> Looking {
        let look = Drift {
            rows: self.drift_rows,
            threshold: self.bisect.flatten(),
            bucket: None,
        };
        match self {
            Self { no_drift: true, .. } => Looking::Never,
            Self { drift: true, .. } | Self { bisect: Some(_), .. } => Looking::Always(look),
            _ => Looking::WhenBelow(look),
        }
    }
}

/// When a package is looked into.
#[derive(Clone, Debug)]
pub(super) enum Looking {
    Never,
    /// When it is below a threshold.
    WhenBelow(Drift),
    Always(Drift),
}

impl Default for Looking {
    fn default() -> Self {
        Self::WhenBelow(Drift::default())
    }
}

impl NumericsArguments {
    fn arithmetic(&self, mode: Mode) -> Arithmetic {
        match mode {
            Mode::F32 => Arithmetic::F32,
            Mode::AsWritten => Arithmetic::AsWritten,
            Mode::Ane => Arithmetic::Ane(self.ane_rules.unwrap_or_default()),
        }
    }

    fn wanted(&self, judged: Mode) -> Numerics {
        if self.fast {
            return Numerics::none();
        }
        let mut wanted = Numerics {
            rows: self.numerics_rows,
            ..Numerics::none()
        };
        for look in &self.numerics {
            match look {
                Look::Headroom => wanted.headroom = true,
                Look::Mode(mode) if *mode == judged => {}
                Look::Mode(mode) => {
                    let arithmetic = self.arithmetic(*mode);
                    if !wanted.modes.contains(&arithmetic) {
                        wanted.modes.push(arithmetic);
                    }
                }
            }
        }
        wanted
    }
}

/// An arithmetic by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    F32,
    AsWritten,
    Ane,
}

/// What `--numerics` names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Mode(Mode),
    Headroom,
}

const REFERENCE: &str = "Reference";
const INPUTS: &str = "Inputs";
const EXECUTION: &str = "Execution";
const NUMERICS: &str = "Numerics";
const DRIFT: &str = "Drift";
const THRESHOLDS: &str = "Thresholds";

const TASKS: &[(Task, &str, &str)] = &[
    (
        Task::FeatureExtraction,
        "feature-extraction",
        "last_hidden_state, pooler_output",
    ),
    (
        Task::SequenceClassification,
        "sequence-classification",
        "logits per input",
    ),
    (
        Task::TokenClassification,
        "token-classification",
        "logits per token",
    ),
    (
        Task::QuestionAnswering,
        "question-answering",
        "start_logits, end_logits",
    ),
    (
        Task::FillMask,
        "fill-mask",
        "logits over the vocabulary per token",
    ),
    (
        Task::SentenceEmbedding,
        "sentence-embedding",
        "sentence_embedding",
    ),
];

const MODES: &[(Mode, &str, &str)] = &[
    (
        Mode::AsWritten,
        "as-written",
        "Every value rounded to the type the program declares",
    ),
    (Mode::F32, "f32", "Every value in single precision"),
    (
        Mode::Ane,
        "ane",
        "fp16 by published rules of the Neural Engine: a prediction",
    ),
];

const LOOKS: &[(Look, &str, &str)] = &[
    (Look::Mode(Mode::F32), "f32", "Every value in single precision"),
    (Look::Mode(Mode::AsWritten), "as-written", "Rounded as declared"),
    (
        Look::Mode(Mode::Ane),
        "ane",
        "By published rules of the Neural Engine",
    ),
    (Look::Headroom, "headroom", "How near values come to a limit"),
];

const AFTER_HELP: &str = "\
Examples:
  corer verify MiniLM.mlpackage --reference all-MiniLM-L6-v2
  corer verify MiniLM.mlpackage --reference all-MiniLM-L6-v2 --texts sentences.txt --min-psnr 75
  corer verify Bert.mlpackage --reference bert-base-uncased --random-tokens 32 --seed 7
  corer verify Bert.mlpackage --reference bert-base-uncased --tokens ids.jsonl
  corer verify Traced.mlpackage --reference traced.pt --random-tokens 32
  corer verify Bert.mlpackage --golden expected.safetensors --report report --json
  corer verify Traced.mlpackage --reference traced.pt --reference-engine libtorch --random-tokens 32";

/// Verifies and prints the report.
///
/// # Errors
/// When no verdict can be reached, or the package is below a threshold.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    let mut report = verify(&arguments.verification()?, quiet)?;
    let exit = match report.verdict.passed {
        true => Exit::Done,
        false if report.interrupted => Exit::Interrupted,
        false => Exit::Gate,
    };
    if let Some(directory) = &arguments.report {
        reports::sign(&mut report)?;
        reports::write(directory, &report)?;
    }
    if arguments.json {
        output::json(&Document {
            report: &report,
            exit_code: exit.code(),
        })?;
    } else {
        output::text(|out| write!(out, "{report}"))?;
    }
    match exit {
        Exit::Gate => Err(below(&report).already_on_stdout()),
        _ => Ok(exit),
    }
}

/// A package, what it is held against, and how.
#[derive(Debug)]
pub(super) struct Verification {
    pub(super) package: PathBuf,
    pub(super) against: Against,
    pub(super) request: VerifyRequest,
    pub(super) drift: Looking,
}

/// Runs the verification with progress bars.
///
/// # Errors
/// When no verdict can be reached, with the exit code that stands for the reason.
pub(super) fn verify(verification: &Verification, quiet: bool) -> Result<VerifyReport, Failure> {
    let bars = Bars::new(quiet);
    stop_when_interrupted();
    let judge = || -> Result<VerifyReport, VerifyError> {
        bars.start("reading the package", 0);
        let package = Package::open(&verification.package)?;
        bars.finish();
        bars.start("reading the reference", 0);
        let mut reference = verification.against.open(&package)?;
        bars.finish();
        let mut report = corer_verifier::verify(&package, &mut *reference, &verification.request, &bars)?;
        drop(reference);
        look_inside(verification, &package, &mut report, &bars)?;
        Ok(report)
    };
    judge().map_err(verify_failure)
}

/// Adds where the package departs from its reference, when asked for or below a threshold.
///
/// # Errors
/// When it was asked for and can't be had.
fn look_inside(
    verification: &Verification,
    package: &Package,
    report: &mut VerifyReport,
    bars: &Bars,
) -> Result<(), VerifyError> {
    let (look, asked) = match &verification.drift {
        Looking::Always(look) if !report.interrupted => (look.clone(), true),
        Looking::WhenBelow(look) if !report.verdict.passed && !report.interrupted => (look.clone(), false),
        _ => return Ok(()),
    };
    let failed = report.buckets.iter().find(|bucket| !bucket.verdict.passed);
    let look = Drift {
        bucket: failed.map(|bucket| bucket.name.clone()),
        ..look
    };
    let found = verification.against.open_inner(package).and_then(|mut inner| {
        corer_verifier::drift(package, &mut *inner, &verification.request, &look, bars)
    });
    match found {
        Ok(drift) => report.drift = Some(drift),
        Err(error) if asked => return Err(error),
        // A verdict stands without it.
        Err(error) => report.drift_missing = Some(error.to_string()),
    }
    Ok(())
}

/// Has the first interrupt end the comparison early, with a report of what was compared, and the second the process.
fn stop_when_interrupted() {
    // Without a handler an interrupt ends the process at once, and nothing was being written.
    let _ = ctrlc::set_handler(|| {
        if progress::interrupt() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
}

/// The failure a verdict stands for: one line with every reason.
pub(super) fn below(report: &VerifyReport) -> Failure {
    let reasons: Vec<_> = report.verdict.reasons.iter().map(ToString::to_string).collect();
    let message = format!(
        "{} is below its thresholds: {}",
        report.package.path,
        reasons.join("; ")
    );
    Failure::new(Exit::Gate, message)
}

fn verify_failure(error: VerifyError) -> Failure {
    let exit = match &error {
        VerifyError::Reference(_) | VerifyError::Inputs(InputError::Tokenizer { .. }) => Exit::Source,
        VerifyError::Inputs(_) | VerifyError::Pairing { .. } => Exit::Usage,
        _ => Exit::Package,
    };
    Failure::new(exit, error)
}

/// The report with the code the process ends with.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a VerifyReport,
    exit_code: u8,
}

impl Arguments {
    fn verification(&self) -> Result<Verification, Failure> {
        let against = match (&self.reference.reference, &self.reference.golden) {
            (None, Some(file)) => Against::Recording { file: file.clone() },
            // clap sees to it that one of them is there.
            (source, _) => self
                .reference_engine
                .against(&source.clone().unwrap_or_default(), self.task)?,
        };
        let inputs = match (&against, &self.tokens, self.random_tokens) {
            (Against::Recording { .. }, ..) => Inputs::Recorded,
            (_, Some(file), _) => Inputs::TokenFile { file: file.clone() },
            (_, None, Some(rows)) => Inputs::Tokens {
                seed: self.seed,
                rows: rows.get(),
            },
            // A package brings no tokenizer.
            (Against::Package { .. }, None, None) if self.tokenizer.is_none() && self.texts.is_none() => {
                Inputs::Tokens { seed: 0, rows: 32 }
            }
            (_, None, None) => Inputs::Texts {
                file: self.texts.clone(),
                tokenizer: self.tokenizer.clone(),
            },
        };
        let asked = self.gate.asked(self.thresholds.overrides())?;
        let earlier = asked.baseline.as_deref().map(gate::earlier_report).transpose()?;
        let labels = self.labels.as_deref().map(Labels::open).transpose();
        Ok(Verification {
            package: self.package.clone(),
            against,
            drift: self.drift.wanted(),
            request: VerifyRequest {
                function: self.function.clone(),
                arithmetic: self.numerics.arithmetic(self.arithmetic),
                numerics: self.numerics.wanted(self.arithmetic),
                threads: self.threads.map(NonZeroUsize::get),
                pairs: self.outputs.clone(),
                thresholds: asked.fail.figures,
                gate: asked.gate(earlier),
                labels: labels.map_err(|error| verify_failure(error.into()))?,
                ..VerifyRequest::new(inputs)
            },
        })
    }
}

impl ThresholdArguments {
    fn overrides(&self) -> ThresholdOverrides {
        ThresholdOverrides {
            min_psnr: self.min_psnr,
            min_cosine: self.min_cosine,
            max_abs: self.max_abs,
            min_top1: self.min_top1,
            min_neighbour_overlap: self.min_overlap,
            finite_without_tokens: self.allow_nonfinite_without_tokens.then_some(false),
            max_change_under_padding: self.max_padding_change,
        }
    }
}

/// What `convert --verify` asks for: default inputs and thresholds, seeded token ids where texts can't be read.
pub(super) fn after_conversion(
    package: &Path,
    source: &Path,
    task: corer_converter::Task,
    engine: Engine,
) -> Verification {
    let task = Task::ALL
        .into_iter()
        .find(|candidate| candidate.name() == task.name());
    let against = Against::Source {
        source: source.to_owned(),
        task,
        engine,
    };
    let beside = match source.is_file() {
        true => source.parent().unwrap_or(Path::new("")),
        false => source,
    };
    with_usual_inputs(package, against, beside)
}

/// A verification on texts where a tokenizer lies in `beside`, else on seeded token ids.
pub(super) fn with_usual_inputs(package: &Path, against: Against, beside: &Path) -> Verification {
    let inputs = match beside.join("tokenizer.json").is_file() {
        true => Inputs::Texts {
            file: None,
            tokenizer: None,
        },
        false => Inputs::Tokens { seed: 0, rows: 32 },
    };
    Verification {
        package: package.to_owned(),
        against,
        request: VerifyRequest::new(inputs),
        drift: Looking::default(),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((package, reference)) if !package.is_empty() && !reference.is_empty() => {
            Ok((package.to_owned(), reference.to_owned()))
        }
        _ => Err("must be PACKAGE=REFERENCE, two output names".to_owned()),
    }
}
