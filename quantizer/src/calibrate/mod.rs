//! Data-aware compression: layers are rounded for what texts feed them.
//!
//! The function is run stretch by stretch, with what has been compressed so far. Before each layer it stops; what arrives
//! there is summed up (`statistics`), the layer's weights are rounded so that their outputs stay nearest to what they
//! were (`compensate`), and the run goes on with the rounded weights. Only one layer's statistics are in memory; what
//! flows between the stretches is on disk. (Fitting the weights to the original's inputs as well, to make up for earlier
//! layers' errors, was tried: with some thousand tokens it fitted their noise and lost more than it won.)

mod compensate;
mod flow;
mod matrix;
mod segment;
mod shorten;
mod statistics;
mod weight;

use std::collections::BTreeMap;
use std::path::Path;

use corer_mil::{Block, Program, Value};
use corer_runtime::Tensor;

use crate::error::QuantizeError;
use crate::progress::Progress;
use crate::scheme::{Coding, Palette};
use crate::sites::{Site, State};
use crate::store::Store;
use crate::variant::Outcome;

use flow::Flow;
use segment::Parts;
use statistics::{Metric, Statistics, tokens};
pub(crate) use weight::Job;
use weight::{better, decoded, free, value};

/// What the model is to be run on.
#[derive(Clone, Copy, Debug)]
pub struct Calibration<'a> {
    /// The function to run; the others share its weights.
    pub function: &'a str,
    /// Inputs, as many as it takes at a time in each row.
    pub rows: &'a [CalibrationRow],
}

/// Inputs of one run.
#[derive(Clone, Debug)]
pub struct CalibrationRow {
    /// By name.
    pub inputs: BTreeMap<String, Tensor>,
    /// Which positions hold tokens, (B, S) row-major; the others are left out of the statistics.
    pub tokens: Vec<bool>,
}

impl CalibrationRow {
    /// The S of inputs that are all (B, S).
    fn length(&self) -> Option<usize> {
        let mut lengths = self.inputs.values().map(|tensor| match tensor.shape() {
            [batch, length] if batch * length == self.tokens.len() => Some(*length),
            _ => None,
        });
        let first = lengths.next()??;
        lengths.all(|length| length == Some(first)).then_some(first)
    }

    /// The positions up to the last token of any of its texts.
    fn longest(&self) -> usize {
        let texts = self
            .tokens
            .chunks(self.length().unwrap_or(self.tokens.len()).max(1));
        let ends = texts.map(|text| text.iter().rposition(|token| *token).map_or(0, |last| last + 1));
        ends.max().unwrap_or(0)
    }
}

