//! What is written reads back as it was, and the same model always gives the same bytes.

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::{assert_same, constant, files, function, model, operation, rich_model};
use corer_mil::{Binding, Data, DataType, Dim, NamedType, Opset, TensorType, Value, ValueType};
use corer_proto::{
    ArrayType, ColorSpace, DefaultValue, Description, Feature, FeatureType, Flexibility, FunctionDescription,
    ImageFlexibility, LabelType, Model, Package, WriteOptions, decode_model, package_digest, write,
};

fn round_trip(model: &Model) -> Model {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let written = write(&path, model, &WriteOptions::default()).unwrap();
    let package = Package::open(&path).unwrap();
    assert_eq!(package.digest().unwrap(), written.digest);
    assert_same(model, &package.model);
    package.model
}

#[test]
fn a_model_with_every_element_type() {
    round_trip(&rich_model());
}

#[test]
fn constants_go_to_the_weight_file_as_core_ml_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    // fp16 of 10 elements goes to the file, of 9 stays; int32 goes only from specification version 9 on.
    for (opset, stored) in [(Opset::CoreMl7, 1), (Opset::CoreMl8, 2)] {
        let operations = vec![
            constant("a", Value::floats(DataType::Fp16, &[10], &[1.5; 10])),
            constant("b", Value::floats(DataType::Fp16, &[9], &[1.5; 9])),
            constant("c", Value::i32s(&[7; 20])),
            constant("d", Value::bools(&[true; 20])),
        ];
        let options = WriteOptions {
            overwrite: true,
            ..WriteOptions::default()
        };
        let written = write(&path, &model(opset, operations), &options).unwrap();
        assert_eq!(written.weights_stored, stored, "{opset}");
    }
}

