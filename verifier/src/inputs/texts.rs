//! Texts through the model's own tokenizer, cut and padded to the package's length.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::{
    EncodeInput, PaddingDirection, PostProcessor as _, Tokenizer, TruncationDirection, TruncationParams,
};

use super::lines::Lines;
use super::{InputRow, InputSet, excerpt};
use crate::error::InputError;

/// Used when no file of texts is given: forty sentences of our own, 1 to 200 words, a dozen scripts, three pairs.
const BUILT_IN: &str = include_str!("built_in.txt");

/// A tokenizer with the padding and truncation its model was trained with.
pub struct TextTokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    pad: i32,
    pad_left: bool,
    cut: TruncationDirection,
}

impl TextTokenizer {
    /// Loads the `tokenizer.json` at `path`. Sides and padding token come from the `tokenizer_config.json` beside it,
    /// else from the tokenizer itself, else `pad` on the right.
    ///
    /// # Errors
    /// When the file is missing or malformed.
    pub fn open(path: &Path, pad: usize) -> Result<Self, InputError> {
        let wrong = |reason: String| InputError::Tokenizer {
            path: path.to_owned(),
            reason,
        };
        if !path.is_file() {
            let directory = path.parent().unwrap_or(Path::new("")).to_owned();
            return Err(InputError::NoTokenizer { directory });
        }
        let mut tokenizer = Tokenizer::from_file(path).map_err(|error| wrong(error.to_string()))?;
        let config = path.with_file_name("tokenizer_config.json");
        let config: Value = match std::fs::read(&config) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| InputError::Tokenizer {
                path: config,
                reason: format!("not JSON: {error}"),
            })?,
            Err(_) => Value::Null,
        };
        let cut = match config["truncation_side"].as_str() {
            Some("left") => TruncationDirection::Left,
            _ => TruncationDirection::Right,
        };
        let padding = tokenizer.get_padding();
        let named = config["pad_token"]
            .as_str()
            .or(config["pad_token"]["content"].as_str());
        let pad = named
            .and_then(|token| tokenizer.token_to_id(token))
            .or(padding.map(|padding| padding.pad_id))
            .map_or(i32::try_from(pad).ok(), |id| i32::try_from(id).ok())
            .ok_or_else(|| wrong("the padding token's id is beyond int32".into()))?;
        let pad_left = match config["padding_side"].as_str() {
            Some(side) => side == "left",
            None => padding.is_some_and(|padding| matches!(padding.direction, PaddingDirection::Left)),
        };
        // Rows are padded here, where the package's length is known.
        tokenizer.with_padding(None);
        Ok(Self {
            path: path.to_owned(),
            tokenizer,
            pad,
            pad_left,
            cut,
        })
    }

    /// Has texts cut to `length` positions.
    fn cut_to(&mut self, length: usize) -> Result<(), InputError> {
        let wrong = |reason: String| InputError::Tokenizer {
            path: self.path.clone(),
            reason,
        };
        let shortest = self.shortest();
        if length < shortest {
            return Err(wrong(format!(
                "{length} positions are too few for its special tokens and a text, which take {shortest}"
            )));
        }
        let truncation = TruncationParams {
            max_length: length,
            direction: self.cut,
            ..TruncationParams::default()
        };
        match self.tokenizer.with_truncation(Some(truncation)) {
            Ok(_) => Ok(()),
            Err(error) => Err(wrong(format!("does not cut to {length} positions: {error}"))),
        }
    }

    /// Fewest positions that hold the special tokens of a pair and one more.
    pub fn shortest(&self) -> usize {
        let special = self.tokenizer.get_post_processor();
        special.map_or(0, |special| special.added_tokens(true)) + 1
    }

    /// One row of `length` positions from a text, or from a text and its pair separated by a tab.
    ///
    /// # Errors
    /// When `length` is below [`Self::shortest`] or the tokenizer fails.
    pub fn row(&mut self, text: &str, length: usize) -> Result<InputRow, InputError> {
        self.cut_to(length)?;
        self.encode(text, length).map(|(row, _)| row)
    }

    /// Rows of `length` positions from a file of texts, or from corer's own when there is none.
    ///
    /// # Errors
    /// When the file can't be read, is not UTF-8, holds no text, `length` is below [`Self::shortest`], or the
    /// tokenizer fails.
    pub fn rows(&mut self, file: Option<&Path>, length: usize) -> Result<InputSet, InputError> {
        self.cut_to(length)?;
        let mut set = InputSet {
            length,
            rows: Vec::new(),
            origin: match file {
                Some(path) => path.display().to_string(),
                None => "corer's own sentences".to_owned(),
            },
            truncated: 0,
        };
        let mut add = |text: &str| {
            let (row, cut) = self.encode(text, length)?;
            set.truncated += usize::from(cut);
            set.rows.push(row);
            Ok(())
        };
        match file {
            Some(path) => Lines::open(path)?.try_for_each(|line| add(&line?.1))?,
            None => BUILT_IN.lines().try_for_each(&mut add)?,
        }
        if set.rows.is_empty() {
            Err(InputError::Empty { origin: set.origin })
        } else {
            Ok(set)
        }
    }

    /// The row, and whether the text was cut.
    fn encode(&self, line: &str, length: usize) -> Result<(InputRow, bool), InputError> {
        let input: EncodeInput<'_> = match line.split_once('\t') {
            Some((text, pair)) => (text.trim(), pair.trim()).into(),
            None => line.into(),
        };
        let encoding = self
            .tokenizer
            .encode(input, true)
            .map_err(|error| InputError::Tokenizer {
                path: self.path.clone(),
                reason: error.to_string(),
            })?;
        let cut = !encoding.get_overflowing().is_empty();
        let tokens = encoding.len().min(length);
        let start = if self.pad_left { length - tokens } else { 0 };
        let mut row = InputRow {
            input_ids: vec![self.pad; length],
            attention_mask: vec![0; length],
            token_type_ids: vec![0; length],
            extra: BTreeMap::new(),
            excerpt: Some(excerpt(line)),
        };
        let ids = encoding.get_ids().iter().zip(encoding.get_type_ids());
        for (position, (id, kind)) in (start..).zip(ids.take(tokens)) {
            row.input_ids[position] = i32::try_from(*id).unwrap_or(i32::MAX);
            row.token_type_ids[position] = i32::try_from(*kind).unwrap_or(i32::MAX);
            row.attention_mask[position] = 1;
        }
        Ok((row, cut))
    }
}
