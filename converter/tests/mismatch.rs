//! Checkpoints that don't fit: each fault is named, with what would do.

use std::fs;
use std::path::{Path, PathBuf};

use corer_converter::{ConvertError, Request, Task, convert};
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/bert-tiny")
        .join(name)
}

/// A copy of a fixture with its configuration and its tensors changed.
fn changed(
    name: &str,
    configure: impl FnOnce(&mut Value),
    rename: impl Fn(&str) -> Option<String>,
) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config: Value =
        serde_json::from_slice(&fs::read(fixture(name).join("config.json")).expect("readable"))
            .expect("JSON");
    configure(&mut config);
    fs::write(directory.path().join("config.json"), config.to_string()).expect("writable");
    let bytes = fs::read(fixture(name).join("model.safetensors")).expect("readable");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let kept = tensors
        .iter()
        .filter_map(|(name, view)| Some((rename(name)?, view)));
    let kept: Vec<_> = kept.collect();
    safetensors::serialize_to_file(kept, None, &directory.path().join("model.safetensors"))
        .expect("writable");
    directory
}

fn error(directory: &Path, change: impl FnOnce(&mut Request)) -> ConvertError {
    let mut request = Request::new(directory);
    request.sequence_length = Some(16.into());
    change(&mut request);
    convert(&request).expect_err("must not convert")
}

fn same(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn missing_and_left_over_tensors_are_told_together_with_near_names() {
    let rename =
        |name: &str| Some(name.replace("layer.0.attention.self.query", "layer.0.attention.self.qury"));
    let directory = changed("feature-extraction", |_| {}, rename);
    let error = error(directory.path(), |_| {});
    let ConvertError::Tensors(mismatch) = &error else {
        panic!("{error}")
    };
    assert_eq!(mismatch.missing.len(), 2);
    let (name, shape, near) = &mismatch.missing[0];
    assert_eq!(name, "encoder.layer.0.attention.self.query.weight");
    assert_eq!(shape, &[64, 64]);
    assert!(
        near.iter()
            .any(|near| near == "encoder.layer.0.attention.self.qury.weight"),
        "{near:?}"
    );
    assert_eq!(mismatch.extra.len(), 2);
    let text = error.to_string();
    assert!(
        text.contains("missing (2)") && text.contains("not used (2)"),
        "{text}"
    );
}

#[test]
fn a_configuration_with_fewer_layers_than_the_weights_is_another_model() {
    let directory = changed(
        "feature-extraction",
        |config| config["num_hidden_layers"] = json!(1),
        same,
    );
    let ConvertError::Tensors(mismatch) = error(directory.path(), |_| {}) else {
        panic!("tensors")
    };
    assert!(mismatch.missing.is_empty());
    assert!(
        mismatch
            .extra
            .iter()
            .all(|name| name.starts_with("encoder.layer.1."))
    );
}

#[test]
fn a_configuration_with_other_sizes_names_every_tensor_of_another_shape() {
    let directory = changed(
        "feature-extraction",
        |config| config["intermediate_size"] = json!(100),
        same,
    );
    let error = error(directory.path(), |_| {});
    let ConvertError::Tensors(mismatch) = &error else {
        panic!("{error}")
    };
    assert_eq!(mismatch.misshapen.len(), 2 * 3);
    assert!(
        error.to_string().contains("config.json makes it [100, 64]"),
        "{error}"
    );
}

#[test]
fn another_architecture_is_refused_with_those_supported() {
    let directory = changed(
        "feature-extraction",
        |config| {
            config["architectures"] = json!(["GPT2LMHeadModel"]);
            config["model_type"] = json!("gpt2");
        },
        same,
    );
    let text = error(directory.path(), |_| {}).to_string();
    assert!(
        text.contains("GPT2LMHeadModel") && text.contains("BertModel, DistilBertModel"),
        "{text}"
    );
    let choice = |config: &mut Value| config["architectures"] = json!(["BertForMultipleChoice"]);
    let directory = changed("feature-extraction", choice, same);
    let text = error(directory.path(), |_| {}).to_string();
    assert!(
        text.contains("BertForMultipleChoice") && text.contains("BertForTokenClassification"),
        "{text}"
    );
}

#[test]
fn impossible_numbers_are_refused_by_key() {
    let cases: [(&str, Value, &str); 9] = [
        ("num_attention_heads", json!(7), "does not divide"),
        ("num_attention_heads", json!(0), "positive"),
        ("hidden_size", json!(-64), "positive"),
        ("hidden_size", json!("64"), "positive"),
        ("num_hidden_layers", json!(1_000_000_000), "more than"),
        ("layer_norm_eps", json!(-1.0), "0..1"),
        ("position_embedding_type", json!("relative_key"), "absolute"),
        ("hidden_act", json!("mish"), "supported: gelu"),
        ("is_decoder", json!(true), "only encoders"),
    ];
    for (key, value, reason) in cases {
        let directory = changed("feature-extraction", |config| config[key] = value, same);
        let text = error(directory.path(), |_| {}).to_string();
        assert!(
            text.contains("config.json") && text.contains(reason),
            "{key}: {text}"
        );
    }
}

#[test]
fn a_length_beyond_the_position_table_is_refused() {
    let text = error(&fixture("feature-extraction"), |request| {
        request.sequence_length = Some(4096.into())
    })
    .to_string();
    assert!(
        text.contains("--sequence-length") && text.contains("max_position_embeddings"),
        "{text}"
    );
    let text = error(&fixture("feature-extraction"), |request| {
        request.sequence_length = Some(0.into())
    })
    .to_string();
    assert!(text.contains("--sequence-length"), "{text}");
}

#[test]
fn a_head_the_checkpoint_does_not_have_is_missing_by_name() {
    let error = error(&fixture("feature-extraction"), |request| {
        request.task = Task::QuestionAnswering
    });
    let ConvertError::Tensors(mismatch) = &error else {
        panic!("{error}")
    };
    let names: Vec<_> = mismatch.missing.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["qa_outputs.weight", "qa_outputs.bias"]);
}

#[test]
fn classifiers_need_a_classification_head_with_names_and_one_input() {
    let text = error(&fixture("fill-mask"), |request| request.classifier = true).to_string();
    assert!(text.contains("fill-mask"), "{text}");
    let text = error(&fixture("sequence-classification"), |request| {
        request.classifier = true;
        request.batch_size = Some(2.into());
    });
    assert!(text.to_string().contains("--batch-size 1"), "{text}");
}

#[test]
fn prefixed_old_named_and_half_precision_checkpoints_all_convert() {
    let formats = fixture("formats");
    let mut seen = 0;
    for entry in fs::read_dir(formats).expect("formats") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            let mut request = Request::new(&path);
            request.sequence_length = Some(16.into());
            let conversion = convert(&request).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(!conversion.model.description.outputs.is_empty());
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} formats");
}
