//! Rows of like length computed together, without the padding behind their last token.
//!
//! A token's vector is the same with and without what is padded behind it: masked scores are f32's lowest number before
//! the softmax and exactly 0 behind it, and positions count from the left. Texts are much shorter than what a package
//! takes, so this spares most of the work.

use std::collections::BTreeMap;

use crate::inputs::{Batch, InputRow};
use crate::tensor::Tensor;

/// Positions computed at once, padding included; a longer row is computed by itself.
const POSITIONS: usize = 512;

/// Rows that are cut to the same length.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Group {
    /// Their indices, the shortest row first.
    pub(super) rows: Vec<usize>,
    /// Positions of each.
    pub(super) length: usize,
}

/// The longest row that may join one of `shortest`: a quarter of padding at most, or a few positions.
const fn longest(shortest: usize) -> usize {
    shortest + if shortest < 16 { 4 } else { shortest / 4 }
}

/// The rows of a batch, each in one group, by length.
pub(super) fn groups(batch: &Batch<'_>) -> Vec<Group> {
    let extents = batch.rows.iter().map(|row| extent(row, batch.length));
    let mut by_length: Vec<(usize, usize)> = extents.zip(0..).collect();
    by_length.sort_unstable();
    let mut groups: Vec<Group> = Vec::new();
    let mut most = 0;
    for (length, row) in by_length {
        match groups.last_mut() {
            Some(group) if length <= most && (group.rows.len() + 1) * length <= POSITIONS => {
                group.rows.push(row);
                group.length = length;
            }
            _ => {
                most = longest(length);
                groups.push(Group {
                    rows: vec![row],
                    length,
                });
            }
        }
    }
    groups
}

/// Positions up to the last token; all of them in a row without any, which attends to its padding.
fn extent(row: &InputRow, length: usize) -> usize {
    let last = row.attention_mask.iter().rposition(|mask| *mask != 0);
    last.map_or(length, |last| last + 1)
}

impl Group {
    /// The rows, cut.
    pub(super) fn cut(&self, batch: &Batch<'_>) -> Vec<InputRow> {
        let cut = |values: &[i32]| values[..self.length.min(values.len())].to_vec();
        let rows = self.rows.iter().map(|row| &batch.rows[*row]);
        rows.map(|row| InputRow {
            input_ids: cut(&row.input_ids),
            attention_mask: cut(&row.attention_mask),
            token_type_ids: cut(&row.token_type_ids),
            ..InputRow::default()
        })
        .collect()
    }
}

/// Outputs of a whole batch, filled group by group.
pub(super) struct Scattered {
    rows: usize,
    length: usize,
    outputs: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Scattered {
    /// Nothing yet, for so many rows of so many positions.
    pub(super) const fn new(rows: usize, length: usize) -> Self {
        Self {
            rows,
            length,
            outputs: BTreeMap::new(),
        }
    }

    /// Adds what a group has for an output, which has a part for each position or not.
    pub(super) fn add(&mut self, group: &Group, name: &str, per_position: bool, computed: &Tensor) {
        let mut row_shape = computed.row_shape().to_vec();
        if per_position && let Some(positions) = row_shape.first_mut() {
            *positions = self.length;
        }
        let whole: usize = row_shape.iter().product();
        let (_, values) = self
            .outputs
            .entry(name.to_owned())
            .or_insert_with(|| (row_shape, vec![0.0; self.rows * whole]));
        for (index, row) in group.rows.iter().enumerate() {
            let part = computed.row(index);
            values[row * whole..][..part.len()].copy_from_slice(part);
        }
    }

    /// The outputs, (n, …).
    pub(super) fn finish(self) -> BTreeMap<String, Tensor> {
        let rows = self.rows;
        let outputs = self
            .outputs
            .into_iter()
            .filter_map(|(name, (row_shape, values))| {
                let shape = std::iter::once(rows).chain(row_shape).collect();
                Some((name, Tensor::new(shape, values)?))
            });
        outputs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mask: &[i32]) -> InputRow {
        InputRow {
            input_ids: (1..).take(mask.len()).collect(),
            attention_mask: mask.to_vec(),
            token_type_ids: vec![0; mask.len()],
            ..InputRow::default()
        }
    }

    fn batch(rows: &[InputRow]) -> Batch<'_> {
        Batch {
            first_row: 0,
            length: 4,
            rows,
        }
    }

    #[test]
    fn rows_are_cut_behind_their_last_token() {
        let rows = [
            row(&[1, 1, 0, 0]),
            row(&[0, 1, 0, 1]),
            row(&[0; 4]),
            row(&[1, 0, 0, 0]),
        ];
        let found = groups(&batch(&rows));
        assert_eq!(
            found,
            [Group {
                rows: vec![3, 0, 1, 2],
                length: 4
            }]
        );
        let group = Group {
            rows: vec![3, 0],
            length: 2,
        };
        let cut = group.cut(&batch(&rows));
        assert_eq!(cut[1].input_ids, [1, 2]);
        assert_eq!(
            (&cut[0].attention_mask[..], cut[0].token_type_ids.len()),
            (&[1, 0][..], 2)
        );
    }

    #[test]
    fn rows_of_a_group_are_of_like_length_and_no_more_than_it_may_hold() {
        let long = |tokens: usize| InputRow {
            attention_mask: vec![1; tokens],
            ..InputRow::default()
        };
        let grouped = |lengths: &[usize]| -> Vec<(Vec<usize>, usize)> {
            let rows: Vec<InputRow> = lengths.iter().map(|tokens| long(*tokens)).collect();
            let groups = groups(&Batch {
                first_row: 0,
                length: 600,
                rows: &rows,
            });
            groups
                .into_iter()
                .map(|group| (group.rows, group.length))
                .collect()
        };
        let many = grouped(&[600, 200, 190, 201, 300]);
        assert_eq!(
            many,
            [(vec![2, 1], 200), (vec![3], 201), (vec![4], 300), (vec![0], 600)]
        );
        let unlike = grouped(&[40, 5, 9, 10, 51, 50]);
        assert_eq!(
            unlike,
            [(vec![1, 2], 9), (vec![3], 10), (vec![0, 5], 50), (vec![4], 51)]
        );
    }

    #[test]
    fn outputs_go_back_to_their_rows() {
        let mut scattered = Scattered::new(3, 4);
        let tensor = |shape: &[usize], values: &[f32]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let short = Group {
            rows: vec![2, 0],
            length: 2,
        };
        let long = Group {
            rows: vec![1],
            length: 4,
        };
        scattered.add(&short, "scores", true, &tensor(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        scattered.add(&short, "pooled", false, &tensor(&[2, 2], &[5.0, 6.0, 7.0, 8.0]));
        scattered.add(&long, "scores", true, &tensor(&[1, 4], &[9.0; 4]));
        scattered.add(&long, "pooled", false, &tensor(&[1, 2], &[0.5; 2]));
        let outputs = scattered.finish();
        assert_eq!(
            outputs["scores"],
            tensor(
                &[3, 4],
                &[3.0, 4.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0, 1.0, 2.0, 0.0, 0.0]
            )
        );
        assert_eq!(
            outputs["pooled"],
            tensor(&[3, 2], &[7.0, 8.0, 0.5, 0.5, 5.0, 6.0])
        );
    }
}
