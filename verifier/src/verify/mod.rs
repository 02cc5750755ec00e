//! One verification from request to report.

mod classes;
mod compare;
mod feed;
mod labelling;
mod numerics;

use corer_proto::Package;
use corer_runtime::Arithmetic;

use crate::buckets::{Bucket, buckets};
use crate::error::{InputError, ReferenceError, VerifyError};
use crate::inputs::{InputSet, Inputs, Labels};
use crate::interface::{self, Subject};
use crate::probes;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::report::{BucketReport, ExecutionReport, NotJudged, PackageReport, SCHEMA, VerifyReport};
use crate::verdict::{Gate, ThresholdOverrides, Thresholds, Verdict};

pub(crate) use feed::{Feeder, fit};
pub use numerics::Numerics;

/// On what a package is judged, and how strictly.
#[derive(Clone, PartialEq, Debug)]
pub struct VerifyRequest {
    /// What the package and its reference are fed.
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
    /// Limits that only warn, and an earlier report it must not be much worse than.
    pub gate: Gate,
    /// Known answers to the texts.
    pub labels: Option<Labels>,
    /// What else its values are looked at for, in the bucket a caller gets by default.
    pub numerics: Numerics,
}

impl VerifyRequest {
    /// The strictest sensible request: the package as written, all of it, with default thresholds.
    pub fn new(inputs: Inputs) -> Self {
        Self {
            inputs,
            function: None,
            arithmetic: Arithmetic::AsWritten,
            threads: None,
            pairs: Vec::new(),
            thresholds: ThresholdOverrides::default(),
            gate: Gate::default(),
            labels: None,
            numerics: Numerics::none(),
        }
    }
}

/// Judges a package as it stands on disk, every function and every size it takes.
///
/// Each bucket is fed all texts, cut to its length, so that every one of them is judged on full rows and on padded
/// ones; a bucket too short for the tokenizer's special tokens is judged on seeded token ids. A recording holds for
/// the length it was made at: the other buckets are listed as not judged, and so are sizes a reference can't take.
///
/// # Errors
/// When no verdict can be reached: package, reference or inputs can't be read, or the outputs don't pair up. A package
/// that computes something else is no error but a [`Verdict`] that did not pass.
pub fn verify(
    package: &Package,
    reference: &mut dyn Reference,
    request: &VerifyRequest,
    progress: &dyn Progress,
) -> Result<VerifyReport, VerifyError> {
    let recorded = reference.recorded().map(|rows| rows.length);
    let recorded = recorded.and_then(|length| u64::try_from(length).ok());
    let buckets = buckets(package, request.function.as_deref(), recorded)?;
    let mut feeder = Feeder::new(request, reference, buckets.len() > 1)?;
    let (mut judged, mut not_judged) = (Vec::new(), Vec::new());
    let mut subject: Option<Subject> = None;
    let mut engine = String::new();
    let mut interrupted = false;
    for bucket in &buckets {
        if !judged.is_empty() && progress.interrupted() {
            interrupted = true;
            not_judged.push(NotJudged {
                name: bucket.name.clone(),
                reason: "interrupted before its turn".into(),
            });
            continue;
        }
        if let Some(reason) = feed::not_recorded(reference, bucket.length) {
            not_judged.push(NotJudged {
                name: bucket.name.clone(),
                reason,
            });
            continue;
        }
        // One function is compiled once, and no two stay in memory.
        let subject = match subject.take() {
            Some(mut same) if same.function == bucket.function => {
                same.resize(bucket)?;
                subject.insert(same)
            }
            _ => {
                let compiled = Subject::compile(package, bucket, request.arithmetic, request.threads)?;
                subject.insert(compiled)
            }
        };
        engine = subject.engine();
        match reference.prepare(&subject.feed()?) {
            Ok(()) => {}
            Err(error @ ReferenceError::Size { .. }) => {
                not_judged.push(NotJudged {
                    name: bucket.name.clone(),
                    reason: error.to_string(),
                });
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let inputs = feeder.rows(subject, reference)?;
        let rows = inputs.rows.len();
        let report = judge(request, package, bucket, subject, reference, inputs, progress)?;
        interrupted |= report.inputs.rows < rows;
        judged.push(report);
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
        corer: env!("CARGO_PKG_VERSION").to_owned(),
        tool_sha256: None,
        verdict: Verdict::over(&judged)
            .with(request.gate.incomparable(&judged))
            .unless(interrupted),
        package: PackageReport {
            path: interface::shown(&package.path),
            digest: package.digest()?,
            bytes: package.bytes()?,
            specification_version: package.model.specification_version,
            metadata: package.model.description.metadata.user_defined.clone(),
        },
        reference: reference.describe(),
        execution: ExecutionReport {
            engine,
            arithmetic: request.arithmetic.name().to_owned(),
            host_cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        },
        buckets: judged,
        not_judged,
        interrupted,
        drift: None,
        drift_missing: None,
    })
}

/// Judges one bucket.
fn judge(
    request: &VerifyRequest,
    package: &Package,
    bucket: &Bucket,
    subject: &Subject,
    reference: &dyn Reference,
    mut inputs: InputSet,
    progress: &dyn Progress,
) -> Result<BucketReport, VerifyError> {
    let not_taken = feed::fit(subject, &mut inputs, reference.recorded().is_some())?;
    let compared = compare::compare(subject, reference, &inputs, request, progress)?;
    let interrupted = compared.rows < inputs.rows.len();
    inputs.rows.truncate(compared.rows);
    let outputs = compared.outputs;
    let probes = probes::probe(subject, &inputs)?;
    let thresholds = request
        .thresholds
        .over(Thresholds::for_arithmetic(subject.precision, request.arithmetic));
    // Buckets share their weights; the default is the longest.
    let numerics = match bucket.default && !interrupted {
        true => {
            let look = numerics::Look {
                package,
                bucket,
                reference,
                request,
                progress,
            };
            look.at(&inputs)?
        }
        false => None,
    };
    Ok(BucketReport {
        name: bucket.name.clone(),
        function: bucket.function.clone(),
        batch: bucket.batch,
        length: bucket.length,
        default: bucket.default,
        verdict: request.gate.apply(
            Verdict::reach(&outputs, &probes, &thresholds),
            &bucket.name,
            &outputs,
            &probes,
        ),
        precision: subject.precision,
        inputs: feed::describe(&inputs, not_taken),
        outputs,
        spans: compared.spans,
        probes,
        thresholds,
        gate: request.gate.report(),
        numerics,
    })
}
