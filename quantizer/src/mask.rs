//! Which elements of a weight are kept.

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
    const HIGH: usize = 1 << 16;
    let rank = (ratio * dense.len().saturating_sub(1) as f64) as u64;
    // Magnitudes order as their bits do: first by the upper 16 of 31 bits, then by the lower 15 of those that tie.
    let key = |value: &f32| value.to_bits() & 0x7fff_ffff;
    let count = |of: &(dyn Fn(u32) -> Option<usize> + Sync)| {
        let add = |mut a: Vec<u64>, b: Vec<u64>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        let len = dense.len();
        (0..len.div_ceil(PIECE))
            .into_par_iter()
            .with_min_len(16)
            .try_fold(
                || (vec![0u64; HIGH], Piece::default()),
                |(mut counts, mut piece), index| {
                    let start = index * PIECE;
                    dense.read(start..(start + PIECE).min(len), &mut piece)?;
                    dense.check_finite(start, &piece.values)?;
                    for value in &piece.values {
                        if let Some(bin) = of(key(value)) {
                            counts[bin] += 1;
                        }
                    }
                    Ok::<_, QuantizeError>((counts, piece))
                },
            )
            .map(|result| result.map(|(counts, _)| counts))
            .try_reduce(|| vec![0; HIGH], |a, b| Ok(add(a, b)))
    };
    let find = |counts: &[u64], mut rank: u64| {
        for (bin, count) in counts.iter().enumerate() {
            if rank < *count {
                return (bin as u32, rank);
            }
            rank -= count;
        }
        (counts.len() as u32 - 1, 0)
    };
    let (high, rest) = find(&count(&|key| Some((key >> 15) as usize))?, rank);
    let (low, _) = find(
        &count(&|key| (key >> 15 == high).then_some((key & 0x7fff) as usize))?,
        rest,
    );
    Ok(f32::from_bits(high << 15 | low))
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
