//! Tables of palettized weights.

use corer_mil::{DataType, Opset};

use crate::dense::round_to;
use crate::kmeans::Points;
use crate::sample::{Counts, Sample};
use crate::scheme::{Mode, PALETTE_BITS, Palette};

/// The entries for a cell, ascending and as the type can hold them: as many as are of use, `1 << bits` at most.
///
/// `None` when a unique palette would need more of them; one that may have any width takes up to 256.
pub(crate) fn fit(
    sample: &Sample<'_>,
    palette: Palette,
    dtype: DataType,
    counts: &mut Counts,
) -> Option<Vec<f32>> {
    let (values, weights) = sample.distinct(counts);
    let entries = 1usize << palette.bits.unwrap_or(8);
    let mut table: Vec<f32> = match palette.mode {
        Mode::Unique if values.len() > entries => return None,
        _ if values.is_empty() => vec![0.0],
        Mode::Unique => values.iter().map(|value| *value as f32).collect(),
        Mode::Uniform => {
            let (low, high) = (values[0], values[values.len() - 1]);
            (0..entries)
                .map(|entry| (low + (high - low) * entry as f64 / (entries - 1) as f64) as f32)
                .collect()
        }
        Mode::KMeans => Points::new(&values, &weights)
            .means(entries)
            .into_iter()
            .map(|mean| mean as f32)
            .collect(),
    };
    for entry in &mut table {
        *entry = round_to(dtype, *entry);
    }
    Some(table)
}

/// The narrowest palette of an opset that has room for the longest table.
pub(crate) fn width(tables: &[Vec<f32>], opset: Opset) -> u32 {
    let longest = tables.iter().map(Vec::len).max().unwrap_or(1);
    PALETTE_BITS
        .into_iter()
        .filter(|bits| *bits != 3 || opset >= Opset::CoreMl8)
        .find(|bits| 1 << bits >= longest)
        .unwrap_or(8)
}

/// Tables one after another, each filled up to `entries` with its last entry.
pub(crate) fn level(tables: &[Vec<f32>], entries: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(tables.len() * entries);
    for table in tables {
        all.extend_from_slice(table);
        let last = table.last().copied().unwrap_or_default();
        all.resize(all.len() + entries - table.len(), last);
    }
    all
}

/// Rounds each table's entries to int8 codes times a scale of its own: codes and scales.
pub(crate) fn to_int8(tables: &mut [f32], entries: usize, dtype: DataType) -> (Vec<i8>, Vec<f32>) {
    let (mut codes, mut scales) = (Vec::with_capacity(tables.len()), Vec::new());
    for table in tables.chunks_mut(entries) {
        let largest = table.iter().fold(0f32, |largest, entry| largest.max(entry.abs()));
        let mut scale = round_to(dtype, largest / 127.0);
        if scale == 0.0 {
            scale = 1.0;
        }
        for entry in table {
            let code = (*entry / scale).round_ties_even().clamp(-127.0, 127.0);
            codes.push(code as i8);
            *entry = round_to(dtype, code * scale);
        }
        scales.push(scale);
    }
    (codes, scales)
}
