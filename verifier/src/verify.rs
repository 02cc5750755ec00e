//! One verification from request to report.

use std::collections::BTreeMap;
use std::path::PathBuf;

use corer_proto::Package;
use corer_runtime::Arithmetic;

use crate::buckets::{Bucket, buckets};
use crate::error::{InputError, VerifyError};
use crate::inputs::{InputSet, Inputs, TextTokenizer, seeded};
use crate::interface::{self, ATTENTION_MASK, Form, Produced, Subject, TOKEN_TYPE_IDS};
use crate::metrics::{OutputComparison, OutputKind};
use crate::pairing::{Named, pair};
use crate::probes;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::reference::candle::{CandleReference, Task};
use crate::reference::golden::GoldenReference;
use crate::report::{
    BucketReport, ExecutionReport, InputReport, NotJudged, OutputReport, PackageReport, PairedBy, SCHEMA,
    VerifyReport,
};
use crate::tensor::Tensor;
use crate::verdict::{ThresholdOverrides, Thresholds, Verdict};

/// Rows handled at a time, rounded up to whole executions: a vocabulary head gives 16 MB per row.
const ROWS_AT_A_TIME: usize = 4;

/// What is to be verified, against what, on what, and how strictly.
#[derive(Clone, PartialEq, Debug)]
pub struct VerifyRequest {
    /// A `.mlpackage` directory.
    pub package: PathBuf,
    /// What it is held against.
    pub reference: ReferenceSource,
    /// What both are fed.
    pub inputs: Inputs,
    /// The function to judge; `None` takes all that the package describes.
    pub function: Option<String>,
    /// Arithmetic the package is executed in.
    pub arithmetic: Arithmetic,
    /// Threads the package is executed with; `None` takes all cores.
    pub threads: Option<usize>,
    /// Pairs of (package output, reference output) whose names don't say that they belong together.
    pub pairs: Vec<(String, String)>,
    /// Thresholds that replace the defaults for the package's precision.
    pub thresholds: ThresholdOverrides,
}

/// Where the reference comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReferenceSource {
    /// A Hugging Face or sentence-transformers directory, computed by candle.
    Checkpoint {
        /// The directory.
        directory: PathBuf,
        /// The head to compute; `None` takes it from `modules.json`, else from `config.json`.
        task: Option<Task>,
    },
    /// A recording of PyTorch's outputs.
    Recording {
        /// The safetensors file.
        file: PathBuf,
    },
}

impl VerifyRequest {
    /// The strictest sensible request: the package as written, default inputs and thresholds.
    pub fn new(package: impl Into<PathBuf>, reference: ReferenceSource) -> Self {
        let inputs = match reference {
            ReferenceSource::Checkpoint { .. } => Inputs::Texts {
                file: None,
                tokenizer: None,
            },
            ReferenceSource::Recording { .. } => Inputs::Recorded,
        };
        Self {
            package: package.into(),
            reference,
            inputs,
            function: None,
            arithmetic: Arithmetic::AsWritten,
            threads: None,
            pairs: Vec::new(),
            thresholds: ThresholdOverrides::default(),
        }
    }
}

