//! One weight, rounded for a metric unless values alone do better by it.

use std::sync::Arc;

use corer_mil::{Block, DataType, MemoryWeight, Opset, TensorType, Value};

use super::compensate::Rounding;
use super::statistics::Metric;
use crate::codec::{Codec, Deviation};
use crate::decompress::decompress;
use crate::dense::Dense;
use crate::emit::{self, Compressed, Content};
use crate::error::QuantizeError;
use crate::mask::{Mask, by_magnitude};
use crate::pack::pack;
use crate::palette;
use crate::sample::Importance;
use crate::scheme::{Coding, Palette, Prune, Scheme};
use crate::sites::Site;
use crate::store::Store;
use crate::variant::{self, Cut, Outcome, Variant};

/// Steps in which pruning goes from all elements to the share asked for, and how often the rest settles after each.
const PRUNING_STEPS: usize = 4;
const SETTLING: usize = 3;
/// How often parameters are refitted, the codes settling after each.
const REFITS: usize = 3;

/// A weight to be compressed.
pub(crate) struct Job<'a> {
    pub(crate) site: &'a Site,
    pub(crate) scheme: Scheme,
    pub(crate) dense: Dense,
}

/// Compresses one weight by its values alone.
pub(crate) fn free(store: &Store, job: &Job<'_>, opset: Opset) -> Result<Outcome, QuantizeError> {
    let channels = job.site.channels();
    variant::compress(store, &job.dense, channels, &job.scheme, None, opset)
}

/// Compresses one weight for a metric and by its values alone, and gives what is less off at the outputs, with its
/// values.
pub(crate) fn better(
    store: &Store,
    job: &Job<'_>,
    metric: &Metric,
    opset: Opset,
) -> Result<(Outcome, Vec<f32>), QuantizeError> {
    let Ok(mut by_values) = free(store, job, opset)? else {
        return compensated(store, job, metric, opset);
    };
    let values = decoded(job.site, &by_values.compressed, opset)?;
    let weights = job.dense.to_vec()?;
    let error = metric.error(&weights, &values);
    if error <= 0.0 {
        by_values.say("lossless");
        return Ok((Ok(by_values), values));
    }
    let (outcome, calibrated) = compensated(store, job, metric, opset)?;
    let Ok(mut variant) = outcome else {
        return Ok((outcome, calibrated));
    };
    let share = metric.error(&weights, &calibrated) / error;
    if share >= 1.0 {
        by_values.say("calibration gained nothing");
        return Ok((Ok(by_values), values));
    }
    variant.say(&format!(
        "calibrated: {:.1} dB less error at its outputs",
        -10.0 * share.max(1e-12).log10()
    ));
    Ok((Ok(variant), calibrated))
}

/// Compresses one weight for a metric; gives its new values too.
fn compensated(
    store: &Store,
    job: &Job<'_>,
    metric: &Metric,
    opset: Opset,
) -> Result<(Outcome, Vec<f32>), QuantizeError> {
    let (dense, scheme) = (&job.dense, &job.scheme);
    let channels = job.site.channels();
    let Cut { grid, note } = match variant::cut(&dense.shape, channels, scheme) {
        Ok(cut) => cut,
        Err(reason) => return Ok((Err(reason), Vec::new())),
    };
    let weights = dense.to_vec()?;
    dense.check_finite(0, &weights)?;
    let mut fitted = weights.clone();
    let keep = match scheme.prune {
        None => None,
        Some(Prune::Ratio(ratio)) => {
            let (values, keep) = pruned(metric, &weights, ratio, &grid, dense.dtype);
            fitted = values;
            Some(keep)
        }
        Some(other) => {
            let mask = by_magnitude(dense, other, channels)?;
            Some(
                (0..weights.len())
                    .map(|index| mask.keeps(index))
                    .collect::<Vec<bool>>(),
            )
        }
    };
    let mask = keep
        .as_ref()
        .map(|keep| Mask::from_fn(keep.len(), |index| keep[index]));
    let fitted = Dense {
        name: dense.name.clone(),
        source: Arc::new(MemoryWeight(crate::dense::to_bytes(DataType::Fp32, &fitted))),
        dtype: DataType::Fp32,
        shape: dense.shape.clone(),
    };
    let importance = Importance {
        axis: channels.input,
        values: metric.diagonal(),
    };
    let parameters = variant::parameters(
        &fitted,
        &grid,
        mask.as_ref(),
        Some(&importance),
        scheme,
        opset,
        dense.dtype,
    )?;
    let codec = match parameters {
        Ok((codec, _)) => codec,
        Err(reason) => return Ok((Err(reason), Vec::new())),
    };
    let mut rounding = Rounding::new(metric, &weights, keep.as_deref(), codec, &grid, dense.dtype);
    let fixed = matches!(
        scheme.coding,
        Coding::Palette(Palette {
            int8_entries: true,
            ..
        })
    );
    if rounding.feed_forward().is_none() {
        return Ok((Err("its inputs are not finite".into()), Vec::new()));
    }
    for _ in 0..REFITS {
        if !fixed {
            rounding.refit();
        }
        rounding.settle(SETTLING);
    }
    let (values, codes, _, codec) = rounding.finish();
    let deviation = Deviation::measure(&weights, &values);
    let kept = |index: usize| mask.as_ref().is_none_or(|mask| mask.keeps(index));
    let room = match &codec {
        Codec::Dense => {
            let numbers: Vec<f32> = values
                .iter()
                .enumerate()
                .filter(|(at, _)| kept(*at))
                .map(|(_, v)| *v)
                .collect();
            store.numbers(dense.dtype, &numbers)?
        }
        codec => {
            let codes: Vec<u8> = codes
                .iter()
                .enumerate()
                .filter(|(at, _)| kept(*at))
                .map(|(_, c)| *c)
                .collect();
            store.bytes(&pack(&codes, codec.bits()))?
        }
    };
    let content = match codec {
        Codec::Dense => Content::Dense,
        Codec::Linear { linear, steps } => Content::Linear { linear, steps },
        Codec::Palette { entries, mut tables } => {
            let int8 = fixed.then(|| palette::to_int8(&mut tables, entries, dense.dtype));
            Content::Palette {
                bits: entries.ilog2(),
                tables,
                int8,
                vector: None,
            }
        }
    };
    let variant = Variant {
        compressed: Compressed {
            dtype: dense.dtype,
            grid,
            content,
            mask: mask.map(Arc::new),
            codes: Arc::new(room),
        },
        deviation,
        note,
    };
    Ok((Ok(variant), values))
}

