//! Every contradiction the checker knows is found, by its place and its reason, and a sound package has none.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{constant, function, model, operation};
use corer_mil::{Data, DataType, Dim, NamedType, Opset, TensorType, Value, ValueType};
use corer_proto::{
    ArrayType, ColorSpace, Feature, FeatureType, Flexibility, FunctionDescription, ImageFlexibility,
    LabelType, Model, Package, WriteOptions, check, write,
};

/// A sound model with two weights of 64 bytes.
fn sound(opset: Opset) -> Model {
    let weight = |byte| Value::memory_weight(TensorType::new(DataType::UInt8, [64u64]), vec![byte; 64]);
    model(opset, vec![constant("w", weight(1)), constant("v", weight(2))])
}

/// The faults of the package that `model` and then `change` (to its files) make.
fn faults(model: &Model, change: impl FnOnce(&Path)) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.mlpackage");
    write(&path, model, &WriteOptions::default()).unwrap();
    change(&path);
    let package = Package::open(&path).unwrap();
    check(&package)
        .iter()
        .map(|fault| fault.to_string().replace(path.to_str().unwrap(), "M"))
        .collect()
}

/// `change` makes exactly one fault, this one.
#[track_caller]
fn one(opset: Opset, change: impl FnOnce(&mut Model), expected: &str) {
    let mut model = sound(opset);
    change(&mut model);
    assert_eq!(faults(&model, |_| {}), [expected]);
}

fn body(model: &mut Model) -> &mut corer_mil::Block {
    model
        .program
        .functions
        .get_mut("main")
        .unwrap()
        .blocks
        .values_mut()
        .next()
        .unwrap()
}

fn array(dtype: ArrayType, shape: &[u64], flexibility: Flexibility) -> FeatureType {
    FeatureType::MultiArray {
        dtype,
        shape: shape.into(),
        flexibility,
        default: None,
    }
}

/// Makes the input `x` and the output `y` of this type in the program, and leaves the description.
fn retype(model: &mut Model, ty: TensorType) {
    model.program.functions.get_mut("main").unwrap().inputs[0].ty = ty.clone().into();
    body(model).operations.last_mut().unwrap().outputs[0].ty = ty.into();
}

#[test]
fn sound_models_have_no_fault() {
    for opset in Opset::ALL {
        assert_eq!(faults(&sound(opset), |_| {}), [""; 0]);
    }
}

#[test]
fn versions() {
    one(
        Opset::CoreMl7,
        |m| m.specification_version = 7,
        "function `main`: opset CoreML7 needs specification version 8, the model says 7",
    );
    one(
        Opset::CoreMl9,
        |m| m.specification_version = 11,
        "specificationVersion: 11 is newer than 10, the newest known",
    );
    let mut old = sound(Opset::CoreMl5);
    old.specification_version = 5;
    assert!(
        faults(&old, |_| {}).contains(&"specificationVersion: 5: ML Programs need 6 or later".to_owned())
    );
    let int8 = |m: &mut Model| {
        let ty = TensorType::new(DataType::Int8, [1u64, 4]);
        m.program
            .functions
            .get_mut("main")
            .unwrap()
            .inputs
            .push(NamedType::new("q", ty));
        m.description
            .inputs
            .push(Feature::multi_array("q", ArrayType::Int8, [1, 4]));
    };
    one(
        Opset::CoreMl8,
        int8,
        "feature `q`: needs specification version 10, the model says 9",
    );
    let half = |m: &mut Model| {
        let ty = TensorType::new(DataType::Fp16, [1u64, 4]);
        retype(m, ty);
        m.description.inputs[0] = Feature::multi_array("x", ArrayType::Float16, [1, 4]);
        m.description.outputs[0] = Feature::multi_array("y", ArrayType::Float16, [1, 4]);
    };
    let mut early = sound(Opset::CoreMl5);
    half(&mut early);
    let expected =
        ["x", "y"].map(|name| format!("feature `{name}`: needs specification version 7, the model says 6"));
    assert_eq!(faults(&early, |_| {})[..2], expected);
    let mut late = sound(Opset::CoreMl6);
    half(&mut late);
    assert_eq!(faults(&late, |_| {}), [""; 0]);
}

