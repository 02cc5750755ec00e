//! Which elements of a weight are kept.

use corer_mil::DataType;
use half::f16;
use rayon::prelude::*;

use crate::dense::{Dense, PIECE, Piece};
use crate::error::QuantizeError;
use crate::scheme::Prune;

/// A bit per element, least significant first, as Core ML stores masks; set where the element is kept.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    pub(crate) bits: Vec<u8>,
    /// Kept elements before each piece, and at last all of them.
    before: Vec<usize>,
}

impl Mask {
    /// From a bit per element; padding bits must be zero.
    pub(crate) fn new(bits: Vec<u8>) -> Self {
        let mut before = vec![0];
        let mut kept = 0usize;
        for piece in bits.chunks(PIECE / 8) {
            kept += piece.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
            before.push(kept);
        }
        Self { bits, before }
    }

    /// Keeps what `keep` says of each element.
    pub(crate) fn from_fn(len: usize, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut bits = vec![0u8; len.div_ceil(8)];
        for index in 0..len {
            bits[index / 8] |= u8::from(keep(index)) << (index % 8);
        }
        Self::new(bits)
    }

    /// Number of kept elements.
    pub(crate) fn kept(&self) -> usize {
        self.before.last().copied().unwrap_or_default()
    }

    /// Kept elements before the piece that starts at `start`, a multiple of [`PIECE`].
    pub(crate) fn before(&self, start: usize) -> usize {
        self.before[start / PIECE]
    }

    #[inline(always)]
    pub(crate) fn keeps(&self, index: usize) -> bool {
        self.bits[index / 8] >> (index % 8) & 1 == 1
    }
}

/// The axes pruning goes by: output channels and input channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Channels {
    pub(crate) output: usize,
    pub(crate) input: usize,
}

/// Chooses what is kept by magnitude alone.
pub(crate) fn by_magnitude(dense: &Dense, prune: Prune, channels: Channels) -> Result<Mask, QuantizeError> {
    match prune {
        Prune::Threshold(threshold) => above(dense, threshold),
        Prune::Ratio(ratio) => above(dense, quantile(dense, ratio)?),
        Prune::Neighbours { zeros, of } => neighbours(dense, zeros, of, channels.input),
        Prune::Blocks { ratio, size } => blocks(dense, ratio, size, channels.output),
    }
}

/// The pieces' results in order.
fn pieces<T: Send>(dense: &Dense, work: impl Fn(usize, &Piece) -> T + Sync) -> Result<Vec<T>, QuantizeError> {
    let len = dense.len();
    (0..len.div_ceil(PIECE))
        .into_par_iter()
        .map_init(Piece::default, |piece, index| {
            let start = index * PIECE;
            dense.read(start..(start + PIECE).min(len), piece)?;
            dense.check_finite(start, &piece.values)?;
            Ok(work(start, piece))
        })
        .collect()
}

/// Keeps magnitudes above `threshold`.
fn above(dense: &Dense, threshold: f32) -> Result<Mask, QuantizeError> {
    let parts = pieces(dense, |_, piece| {
        let mut bits = Vec::with_capacity(piece.values.len().div_ceil(8));
        for eight in piece.values.chunks(8) {
            let mut byte = 0u8;
            for (bit, value) in eight.iter().enumerate() {
                byte |= u8::from(value.abs() > threshold) << bit;
            }
            bits.push(byte);
        }
        bits
    })?;
    Ok(Mask::new(parts.concat()))
}

/// The magnitude of rank ⌊ratio · (N − 1)⌋: all up to it are pruned, as Core ML Tools' percentile has it.
fn quantile(dense: &Dense, ratio: f64) -> Result<f32, QuantizeError> {
    let rank = (ratio * dense.len().saturating_sub(1) as f64) as u64;
    // Magnitudes order as their bits do. Those of fp16 are few enough to be counted one by one; others are found by the
    // upper 16 of 31 bits, then by the lower 15 of those that tie.
    if dense.dtype == DataType::Fp16 {
        let counts = counts(dense, |piece, counts| {
            for half in &piece.halves {
                counts[usize::from(half & 0x7fff)] += 1;
            }
        })?;
        return Ok(f16::from_bits(find(&counts, rank).0 as u16).to_f32());
    }
    let key = |value: &f32| value.to_bits() & 0x7fff_ffff;
    let upper = counts(dense, |piece, counts| {
        for value in &piece.values {
            counts[(key(value) >> 15) as usize] += 1;
        }
    })?;
    let (high, rest) = find(&upper, rank);
    let lower = counts(dense, |piece, counts| {
        for key in piece.values.iter().map(key).filter(|key| key >> 15 == high) {
            counts[(key & 0x7fff) as usize] += 1;
        }
    })?;
    Ok(f32::from_bits(high << 15 | find(&lower, rest).0))
}