#[test]
fn constexpr_parameters_go_to_the_weight_file_in_both_generations() {
    let data = || Value::memory_weight(TensorType::new(DataType::Int8, [4u64, 8]), (0..32).collect());
    let ty = TensorType::new(DataType::Fp16, [4u64, 8]);
    let mut old = operation("constexpr_affine_dequantize", "w", ty.clone(), &[]);
    old.attributes.insert("quantized_data".into(), data());
    let mut new = operation("constexpr_blockwise_shift_scale", "v", ty, &[]);
    new.inputs.insert("data".into(), vec![Binding::Value(data())]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let written = write(
        &path,
        &model(Opset::CoreMl8, vec![old, new]),
        &WriteOptions::default(),
    )
    .unwrap();
    assert_eq!((written.weights_stored, written.weights_shared), (1, 1));
}

#[test]
fn nan_payloads_survive() {
    let halves: Vec<u8> = [0x7E01u16, 0xFE55, 0x7D01, 0x8000]
        .iter()
        .flat_map(|h| h.to_le_bytes())
        .collect();
    let floats: Vec<u8> = [0x7FC0_0001u32, 0xFFC1_2345, 0x7F80_0001]
        .iter()
        .flat_map(|f| f.to_le_bytes())
        .collect();
    let half = TensorType::new(DataType::Fp16, [4u64]);
    let float = TensorType::new(DataType::Fp32, [3u64]);
    let model = round_trip(&model(
        Opset::CoreMl6,
        vec![
            constant("h", Value::tensor(half, halves.clone())),
            constant("f", Value::tensor(float, floats.clone())),
        ],
    ));
    let body = model.program.functions["main"].body().unwrap();
    assert_eq!(
        body.operations[0].const_value().unwrap().immediate_bytes(),
        Some(halves.as_slice())
    );
    assert_eq!(
        body.operations[1].const_value().unwrap().immediate_bytes(),
        Some(floats.as_slice())
    );
}

#[test]
fn every_kind_of_value_and_type() {
    let mut rich = rich_model();
    let scalar = |dtype| ValueType::from(TensorType::scalar(dtype));
    let dictionary = Value {
        ty: ValueType::Dictionary(
            Box::new(scalar(DataType::String)),
            Box::new(scalar(DataType::String)),
        ),
        data: Data::Dictionary(vec![
            (Value::string("z"), Value::string("first")),
            (Value::string("a"), Value::string("second")),
        ]),
    };
    rich.program.attributes.insert("buildInfo".into(), dictionary);
    let function = rich.program.functions.get_mut("main").unwrap();
    function.attributes.insert("note".into(), Value::i32(3));
    let block = function.blocks.get_mut(&Opset::CoreMl8).unwrap();
    block.attributes.insert("flag".into(), Value::bool(true));
    let classes = Value {
        ty: ValueType::List(Box::new(scalar(DataType::String)), Dim::Known(2)),
        data: Data::List(vec![Value::string("no"), Value::string("yes")]),
    };
    let tuple = Value {
        ty: ValueType::Tuple(vec![scalar(DataType::Int32), scalar(DataType::Bool)]),
        data: Data::Tuple(vec![Value::i32(1), Value::bool(false)]),
    };
    let mut classify = operation(
        "classify",
        "label",
        TensorType::scalar(DataType::String),
        &[("probabilities", "y")],
    );
    classify.inputs.insert(
        "classes".into(),
        vec![Binding::Value(classes), Binding::Value(tuple)],
    );
    classify.outputs.push(NamedType::new(
        "label_probs",
        ValueType::Dictionary(
            Box::new(scalar(DataType::String)),
            Box::new(scalar(DataType::Fp64)),
        ),
    ));
    let mut cond = operation(
        "cond",
        "c",
        TensorType::new(DataType::Fp16, [Dim::Symbol(4), Dim::Known(2)]),
        &[],
    );
    cond.blocks = vec![block.clone()];
    cond.blocks[0].inputs.push(NamedType::new(
        "s",
        ValueType::State(Box::new(scalar(DataType::Fp16))),
    ));
    block.operations.extend([classify, cond]);
    round_trip(&rich);
}

#[test]
fn every_kind_of_feature() {
    let feature = |name: &str, ty: FeatureType| Feature {
        name: name.into(),
        description: format!("about {name}"),
        optional: name.len().is_multiple_of(2),
        ty,
    };
    let array = |flexibility, default| FeatureType::MultiArray {
        dtype: ArrayType::Float16,
        shape: vec![1, 128],
        flexibility,
        default,
    };
    let image = |flexibility| FeatureType::Image {
        width: 3,
        height: 5,
        color_space: ColorSpace::Bgr,
        flexibility,
    };
    let mut model = model(Opset::CoreMl9, vec![]);
    model.description.inputs = vec![
        feature(
            "e",
            array(
                Flexibility::Enumerated(vec![vec![1, 128], vec![1, 256]]),
                Some(DefaultValue::Float(-0.5)),
            ),
        ),
        feature(
            "rr",
            array(
                Flexibility::Range(vec![(1, Some(1)), (1, None)]),
                Some(DefaultValue::Int(-3)),
            ),
        ),
        feature("d", array(Flexibility::Fixed, Some(DefaultValue::Double(0.0)))),
        feature("image", image(ImageFlexibility::Fixed)),
        feature(
            "images",
            image(ImageFlexibility::Enumerated(vec![(3, 5), (6, 10)])),
        ),
        feature(
            "ranged",
            image(ImageFlexibility::Range {
                width: (1, None),
                height: (2, Some(9)),
            }),
        ),
        feature(
            "sequence",
            FeatureType::Sequence {
                element: Some(LabelType::Int64),
                sizes: Some((0, None)),
            },
        ),
    ];
    model.description.outputs = vec![
        feature("label", FeatureType::String),
        feature("number", FeatureType::Int64),
        feature("double", FeatureType::Double),
        feature(
            "probabilities",
            FeatureType::Dictionary {
                key: LabelType::String,
            },
        ),
        feature(
            "probabilities2",
            FeatureType::Dictionary {
                key: LabelType::Int64,
            },
        ),
        Feature::new(
            "free",
            FeatureType::MultiArray {
                dtype: ArrayType::Int8,
                shape: vec![],
                flexibility: Flexibility::Fixed,
                default: None,
            },
        ),
    ];
    model.description.states = vec![feature(
        "kv",
        FeatureType::State {
            dtype: ArrayType::Float16,
            shape: vec![2, 8],
        },
    )];
    model.description.predicted_feature = Some("label".into());
    model.description.predicted_probabilities = Some("probabilities".into());
    round_trip(&model);
}

#[test]
fn several_functions() {
    let mut model = model(Opset::CoreMl8, vec![]);
    let weight = || Value::floats(DataType::Fp32, &[4, 4], &[0.25; 16]);
    model.program.functions = ["prompt", "extend"]
        .map(|name| {
            (
                name.to_owned(),
                function(Opset::CoreMl8, vec![constant("w", weight())]),
            )
        })
        .into();
    let (inputs, outputs) = (
        model.description.inputs.clone(),
        model.description.outputs.clone(),
    );
    model.description = Description {
        functions: ["prompt", "extend"]
            .map(|name| FunctionDescription {
                name: name.into(),
                inputs: inputs.clone(),
                outputs: outputs.clone(),
                ..FunctionDescription::default()
            })
            .into(),
        default_function: Some("prompt".into()),
        ..Description::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let written = write(&path, &model, &WriteOptions::default()).unwrap();
    assert_eq!((written.weights_stored, written.weights_shared), (1, 1));
    assert_same(&model, &Package::open(&path).unwrap().model);
}

#[test]
fn the_same_bytes_for_any_number_of_threads_and_on_every_run() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen: Option<(BTreeMap<String, Vec<u8>>, String)> = None;
    for (run, threads) in [1, 2, 3, 8, 1].into_iter().enumerate() {
        let path = directory.path().join(format!("m{run}.mlpackage"));
        let options = WriteOptions {
            threads: Some(threads),
            durable: run % 2 == 0,
            ..WriteOptions::default()
        };
        let digest = write(&path, &rich_model(), &options).unwrap().digest;
        let found = (files(&path), digest);
        match &seen {
            Some(first) => assert!(*first == found, "{threads} threads"),
            None => seen = Some(found),
        }
    }
}

#[test]
fn a_rewritten_package_has_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (
        directory.path().join("a.mlpackage"),
        directory.path().join("b.mlpackage"),
    );
    write(&first, &rich_model(), &WriteOptions::default()).unwrap();
    write(
        &second,
        &Package::open(&first).unwrap().model,
        &WriteOptions::default(),
    )
    .unwrap();
    assert!(files(&first) == files(&second));
}