/// Judges a package as it stands on disk, every function and every size it takes.
///
/// Each bucket is fed all texts, cut to its length, so that every one of them is judged on full rows and on padded
/// ones; a bucket too short for the tokenizer's special tokens is judged on seeded token ids. A recording holds for
/// the length it was made at: the other buckets are listed as not judged.
///
/// # Errors
/// When no verdict can be reached: package, reference or inputs can't be read, or the outputs don't pair up. A package
/// that computes something else is no error but a [`Verdict`] that did not pass.
pub fn verify(request: &VerifyRequest, progress: &dyn Progress) -> Result<VerifyReport, VerifyError> {
    progress.start("reading the package", 0);
    let package = Package::open(&request.package)?;
    progress.finish();
    progress.start("reading the reference", 0);
    let mut source = Source::open(request)?;
    progress.finish();
    let buckets = buckets(&package, request.function.as_deref(), source.length())?;
    let (mut judged, mut not_judged) = (Vec::new(), Vec::new());
    let mut subject: Option<Subject> = None;
    let mut engine = String::new();
    for bucket in &buckets {
        let inputs = match source.inputs(&request.inputs, bucket.length, buckets.len() > 1)? {
            Ok(inputs) => inputs,
            Err(reason) => {
                not_judged.push(NotJudged {
                    name: bucket.name.clone(),
                    reason,
                });
                continue;
            }
        };
        // One function is compiled once, and no two stay in memory.
        let subject = match subject.take() {
            Some(mut same) if same.function == bucket.function => {
                same.resize(bucket)?;
                subject.insert(same)
            }
            _ => {
                let compiled = Subject::compile(&package, bucket, request.arithmetic, request.threads)?;
                subject.insert(compiled)
            }
        };
        engine = subject.engine();
        judged.push(judge(request, bucket, subject, &source, inputs, progress)?);
    }
    if judged.is_empty() {
        let reasons: Vec<_> = not_judged.into_iter().map(|bucket| bucket.reason).collect();
        let reason = match &reasons[..] {
            [only] => only.clone(),
            _ => format!("none of its sizes can be judged: {}", reasons.join("; ")),
        };
        return Err(InputError::Request(reason).into());
    }
    Ok(VerifyReport {
        schema: SCHEMA,
        corer: env!("CARGO_PKG_VERSION"),
        verdict: Verdict::over(&judged),
        package: PackageReport {
            path: interface::shown(&request.package),
            digest: package.digest()?,
            specification_version: package.model.specification_version,
            metadata: package.model.description.metadata.user_defined.clone(),
        },
        reference: source.reference().describe(),
        execution: ExecutionReport {
            engine,
            arithmetic: request.arithmetic.name(),
            host_cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        },
        buckets: judged,
        not_judged,
    })
}

/// Judges one bucket.
fn judge(
    request: &VerifyRequest,
    bucket: &Bucket,
    subject: &Subject,
    source: &Source,
    mut inputs: InputSet,
    progress: &dyn Progress,
) -> Result<BucketReport, VerifyError> {
    let recorded = matches!(source, Source::Recording(_));
    let not_taken = fit(subject, &mut inputs, recorded)?;
    let outputs = compare(subject, source.reference(), &inputs, &request.pairs, progress)?;
    let probes = probes::probe(subject, &inputs)?;
    let thresholds = request
        .thresholds
        .over(Thresholds::for_precision(subject.precision));
    Ok(BucketReport {
        name: bucket.name.clone(),
        function: bucket.function.clone(),
        batch: bucket.batch,
        length: bucket.length,
        default: bucket.default,
        verdict: Verdict::reach(&outputs, &probes, &thresholds),
        precision: subject.precision,
        inputs: describe_inputs(&inputs, not_taken),
        outputs,
        probes,
        thresholds,
    })
}

/// The reference, and where inputs for it come from.
enum Source {
    Checkpoint {
        reference: Box<CandleReference>,
        /// Opened when the first texts are asked for.
        tokenizer: Option<Box<TextTokenizer>>,
    },
    Recording(Box<GoldenReference>),
}

impl Source {
    fn open(request: &VerifyRequest) -> Result<Self, VerifyError> {
        Ok(match &request.reference {
            ReferenceSource::Checkpoint { directory, task } => Self::Checkpoint {
                reference: Box::new(CandleReference::open(directory, *task)?),
                tokenizer: None,
            },
            ReferenceSource::Recording { file } => {
                let recording = GoldenReference::open(file)?;
                if request.inputs != Inputs::Recorded {
                    let reason = "recorded outputs hold for the inputs recorded beside them; leave texts and seeds away";
                    return Err(InputError::Request(reason.into()).into());
                }
                Self::Recording(Box::new(recording))
            }
        })
    }

    fn reference(&self) -> &dyn Reference {
        match self {
            Self::Checkpoint { reference, .. } => &**reference,
            Self::Recording(reference) => &**reference,
        }
    }

    /// The only length it has answers for.
    fn length(&self) -> Option<u64> {
        match self {
            Self::Checkpoint { .. } => None,
            Self::Recording(recording) => u64::try_from(recording.inputs().length).ok(),
        }
    }

