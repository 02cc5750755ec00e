//! One output, compared row by row.

use super::agreement::{Agreement, TopFive};
use super::divergence::Divergence;
use super::elements::ElementErrors;
use super::{OutputKind, company, cosine, mean_pooled};
use crate::inputs::InputRow;
use crate::report::{CosineReport, Decibels, ErrorReport, SentenceReport, Worst, WorstCosine};

/// Neighbours looked at around each embedding.
const NEIGHBOURS: usize = 10;

/// How many of the rows with the largest errors are remembered.
pub const WORST_ROWS: usize = 5;

/// Everything known about one output so far.
#[derive(Clone, Debug)]
pub struct OutputComparison {
    kind: OutputKind,
    errors: ElementErrors,
    largest_relative: f64,
    cosines: Cosines,
    top1: Option<Agreement>,
    top5: Option<TopFive>,
    divergence: Option<Divergence>,
    sentences: Option<Sentences>,
    nonfinite: [u64; 2],
    rows: u64,
    rows_without_tokens: u64,
    /// The farthest rows, each at its largest error, the farthest first.
    worst_rows: Vec<Worst>,
}

#[derive(Clone, Debug, Default)]
struct Cosines {
    count: u64,
    sum: f64,
    worst: Option<WorstCosine>,
}

/// Sentence vectors of both sides.
#[derive(Clone, Debug, Default)]
struct Sentences {
    reference: Vec<Vec<f32>>,
    package: Vec<Vec<f32>>,
    cosines: Cosines,
}

/// A row of both sides.
#[derive(Clone, Copy)]
struct Row<'a> {
    index: usize,
    input: &'a InputRow,
    reference: &'a [f32],
    package: &'a [f32],
}

impl OutputComparison {
    /// Nothing compared yet. Top-1 is counted for scores of more than one class, neighbours for embeddings;
    /// `resolution` is one step of the package's number format, relative to a number's size.
    pub fn new(kind: OutputKind, row_shape: &[usize], resolution: f32) -> Self {
        let classes = row_shape.last().copied().unwrap_or(0);
        let scores = !matches!(kind, OutputKind::TokenVectors | OutputKind::Vector);
        Self {
            kind,
            errors: ElementErrors::new(resolution),
            largest_relative: 0.0,
            cosines: Cosines::default(),
            top1: (scores && (classes > 1 || kind == OutputKind::Label)).then(|| Agreement::new(resolution)),
            top5: (scores && classes >= TopFive::CLASSES && kind != OutputKind::Label).then(TopFive::default),
            divergence: (scores && classes > 1 && kind != OutputKind::Label).then(Divergence::default),
            // A single number has a size but no direction, so that all its neighbours are equally near.
            sentences: (!scores && classes > 1).then(Sentences::default),
            nonfinite: [0; 2],
            rows: 0,
            rows_without_tokens: 0,
            worst_rows: Vec::with_capacity(WORST_ROWS),
        }
    }

    /// Adds row `index` of the inputs with both sides' values for it, row-major.
    pub fn add_row(&mut self, index: usize, input: &InputRow, reference: &[f32], package: &[f32]) {
        let bad = |values: &[f32]| values.iter().filter(|value| !value.is_finite()).count() as u64;
        self.nonfinite[0] += bad(reference);
        self.nonfinite[1] += bad(package);
        self.rows += 1;
        if input.tokens() == 0 {
            self.rows_without_tokens += 1;
            return;
        }
        let row = Row {
            index,
            input,
            reference,
            package,
        };
        match self.kind {
            OutputKind::TokenVectors | OutputKind::TokenLogits => self.add_tokens(row),
            OutputKind::SpanLogits => {
                let tokens: Vec<usize> = (0..reference.len()).filter(|at| input.is_token(*at)).collect();
                let pick = |values: &[f32]| -> Vec<f32> {
                    tokens.iter().filter_map(|at| values.get(*at).copied()).collect()
                };
                self.add_vector(row, None, &pick(reference), &pick(package), |at| vec![tokens[at]]);
            }
            OutputKind::Label => {}
            OutputKind::Logits | OutputKind::Probabilities | OutputKind::Vector => {
                self.add_vector(row, None, reference, package, |at| vec![at]);
            }
        }
        self.add_sentence(row);
    }

