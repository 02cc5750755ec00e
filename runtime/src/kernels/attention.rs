//! `scaled_dot_product_attention`: one head's scores stay in cache from the first product to the second.

use std::sync::{Mutex, PoisonError};

use crate::vectorised::vectorised;

use super::matmul::with_scratch;
use super::softmax::softmax_row;
use super::{Fault, Io, Kernel};
use crate::ane::{Accumulator, flush_subnormals};
use crate::gemm::{self, Bias, Epilogue, Layout, Product, Side, Sums, Target, Tiles};
use crate::half_values::Rounding;
use crate::plan::{Emit, Op, Reason};
use crate::team::Team;
use crate::view::{Nest, View, count, row_major};

/// Queries worked on at a time: enough to keep the register tile busy, few enough that their scores stay close.
const QUERIES: usize = 192;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mask {
    None,
    /// Added to the scores.
    Term,
    /// Where false, no attention.
    Flag,
}

#[derive(Debug)]
struct Attention {
    query: Layout,
    /// Keys as the right operand: (E, S).
    key: Layout,
    value: Layout,
    /// Batch axes: strides of query, key, value, mask and result.
    batch: Nest,
    mask: Mask,
    mask_offset: usize,
    /// Strides of the mask over queries and keys.
    mask_strides: [isize; 2],
    scale: f32,
    accumulator: Accumulator,
    round: Rounding,
}

impl Attention {
    /// Computes all of `output`, and measures the sums of both products if there is somewhere to put them.
    fn all(&self, inputs: &[&[u32]], output: &mut [f32], team: Team, sums: Option<&Mutex<Sums>>) {
        let (length, keys, width) = (self.query.rows, self.key.columns, self.value.columns);
        let data: [&[f32]; 3] = std::array::from_fn(|input| bytemuck::cast_slice(inputs[input]));
        let mask = if self.mask == Mask::None {
            &[][..]
        } else {
            inputs[3]
        };
        let parts = length.div_ceil(QUERIES);
        let tiles = Tiles::new(output);
        let most = QUERIES.min(length);
        let words = [
            gemm::panel_words(Side::Left, most, self.query.columns),
            self.key.words(Side::Right),
            self.value.words(Side::Right),
            most * keys,
            gemm::panel_words(Side::Left, most, keys),
        ];
        team.each(count(&self.batch.sizes) * parts, |task| {
            let (item, first) = (task / parts, task % parts * QUERIES);
            let rows = QUERIES.min(length - first);
            let (mut rest, mut at) = (item, [0isize; 5]);
            for axis in (0..self.batch.sizes.len()).rev() {
                let position = (rest % self.batch.sizes[axis]) as isize;
                rest /= self.batch.sizes[axis];
                for (at, strides) in at.iter_mut().zip(&self.batch.strides) {
                    *at += position * strides[axis];
                }
            }
            let moved = |layout: Layout, by: isize| Layout {
                offset: layout.offset.wrapping_add_signed(by),
                ..layout
            };
            with_scratch(words.iter().sum(), |scratch| {
                let (query, scratch) = scratch.split_at_mut(words[0]);
                let (key, scratch) = scratch.split_at_mut(words[1]);
                let (value, scratch) = scratch.split_at_mut(words[2]);
                let (scores, weights) = scratch.split_at_mut(words[3]);
                let team = Team::ALONE;
                let queries = Layout {
                    rows,
                    ..moved(self.query, at[0] + first as isize * self.query.row_stride)
                };
                let query = &mut query[..queries.words(Side::Left)];
                gemm::pack_into(team, Side::Left, data[0], queries, query);
                gemm::pack_into(team, Side::Right, data[1], moved(self.key, at[1]), key);
                gemm::pack_into(team, Side::Right, data[2], moved(self.value, at[2]), value);
                if self.accumulator.flush {
                    for panels in [&mut *query, &mut *key, &mut *value] {
                        flush_subnormals(panels);
                    }
                }
                let measure = |left: &[f32], right: &[f32], [m, n, k]: [usize; 3]| {
                    if let Some(sums) = sums {
                        let product = Product { left, right, m, n, k };
                        let found = gemm::measure(team, product, &Bias::None);
                        let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
                        *sums = sums.max(found);
                    }
                };
                let scores = &mut scores[..rows * keys];
                measure(query, key, [rows, keys, self.query.columns]);
                multiply(
                    query,
                    key,
                    [rows, keys, self.query.columns],
                    &Tiles::new(scores),
                    0,
                    &Epilogue {
                        accumulator: self.accumulator,
                        ..Epilogue::default()
                    },
                );
                let mask_start = self.mask_offset as isize + at[3];
                vectorised(
                    #[inline(always)]
                    || {
                        for (row, line) in scores.chunks_exact_mut(keys.max(1)).enumerate() {
                            for score in line.iter_mut() {
                                *score *= self.scale;
                            }
                            let start = mask_start + (first + row) as isize * self.mask_strides[0];
                            self.apply_mask(mask, start, line);
                            softmax_row(line);
                        }
                    },
                );
                let rows_of_scores = Layout {
                    offset: 0,
                    rows,
                    columns: keys,
                    row_stride: keys as isize,
                    column_stride: 1,
                };
                let weights = &mut weights[..rows_of_scores.words(Side::Left)];
                gemm::pack_into(team, Side::Left, scores, rows_of_scores, weights);
                measure(weights, value, [rows, width, keys]);
                let epilogue = Epilogue {
                    accumulator: self.accumulator,
                    round: self.round,
                    ..Epilogue::default()
                };
                // Tasks have batch entries or query rows of their own, hence rows of the result.
                multiply(
                    weights,
                    value,
                    [rows, width, keys],
                    &tiles,
                    at[4] as usize + first * width,
                    &epilogue,
                );
            });
        });
    }
}

