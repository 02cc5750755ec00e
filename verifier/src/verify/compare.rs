//! Both sides on the same rows, output by output.

use std::collections::BTreeMap;

use super::VerifyRequest;
use super::classes::{class_mismatch, in_class_order, softmax};
use super::labelling::Labelling;
use crate::error::{InputError, VerifyError};
use crate::inputs::{Batch, InputRow, InputSet, Labels};
use crate::interface::{Form, Produced, Subject};
use crate::metrics::{OutputComparison, OutputKind, SpanMatch, SpanScores, argmax};
use crate::pairing::{Named, pair};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::report::{OutputReport, PairedBy};
use crate::tensor::Tensor;

/// Rows compared at a time, rounded up to whole executions, and the fewest the reference is given.
const ROWS_AT_A_TIME: usize = 4;

/// Values of the reference's outputs kept at once, as far as [`ROWS_AT_A_TIME`] allow: a vocabulary head has 4 million
/// per row.
const VALUES_AT_ONCE: usize = 1 << 22;

/// An output being compared.
struct Pairing {
    reference: String,
    paired_by: PairedBy,
    row_shape: Vec<usize>,
    comparison: OutputComparison,
    labelling: Option<Labelling>,
}

/// What was found over all rows, or over those before an interruption.
pub(super) struct Compared {
    pub(super) outputs: Vec<OutputReport>,
    pub(super) spans: Option<SpanMatch>,
    pub(super) rows: usize,
}

/// Runs both sides on all rows and gathers how far they are apart.
pub(super) fn compare(
    subject: &Subject,
    reference: &dyn Reference,
    inputs: &InputSet,
    request: &VerifyRequest,
    progress: &dyn Progress,
) -> Result<Compared, VerifyError> {
    let step = subject.batch * ROWS_AT_A_TIME.div_ceil(subject.batch);
    let mut pairings: Option<Vec<Pairing>> = None;
    let (mut spans, mut done) = (SpanMatch::default(), 0);
    // How large its outputs are is known once it has given some.
    let mut window = step;
    progress.start("comparing", inputs.rows.len() as u64);
    'rows: while done < inputs.rows.len() {
        let whole = inputs.batch(done, window);
        let expected = reference.outputs_at_tokens(&whole)?;
        let given = whole.rows.len();
        let values: usize = expected.values().map(|tensor| tensor.values().len()).sum();
        let affordable = VALUES_AT_ONCE / (values / given.max(1)).max(1);
        window = step * (affordable.min(reference.rows_at_once()) / step).max(1);
        for offset in (0..given).step_by(step) {
            let batch = inputs.batch(done, step.min(given - offset));
            let produced = subject.outputs(&batch)?;
            let pairings = match &mut pairings {
                Some(pairings) => pairings,
                none => {
                    let asked = &request.pairs;
                    let mut found = pair_up(subject, reference, &produced, &expected, asked, inputs.length)?;
                    // Seeded rows, such as those of a size too short for texts, have no labels.
                    if let Some(labels) = &request.labels
                        && inputs.rows.iter().all(|row| row.excerpt.is_some())
                    {
                        label(&mut found, labels, inputs.rows.len(), subject, reference)?;
                    }
                    none.insert(found)
                }
            };
            let sides = Sides {
                batch,
                produced: &produced,
                expected: &expected,
                offset,
                given,
            };
            sides.add(pairings, subject, reference)?;
            sides.add_spans(&mut spans, pairings);
            done += batch.rows.len();
            progress.advance(batch.rows.len() as u64);
            if progress.interrupted() {
                break 'rows;
            }
        }
    }
    progress.finish();
    let outputs = pairings
        .into_iter()
        .flatten()
        .zip(&subject.outputs)
        .map(|(pairing, (name, _))| OutputReport {
            package: name.clone(),
            reference: pairing.reference,
            paired_by: pairing.paired_by,
            row_shape: pairing.row_shape,
            errors: pairing.comparison.report(),
            labelled: pairing.labelling.and_then(|labelling| labelling.report()),
        });
    Ok(Compared {
        outputs: outputs.collect(),
        spans: (spans.rows > 0).then_some(spans),
        rows: done,
    })
}

/// Rows of the package, and the larger number of them the reference was given at once.
struct Sides<'a> {
    batch: Batch<'a>,
    produced: &'a [Produced],
    expected: &'a BTreeMap<String, Tensor>,
    /// Where these rows begin among the reference's.
    offset: usize,
    /// Rows the reference was given.
    given: usize,
}

