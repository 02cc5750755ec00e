//! Palettes of vectors: neighbouring output channels share an index.
//!
//! Lloyd's algorithm from a start that needs no chance: one cell at first, split in two along the direction it spreads
//! most in until there are enough (Linde, Buzo, Gray, 1980). A large cell is first fitted on a sample of its vectors,
//! then a few rounds on all of them. The weight is read in pieces each time, never held whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::codec::Deviation;
use crate::dense::{Dense, PIECE, Piece, round_to};
use crate::emit::{Compressed, Content};
use crate::error::QuantizeError;
use crate::grid::Grid;
use crate::pack::pack;
use crate::palette;
use crate::scheme::Palette;
use crate::store::Store;
use crate::variant::Variant;
use crate::vectorised::vectorised;

/// Rounds of Lloyd's algorithm after each split and at the end.
const ROUNDS: usize = 4;
const LAST_ROUNDS: usize = 40;
/// Rounds on all vectors after those on a sample.
const WHOLE_ROUNDS: usize = 3;
/// Vectors a table is first fitted on: so many for each of its entries, and in all.
const SAMPLE_PER_ENTRY: usize = 512;
const SAMPLE: usize = 1 << 16;

/// Compresses a weight whose cells and vectors are known to divide it.
pub(crate) fn compress(
    store: &Store,
    dense: &Dense,
    grid: Grid,
    palette: Palette,
    axis: usize,
) -> Result<Variant, QuantizeError> {
    let (length, bits) = (palette.vector, palette.bits.unwrap_or(8));
    let walk = Walk::new(dense, &grid, length, axis);
    let mut level = walk.tables(1 << bits)?;
    level
        .iter_mut()
        .for_each(|entry| *entry = round_to(dense.dtype, *entry));
    let entries = (1 << bits) * length;
    let int8 = palette
        .int8_entries
        .then(|| palette::to_int8(&mut level, entries, dense.dtype));
    let encoded = walk.pieces(|vectors| vectors.encode(&level, entries))?;
    let mut codes = Vec::with_capacity(walk.count());
    let mut deviation = Deviation::default();
    for (part, off) in encoded {
        codes.extend(part);
        deviation = deviation.and(off);
    }
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

/// A weight's vectors in row-major order. Those of one band of the vectors' axis follow each other with their first
/// coordinates, then their second ones, and so on.
struct Walk<'a> {
    dense: &'a Dense,
    grid: &'a Grid,
    length: usize,
    /// Vectors of a band.
    inner: usize,
    /// Bands read at a time.
    bands: usize,
}

/// The vectors of a piece.
struct Vectors {
    /// The first one's index.
    start: usize,
    count: usize,
    length: usize,
    /// All first coordinates, all second ones, …
    points: Vec<f32>,
    /// Which of them lie in which cell.
    runs: Vec<(usize, Range<usize>)>,
}

impl<'a> Walk<'a> {
    fn new(dense: &'a Dense, grid: &'a Grid, length: usize, axis: usize) -> Self {
        let inner: usize = dense.shape[axis + 1..].iter().product();
        Self {
            dense,
            grid,
            length,
            inner,
            bands: (PIECE / (inner * length).max(1)).max(1),
        }
    }

    fn count(&self) -> usize {
        self.dense.len() / self.length
    }

    /// Reads all vectors in pieces and gives what `visit` makes of them, in order.
    fn pieces<T: Send>(&self, visit: impl Fn(&Vectors) -> T + Sync) -> Result<Vec<T>, QuantizeError> {
        let step = self.bands * self.inner * self.length;
        (0..self.dense.len().div_ceil(step.max(1)))
            .into_par_iter()
            .map_init(Piece::default, |piece, index| {
                let start = index * step;
                let end = (start + step).min(self.dense.len());
                self.dense.read(start..end, piece)?;
                self.dense.check_finite(start, &piece.values)?;
                Ok(visit(&self.vectors(start, &piece.values)))
            })
            .collect()
    }

    fn vectors(&self, start: usize, values: &[f32]) -> Vectors {
        let (inner, length) = (self.inner, self.length);
        let count = values.len() / length;
        let mut points = vec![0.0; values.len()];
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        for (band, values) in values.chunks_exact(inner * length).enumerate() {
            for (step, row) in values.chunks_exact(inner).enumerate() {
                points[step * count + band * inner..][..inner].copy_from_slice(row);
            }
            let first = start + band * inner * length;
            self.grid.stretches(first..first + inner, |stretch, cell| {
                let stretch = band * inner + stretch.start..band * inner + stretch.end;
                match runs.last_mut() {
                    Some((last, run)) if *last == cell && run.end == stretch.start => run.end = stretch.end,
                    _ => runs.push((cell, stretch)),
                }
            });
        }
        Vectors {
            start: start / length,
            count,
            length,
            points,
            runs,
        }
    }

