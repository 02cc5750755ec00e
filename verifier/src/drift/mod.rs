//! Where a package departs from its reference: every value that both sides have, held against each other twice.
//!
//! *Cumulative*: the package is run as a whole, so that a value carries what was lost before it. *Isolated*: the
//! package is cut at all these values and given the reference's, so that every stretch shows its own loss.

mod arrangement;
mod blocks;
mod forced;
mod gathered;
mod pairing;

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::Block;
use corer_proto::Package;
use corer_runtime::{Executable, Options, Tensor as EngineTensor};

use crate::buckets::{Bucket, buckets};
use crate::error::{InputError, ReferenceError, VerifyError};
use crate::inputs::{Batch, InputRow, InputSet};
use crate::interface::{Form, Subject};
use crate::progress::Progress;
use crate::reference::{Place, Reference};
use crate::report::Precision;
use crate::report::drift::{BlockDrift, DepartedBy, Departure, DriftReport, OperationDrift};
use crate::tensor::Tensor;
use crate::verify::{Feeder, VerifyRequest, fit};

use arrangement::Arrangement;
use gathered::Loss;
use pairing::{Pair, Values};

/// What is looked at, and how closely.
#[derive(Clone, PartialEq, Debug)]
pub struct Drift {
    /// The most rows to look at, from the first on.
    pub rows: usize,
    /// Signal to loss, in decibels, below which an operation is taken to be at fault; `None` goes by the package's
    /// precision.
    pub threshold: Option<f64>,
    /// The bucket to look at, as [`crate::report::BucketReport::name`]; `None` takes the default.
    pub bucket: Option<String>,
}

impl Drift {
    /// Rows looked at if nobody says otherwise.
    pub const ROWS: usize = 16;

    /// Signal to loss that an operation at fault does not reach, whatever the model.
    ///
    /// One rounding to fp16 leaves 70 dB and more, int4 weights about 20 dB; a fault that matters leaves less than half.
    pub const fn threshold(precision: Precision) -> f64 {
        match precision {
            Precision::Fp32 => 70.0,
            Precision::Fp16 => 35.0,
            Precision::Compressed => 10.0,
        }
    }
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            rows: Self::ROWS,
            threshold: None,
            bucket: None,
        }
    }
}

/// Holds the values inside a package against those inside a reference.
///
/// Values are paired by the names of operations, by the names of the weights they take, and as outputs; what has no
/// counterpart is listed.
///
/// # Errors
/// When the reference keeps its inner values to itself, or either side can't be read or run.
pub fn drift(
    package: &Package,
    reference: &mut dyn Reference,
    request: &VerifyRequest,
    wanted: &Drift,
    progress: &dyn Progress,
) -> Result<DriftReport, VerifyError> {
    let all = buckets(package, request.function.as_deref(), None)?;
    let named = |bucket: &&Bucket| match &wanted.bucket {
        Some(name) => bucket.name == *name,
        None => bucket.default,
    };
    let bucket = all.iter().find(named).or(all.first());
    let bucket = bucket.ok_or_else(|| InputError::Request("has nothing to run".into()))?;
    let subject = Subject::compile(package, bucket, request.arithmetic, request.threads)?;
    reference.prepare(&subject.feed()?)?;
    let mut feeder = Feeder::new(request, reference, all.len() > 1)?;
    let mut inputs = feeder.rows(&subject, reference)?;
    fit(&subject, &mut inputs, reference.recorded().is_some())?;
    inputs.rows.truncate(wanted.rows.max(1));
    let function = package.model.program.functions.get(&bucket.function);
    let body = function.and_then(|function| function.body());
    let (Some(function), Some(body)) = (function, body) else {
        return Err(subject.fail(format!("has no function `{}`", bucket.function)));
    };
    let look = Look {
        subject: &subject,
        reference,
        body,
        pairs: &request.pairs,
    };
    let found = look.pair(&inputs)?;
    let threshold = wanted
        .threshold
        .unwrap_or_else(|| Drift::threshold(subject.precision));
    let cut = |values: Vec<String>| -> Result<(Executable, forced::Forced), VerifyError> {
        let forced = forced::cut(function, body, &values);
        let options = Options {
            threads: request.threads,
            ..Options::new(request.arithmetic)
        };
        let compiled = Executable::compile(&forced.program, forced::FUNCTION, &options);
        let compiled = compiled.map_err(|error| subject.fail(format!("cut into stretches: {error}")))?;
        Ok((compiled, forced))
    };
    let ends = found.block_ends();
    let by_operation = cut(found.pairs.iter().map(|pair| pair.value.clone()).collect())?;
    let by_block = cut(ends.iter().map(|end| found.pairs[*end].value.clone()).collect())?;

    let mut losses = vec![Losses::default(); found.pairs.len()];
    progress.start("drift", inputs.rows.len() as u64);
    let mut rows = 0;
    for first in (0..inputs.rows.len()).step_by(subject.batch) {
        let batch = Filled::of(&inputs, first, subject.batch);
        let seen = look.observed(&batch, &found.pairs)?;
        let exact = look.reference.traced(&batch.whole(), &found.places())?;
        let given = subject.tensors(&batch.rows)?;
        let alone = found.run(&by_operation, &given, &exact, &subject, |_| true)?;
        let in_blocks = found.run(&by_block, &given, &exact, &subject, |pair| ends.contains(&pair))?;
        for (index, pair) in found.pairs.iter().enumerate() {
            let exact = exact[index].values();
            let add = |loss: &mut Loss, values: Option<&Vec<f32>>| {
                if let Some(values) = values.filter(|values| values.len() == exact.len()) {
                    loss.add(pair, found.arrangements[index], exact, values, &batch);
                }
            };
            add(&mut losses[index].cumulative, seen.get(&pair.value));
            add(&mut losses[index].isolated, alone.get(&pair.value));
            add(&mut losses[index].block, in_blocks.get(&pair.value));
        }
        rows += batch.count;
        progress.advance(batch.count as u64);
        if progress.interrupted() {
            break;
        }
    }
    progress.finish();
    Ok(found.report(
        body,
        &losses,
        &ends,
        DriftReport {
            bucket: bucket.name.clone(),
            reference: look.reference.describe().kind,
            rows,
            threshold,
            blocks: Vec::new(),
            operations: Vec::new(),
            unpaired: Vec::new(),
            departure: None,
        },
    ))
}