    /// Adds one row of an output that is a label: the reference's scores, and which of them the label stands for.
    pub fn add_label(&mut self, input: &InputRow, reference: &[f32], chosen: Option<usize>) {
        self.rows += 1;
        if input.tokens() == 0 {
            self.rows_without_tokens += 1;
        } else if let Some(top1) = &mut self.top1 {
            top1.add_choice(reference, chosen);
        }
    }

    fn add_tokens(&mut self, row: Row<'_>) {
        let width = row.reference.len() / row.input.attention_mask.len().max(1);
        if width == 0 {
            return;
        }
        let pairs = row
            .reference
            .chunks_exact(width)
            .zip(row.package.chunks_exact(width));
        for (token, (reference, package)) in pairs.enumerate().filter(|(token, _)| row.input.is_token(*token))
        {
            self.add_vector(row, Some(token), reference, package, |at| vec![token, at]);
        }
    }

    fn add_vector(
        &mut self,
        row: Row<'_>,
        token: Option<usize>,
        reference: &[f32],
        package: &[f32],
        place: impl FnOnce(usize) -> Vec<usize>,
    ) {
        let added = self.errors.add(reference, package);
        if let Some((at, error)) = added.largest {
            self.remember(row.index, error, || Worst {
                row: row.index,
                text: row.input.excerpt.clone(),
                position: place(at),
                reference: reference[at],
                package: package[at],
                error,
            });
            // An all-zero vector has no scale to measure an error by.
            if added.reference_rms > 0.0 {
                self.largest_relative = self.largest_relative.max(f64::from(error) / added.reference_rms);
            }
        }
        self.cosines.add(row, token, cosine(reference, package));
        if let Some(top1) = &mut self.top1 {
            top1.add(reference, package);
        }
        if let Some(top5) = &mut self.top5 {
            top5.add(reference, package);
        }
        if let Some(divergence) = &mut self.divergence {
            match self.kind {
                OutputKind::Probabilities => divergence.add_probabilities(row.index, reference, package),
                _ => divergence.add_logits(row.index, reference, package),
            }
        }
    }

    /// Keeps a row's largest error when it is among the largest of all. An error of a row that is there already
    /// replaces a smaller one of it.
    fn remember(&mut self, row: usize, error: f32, worst: impl FnOnce() -> Worst) {
        let rows = &mut self.worst_rows;
        if let Some(at) = rows.iter().position(|worst| worst.row == row) {
            if rows[at].error >= error {
                return;
            }
            rows.remove(at);
        } else if rows.len() == WORST_ROWS {
            if rows.last().is_some_and(|last| last.error >= error) {
                return;
            }
            rows.pop();
        }
        let at = rows.partition_point(|worst| worst.error >= error);
        rows.insert(at, worst());
    }

    fn add_sentence(&mut self, row: Row<'_>) {
        let Some(sentences) = &mut self.sentences else {
            return;
        };
        let vector = |values: &[f32]| match self.kind {
            OutputKind::TokenVectors => mean_pooled(values, &row.input.attention_mask),
            _ => Some(values.to_vec()),
        };
        if let (Some(reference), Some(package)) = (vector(row.reference), vector(row.package)) {
            sentences.cosines.add(row, None, cosine(&reference, &package));
            if sentences.reference.len() < super::MOST_ROWS {
                sentences.reference.push(reference);
                sentences.package.push(package);
            }
        }
    }

    /// What the output is compared as.
    pub const fn kind(&self) -> OutputKind {
        self.kind
    }