/// Zeroes a share of the elements little by little, the rest making up for them: values and what is kept.
fn pruned(
    metric: &Metric,
    target: &[f32],
    ratio: f64,
    grid: &crate::grid::Grid,
    dtype: DataType,
) -> (Vec<f32>, Vec<bool>) {
    let len = target.len();
    let zeros = ((ratio * len.saturating_sub(1) as f64) as usize + 1).min(len.saturating_sub(1));
    let inverse = metric.inverse_diagonal();
    let mut rounding = Rounding::new(metric, target, None, Codec::Dense, grid, dtype);
    for step in 1..=PRUNING_STEPS {
        rounding.prune(len - zeros * step / PRUNING_STEPS, &inverse);
        rounding.settle(SETTLING);
    }
    let (values, _, keep, _) = rounding.finish();
    (values, keep.unwrap_or_else(|| vec![true; len]))
}

/// What a compressed weight decompresses to.
pub(crate) fn decoded(site: &Site, compressed: &Compressed, opset: Opset) -> Result<Vec<f32>, QuantizeError> {
    let emitted = emit::emit(compressed, &site.name, opset, &mut Default::default());
    let chain: Vec<usize> = (0..emitted.operations.len()).collect();
    let block = Block {
        operations: emitted.operations,
        ..Block::default()
    };
    decompress(site, &block, opset, &chain)
}

/// A dense weight of these values.
pub(crate) fn value(store: &Store, site: &Site, values: &[f32]) -> Result<Value, QuantizeError> {
    let shape = site.shape.iter().map(|size| *size as u64);
    let room = store.numbers(site.dtype, values)?;
    Ok(Value::weight(TensorType::new(site.dtype, shape), Arc::new(room)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::statistics::Statistics;
    use crate::sites::State;

    const N: usize = 6;
    const ROWS: usize = 4;

    /// A few tokens or many, channels far apart in size, some of them nearly the same.
    fn metric(next: &mut impl FnMut() -> f32) -> Metric {
        let tokens = 1 + (next() * 9.0) as usize;
        let sizes: Vec<f32> = (0..N).map(|_| (next() * 8.0 - 4.0).exp()).collect();
        let mut fed = Vec::new();
        for _ in 0..tokens {
            let shared = next() - 0.5;
            fed.extend(sizes.iter().map(|size| size * (shared + 0.2 * (next() - 0.5))));
        }
        let mut statistics = Statistics::new(N);
        statistics.add(&fed);
        statistics.metric(0.01).unwrap()
    }

    #[test]
    fn calibration_is_never_worse_than_values_alone() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1u32 << 24) as f32
        };
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path()).unwrap();
        let (mut guarded, mut gained) = (0, 0);
        for _ in 0..60 {
            let metric = metric(&mut next);
            let weights: Vec<f32> = (0..ROWS * N)
                .map(|_| crate::dense::round_to(DataType::Fp16, (next() - 0.5).powi(3)))
                .collect();
            for scheme in [
                "int4",
                "int4-block2",
                "lut2",
                "lut2-g2",
                "lut1+int8",
                "sparse50",
                "sparse2:4",
                "sparse50+lut2",
            ] {
                let dense = Dense {
                    name: "w".into(),
                    source: Arc::new(MemoryWeight(crate::dense::to_bytes(DataType::Fp16, &weights))),
                    dtype: DataType::Fp16,
                    shape: vec![ROWS, N],
                };
                let site = Site {
                    function: "main".into(),
                    name: "w".into(),
                    operation: 0,
                    dtype: DataType::Fp16,
                    shape: vec![ROWS, N],
                    uses: Vec::new(),
                    state: State::Dense(dense.clone()),
                };
                let job = Job {
                    site: &site,
                    scheme: scheme.parse().unwrap(),
                    dense,
                };
                let error = |outcome: &Outcome| {
                    let variant = outcome.as_ref().unwrap();
                    let values = decoded(&site, &variant.compressed, Opset::CoreMl8).unwrap();
                    (metric.error(&weights, &values), values)
                };
                let (alone, _) = error(&free(&store, &job, Opset::CoreMl8).unwrap());
                let (rounded, _) = error(&compensated(&store, &job, &metric, Opset::CoreMl8).unwrap().0);
                let (kept, told) = better(&store, &job, &metric, Opset::CoreMl8).unwrap();
                let (error, values) = error(&kept);
                assert_eq!(
                    values, told,
                    "{scheme}: what is written is not what the next layers see"
                );
                assert!(error <= alone, "{scheme}: {error} for {alone} by values alone");
                guarded += usize::from(rounded > alone);
                gained += usize::from(error < alone);
            }
        }
        // Both happen, else there was nothing to guard against.
        assert!(guarded > 0 && gained > guarded, "{guarded} {gained}");
    }
}
