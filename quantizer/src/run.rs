//! Compresses a program's weights: decides, compresses on all threads, puts the results in place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use corer_mil::{Binding, Block, Opset, Program, Target, TensorType, Value};
use rayon::prelude::*;

use crate::calibrate::{self, Calibration, Job};
use crate::codec::Deviation;
use crate::config::{Config, Origin, Wanted};
use crate::decompress::decompress;
use crate::dense::Dense;
use crate::emit::{self, Emitted};
use crate::error::QuantizeError;
use crate::names;
use crate::progress::Progress;
use crate::raise::raise;
use crate::report::{Report, WeightReport};
use crate::rules;
use crate::scheme::{Coding, Granularity, Mode, Prune, Scheme};
use crate::sites::{self, Site, State};
use crate::store::Store;
use crate::variant::{self, Variant};

/// How to compress.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Which weight gets which scheme.
    pub config: &'a Config,
    /// Write the program for this target first, should it be older.
    pub target: Option<Target>,
    /// Directory for a temporary file as large as the compressed weights; best the one the package goes to.
    pub scratch: &'a Path,
    /// Threads; all cores when `None`. The result does not depend on it.
    pub threads: Option<usize>,
    /// Texts to compress for, rather than by the weights' values alone.
    pub calibration: Option<&'a Calibration<'a>>,
    /// Told about weights done.
    pub progress: &'a dyn Progress,
}

/// A compressed program.
#[derive(Debug)]
pub struct Quantized {
    /// The program, its compressed weights in a temporary file that lives as long as it does.
    pub program: Program,
    /// What was done.
    pub report: Report,
}

/// A weight and what is to become of it.
struct Planned {
    site: Site,
    action: Action,
}

enum Action {
    /// Nothing, and why.
    Leave(Option<String>),
    /// Give it a scheme.
    Compress(Scheme),
    /// Make it dense.
    Decompress,
}

/// What [`quantize`] would do: every weight's scheme and size, without reading a weight.
///
/// # Errors
/// When a scheme is not for the program's opset.
pub fn plan(program: &Program, config: &Config, target: Option<Target>) -> Result<Report, QuantizeError> {
    let (planned, notes) = decide(program, config, target)?;
    let weights = planned
        .iter()
        .map(|Planned { site, action }| {
            let mut weight = describe(site, action);
            match action {
                Action::Leave(_) => {}
                Action::Decompress => weight.bytes_after = site.dense_bytes(),
                Action::Compress(scheme) => match variant::cut(&site.shape, site.channels(), scheme) {
                    Ok(cut) => {
                        weight.bytes_after = expected_bytes(site, scheme, cut.grid.count() as u64);
                        weight.note = cut.note;
                    }
                    Err(reason) => leave(&mut weight, site, reason),
                },
            }
            weight
        })
        .collect();
    Ok(Report::new(weights, None, notes))
}

/// Compresses the weights of `program`.
///
/// # Errors
/// When a scheme is not for the program's opset, a weight is not finite or can't be read, no weight at all can have
/// the scheme asked for, or there is no room in the scratch directory.
pub fn quantize(mut program: Program, request: &Request<'_>) -> Result<Quantized, QuantizeError> {
    let (planned, notes) = decide(&program, request.config, request.target)?;
    if let Some(target) = request.target {
        raise(&mut program, target)?;
    }
    let store = Store::new(request.scratch)?;
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = request.threads {
        pool = pool.num_threads(threads.clamp(1, 1024));
    }
    let pool = pool.build().map_err(|error| QuantizeError::Threads {
        reason: error.to_string(),
    })?;
    let mut done: Vec<Option<Done>> = planned.iter().map(|_| None).collect();
    if let Some(calibration) = request.calibration {
        pool.install(|| calibrated(&program, request, calibration, &store, &planned, &mut done))?;
    }
    let work = |index: usize| {
        let done = one(&program, &store, &planned[index]);
        request.progress.advance(planned[index].site.len() as u64);
        done
    };
    // The largest first, so that no thread is left with one of them at the end.
    let mut order: Vec<usize> = (0..planned.len())
        .filter(|index| done[*index].is_none())
        .collect();
    order.sort_by_key(|index| std::cmp::Reverse(planned[*index].site.len()));
    let total = order.iter().map(|index| planned[*index].site.len() as u64).sum();
    request.progress.start("compressing", total);
    let mut rest: Vec<(usize, Result<Done, QuantizeError>)> = pool.install(|| {
        order
            .into_par_iter()
            .with_max_len(1)
            .map(|index| (index, work(index)))
            .collect()
    });
    request.progress.finish();
    rest.sort_by_key(|(index, _)| *index);
    for (index, result) in rest {
        done[index] = Some(result?);
    }
    let mut weights = Vec::with_capacity(planned.len());
    let mut replaced: BTreeMap<String, BTreeMap<usize, Done>> = BTreeMap::new();
    let mut deviation: Option<Deviation> = None;
    for (done, Planned { site, action }) in done.into_iter().zip(&planned) {
        let mut weight = describe(site, action);
        match done.unwrap_or(Done::Left(None)) {
            Done::Left(reason) => {
                if let Some(reason) = reason {
                    leave(&mut weight, site, reason);
                }
            }
            done => {
                if let Done::Variant(variant) = &done {
                    weight.set_deviation(variant.deviation);
                    weight.note.clone_from(&variant.note);
                    deviation = Some(deviation.unwrap_or_default().and(variant.deviation));
                }
                replaced
                    .entry(site.function.clone())
                    .or_default()
                    .insert(site.operation, done);
            }
        }
        weights.push(weight);
    }
    nothing_done(&planned, &weights)?;
    let mut bytes: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (name, function) in &mut program.functions {
        let (Some(mut replaced), opset) = (replaced.remove(name), function.opset) else {
            continue;
        };
        let mut taken: BTreeSet<String> = function.inputs.iter().map(|input| input.name.clone()).collect();
        let Some(body) = function.blocks.get_mut(&opset) else {
            continue;
        };
        for operation in &body.operations {
            taken.extend(operation.outputs.iter().map(|output| output.name.clone()));
        }
        for (value, size) in replace(body, &mut replaced, opset, &mut taken) {
            bytes.insert((name.clone(), value), size);
        }
        names::shorten(body, &mut taken);
    }
    for weight in &mut weights {
        if let Some(size) = bytes.get(&(weight.function.clone(), weight.name.clone())) {
            weight.bytes_after = *size;
        }
    }
    Ok(Quantized {
        program,
        report: Report::new(weights, deviation, notes),
    })
}

