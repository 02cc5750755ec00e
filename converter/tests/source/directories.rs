//! Directories that lack something, hold something else, or point out of themselves.

use std::fs;
use std::path::Path;

use corer_converter::source::{Checkpoint, PoolingMode, SentenceStep, Source, SourceError, SourceModel};
use tempfile::TempDir;

use crate::fixture;
use crate::pickle_writer::{self as write, Tensor};
use crate::zip_writer::Zip;

/// A copy of a fixture that can be bent.
fn copy(name: &str) -> TempDir {
    fn into(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                into(&entry.path(), &target);
            } else if entry.file_name() != "expected.safetensors" {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    into(&fixture(name), folder.path());
    folder
}

fn refused(folder: &Path, wanted: &str) -> SourceError {
    let error = Checkpoint::open(folder).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(wanted), "`{message}` does not say `{wanted}`");
    error
}

fn put(folder: &TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn nothing_where_a_checkpoint_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    refused(
        &folder.path().join("nowhere"),
        "nowhere: can't be read: No such file",
    );
    refused(
        folder.path(),
        "is not a checkpoint directory; looked for config.json, modules.json",
    );
    put(&folder, "config.json", "{}");
    refused(
        folder.path(),
        "there are no weights; looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin, \
         pytorch_model.bin.index.json",
    );
    refused(
        &folder.path().join("config.json"),
        "is a file; give the checkpoint's directory",
    );
    put(&folder, "tf_model.h5", "");
    refused(
        folder.path(),
        "there are only TensorFlow weights (tf_model.h5); load them with transformers in PyTorch",
    );
    fs::remove_file(folder.path().join("tf_model.h5")).unwrap();
    put(&folder, "flax_model.msgpack", "");
    refused(folder.path(), "there are only Flax weights (flax_model.msgpack)");
    fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    refused(folder.path(), "model.safetensors: is not a regular file");
}

#[test]
fn configurations_that_are_not_json() {
    let folder = copy("feature-extraction");
    put(&folder, "config.json", "{\"model_type\": ");
    refused(folder.path(), "config.json: is not valid: EOF while parsing");
    put(&folder, "config.json", &"[".repeat(1 << 20));
    refused(
        folder.path(),
        "config.json: is not valid: recursion limit exceeded",
    );
    fs::File::create(folder.path().join("config.json"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    refused(folder.path(), "bytes are more than the 67108864 this may take");
}

#[test]
fn safetensors_are_preferred_to_pickles() {
    let folder = copy("feature-extraction");
    put(&folder, "pytorch_model.bin", "nothing to be read");
    Checkpoint::open(folder.path()).unwrap();
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    refused(folder.path(), "pytorch_model.bin: is not a complete zip archive");
}

#[test]
fn shards_that_are_missing_or_lead_out() {
    let folder = copy("formats/sharded");
    let index = folder.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    let second = "model-00002-of-00003.safetensors";

    for name in ["../x", "/etc/passwd", "a/b", "..", "", ".", "a\\b"] {
        let bad = text.replacen(second, &name.replace('\\', "\\\\"), 1);
        fs::write(&index, bad).unwrap();
        let error = refused(folder.path(), "is not the name of a file beside the index");
        assert!(
            error
                .to_string()
                .contains("model.safetensors.index.json, key `weight_map."),
            "{error}"
        );
    }
    fs::write(
        &index,
        text.replacen(
            "encoder.layer.0.output.dense.weight",
            "encoder.layer.0.nothing",
            1,
        ),
    )
    .unwrap();
    refused(
        folder.path(),
        "tensor `encoder.layer.0.nothing`: is not in shard `model-0000",
    );
    fs::write(&index, "{\"weight_map\": {}}").unwrap();
    refused(folder.path(), "key `weight_map`: names 0 shards");
    fs::write(&index, "{\"weight_map\": {\"a\": \"x\", \"a\": \"y\"}}").unwrap();
    refused(folder.path(), "`a` is given twice");
    fs::write(&index, "{\"metadata\": {}}").unwrap();
    refused(folder.path(), "missing field `weight_map`");

    fs::write(&index, text).unwrap();
    fs::remove_file(folder.path().join(second)).unwrap();
    refused(
        folder.path(),
        "shard `model-00002-of-00003.safetensors` is missing; download it too",
    );
}

#[test]
fn pickles_in_shards() {
    let folder = tempfile::tempdir().unwrap();
    let shard = |names: &[&str]| {
        let items: Vec<_> = names
            .iter()
            .map(|name| (write::text(name), Tensor::default().write()))
            .collect();
        Zip::of(&[
            ("m/data.pkl", &write::pickle(&write::dict(&items))),
            ("m/data/0", &[0; 24]),
        ])
        .bytes
    };
    put(&folder, "config.json", "{}");
    let map = "{\"weight_map\": {\"a\": \"1.bin\", \"b\": \"2.bin\"}}";
    put(&folder, "pytorch_model.bin.index.json", map);
    fs::write(folder.path().join("1.bin"), shard(&["a"])).unwrap();
    fs::write(folder.path().join("2.bin"), shard(&["b"])).unwrap();
    let names: Vec<String> = Checkpoint::open(folder.path())
        .unwrap()
        .tensors
        .names()
        .map(String::from)
        .collect();
    assert_eq!(names, ["a", "b"]);
    fs::write(folder.path().join("2.bin"), shard(&["b", "b"])).unwrap();
    refused(folder.path(), "2.bin, tensor `b`: is given twice");
}

#[test]
fn a_file_that_shrinks_while_it_is_read() {
    let folder = copy("feature-extraction");
    let source = Source::open(folder.path()).unwrap();
    let SourceModel::Checkpoint(checkpoint) = &source.model else {
        panic!("{source:?}");
    };
    let file = fs::File::options()
        .write(true)
        .open(folder.path().join("model.safetensors"))
        .unwrap();
    file.set_len(10_000).unwrap();
    let slice = checkpoint
        .tensors
        .iter()
        .max_by_key(|slice| slice.offset())
        .unwrap();
    let error = corer_converter::source::LazyTensor::new(slice.clone())
        .read_f32()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(slice.name()) && error.contains("can't be read"),
        "{error}"
    );
    assert!(source.digest(&mut |_| ()).is_err());
}

const MODULES: &str = r#"[
    {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}
]"#;