#[test]
fn names_and_types_of_features() {
    let opset = Opset::CoreMl7;
    one(
        opset,
        |m| m.description.inputs.clear(),
        "input `x`: is not described",
    );
    one(
        opset,
        |m| m.description.outputs.clear(),
        "output `y`: is not described",
    );
    let extra = |m: &mut Model| {
        m.description
            .inputs
            .push(Feature::multi_array("z", ArrayType::Int32, [1]))
    };
    one(
        opset,
        extra,
        "input `z`: is described but the function has no such input",
    );
    let twice = |m: &mut Model| {
        let again = m.description.outputs[0].clone();
        m.description.outputs.push(again);
    };
    one(opset, twice, "output `y`: is described twice");
    one(
        opset,
        |m| m.description.outputs[0].optional = true,
        "output `y`: only inputs can be optional",
    );
    let set = |ty: FeatureType| move |m: &mut Model| m.description.inputs[0].ty = ty;
    one(
        opset,
        set(array(ArrayType::Int32, &[1, 4], Flexibility::Fixed)),
        "input `x`: is described as INT32, the function has tensor<fp32, [1, 4]>",
    );
    one(
        opset,
        set(array(ArrayType::Float32, &[4], Flexibility::Fixed)),
        "input `x`: is described with shape [4], the function has tensor<fp32, [1, 4]>",
    );
    one(
        opset,
        set(array(ArrayType::Float32, &[], Flexibility::Fixed)),
        "input `x`: has no default shape",
    );
    one(
        opset,
        set(FeatureType::Double),
        "input `x`: is described as a double, the function has tensor<fp32, [1, 4]>",
    );
    one(
        opset,
        set(FeatureType::Image {
            width: 2,
            height: 2,
            color_space: ColorSpace::Rgb,
            flexibility: ImageFlexibility::Fixed,
        }),
        "input `x`: is described as an image, which needs rank 4; the function has tensor<fp32, [1, 4]>",
    );
    let output =
        |m: &mut Model| m.description.outputs[0].ty = array(ArrayType::Float32, &[], Flexibility::Fixed);
    one(
        opset,
        output,
        "output `y`: has no shape, the function gives tensor<fp32, [1, 4]>",
    );
    let output = |m: &mut Model| {
        m.description.outputs[0].ty = FeatureType::Dictionary {
            key: LabelType::String,
        }
    };
    one(
        opset,
        output,
        "output `y`: is described as a dictionary, the function has tensor<fp32, [1, 4]>",
    );
}

#[test]
fn flexible_shapes() {
    let open = TensorType {
        dtype: DataType::Fp32,
        shape: vec![Dim::Known(1), Dim::Symbol(0)],
    };
    let faults_of = |default: &[u64], flexibility: Flexibility| {
        let mut model = sound(Opset::CoreMl7);
        retype(&mut model, open.clone());
        model.description.inputs[0].ty = array(ArrayType::Float32, default, flexibility);
        model.description.outputs[0].ty = array(ArrayType::Float32, &[], Flexibility::Fixed);
        faults(&model, |_| {})
    };
    let range = |lower, upper| Flexibility::Range(vec![(1, Some(1)), (lower, upper)]);
    assert_eq!(faults_of(&[1, 8], range(1, Some(64))), [""; 0]);
    let enumerated = Flexibility::Enumerated(vec![vec![1, 8], vec![1, 16]]);
    assert_eq!(faults_of(&[1, 8], enumerated.clone()), [""; 0]);
    assert_eq!(
        faults_of(&[1, 9], enumerated),
        ["input `x`: its default shape [1, 9] is none of the enumerated ones"]
    );
    assert_eq!(
        faults_of(&[1, 8], Flexibility::Enumerated(vec![vec![1, 8], vec![2, 16]])),
        ["input `x`: is described with shape [2, 16], the function has tensor<fp32, [1, ?0]>"]
    );
    assert_eq!(
        faults_of(&[1, 8], Flexibility::Fixed),
        ["input `x`: has one fixed shape, the function leaves a dimension open: tensor<fp32, [1, ?0]>"]
    );
    assert_eq!(
        faults_of(&[1, 8], range(1, None)),
        ["input `x`: axis 1 has no upper bound, an ML Program needs one"]
    );
    assert_eq!(
        faults_of(&[1, 8], range(9, Some(3))),
        ["input `x`: axis 1 ranges from 9 to 3"]
    );
    assert_eq!(
        faults_of(&[1, 8], range(9, Some(30))),
        ["input `x`: its default size 8 on axis 1 is not in 9..=30"]
    );
    assert_eq!(
        faults_of(&[1, 8], Flexibility::Range(vec![(1, Some(2)), (1, Some(9))])),
        ["input `x`: axis 0 ranges from 1 to 2, the function has tensor<fp32, [1, ?0]>"]
    );
    assert_eq!(
        faults_of(&[1, 8], Flexibility::Range(vec![(1, Some(9))])),
        ["input `x`: has 1 size ranges, the function has tensor<fp32, [1, ?0]>"]
    );
}

