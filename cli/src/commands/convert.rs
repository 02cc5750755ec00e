//! `corer convert`: a checkpoint in, a package out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anstyle::AnsiColor;
use corer_converter::shapes::Sizes;
use corer_converter::{
    AttentionForm, Buckets, Conversion, ConvertError, InputSpec, Layout, Pattern, Precision, Request, Task,
};
use corer_mil::{DataType, Target, WeightError};
use corer_proto::{WriteOptions, Written};
use corer_verifier::VerifyReport;
use serde::Serialize;

use super::mixed::{Mixed, Placement};
use super::reference::{Against, ENGINES, Engine};
use super::{calibration, package_output, quantize, reports, verify};
use crate::arguments::one_of;
use crate::exit_codes::{self, Exit};
use crate::failure::{Failure, bold};
use crate::messages::Messages;
use crate::output;
use crate::progress::Bars;

/// Convert a BERT checkpoint, trace or export to a Core ML package
///
/// Reads a Hugging Face or sentence-transformers directory (config.json with model.safetensors, sharded or not, or
/// pytorch_model.bin), or a model saved by torch.jit.save or torch.export.save, and writes an ML Program package. The
/// package appears whole or not at all.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{}", exit_codes::HELP))]
pub(crate) struct Arguments {
    /// Checkpoint directory, traced model (.pt) or exported model (.pt2)
    source: PathBuf,

    /// Where the package goes; must end in .mlpackage
    #[arg(short, long, value_name = "OUT.mlpackage")]
    output: PathBuf,

    /// Replace a package that stands there
    #[arg(long)]
    force: bool,

    /// What the model is for
    #[arg(long, default_value = "auto", value_parser = one_of(TASKS), help_heading = MODEL)]
    task: Task,

    /// Tokens per input: one length, several (32,64,128), or a range (1..512, both ends included) [default: 128, or
    /// those an exported model was exported with]
    #[arg(long, value_name = "SIZES", help_heading = MODEL)]
    sequence_length: Option<Sizes>,

    /// Inputs per prediction: one number, several, or a range [default: 1, or those an exported model was exported
    /// with]
    #[arg(long, value_name = "SIZES", help_heading = MODEL)]
    batch_size: Option<Sizes>,

    /// How several sizes are given
    #[arg(long, default_value = "auto", value_parser = one_of(BUCKETS), help_heading = MODEL)]
    buckets: Buckets,

    /// Return label and probabilities instead of logits (sequence classification with id2label)
    #[arg(long, help_heading = MODEL)]
    classifier: bool,

    /// Leave the token_type_ids input out; they are then all zero
    #[arg(long, help_heading = MODEL)]
    no_token_types: bool,

    /// An input of a trace that is not (batch, tokens) integers: its element type and sizes, B for the batch and S for
    /// the tokens
    #[arg(long = "input", value_name = "NAME=DTYPE:SIZES", help_heading = MODEL)]
    inputs: Vec<InputSpec>,

    /// Names of a trace's outputs, in order [default: what it names them, or what its task does]
    #[arg(long = "output-name", value_name = "NAME", help_heading = MODEL)]
    output_names: Vec<String>,

    /// Oldest system that must run the package
    #[arg(long, default_value = "ios16", value_parser = one_of(TARGETS), help_heading = PROGRAM)]
    target: Target,

    /// How activations lie in memory
    #[arg(long, default_value = "ane", value_parser = one_of(LAYOUTS), help_heading = PROGRAM)]
    layout: Layout,

    /// How the ane layout writes attention
    #[arg(long, default_value = "auto", value_parser = one_of(ATTENTIONS), help_heading = PROGRAM)]
    attention: AttentionForm,

    /// Precision of weights and arithmetic
    #[arg(long, default_value = "fp16", value_parser = one_of(PRECISIONS), help_heading = PROGRAM)]
    precision: Choice,

    /// Texts to find the operations for `--precision mixed` on, one per line, a tab before a second sentence
    /// [default: forty of corer's own]
    #[arg(long = "texts", value_name = "FILE", help_heading = PROGRAM)]
    measured_texts: Option<PathBuf>,

    /// Keep operations in f32 in an fp16 package: names as `corer inspect` lists them or module paths, `*` for
    /// anything; repeatable
    #[arg(long = "keep-f32", value_name = "PATTERN", value_parser = pattern, help_heading = PROGRAM)]
    keep_f32: Vec<Pattern>,

