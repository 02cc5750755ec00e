//! Broken, hostile and unsupported references: each with its own error, none with a panic.

use std::fs;
use std::path::Path;

use corer_verifier::{CandleReference, GoldenReference, ReferenceError};

use crate::fixtures;

/// A copy of a fixture in a directory of its own.
fn copy(of: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(&fixtures().join(of), to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn refused(directory: &Path) -> ReferenceError {
    CandleReference::open(directory, None)
        .err()
        .expect("was not refused")
}

/// The error after replacing keys of a JSON file.
fn with_json(of: &str, file: &str, change: impl FnOnce(&mut serde_json::Value)) -> ReferenceError {
    let directory = copy(of);
    let path = directory.path().join(file);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    refused(directory.path())
}

/// The error after changing the bytes of a file.
fn with_bytes(of: &str, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> ReferenceError {
    let directory = copy(of);
    let path = directory.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    refused(directory.path())
}

/// A safetensors file with this header.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn configurations_say_which_key() {
    for (key, value, said) in [
        ("model_type", serde_json::json!("roberta"), "roberta"),
        ("hidden_size", serde_json::json!(65), "divide"),
        ("hidden_size", serde_json::json!(0), "expected a number"),
        ("hidden_size", serde_json::json!(1e300), "expected a number"),
        ("num_hidden_layers", serde_json::json!("two"), "expected a number"),
        ("hidden_act", serde_json::json!("silu"), "candle-transformers"),
        (
            "position_embedding_type",
            serde_json::json!("relative_key"),
            "relative_key",
        ),
        ("is_decoder", serde_json::json!(true), "encoders"),
    ] {
        let error = with_json("feature-extraction", "config.json", |config| {
            config[key] = value.clone()
        });
        assert!(matches!(error, ReferenceError::Config { .. }), "{key}: {error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    let error = with_bytes("feature-extraction", "config.json", |bytes| bytes.truncate(20));
    assert!(matches!(error, ReferenceError::Malformed { .. }), "{error}");
}

#[test]
fn tensors_are_told_by_name() {
    let error = with_json("feature-extraction", "config.json", |config| {
        config["num_hidden_layers"] = 3.into()
    });
    let ReferenceError::MissingTensors { names, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(names.len(), 16);
    assert!(
        names.iter().all(|name| name.starts_with("encoder.layer.2.")),
        "{error}"
    );
    let error = with_json("feature-extraction", "config.json", |config| {
        config["intermediate_size"] = 128.into()
    });
    assert!(
        matches!(&error, ReferenceError::Tensor { name, .. } if name.contains("intermediate.dense")),
        "{error}"
    );
    let error = with_json("feature-extraction", "config.json", |config| {
        config["architectures"] = serde_json::json!(["BertForQuestionAnswering"]);
    });
    assert!(error.to_string().contains("qa_outputs.weight"), "{error}");
}

#[test]
fn safetensors_are_checked_before_they_are_believed() {
    let tensor = r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    for (bytes, what) in [
        (vec![], "empty"),
        (vec![1, 2, 3], "shorter than a length"),
        (u64::MAX.to_le_bytes().to_vec(), "header beyond everything"),
        (safetensors("{", 0), "not JSON"),
        (safetensors(&format!(r#"{{"a":{tensor}}}"#), 4), "data cut"),
        (safetensors(&format!(r#"{{"a":{tensor}}}"#), 12), "trailing data"),
        (
            safetensors(&format!(r#"{{"a":{tensor},"b":{tensor}}}"#), 8),
            "overlap",
        ),
        (
            safetensors(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
            "size is not the shape's",
        ),
        (
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
                8,
            ),
            "overflow",
        ),
        (
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,0]}}"#,
                8,
            ),
            "backwards",
        ),
    ] {
        let error = with_bytes("feature-extraction", "model.safetensors", |file| *file = bytes);
        assert!(
            matches!(error, ReferenceError::Malformed { .. }),
            "{what}: {error}"
        );
    }
}

#[test]
fn shards_lie_beside_their_index() {
    for shard in ["../model.safetensors", "/etc/passwd", "..", "a/b", ""] {
        let error = with_json("formats/sharded", "model.safetensors.index.json", |index| {
            index["weight_map"]["pooler.dense.weight"] = shard.into();
        });
        assert!(matches!(error, ReferenceError::Config { .. }), "{error}");
    }
    let error = with_json("formats/sharded", "model.safetensors.index.json", |index| {
        index["weight_map"]["pooler.dense.weight"] = "absent.safetensors".into();
    });
    assert!(matches!(error, ReferenceError::Io { .. }), "{error}");
}

#[test]
fn pickles_that_are_no_state_dictionaries_are_refused() {
    let file = "pytorch_model.bin";
    let error = with_bytes("formats/pickle", file, |bytes| bytes.truncate(bytes.len() / 2));
    assert!(matches!(error, ReferenceError::Malformed { .. }), "{error}");
    // The same length, so that the zip stays whole: an import of something else.
    let error = with_bytes("formats/pickle", file, |bytes| {
        let name = b"collections\nOrderedDict";
        let at = bytes
            .windows(name.len())
            .position(|window| window == name)
            .unwrap();
        bytes[at..at + name.len()].copy_from_slice(b"subprocess1\nPopenPopens");
    });
    assert!(error.to_string().contains("subprocess1.PopenPopens"), "{error}");
    assert!(matches!(error, ReferenceError::Malformed { .. }), "{error}");
    let error = with_bytes("formats/pickle", file, |bytes| {
        *bytes = b"\x80\x02}q\x00.".to_vec()
    });
    assert!(matches!(error, ReferenceError::Malformed { .. }), "{error}");
}

#[test]
fn no_flipped_byte_of_a_pickle_makes_a_panic() {
    let directory = copy("formats/pickle-tied");
    let path = directory.path().join("pytorch_model.bin");
    let whole = fs::read(&path).unwrap();
    // The pickle and the zip's directory; between them are weights.
    let ends = (40..3300).chain(whole.len() - 2000..whole.len());
    for at in ends.step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        fs::write(&path, bytes).unwrap();
        // Some flips hit a name nobody reads or a checksum: opening may succeed, it may not panic.
        let _ = CandleReference::open(directory.path(), None);
    }
}

#[test]
fn sentence_modules_say_what_is_not_known() {
    let pooling = "1_Pooling/config.json";
    let error = with_json("sentence-mean", pooling, |config| {
        config["pooling_mode_mean_tokens"] = false.into()
    });
    assert!(error.to_string().contains("none is asked for"), "{error}");
    let error = with_json("sentence-mean", pooling, |config| {
        config["pooling_mode_lasttoken"] = true.into()
    });
    assert!(error.to_string().contains("pooling_mode_lasttoken"), "{error}");
    let error = with_json("sentence-mean", "modules.json", |modules| {
        modules[2]["type"] = "sentence_transformers.models.LSTM".into();
    });
    assert!(error.to_string().contains("LSTM"), "{error}");
    let error = with_json("sentence-mean", "modules.json", |modules| {
        modules[1]["path"] = "../..".into()
    });
    assert!(error.to_string().contains("out of the directory"), "{error}");
    let error = with_json("sentence-cls-dense", "2_Dense/config.json", |config| {
        config["out_features"] = 25.into()
    });
    assert!(error.to_string().contains("linear.weight"), "{error}");
}

#[test]
fn an_empty_directory_says_what_was_looked_for() {
    let directory = copy("feature-extraction");
    fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    let error = refused(directory.path()).to_string();
    assert!(
        error.contains("model.safetensors.index.json") && error.contains("pytorch_model.bin"),
        "{error}"
    );
}

#[test]
fn recordings_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recorded.safetensors");
    let ids = r#""input.input_ids":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}"#;
    let output = r#""output.logits":{"dtype":"F32","shape":[2,1],"data_offsets":[16,24]}"#;
    let open = |header: String, data: usize| {
        fs::write(&path, safetensors(&header, data)).unwrap();
        GoldenReference::open(&path)
    };
    let golden = open(format!("{{{ids},{output}}}"), 24).unwrap();
    assert_eq!(golden.inputs().rows[0].attention_mask, [1, 1]);
    for (header, data, said) in [
        (
            format!("{{{}}}", output.replace("16,24", "0,8")),
            8,
            "input.input_ids",
        ),
        (format!("{{{ids}}}"), 16, "output.*"),
        (
            format!("{{{ids},{}}}", output.replace("[2,1]", "[1,2]")),
            24,
            "expected 2 rows",
        ),
        (
            format!("{{{ids},{}}}", output.replace("F32", "I32")),
            24,
            "no float",
        ),
        (
            format!("{{{},{output}}}", ids.replace("[2,2]", "[4]")),
            24,
            "(rows, positions)",
        ),
        (format!("{{{},{output}}}", ids.replace("I32", "F32")), 24, "int32"),
        (
            format!(
                r#"{{{ids},{output},"input.attention_mask":{{"dtype":"I32","shape":[1,2],"data_offsets":[24,32]}}}}"#
            ),
            32,
            "expected 2 x 2",
        ),
    ] {
        let error = open(header, data).expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn recordings_answer_for_their_own_rows_only() {
    use corer_verifier::reference::Reference;
    let golden =
        GoldenReference::open(&fixtures().join("sequence-classification/expected.safetensors")).unwrap();
    let mut other = golden.inputs().clone();
    assert!(golden.outputs(&other.batch(1, 2)).is_ok());
    other.rows[2].input_ids[0] += 1;
    let error = golden.outputs(&other.batch(1, 2)).unwrap_err();
    assert!(matches!(error, ReferenceError::NotRecorded { .. }), "{error}");
}