    /// Inputs of `length` positions, or why there are none.
    fn inputs(
        &mut self,
        inputs: &Inputs,
        length: usize,
        several: bool,
    ) -> Result<Result<InputSet, String>, InputError> {
        match self {
            Self::Checkpoint { reference, tokenizer } => {
                checkpoint_inputs(reference, tokenizer, inputs, length, several).map(Ok)
            }
            Self::Recording(reference) => Ok(recorded_inputs(reference, length)),
        }
    }
}

/// Rows of token ids for a bucket too short for texts.
const ROWS_WITHOUT_TEXTS: usize = 32;

fn checkpoint_inputs(
    reference: &CandleReference,
    tokenizer: &mut Option<Box<TextTokenizer>>,
    inputs: &Inputs,
    length: usize,
    several: bool,
) -> Result<InputSet, InputError> {
    let tokens = |seed: u64, rows: usize| {
        let (vocabulary, types) = (reference.vocabulary(), reference.token_types());
        seeded(seed, rows.max(1), length, vocabulary, types, reference.pad_id())
    };
    let set = match inputs {
        Inputs::Texts {
            file,
            tokenizer: given,
        } => {
            let tokenizer = match tokenizer {
                Some(open) => open,
                none => {
                    let path = given.clone().unwrap_or_else(|| reference.tokenizer());
                    none.insert(Box::new(TextTokenizer::open(&path, reference.pad_id())?))
                }
            };
            if several && length < tokenizer.shortest() {
                let mut set = tokens(0, ROWS_WITHOUT_TEXTS);
                set.origin.push_str(", being too short for texts");
                set
            } else {
                tokenizer.rows(file.as_deref(), length)?
            }
        }
        Inputs::Tokens { seed, rows } => tokens(*seed, *rows),
        Inputs::Recorded => {
            let reason = "a checkpoint has no recorded inputs; give texts, or ask for seeded token ids";
            return Err(InputError::Request(reason.into()));
        }
    };
    let beyond = |values: &[i32], bound: usize| {
        values
            .iter()
            .copied()
            .find(|value| usize::try_from(*value).is_ok_and(|value| value >= bound))
    };
    for (index, row) in set.rows.iter().enumerate() {
        let what = [
            (
                "token id",
                beyond(&row.input_ids, reference.vocabulary()),
                reference.vocabulary(),
            ),
            (
                "token type",
                beyond(&row.token_type_ids, reference.token_types()),
                reference.token_types(),
            ),
        ];
        if let Some((what, Some(value), bound)) = what.into_iter().find(|(_, value, _)| value.is_some()) {
            return Err(InputError::Request(format!(
                "input {index} has {what} {value}, but the checkpoint knows {bound}: the tokenizer belongs to another model"
            )));
        }
    }
    Ok(set)
}

/// The recorded inputs, or why they are not for this length.
fn recorded_inputs(reference: &GoldenReference, length: usize) -> Result<InputSet, String> {
    let recorded = reference.inputs();
    if recorded.length == length {
        return Ok(recorded.clone());
    }
    Err(format!(
        "{}: recorded at {} positions, the package takes {length}; record again, or convert with \
         --sequence-length {}",
        reference.path().display(),
        recorded.length,
        recorded.length
    ))
}

/// Gives the inputs the package does not take their neutral value. Recorded rows must have it already.
fn fit(subject: &Subject, inputs: &mut InputSet, recorded: bool) -> Result<Vec<String>, VerifyError> {
    type Column = fn(&mut crate::inputs::InputRow) -> &mut Vec<i32>;
    let columns: [(&str, i32, Column); 2] = [
        (ATTENTION_MASK, 1, |row| &mut row.attention_mask),
        (TOKEN_TYPE_IDS, 0, |row| &mut row.token_type_ids),
    ];
    let mut not_taken = Vec::new();
    for (name, neutral, column) in columns {
        if subject.takes(name) {
            continue;
        }
        for (index, row) in inputs.rows.iter_mut().enumerate() {
            let values = column(row);
            if recorded && values.iter().any(|value| *value != neutral) {
                return Err(subject.fail(format!(
                    "takes no {name}, but recorded row {index} needs it; record inputs without it"
                )));
            }
            values.fill(neutral);
        }
        not_taken.push(name.to_owned());
    }
    Ok(not_taken)
}