#[test]
fn several_enumerated_inputs_need_ios18() {
    for (opset, expected) in [
        (
            Opset::CoreMl7,
            vec![
                "inputs: several inputs with enumerated shapes: needs specification version 9, the model says 8",
            ],
        ),
        (Opset::CoreMl8, vec![]),
    ] {
        let mut model = sound(opset);
        let main = model.program.functions.get_mut("main").unwrap();
        main.inputs
            .push(NamedType::new("z", TensorType::new(DataType::Int32, [1u64, 2])));
        model
            .description
            .inputs
            .push(Feature::multi_array("z", ArrayType::Int32, [1, 2]));
        for input in &mut model.description.inputs {
            let FeatureType::MultiArray {
                shape, flexibility, ..
            } = &mut input.ty
            else {
                continue;
            };
            *flexibility = Flexibility::Enumerated(vec![shape.clone()]);
        }
        assert_eq!(faults(&model, |_| {}), expected);
    }
}

#[test]
fn functions() {
    let opset = Opset::CoreMl8;
    let rename = |m: &mut Model| {
        let main = m.program.functions.remove("main").unwrap();
        m.program.functions.insert("start".into(), main);
    };
    let mut renamed = sound(opset);
    rename(&mut renamed);
    let expected = [
        "program: has no function `main`",
        "function `start`: is not described: description.functions is empty",
    ];
    assert_eq!(faults(&renamed, |_| {}), expected);
    one(
        opset,
        |m| m.description.default_function = Some("main".into()),
        "description: names the default function `main` but describes no functions",
    );

    let several = |opset: Opset| {
        let mut model = sound(opset);
        model
            .program
            .functions
            .insert("other".into(), function(opset, vec![]));
        let (inputs, outputs) = (
            std::mem::take(&mut model.description.inputs),
            std::mem::take(&mut model.description.outputs),
        );
        model.description.functions = ["main", "other"]
            .map(|name| FunctionDescription {
                name: name.into(),
                inputs: inputs.clone(),
                outputs: outputs.clone(),
                ..FunctionDescription::default()
            })
            .into();
        model.description.default_function = Some("main".into());
        model
    };
    let with = |change: fn(&mut Model)| {
        let mut model = several(opset);
        change(&mut model);
        faults(&model, |_| {})
    };
    assert_eq!(with(|_| {}), [""; 0]);
    assert_eq!(
        faults(&several(Opset::CoreMl7), |_| {}),
        ["description.functions: needs specification version 9, the model says 8"]
    );
    assert_eq!(
        with(|m| m.description.default_function = None),
        ["description.defaultFunctionName: is missing"]
    );
    assert_eq!(
        with(|m| m.description.default_function = Some("none".into())),
        ["description.defaultFunctionName: `none` is not described"]
    );
    assert_eq!(
        with(|m| drop(m.description.functions.pop())),
        ["function `other`: is not described"]
    );
    assert_eq!(
        with(|m| drop(m.program.functions.remove("other"))),
        ["function `other`: is described but not in the program"]
    );
    assert_eq!(
        with(|m| m.description.functions[1].inputs.clear()),
        ["function `other`, input `x`: is not described"]
    );
    assert_eq!(
        with(|m| m.description.inputs = m.description.functions[0].inputs.clone()),
        ["description: a model with functions describes its features per function only"]
    );
}

