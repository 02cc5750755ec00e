//! The elements of each cell of a weight, gathered for whoever fits parameters to them.

use half::f16;
use rayon::prelude::*;

use crate::dense::{Dense, PIECE, Piece};
use crate::error::QuantizeError;
use crate::grid::Grid;
use crate::mask::Mask;
use corer_mil::DataType;

/// How much an element's error matters, by its index along one axis.
#[derive(Clone, Debug)]
pub(crate) struct Importance {
    pub(crate) axis: usize,
    /// One per index; not negative.
    pub(crate) values: Vec<f32>,
}

impl Importance {
    /// The importance of row-major elements from `start` on.
    fn fill(&self, shape: &[usize], start: usize, out: &mut [f32]) {
        let inner: usize = shape[self.axis + 1..].iter().product();
        let size = self.values.len();
        for (offset, out) in out.iter_mut().enumerate() {
            *out = self.values[(start + offset) / inner % size];
        }
    }
}

/// The elements of one cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sample<'a> {
    /// One by one, with weights unless all are alike.
    Values(&'a [f32], Option<&'a [f32]>),
    /// The summed weight of each fp16 number, by [`key`].
    Histogram(&'a [f64]),
}

/// Numbers fp16 has, in ascending order: −∞ first.
pub(crate) const KEYS: usize = 1 << 16;

/// The place of an fp16 number in ascending order.
#[inline(always)]
pub(crate) const fn key(bits: u16) -> u16 {
    if bits & 0x8000 == 0 { bits | 0x8000 } else { !bits }
}

/// The number at a place.
pub(crate) fn at_key(key: u16) -> f32 {
    let bits = if key & 0x8000 == 0 { !key } else { key & 0x7fff };
    f16::from_bits(bits).to_f32()
}

impl Sample<'_> {
    /// The distinct values in ascending order with their summed weights. Values fp16 can't hold are first rounded to
    /// its 11 significant bits, so that there are never many more than it has.
    pub(crate) fn distinct(&self, counts: &mut Counts) -> (Vec<f64>, Vec<f64>) {
        match self {
            Self::Histogram(histogram) => collect(histogram),
            Self::Values(values, weights) => counts.distinct(values, *weights),
        }
    }

    /// Values with weights, in no order; a histogram's are distinct.
    pub(crate) fn values(&self) -> (Vec<f32>, Option<Vec<f32>>) {
        match self {
            Self::Values(values, weights) => (values.to_vec(), weights.map(<[f32]>::to_vec)),
            Self::Histogram(histogram) => {
                let (values, weights) = collect(histogram);
                (
                    values.into_iter().map(|value| value as f32).collect(),
                    Some(weights.into_iter().map(|weight| weight as f32).collect()),
                )
            }
        }
    }
}

fn collect(histogram: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut values, mut weights) = (Vec::new(), Vec::new());
    for (place, weight) in histogram.iter().enumerate() {
        if *weight > 0.0 {
            push(
                &mut values,
                &mut weights,
                f64::from(at_key(place as u16)),
                *weight,
            );
        }
    }
    (values, weights)
}

/// Appends a value, or its weight to the last one when they are equal (as both zeros are).
fn push(values: &mut Vec<f64>, weights: &mut Vec<f64>, value: f64, weight: f64) {
    match (values.last(), weights.last_mut()) {
        (Some(last), Some(sum)) if *last == value => *sum += weight,
        _ => {
            values.push(value);
            weights.push(weight);
        }
    }
}

/// Memory for counting values; kept between cells, all zero.
#[derive(Debug)]
pub(crate) struct Counts {
    sums: Vec<f64>,
    occupied: Vec<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            sums: vec![0.0; KEYS],
            occupied: vec![0; KEYS / 64],
        }
    }
}

