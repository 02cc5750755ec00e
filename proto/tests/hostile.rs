//! Malformed packages are refused with a reason and a place; none makes the reader panic, hang or take much memory.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{constant, model};
use coreml_proto::proto::mil_spec::{self, value, value_type};
use coreml_proto::proto::{self, feature_type, model as model_type};
use corer_mil::{DataType, Opset, TensorType, Value};
use corer_proto::{Package, ReadError, WriteOptions, decode_model, write};
use proptest::prelude::*;
use prost::Message;

/// The bytes of a sound model and its weight file: 16 bytes `w`, 11 three-bit elements `v`, and two inline constants.
struct Sound {
    model: Vec<u8>,
    weights: Vec<u8>,
}

fn sound() -> Sound {
    let operations = vec![
        constant(
            "w",
            Value::memory_weight(TensorType::new(DataType::UInt8, [16u64]), (0..16).collect()),
        ),
        constant(
            "v",
            Value::memory_weight(TensorType::new(DataType::UInt3, [11u64]), vec![0xFF; 5]),
        ),
        constant("s", Value::string("inline")),
        constant("i", Value::i32s(&[1, 2, 3])),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    write(
        &path,
        &model(Opset::CoreMl8, operations),
        &WriteOptions::default(),
    )
    .unwrap();
    let core = path.join("Data/com.apple.CoreML");
    Sound {
        model: fs::read(core.join("model.mlmodel")).unwrap(),
        weights: fs::read(core.join("weights/weight.bin")).unwrap(),
    }
}

fn refused(model: &[u8], weights: &[u8]) -> String {
    decode_model(model, weights)
        .expect_err("must be refused")
        .to_string()
}

/// Changes the weight file at `offset` and expects a refusal that says `reason` and the offset.
#[track_caller]
fn blob_fault(offset: usize, bytes: &[u8], at: u64, reason: &str) {
    let mut sound = sound();
    sound.weights[offset..offset + bytes.len()].copy_from_slice(bytes);
    match decode_model(&sound.model, &sound.weights) {
        Err(ReadError::Blob {
            offset,
            reason: found,
            ..
        }) => {
            assert!(found.contains(reason), "{found}");
            assert_eq!(offset, at, "{found}");
        }
        other => panic!("not refused as a blob fault: {other:?}"),
    }
}

#[test]
fn the_sound_model_is_accepted() {
    let sound = sound();
    decode_model(&sound.model, &sound.weights).unwrap();
}

#[test]
fn weight_files_that_lie() {
    blob_fault(0, &u32::MAX.to_le_bytes(), 0, "claims 4294967295 blobs");
    blob_fault(4, &1u32.to_le_bytes(), 4, "version 1 is not supported");
    blob_fault(4, &9u32.to_le_bytes(), 4, "unknown blob storage version 9");
    blob_fault(64, &[0], 64, "sentinel is 0xdeadbe00");
    blob_fault(68, &0u32.to_le_bytes(), 68, "unknown blob type code 0");
    blob_fault(68, &18u32.to_le_bytes(), 68, "unknown blob type code 18");
    blob_fault(68, &16u32.to_le_bytes(), 68, "fp8e4m3fn is not supported");
    blob_fault(68, &17u32.to_le_bytes(), 68, "fp8e5m2 is not supported");
    blob_fault(
        68,
        &4u32.to_le_bytes(),
        68,
        "blob holds int8, the model declares tensor<uint8, [16]>",
    );
    blob_fault(72, &15u64.to_le_bytes(), 72, "15 bytes, which don't fill");
    blob_fault(72, &u64::MAX.to_le_bytes(), 72, "reach beyond the file's");
    blob_fault(80, &(1u64 << 60).to_le_bytes(), 72, "reach beyond the file's");
    blob_fault(80, &129u64.to_le_bytes(), 80, "no multiple of 64");
    blob_fault(80, &64u64.to_le_bytes(), 80, "lies within the header");
    blob_fault(
        88,
        &3u64.to_le_bytes(),
        88,
        "3 padding bits, tensor<uint8, [16]> needs 0",
    );
    blob_fault(88, &99u64.to_le_bytes(), 88, "99 padding bits, can be 7 at most");
}

#[test]
fn weight_files_cut_short() {
    let sound = sound();
    for len in 1..sound.weights.len() {
        let error = refused(&sound.model, &sound.weights[..len]);
        assert!(error.contains("weight.bin: byte "), "{len} bytes: {error}");
    }
    assert!(refused(&sound.model, &[]).contains("the package has no weights"));
}

/// Applies `change` to the decoded messages and expects a refusal that says `reason`.
#[track_caller]
fn model_fault(change: impl FnOnce(&mut proto::Model), reason: &str) {
    let sound = sound();
    let mut message = proto::Model::decode(sound.model.as_slice()).unwrap();
    change(&mut message);
    let error = refused(&message.encode_to_vec(), &sound.weights);
    assert!(error.contains(reason), "{error}");
}

fn program(model: &mut proto::Model) -> &mut mil_spec::Program {
    match &mut model.r#type {
        Some(model_type::Type::MlProgram(program)) => program,
        _ => panic!("no program"),
    }
}