#[test]
fn classifiers() {
    let scalar = |dtype| ValueType::from(TensorType::scalar(dtype));
    let classifier = |change: fn(&mut Model)| {
        let mut model = sound(Opset::CoreMl7);
        let classes = Value {
            ty: ValueType::List(Box::new(scalar(DataType::String)), Dim::Known(4)),
            data: Data::List(["a", "b", "c", "d"].map(Value::string).into()),
        };
        let mut classify = operation(
            "classify",
            "label",
            TensorType::scalar(DataType::String),
            &[("probabilities", "y")],
        );
        classify
            .inputs
            .insert("classes".into(), vec![corer_mil::Binding::Value(classes)]);
        let probabilities = ValueType::Dictionary(
            Box::new(scalar(DataType::String)),
            Box::new(scalar(DataType::Fp64)),
        );
        classify
            .outputs
            .push(NamedType::new("label_probs", probabilities));
        body(&mut model).operations.push(classify);
        body(&mut model).outputs = vec!["label".into(), "label_probs".into()];
        model.description.outputs = vec![
            Feature::new("label", FeatureType::String),
            Feature::new(
                "label_probs",
                FeatureType::Dictionary {
                    key: LabelType::String,
                },
            ),
        ];
        model.description.predicted_feature = Some("label".into());
        model.description.predicted_probabilities = Some("label_probs".into());
        change(&mut model);
        faults(&model, |_| {})
            .into_iter()
            // What the op table thinks of classify is tested where the table is.
            .filter(|fault| fault.contains("label") && !fault.contains("operation"))
            .collect::<Vec<_>>()
    };
    assert_eq!(classifier(|_| {}), [""; 0]);
    assert_eq!(
        classifier(|m| m.description.predicted_feature = Some("nolabel".into())),
        ["description.predictedFeatureName: `nolabel` is no output"]
    );
    assert_eq!(
        classifier(|m| m.description.predicted_feature = Some("label_probs".into())),
        ["description.predictedFeatureName: `label_probs` must be a label or a number"]
    );
    assert_eq!(
        classifier(|m| m.description.predicted_probabilities = Some("label".into())),
        ["description.predictedProbabilitiesName: `label` must be a dictionary of labels"]
    );
    assert_eq!(
        classifier(|m| m.description.outputs[1].ty = FeatureType::Dictionary {
            key: LabelType::Int64
        }),
        [
            "output `label_probs`: is described as a dictionary, the function has dict<tensor<string, []>, tensor<fp64, []>>"
        ]
    );
}

#[test]
fn states() {
    let ty = |dtype| ValueType::State(Box::new(TensorType::new(dtype, [2u64, 8]).into()));
    let with = |feature: FeatureType, dtype| {
        let mut model = sound(Opset::CoreMl8);
        model
            .program
            .functions
            .get_mut("main")
            .unwrap()
            .inputs
            .push(NamedType::new("kv", ty(dtype)));
        model.description.states.push(Feature::new("kv", feature));
        faults(&model, |_| {})
    };
    let state = |shape: &[u64]| FeatureType::State {
        dtype: ArrayType::Float16,
        shape: shape.into(),
    };
    assert_eq!(with(state(&[2, 8]), DataType::Fp16), [""; 0]);
    assert_eq!(
        with(state(&[2, 8]), DataType::Fp32),
        ["state `kv`: is described as FLOAT16, the function has tensor<fp32, [2, 8]>"]
    );
    assert_eq!(
        with(state(&[8, 2]), DataType::Fp16),
        ["state `kv`: is described with shape [8, 2], the function has tensor<fp16, [2, 8]>"]
    );
}

