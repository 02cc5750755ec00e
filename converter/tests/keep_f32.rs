//! Operations kept in f32: they and nothing else are written differently, in both layouts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use corer_converter::{Conversion, ConvertError, Layout, Pattern, Precision, Request, convert};
use corer_mil::{Binding, Data, DataType, Operation, Target};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/bert-tiny")
        .join(name)
}

fn converted(request: Request, patterns: &[&str]) -> Result<Conversion, ConvertError> {
    convert(&Request {
        keep_f32: patterns.iter().map(|pattern| Pattern::new(pattern)).collect(),
        ..request
    })
}

fn operations(conversion: &Conversion, function: &str) -> BTreeMap<String, Operation> {
    let body = conversion.model.program.functions[function]
        .body()
        .expect("a body");
    let named = body
        .operations
        .iter()
        .map(|operation| (operation.name().to_owned(), operation.clone()));
    let all: BTreeMap<_, _> = named.collect();
    assert_eq!(all.len(), body.operations.len(), "names are not unique");
    all
}

fn dtype_of(operation: &Operation) -> Option<DataType> {
    Some(operation.outputs.first()?.ty.as_tensor()?.dtype)
}

/// What an operation is, less the weights' bytes.
fn shown(operation: &Operation) -> String {
    let mut bare = operation.clone();
    if let Some(value) = bare.attributes.get_mut("val")
        && matches!(value.data, Data::Weight(_))
    {
        *value = corer_mil::Value::bool(true);
    }
    format!("{bare:?}")
}

#[test]
fn only_what_is_named_changes() {
    for layout in [Layout::Ane, Layout::Standard] {
        for target in [Target::Ios16, Target::Ios18] {
            let request = || {
                let mut request = Request::new(fixture("feature-extraction"));
                request.layout = layout;
                request.target = target;
                request
            };
            let plain = convert(&request()).expect("converts");
            let mixed = converted(request(), &["*encoder.layer.0.output.*", "pooler*"]).expect("converts");
            assert!(corer_mil::check(&mixed.model.program).is_empty());
            assert!(plain.kept_f32.is_empty() && !mixed.kept_f32.is_empty());
            let kept: BTreeSet<&str> = mixed.kept_f32.iter().map(String::as_str).collect();
            assert!(
                kept.iter().any(|name| name.contains("layer_0_output_dense")),
                "{kept:?}"
            );
            let (before, after) = (operations(&plain, "main"), operations(&mixed, "main"));
            for (name, operation) in &before {
                match after.get(name) {
                    Some(now) if kept.contains(name.as_str()) => {
                        assert_eq!(now.op, operation.op);
                        assert_eq!(dtype_of(now), Some(DataType::Fp32), "{name}");
                        for binding in now.inputs.values().flatten() {
                            if let Binding::Name(input) = binding {
                                let from = after.values().find(|maker| maker.outputs[0].name == *input);
                                assert_ne!(from.and_then(dtype_of), Some(DataType::Fp16), "{name}: {input}");
                            }
                        }
                    }
                    Some(now) => assert_eq!(shown(now), shown(operation)),
                    // A constant that only kept operations used.
                    None => assert_eq!(operation.op, "const", "{name} is gone"),
                }
            }
            for (name, operation) in &after {
                let added = !before.contains_key(name);
                assert!(
                    !added || ["const", "cast"].contains(&operation.op.as_str()),
                    "{name}"
                );
            }
            let interface = |conversion: &Conversion| {
                let function = &conversion.model.program.functions["main"];
                (
                    function.inputs.clone(),
                    function.body().expect("a body").outputs.clone(),
                )
            };
            assert_eq!(interface(&plain), interface(&mixed));
        }
    }
}

/// Weights of kept operations are the source's own numbers, not fp16 ones widened.
#[test]
fn weights_are_read_in_f32() {
    let mut all = Request::new(fixture("feature-extraction"));
    all.precision = Precision::Fp32;
    let full = operations(&convert(&all).expect("converts"), "main");
    let mixed = converted(
        Request::new(fixture("feature-extraction")),
        &["*layer.1.intermediate.dense"],
    )
    .expect("converts");
    let mixed = operations(&mixed, "main");
    let bytes = |operation: &Operation| match &operation.const_value().expect("a constant").data {
        Data::Weight(source) => source.to_vec().expect("readable"),
        other => panic!("{other:?}"),
    };
    let weight = |all: &BTreeMap<String, Operation>, suffix: &str| {
        let name = all
            .keys()
            .find(|name| name.ends_with(&format!("layer_1_intermediate_dense_weight{suffix}")));
        bytes(&all[name.unwrap_or_else(|| panic!("no weight{suffix}"))])
    };
    assert_eq!(weight(&mixed, "_f32"), weight(&full, ""));
}

/// What follows a kept operation and is kept too gets f32; outputs in f32 don't go through fp16.
#[test]
fn f32_is_passed_on() {
    let mut request = Request::new(fixture("sequence-classification"));
    request.output_dtype = Some(DataType::Fp32);
    let mixed = converted(request, &["*"]).expect("converts");
    assert!(corer_mil::check(&mixed.model.program).is_empty());
    let all = operations(&mixed, "main");
    let halves: Vec<&String> = all
        .iter()
        .filter(|(_, operation)| operation.op != "const" && dtype_of(operation) == Some(DataType::Fp16))
        .map(|(name, _)| name)
        .collect();
    // The mask comes out of a cast to fp16, which is no computation.
    assert_eq!(halves, ["attention_mask_float"]);
}

#[test]
fn functions_keep_the_same() {
    let mut request = Request::new(fixture("feature-extraction"));
    request.target = Target::Ios18;
    request.sequence_length = Some("16,32".parse().expect("sizes"));
    let mixed = converted(request, &["*layer.0.output.dense"]).expect("converts");
    assert!(corer_mil::check(&mixed.model.program).is_empty());
    assert_eq!(mixed.kept_f32.len(), 1);
    let mut sources = Vec::new();
    for function in mixed.model.program.functions.keys() {
        for operation in operations(&mixed, function).values() {
            if operation.name().ends_with("output_dense_weight_f32")
                && let Some(Data::Weight(source)) = operation.const_value().map(|value| &value.data)
            {
                sources.push(source.clone());
            }
        }
    }
    // One copy for both.
    assert_eq!(sources.len(), 2);
    assert!(std::sync::Arc::ptr_eq(&sources[0], &sources[1]));
}

#[test]
fn a_pattern_must_name_something() {
    for (request, pattern) in [
        (Request::new(fixture("feature-extraction")), "encoder.layer.9.*"),
        (
            {
                let mut request = Request::new(fixture("feature-extraction"));
                request.precision = Precision::Fp32;
                request
            },
            "*",
        ),
    ] {
        let error = converted(request, &[pattern]).expect_err("nothing to keep");
        assert!(
            matches!(&error, ConvertError::Request { flag: "--keep-f32", reason } if reason.contains(pattern)),
            "{error}"
        );
    }
}