fn describe_inputs(inputs: &InputSet, not_taken: Vec<String>) -> InputReport {
    let tokens = || inputs.rows.iter().map(crate::inputs::InputRow::tokens);
    InputReport {
        origin: inputs.origin.clone(),
        rows: inputs.rows.len(),
        length: inputs.length,
        tokens: tokens().sum(),
        shortest: tokens().min().unwrap_or(0),
        longest: tokens().max().unwrap_or(0),
        truncated: inputs.truncated,
        not_taken,
    }
}

/// An output being compared.
struct Pairing {
    reference: String,
    paired_by: PairedBy,
    row_shape: Vec<usize>,
    comparison: OutputComparison,
}

fn compare(
    subject: &Subject,
    reference: &dyn Reference,
    inputs: &InputSet,
    asked: &[(String, String)],
    progress: &dyn Progress,
) -> Result<Vec<OutputReport>, VerifyError> {
    let step = subject.batch * ROWS_AT_A_TIME.div_ceil(subject.batch);
    let mut pairings: Option<Vec<Pairing>> = None;
    progress.start("comparing", inputs.rows.len() as u64);
    for first in (0..inputs.rows.len()).step_by(step) {
        let batch = inputs.batch(first, step);
        let produced = subject.outputs(&batch)?;
        let expected = reference.outputs(&batch)?;
        let pairings = match &mut pairings {
            Some(pairings) => pairings,
            none => none.insert(pair_up(
                subject,
                reference,
                &produced,
                &expected,
                asked,
                inputs.length,
            )?),
        };
        let sides = pairings.iter_mut().zip(&produced).zip(&subject.outputs);
        for ((pairing, produced), (name, form)) in sides {
            let expected = expected
                .get(&pairing.reference)
                .filter(|tensor| tensor.rows() == batch.rows.len())
                .ok_or_else(|| subject.fail(format!("the reference gives no `{}`", pairing.reference)))?;
            for (index, row) in batch.rows.iter().enumerate() {
                let wanted = expected.row(index);
                let at = batch.first_row + index;
                match (produced, form) {
                    (Produced::Array(tensor), Form::Probabilities(classes)) => {
                        let wanted = in_class_order(&softmax(wanted), classes, reference.labels());
                        let wanted =
                            wanted.ok_or_else(|| class_mismatch(subject, name, reference, classes))?;
                        pairing.comparison.add_row(at, row, &wanted, tensor.row(index));
                    }
                    (Produced::Labels(labels), Form::Label(classes)) => {
                        let names = reference.labels().unwrap_or(classes);
                        if names.len() != wanted.len() {
                            return Err(class_mismatch(subject, name, reference, classes));
                        }
                        let label = labels.get(index);
                        let chosen = names.iter().position(|name| Some(name) == label);
                        pairing.comparison.add_label(row, wanted, chosen);
                    }
                    (Produced::Array(tensor), _) => {
                        pairing.comparison.add_row(at, row, wanted, tensor.row(index));
                    }
                    (Produced::Labels(_), _) => {}
                }
            }
        }
        progress.advance(batch.rows.len() as u64);
    }
    progress.finish();
    let reports = pairings
        .into_iter()
        .flatten()
        .zip(&subject.outputs)
        .map(|(pairing, (name, _))| OutputReport {
            package: name.clone(),
            reference: pairing.reference,
            paired_by: pairing.paired_by,
            row_shape: pairing.row_shape,
            errors: pairing.comparison.report(),
        });
    Ok(reports.collect())
}

