//! Token ids from a file, one row a line, for whoever tokenizes elsewhere.
//!
//! A line is ids between spaces, a JSON list of ids, or a JSON object as a line of a dataset is: `input_ids`, and where
//! wanted `attention_mask`, `token_type_ids` and the `text` they came from. Files may mix the three.

use std::path::Path;

use serde::Deserialize;

use super::lines::Lines;
use super::{INPUT_IDS, InputRow, InputSet, TOKEN_TYPE_IDS, excerpt};
use crate::error::InputError;

/// One line.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TokenLine {
    input_ids: Vec<i32>,
    attention_mask: Option<Vec<i32>>,
    token_type_ids: Option<Vec<i32>>,
    text: Option<String>,
}

/// Rows of `length` positions from the lines of `path`: shorter ones are padded on the right with `pad`, longer ones
/// cut and counted as such. What a line leaves out is a mask of ones and a type of zero.
///
/// `bound` says what integers of an input lie below, as far as it is known.
///
/// # Errors
/// When the file can't be read, a line is no row, its lists differ in length, a mask is neither 0 nor 1, an id lies
/// outside its bound, or there is no line.
pub(crate) fn rows(
    path: &Path,
    length: usize,
    pad: usize,
    bound: &dyn Fn(&str) -> Option<usize>,
) -> Result<InputSet, InputError> {
    let pad = i32::try_from(pad).unwrap_or(0);
    let mut set = InputSet {
        length,
        rows: Vec::new(),
        origin: path.display().to_string(),
        truncated: 0,
    };
    let mut lines = Lines::open(path)?;
    while let Some(line) = lines.next() {
        let (_, line) = line?;
        let row = TokenLine::read(&line).and_then(|row| row.checked(bound));
        let row = row.map_err(|reason| lines.wrong(reason))?;
        set.truncated += usize::from(row.input_ids.len() > length);
        set.rows.push(row.fitted(length, pad));
    }
    match set.rows.is_empty() {
        true => Err(InputError::Request(format!(
            "{}: no inputs; give at least one row of token ids, each on a line of its own",
            set.origin
        ))),
        false => Ok(set),
    }
}

impl TokenLine {
    fn read(line: &str) -> Result<Self, String> {
        if line.starts_with('{') {
            return serde_json::from_str(line).map_err(|error| json(&error));
        }
        let ids = match line.starts_with('[') {
            true => serde_json::from_str(line).map_err(|error| json(&error))?,
            false => {
                let id = |word: &str| word.parse().map_err(|_| format!("`{word}` is no token id"));
                line.split_whitespace().map(id).collect::<Result<_, _>>()?
            }
        };
        Ok(Self {
            input_ids: ids,
            ..Self::default()
        })
    }

    /// Itself, when every list fits the others and every value its input.
    fn checked(self, bound: &dyn Fn(&str) -> Option<usize>) -> Result<Self, String> {
        let count = self.input_ids.len();
        if count == 0 {
            return Err("holds no token id".into());
        }
        let mask = ("attention_mask", &self.attention_mask, Some(2));
        let types = (TOKEN_TYPE_IDS, &self.token_type_ids, bound(TOKEN_TYPE_IDS));
        let lists = [mask, types].into_iter();
        let lists = lists.filter_map(|(name, list, bound)| Some((name, list.as_deref()?, bound)));
        let ids = (INPUT_IDS, &self.input_ids[..], bound(INPUT_IDS));
        for (name, list, bound) in std::iter::once(ids).chain(lists) {
            if list.len() != count {
                return Err(format!("has {count} {INPUT_IDS}, but {} {name}", list.len()));
            }
            let bound = bound.unwrap_or(usize::MAX);
            let outside = |value: &&i32| usize::try_from(**value).map_or(true, |value| value >= bound);
            if let Some(value) = list.iter().find(outside) {
                return Err(match (name, bound) {
                    (_, usize::MAX) => format!("{name} has {value}, which is negative"),
                    (INPUT_IDS, _) => {
                        format!("token id {value} is none of the model's, which lie below {bound}")
                    }
                    _ => format!("{name} has {value}, expected numbers from 0 to {}", bound - 1),
                });
            }
        }
        Ok(self)
    }