impl Sides<'_> {
    /// Adds every output of every row.
    fn add(
        &self,
        pairings: &mut [Pairing],
        subject: &Subject,
        reference: &dyn Reference,
    ) -> Result<(), VerifyError> {
        for ((pairing, produced), (name, form)) in
            pairings.iter_mut().zip(self.produced).zip(&subject.outputs)
        {
            let expected = self
                .expected
                .get(&pairing.reference)
                .filter(|tensor| tensor.rows() == self.given)
                .ok_or_else(|| subject.fail(format!("the reference gives no `{}`", pairing.reference)))?;
            for (index, row) in self.batch.rows.iter().enumerate() {
                let wanted = expected.row(self.offset + index);
                let at = self.batch.first_row + index;
                match (produced, form) {
                    (Produced::Array(tensor), Form::Probabilities(classes)) => {
                        let wanted = in_class_order(&softmax(wanted), classes, reference.labels());
                        let wanted =
                            wanted.ok_or_else(|| class_mismatch(subject, name, reference, classes))?;
                        pairing.add_row(at, row, &wanted, tensor.row(index));
                    }
                    (Produced::Labels(labels), Form::Label(classes)) => {
                        let names = reference.labels().unwrap_or(classes);
                        if names.len() != wanted.len() {
                            return Err(class_mismatch(subject, name, reference, classes));
                        }
                        let label = labels.get(index);
                        let chosen = names.iter().position(|name| Some(name) == label);
                        pairing.comparison.add_label(row, wanted, chosen);
                        if let Some(labelling) = &mut pairing.labelling {
                            labelling.add_class(at, argmax(wanted), chosen);
                        }
                    }
                    (Produced::Array(tensor), _) => {
                        pairing.add_row(at, row, wanted, tensor.row(index));
                    }
                    (Produced::Labels(_), _) => {}
                }
            }
        }
        Ok(())
    }

    /// Adds the answers, where two outputs choose one together.
    fn add_spans(&self, spans: &mut SpanMatch, pairings: &[Pairing]) {
        let side = |name: &str| {
            let at = pairings.iter().position(|pairing| {
                pairing.reference == name && pairing.comparison.kind() == OutputKind::SpanLogits
            })?;
            match &self.produced[at] {
                Produced::Array(found) => Some((self.expected.get(name)?, found)),
                Produced::Labels(_) => None,
            }
        };
        let (Some(start), Some(end)) = (side("start_logits"), side("end_logits")) else {
            return;
        };
        for (index, row) in self.batch.rows.iter().enumerate() {
            let reference = SpanScores {
                start: start.0.row(self.offset + index),
                end: end.0.row(self.offset + index),
            };
            let package = SpanScores {
                start: start.1.row(index),
                end: end.1.row(index),
            };
            spans.add(self.batch.first_row + index, reference, package, |at| {
                row.is_token(at)
            });
        }
    }
}

impl Pairing {
    fn add_row(&mut self, at: usize, row: &InputRow, wanted: &[f32], found: &[f32]) {
        self.comparison.add_row(at, row, wanted, found);
        if let Some(labelling) = &mut self.labelling {
            labelling.add_row(at, row, wanted, found);
        }
    }
}

/// Readies every output that labels say something about.
///
/// # Errors
/// When they say nothing about any, or don't fit.
fn label(
    pairings: &mut [Pairing],
    labels: &Labels,
    rows: usize,
    subject: &Subject,
    reference: &dyn Reference,
) -> Result<(), VerifyError> {
    for (pairing, (_, form)) in pairings.iter_mut().zip(&subject.outputs) {
        // Probabilities come in the order of the package's classes, everything else in the reference's.
        let (names, shape) = match form {
            Form::Probabilities(classes) => (Some(&classes[..]), vec![classes.len()]),
            Form::Label(classes) => (reference.labels().or(Some(classes)), vec![classes.len()]),
            Form::Array => (reference.labels(), pairing.row_shape.clone()),
        };
        pairing.labelling = Labelling::of(labels, rows, pairing.comparison.kind(), &shape, names)?;
    }
    if pairings.iter().all(|pairing| pairing.labelling.is_none()) {
        let reason = format!(
            "{}: labels are for scores per text and for embeddings, and this package has scores per position",
            labels.path.display()
        );
        return Err(InputError::Request(reason).into());
    }
    Ok(())
}

fn pair_up(
    subject: &Subject,
    reference: &dyn Reference,
    produced: &[Produced],
    expected: &BTreeMap<String, Tensor>,
    asked: &[(String, String)],
    length: usize,
) -> Result<Vec<Pairing>, VerifyError> {
    let task = reference.task_outputs();
    let rest = expected.keys().filter(|name| !task.contains(name)).cloned();
    let task_count = task.iter().filter(|name| expected.contains_key(*name)).count();
    let candidates: Vec<Named> = task
        .iter()
        .cloned()
        .chain(rest)
        .filter_map(|name| {
            expected.get(&name).map(|tensor| Named {
                row_shape: tensor.row_shape().to_vec(),
                name,
            })
        })
        .collect();
    let arrays: Vec<Named> = subject
        .outputs
        .iter()
        .zip(produced)
        .filter_map(|((name, form), produced)| match (form, produced) {
            (Form::Array, Produced::Array(tensor)) => Some(Named {
                name: name.clone(),
                row_shape: tensor.row_shape().to_vec(),
            }),
            _ => None,
        })
        .collect();
    let mut array_pairs = pair(&arrays, &candidates, task_count, asked)?.into_iter();
    let logits = candidates
        .iter()
        .find(|output| output.name == "logits" && output.row_shape.len() == 1);
    let pairings = subject.outputs.iter().map(|(name, form)| {
        let (counterpart, paired_by, kind) = match form {
            Form::Array => {
                let (index, why) = array_pairs
                    .next()
                    .ok_or_else(|| subject.fail(format!("output `{name}` has no counterpart")))?;
                let found = &candidates[index];
                (found, why, OutputKind::of(&found.name, &found.row_shape, length))
            }
            Form::Label(classes) | Form::Probabilities(classes) => {
                let found = logits.ok_or_else(|| {
                    subject.fail(format!(
                        "output `{name}` classifies, but the reference gives no logits per row"
                    ))
                })?;
                if found.row_shape != [classes.len()] {
                    return Err(class_mismatch(subject, name, reference, classes));
                }
                let label = matches!(form, Form::Label(_));
                (
                    found,
                    PairedBy::Classifier,
                    if label {
                        OutputKind::Label
                    } else {
                        OutputKind::Probabilities
                    },
                )
            }
        };
        Ok(Pairing {
            reference: counterpart.name.clone(),
            paired_by,
            row_shape: counterpart.row_shape.clone(),
            comparison: OutputComparison::new(kind, &counterpart.row_shape, subject.precision.step()),
            labelling: None,
        })
    });
    pairings.collect()
}