/// Rows of one execution, a last batch filled up with its last row.
struct Filled {
    first: usize,
    length: usize,
    rows: Vec<InputRow>,
    /// How many of them count.
    count: usize,
}

impl Filled {
    fn of(inputs: &InputSet, first: usize, batch: usize) -> Self {
        let taken = inputs.batch(first, batch);
        let missing = batch - taken.rows.len();
        let last = std::iter::repeat_n(taken.rows.last(), missing).flatten();
        Self {
            first,
            length: inputs.length,
            rows: taken.rows.iter().chain(last).cloned().collect(),
            count: taken.rows.len(),
        }
    }

    fn whole(&self) -> Batch<'_> {
        Batch {
            first_row: self.first,
            length: self.length,
            rows: &self.rows,
        }
    }
}

/// The two sides.
struct Look<'a> {
    subject: &'a Subject,
    reference: &'a dyn Reference,
    body: &'a Block,
    /// Pairs of output names somebody asked for.
    pairs: &'a [(String, String)],
}

/// What belongs together.
struct Found {
    pairs: Vec<Pair>,
    arrangements: Vec<Arrangement>,
    unpaired: Vec<crate::report::drift::Unpaired>,
    /// The block of every pair.
    blocks: Vec<String>,
}

/// What was lost at one pair.
#[derive(Clone, Default)]
struct Losses {
    cumulative: Loss,
    isolated: Loss,
    /// As a block's end, given what comes before the block.
    block: Loss,
}

impl Look<'_> {
    /// Pairs values by looking at the first rows.
    fn pair(&self, inputs: &InputSet) -> Result<Found, VerifyError> {
        let places = self.reference.places();
        if places.is_empty() {
            return Err(InputError::Request(format!(
                "{} keeps its inner values to itself; the source's own operations have them",
                self.reference.describe().kind
            ))
            .into());
        }
        let batch = Filled::of(inputs, 0, self.subject.batch);
        let mut values = BTreeMap::new();
        self.subject.observed(&batch.whole(), &mut |seen| {
            if seen.dtype.is_float() {
                let tensor = seen.tensor();
                values.insert(seen.value.to_owned(), (tensor.shape().to_vec(), tensor.to_f32()));
            }
        })?;
        let shapes: BTreeMap<String, Vec<usize>> = values
            .iter()
            .map(|(name, (shape, _))| (name.clone(), shape.clone()))
            .collect();
        let traced = self.reference.traced(&batch.whole(), &places)?;
        let results = self.reference.outputs(&batch.whole())?;
        let outputs = self.output_pairs();
        let named: Vec<(Place, Tensor)> = places.iter().cloned().zip(traced).collect();
        let (pairs, unpaired) = Values::new(self.body, &shapes, &outputs).pair(&named, &results);
        let exact = |pair: &Pair| named.iter().find(|(place, _)| *place == pair.place);
        let found: Vec<(&Pair, &[f32], &[f32])> = pairs
            .iter()
            .filter_map(|pair| {
                let exact = exact(pair)?.1.values();
                Some((pair, exact, values.get(&pair.value)?.1.as_slice()))
            })
            .collect();
        let arrangements = gathered::settle(&found, &batch);
        let of_place: BTreeMap<&Place, String> = places.iter().zip(blocks::blocks(&places)).collect();
        let blocks = pairs
            .iter()
            .map(|pair| of_place.get(&pair.place).cloned().unwrap_or_default())
            .collect();
        Ok(Found {
            arrangements,
            blocks,
            pairs,
            unpaired,
        })
    }

    /// Output names that belong together: those asked for, and those that are the same.
    fn output_pairs(&self) -> Vec<(String, String)> {
        let named = self.subject.outputs.iter();
        let same = named
            .filter(|(_, form)| *form == Form::Array)
            .map(|(name, _)| (name.clone(), name.clone()));
        self.pairs.iter().cloned().chain(same).collect()
    }

    /// The package's values at the pairs, run as a whole.
    fn observed(&self, batch: &Filled, pairs: &[Pair]) -> Result<BTreeMap<String, Vec<f32>>, VerifyError> {
        let wanted: BTreeSet<&str> = pairs.iter().map(|pair| pair.value.as_str()).collect();
        let mut values = BTreeMap::new();
        self.subject.observed(&batch.whole(), &mut |seen| {
            if wanted.contains(seen.value) {
                values.insert(seen.value.to_owned(), seen.tensor().to_f32());
            }
        })?;
        Ok(values)
    }
}