fn function(model: &mut proto::Model) -> &mut mil_spec::Function {
    program(model).functions.get_mut("main").unwrap()
}

fn operation(model: &mut proto::Model, index: usize) -> &mut mil_spec::Operation {
    &mut function(model)
        .block_specializations
        .get_mut("CoreML8")
        .unwrap()
        .operations[index]
}

fn val(model: &mut proto::Model, index: usize) -> &mut mil_spec::Value {
    operation(model, index).attributes.get_mut("val").unwrap()
}

fn blob(model: &mut proto::Model) -> &mut value::BlobFileValue {
    match &mut val(model, 0).value {
        Some(value::Value::BlobFileValue(blob)) => blob,
        _ => panic!("no blob"),
    }
}

fn tensor(ty: &mut Option<mil_spec::ValueType>) -> &mut mil_spec::TensorType {
    match &mut ty.as_mut().unwrap().r#type {
        Some(value_type::Type::TensorType(tensor)) => tensor,
        _ => panic!("no tensor"),
    }
}

#[test]
fn references_into_the_weight_file_that_lie() {
    let at = "function `main`, operation `w` (const), attribute `val`";
    model_fault(|m| blob(m).offset = 65, "no blob record can lie here");
    model_fault(|m| blob(m).offset = 0, "no blob record can lie here");
    model_fault(|m| blob(m).offset = 1 << 50, "would reach beyond the file");
    model_fault(|m| blob(m).offset = u64::MAX - 63, "would reach beyond the file");
    model_fault(|m| blob(m).offset = 128, "sentinel is");
    model_fault(|m| blob(m).offset = 128, at);
    for name in ["weight.bin", "@model_path/weight.bin", "/etc/passwd", ""] {
        model_fault(
            |m| blob(m).file_name = name.into(),
            "must start with `@model_path/weights/`",
        );
    }
    for name in ["../weight.bin", "", "..", "a/b", "a\\b"] {
        model_fault(
            |m| blob(m).file_name = format!("@model_path/weights/{name}"),
            "must be a plain file name",
        );
    }
    model_fault(
        |m| blob(m).file_name = "@model_path/weights/other.bin".into(),
        "the package has no weights",
    );
}

