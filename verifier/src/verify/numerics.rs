//! The package in other arithmetics, and a watch over its values.

use corer_proto::Package;
use corer_runtime::{AneRules, Arithmetic, Watch, isolated_losses};

use super::VerifyRequest;
use super::compare::compare;
use crate::buckets::Bucket;
use crate::error::VerifyError;
use crate::inputs::InputSet;
use crate::interface::Subject;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::report::ProbeReport;
use crate::report::numerics::{HeadroomReport, LossReport, ModeReport, NumericsReport, RuleReport};
use crate::verdict::{Thresholds, Verdict};

/// Which numerics are looked at beside the arithmetic that is judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numerics {
    /// Arithmetics to hold against the reference too.
    pub modes: Vec<Arithmetic>,
    /// Whether to watch how near values come to a limit.
    pub headroom: bool,
    /// The most rows to look at, from the first on: the whole is for the verdict.
    pub rows: usize,
    /// Rows on which every operation's own loss is looked at, which takes long; none by default.
    pub losses: usize,
}

impl Numerics {
    /// Rows looked at if nobody says otherwise.
    pub const ROWS: usize = 64;

    /// Nothing.
    pub const fn none() -> Self {
        Self {
            modes: Vec::new(),
            headroom: false,
            rows: 0,
            losses: 0,
        }
    }

    /// The Neural Engine's published rules but contested ones, and headroom, on the first 64 rows.
    pub fn usual() -> Self {
        Self {
            modes: vec![Arithmetic::Ane(AneRules::default())],
            headroom: true,
            rows: Self::ROWS,
            losses: 0,
        }
    }

    fn is_none(&self) -> bool {
        (self.modes.is_empty() && !self.headroom && self.losses == 0) || self.rows == 0
    }
}

/// What a bucket's numerics are looked at with.
pub(super) struct Look<'a> {
    pub(super) package: &'a Package,
    pub(super) bucket: &'a Bucket,
    pub(super) reference: &'a dyn Reference,
    pub(super) request: &'a VerifyRequest,
    pub(super) progress: &'a dyn Progress,
}

impl Look<'_> {
    /// Looks at a bucket's rows.
    pub(super) fn at(&self, inputs: &InputSet) -> Result<Option<NumericsReport>, VerifyError> {
        let wanted = &self.request.numerics;
        if wanted.is_none() {
            return Ok(None);
        }
        let mut inputs = inputs.clone();
        inputs.rows.truncate(wanted.rows);
        let modes = wanted
            .modes
            .iter()
            .map(|arithmetic| self.mode(*arithmetic, &inputs))
            .collect::<Result<Vec<_>, _>>()?;
        let headroom = match wanted.headroom {
            true => self.headroom(&inputs)?,
            false => Vec::new(),
        };
        let losses = match wanted.losses {
            0 => Vec::new(),
            rows => self.losses(&inputs, rows, wanted.modes.last().copied())?,
        };
        let mut warnings: Vec<String> = headroom.iter().filter_map(HeadroomReport::warning).collect();
        for mode in modes.iter().filter(|mode| !mode.verdict.passed) {
            let reasons: Vec<_> = mode.verdict.reasons.iter().map(ToString::to_string).collect();
            warnings.push(format!(
                "in the arithmetic `{}` it is below its thresholds: {}",
                mode.arithmetic,
                reasons.join("; ")
            ));
        }
        Ok(Some(NumericsReport {
            rows: inputs.rows.len(),
            modes,
            headroom,
            losses,
            warnings,
        }))
    }

    fn mode(&self, arithmetic: Arithmetic, inputs: &InputSet) -> Result<ModeReport, VerifyError> {
        let subject = Subject::compile(self.package, self.bucket, arithmetic, self.request.threads)?;
        let outputs = compare(&subject, self.reference, inputs, self.request, self.progress)?.outputs;
        let thresholds = self
            .request
            .thresholds
            .over(Thresholds::for_arithmetic(subject.precision, arithmetic));
        Ok(ModeReport {
            arithmetic: arithmetic.name().into(),
            rules: match arithmetic {
                Arithmetic::Ane(rules) => RuleReport::all(rules),
                _ => Vec::new(),
            },
            verdict: Verdict::reach(&outputs, &ProbeReport::default(), &thresholds),
            outputs,
        })
    }

    /// What every operation loses by itself, most first.
    fn losses(
        &self,
        inputs: &InputSet,
        rows: usize,
        arithmetic: Option<Arithmetic>,
    ) -> Result<Vec<LossReport>, VerifyError> {
        let subject = Subject::compile(self.package, self.bucket, Arithmetic::F32, self.request.threads)?;
        let rows = rows.min(inputs.rows.len());
        let starts = (0..rows).step_by(subject.batch);
        let fed = starts.map(|first| subject.tensors(inputs.batch(first, subject.batch).rows));
        let fed = fed.collect::<Result<Vec<_>, _>>()?;
        let arithmetic = arithmetic.unwrap_or(Arithmetic::AsWritten);
        let program = &self.package.model.program;
        let losses = isolated_losses(program, &self.bucket.function, &fed, arithmetic)
            .map_err(|error| subject.fail(error.to_string()))?;
        let mut losses: Vec<LossReport> = losses
            .into_iter()
            .filter(|loss| loss.noise > 0.0)
            .map(|loss| LossReport {
                operation: loss.operation,
                op: loss.op,
                // What is not finite has lost everything; JSON has no infinities.
                sqnr: match loss.noise.is_finite() && loss.signal > 0.0 {
                    true => 10.0 * (loss.signal / loss.noise).log10(),
                    false => f64::MIN,
                },
            })
            .collect();
        losses.sort_by(|a, b| a.sqnr.total_cmp(&b.sqnr));
        Ok(losses)
    }

    /// Every operation's largest values, least headroom first.
    fn headroom(&self, inputs: &InputSet) -> Result<Vec<HeadroomReport>, VerifyError> {
        // Nothing overflows in f32, so an operation behind one that would is still seen as it is.
        let subject = Subject::compile(self.package, self.bucket, Arithmetic::F32, self.request.threads)?;
        let mut watch = Watch::default();
        self.progress.start("watching", inputs.rows.len() as u64);
        for first in (0..inputs.rows.len()).step_by(subject.batch) {
            let batch = inputs.batch(first, subject.batch);
            subject.observed(&batch, &mut |seen| watch.see(seen))?;
            self.progress.advance(batch.rows.len() as u64);
        }
        self.progress.finish();
        let mut found: Vec<HeadroomReport> = watch.extents().iter().filter_map(HeadroomReport::of).collect();
        found.sort_by(|a, b| a.headroom.total_cmp(&b.headroom));
        Ok(found)
    }
}