/// What `add` counts in every piece.
fn counts(dense: &Dense, add: impl Fn(&Piece, &mut [u64]) + Sync) -> Result<Vec<u64>, QuantizeError> {
    const BINS: usize = 1 << 16;
    let len = dense.len();
    (0..len.div_ceil(PIECE))
        .into_par_iter()
        .with_min_len(16)
        .try_fold(
            || (vec![0u64; BINS], Piece::default()),
            |(mut counts, mut piece), index| {
                let start = index * PIECE;
                dense.read(start..(start + PIECE).min(len), &mut piece)?;
                dense.check_finite(start, &piece.values)?;
                add(&piece, &mut counts);
                Ok::<_, QuantizeError>((counts, piece))
            },
        )
        .map(|result| result.map(|(counts, _)| counts))
        .try_reduce(
            || vec![0; BINS],
            |mut a, b| {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                Ok(a)
            },
        )
}

/// The bin with the element of a rank, and its rank there.
fn find(counts: &[u64], mut rank: u64) -> (u32, u64) {
    for (bin, count) in counts.iter().enumerate() {
        if rank < *count {
            return (bin as u32, rank);
        }
        rank -= count;
    }
    (counts.len() as u32 - 1, 0)
}

/// Zeroes the smallest of each few neighbours along `axis`; what is missing from the last few counts as zero already.
fn neighbours(dense: &Dense, zeros: usize, of: usize, axis: usize) -> Result<Mask, QuantizeError> {
    let all = dense.to_vec()?;
    dense.check_finite(0, &all)?;
    let size = dense.shape[axis];
    let inner: usize = dense.shape[axis + 1..].iter().product();
    let mut keep: Vec<bool> = all.iter().map(|value| *value != 0.0).collect();
    let mut order = Vec::with_capacity(of);
    for row in 0..all.len() / (size * inner).max(1) {
        for column in 0..inner {
            for first in (0..size).step_by(of) {
                let place = |position: usize| (row * size + position) * inner + column;
                let last = (first + of).min(size);
                order.clear();
                order.extend((first..last).map(place));
                order.sort_by(|a, b| all[*a].abs().total_cmp(&all[*b].abs()));
                let missing = of - (last - first);
                for place in &order[..zeros.saturating_sub(missing).min(order.len())] {
                    keep[*place] = false;
                }
            }
        }
    }
    Ok(Mask::from_fn(all.len(), |index| keep[index]))
}

/// Zeroes blocks of neighbours along `axis` with the smallest root of summed squares.
fn blocks(dense: &Dense, ratio: f64, size: usize, axis: usize) -> Result<Mask, QuantizeError> {
    let all = dense.to_vec()?;
    dense.check_finite(0, &all)?;
    let channels = dense.shape[axis];
    let inner: usize = dense.shape[axis + 1..].iter().product();
    let across = channels.div_ceil(size);
    let block_of = |index: usize| {
        let (row, column) = (index / inner, index % inner);
        (row / channels * across + row % channels / size) * inner + column
    };
    let count = all.len() / (channels * inner).max(1) * across * inner;
    let (mut sums, mut members) = (vec![0f64; count], vec![0u64; count]);
    for (index, value) in all.iter().enumerate() {
        sums[block_of(index)] += f64::from(*value) * f64::from(*value);
        members[block_of(index)] += 1;
    }
    // The rank counts elements, so that a short last block weighs no more than it holds.
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| sums[*a].total_cmp(&sums[*b]));
    let rank = (ratio * all.len().saturating_sub(1) as f64) as u64;
    let mut passed = 0;
    let mut threshold = 0.0;
    for block in order {
        threshold = sums[block];
        passed += members[block];
        if passed > rank {
            break;
        }
    }
    Ok(Mask::from_fn(all.len(), |index| {
        all[index] != 0.0 && sums[block_of(index)] > threshold
    }))
}
