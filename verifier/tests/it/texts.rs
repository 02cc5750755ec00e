//! Texts through the fixtures' tokenizers, against the rows Hugging Face's tokenizer made of them.

use std::path::PathBuf;

use corer_verifier::inputs::{InputRow, TextTokenizer};
use corer_verifier::{GoldenReference, InputError};

use crate::fixtures;

fn tokenizer(directory: &str) -> TextTokenizer {
    TextTokenizer::open(&fixtures().join(directory).join("tokenizer.json"), 0).unwrap()
}

/// `texts.json` as lines, pairs after a tab.
fn lines() -> Vec<String> {
    let text = std::fs::read(fixtures().join("texts.json")).unwrap();
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    let line = |entry: &serde_json::Value| match entry["pair"].as_str() {
        Some(pair) => format!("{}\t{pair}", entry["text"].as_str().unwrap()),
        None => entry["text"].as_str().unwrap().to_owned(),
    };
    entries.iter().map(line).collect()
}

fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("texts.txt");
    std::fs::write(&path, content).unwrap();
    (directory, path)
}

fn without_excerpt(row: &InputRow) -> InputRow {
    InputRow {
        excerpt: None,
        ..row.clone()
    }
}

#[test]
fn rows_are_those_of_hugging_face() {
    // The sentence model's tokenizer.json pads and cuts to 64 by itself, the masked LM's to nothing.
    for (directory, length) in [
        ("feature-extraction", 64),
        ("sentence-mean", 64),
        ("fill-mask", 32),
    ] {
        let golden = GoldenReference::open(&fixtures().join(directory).join("expected.safetensors")).unwrap();
        assert_eq!(golden.inputs().length, length);
        let (_keep, path) = file(lines().join("\n").as_bytes());
        let set = tokenizer(directory).rows(Some(&path), length).unwrap();
        let rows: Vec<InputRow> = set.rows.iter().map(without_excerpt).collect();
        assert_eq!(rows, golden.inputs().rows[..lines().len()], "{directory}");
        assert!(set.truncated >= 1);
    }
}

#[test]
fn files_may_have_blank_lines_a_byte_order_mark_and_crlf() {
    let (_keep, path) = file("\u{feff}Whisk the egg whites.\r\n\r\n   \r\nOnce.\r\n".as_bytes());
    let set = tokenizer("feature-extraction").rows(Some(&path), 64).unwrap();
    let excerpts: Vec<&str> = set
        .rows
        .iter()
        .map(|row| row.excerpt.as_deref().unwrap())
        .collect();
    assert_eq!(excerpts, ["Whisk the egg whites.", "Once."]);
}

#[test]
fn bad_files_are_told_by_line() {
    let (_keep, path) = file(b"fine\nalso fine\nnot \xff fine\n");
    let error = tokenizer("feature-extraction").rows(Some(&path), 64).unwrap_err();
    assert!(matches!(error, InputError::Line { line: 3, .. }), "{error}");
    let (_keep, path) = file(b"\n\n");
    let error = tokenizer("feature-extraction").rows(Some(&path), 64).unwrap_err();
    assert!(matches!(error, InputError::Empty { .. }), "{error}");
}

#[test]
fn our_own_sentences_fill_any_length() {
    let set = tokenizer("feature-extraction").rows(None, 128).unwrap();
    assert_eq!(set.rows.len(), 40);
    assert!(set.rows.iter().any(|row| row.tokens() <= 8));
    assert!(set.rows.iter().any(|row| row.tokens() == 128));
    assert!(set.rows.iter().any(|row| row.token_type_ids.contains(&1)));
}

#[test]
fn a_missing_tokenizer_says_what_to_pass() {
    let directory = tempfile::tempdir().unwrap();
    let error = TextTokenizer::open(&directory.path().join("tokenizer.json"), 0)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("--tokenizer") && error.contains("--random-tokens"),
        "{error}"
    );
    std::fs::write(directory.path().join("tokenizer.json"), "{}").unwrap();
    let error = TextTokenizer::open(&directory.path().join("tokenizer.json"), 0)
        .err()
        .unwrap();
    assert!(matches!(error, InputError::Tokenizer { .. }), "{error}");
}

#[test]
fn padding_follows_the_tokenizers_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        std::fs::copy(
            fixtures().join("feature-extraction").join(name),
            directory.path().join(name),
        )
    };
    copy("tokenizer.json").unwrap();
    std::fs::write(
        directory.path().join("tokenizer_config.json"),
        r#"{"padding_side": "left", "pad_token": {"content": "[MASK]"}}"#,
    )
    .unwrap();
    let mut tokenizer = TextTokenizer::open(&directory.path().join("tokenizer.json"), 0).unwrap();
    let row = tokenizer.row("Once.", 32).unwrap();
    assert_eq!((row.attention_mask[0], row.attention_mask[31]), (0, 1));
    assert_eq!(row.input_ids[0], 4);
}

#[test]
fn lengths_may_change_from_call_to_call_and_must_hold_the_special_tokens() {
    let mut tokenizer = tokenizer("feature-extraction");
    // [CLS] text [SEP] pair [SEP], and one token more.
    assert_eq!(tokenizer.shortest(), 4);
    for length in [4, 128, 16] {
        let set = tokenizer.rows(None, length).unwrap();
        assert!(
            set.rows
                .iter()
                .all(|row| row.input_ids.len() == length && row.tokens() <= length)
        );
        assert!(set.rows.iter().any(|row| row.tokens() == length), "{length}");
    }
    for length in [0, 1, 3] {
        let error = tokenizer.rows(None, length).unwrap_err().to_string();
        assert!(error.contains("too few"), "{length}: {error}");
    }
}