/// Each weight's action, and what is to be said about the configuration.
fn decide(
    program: &Program,
    config: &Config,
    target: Option<Target>,
) -> Result<(Vec<Planned>, Vec<String>), QuantizeError> {
    let sites = sites::find(program);
    let mut used = Vec::new();
    let mut planned = Vec::with_capacity(sites.len());
    for site in &sites {
        let opset = program
            .functions
            .get(&site.function)
            .map_or(Opset::CoreMl5, |function| function.opset);
        let opset = target.map_or(opset, |target| opset.max(target.opset()));
        let action = match config.decide(site) {
            None => Action::Leave(None),
            Some((wanted, threshold, origin)) => {
                let action = action(site, wanted, threshold, &origin, config.recompress);
                used.push(origin);
                action
            }
        };
        if let Action::Compress(scheme) = &action
            && !scheme.fits(opset)
        {
            let (needs, what) = scheme.needs();
            return Err(QuantizeError::Opset {
                function: site.function.clone(),
                weight: site.name.clone(),
                scheme: scheme.to_string(),
                what,
                needs,
                opset,
            });
        }
        planned.push(Planned {
            site: site.clone(),
            action,
        });
    }
    let notes = config.unmatched(&used, &sites);
    Ok((planned, notes))
}

fn action(site: &Site, wanted: Wanted, threshold: u64, origin: &Origin, recompress: bool) -> Action {
    let leave = |reason: String| Action::Leave(Some(reason));
    let scheme = match wanted {
        Wanted::Skip => return leave("skipped by the configuration".into()),
        Wanted::Scheme(scheme) => scheme,
    };
    let compressed = matches!(site.state, State::Compressed { .. });
    if scheme.is_dense() {
        return if compressed {
            Action::Decompress
        } else {
            Action::Leave(None)
        };
    }
    if site.shape.len() <= 1 {
        return leave("vectors stay as they are".into());
    }
    if site.len() as u64 <= threshold {
        return leave(format!("at most {threshold} elements"));
    }
    if compressed && !recompress {
        return leave("compressed already".into());
    }
    let structured = matches!(
        scheme.prune,
        Some(Prune::Neighbours { .. } | Prune::Blocks { .. })
    );
    if structured && !site.is_product() && !matches!(origin, Origin::Name(_)) {
        return leave("structured sparsity is for convolutions and linear layers".into());
    }
    Action::Compress(scheme)
}

/// What came of a weight.
enum Done {
    /// It stays as it is; why, unless the plan said so.
    Left(Option<String>),
    Variant(Box<Variant>),
    Dense(Value),
}

