//! Rounds a weight so that its errors cancel at the layer's outputs.
//!
//! The columns are rounded one after another, each making up for the errors of those before: with the metric's factor
//! R (upper triangular, R·Rᵀ = M), column j is asked for w_j + Σ_{k<j} (w_k − ŵ_k)·R_kj/R_jj. That is GPTQ (Frantar et
//! al., 2022) in the form QuIP gives it (Chee et al., 2023). Then each element in turn takes the best value for all the
//! others as they are, and each table or scale the best for all codes, for a few rounds; neither can make it worse.

use rayon::prelude::*;

use super::matrix::{add_scaled, rows_times, upper_factor};
use super::statistics::Metric;
use crate::codec::Codec;
use crate::dense::round_to;
use crate::grid::Grid;
use crate::vectorised::vectorised;
use corer_mil::DataType;

/// Rows that go through the columns together, so that the metric is read once for all of them.
const TOGETHER: usize = 8;

/// A weight on its way, rows of output channels; columns in the order they are rounded in.
#[derive(Debug)]
pub(crate) struct Rounding<'a> {
    n: usize,
    dtype: DataType,
    grid: &'a Grid,
    /// Which column of the weight stands where.
    order: Vec<usize>,
    gram: Vec<f32>,
    diagonal: Vec<f32>,
    target: Vec<f32>,
    pub(crate) codec: Codec,
    keep: Option<Vec<bool>>,
    value: Vec<f32>,
    code: Vec<u8>,
    /// (target − value)·gram, unless values changed since.
    pull: Option<Vec<f32>>,
}