fn pair_up(
    subject: &Subject,
    reference: &dyn Reference,
    produced: &[Produced],
    expected: &BTreeMap<String, Tensor>,
    asked: &[(String, String)],
    length: usize,
) -> Result<Vec<Pairing>, VerifyError> {
    let task = reference.task_outputs();
    let rest = expected.keys().filter(|name| !task.contains(name)).cloned();
    let task_count = task.iter().filter(|name| expected.contains_key(*name)).count();
    let candidates: Vec<Named> = task
        .iter()
        .cloned()
        .chain(rest)
        .filter_map(|name| {
            expected.get(&name).map(|tensor| Named {
                row_shape: tensor.row_shape().to_vec(),
                name,
            })
        })
        .collect();
    let arrays: Vec<Named> = subject
        .outputs
        .iter()
        .zip(produced)
        .filter_map(|((name, form), produced)| match (form, produced) {
            (Form::Array, Produced::Array(tensor)) => Some(Named {
                name: name.clone(),
                row_shape: tensor.row_shape().to_vec(),
            }),
            _ => None,
        })
        .collect();
    let mut array_pairs = pair(&arrays, &candidates, task_count, asked)?.into_iter();
    let logits = candidates
        .iter()
        .find(|output| output.name == "logits" && output.row_shape.len() == 1);
    let pairings = subject.outputs.iter().map(|(name, form)| {
        let (counterpart, paired_by, kind) = match form {
            Form::Array => {
                let (index, why) = array_pairs
                    .next()
                    .ok_or_else(|| subject.fail(format!("output `{name}` has no counterpart")))?;
                let found = &candidates[index];
                (found, why, OutputKind::of(&found.name, &found.row_shape, length))
            }
            Form::Label(classes) | Form::Probabilities(classes) => {
                let found = logits.ok_or_else(|| {
                    subject.fail(format!(
                        "output `{name}` classifies, but the reference gives no logits per row"
                    ))
                })?;
                if found.row_shape != [classes.len()] {
                    return Err(class_mismatch(subject, name, reference, classes));
                }
                let label = matches!(form, Form::Label(_));
                (
                    found,
                    PairedBy::Classifier,
                    if label {
                        OutputKind::Label
                    } else {
                        OutputKind::Probabilities
                    },
                )
            }
        };
        Ok(Pairing {
            reference: counterpart.name.clone(),
            paired_by,
            row_shape: counterpart.row_shape.clone(),
            comparison: OutputComparison::new(kind, &counterpart.row_shape, subject.precision.step()),
        })
    });
    pairings.collect()
}

fn class_mismatch(
    subject: &Subject,
    output: &str,
    reference: &dyn Reference,
    classes: &[String],
) -> VerifyError {
    let theirs = reference
        .labels()
        .map_or_else(|| "of another number".to_owned(), |labels| labels.join(", "));
    subject.fail(format!(
        "output `{output}` has classes {}; the reference's are {theirs}",
        classes.join(", ")
    ))
}

/// Probabilities by the package's classes; `None` when a class is not the reference's. Without names the order of
/// both is taken for the same.
fn in_class_order(probabilities: &[f32], classes: &[String], names: Option<&[String]>) -> Option<Vec<f32>> {
    let Some(names) = names else {
        return Some(probabilities.to_vec());
    };
    let by_name = |class: &String| {
        probabilities
            .get(names.iter().position(|name| name == class)?)
            .copied()
    };
    classes.iter().map(by_name).collect()
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|logit| f64::from(logit - largest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    #[allow(clippy::cast_possible_truncation)] // back to the precision it came from
    powers.iter().map(|power| (power / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_by_hand() {
        let probabilities = softmax(&[0.0, 3f32.ln(), 1000.0 - 1000.0]);
        for (found, wanted) in probabilities.iter().zip([0.2, 0.6, 0.2]) {
            assert!((found - wanted).abs() < 1e-6);
        }
        assert_eq!(softmax(&[1000.0, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn classes_are_matched_by_name() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ours = names(&["b", "a"]);
        assert_eq!(
            in_class_order(&[0.1, 0.9], &ours, Some(&names(&["a", "b"]))),
            Some(vec![0.9, 0.1])
        );
        assert_eq!(
            in_class_order(&[0.1, 0.9], &ours, Some(&names(&["a", "c"]))),
            None
        );
        assert_eq!(in_class_order(&[0.1, 0.9], &ours, None), Some(vec![0.1, 0.9]));
    }
}
