//! The rows of a bucket: read or made, held against what both sides know of them, completed.

use crate::error::{InputError, VerifyError};
use crate::inputs::{
    ATTENTION_MASK, INPUT_IDS, InputRow, InputSet, Inputs, TOKEN_TYPE_IDS, TextTokenizer, fill, seeded,
    token_rows,
};
use crate::interface::Subject;
use crate::reference::{Intake, Reference};
use crate::report::InputReport;

use super::VerifyRequest;

/// Rows of token ids for a bucket too short for texts.
const ROWS_WITHOUT_TEXTS: usize = 32;

/// Makes the rows of one bucket after another.
pub(crate) struct Feeder<'a> {
    inputs: &'a Inputs,
    intake: Intake,
    /// Whether the package takes several sizes, some of which may be too short for texts.
    several: bool,
    /// Opened when the first texts are asked for.
    tokenizer: Option<Box<TextTokenizer>>,
}

impl<'a> Feeder<'a> {
    /// Fails when the reference has no answers to what is asked for.
    pub(crate) fn new(
        request: &'a VerifyRequest,
        reference: &dyn Reference,
        several: bool,
    ) -> Result<Self, InputError> {
        let reason = match (reference.recorded(), &request.inputs) {
            (Some(_), Inputs::Recorded)
            | (None, Inputs::Texts { .. } | Inputs::TokenFile { .. } | Inputs::Tokens { .. }) => {
                return Ok(Self {
                    inputs: &request.inputs,
                    intake: Intake::default(),
                    several,
                    tokenizer: None,
                });
            }
            (Some(_), _) => {
                "recorded outputs hold for the inputs recorded beside them; leave texts and seeds away"
            }
            (None, Inputs::Recorded) => {
                "the reference has no recorded inputs; give texts, or ask for seeded token ids"
            }
        };
        Err(InputError::Request(reason.into()))
    }

    /// Rows for the subject at its present size, complete.
    pub(crate) fn rows(
        &mut self,
        subject: &Subject,
        reference: &dyn Reference,
    ) -> Result<InputSet, VerifyError> {
        // A traced model knows its tables only once it has been sized.
        self.intake = reference.intake();
        let (mut set, seed) = match (self.inputs, reference.recorded()) {
            (Inputs::Texts { file, tokenizer }, _) => {
                let tokenizer = match &mut self.tokenizer {
                    Some(open) => open,
                    none => {
                        let path = tokenizer.clone().or_else(|| self.intake.tokenizer.clone());
                        let path = path.ok_or_else(|| InputError::NoTokenizer {
                            directory: reference.describe().path.into(),
                        })?;
                        none.insert(Box::new(TextTokenizer::open(&path, self.intake.pad)?))
                    }
                };
                if self.several && subject.length < tokenizer.shortest() {
                    let mut set = self.tokens(subject, 0, ROWS_WITHOUT_TEXTS)?;
                    set.origin.push_str(", being too short for texts");
                    (set, 0)
                } else {
                    (tokenizer.rows(file.as_deref(), subject.length)?, 0)
                }
            }
            (Inputs::TokenFile { file }, _) => {
                let bound = |input: &str| self.bound(subject, input);
                (token_rows(file, subject.length, self.intake.pad, &bound)?, 0)
            }
            (Inputs::Tokens { seed, rows }, _) => (self.tokens(subject, *seed, *rows)?, *seed),
            (Inputs::Recorded, recorded) => (recorded.cloned().unwrap_or_default(), 0),
        };
        if reference.recorded().is_none() {
            self.within_bounds(&set)?;
        }
        let bound = |input: &str| self.bound(subject, input);
        let filled = fill(&mut set, &subject.feed()?.inputs, subject.batch, seed, &bound)?;
        if !filled.is_empty() {
            set.origin
                .push_str(&format!("; {} from seed {seed}", filled.join(", ")));
        }
        Ok(set)
    }