/// Share of the metric's mean that is added to its diagonal.
const DAMPING: f32 = 0.01;
/// Tokens summed up at a time.
const TOKENS: usize = 2048;
/// Compresses the weights of one function, in the order they are used.
pub(crate) fn compress(
    program: &Program,
    calibration: &Calibration<'_>,
    jobs: &[Job<'_>],
    store: &Store,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Outcome>, QuantizeError> {
    let fail = |reason: String| QuantizeError::Calibration { reason };
    let name = calibration.function;
    let function = program
        .functions
        .get(name)
        .ok_or_else(|| fail(format!("there is no function `{name}`")))?;
    let body = function
        .body()
        .ok_or_else(|| fail(format!("function `{name}` has no body")))?;
    if calibration.rows.is_empty() {
        return Err(fail("there are no texts".into()));
    }
    if !calibration.rows.iter().any(|row| row.tokens.contains(&true)) {
        return Err(fail("the texts have no tokens".into()));
    }
    let parts = Parts::new(function, body);
    let mut outcomes: Vec<Option<Outcome>> = jobs.iter().map(|_| None).collect();
    let mut replaced: BTreeMap<String, Value> = BTreeMap::new();
    let stages = stages(body, jobs);
    progress.start("calibrating", stages.len() as u64 + 1);
    for (index, job) in jobs.iter().enumerate() {
        if stages.iter().any(|stage| stage.jobs.contains(&index)) {
            continue;
        }
        let mut outcome = free(store, job, function.opset)?;
        if let Ok(variant) = &mut outcome {
            variant.say("not calibrated");
            let values = decoded(job.site, &variant.compressed, function.opset)?;
            replaced.insert(job.site.name.clone(), value(store, job.site, &values)?);
        }
        outcomes[index] = Some(outcome);
    }
    progress.advance(1);
    let outputs = parts.live(body.operations.len());
    let whole = parts.between(&function.inputs, &outputs, &BTreeMap::new());
    let mut compressed = Flow::begin(&function.inputs, calibration, &whole);
    for stage in &stages {
        let live = parts.live(stage.cut);
        compressed = compressed.advance(
            &parts.between(&compressed.values, &live, &replaced),
            &live,
            scratch,
        )?;
        let metric = metric(calibration, stage, &compressed)?;
        for index in &stage.jobs {
            let job = &jobs[*index];
            let outcome = match &metric {
                Some(metric) => {
                    let (outcome, values) = better(store, job, metric, function.opset)?;
                    if outcome.is_ok() {
                        replaced.insert(job.site.name.clone(), value(store, job.site, &values)?);
                    }
                    outcome
                }
                None => {
                    let mut outcome = free(store, job, function.opset)?;
                    if let Ok(variant) = &mut outcome {
                        variant
                            .say("not calibrated: what it is fed has no channels where they were expected");
                    }
                    outcome
                }
            };
            outcomes[*index] = Some(outcome);
        }
        progress.advance(1);
    }
    progress.finish();
    Ok(outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(|| Err("it was not reached".into())))
        .collect())
}

/// Layers that are fed the same value.
struct Stage {
    /// The first operation that takes it.
    cut: usize,
    input: String,
    channel_axis: usize,
    channels: usize,
    jobs: Vec<usize>,
}

/// The layers in order; a weight with other uses, or a scheme that can't be compensated, is in none.
fn stages(body: &Block, jobs: &[Job<'_>]) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let site = job.site;
        let [used] = &site.uses[..] else { continue };
        let Some(input) = &used.input else { continue };
        let plain = site.shape.len() >= 2 && site.shape[2..].iter().all(|size| *size == 1);
        let scalar = !matches!(job.scheme.coding, Coding::Palette(Palette { vector: 2.., .. }));
        let Some(cut) = body
            .operations
            .iter()
            .position(|operation| operation.name() == used.name)
        else {
            continue;
        };
        if !plain || !scalar {
            continue;
        }
        match stages
            .iter_mut()
            .find(|stage| stage.input == *input && stage.channels == site.shape[1])
        {
            Some(stage) => {
                stage.cut = stage.cut.min(cut);
                stage.jobs.push(index);
            }
            None => stages.push(Stage {
                cut,
                input: input.clone(),
                channel_axis: if used.op == "conv" { 1 } else { usize::MAX },
                channels: site.shape[1],
                jobs: vec![index],
            }),
        }
    }
    stages.sort_by_key(|stage| stage.cut);
    stages
}

/// What a stage's layers are fed; `None` when that is not what was expected.
fn metric(
    calibration: &Calibration<'_>,
    stage: &Stage,
    compressed: &Flow,
) -> Result<Option<Metric>, QuantizeError> {
    let mut statistics = Statistics::new(stage.channels);
    let mut fed = Vec::new();
    for (index, row) in calibration.rows.iter().enumerate() {
        let tensor = compressed.load(index, &stage.input)?;
        let axis = stage.channel_axis.min(tensor.shape().len().saturating_sub(1));
        match tokens(&tensor, axis, stage.channels, &compressed.tokens(index, row)) {
            Some(rows) => fed.extend(rows),
            None => return Ok(None),
        }
        if fed.len() >= TOKENS * stage.channels || index + 1 == calibration.rows.len() {
            statistics.add(&fed);
            fed.clear();
        }
    }
    statistics.metric(DAMPING).map(Some)
}

/// Whether a weight of another function is this one.
pub(crate) fn same(site: &Site, other: &Site) -> bool {
    let bytes = |site: &Site| match &site.state {
        State::Dense(dense) => dense.source.to_vec().ok(),
        State::Compressed { .. } => None,
    };
    site.name == other.name
        && site.shape == other.shape
        && site.dtype == other.dtype
        && bytes(site).is_some_and(|a| Some(a) == bytes(other))
}