/// Compresses the weights of the calibrated function and gives the other functions' copies of them the same.
fn calibrated(
    program: &Program,
    request: &Request<'_>,
    calibration: &Calibration<'_>,
    store: &Store,
    planned: &[Planned],
    done: &mut [Option<Done>],
) -> Result<(), QuantizeError> {
    let mut jobs = Vec::new();
    let mut places = Vec::new();
    for (index, Planned { site, action }) in planned.iter().enumerate() {
        if let Action::Compress(scheme) = action
            && site.function == calibration.function
        {
            jobs.push(Job {
                site,
                scheme: *scheme,
                dense: dense(program, store, site)?,
            });
            places.push(index);
        }
    }
    let outcomes = calibrate::compress(
        program,
        calibration,
        &jobs,
        store,
        request.scratch,
        request.progress,
    )?;
    for (index, other) in planned.iter().enumerate() {
        let Action::Compress(scheme) = &other.action else {
            continue;
        };
        if other.site.function == calibration.function {
            continue;
        }
        let twin = jobs
            .iter()
            .zip(&outcomes)
            .find(|(job, _)| job.scheme == *scheme && calibrate::same(job.site, &other.site));
        if let Some((_, Ok(variant))) = twin {
            done[index] = Some(Done::Variant(Box::new(variant.clone())));
        }
    }
    for (index, outcome) in places.into_iter().zip(outcomes) {
        done[index] = Some(match outcome {
            Ok(variant) => Done::Variant(Box::new(variant)),
            Err(reason) => Done::Left(Some(reason)),
        });
    }
    Ok(())
}

fn one(program: &Program, store: &Store, planned: &Planned) -> Result<Done, QuantizeError> {
    let site = &planned.site;
    let scheme = match &planned.action {
        Action::Leave(_) => return Ok(Done::Left(None)),
        Action::Decompress => {
            let dense = dense(program, store, site)?;
            let shape = site.shape.iter().map(|size| *size as u64);
            return Ok(Done::Dense(Value::weight(
                TensorType::new(site.dtype, shape),
                dense.source,
            )));
        }
        Action::Compress(scheme) => scheme,
    };
    let opset = program
        .functions
        .get(&site.function)
        .map_or(Opset::CoreMl5, |function| function.opset);
    let dense = dense(program, store, site)?;
    Ok(
        match variant::compress(store, &dense, site.channels(), scheme, None, opset)? {
            Ok(variant) => Done::Variant(Box::new(variant)),
            Err(reason) => Done::Left(Some(reason)),
        },
    )
}

/// A weight's numbers, decompressed into the temporary file if need be.
fn dense(program: &Program, store: &Store, site: &Site) -> Result<Dense, QuantizeError> {
    let chain = match &site.state {
        State::Dense(dense) => return Ok(dense.clone()),
        State::Compressed { chain, .. } => chain,
    };
    let fail = |reason: &str| QuantizeError::Decompress {
        weight: site.name.clone(),
        reason: reason.into(),
    };
    let function = program
        .functions
        .get(&site.function)
        .ok_or_else(|| fail("its function is gone"))?;
    let body = function.body().ok_or_else(|| fail("its function has no body"))?;
    let values = decompress(site, body, function.opset, chain)?;
    let room = store.numbers(site.dtype, &values)?;
    Ok(Dense {
        name: site.name.clone(),
        source: std::sync::Arc::new(room),
        dtype: site.dtype,
        shape: site.shape.clone(),
    })
}

/// Puts what was made in place of what made the weights before; gives the bytes each weight takes now.
fn replace(
    body: &mut Block,
    replaced: &mut BTreeMap<usize, Done>,
    opset: Opset,
    taken: &mut BTreeSet<String>,
) -> Vec<(String, u64)> {
    let mut sizes = Vec::new();
    let mut orphans = BTreeSet::new();
    let old = std::mem::take(&mut body.operations);
    for (index, operation) in old.into_iter().enumerate() {
        let Some(done) = replaced.remove(&index) else {
            body.operations.push(operation);
            continue;
        };
        for binding in operation.inputs.values().flatten() {
            if let Binding::Name(name) = binding {
                orphans.insert(name.clone());
            }
        }
        let name = operation
            .outputs
            .first()
            .map_or_else(String::new, |output| output.name.clone());
        let Emitted { operations, bytes } = match done {
            Done::Left(_) => Emitted {
                operations: vec![operation],
                bytes: 0,
            },
            Done::Variant(variant) => emit::emit(&variant.compressed, &name, opset, taken),
            Done::Dense(value) => Emitted {
                bytes: value.tensor_type().and_then(TensorType::byte_len).unwrap_or(0),
                operations: vec![emit::constant(&name, value)],
            },
        };
        sizes.push((name, bytes));
        body.operations.extend(operations);
    }
    sweep(body, orphans);
    sizes
}