    /// A table of `entries` vectors for each cell, one after the other.
    fn tables(&self, entries: usize) -> Result<Vec<f32>, QuantizeError> {
        let (cells, length) = (self.grid.count(), self.length);
        let per_cell = self.count() / cells.max(1);
        let wanted = (entries * SAMPLE_PER_ENTRY).max(SAMPLE);
        let stride = per_cell.div_ceil(wanted).max(1);
        let parts = self.pieces(|vectors| vectors.sample(stride))?;
        let mut samples = vec![vec![Vec::new(); length]; cells];
        for part in parts {
            for (cell, coordinates) in part {
                for (all, more) in samples[cell].iter_mut().zip(coordinates) {
                    all.extend(more);
                }
            }
        }
        let mut tables: Vec<f32> = samples
            .into_par_iter()
            .flat_map_iter(|sample| cluster(&sample.concat(), length, entries))
            .collect();
        if stride > 1 {
            for _ in 0..WHOLE_ROUNDS {
                let parts = self.pieces(|vectors| vectors.sums(&tables, entries))?;
                let mut all: BTreeMap<usize, Sums> = BTreeMap::new();
                for part in parts {
                    for (cell, sums) in part {
                        match all.get_mut(&cell) {
                            Some(all) => all.add(&sums),
                            None => drop(all.insert(cell, sums)),
                        }
                    }
                }
                for (cell, sums) in all {
                    sums.centres(&mut tables[cell * entries * length..][..entries * length]);
                }
            }
        }
        Ok(tables)
    }
}

impl Vectors {
    /// A vector in `stride` of each cell, picked by its index; coordinates apart.
    fn sample(&self, stride: usize) -> Vec<(usize, Vec<Vec<f32>>)> {
        // Multiplication by the golden ratio spreads indices evenly, whatever period the weight has.
        let taken = |vector: usize| {
            let spread = (vector as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            (spread * stride as u64) >> 32 == 0
        };
        let pick = |(cell, run): &(usize, Range<usize>)| {
            let picked: Vec<usize> = run.clone().filter(|at| taken(self.start + at)).collect();
            let coordinate = |step: usize| {
                let all = &self.points[step * self.count..];
                picked.iter().map(|at| all[*at]).collect()
            };
            (*cell, (0..self.length).map(coordinate).collect())
        };
        self.runs.iter().map(pick).collect()
    }

    /// Gives the vectors of a run the codes of the entries of `table` nearest to them.
    fn assign(&self, run: Range<usize>, table: &[f32], codes: &mut [u8]) {
        nearest(&self.points, self.count, run, table, self.length, codes);
    }

    /// What Lloyd's algorithm needs of these vectors, by cell.
    fn sums(&self, tables: &[f32], entries: usize) -> BTreeMap<usize, Sums> {
        let mut all = BTreeMap::new();
        let size = entries * self.length;
        let mut codes = vec![0; self.count];
        for (cell, run) in &self.runs {
            let table = &tables[cell * size..][..size];
            self.assign(run.clone(), table, &mut codes);
            let sums = all
                .entry(*cell)
                .or_insert_with(|| Sums::new(entries, self.length));
            sums.collect(&self.points, self.count, run.clone(), &codes);
        }
        all
    }

    /// The vectors' codes, and how far they are off.
    fn encode(&self, tables: &[f32], size: usize) -> (Vec<u8>, Deviation) {
        let mut codes = vec![0; self.count];
        let mut decoded = vec![0f32; self.points.len()];
        for (cell, run) in &self.runs {
            let table = &tables[cell * size..][..size];
            self.assign(run.clone(), table, &mut codes);
            for step in 0..self.length {
                let decoded = &mut decoded[step * self.count..][run.clone()];
                for (decoded, code) in decoded.iter_mut().zip(&codes[run.clone()]) {
                    *decoded = table[usize::from(*code) * self.length + step];
                }
            }
        }
        let deviation = Deviation::measure(&self.points, &decoded);
        (codes, deviation)
    }
}

/// Vectors handled at once.
const LANES: usize = 16;

/// Gives each vector of `run` the entry of `table` nearest to it, the first of equals; coordinates lie `count` apart.
/// Returns the sum of squared distances.
fn nearest(
    points: &[f32],
    count: usize,
    run: Range<usize>,
    table: &[f32],
    length: usize,
    codes: &mut [u8],
) -> f64 {
    let mut sum = 0.0;
    vectorised(
        #[inline(always)]
        || {
            let mut total = 0f64;
            let mut at = run.start;
            let mut block = vec![[0f32; LANES]; length];
            while at < run.end {
                let lanes = (run.end - at).min(LANES);
                for (step, block) in block.iter_mut().enumerate() {
                    block[..lanes].copy_from_slice(&points[step * count + at..][..lanes]);
                }
                let (mut best, mut least) = ([0u32; LANES], [f32::INFINITY; LANES]);
                for (index, entry) in table.chunks_exact(length).enumerate() {
                    let mut distance = [0f32; LANES];
                    for (block, entry) in block.iter().zip(entry) {
                        for lane in 0..LANES {
                            let off = block[lane] - entry;
                            distance[lane] += off * off;
                        }
                    }
                    for lane in 0..LANES {
                        let nearer = distance[lane] < least[lane];
                        least[lane] = if nearer { distance[lane] } else { least[lane] };
                        best[lane] = if nearer { index as u32 } else { best[lane] };
                    }
                }
                for lane in 0..lanes {
                    codes[at + lane] = best[lane] as u8;
                    total += f64::from(least[lane]);
                }
                at += lanes;
            }
            sum = total;
        },
    );
    sum
}

/// Sums of the vectors of each entry.
struct Sums {
    sums: Vec<f64>,
    members: Vec<u64>,
}

impl Sums {
    fn new(entries: usize, length: usize) -> Self {
        Self {
            sums: vec![0.0; entries * length],
            members: vec![0; entries],
        }
    }

