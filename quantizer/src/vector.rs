//! Palettes of vectors: neighbouring output channels share an index.
//!
//! Lloyd's algorithm from a start that needs no chance: one cell at first, split in two along the direction it spreads
//! most in until there are enough (Linde, Buzo, Gray, 1980).

use std::sync::Arc;

use rayon::prelude::*;

use crate::codec::Deviation;
use crate::dense::{Dense, round_to};
use crate::emit::{Compressed, Content};
use crate::error::QuantizeError;
use crate::grid::Grid;
use crate::pack::pack;
use crate::palette;
use crate::scheme::Palette;
use crate::store::Store;
use crate::variant::Variant;

/// Rounds of Lloyd's algorithm after each split and at the end.
const ROUNDS: usize = 4;
const LAST_ROUNDS: usize = 40;

/// Compresses a weight whose cells and vectors are known to divide it.
pub(crate) fn compress(
    store: &Store,
    dense: &Dense,
    grid: Grid,
    palette: Palette,
    axis: usize,
) -> Result<Variant, QuantizeError> {
    let all = dense.to_vec()?;
    dense.check_finite(0, &all)?;
    let (length, bits) = (palette.vector, palette.bits.unwrap_or(8));
    let inner: usize = dense.shape[axis + 1..].iter().product();
    // The n-th vector starts here; its elements lie `inner` apart.
    let start = |vector: usize| vector / inner * inner * length + vector % inner;
    let count = all.len() / length;
    let mut cells = vec![Vec::new(); grid.count()];
    for vector in 0..count {
        cells[grid.cell_of_run(start(vector) / grid.run())].push(vector);
    }
    let tables: Vec<Vec<f32>> = cells
        .par_iter()
        .map(|members| {
            let points: Vec<f32> = members
                .iter()
                .flat_map(|vector| (0..length).map(|step| all[start(*vector) + step * inner]))
                .collect();
            cluster(&points, length, 1 << bits)
        })
        .collect();
    let mut level: Vec<f32> = tables.concat();
    level
        .iter_mut()
        .for_each(|entry| *entry = round_to(dense.dtype, *entry));
    let entries = (1 << bits) * length;
    let int8 = palette
        .int8_entries
        .then(|| palette::to_int8(&mut level, entries, dense.dtype));
    let mut codes = vec![0u8; count];
    let mut decoded = vec![0f32; all.len()];
    for (cell, members) in cells.iter().enumerate() {
        let table = &level[cell * entries..][..entries];
        let chosen: Vec<u8> = members
            .par_iter()
            .map(|vector| {
                let mut point = [0f32; 64];
                for (step, value) in point.iter_mut().take(length).enumerate() {
                    *value = all[start(*vector) + step * inner];
                }
                nearest(&point[..length], table).0 as u8
            })
            .collect();
        for (vector, code) in members.iter().zip(chosen) {
            codes[*vector] = code;
            for step in 0..length {
                decoded[start(*vector) + step * inner] = table[usize::from(code) * length + step];
            }
        }
    }
    let deviation = Deviation::measure(&all, &decoded);
    let codes = store.bytes(&pack(&codes, bits))?;
    Ok(Variant {
        compressed: Compressed {
            dtype: dense.dtype,
            grid,
            content: Content::Palette {
                bits,
                tables: level,
                int8,
                vector: Some((length, axis)),
            },
            mask: None,
            codes: Arc::new(codes),
        },
        deviation,
        note: None,
    })
}

/// The nearest vector of a table and its squared distance; the first of equals.
fn nearest(point: &[f32], table: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::INFINITY);
    for (index, entry) in table.chunks_exact(point.len()).enumerate() {
        let distance: f32 = point.iter().zip(entry).map(|(a, b)| (a - b) * (a - b)).sum();
        if distance < best.1 {
            best = (index, distance);
        }
    }
    best
}

/// `entries` centres for vectors of `length`.
fn cluster(points: &[f32], length: usize, entries: usize) -> Vec<f32> {
    let mut centres = mean(points, length);
    while centres.len() < entries * length {
        centres = split(points, length, &centres, entries);
        lloyd(points, length, &mut centres, ROUNDS);
    }
    lloyd(points, length, &mut centres, LAST_ROUNDS);
    centres
}

fn mean(points: &[f32], length: usize) -> Vec<f32> {
    let mut sum = vec![0f64; length];
    for point in points.chunks_exact(length) {
        sum.iter_mut()
            .zip(point)
            .for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = (points.len() / length).max(1) as f64;
    sum.iter().map(|sum| (sum / count) as f32).collect()
}

/// Splits the centres with the largest errors along the coordinate they err most in, up to `entries` of them.
fn split(points: &[f32], length: usize, centres: &[f32], entries: usize) -> Vec<f32> {
    let count = centres.len() / length;
    let mut errors = vec![0f64; centres.len()];
    let mut members = vec![0f64; count];
    for point in points.chunks_exact(length) {
        let (index, _) = nearest(point, centres);
        members[index] += 1.0;
        for step in 0..length {
            let off = f64::from(point[step] - centres[index * length + step]);
            errors[index * length + step] += off * off;
        }
    }
    let mut order: Vec<usize> = (0..count).collect();
    let total = |index: usize| errors[index * length..][..length].iter().sum::<f64>();
    order.sort_by(|a, b| total(*b).total_cmp(&total(*a)).then(a.cmp(b)));
    let mut all = centres.to_vec();
    for index in order.into_iter().take(entries - count) {
        let axis = (0..length)
            .max_by(|a, b| errors[index * length + a].total_cmp(&errors[index * length + b]))
            .unwrap_or(0);
        let spread = (errors[index * length + axis] / members[index].max(1.0)).sqrt() as f32;
        let mut other = centres[index * length..][..length].to_vec();
        other[axis] += spread * 0.8;
        all[index * length + axis] -= spread * 0.8;
        all.extend(other);
    }
    all
}

fn lloyd(points: &[f32], length: usize, centres: &mut [f32], rounds: usize) {
    let mut last = f64::INFINITY;
    for _ in 0..rounds {
        let chosen: Vec<(u32, f32)> = points
            .par_chunks_exact(length)
            .map(|point| {
                let (index, distance) = nearest(point, centres);
                (index as u32, distance)
            })
            .collect();
        let error: f64 = chosen.iter().map(|(_, distance)| f64::from(*distance)).sum();
        if error >= last * (1.0 - 1e-6) {
            break;
        }
        last = error;
        let mut sums = vec![0f64; centres.len()];
        let mut members = vec![0u32; centres.len() / length];
        for (point, (index, _)) in points.chunks_exact(length).zip(&chosen) {
            members[*index as usize] += 1;
            for (sum, value) in sums[*index as usize * length..].iter_mut().zip(point) {
                *sum += f64::from(*value);
            }
        }
        for (index, count) in members.iter().enumerate().filter(|(_, count)| **count > 0) {
            for step in 0..length {
                centres[index * length + step] = (sums[index * length + step] / f64::from(*count)) as f32;
            }
        }
    }
}