    fn fitted(self, length: usize, pad: i32) -> InputRow {
        let count = self.input_ids.len();
        let fit = |mut list: Vec<i32>, filler: i32| {
            list.resize(length, filler);
            list
        };
        InputRow {
            input_ids: fit(self.input_ids, pad),
            attention_mask: fit(self.attention_mask.unwrap_or_else(|| vec![1; count]), 0),
            token_type_ids: fit(self.token_type_ids.unwrap_or_else(|| vec![0; count]), 0),
            excerpt: self.text.as_deref().map(excerpt),
            ..InputRow::default()
        }
    }
}

/// The reason without the place in the line's own numbering, which counts lines from where the line begins.
fn json(error: &serde_json::Error) -> String {
    let reason = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = reason.strip_suffix(&place).unwrap_or(&reason);
    format!("at column {}: {reason}", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<InputSet, InputError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let bound = |input: &str| match input {
            INPUT_IDS => Some(100),
            TOKEN_TYPE_IDS => Some(2),
            _ => None,
        };
        rows(file.path(), 4, 9, &bound)
    }

    fn columns(row: &InputRow) -> [&[i32]; 3] {
        [&row.input_ids, &row.attention_mask, &row.token_type_ids]
    }

    #[test]
    fn the_three_ways_to_write_a_row() {
        let set = read(concat!(
            "\u{feff}5 6\t7\r\n\n",
            "[99, 0, 1, 2, 3]\n",
            "  {\"token_type_ids\": [0, 1, 1], \"input_ids\": [1, 2, 3], \"attention_mask\": [0, 1, 1], \"text\": \"a\\tb\"}",
        ))
        .unwrap();
        let rows: Vec<_> = set.rows.iter().map(columns).collect();
        let first: [&[i32]; 3] = [&[5, 6, 7, 9], &[1, 1, 1, 0], &[0; 4]];
        let cut: [&[i32]; 3] = [&[99, 0, 1, 2], &[1; 4], &[0; 4]];
        let whole: [&[i32]; 3] = [&[1, 2, 3, 9], &[0, 1, 1, 0], &[0, 1, 1, 0]];
        assert_eq!(rows, [first, cut, whole]);
        assert_eq!((set.length, set.truncated), (4, 1));
        assert_eq!(set.rows[2].excerpt.as_deref(), Some("a | b"));
        assert_eq!(set.rows[0].excerpt, None);
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        let cases = [
            ("5 6 x", "`x` is no token id"),
            ("5 6.5", "`6.5` is no token id"),
            (
                "5 100",
                "token id 100 is none of the model's, which lie below 100",
            ),
            ("-1", "token id -1 is none"),
            ("99999999999", "`99999999999` is no token id"),
            ("[1, 100]", "token id 100"),
            ("[1, 99999999999]", "at column 15: invalid value"),
            ("[[1, 2]]", "at column 1: invalid type: sequence"),
            ("[1, 2", "at column 5: EOF"),
            ("[]", "holds no token id"),
            ("{\"input_ids\": []}", "holds no token id"),
            (
                "{\"ids\": [1]}",
                "unknown field `ids`, expected one of `input_ids`",
            ),
            ("{\"attention_mask\": [1]}", "missing field `input_ids`"),
            (
                "{\"input_ids\": [1, 2], \"attention_mask\": [1]}",
                "has 2 input_ids, but 1 attention_mask",
            ),
            (
                "{\"input_ids\": [1], \"attention_mask\": [2]}",
                "attention_mask has 2, expected numbers from 0 to 1",
            ),
            (
                "{\"input_ids\": [1], \"token_type_ids\": [2]}",
                "token_type_ids has 2, expected numbers from 0 to 1",
            ),
        ];
        for (line, reason) in cases {
            let error = read(&format!("1 2\n\n{line}\n")).unwrap_err();
            assert!(
                matches!(error, InputError::Line { line: 3, .. }),
                "{line}: {error}"
            );
            assert!(error.to_string().contains(reason), "{line}: {error}");
        }
        assert!(read("\n \n").unwrap_err().to_string().contains("no inputs"));
    }

    #[test]
    fn without_a_bound_ids_must_not_be_negative() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "70000 1\n").unwrap();
        let set = rows(file.path(), 2, 0, &|_| None).unwrap();
        assert_eq!(set.rows[0].input_ids, [70000, 1]);
        std::fs::write(file.path(), "3 -1\n").unwrap();
        let error = rows(file.path(), 2, 0, &|_| None).unwrap_err().to_string();
        assert!(
            error.contains("line 1: input_ids has -1, which is negative"),
            "{error}"
        );
    }
}