    /// Element type of the outputs [default: the precision]
    #[arg(long, value_name = "DTYPE", value_parser = one_of(OUTPUT_DTYPES), help_heading = PROGRAM)]
    output_dtype: Option<DataType>,

    /// Clamp weights beyond the fp16 range instead of refusing them
    #[arg(long, help_heading = PROGRAM)]
    saturate: bool,

    #[command(flatten)]
    weights: quantize::Schemes,

    #[command(flatten)]
    texts: calibration::Texts,

    /// Verify the written package against the source; exit 4 when it is below the default thresholds
    #[arg(long)]
    verify: bool,

    /// What computes the reference for --verify
    #[arg(long, default_value = "auto", value_parser = one_of(ENGINES), requires = "verify")]
    reference_engine: Engine,

    #[arg(long, value_name = "DIR", requires = "verify", help = reports::HELP)]
    report: Option<PathBuf>,

    /// Say what each pass found, and what was left as the source spells it
    #[arg(long)]
    explain_passes: bool,

    /// Threads to write with; the result is the same [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const MODEL: &str = "Model";
const PROGRAM: &str = "Program";

const TASKS: &[(Task, &str, &str)] = &[
    (
        Task::Auto,
        "auto",
        "What config.json or modules.json says, or a trace's class",
    ),
    (
        Task::FeatureExtraction,
        "feature-extraction",
        "last_hidden_state and, with a pooler, pooler_output",
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
        "start_logits and end_logits",
    ),
    (
        Task::FillMask,
        "fill-mask",
        "logits over the vocabulary per token",
    ),
    (
        Task::SentenceEmbedding,
        "sentence-embedding",
        "sentence_embedding, pooled as modules.json says",
    ),
    (
        Task::Custom,
        "custom",
        "The outputs a trace or export has of its own",
    ),
];

/// Those a checkpoint can have: all but custom, the last.
pub(super) const CHECKPOINT_TASKS: &[(Task, &str, &str)] = match TASKS.split_last() {
    Some((_, of_checkpoints)) => of_checkpoints,
    None => TASKS,
};

const BUCKETS: &[(Buckets, &str, &str)] = &[
    (
        Buckets::Auto,
        "auto",
        "functions from ios18 on, enumerated shapes before",
    ),
    (
        Buckets::Functions,
        "functions",
        "A function of fixed shape for each, over one copy of the weights",
    ),
    (
        Buckets::Enumerated,
        "enumerated",
        "One function that takes any of them",
    ),
];

const TARGETS: &[(Target, &str, &str)] = &[
    (Target::Ios16, "ios16", "iOS 16, macOS 13"),
    (Target::Ios17, "ios17", "iOS 17, macOS 14"),
    (Target::Ios18, "ios18", "iOS 18, macOS 15"),
    (Target::Ios26, "ios26", "iOS 26, macOS 26"),
];

const LAYOUTS: &[(Layout, &str, &str)] = &[
    (
        Layout::Ane,
        "ane",
        "(B, C, 1, S) and 1×1 convolutions, for the Neural Engine",
    ),
    (
        Layout::Standard,
        "standard",
        "(B, S, C), linear and matmul, as coremltools writes it",
    ),
];

const ATTENTIONS: &[(AttentionForm, &str, &str)] = &[
    (
        AttentionForm::Auto,
        "auto",
        "packed while the scores of all heads are small enough, else split",
    ),
    (AttentionForm::Packed, "packed", "All heads in one einsum"),
    (AttentionForm::Split, "split", "One einsum per head"),
];

/// A precision, or what comes of measuring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    One(Precision),
    Mixed,
}

const PRECISIONS: &[(Choice, &str, &str)] = &[
    (Choice::One(Precision::Fp16), "fp16", "Half precision throughout"),
    (
        Choice::Mixed,
        "mixed",
        "fp16, but f32 where the source's texts need it to stay within limits and thresholds",
    ),
    (
        Choice::One(Precision::Fp32),
        "fp32",
        "Single precision; never runs on the Neural Engine",
    ),
];

const OUTPUT_DTYPES: &[(DataType, &str, &str)] = &[
    (DataType::Fp16, "fp16", "Half precision"),
    (DataType::Fp32, "fp32", "Single precision"),
];