impl Kernel for Attention {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        self.all(io.inputs, bytemuck::cast_slice_mut(io.output), io.team, None);
        Ok(())
    }

    fn sums(&self, inputs: &[&[u32]], team: Team) -> Option<Sums> {
        let sums = Mutex::new(Sums::default());
        let size = count(&self.batch.sizes) * self.query.rows * self.value.columns;
        self.all(inputs, &mut vec![0.0; size], team, Some(&sums));
        Some(sums.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A product into `tiles` from `offset` on, row-major.
fn multiply(
    left: &[f32],
    right: &[f32],
    [m, n, k]: [usize; 3],
    tiles: &Tiles<'_>,
    offset: usize,
    epilogue: &Epilogue,
) {
    let product = Product { left, right, m, n, k };
    let target = Target {
        tiles,
        offset,
        row_stride: n,
    };
    gemm::multiply_alone(product, target, epilogue);
}

impl Attention {
    /// Adds the mask's row at `start` to the scores, or bars those it bars.
    #[inline(always)]
    fn apply_mask(&self, mask: &[u32], start: isize, scores: &mut [f32]) {
        let at = |key: usize| mask[(start + key as isize * self.mask_strides[1]) as usize];
        match self.mask {
            Mask::None => {}
            Mask::Term if self.mask_strides[1] == 1 => {
                for (score, term) in scores.iter_mut().zip(&mask[start as usize..]) {
                    *score += f32::from_bits(*term);
                }
            }
            Mask::Term => {
                for (key, score) in scores.iter_mut().enumerate() {
                    *score += f32::from_bits(at(key));
                }
            }
            Mask::Flag => {
                for (key, score) in scores.iter_mut().enumerate() {
                    if at(key) == 0 {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// softmax(query · keyᵀ / √E + mask) · value over `[B, .., L, E]`, `[B, .., S, E]`, `[B, .., S, EV]`.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let [query, key, value] = [
        op.view(emit, "query")?,
        op.view(emit, "key")?,
        op.view(emit, "value")?,
    ];
    let mask = op.optional(emit, "attn_mask")?;
    let rank = query.rank();
    let (rows, columns) = (rank - 2, rank - 1);
    let layout = |view: &View| Layout {
        offset: view.offset,
        rows: view.shape[rows],
        columns: view.shape[columns],
        row_stride: view.strides[rows],
        column_stride: view.strides[columns],
    };
    let mut scores = query.shape.clone();
    scores[columns] = key.shape[rows];
    let spread = match &mask {
        Some(mask) => {
            mask.broadcast(&scores)
                .ok_or_else(|| {
                    Reason::Invalid(format!("a mask of {:?} does not fit {scores:?}", mask.shape))
                })?
                .strides
        }
        None => vec![0; rank],
    };
    let out = row_major(op.shape());
    let batch = Nest::new(
        &query.shape[..rows],
        &[
            &query.strides[..rows],
            &key.strides[..rows],
            &value.strides[..rows],
            &spread[..rows],
            &out[..rows],
        ],
    );
    let kernel = Attention {
        query: layout(&query),
        key: layout(&key.permuted(&{
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.swap(rows, columns);
            perm
        })),
        value: layout(&value),
        batch,
        mask: match &mask {
            None => Mask::None,
            Some(mask) if mask.is_float() => Mask::Term,
            Some(_) => Mask::Flag,
        },
        mask_offset: mask.as_ref().map_or(0, |mask| mask.offset),
        mask_strides: [spread[rows], spread[columns]],
        scale: (1.0 / (query.shape[columns] as f64).sqrt()) as f32,
        accumulator: emit.accumulator(op.dtype()),
        round: emit.rounds(op.dtype()),
    };
    let mut inputs = vec![&query, &key, &value];
    inputs.extend(&mask);
    Ok(vec![emit.step(kernel, &inputs, op.shape(), op.dtype())?])
}
