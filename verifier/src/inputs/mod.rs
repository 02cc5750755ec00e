//! What both the package and its reference are fed: rows of token ids, all of the package's length, and what else the
//! package takes.

mod extra;
mod labels;
mod lines;
mod stored;
mod texts;
mod token_file;
mod tokens;

pub(crate) use extra::fill;
pub use extra::{Extra, InputType, Values};
pub use labels::Labels;
pub(crate) use stored::rows as stored_rows;
pub use texts::TextTokenizer;
pub(crate) use token_file::rows as token_rows;
pub use tokens::seeded;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Characters of a text shown in reports.
const EXCERPT: usize = 60;

/// The inputs a BERT takes; a package may leave out all but the first.
pub const INPUT_IDS: &str = "input_ids";
/// 1 for tokens, 0 for padding.
pub const ATTENTION_MASK: &str = "attention_mask";
/// 0 for a first text, 1 for its pair.
pub const TOKEN_TYPE_IDS: &str = "token_type_ids";

/// Where input rows come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inputs {
    /// Texts, through the model's own tokenizer.
    Texts {
        /// A UTF-8 file with one text per line; a tab separates a text from its pair; blank lines are skipped.
        /// `None` takes corer's own forty sentences.
        file: Option<PathBuf>,
        /// A `tokenizer.json`; `None` takes the reference's.
        tokenizer: Option<PathBuf>,
    },
    /// Token ids of somebody's own tokenizer.
    TokenFile {
        /// A UTF-8 file with one row per line: ids between spaces, a JSON list of them, or a JSON object with `input_ids`
        /// and, if wanted, `attention_mask`, `token_type_ids` and `text`.
        file: PathBuf,
    },
    /// Seeded token ids of every length; see [`seeded`].
    Tokens {
        /// Seed: equal seeds give equal rows on every machine.
        seed: u64,
        /// Number of rows, at least 1.
        rows: usize,
    },
    /// The inputs recorded beside a recording's outputs.
    Recorded,
}

/// One input row.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InputRow {
    /// Token ids, as many as the package takes.
    pub input_ids: Vec<i32>,
    /// 1 for tokens, 0 for padding.
    pub attention_mask: Vec<i32>,
    /// Token types.
    pub token_type_ids: Vec<i32>,
    /// What it gives inputs beside these three, by their names.
    pub extra: BTreeMap<String, Arc<Extra>>,
    /// The beginning of the text, if there is one.
    pub excerpt: Option<String>,
}

impl InputRow {
    /// Whether position `index` holds a token.
    pub fn is_token(&self, index: usize) -> bool {
        self.attention_mask.get(index).is_some_and(|mask| *mask != 0)
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.attention_mask.iter().filter(|mask| **mask != 0).count()
    }
}

/// All input rows of one verification.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct InputSet {
    /// Positions per row.
    pub length: usize,
    /// The rows.
    pub rows: Vec<InputRow>,
    /// Where they came from, for the report.
    pub origin: String,
    /// Rows whose text was cut to fit.
    pub truncated: usize,
}

impl InputSet {
    /// Rows `first..first + count`, as far as there are any.
    pub fn batch(&self, first: usize, count: usize) -> Batch<'_> {
        let start = first.min(self.rows.len());
        let end = start.saturating_add(count).min(self.rows.len());
        Batch {
            first_row: start,
            length: self.length,
            rows: &self.rows[start..end],
        }
    }
}

/// Consecutive input rows.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Index of the first row in its [`InputSet`].
    pub first_row: usize,
    /// Positions per row.
    pub length: usize,
    /// The rows.
    pub rows: &'a [InputRow],
}

impl Batch<'_> {
    /// Token ids of all rows, row-major.
    pub fn input_ids(&self) -> Vec<i32> {
        self.rows
            .iter()
            .flat_map(|row| row.input_ids.iter().copied())
            .collect()
    }

    /// Attention mask of all rows, row-major.
    pub fn attention_mask(&self) -> Vec<i32> {
        self.rows
            .iter()
            .flat_map(|row| row.attention_mask.iter().copied())
            .collect()
    }

    /// Token types of all rows, row-major.
    pub fn token_type_ids(&self) -> Vec<i32> {
        self.rows
            .iter()
            .flat_map(|row| row.token_type_ids.iter().copied())
            .collect()
    }

    /// An input for all rows, (rows, positions) for the three every tokenizer fills; `None` when the rows don't have
    /// it, or differ in its shape.
    pub fn input(&self, name: &str) -> Option<Extra> {
        let ids = match name {
            INPUT_IDS => self.input_ids(),
            ATTENTION_MASK => self.attention_mask(),
            TOKEN_TYPE_IDS => self.token_type_ids(),
            _ => {
                return Extra::joined(
                    self.rows
                        .iter()
                        .map(|row| row.extra.get(name).map(|extra| &**extra)),
                );
            }
        };
        Some(Extra {
            shape: vec![self.rows.len(), self.length],
            shared: false,
            values: Values::Ints(ids),
        })
    }
}

/// The beginning of a text, a pair's two parts told apart.
fn excerpt(text: &str) -> String {
    let text = text.replace('\t', " | ");
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