const AFTER_HELP: &str = "\
Examples:
  corer convert all-MiniLM-L6-v2 -o MiniLM.mlpackage --verify
  corer convert bert-base-uncased -o Bert.mlpackage --task fill-mask --sequence-length 256
  corer convert all-MiniLM-L6-v2 -o MiniLM.mlpackage --sequence-length 32,64,128,256 --target ios18
  corer convert sst2 -o Sst2.mlpackage --classifier --target ios17
  corer convert traced.pt -o Traced.mlpackage --input extra=float32:B,4 --explain-passes
  corer convert traced.pt -o Traced.mlpackage --verify --reference-engine libtorch
  corer convert all-MiniLM-L6-v2 -o MiniLM-int8.mlpackage --weights int8
  corer convert bert-base-uncased -o Bert.mlpackage --layout standard --precision fp32 --json";

/// Converts, writes and says what was written.
///
/// # Errors
/// When the output is in the way, the source can't be converted, or the package can't be written.
pub(crate) fn run(arguments: &Arguments, quiet: bool) -> Result<Exit, Failure> {
    package_output::check(&arguments.output, arguments.force)?;
    arguments.texts.refuse_idle_tokenizer("--calibrate")?;
    let against = arguments.against()?;
    let mut request = arguments.request();
    let mixed = arguments.mixed(&request, quiet)?;
    if let Some(mixed) = &mixed {
        request.keep_f32.extend(mixed.patterns());
    }
    let mut conversion =
        corer_converter::convert(&request).map_err(|error| conversion_failure(error, arguments.task))?;
    let messages = Messages::new(quiet);
    for note in &conversion.notes {
        messages.note(note)?;
    }
    if !conversion.unused.is_empty() {
        messages.note(&unused(&conversion.unused))?;
    }
    let threads = arguments.threads.map(NonZeroUsize::get);
    let directory = package_output::directory(&arguments.output);
    let compression = match arguments.weights.config()? {
        Some(config) => {
            let model = &mut conversion.model;
            let source = Some(arguments.source.as_path());
            let texts = arguments.texts.rows(&model.program, source)?;
            let how = quantize::How {
                config: &config,
                target: None,
                texts: texts.as_ref(),
                scratch: directory,
                threads,
            };
            let report = quantize::compress(model, &how, quiet)
                .map_err(|error| quantize::failure(error, Exit::Source))?;
            quantize::tell(&report, &messages)?;
            Some(report)
        }
        None => None,
    };
    let (written, source_digest) = write(arguments, &conversion, quiet)?;
    let verification = match (arguments.verify, against) {
        (false, _) => None,
        (true, against) => {
            let (package, source) = (&arguments.output, &arguments.source);
            let verification = match against {
                Some(against) => {
                    let beside = source.parent().unwrap_or(Path::new(""));
                    verify::with_usual_inputs(package, against, beside)
                }
                None => {
                    verify::after_conversion(package, source, conversion.task, arguments.reference_engine)
                }
            };
            let hint = "the package was written; only its verification did not come to a verdict";
            let mut report = verify::verify(&verification, quiet).map_err(|failure| failure.hint(hint))?;
            if let Some(directory) = &arguments.report {
                reports::sign(&mut report)?;
                reports::write(directory, &report)?;
            }
            Some(report)
        }
    };
    let failure = verification
        .as_ref()
        .filter(|report| !report.verdict.passed)
        .map(verify::below);
    let report = Report {
        package: arguments.output.display().to_string(),
        digest: &written.digest,
        bytes: written.bytes,
        weight_bytes: written.weight_bytes,
        weights_stored: written.weights_stored,
        weights_shared: written.weights_shared,
        task: conversion.task.name(),
        source: arguments.source.display().to_string(),
        source_digest: &source_digest,
        unused_tensors: &conversion.unused,
        notes: &conversion.notes,
        passes: conversion
            .passes
            .iter()
            .map(|pass| Pass {
                name: pass.name,
                rewrites: pass.rewrites,
            })
            .collect(),
        left_plain: conversion
            .left_plain
            .iter()
            .map(|left| Left {
                op: &left.op,
                count: left.count,
                scopes: &left.scopes,
            })
            .collect(),
        explain: arguments.explain_passes,
        compression: compression.as_ref(),
        mixed: mixed.as_ref(),
        kept_f32: &conversion.kept_f32,
        placement: (!conversion.kept_f32.is_empty()).then(|| Placement::of(&conversion)),
        verification: verification.as_ref(),
        exit_code: failure.as_ref().map_or(Exit::Done, Failure::exit).code(),
    };
    report.print(arguments.json)?;
    match failure {
        Some(failure) => {
            messages.note(&format!("{} stays where it was written", report.package))?;
            Err(failure.already_on_stdout())
        }
        None => Ok(Exit::Done),
    }
}

