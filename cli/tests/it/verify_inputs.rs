//! What `corer verify` is given beside the package: token ids of one's own, and every way it can be of no use. Each is
//! refused with the documented exit code and told what to do.

use std::fs;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Tensor, named, read_safetensors, write_safetensors};
use crate::harness::{Scratch, fixture, fixtures};

/// A scratch directory with `model`, a copy of a fixture, and `Out.mlpackage` made from it.
fn converted(name: &str, lengths: &str) -> (Scratch, Checkpoint) {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, name);
    let convert = [
        "convert",
        "model",
        "-o",
        "Out.mlpackage",
        "--sequence-length",
        lengths,
        "--target",
        "ios18",
    ];
    let output = scratch.output(&convert);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (scratch, checkpoint)
}

/// What a verification says that must end with `code`.
#[track_caller]
fn refused(scratch: &Scratch, flags: &[&str], code: i32) -> String {
    let output = scratch.output(&[&["verify", "Out.mlpackage"], flags].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{flags:?}: {said}");
    assert!(output.stdout.is_empty(), "{flags:?}");
    said
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

fn verified(scratch: &Scratch, flags: &[&str]) -> Value {
    let output = scratch.output(&[&["verify", "Out.mlpackage", "--json"], flags].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{flags:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("a document")
}

#[test]
fn token_ids_of_a_file_give_what_the_texts_they_came_from_give() {
    let (scratch, _) = converted("feature-extraction", "64");
    // Rows that Hugging Face's tokenizer made, with their PyTorch outputs.
    let recording = format!("{}/expected.safetensors", fixture("feature-extraction"));
    let tensors = read_safetensors(recording.as_ref());
    let column = |name: &str| -> Vec<Vec<i32>> {
        let tensor = tensors
            .iter()
            .find(|tensor| tensor.name == name)
            .expect("an input");
        let ids = tensor
            .bytes
            .chunks_exact(4)
            .map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four bytes")));
        ids.collect::<Vec<_>>().chunks(64).map(<[i32]>::to_vec).collect()
    };
    let (ids, masks) = (column("input.input_ids"), column("input.attention_mask"));
    let types = column("input.token_type_ids");
    let rows = ids.iter().zip(&masks).zip(&types).enumerate();
    let lines = rows.map(|(index, ((ids, mask), types))| {
        let row = json!({"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "text": format!("row {index}")});
        row.to_string()
    });
    fs::write(
        scratch.path().join("ids.jsonl"),
        lines.collect::<Vec<_>>().join("\n"),
    )
    .expect("a file");
    let of_file = verified(&scratch, &["--reference", "model", "--tokens", "ids.jsonl"]);
    let of_recording = verified(&scratch, &["--golden", &recording]);
    let part = |report: &Value, key: &str| report["buckets"][0]["inputs"][key].clone();
    assert_eq!(part(&of_file, "origin"), "ids.jsonl");
    for key in ["rows", "tokens", "shortest", "longest"] {
        assert_eq!(part(&of_file, key), part(&of_recording, key), "{key}");
    }
    // Two references, the same rows: the same distance.
    let worst = |report: &Value| report["buckets"][0]["outputs"][0]["worst"].clone();
    let error = |report: &Value| {
        report["buckets"][0]["outputs"][0]["max_abs"]
            .as_f64()
            .expect("a number")
    };
    assert!((error(&of_file) - error(&of_recording)).abs() < 1e-5);
    assert!(
        worst(&of_file)["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("row ")),
        "{of_file}"
    );
}

#[test]
fn token_ids_are_padded_and_cut_to_every_length_of_a_package() {
    let (scratch, _) = converted("feature-extraction", "8,16");
    fs::write(
        scratch.path().join("ids"),
        "2 17 3\n[2, 5, 6, 7, 8, 9, 10, 11, 12, 3]\n",
    )
    .expect("a file");
    let report = verified(&scratch, &["--reference", "model", "--tokens", "ids"]);
    let buckets = report["buckets"].as_array().expect("buckets");
    let inputs = |at: usize, key: &str| buckets[at]["inputs"][key].as_u64();
    assert_eq!((inputs(0, "longest"), inputs(0, "truncated")), (Some(8), Some(1)));
    assert_eq!(
        (inputs(1, "longest"), inputs(1, "truncated")),
        (Some(10), Some(0))
    );
    assert_eq!(inputs(0, "shortest"), Some(3));
}

#[test]
fn token_ids_that_are_none_are_told_by_line() {
    let (scratch, _) = converted("feature-extraction", "16");
    let cases = [
        ("2 3\n\n2 x 3\n", &["ids: line 3", "`x` is no token id"][..]),
        ("2 515 3\n", &["ids: line 1", "token id 515", "below 515"]),
        ("[2, 3]\n[2, -3]\n", &["ids: line 2", "token id -3"]),
        (
            "{\"input_ids\": [2, 3], \"attention_mask\": [1]}\n",
            &["line 1", "2 input_ids, but 1 attention_mask"],
        ),
        (
            "{\"input_ids\": [2], \"token_type_ids\": [2]}\n",
            &["line 1", "token_type_ids has 2"],
        ),
        ("{\"ids\": [2]}\n", &["line 1", "unknown field `ids`"]),
        ("\n", &["ids: no inputs"]),
    ];
    for (content, parts) in cases {
        fs::write(scratch.path().join("ids"), content).expect("a file");
        says(
            &refused(&scratch, &["--reference", "model", "--tokens", "ids"], 2),
            parts,
        );
    }
    says(
        &refused(&scratch, &["--reference", "model", "--tokens", "missing"], 2),
        &["missing"],
    );
    let said = refused(
        &scratch,
        &["--reference", "model", "--tokens", "ids", "--texts", "ids"],
        2,
    );
    says(&said, &["--tokens", "cannot be used with", "--texts"]);
}

#[test]
fn texts_that_are_empty() {
    let (scratch, _) = converted("feature-extraction", "16");
    fs::write(scratch.path().join("texts.txt"), "\n   \n\t\n").expect("a file");
    let said = refused(&scratch, &["--reference", "model", "--texts", "texts.txt"], 2);
    says(&said, &["texts.txt: no inputs; give at least one text per line"]);
    fs::write(scratch.path().join("texts.txt"), b"fine\nnot \xff\n").expect("a file");
    let said = refused(&scratch, &["--reference", "model", "--texts", "texts.txt"], 2);
    says(&said, &["texts.txt: line 2: is not UTF-8"]);
}

#[test]
fn a_tokenizer_that_is_missing_or_none() {
    let (scratch, checkpoint) = converted("feature-extraction", "16");
    fs::remove_file(checkpoint.path("tokenizer.json")).expect("a file");
    let said = refused(&scratch, &["--reference", "model"], 2);
    says(
        &said,
        &[
            "model: no tokenizer.json",
            "--tokenizer FILE",
            "--tokens FILE",
            "--random-tokens N",
        ],
    );
    let said = refused(
        &scratch,
        &["--reference", "model", "--tokenizer", "elsewhere/tokenizer.json"],
        2,
    );
    says(&said, &["elsewhere: no tokenizer.json", "--tokenizer FILE"]);
    fs::write(checkpoint.path("tokenizer.json"), "{}").expect("a file");
    says(
        &refused(&scratch, &["--reference", "model"], 3),
        &["tokenizer.json"],
    );
    // What it asks for helps.
    let tokenizer = format!("{}/tokenizer.json", fixture("feature-extraction"));
    verified(&scratch, &["--reference", "model", "--tokenizer", &tokenizer]);
}

#[test]
fn a_reference_of_another_architecture() {
    let (scratch, _) = converted("feature-extraction", "16");
    let family = |name: &str| {
        fixtures()
            .join("families")
            .join(name)
            .join("feature-extraction")
            .display()
            .to_string()
    };
    let tokens = ["--random-tokens", "4"];
    // By its own engine: other sizes.
    let said = refused(
        &scratch,
        &[&["--reference", &family("distilbert")], &tokens[..]].concat(),
        2,
    );
    says(
        &said,
        &[
            "cannot tell which output is which",
            "last_hidden_state (n, 16, 64)",
            "last_hidden_state (n, 16, 32)",
        ],
    );
    // By an engine that computes BERT only.
    let roberta = family("roberta");
    let candle = ["--reference", &roberta, "--reference-engine", "candle"];
    let said = refused(&scratch, &[&candle, &tokens[..]].concat(), 3);
    says(
        &said,
        &[
            "config.json: `model_type`",
            "is roberta",
            "--reference-engine graph",
        ],
    );
    // A trace that takes something else.
    let own = fixtures().join("own-model/model.pt").display().to_string();
    let said = refused(&scratch, &[&["--reference", &own], &tokens[..]].concat(), 3);
    says(&said, &["model.pt"]);
}

#[test]
fn a_reference_of_another_shape() {
    let (scratch, checkpoint) = converted("feature-extraction", "16");
    // The same architecture half as wide, and the same but for its vocabulary.
    let narrow = fixture("formats/f16");
    let said = refused(&scratch, &["--reference", &narrow, "--random-tokens", "4"], 2);
    says(
        &said,
        &[
            "`last_hidden_state` and `last_hidden_state` differ in shape",
            "package:   last_hidden_state (n, 16, 64)",
            "reference: last_hidden_state (n, 16, 32)",
        ],
    );
    checkpoint.configure("vocab_size", json!(20));
    checkpoint.edit_tensors(|tensors| {
        named(tensors, "embeddings.word_embeddings.weight").repeat_rows(20);
    });
    let said = refused(&scratch, &["--reference", "model"], 2);
    says(
        &said,
        &["the reference knows 20", "the tokenizer belongs to another model"],
    );
    // Weights that are not of the size the configuration says.
    checkpoint.configure("vocab_size", json!(21));
    let said = refused(&scratch, &["--reference", "model"], 3);
    says(
        &said,
        &["embeddings.word_embeddings.weight", "[20, 64]", "[21, 64]"],
    );
}

#[test]
fn outputs_that_do_not_pair_up_show_both_lists() {
    let (scratch, _) = converted("question-answering", "16");
    let other = fixture("feature-extraction");
    let said = refused(
        &scratch,
        &["--reference", &other, "--task", "feature-extraction"],
        2,
    );
    says(
        &said,
        &[
            "cannot tell which output is which",
            "package:   start_logits (n, 16), end_logits (n, 16)",
            "reference: last_hidden_state (n, 16, 64), pooler_output (n, 64)",
            "--output PACKAGE=REFERENCE",
        ],
    );
    let said = refused(
        &scratch,
        &["--reference", "model", "--output", "start=start_logits"],
        2,
    );
    says(
        &said,
        &["the package has no output `start`", "package:   start_logits"],
    );
    let said = refused(
        &scratch,
        &["--reference", "model", "--output", "start_logits=begin"],
        2,
    );
    says(
        &said,
        &["the reference has no output `begin`", "reference: start_logits"],
    );
}

/// The recording of a fixture with one tensor changed.
fn recording(scratch: &Scratch, name: &str, change: impl FnOnce(&mut Tensor)) {
    let path = format!("{}/expected.safetensors", fixture("feature-extraction"));
    let mut tensors = read_safetensors(path.as_ref());
    change(named(&mut tensors, name));
    write_safetensors(&scratch.path().join("golden.safetensors"), &tensors);
}

#[test]
fn a_recording_of_another_shape() {
    let (scratch, _) = converted("feature-extraction", "64");
    let golden = ["--golden", "golden.safetensors"];
    // Half as many channels, twice as many rows of them: as many values, other rows.
    recording(&scratch, "output.last_hidden_state", |tensor| {
        tensor.shape[2] = 32
    });
    says(&refused(&scratch, &golden, 3), &["golden.safetensors"]);
    recording(&scratch, "output.last_hidden_state", |tensor| {
        tensor.shape = vec![tensor.shape[0], tensor.shape[1] / 2, tensor.shape[2] * 2];
    });
    let said = refused(&scratch, &golden, 2);
    says(
        &said,
        &["last_hidden_state (n, 64, 64)", "last_hidden_state (n, 32, 128)"],
    );
    recording(&scratch, "output.last_hidden_state", |tensor| {
        tensor.shape = vec![tensor.shape[0] / 2, tensor.shape[1] * 2, tensor.shape[2]];
    });
    says(
        &refused(&scratch, &golden, 3),
        &["`output.last_hidden_state`", "expected 6 rows"],
    );
    recording(&scratch, "input.attention_mask", |tensor| tensor.shape.reverse());
    says(
        &refused(&scratch, &golden, 3),
        &["`input.attention_mask`", "expected 6 x 64"],
    );
    recording(&scratch, "input.input_ids", |tensor| {
        tensor.name = "input.ids".into()
    });
    says(
        &refused(&scratch, &golden, 3),
        &["missing tensors: input.input_ids"],
    );
    let other = format!("{}/expected.safetensors", fixture("question-answering"));
    let said = refused(&scratch, &["--golden", &other], 2);
    says(
        &said,
        &[
            "package:   last_hidden_state (n, 64, 64)",
            "reference: start_logits (n, 64), end_logits (n, 64)",
        ],
    );
    fs::write(scratch.path().join("golden.safetensors"), b"no tensors").expect("a file");
    says(&refused(&scratch, &golden, 3), &["golden.safetensors: at byte"]);
    says(
        &refused(&scratch, &["--golden", "missing.safetensors"], 3),
        &["missing.safetensors"],
    );
}