impl<'a> Rounding<'a> {
    /// Starts with the target as it is. `target` and `keep` have the weight's own column order.
    pub(crate) fn new(
        metric: &Metric,
        target: &[f32],
        keep: Option<&[bool]>,
        codec: Codec,
        grid: &'a Grid,
        dtype: DataType,
    ) -> Self {
        let n = metric.n;
        let diagonal = metric.diagonal();
        // What matters most is rounded first, while there is most left to make up for it.
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
        let mut gram = vec![0f32; n * n];
        gram.par_chunks_mut(n).zip(&order).for_each(|(row, from)| {
            for (value, column) in row.iter_mut().zip(&order) {
                *value = metric.gram[from * n + column];
            }
        });
        fn reorder<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
            values
                .chunks(order.len())
                .flat_map(|row| order.iter().map(move |column| row[*column]))
                .collect()
        }
        let target = reorder(target, &order);
        Self {
            n,
            dtype,
            grid,
            diagonal: order.iter().map(|column| diagonal[*column]).collect(),
            gram,
            keep: keep.map(|keep| reorder(keep, &order)),
            value: target.clone(),
            code: vec![0; target.len()],
            pull: None,
            target,
            codec,
            order,
        }
    }

    /// The cells of a row's elements, column by column in rounding order.
    fn cells(&self, row: usize) -> Vec<u32> {
        let run = self.grid.run();
        let start = row * self.n;
        self.order
            .iter()
            .map(|column| self.grid.cell_of_run((start + column) / run) as u32)
            .collect()
    }

    /// Rounds column after column.
    pub(crate) fn feed_forward(&mut self) -> Option<()> {
        let n = self.n;
        let mut feed = upper_factor(&self.gram, n)?;
        let pivots: Vec<f32> = (0..n).map(|i| feed[i * n + i]).collect();
        feed.par_chunks_mut(n).for_each(|row| {
            for (value, pivot) in row.iter_mut().zip(&pivots) {
                *value /= pivot;
            }
        });
        self.pull = None;
        self.each_rows(|this, first, target, value, code| {
            let rows = value.len() / n;
            let cells: Vec<Vec<u32>> = (0..rows).map(|row| this.cells(first + row)).collect();
            let mut wanted = target.to_vec();
            vectorised(
                #[inline(always)]
                || {
                    #[allow(clippy::needless_range_loop)] // rows and columns of several arrays
                    for j in 0..n {
                        for row in 0..rows {
                            let at = row * n + j;
                            (code[at], value[at]) = this.round(cells[row][j], first * n + at, wanted[at]);
                            let error = target[at] - value[at];
                            add_scaled(
                                &mut wanted[row * n + j + 1..(row + 1) * n],
                                error,
                                &feed[j * n + j + 1..(j + 1) * n],
                            );
                        }
                    }
                },
            );
        });
        Some(())
    }

    /// Lets each element in turn take the best value for the others as they are; `rounds` times over.
    pub(crate) fn settle(&mut self, rounds: usize) {
        let n = self.n;
        let mut pull = self.pull();
        let (mut value, mut code) = (std::mem::take(&mut self.value), std::mem::take(&mut self.code));
        let size = TOGETHER * n;
        let this = &*self;
        let strips = value
            .par_chunks_mut(size)
            .zip(code.par_chunks_mut(size))
            .zip(pull.par_chunks_mut(size));
        strips.enumerate().for_each(|(index, ((value, code), pull))| {
            let first = index * TOGETHER;
            let rows = value.len() / n;
            let cells: Vec<Vec<u32>> = (0..rows).map(|row| this.cells(first + row)).collect();
            vectorised(
                #[inline(always)]
                || {
                    for _ in 0..rounds {
                        #[allow(clippy::needless_range_loop)] // rows and columns of several arrays
                        for j in 0..n {
                            for row in 0..rows {
                                let at = row * n + j;
                                let wanted = value[at] + pull[at] / this.diagonal[j];
                                let (new_code, new) = this.round(cells[row][j], first * n + at, wanted);
                                let change = new - value[at];
                                if change != 0.0 {
                                    (code[at], value[at]) = (new_code, new);
                                    add_scaled(
                                        &mut pull[row * n..(row + 1) * n],
                                        -change,
                                        &this.gram[j * n..(j + 1) * n],
                                    );
                                }
                            }
                        }
                    }
                },
            );
        });
        (self.value, self.code, self.pull) = (value, code, Some(pull));
    }

    /// Gives tables and scales the best values for the codes as they are.
    pub(crate) fn refit(&mut self) {
        if matches!(self.codec, Codec::Dense) {
            return;
        }
        let pull = self.pull();
        match &self.codec {
            Codec::Dense => {}
            Codec::Linear { .. } => self.refit_scales(&pull),
            Codec::Palette { .. } => self.refit_tables(&pull),
        }
        self.decode();
        self.pull = None;
    }

    /// (target − value)·gram.
    fn pull(&mut self) -> Vec<f32> {
        if let Some(pull) = self.pull.take() {
            return pull;
        }
        let off: Vec<f32> = self
            .target
            .iter()
            .zip(&self.value)
            .map(|(target, value)| target - value)
            .collect();
        rows_times(&off, &self.gram, self.n)
    }

    #[inline(always)]
    fn round(&self, cell: u32, at: usize, wanted: f32) -> (u8, f32) {
        if let Some(keep) = &self.keep
            && !keep[at]
        {
            return (0, 0.0);
        }
        let (code, value) = self.codec.code(cell as usize, wanted);
        (code, round_to(self.dtype, value))
    }

    fn each_rows(&mut self, work: impl Fn(&Self, usize, &[f32], &mut [f32], &mut [u8]) + Sync) {
        let (mut value, mut code) = (std::mem::take(&mut self.value), std::mem::take(&mut self.code));
        let size = TOGETHER * self.n;
        let this = &*self;
        value
            .par_chunks_mut(size)
            .zip(code.par_chunks_mut(size))
            .zip(this.target.par_chunks(size))
            .enumerate()
            .for_each(|(index, ((value, code), target))| work(this, index * TOGETHER, target, value, code));
        (self.value, self.code) = (value, code);
    }

    /// Values from codes, after parameters changed.
    fn decode(&mut self) {
        let n = self.n;
        self.each_rows(|this, first, _, value, code| {
            for row in 0..value.len() / n {
                let cells = this.cells(first + row);
                for (j, cell) in cells.iter().enumerate() {
                    let at = row * n + j;
                    let kept = this.keep.as_ref().is_none_or(|keep| keep[first * n + at]);
                    value[at] = if kept {
                        round_to(this.dtype, this.codec.decode(*cell as usize, code[at]))
                    } else {
                        0.0
                    };
                }
            }
        });
    }

    /// Each scale by the slope and curvature along its codes; cells of several rows are left as they are.
    fn refit_scales(&mut self, pull: &[f32]) {
        let n = self.n;
        let rows = self.target.len() / n;
        let Codec::Linear { linear, steps } = &self.codec else {
            return;
        };
        if steps.len() < rows {
            return;
        }
        let by_row: Vec<Vec<(u32, f32)>> = (0..rows)
            .into_par_iter()
            .map(|row| {
                let cells = self.cells(row);
                let mut members: Vec<(u32, Vec<usize>)> = Vec::new();
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by_key(|j| cells[*j]);
                for group in order.chunk_by(|a, b| cells[*a] == cells[*b]) {
                    members.push((cells[group[0]], group.to_vec()));
                }
                // Taken one after another, each for the others as they have become.
                let mut pull = pull[row * n..][..n].to_vec();
                let mut scales = Vec::with_capacity(members.len());
                for (cell, columns) in members {
                    let step = steps[cell as usize];
                    let direction: Vec<(usize, f32)> = columns
                        .iter()
                        .map(|j| (*j, self.value[row * n + j] / step.scale))
                        .filter(|(_, code)| *code != 0.0)
                        .collect();
                    let mut along = vec![0f32; n];
                    for (j, code) in &direction {
                        add_scaled(&mut along, *code, &self.gram[j * n..(j + 1) * n]);
                    }
                    let slope: f32 = direction.iter().map(|(j, code)| code * pull[*j]).sum();
                    let curvature: f32 = direction.iter().map(|(j, code)| code * along[*j]).sum();
                    if curvature > 0.0 {
                        let scale = round_to(self.dtype, step.scale + slope / curvature);
                        if scale > 0.0 {
                            add_scaled(&mut pull, -(scale - step.scale), &along);
                            scales.push((cell, scale));
                        }
                    }
                }
                scales
            })
            .collect();
        let (linear, mut steps) = (*linear, steps.clone());
        for (cell, scale) in by_row.into_iter().flatten() {
            steps[cell as usize].scale = scale;
        }
        self.codec = Codec::Linear { linear, steps };
    }

    /// Each table by least squares over all elements that use it; tables cut along the input channels are left.
    fn refit_tables(&mut self, pull: &[f32]) {
        let n = self.n;
        let rows = self.target.len() / n;
        let Codec::Palette { entries, tables } = &self.codec else {
            return;
        };
        let (entries, count) = (*entries, tables.len() / entries);
        if !rows.is_multiple_of(count) || self.grid.run() < n {
            return;
        }
        let per = rows / count;
        let refitted: Vec<Vec<f32>> = (0..count)
            .into_par_iter()
            .map(|cell| {
                let table = &tables[cell * entries..][..entries];
                // Fixed strips, so that sums do not depend on threads.
                let parts: Vec<(Vec<f64>, Vec<f64>)> = (0..per.div_ceil(64))
                    .into_par_iter()
                    .map(|strip| {
                        let first = cell * per + strip * 64;
                        self.normal_equations(first..(first + 64).min((cell + 1) * per), entries, pull)
                    })
                    .collect();
                let (mut normal, mut right) = (vec![0f64; entries * entries], vec![0f64; entries]);
                for (part, slope) in parts {
                    normal.iter_mut().zip(part).for_each(|(a, b)| *a += b);
                    right.iter_mut().zip(slope).for_each(|(a, b)| *a += b);
                }
                let mean = (0..entries).map(|i| normal[i * entries + i]).sum::<f64>() / entries as f64;
                let normal: Vec<f32> = normal
                    .iter()
                    .enumerate()
                    .map(|(at, value)| {
                        let damp = if at / entries == at % entries {
                            mean * 1e-4 + 1e-12
                        } else {
                            0.0
                        };
                        (value + damp) as f32
                    })
                    .collect();
                let mut change: Vec<f32> = right.iter().map(|value| *value as f32).collect();
                match upper_factor(&normal, entries) {
                    Some(factor) => super::matrix::solve_row(&mut change, &factor),
                    None => change.fill(0.0),
                }
                table
                    .iter()
                    .zip(change)
                    .map(|(entry, change)| round_to(self.dtype, entry + change))
                    .collect()
            })
            .collect();
        // Tables stay in order; a code follows its entry.
        let mut tables = Vec::with_capacity(count * entries);
        let mut places = Vec::with_capacity(count * entries);
        for table in refitted {
            let mut order: Vec<usize> = (0..entries).collect();
            order.sort_by(|a, b| table[*a].total_cmp(&table[*b]));
            let mut place = vec![0u8; entries];
            for (position, entry) in order.iter().enumerate() {
                place[*entry] = position as u8;
            }
            tables.extend(order.iter().map(|entry| table[*entry]));
            places.extend(place);
        }
        for (at, code) in self.code.iter_mut().enumerate() {
            *code = places[at / n / per * entries + usize::from(*code)];
        }
        self.codec = Codec::Palette { entries, tables };
    }

    /// How the error of some rows curves and slopes with each entry.
    fn normal_equations(
        &self,
        rows: std::ops::Range<usize>,
        entries: usize,
        pull: &[f32],
    ) -> (Vec<f64>, Vec<f64>) {
        let n = self.n;
        let (mut normal, mut right) = (vec![0f64; entries * entries], vec![0f64; entries]);
        let mut along = vec![0f32; entries * n];
        for row in rows {
            along.fill(0.0);
            let kept = |j: usize| self.keep.as_ref().is_none_or(|keep| keep[row * n + j]);
            vectorised(
                #[inline(always)]
                || {
                    for j in (0..n).filter(|j| kept(*j)) {
                        let entry = usize::from(self.code[row * n + j]);
                        add_scaled(
                            &mut along[entry * n..(entry + 1) * n],
                            1.0,
                            &self.gram[j * n..(j + 1) * n],
                        );
                    }
                },
            );
            for j in (0..n).filter(|j| kept(*j)) {
                let entry = usize::from(self.code[row * n + j]);
                right[entry] += f64::from(pull[row * n + j]);
                for other in 0..entries {
                    normal[other * entries + entry] += f64::from(along[other * n + j]);
                }
            }
        }
        (normal, right)
    }

    /// Zeroes, among what is kept, the elements that are missed least, until `kept` of them are left.
    pub(crate) fn prune(&mut self, kept: usize, inverse_diagonal: &[f32]) {
        let n = self.n;
        self.pull = None;
        let mut keep = self.keep.take().unwrap_or_else(|| vec![true; self.value.len()]);
        let missed = |at: usize| {
            let value = self.value[at];
            value * value / inverse_diagonal[self.order[at % n]]
        };
        let mut candidates: Vec<usize> = (0..keep.len()).filter(|at| keep[*at]).collect();
        let excess = candidates.len().saturating_sub(kept);
        if excess > 0 && excess < candidates.len() {
            candidates
                .select_nth_unstable_by(excess, |a, b| missed(*a).total_cmp(&missed(*b)).then(a.cmp(b)));
        }
        for at in &candidates[..excess] {
            keep[*at] = false;
            self.value[*at] = 0.0;
        }
        self.keep = Some(keep);
    }

    /// Values, codes and what is kept, in the weight's own column order.
    pub(crate) fn finish(self) -> (Vec<f32>, Vec<u8>, Option<Vec<bool>>, Codec) {
        let n = self.n;
        let mut place = vec![0; n];
        for (position, column) in self.order.iter().enumerate() {
            place[*column] = position;
        }
        fn restore<T: Copy>(values: &[T], place: &[usize]) -> Vec<T> {
            values
                .chunks(place.len())
                .flat_map(|row| place.iter().map(move |position| row[*position]))
                .collect()
        }
        let keep = self.keep.as_ref().map(|keep| restore(keep, &place));
        (
            restore(&self.value, &place),
            restore(&self.code, &place),
            keep,
            self.codec,
        )
    }
}