impl Arguments {
    /// What --verify holds the package against, when that is the module itself; `None` when it is the source as it is read.
    /// Refused before any work.
    fn against(&self) -> Result<Option<Against>, Failure> {
        match self.reference_engine {
            Engine::Auto | Engine::Candle | Engine::Graph => Ok(None),
            engine @ Engine::Libtorch => engine.against(&self.source, None).map(Some),
        }
    }

    /// What has to stay in f32, if that is to be measured.
    fn mixed(&self, request: &Request, quiet: bool) -> Result<Option<Mixed>, Failure> {
        let refuse = |message: &str| Err(Failure::new(Exit::Usage, message));
        if self.precision != Choice::Mixed {
            return match self.measured_texts {
                Some(_) => refuse("--texts is for --precision mixed; `corer verify` takes texts to judge on"),
                None => Ok(None),
            };
        }
        if self.source.is_file() {
            return refuse(
                "--precision mixed measures against a checkpoint; a trace or export is none: name operations with \
                 --keep-f32",
            );
        }
        if self.weights.config()?.is_some() {
            return refuse(
                "--precision mixed is chosen for weights as they are; compress with `corer quantize` afterwards",
            );
        }
        Mixed::choose(request, &self.output, self.measured_texts.as_deref(), quiet).map(Some)
    }

    fn request(&self) -> Request {
        Request {
            source: self.source.clone(),
            task: self.task,
            sequence_length: self.sequence_length.clone(),
            batch_size: self.batch_size.clone(),
            buckets: self.buckets,
            target: self.target,
            layout: self.layout,
            attention: self.attention,
            precision: match self.precision {
                Choice::One(precision) => precision,
                Choice::Mixed => Precision::Fp16,
            },
            keep_f32: self.keep_f32.clone(),
            output_dtype: self.output_dtype,
            saturate: self.saturate,
            classifier: self.classifier,
            token_types: !self.no_token_types,
            inputs: self.inputs.clone(),
            output_names: self.output_names.clone(),
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    match text.trim_matches('*').is_empty() && text != "*" {
        true => Err("must name operations".to_owned()),
        false => Ok(Pattern::new(text)),
    }
}

/// The failure a package that could not be written from a source stands for.
pub(super) fn write_failure(error: corer_proto::WriteError) -> Failure {
    package_output::failure(error, Exit::Source)
}

/// The failure that a conversion's error stands for.
pub(super) fn conversion_failure(error: ConvertError, task: Task) -> Failure {
    let exit = match &error {
        ConvertError::Request { .. } => Exit::Usage,
        ConvertError::Graph { .. } | ConvertError::Lowering { .. } | ConvertError::Build(_) => {
            Exit::Unexpected
        }
        _ => Exit::Source,
    };
    let head_missing = task != Task::Auto && matches!(error, ConvertError::Tensors(_));
    let failure = Failure::new(exit, error);
    if head_missing {
        failure.hint("`--task auto` takes the head that the checkpoint has")
    } else {
        failure
    }
}

/// Writes the package, the source being hashed meanwhile; gives the source's digest too.
fn write(arguments: &Arguments, conversion: &Conversion, quiet: bool) -> Result<(Written, String), Failure> {
    package_output::clean_up_when_interrupted(&arguments.output);
    let bars = Bars::new(quiet);
    let hashing = conversion
        .source
        .spawn_digest(|_| {})
        .map_err(|error| Failure::new(Exit::Source, error))?;
    let hashing = RefCell::new(Some(hashing));
    let digest = RefCell::new(String::new());
    let late = || {
        if let Some(hashing) = hashing.take() {
            let found = hashing.join().map_err(|error| WeightError {
                place: arguments.source.display().to_string(),
                reason: error.to_string(),
            })?;
            digest.replace(found.summary());
        }
        let key = corer_converter::SOURCE_DIGEST_KEY.to_owned();
        Ok(BTreeMap::from([(key, digest.borrow().clone())]))
    };
    let options = WriteOptions {
        overwrite: arguments.force,
        threads: arguments.threads.map(NonZeroUsize::get),
        progress: &bars,
        late_metadata: Some(&late),
        ..WriteOptions::default()
    };
    let written =
        corer_proto::write(&arguments.output, &conversion.model, &options).map_err(write_failure)?;
    Ok((written, digest.take()))
}

/// Most tensor names one note spells out.
const MOST_NAMES: usize = 6;

/// A note on tensors nobody needs.
pub(super) fn unused(names: &[String]) -> String {
    let listed = names
        .iter()
        .take(MOST_NAMES)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let more = if names.len() > MOST_NAMES { ", …" } else { "" };
    let (count, are) = (
        names.len(),
        if names.len() == 1 {
            "tensor is"
        } else {
            "tensors are"
        },
    );
    format!("{count} {are} in the checkpoint that this task does not use: {listed}{more}")
}

/// What was converted.
#[derive(Serialize)]
struct Report<'a> {
    package: String,
    digest: &'a str,
    bytes: u64,
    weight_bytes: u64,
    weights_stored: u64,
    weights_shared: u64,
    task: &'static str,
    source: String,
    source_digest: &'a str,
    unused_tensors: &'a [String],
    notes: &'a [String],
    /// What each pass rewrote.
    passes: Vec<Pass>,
    /// What none of them lifted.
    left_plain: Vec<Left<'a>>,
    #[serde(skip)]
    explain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<&'a corer_quantizer::Report>,
    /// What was chosen to stay in f32, with reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed: Option<&'a Mixed>,
    /// All that stays in f32.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    kept_f32: &'a [String],
    /// What that costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<Placement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification: Option<&'a VerifyReport>,
    exit_code: u8,
}

/// A pass and how many places it rewrote.
#[derive(Serialize)]
struct Pass {
    name: &'static str,
    rewrites: usize,
}

/// An operation written as the source spells it.
#[derive(Serialize)]
struct Left<'a> {
    op: &'a str,
    count: usize,
    scopes: &'a [String],
}