    fn collect(&mut self, points: &[f32], count: usize, run: Range<usize>, codes: &[u8]) {
        let length = self.sums.len() / self.members.len();
        for code in &codes[run.clone()] {
            self.members[usize::from(*code)] += 1;
        }
        for step in 0..length {
            let values = &points[step * count..][run.clone()];
            for (value, code) in values.iter().zip(&codes[run.clone()]) {
                self.sums[usize::from(*code) * length + step] += f64::from(*value);
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.members
            .iter_mut()
            .zip(&other.members)
            .for_each(|(a, b)| *a += b);
    }

    /// The means; an entry without vectors stays where it is.
    fn centres(&self, centres: &mut [f32]) {
        let length = self.sums.len() / self.members.len();
        let rows = centres
            .chunks_exact_mut(length)
            .zip(self.sums.chunks_exact(length));
        for ((centre, sums), count) in rows.zip(&self.members).filter(|(_, count)| **count > 0) {
            for (centre, sum) in centre.iter_mut().zip(sums) {
                *centre = (sum / *count as f64) as f32;
            }
        }
    }
}

/// `entries` centres for vectors of `length`, coordinates apart.
fn cluster(points: &[f32], length: usize, entries: usize) -> Vec<f32> {
    let count = points.len() / length;
    let mut codes = vec![0; count];
    let mut centres = vec![0.0; length];
    // With one entry every vector has code 0: the sums are the mean's.
    let mut all = Sums::new(1, length);
    all.collect(points, count, 0..count, &codes);
    all.centres(&mut centres);
    while centres.len() < entries * length {
        nearest(points, count, 0..count, &centres, length, &mut codes);
        centres = split(points, length, &codes, &centres, entries);
        lloyd(points, length, &mut codes, &mut centres, ROUNDS);
    }
    lloyd(points, length, &mut codes, &mut centres, LAST_ROUNDS);
    centres
}

/// Splits the centres with the largest errors along the coordinate they err most in, up to `entries` of them.
fn split(points: &[f32], length: usize, codes: &[u8], centres: &[f32], entries: usize) -> Vec<f32> {
    let count = centres.len() / length;
    let mut errors = vec![0f64; centres.len()];
    let mut members = vec![0f64; count];
    for code in codes {
        members[usize::from(*code)] += 1.0;
    }
    for (step, values) in points.chunks_exact(codes.len().max(1)).enumerate() {
        for (value, code) in values.iter().zip(codes) {
            let place = usize::from(*code) * length + step;
            let off = f64::from(value - centres[place]);
            errors[place] += off * off;
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

fn lloyd(points: &[f32], length: usize, codes: &mut [u8], centres: &mut [f32], rounds: usize) {
    let count = codes.len();
    let mut last = f64::INFINITY;
    for _ in 0..rounds {
        let error = nearest(points, count, 0..count, centres, length, codes);
        if error >= last * (1.0 - 1e-6) {
            break;
        }
        last = error;
        let mut sums = Sums::new(centres.len() / length, length);
        sums.collect(points, count, 0..count, codes);
        sums.centres(centres);
    }
}