    /// What integers of an input lie below on both sides, as far as they say.
    fn bound(&self, subject: &Subject, input: &str) -> Option<usize> {
        match (self.intake.bounds.get(input), subject.bound(input)) {
            (Some(theirs), Some(ours)) => Some(ours.min(*theirs)),
            (theirs, ours) => theirs.copied().or(ours),
        }
    }

    fn tokens(&self, subject: &Subject, seed: u64, rows: usize) -> Result<InputSet, InputError> {
        let bound = |input: &str| {
            self.intake
                .bounds
                .get(input)
                .copied()
                .or_else(|| subject.bound(input))
        };
        let vocabulary = bound(INPUT_IDS).ok_or_else(|| {
            InputError::Request(
                "neither side says how many token ids there are, so none can be drawn; give texts".into(),
            )
        })?;
        let types = bound(TOKEN_TYPE_IDS).unwrap_or(1);
        let (length, pad) = (subject.length, self.intake.pad);
        Ok(seeded(seed, rows.max(1), length, vocabulary, types, pad))
    }

    /// Fails at the first id the reference does not know.
    fn within_bounds(&self, set: &InputSet) -> Result<(), InputError> {
        type Column = fn(&InputRow) -> &[i32];
        let columns: [(&str, &str, Column); 2] = [
            ("token id", INPUT_IDS, |row| &row.input_ids),
            ("token type", TOKEN_TYPE_IDS, |row| &row.token_type_ids),
        ];
        for (index, row) in set.rows.iter().enumerate() {
            for (what, input, column) in columns {
                let Some(bound) = self.intake.bounds.get(input) else {
                    continue;
                };
                let outside = |value: &&i32| usize::try_from(**value).map_or(true, |value| value >= *bound);
                if let Some(value) = column(row).iter().find(outside) {
                    return Err(InputError::Request(format!(
                        "input {index} has {what} {value}, but the reference knows {bound}: the tokenizer belongs to \
                         another model"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Why a recording has no rows of this length.
pub(super) fn not_recorded(reference: &dyn Reference, length: usize) -> Option<String> {
    let recorded = reference.recorded()?.length;
    (recorded != length).then(|| {
        format!(
            "{}: recorded at {recorded} positions, the package takes {length}; record again, or convert with \
             --sequence-length {recorded}",
            reference.describe().path,
        )
    })
}

/// Gives the inputs the package does not take their neutral value. Recorded rows must have it already.
pub(crate) fn fit(
    subject: &Subject,
    inputs: &mut InputSet,
    recorded: bool,
) -> Result<Vec<String>, VerifyError> {
    type Column = fn(&mut InputRow) -> &mut Vec<i32>;
    let columns: [(&str, i32, Column); 2] = [
        (ATTENTION_MASK, 1, |row| &mut row.attention_mask),
        (TOKEN_TYPE_IDS, 0, |row| &mut row.token_type_ids),
    ];
    let mut not_taken = Vec::new();
    for (name, neutral, column) in columns {
        if subject.takes(name) {
            continue;
        }
        for (index, row) in inputs.rows.iter_mut().enumerate() {
            let values = column(row);
            if recorded && values.iter().any(|value| *value != neutral) {
                return Err(subject.fail(format!(
                    "takes no {name}, but recorded row {index} needs it; record inputs without it"
                )));
            }
            values.fill(neutral);
        }
        not_taken.push(name.to_owned());
    }
    Ok(not_taken)
}

/// What the rows are, for the report.
pub(super) fn describe(inputs: &InputSet, not_taken: Vec<String>) -> InputReport {
    let tokens = || inputs.rows.iter().map(InputRow::tokens);
    InputReport {
        origin: inputs.origin.clone(),
        rows: inputs.rows.len(),
        length: inputs.length,
        tokens: tokens().sum(),
        shortest: tokens().min().unwrap_or(0),
        longest: tokens().max().unwrap_or(0),
        truncated: inputs.truncated,
        not_taken,
    }
}
