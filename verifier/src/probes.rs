//! What must hold whatever the reference says: padding does not matter, and an empty mask gives finite numbers.

use crate::error::VerifyError;
use crate::inputs::{ATTENTION_MASK, Batch, InputRow, InputSet};
use crate::interface::{Produced, Subject};
use crate::report::ProbeReport;
use crate::tensor::Tensor;

/// Runs both probes on one batch; neither is possible without a mask.
pub(crate) fn probe(subject: &Subject, inputs: &InputSet) -> Result<ProbeReport, VerifyError> {
    if !subject.takes(ATTENTION_MASK) {
        return Ok(ProbeReport::default());
    }
    Ok(ProbeReport {
        nonfinite_without_tokens: Some(without_tokens(subject, inputs)?),
        change_under_padding: under_padding(subject, inputs)?,
    })
}

fn run(subject: &Subject, rows: &[InputRow]) -> Result<Vec<Produced>, VerifyError> {
    subject.outputs(&Batch {
        first_row: 0,
        length: subject.length,
        rows,
    })
}

fn without_tokens(subject: &Subject, inputs: &InputSet) -> Result<u64, VerifyError> {
    let mut rows = inputs.batch(0, subject.batch).rows.to_vec();
    rows.iter_mut().for_each(|row| row.attention_mask.fill(0));
    let bad = run(subject, &rows)?.into_iter().map(|output| match output {
        Produced::Array(tensor) => tensor.values().iter().filter(|value| !value.is_finite()).count() as u64,
        Produced::Labels(_) => 0,
    });
    Ok(bad.sum())
}

/// The most any value that counts changes when every id under the padding of some rows is replaced by the id of a
/// token of the same row; `None` when no row has both.
fn under_padding(subject: &Subject, inputs: &InputSet) -> Result<Option<f32>, VerifyError> {
    let padded = |row: &&InputRow| (1..row.attention_mask.len()).contains(&row.tokens());
    let rows: Vec<InputRow> = inputs
        .rows
        .iter()
        .filter(padded)
        .take(subject.batch)
        .cloned()
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let mut changed = rows.clone();
    for row in &mut changed {
        let tokens: Vec<i32> = (0..row.input_ids.len())
            .filter(|at| row.is_token(*at))
            .map(|at| row.input_ids[at])
            .collect();
        for at in 0..row.input_ids.len() {
            if !row.is_token(at) {
                let other = tokens
                    .iter()
                    .cycle()
                    .skip(at)
                    .take(tokens.len())
                    .find(|id| **id != row.input_ids[at]);
                row.input_ids[at] = other.copied().unwrap_or(row.input_ids[at]);
            }
        }
    }
    let (before, after) = (run(subject, &rows)?, run(subject, &changed)?);
    let mut most = 0f32;
    for (before, after) in before.iter().zip(&after) {
        if let (Produced::Array(before), Produced::Array(after)) = (before, after) {
            for (index, row) in rows.iter().enumerate() {
                most = most.max(change(before, after, index, row));
            }
        }
    }
    Ok(Some(most))
}

/// The largest change in a row, at tokens only where values belong to positions.
fn change(before: &Tensor, after: &Tensor, index: usize, row: &InputRow) -> f32 {
    let positions = row.attention_mask.len();
    let (before_row, after_row) = (before.row(index), after.row(index));
    let per_position = before.row_shape().first() == Some(&positions);
    let width = before_row.len() / if per_position { positions } else { 1 };
    let counts = |at: usize| !per_position || width == 0 || row.is_token(at / width);
    let pairs = before_row
        .iter()
        .zip(after_row)
        .enumerate()
        .filter(|(at, _)| counts(*at));
    // A value that is not finite is told elsewhere; here it would hide the others.
    pairs
        .map(|(_, (a, b))| (a - b).abs())
        .filter(|change| change.is_finite())
        .fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_count_at_tokens_only_where_values_belong_to_positions() {
        let row = InputRow {
            input_ids: vec![1, 2, 3],
            attention_mask: vec![1, 0, 1],
            token_type_ids: vec![0; 3],
            ..InputRow::default()
        };
        let tensor = |shape: &[usize], values: &[f32]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let before = tensor(&[1, 3, 2], &[0.0; 6]);
        let after = tensor(&[1, 3, 2], &[0.0, 0.25, 9.0, 9.0, 0.5, f32::NAN]);
        assert_eq!(change(&before, &after, 0, &row), 0.5);
        assert_eq!(
            change(
                &tensor(&[1, 3], &[0.0; 3]),
                &tensor(&[1, 3], &[1.0, 9.0, 2.0]),
                0,
                &row
            ),
            2.0
        );
        assert_eq!(
            change(
                &tensor(&[1, 2], &[0.0; 2]),
                &tensor(&[1, 2], &[1.0, 9.0]),
                0,
                &row
            ),
            9.0
        );
    }
}