impl Counts {
    fn distinct(&mut self, values: &[f32], weights: Option<&[f32]>) -> (Vec<f64>, Vec<f64>) {
        // Numbers below 2⁻¹⁴ keep fp16's steps, larger ones than it has are told apart by a slow sort.
        if values.iter().any(|value| value.abs() > 65504.0) {
            return sorted(values, weights);
        }
        for (index, value) in values.iter().enumerate() {
            let place = usize::from(key(f16::from_f32(*value).to_bits()));
            self.sums[place] += weights.map_or(1.0, |weights| f64::from(weights[index]));
            self.occupied[place / 64] |= 1 << (place % 64);
        }
        let (mut points, mut sums) = (Vec::new(), Vec::new());
        for (word, bits) in self.occupied.iter_mut().enumerate() {
            while *bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                *bits &= *bits - 1;
                let sum = std::mem::take(&mut self.sums[place]);
                if sum > 0.0 {
                    push(&mut points, &mut sums, f64::from(at_key(place as u16)), sum);
                }
            }
        }
        (points, sums)
    }
}

fn sorted(values: &[f32], weights: Option<&[f32]>) -> (Vec<f64>, Vec<f64>) {
    let round = |value: f32| f32::from_bits((value.to_bits() + 0x1000) & !0x1fff);
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut points, mut sums) = (Vec::new(), Vec::new());
    for index in order {
        let weight = weights.map_or(1.0, |weights| f64::from(weights[index]));
        if weight > 0.0 {
            push(&mut points, &mut sums, f64::from(round(values[index])), weight);
        }
    }
    (points, sums)
}

/// Most elements gathered at a time.
const GATHERED: usize = 1 << 22;
/// Most histograms kept at a time, half a mebibyte each.
const HISTOGRAMS: usize = 64;