/// Removes the inner parts of chains that nothing uses any more.
fn sweep(body: &mut Block, mut orphans: BTreeSet<String>) {
    fn used(block: &Block, names: &mut BTreeSet<String>) {
        for operation in &block.operations {
            for binding in operation.inputs.values().flatten() {
                if let Binding::Name(name) = binding {
                    names.insert(name.clone());
                }
            }
            operation.blocks.iter().for_each(|block| used(block, names));
        }
        names.extend(block.outputs.iter().cloned());
    }
    while !orphans.is_empty() {
        let mut names = BTreeSet::new();
        used(body, &mut names);
        let mut next = BTreeSet::new();
        body.operations.retain(|operation| {
            let inner = operation.op == "const" || operation.op.starts_with("constexpr_");
            let dead = inner
                && operation
                    .outputs
                    .iter()
                    .any(|output| orphans.contains(&output.name))
                && operation
                    .outputs
                    .iter()
                    .all(|output| !names.contains(&output.name));
            if dead {
                next.extend(
                    operation
                        .inputs
                        .values()
                        .flatten()
                        .filter_map(|binding| match binding {
                            Binding::Name(name) => Some(name.clone()),
                            Binding::Value(_) => None,
                        }),
                );
            }
            !dead
        });
        orphans = next;
    }
}

fn describe(site: &Site, action: &Action) -> WeightReport {
    let before = match &site.state {
        State::Dense(_) => site.dtype.name().to_owned(),
        State::Compressed { .. } => "compressed".to_owned(),
    };
    let mut used_by: Vec<String> = site.uses.iter().map(|used| used.op.clone()).collect();
    used_by.sort();
    used_by.dedup();
    let (after, note, warnings) = match action {
        Action::Leave(reason) => (before.clone(), reason.clone(), Vec::new()),
        Action::Decompress => (site.dtype.name().to_owned(), None, Vec::new()),
        Action::Compress(scheme) => (scheme.to_string(), None, rules::warnings(site, scheme)),
    };
    WeightReport {
        function: site.function.clone(),
        name: site.name.clone(),
        used_by,
        shape: site.shape.iter().map(|size| *size as u64).collect(),
        changed: !matches!(action, Action::Leave(_)),
        before,
        after,
        bytes_before: site.bytes(),
        bytes_after: site.bytes(),
        sqnr_db: None,
        max_error: None,
        squared_error: None,
        note,
        warnings,
    }
}

/// Makes a weight's report one of a weight that stays.
fn leave(weight: &mut WeightReport, site: &Site, reason: String) {
    let left = describe(site, &Action::Leave(Some(reason)));
    *weight = left;
}

/// An error when weights were to be compressed and none could be.
fn nothing_done(planned: &[Planned], weights: &[WeightReport]) -> Result<(), QuantizeError> {
    if weights.iter().any(|weight| weight.changed) {
        return Ok(());
    }
    let failed = planned
        .iter()
        .zip(weights)
        .find_map(|(planned, weight)| match &planned.action {
            Action::Compress(scheme) => Some((scheme, weight)),
            _ => None,
        });
    match failed {
        None => Ok(()),
        Some((scheme, weight)) => Err(QuantizeError::Nothing {
            scheme: scheme.to_string(),
            reason: format!(
                "`{}`: {}",
                weight.name,
                weight.note.as_deref().unwrap_or("it could not")
            ),
        }),
    }
}

/// Bytes a scheme makes of a weight; for thresholds and palettes of unknown width, an upper bound.
fn expected_bytes(site: &Site, scheme: &Scheme, cells: u64) -> u64 {
    let count = site.len() as u64;
    let float = u64::from(site.dtype.bits() / 8);
    let kept = match scheme.prune {
        None | Some(Prune::Threshold(_)) => count,
        Some(Prune::Ratio(ratio) | Prune::Blocks { ratio, .. }) => count - (count as f64 * ratio) as u64,
        Some(Prune::Neighbours { zeros, of }) => count - count * zeros as u64 / of as u64,
    };
    let mask = if scheme.prune.is_some() {
        count.div_ceil(8)
    } else {
        0
    };
    let packed = |bits: u32, count: u64| (count * u64::from(bits)).div_ceil(8);
    mask + match scheme.coding {
        Coding::Dense => kept * float,
        Coding::Linear(linear) => {
            let offsets = if linear.affine || !linear.signed {
                packed(linear.bits, cells)
            } else {
                0
            };
            debug_assert!(linear.granularity != Granularity::Tensor || cells == 1);
            packed(linear.bits, kept) + cells * float + offsets
        }
        Coding::Palette(palette) => {
            let bits = palette.bits.unwrap_or(8);
            let entries = cells * (1 << bits) * palette.vector as u64;
            let table = if palette.int8_entries {
                entries + cells * float
            } else {
                entries * float
            };
            debug_assert!(palette.mode == Mode::Unique || palette.bits.is_some());
            packed(bits, kept / palette.vector as u64) + table
        }
    }
}