/// Overwrites bytes of the weight file; `w` has its record at 64 and its data at 128, `v` at 192 and 256.
fn patched(patches: &[(u64, u64)]) -> Vec<String> {
    faults(&sound(Opset::CoreMl7), |path| {
        let file = path.join("Data/com.apple.CoreML/weights/weight.bin");
        let file = fs::OpenOptions::new().write(true).open(file).unwrap();
        for (offset, value) in patches {
            file.write_all_at(&value.to_le_bytes(), *offset).unwrap();
        }
    })
}

#[test]
fn blobs() {
    let file = "M/Data/com.apple.CoreML/weights/weight.bin";
    assert_eq!(patched(&[]), [""; 0]);
    // Count 3 (and version 2 in the upper half).
    assert_eq!(
        patched(&[(0, 3 | 2 << 32)]),
        [format!("{file}: its header says 3 blobs, it holds 2")]
    );
    assert_eq!(
        patched(&[(0, 1 | 2 << 32)]),
        [format!("{file}: its header says 1 blobs, it holds 2")]
    );
    // The second blob's data moved onto the first's; onto the second's own record.
    assert_eq!(
        patched(&[(192 + 16, 128)]),
        [
            format!("{file}: blob at 192: its data starts at 128, not right behind its record"),
            format!("{file}: blob at 192: overlaps the blob at 64"),
        ]
    );
    assert_eq!(
        patched(&[(192 + 16, 192)]),
        [
            format!("{file}: after 2 blobs: byte 256: blob sentinel is 0x02020202, must be 0xdeadbeef"),
            format!("{file}: blob at 192: its data starts at 192, not right behind its record"),
            format!("{file}: blob at 192: its data overlaps its own record"),
        ]
    );
    // Bytes behind the last blob that are no record.
    let trailing = faults(&sound(Opset::CoreMl7), |path| {
        let file = path.join("Data/com.apple.CoreML/weights/weight.bin");
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend([7; 64]);
        fs::write(&file, bytes).unwrap();
    });
    assert_eq!(trailing.len(), 1, "{trailing:?}");
    assert!(
        trailing[0].contains("after 2 blobs") && trailing[0].contains("sentinel"),
        "{trailing:?}"
    );
}

#[test]
fn manifests() {
    let with = |change: fn(&mut serde_json::Value, &str)| {
        faults(&sound(Opset::CoreMl7), |path| {
            let manifest = path.join("Manifest.json");
            let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
            let root = json["rootModelIdentifier"].as_str().unwrap().to_owned();
            change(&mut json, &root);
            fs::write(&manifest, json.to_string()).unwrap();
        })
    };
    let missing = with(|json, root| {
        let mut entry = json["itemInfoEntries"][root].clone();
        entry["path"] = "com.example/absent".into();
        entry["name"] = "notes".into();
        json["itemInfoEntries"]["X"] = entry;
    });
    assert_eq!(
        missing,
        ["Manifest.json entry X: its path `com.example/absent` does not exist"]
    );
    let twice = with(|json, root| json["itemInfoEntries"]["X"] = json["itemInfoEntries"][root].clone());
    assert_eq!(
        twice,
        ["Manifest.json: two entries are called `model.mlmodel` by author `com.apple.CoreML`"]
    );
    let nameless = with(|json, root| json["itemInfoEntries"][root]["author"] = "".into());
    assert_eq!(nameless.len(), 1);
    assert!(
        nameless[0].ends_with("author and name must not be empty"),
        "{nameless:?}"
    );
}

#[test]
fn faults_of_the_program_are_listed_with_their_place() {
    let mut model = sound(Opset::CoreMl7);
    body(&mut model).operations[0].op = "frobnicate".into();
    let found = faults(&model, |_| {});
    assert!(
        found
            .iter()
            .any(|fault| fault.starts_with("function `main`, operation 0 `w` (frobnicate)")),
        "{found:?}"
    );
}