    /// What was found, as numbers.
    pub fn report(&self) -> ErrorReport {
        ErrorReport {
            kind: self.kind,
            rows: self.rows,
            rows_without_tokens: self.rows_without_tokens,
            elements: self.errors.count(),
            max_abs: self.errors.max_abs(),
            mean_abs: self.errors.mean_abs(),
            p99_abs: self.errors.quantile_abs(0.99),
            relative: self.errors.relative(),
            max_relative: self.largest_relative,
            peak: self.errors.peak(),
            psnr: Decibels(self.errors.psnr()),
            sqnr: Decibels(self.errors.sqnr()),
            cosine: self.cosines.report(self.kind.vector()),
            top1: self.top1,
            top5: self.top5,
            divergence: self.divergence,
            sentence: self
                .sentences
                .as_ref()
                .map(|sentences| sentences.report(self.kind)),
            nonfinite_reference: self.nonfinite[0],
            nonfinite_package: self.nonfinite[1],
            error_histogram: self.errors.error_bins(),
            step_histogram: self.errors.step_bins(),
            worst: self.worst_rows.first().cloned(),
            worst_rows: self.worst_rows.clone(),
        }
    }
}

impl Cosines {
    /// Adds one pair of vectors; those with values that are not finite have no angle.
    fn add(&mut self, row: Row<'_>, token: Option<usize>, cosine: Option<f64>) {
        let Some(cosine) = cosine else { return };
        self.count += 1;
        self.sum += cosine;
        if self.worst.as_ref().is_none_or(|worst| cosine < worst.cosine) {
            self.worst = Some(WorstCosine {
                row: row.index,
                token,
                text: row.input.excerpt.clone(),
                cosine,
            });
        }
    }

    fn report(&self, per: &'static str) -> Option<CosineReport> {
        #[allow(clippy::cast_precision_loss)] // a count of vectors
        self.worst.clone().map(|worst| CosineReport {
            per: per.to_owned(),
            vectors: self.count,
            min: worst.cosine,
            mean: self.sum / self.count as f64,
            worst,
        })
    }
}