/// Calls `fit` with the elements of each cell that `mask` keeps, and gives its results in the cells' order.
pub(crate) fn fit_cells<T: Send>(
    dense: &Dense,
    grid: &Grid,
    mask: Option<&Mask>,
    importance: Option<&Importance>,
    fit: impl Fn(&Sample<'_>, &mut Counts) -> T + Sync,
) -> Result<Vec<T>, QuantizeError> {
    let cells = grid.count();
    if grid.contiguous() && grid.cell_len() <= GATHERED {
        return contiguous(dense, grid, mask, importance, fit);
    }
    if cells <= HISTOGRAMS && dense.dtype == DataType::Fp16 {
        let histograms = histograms(dense, grid, mask, importance)?;
        return Ok(histograms
            .par_chunks(KEYS)
            .map_init(Counts::default, |counts, histogram| {
                fit(&Sample::Histogram(histogram), counts)
            })
            .collect());
    }
    let batch = (GATHERED / grid.cell_len().max(1)).max(1);
    let mut results = Vec::with_capacity(cells);
    for first in (0..cells).step_by(batch) {
        let last = (first + batch).min(cells);
        let gathered = gather(dense, grid, mask, importance, first..last)?;
        let fitted: Vec<T> = gathered
            .par_iter()
            .map_init(Counts::default, |counts, (values, weights)| {
                fit(
                    &Sample::Values(values, importance.map(|_| weights.as_slice())),
                    counts,
                )
            })
            .collect();
        results.extend(fitted);
    }
    Ok(results)
}

fn contiguous<T: Send>(
    dense: &Dense,
    grid: &Grid,
    mask: Option<&Mask>,
    importance: Option<&Importance>,
    fit: impl Fn(&Sample<'_>, &mut Counts) -> T + Sync,
) -> Result<Vec<T>, QuantizeError> {
    let (cells, size) = (grid.count(), grid.cell_len());
    let batch = (PIECE / size.max(1)).max(1);
    let batches: Vec<Vec<T>> = (0..cells.div_ceil(batch))
        .into_par_iter()
        .map_init(
            || {
                (
                    Piece::default(),
                    Counts::default(),
                    Vec::new(),
                    Vec::new(),
                    Vec::new(),
                )
            },
            |(piece, counts, weights, kept, kept_weights), index| {
                let first = index * batch;
                let last = (first + batch).min(cells);
                let start = first * size;
                dense.read(start..last * size, piece)?;
                dense.check_finite(start, &piece.values)?;
                if let Some(importance) = importance {
                    weights.resize(piece.values.len(), 0.0);
                    importance.fill(&grid.shape, start, weights);
                }
                let mut results = Vec::with_capacity(last - first);
                for cell in 0..last - first {
                    let range = cell * size..(cell + 1) * size;
                    let weights = importance.map(|_| &weights[range.clone()]);
                    let values = &piece.values[range.clone()];
                    results.push(match mask {
                        None => fit(&Sample::Values(values, weights), counts),
                        Some(mask) => {
                            kept.clear();
                            kept_weights.clear();
                            for (offset, value) in values.iter().enumerate() {
                                if mask.keeps(start + range.start + offset) {
                                    kept.push(*value);
                                    kept_weights.extend(weights.map(|weights| weights[offset]));
                                }
                            }
                            let weights = weights.map(|_| kept_weights.as_slice());
                            fit(&Sample::Values(kept, weights), counts)
                        }
                    });
                }
                Ok(results)
            },
        )
        .collect::<Result<_, QuantizeError>>()?;
    Ok(batches.into_iter().flatten().collect())
}

/// A histogram for each cell. Whole numbers add up alike in any order; other weights are added in one.
fn histograms(
    dense: &Dense,
    grid: &Grid,
    mask: Option<&Mask>,
    importance: Option<&Importance>,
) -> Result<Vec<f64>, QuantizeError> {
    let (len, cells) = (dense.len(), grid.count());
    let count = |range: std::ops::Range<usize>| {
        let mut sums = vec![0f64; cells * KEYS];
        let (mut piece, mut weights) = (Piece::default(), Vec::new());
        for index in range {
            let start = index * PIECE;
            let end = (start + PIECE).min(len);
            dense.read(start..end, &mut piece)?;
            dense.check_finite(start, &piece.values)?;
            if let Some(importance) = importance {
                weights.resize(end - start, 0.0);
                importance.fill(&grid.shape, start, &mut weights);
            }
            grid.stretches(start..end, |stretch, cell| {
                let sums = &mut sums[cell * KEYS..][..KEYS];
                for offset in stretch {
                    if mask.is_none_or(|mask| mask.keeps(start + offset)) {
                        let weight = if importance.is_some() {
                            f64::from(weights[offset])
                        } else {
                            1.0
                        };
                        sums[usize::from(key(piece.halves[offset]))] += weight;
                    }
                }
            });
        }
        Ok(sums)
    };
    let pieces = len.div_ceil(PIECE);
    // The strips are the same however many threads there are, so sums are too.
    let strips = (16 / cells).clamp(1, 8).min(pieces.max(1));
    let strip = pieces.div_ceil(strips);
    let parts: Vec<Vec<f64>> = (0..strips)
        .into_par_iter()
        .map(|index| count(index * strip..((index + 1) * strip).min(pieces)))
        .collect::<Result<_, QuantizeError>>()?;
    let mut parts = parts.into_iter();
    let mut sums = parts.next().unwrap_or_default();
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    Ok(sums)
}

/// Values and weights of some cells, wherever in the weight they are.
#[allow(clippy::type_complexity)] // a pair per cell
fn gather(
    dense: &Dense,
    grid: &Grid,
    mask: Option<&Mask>,
    importance: Option<&Importance>,
    wanted: std::ops::Range<usize>,
) -> Result<Vec<(Vec<f32>, Vec<f32>)>, QuantizeError> {
    let len = dense.len();
    let mut gathered = vec![(Vec::new(), Vec::new()); wanted.len()];
    let (mut piece, mut weights) = (Piece::default(), Vec::new());
    for start in (0..len).step_by(PIECE) {
        let end = (start + PIECE).min(len);
        dense.read(start..end, &mut piece)?;
        dense.check_finite(start, &piece.values)?;
        if let Some(importance) = importance {
            weights.resize(end - start, 0.0);
            importance.fill(&grid.shape, start, &mut weights);
        }
        grid.stretches(start..end, |stretch, cell| {
            if !wanted.contains(&cell) {
                return;
            }
            let (values, their_weights) = &mut gathered[cell - wanted.start];
            for offset in stretch {
                if mask.is_none_or(|mask| mask.keeps(start + offset)) {
                    values.push(piece.values[offset]);
                    if importance.is_some() {
                        their_weights.push(weights[offset]);
                    }
                }
            }
        });
    }
    Ok(gathered)
}