#[test]
fn decoding_from_memory_equals_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    write(&path, &rich_model(), &WriteOptions::default()).unwrap();
    let core = path.join("Data/com.apple.CoreML");
    let model = std::fs::read(core.join("model.mlmodel")).unwrap();
    let weights = std::fs::read(core.join("weights/weight.bin")).unwrap();
    assert_same(&rich_model(), &decode_model(&model, &weights).unwrap());
    assert!(decode_model(&model, &[]).is_err());
}

#[test]
fn the_digest_is_what_a_shell_computes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let mut model = rich_model();
    // More than two pieces, the last one short.
    let len = (2 << 20) + 12345;
    let big = Value::weight(
        TensorType::new(DataType::Int8, [len]),
        std::sync::Arc::new(common::Pattern { len, seed: 1000 }),
    );
    let body = model
        .program
        .functions
        .get_mut("main")
        .unwrap()
        .blocks
        .get_mut(&Opset::CoreMl8)
        .unwrap();
    body.operations.insert(0, constant("big", big));
    let written = write(&path, &model, &WriteOptions::default()).unwrap();
    let script = r#"
        cd "$1" && find . -type f | sed 's|^\./||' | LC_ALL=C sort | while read -r f; do
            h=$(split -b 1048576 --filter='sha256sum | cut -c1-64' "$f" \
                | perl -ne 'chomp; print pack("H*", $_)' | sha256sum | cut -c1-64)
            printf '%s  %s\n' "$h" "$f"
        done | sha256sum | cut -c1-64"#;
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), written.digest);
    assert_eq!(package_digest(&path).unwrap(), written.digest);
}

#[test]
fn a_model_without_weights_has_no_weight_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let written = write(&path, &model(Opset::CoreMl6, vec![]), &WriteOptions::default()).unwrap();
    assert_eq!((written.weight_bytes, written.weights_stored), (0, 0));
    let names: Vec<String> = files(&path).into_keys().collect();
    assert_eq!(names, ["Data/com.apple.CoreML/model.mlmodel", "Manifest.json"]);
    Package::open(&path).unwrap();
}

#[test]
fn metadata_found_late_is_part_of_the_package() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let model = rich_model();
    let late = || Ok(BTreeMap::from([("late".to_owned(), "found".to_owned())]));
    let options = WriteOptions {
        late_metadata: Some(&late),
        ..WriteOptions::default()
    };
    write(&path, &model, &options).unwrap();
    let mut expected = model;
    expected
        .description
        .metadata
        .user_defined
        .insert("late".into(), "found".into());
    assert_same(&expected, &Package::open(&path).unwrap().model);

    let failing = || {
        Err(corer_mil::WeightError {
            place: "source".into(),
            reason: "is gone".into(),
        })
    };
    let other = directory.path().join("n.mlpackage");
    let options = WriteOptions {
        late_metadata: Some(&failing),
        ..WriteOptions::default()
    };
    assert!(
        write(&other, &expected, &options)
            .unwrap_err()
            .to_string()
            .contains("source: is gone")
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// The same on every machine. Changes only when what is written changes; say so in the changelog then.
#[test]
fn the_digest_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    let written = write(&path, &rich_model(), &WriteOptions::default()).unwrap();
    assert_eq!(
        written.digest,
        "42fd9cdd857e04617a62f57299ffe4f25ac6474cb50b89c55faab0a917656f97"
    );
}
