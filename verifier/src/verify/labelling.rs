//! What both sides make of rows whose answers are known.

use crate::error::InputError;
use crate::inputs::{InputRow, Labels};
use crate::metrics::{Answer, LabelledReport, OutputKind, argmax, cosine, labelled, mean_pooled};

/// The answers of one output so far.
pub(super) struct Labelling {
    kind: OutputKind,
    truth: Truth,
    answers: Vec<Answer>,
    /// Sentence vectors of the first row of a pair.
    first: Option<[Vec<f32>; 2]>,
}

enum Truth {
    /// A class per row.
    Classes(Vec<usize>),
    /// A number per row, for a single score.
    Numbers(Vec<f64>),
    /// A number for every two rows, for the cosine of their sentence vectors.
    Pairs(Vec<f64>),
}

impl Labelling {
    /// What labels of `rows` rows mean for an output of this kind and row shape, whose classes have these names; `None`
    /// for scores per position, which a label per row says nothing about.
    ///
    /// # Errors
    /// When there are too many labels or too few, or one is not what the output needs.
    pub(super) fn of(
        labels: &Labels,
        rows: usize,
        kind: OutputKind,
        row_shape: &[usize],
        names: Option<&[String]>,
    ) -> Result<Option<Self>, InputError> {
        let given = labels.lines.len();
        let counted = |wanted: usize, of: &str| {
            if given == wanted {
                return Ok(());
            }
            Err(InputError::Request(format!(
                "{}: {given} labels, but {of} {rows} texts take {wanted}",
                labels.path.display()
            )))
        };
        let classes = row_shape.last().copied().unwrap_or(0);
        let truth = match kind {
            OutputKind::TokenLogits | OutputKind::SpanLogits => return Ok(None),
            OutputKind::Logits if classes <= 1 => {
                counted(rows, "the scores of")?;
                Truth::Numbers(labels.numbers()?)
            }
            OutputKind::Logits | OutputKind::Probabilities | OutputKind::Label => {
                counted(rows, "the classes of")?;
                Truth::Classes(labels.classes(names, classes)?)
            }
            OutputKind::TokenVectors | OutputKind::Vector => {
                if !rows.is_multiple_of(2) {
                    return Err(InputError::Request(format!(
                        "embeddings are labelled in pairs, the first text with the second and so on, but there are \
                         {rows} texts"
                    )));
                }
                counted(rows / 2, "the pairs among")?;
                Truth::Pairs(labels.numbers()?)
            }
        };
        Ok(Some(Self {
            kind,
            truth,
            answers: Vec::with_capacity(given),
            first: None,
        }))
    }

    /// Adds row `at`, in order.
    pub(super) fn add_row(&mut self, at: usize, row: &InputRow, reference: &[f32], package: &[f32]) {
        match &self.truth {
            Truth::Classes(_) => self.add_class(at, argmax(reference), argmax(package)),
            Truth::Numbers(truth) => {
                if let (Some(truth), [reference, ..], [package, ..]) = (truth.get(at), reference, package) {
                    self.answers.push(Answer::Value {
                        truth: *truth,
                        reference: f64::from(*reference),
                        package: f64::from(*package),
                    });
                }
            }
            Truth::Pairs(truth) => {
                let vector = |values: &[f32]| match self.kind {
                    OutputKind::TokenVectors => mean_pooled(values, &row.attention_mask).unwrap_or_default(),
                    _ => values.to_vec(),
                };
                let second = [vector(reference), vector(package)];
                let Some(first) = self.first.take() else {
                    self.first = Some(second);
                    return;
                };
                // A vector that is not finite has no angle; NaN makes the whole score unknown, not a good one.
                let similar = |side: usize| cosine(&first[side], &second[side]).unwrap_or(f64::NAN);
                if let Some(truth) = truth.get(at / 2) {
                    self.answers.push(Answer::Value {
                        truth: *truth,
                        reference: similar(0),
                        package: similar(1),
                    });
                }
            }
        }
    }

    /// Adds row `at` by the classes chosen.
    pub(super) fn add_class(&mut self, at: usize, reference: Option<usize>, package: Option<usize>) {
        if let Truth::Classes(truth) = &self.truth
            && let Some(truth) = truth.get(at)
        {
            self.answers.push(Answer::Class {
                truth: *truth,
                reference,
                package,
            });
        }
    }

    /// The scores of both sides.
    pub(super) fn report(&self) -> Option<LabelledReport> {
        labelled(&self.answers)
    }
}