#[test]
fn models_that_miss_a_part() {
    model_fault(|m| m.description = None, "description: missing");
    model_fault(|m| m.r#type = None, "mlProgram: missing");
    model_fault(|m| m.is_updatable = true, "isUpdatable");
    model_fault(|m| program(m).version = 2, "mlProgram.version: 2 is unknown");
    model_fault(
        |m| m.description.as_mut().unwrap().input[0].r#type = None,
        "description.input `x`: the type is missing",
    );
    model_fault(
        |m| function(m).opset = "CoreML99".into(),
        "unknown opset `CoreML99`",
    );
    model_fault(
        |m| function(m).opset = "CoreML7".into(),
        "has no body for its opset",
    );
    model_fault(
        |m| function(m).block_specializations.clear(),
        "has no body for its opset",
    );
    model_fault(|m| function(m).inputs[0].r#type = None, "type of `x`: is missing");
    model_fault(
        |m| operation(m, 0).outputs[0].r#type = None,
        "type of `w`: is missing",
    );
    model_fault(|m| val(m, 0).r#type = None, "attribute `val`: type: is missing");
    model_fault(|m| val(m, 2).value = None, "attribute `val`: holds nothing");
    model_fault(
        |m| operation(m, 4).inputs.get_mut("x").unwrap().arguments[0].binding = None,
        "operation `y` (relu), input `x`: is bound to nothing",
    );
}

#[test]
fn types_and_values_that_contradict() {
    model_fault(
        |m| tensor(&mut val(m, 0).r#type).data_type = 99,
        "unknown data type code 99",
    );
    model_fault(
        |m| tensor(&mut val(m, 0).r#type).data_type = 0,
        "the data type is missing",
    );
    model_fault(|m| tensor(&mut val(m, 0).r#type).data_type = 40, "8-bit floats");
    model_fault(
        |m| tensor(&mut val(m, 0).r#type).rank = 2,
        "rank 2 with 1 dimensions",
    );
    model_fault(|m| tensor(&mut val(m, 0).r#type).rank = -1, "variable rank");
    model_fault(
        |m| tensor(&mut val(m, 0).r#type).dimensions[0].dimension = None,
        "neither a size nor",
    );
    model_fault(
        |m| val(m, 0).r#type.as_mut().unwrap().r#type = None,
        "says no kind of type",
    );
    let huge = |m: &mut proto::Model| {
        let tensor = tensor(&mut val(m, 0).r#type);
        let size = mil_spec::dimension::ConstantDimension { size: u64::MAX };
        tensor.dimensions[0].dimension = Some(mil_spec::dimension::Dimension::Constant(size));
        tensor.dimensions.push(tensor.dimensions[0]);
        tensor.rank = 2;
    };
    model_fault(huge, "a weight's shape must be known");
    let ranks = |m: &mut proto::Model| {
        let tensor = tensor(&mut val(m, 0).r#type);
        tensor.dimensions = vec![tensor.dimensions[0]; 33];
        tensor.rank = 33;
    };
    model_fault(ranks, "rank 33 is more than 32");
    // int32 elements under other types, and too few of them.
    let retype = |code: mil_spec::DataType| {
        move |m: &mut proto::Model| tensor(&mut val(m, 3).r#type).data_type = code as i32
    };
    model_fault(
        retype(mil_spec::DataType::Float16),
        "tensor<fp16, [3]> can't be written as `ints`",
    );
    model_fault(retype(mil_spec::DataType::String), "can't be written as `ints`");
    let fewer = |m: &mut proto::Model| {
        let size = mil_spec::dimension::ConstantDimension { size: 4 };
        tensor(&mut val(m, 3).r#type).dimensions[0].dimension =
            Some(mil_spec::dimension::Dimension::Constant(size));
    };
    model_fault(fewer, "3 elements don't fill tensor<int32, [4]>");
    let array = |m: &mut proto::Model| {
        let input = &mut m.description.as_mut().unwrap().input[0];
        match &mut input.r#type.as_mut().unwrap().r#type {
            Some(feature_type::Type::MultiArrayType(array)) => array.data_type = 7,
            _ => panic!("no array"),
        }
    };
    model_fault(array, "description.input `x`: unknown array data type 7");
}

#[test]
fn models_of_another_kind_are_told_by_name() {
    for (field, name) in [
        (500u32, "neuralNetwork"),
        (202, "pipeline"),
        (302, "treeEnsembleRegressor"),
        (900, "identity"),
    ] {
        let mut bytes = vec![0x08, 0x04];
        prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut bytes);
        bytes.push(0);
        match decode_model(&bytes, &[]) {
            Err(ReadError::ModelKind { kind, .. }) => assert_eq!(kind, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_model_cut_short_anywhere_is_refused() {
    let sound = sound();
    for len in 0..sound.model.len() {
        refused(&sound.model[..len], &sound.weights);
    }
    let error = refused(&sound.model[..sound.model.len() - 1], &sound.weights);
    assert!(
        error.contains("truncated") && error.contains("(at byte "),
        "{error}"
    );
}

/// `contents` wrapped as the given fields, innermost last.
fn wrapped(fields: &[u32], contents: Vec<u8>) -> Vec<u8> {
    fields.iter().rev().fold(contents, |contents, field| {
        let mut bytes = Vec::new();
        prost::encoding::encode_key(*field, prost::encoding::WireType::LengthDelimited, &mut bytes);
        prost::encoding::encode_varint(contents.len() as u64, &mut bytes);
        bytes.extend(contents);
        bytes
    })
}

#[test]
fn deep_nesting_is_refused() {
    // A function's input of type list of list of list of ….
    let mut fields = vec![502, 2, 2, 1, 2];
    fields.extend([2, 1].repeat(5000));
    let error = refused(&wrapped(&fields, vec![]), &[]);
    assert!(error.contains("nested deeper than 100"), "{error}");
    // Within our limit but beyond what decoding takes: still an error, not a crash.
    let mut fields = vec![502, 2, 2, 1, 2];
    fields.extend([2, 1].repeat(46));
    refused(&wrapped(&fields, vec![]), &[]);
    // Blocks within operations within blocks.
    let mut fields = vec![502, 2, 2, 3, 2];
    fields.extend([3, 4].repeat(5000));
    let error = refused(&wrapped(&fields, vec![]), &[]);
    assert!(error.contains("nested deeper than 100"), "{error}");
}

#[test]
fn a_small_file_of_very_many_messages_is_refused() {
    let operations = [0x1A, 0x00].repeat((8 << 20) + 1);
    let error = refused(&wrapped(&[502, 2, 2, 3, 2], operations), &[]);
    assert!(error.contains("more than 8388608 messages"), "{error}");
}

/// A package on disk whose manifest says `change`d things.
fn with_manifest(change: impl FnOnce(&Path, &mut serde_json::Value)) -> Result<Package, ReadError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let weight = Value::memory_weight(TensorType::new(DataType::UInt8, [16u64]), vec![1; 16]);
    write(
        &path,
        &model(Opset::CoreMl8, vec![constant("w", weight)]),
        &WriteOptions::default(),
    )
    .unwrap();
    let manifest = path.join("Manifest.json");
    let mut json = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    change(&path, &mut json);
    fs::write(&manifest, serde_json::to_vec(&json).unwrap()).unwrap();
    Package::open(&path)
}

fn model_id(manifest: &serde_json::Value) -> String {
    manifest["rootModelIdentifier"].as_str().unwrap().to_owned()
}

#[track_caller]
fn manifest_fault(change: impl FnOnce(&Path, &mut serde_json::Value), reason: &str) {
    let error = with_manifest(change).expect_err("must be refused").to_string();
    assert!(
        error.contains(reason) && error.contains("Manifest.json"),
        "{error}"
    );
}

#[test]
fn manifests_that_lie() {
    with_manifest(|_, _| {}).unwrap();
    manifest_fault(|_, json| *json = 3.into(), "not an object");
    manifest_fault(
        |_, json| json["fileFormatVersion"] = "2.0.0".into(),
        "version 2.0.0 is unknown",
    );
    for key in ["fileFormatVersion", "itemInfoEntries", "rootModelIdentifier"] {
        manifest_fault(
            |_, json| drop(json.as_object_mut().unwrap().remove(key)),
            &format!("{key}: missing"),
        );
        manifest_fault(|_, json| json[key] = 7.into(), &format!("{key}: missing or not"));
    }
    manifest_fault(
        |_, json| json["rootModelIdentifier"] = "no-such".into(),
        "names no entry",
    );
    for key in ["author", "description", "name", "path"] {
        let change = |_: &Path, json: &mut serde_json::Value| {
            let id = model_id(json);
            json["itemInfoEntries"][&id].as_object_mut().unwrap().remove(key);
        };
        manifest_fault(change, &format!(".{key}: missing or not a string"));
    }
    for path in [
        "../x",
        "/etc/passwd",
        "com.apple.CoreML/../../../x",
        "",
        ".",
        "a\\b",
        "a/./../b",
    ] {
        let change = |_: &Path, json: &mut serde_json::Value| {
            let id = model_id(json);
            json["itemInfoEntries"][&id]["path"] = path.into();
        };
        manifest_fault(change, "must be a relative path inside the package");
    }
    let linked = |path: &Path, _: &mut serde_json::Value| {
        let core = path.join("Data/com.apple.CoreML");
        fs::rename(core.join("model.mlmodel"), path.join("elsewhere")).unwrap();
        symlink(path.join("elsewhere"), core.join("model.mlmodel")).unwrap();
    };
    manifest_fault(linked, "passes the symbolic link");
}

#[test]
fn packages_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    assert!(matches!(Package::open(&at("absent")), Err(ReadError::Io { .. })));
    assert!(matches!(
        Package::open(directory.path()),
        Err(ReadError::NotAPackage { .. })
    ));
    fs::write(at("file.mlmodel"), "x").unwrap();
    assert!(matches!(
        Package::open(&at("file.mlmodel")),
        Err(ReadError::NotAPackage { .. })
    ));
    fs::create_dir(at("broken.mlpackage")).unwrap();
    fs::write(at("broken.mlpackage/Manifest.json"), "{ \"fileFormatVersion\": ").unwrap();
    let error = Package::open(&at("broken.mlpackage")).unwrap_err().to_string();
    assert!(error.contains("Manifest.json: JSON: EOF"), "{error}");
    fs::write(at("broken.mlpackage/Manifest.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(matches!(
        Package::open(&at("broken.mlpackage")),
        Err(ReadError::TooLarge { .. })
    ));
    let linked = with_manifest(|path, _| {
        let weights = path.join("Data/com.apple.CoreML/weights/weight.bin");
        fs::rename(&weights, path.join("elsewhere")).unwrap();
        symlink(path.join("elsewhere"), &weights).unwrap();
    });
    assert!(linked.unwrap_err().to_string().contains("is a symbolic link"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever single bytes are changed to, the reader answers; and what it accepts can be written.
    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        in_weights in any::<bool>(),
    ) {
        thread_local! {
            static SOUND: Sound = sound();
        }
        SOUND.with(|sound| {
            let (mut model, mut weights) = (sound.model.clone(), sound.weights.clone());
            for (index, byte) in changes {
                let target = if in_weights { &mut weights } else { &mut model };
                let at = index.index(target.len());
                target[at] = byte;
            }
            if let Ok(model) = decode_model(&model, &weights) {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("m.mlpackage");
                let options = WriteOptions { durable: false, threads: Some(1), ..WriteOptions::default() };
                if write(&path, &model, &options).is_ok() {
                    let again = Package::open(&path).unwrap();
                    common::assert_same(&model, &again.model);
                }
            }
        });
    }

    /// Arbitrary bytes.
    #[test]
    fn arbitrary_bytes_never_panic(model in prop::collection::vec(any::<u8>(), 0..200), weights in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_model(&model, &weights);
    }
}