/// A sentence model with its transformer in a folder of its own, as version 1 wrote them.
fn nested() -> TempDir {
    let folder = copy("sentence-cls-dense");
    let inner = folder.path().join("0_Transformer");
    fs::create_dir(&inner).unwrap();
    for name in ["config.json", "model.safetensors", "sentence_bert_config.json"] {
        fs::rename(folder.path().join(name), inner.join(name)).unwrap();
    }
    put(&folder, "modules.json", MODULES);
    folder
}

#[test]
fn a_transformer_in_a_folder_of_its_own() {
    let folder = nested();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(checkpoint.config_path().ends_with("0_Transformer/config.json"));
    let sentence = checkpoint.sentence.as_ref().unwrap();
    assert_eq!(sentence.max_seq_length, Some(64));
    assert_eq!(sentence.steps.len(), 2);
    let digest = Source::open(folder.path()).unwrap().digest(&mut |_| ()).unwrap();
    assert_eq!(digest.weights[0].name, "0_Transformer/model.safetensors");
}

#[test]
fn modules_that_are_not_converted() {
    let folder = nested();
    for (from, to, wanted) in [
        (
            "models.Dense",
            "models.LSTM",
            "key `[2].type`: module `sentence_transformers.models.LSTM` is not supported here, Dense or Normalize",
        ),
        (
            "models.Transformer",
            "models.CLIPModel",
            "models.CLIPModel` is not supported here, Transformer is",
        ),
        (
            "models.Pooling",
            "models.WeightedLayerPooling",
            "is not supported here, Pooling is",
        ),
        (
            "sentence_transformers.models.Dense",
            "custom_code.MyDense",
            "is the model's own code, which is never run",
        ),
        (
            "2_Dense",
            "../2_Dense",
            "key `[2].path`: `../2_Dense` leads out of the directory",
        ),
        ("0_Transformer", "/etc", "leads out of the directory"),
        ("\"path\": \"2_Dense\", ", "", "missing field `path`"),
        ("2_Dense", "2_Elsewhere", "2_Elsewhere/config.json: can't be read"),
    ] {
        put(&folder, "modules.json", &MODULES.replace(from, to));
        refused(folder.path(), wanted);
    }
    put(&folder, "modules.json", "[]");
    refused(folder.path(), "a Transformer and a Pooling module are needed");
    // Dropout does nothing, and newer versions spell the classes otherwise.
    let spelling = "sentence_transformers.base.modules.dropout.Dropout";
    put(
        &folder,
        "modules.json",
        &MODULES.replace("sentence_transformers.models.Normalize", spelling),
    );
    let steps = Checkpoint::open(folder.path()).unwrap().sentence.unwrap().steps;
    assert!(matches!(steps[..], [SentenceStep::Dense(_)]));
}