impl Found {
    fn places(&self) -> Vec<Place> {
        self.pairs.iter().map(|pair| pair.place.clone()).collect()
    }

    /// The pairs that are the results of blocks, in program order.
    fn block_ends(&self) -> Vec<usize> {
        let ends =
            (0..self.pairs.len()).filter(|index| !self.blocks[index + 1..].contains(&self.blocks[*index]));
        ends.collect()
    }

    /// Runs the package cut at some pairs, given the reference's values there.
    fn run(
        &self,
        (executable, forced): &(Executable, forced::Forced),
        inputs: &BTreeMap<String, EngineTensor>,
        exact: &[Tensor],
        subject: &Subject,
        cut: impl Fn(usize) -> bool,
    ) -> Result<BTreeMap<String, Vec<f32>>, VerifyError> {
        let mut given = inputs.clone();
        for (index, (pair, exact)) in self.pairs.iter().zip(exact).enumerate() {
            let Some(name) = forced.given.get(&pair.value).filter(|_| cut(index)) else {
                continue;
            };
            if exact.values().len() != pair.sizes.count() {
                return Err(ReferenceError::Place {
                    place: pair.place.clone(),
                }
                .into());
            }
            let arranged = self.arrangements[index].to_package(exact.values(), pair.sizes);
            let tensor = EngineTensor::f32(pair.shape.clone(), arranged);
            let tensor = tensor.map_err(|error| subject.fail(error.to_string()))?;
            given.insert(name.clone(), tensor);
        }
        let outputs = executable.run(&given);
        let outputs = outputs.map_err(|error| subject.fail(format!("cut into stretches: {error}")))?;
        Ok(outputs
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_f32()))
            .collect())
    }

    fn report(self, body: &Block, losses: &[Losses], ends: &[usize], empty: DriftReport) -> DriftReport {
        let cuts: BTreeSet<&str> = self.pairs.iter().map(|pair| pair.value.as_str()).collect();
        let operations: Vec<OperationDrift> = self
            .pairs
            .iter()
            .enumerate()
            .map(|(index, pair)| OperationDrift {
                operation: pair.operation.clone(),
                op: pair.op.clone(),
                place: pair.place.clone(),
                block: self.blocks[index].clone(),
                paired_by: pair.paired_by,
                arrangement: self.arrangements[index].to_string(),
                cumulative: losses[index].cumulative.report(),
                isolated: losses[index].isolated.report(),
                within: forced::within(body, &pair.value, &cuts),
            })
            .collect();
        let blocks: Vec<BlockDrift> = ends
            .iter()
            .map(|end| BlockDrift {
                place: self.blocks[*end].clone(),
                operation: self.pairs[*end].operation.clone(),
                cumulative: losses[*end].cumulative.report(),
                isolated: losses[*end].block.report(),
            })
            .collect();
        let departure = departure(&operations, &blocks, empty.threshold);
        DriftReport {
            blocks,
            operations,
            unpaired: self.unpaired,
            departure,
            ..empty
        }
    }
}

/// The first operation past the threshold by itself; where there is none, the one that loses most up to the first
/// block at which the loss gathered is past it.
fn departure(operations: &[OperationDrift], blocks: &[BlockDrift], threshold: f64) -> Option<Departure> {
    let depart = |operation: &OperationDrift, by: DepartedBy| Departure {
        block: operation.block.clone(),
        operation: operation.operation.clone(),
        op: operation.op.clone(),
        place: operation.place.clone(),
        sqnr: match by {
            DepartedBy::Itself => operation.isolated.sqnr,
            DepartedBy::Gathering => operation.cumulative.sqnr,
        },
        by,
        within: operation.within.clone(),
    };
    let past = |operation: &&OperationDrift| operation.isolated.sqnr.0 < threshold;
    if let Some(first) = operations.iter().find(past) {
        return Some(depart(first, DepartedBy::Itself));
    }
    let block = blocks.iter().find(|block| block.cumulative.sqnr.0 < threshold)?;
    let end = operations
        .iter()
        .position(|operation| operation.operation == block.operation)?;
    let most = operations[..=end]
        .iter()
        .min_by(|a, b| a.isolated.sqnr.0.total_cmp(&b.isolated.sqnr.0))?;
    Some(depart(most, DepartedBy::Gathering))
}