impl Sentences {
    fn report(&self, kind: OutputKind) -> SentenceReport {
        let company = company(&self.reference, &self.package, NEIGHBOURS);
        SentenceReport {
            vectors: if kind == OutputKind::TokenVectors {
                "mean over tokens".to_owned()
            } else {
                "the output itself".to_owned()
            },
            cosine: self.cosines.report("row"),
            neighbours: company.map(|company| company.neighbours),
            neighbour_overlap: company.map(|company| company.overlap),
            rank_correlation: company.and_then(|company| company.rank_correlation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: f32 = 1.0 / 1024.0;

    fn row(mask: &[i32]) -> InputRow {
        InputRow {
            input_ids: vec![0; mask.len()],
            attention_mask: mask.to_vec(),
            token_type_ids: vec![0; mask.len()],
            excerpt: Some("a text".into()),
            ..InputRow::default()
        }
    }

    #[test]
    fn padded_positions_are_not_compared_but_must_be_finite() {
        let mut output = OutputComparison::new(OutputKind::TokenVectors, &[3, 2], STEP);
        output.add_row(
            4,
            &row(&[1, 0, 1]),
            &[1.0, 0.0, 9.0, 9.0, 0.0, 2.0],
            &[1.0, 0.0, 5.0, f32::NAN, 0.0, 1.5],
        );
        let report = output.report();
        assert_eq!(
            (
                report.elements,
                report.nonfinite_package,
                report.nonfinite_reference
            ),
            (4, 1, 0)
        );
        let worst = report.worst.unwrap();
        assert_eq!(
            (worst.row, worst.position, worst.reference, worst.package),
            (4, vec![2, 1], 2.0, 1.5)
        );
        assert_eq!(worst.text.as_deref(), Some("a text"));
        let cosine = report.cosine.unwrap();
        assert_eq!((&*cosine.per, cosine.vectors, cosine.min), ("token", 2, 1.0));
        // 0.5 against a root mean square of √2.
        assert!((report.max_relative - 0.5 / 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn rows_without_tokens_have_no_right_answer_but_must_be_finite() {
        let mut output = OutputComparison::new(OutputKind::Logits, &[2], STEP);
        output.add_row(0, &row(&[0, 0]), &[1.0, 2.0], &[5.0, f32::INFINITY]);
        let report = output.report();
        assert_eq!(
            (
                report.elements,
                report.rows_without_tokens,
                report.nonfinite_package
            ),
            (0, 1, 1)
        );
        assert_eq!(report.top1.unwrap().total, 0);
        assert!(report.cosine.is_none());
    }

    #[test]
    fn span_answers_are_chosen_among_tokens() {
        let mut output = OutputComparison::new(OutputKind::SpanLogits, &[4], STEP);
        // The padded position 3 has the package's best score and does not count.
        output.add_row(
            0,
            &row(&[1, 1, 1, 0]),
            &[0.0, 2.0, 1.0, 0.0],
            &[0.0, 2.0, 1.0, 9.0],
        );
        output.add_row(
            1,
            &row(&[0, 1, 1, 1]),
            &[9.0, 2.0, 1.0, 0.0],
            &[9.0, 1.0, 3.0, 0.0],
        );
        let report = output.report();
        let top1 = report.top1.unwrap();
        assert_eq!((top1.agree, top1.total), (1, 2));
        assert_eq!(report.worst.unwrap().position, [2]);
        assert_eq!(report.elements, 6);
    }

    #[test]
    fn the_farthest_rows_are_remembered_each_once() {
        let mut output = OutputComparison::new(OutputKind::TokenLogits, &[2, 1], STEP);
        for (index, errors) in [
            [0.5, 0.25],
            [0.1, 3.0],
            [0.0, 0.0],
            [2.0, 2.0],
            [0.2, 0.3],
            [1.0, 0.0],
        ]
        .iter()
        .chain([[0.4, 0.6]].iter())
        .enumerate()
        {
            output.add_row(index, &row(&[1, 1]), &[0.0, 0.0], errors);
        }
        let report = output.report();
        let found: Vec<_> = report
            .worst_rows
            .iter()
            .map(|worst| (worst.row, worst.position[0], worst.error))
            .collect();
        assert_eq!(
            found,
            [(1, 1, 3.0), (3, 0, 2.0), (5, 0, 1.0), (6, 1, 0.6), (0, 0, 0.5)]
        );
        assert_eq!(report.worst.as_ref(), report.worst_rows.first());
    }

    #[test]
    fn tokens_vote_one_by_one() {
        let mut output = OutputComparison::new(OutputKind::TokenLogits, &[3, 2], STEP);
        output.add_row(
            0,
            &row(&[1, 1, 0]),
            &[1.0, 0.0, 0.0, 1.0, 0.0, 1.0],
            &[2.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        );
        let top1 = output.report().top1.unwrap();
        assert_eq!((top1.agree, top1.total), (1, 2));
    }

    #[test]
    fn one_score_has_no_top_1_and_embeddings_have_neighbours() {
        assert!(
            OutputComparison::new(OutputKind::Logits, &[1], STEP)
                .report()
                .top1
                .is_none()
        );
        let mut output = OutputComparison::new(OutputKind::Vector, &[2], STEP);
        for (index, vector) in [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]].iter().enumerate() {
            output.add_row(index, &row(&[1]), vector, vector);
        }
        let sentence = output.report().sentence.unwrap();
        assert_eq!(
            (sentence.neighbours, sentence.neighbour_overlap),
            (Some(1), Some(1.0))
        );
        assert_eq!(sentence.vectors, "the output itself");
    }

    #[test]
    fn a_single_number_has_no_neighbours() {
        let mut output = OutputComparison::new(OutputKind::Vector, &[1], 0.0);
        for (index, value) in [0.5f32, 0.25, 0.75, 0.125].into_iter().enumerate() {
            output.add_row(index, &row(&[1]), &[value], &[value + 1e-4]);
        }
        assert_eq!(output.report().sentence, None);
        assert_eq!(output.report().elements, 4);
    }

    #[test]
    fn token_vectors_are_pooled_for_sentences() {
        let mut output = OutputComparison::new(OutputKind::TokenVectors, &[2, 2], STEP);
        // Means (1, 1) and (1, 0): cosine 1/√2, while each token's is lower or 1.
        output.add_row(0, &row(&[1, 1]), &[2.0, 0.0, 0.0, 2.0], &[2.0, 0.0, 0.0, 0.0]);
        let sentence = output.report().sentence.unwrap();
        assert!((sentence.cosine.unwrap().min - 0.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(sentence.neighbour_overlap, None);
    }
}