#[test]
fn pooling_modes_of_both_spellings() {
    use PoolingMode::{Cls, LastToken, Max, Mean, MeanSqrtLength, WeightedMean};
    let folder = copy("sentence-max");
    let modes = |settings: &str| {
        put(&folder, "1_Pooling/config.json", settings);
        Checkpoint::open(folder.path())
            .unwrap()
            .sentence
            .unwrap()
            .pooling
            .modes
    };
    let five = |flags: &str| modes(&format!("{{\"word_embedding_dimension\": 32{flags}}}"));
    assert_eq!(five(""), [Mean]);
    assert_eq!(five(", \"pooling_mode_mean_tokens\": false"), [Mean]);
    assert_eq!(five(", \"pooling_mode_lasttoken\": true"), [LastToken]);
    let all = ", \"pooling_mode_lasttoken\": true, \"pooling_mode_weightedmean_tokens\": true, \
               \"pooling_mode_mean_sqrt_len_tokens\": true, \"pooling_mode_mean_tokens\": true, \
               \"pooling_mode_max_tokens\": true, \"pooling_mode_cls_token\": true";
    assert_eq!(
        five(all),
        [Cls, Max, Mean, MeanSqrtLength, WeightedMean, LastToken]
    );
    let six = |mode: &str| {
        modes(&format!(
            "{{\"embedding_dimension\": 32, \"pooling_mode\": {mode}}}"
        ))
    };
    assert_eq!(six("\"mean_sqrt_len_tokens\""), [MeanSqrtLength]);
    assert_eq!(six("[\"max\", \"cls\"]"), [Max, Cls]);
}

#[test]
fn settings_of_modules_that_do_not_fit() {
    let folder = nested();
    let pooling = "{\"word_embedding_dimension\": 32, \"pooling_mode_cls_token\": true}";
    for (settings, wanted) in [
        (
            "{}",
            "1_Pooling/config.json, key `word_embedding_dimension`: is missing",
        ),
        (
            "{\"word_embedding_dimension\": 64}",
            "key `word_embedding_dimension`: must be the transformer's hidden_size 32, is 64",
        ),
        (
            "{\"word_embedding_dimension\": -1}",
            "must be a positive whole number, is -1",
        ),
        (
            "{\"word_embedding_dimension\": 32, \"pooling_mode\": \"median\"}",
            "\"median\" is not one of cls, max, mean",
        ),
        (
            "{\"word_embedding_dimension\": 32, \"pooling_mode\": []}",
            "must name one to six modes",
        ),
        (
            "{\"word_embedding_dimension\": 32, \"pooling_mode_median\": true}",
            "key `pooling_mode_median`: is a pooling mode corer does not know",
        ),
        (
            "{\"word_embedding_dimension\": 32, \"pooling_mode_cls_token\": 1}",
            "must be true or false, is 1",
        ),
        (
            "{\"word_embedding_dimension\": 32, \"include_prompt\": false}",
            "key `include_prompt`: leaving a prompt's tokens out",
        ),
        (
            "{\"word_embedding_dimension\": 32, \"pooling_mode\": [\"cls\", \"max\"]}",
            "key `in_features`: must be the 64 channels",
        ),
    ] {
        put(&folder, "1_Pooling/config.json", settings);
        refused(folder.path(), wanted);
    }
    put(&folder, "1_Pooling/config.json", pooling);
    let dense = |more: &str| format!("{{\"in_features\": 32, \"out_features\": 24{more}}}");
    for (settings, wanted) in [
        (
            dense(", \"activation_function\": \"os.system\""),
            "key `activation_function`: `os.system` is not supported; Identity, Tanh",
        ),
        (
            dense(", \"use_residual\": true"),
            "a residual around a dense module is not supported",
        ),
        (
            dense(", \"module_input_name\": \"token_embeddings\""),
            "`token_embeddings` is not supported, only `sentence_embedding`",
        ),
        (
            dense("").replace("24", "25"),
            "tensor `linear.weight`: has shape [24, 32], config.json makes it [25, 32]",
        ),
        (
            dense("").replace("in_features", "x"),
            "key `in_features`: is missing",
        ),
    ] {
        put(&folder, "2_Dense/config.json", &settings);
        refused(folder.path(), wanted);
    }
    put(&folder, "2_Dense/config.json", &dense(", \"bias\": false"));
    let steps = Checkpoint::open(folder.path()).unwrap().sentence.unwrap().steps;
    assert!(matches!(&steps[0], SentenceStep::Dense(module) if module.bias.is_none()));
    fs::remove_file(folder.path().join("2_Dense/model.safetensors")).unwrap();
    refused(folder.path(), "2_Dense: there are no weights");
}

#[test]
fn model_cards_tell_licence_and_author() {
    let folder = copy("feature-extraction");
    let card = |text: &str| {
        put(&folder, "README.md", text);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        (checkpoint.license(), checkpoint.author())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        card("---\nlanguage: en\nlicense: apache-2.0\nauthor: 'A. Body'\n---\nlicense: mit\n"),
        (some("apache-2.0"), some("A. Body"))
    );
    assert_eq!(card("# A model\nlicense: mit\n"), (None, None));
    assert_eq!(
        card("---\nlicense:\n- mit\nx:\n  license: gpl\n---\n"),
        (None, None)
    );
    assert_eq!(card(""), (None, None));
}
