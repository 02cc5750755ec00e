//! Answers of extractive question answering: the span two outputs choose together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Positions of the longest answer looked for, as `transformers`' question-answering pipeline does by default.
pub const LONGEST_ANSWER: usize = 15;

/// How often the package's answer is the reference's. An answer is the pair (start, end) with start ≤ end <
/// start + [`LONGEST_ANSWER`] and the largest sum of scores, among tokens.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SpanMatch {
    /// Rows compared.
    pub rows: u64,
    /// Rows whose answers begin and end at the same tokens.
    pub exact: u64,
    /// Mean over the rows of the answers' F1 by positions: twice the positions shared over the positions of both.
    pub mean_f1: f64,
    /// The first row of those with the lowest F1, unless every answer matches.
    pub worst_row: Option<usize>,
    /// The lowest F1; none without rows.
    pub min_f1: Option<f64>,
}

/// Scores of one row, per position.
#[derive(Clone, Copy, Debug)]
pub struct SpanScores<'a> {
    /// Of being the first token of the answer.
    pub start: &'a [f32],
    /// Of being the last.
    pub end: &'a [f32],
}

impl SpanMatch {
    /// Adds input row `row`; `is_token` says which positions hold tokens. Rows without tokens or with scores that are
    /// not finite have no answer: a package without one where the reference has one does not match.
    #[allow(clippy::cast_precision_loss)] // counts
    pub fn add(
        &mut self,
        row: usize,
        reference: SpanScores<'_>,
        package: SpanScores<'_>,
        is_token: impl Fn(usize) -> bool,
    ) {
        let Some(wanted) = answer(reference, &is_token) else {
            return;
        };
        let f1 = answer(package, &is_token).map_or(0.0, |found| f1(wanted, found));
        self.rows += 1;
        self.exact += u64::from(f1 >= 1.0);
        self.mean_f1 += (f1 - self.mean_f1) / self.rows as f64;
        if self.min_f1.is_none_or(|least| f1 < least) {
            self.min_f1 = Some(f1);
            self.worst_row = (f1 < 1.0).then_some(row);
        }
    }
}

/// The best span; the first of equally good ones.
fn answer(scores: SpanScores<'_>, is_token: &impl Fn(usize) -> bool) -> Option<(usize, usize)> {
    let length = scores.start.len().min(scores.end.len());
    let tokens: Vec<usize> = (0..length).filter(|at| is_token(*at)).collect();
    let finite = |at: &usize| scores.start[*at].is_finite() && scores.end[*at].is_finite();
    if !tokens.iter().all(finite) {
        return None;
    }
    let mut best: Option<(f32, (usize, usize))> = None;
    for (index, start) in tokens.iter().enumerate() {
        let ends = tokens[index..]
            .iter()
            .take_while(|end| **end - start < LONGEST_ANSWER);
        for end in ends {
            let score = scores.start[*start] + scores.end[*end];
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, (*start, *end)));
            }
        }
    }
    best.map(|(_, span)| span)
}

/// Twice the positions shared over the positions of both.
#[allow(clippy::cast_precision_loss)] // positions in a row
fn f1(a: (usize, usize), b: (usize, usize)) -> f64 {
    let shared = (a.1.min(b.1) + 1).saturating_sub(a.0.max(b.0));
    2.0 * shared as f64 / ((a.1 - a.0 + 1) + (b.1 - b.0 + 1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores<'a>(start: &'a [f32], end: &'a [f32]) -> SpanScores<'a> {
        SpanScores { start, end }
    }

    #[test]
    fn an_answer_ends_after_it_begins_and_among_tokens() {
        // The best end, 0, lies before the best start, 2; position 3 is padding.
        let found = answer(scores(&[0.0, 1.0, 5.0, 9.0], &[9.0, 0.0, 1.0, 9.0]), &|at| at < 3);
        assert_eq!(found, Some((0, 0)));
        let found = answer(scores(&[0.0, 1.0, 5.0, 9.0], &[3.0, 0.0, 1.0, 9.0]), &|at| at < 3);
        assert_eq!(found, Some((2, 2)));
        assert_eq!(answer(scores(&[1.0], &[1.0]), &|_| false), None);
        assert_eq!(answer(scores(&[f32::NAN], &[1.0]), &|_| true), None);
    }

    #[test]
    fn an_answer_is_no_longer_than_allowed() {
        let mut start = [0.0; 40];
        let mut end = [0.0; 40];
        start[0] = 1.0;
        end[39] = 1.0;
        end[14] = 0.5;
        assert_eq!(answer(scores(&start, &end), &|_| true), Some((0, 14)));
    }

    #[test]
    fn spans_that_overlap_match_in_part() {
        assert!((f1((2, 5), (4, 7)) - 0.5).abs() < 1e-15);
        assert!(f1((0, 1), (2, 3)).abs() < 1e-15);
        let mut spans = SpanMatch::default();
        let (one, two) = ([0.0, 9.0, 0.0], [0.0, 0.0, 9.0]);
        spans.add(4, scores(&one, &two), scores(&one, &two), |_| true);
        spans.add(5, scores(&one, &two), scores(&two, &two), |_| true);
        // (1, 2) against (2, 2): 2·1/3.
        assert_eq!((spans.rows, spans.exact, spans.worst_row), (2, 1, Some(5)));
        assert!((spans.min_f1.unwrap() - 2.0 / 3.0).abs() < 1e-15);
        assert!((spans.mean_f1 - 5.0 / 6.0).abs() < 1e-15);
    }
}