impl Report<'_> {
    /// What the passes did, for `--explain-passes`.
    fn passes(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        writeln!(out, "  passes")?;
        for pass in &self.passes {
            writeln!(out, "    {:>5}  {}", pass.rewrites, pass.name)?;
        }
        if self.left_plain.is_empty() {
            return writeln!(out, "  everything is lifted");
        }
        writeln!(out, "  left as the source spells it")?;
        for left in &self.left_plain {
            let more = if left.scopes.len() < left.count {
                ", …"
            } else {
                ""
            };
            writeln!(
                out,
                "    {:>5}  {} in {}{more}",
                left.count,
                left.op,
                left.scopes.join(", ")
            )?;
        }
        Ok(())
    }

    /// What stays in f32, why, and what it costs.
    fn precision(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        if let Some(mixed) = self.mixed {
            writeln!(
                out,
                "  mixed    {} operations need f32, found on {} rows",
                mixed.kept.len(),
                mixed.rows
            )?;
            for kept in &mixed.kept {
                writeln!(out, "    {}: {}", kept.operation, kept.reason)?;
            }
        }
        let Some(placement) = self.placement else {
            return Ok(());
        };
        if self.mixed.is_none() {
            writeln!(out, "  in f32   {}", self.kept_f32.join(", "))?;
        }
        writeln!(
            out,
            "  costs    {} operations off the Neural Engine (rule D1) in {} stretches, each two changes of engine \
             (rules P2, P9: 0.25 ms where that was measured, on M4), {} casts",
            placement.off_engine, placement.stretches, placement.casts
        )
    }

    fn print(&self, json: bool) -> std::io::Result<()> {
        if json {
            return output::json(self);
        }
        output::text(|out| {
            let head = bold(AnsiColor::Green);
            writeln!(out, "{head}{}{head:#}", self.package)?;
            writeln!(out, "  task     {}", self.task)?;
            writeln!(
                out,
                "  size     {}, {} weights",
                output::bytes(self.bytes),
                self.weights_stored
            )?;
            writeln!(out, "  digest   {}", self.digest)?;
            writeln!(out, "  source   {}", self.source_digest)?;
            if self.explain {
                self.passes(out)?;
            }
            self.precision(out)?;
            if let Some(report) = self.compression {
                write!(out, "\n{}", quantize::Table(report))?;
            }
            match self.verification {
                Some(report) => write!(out, "\n{report}"),
                None => Ok(()),
            }
        })
    }
}
