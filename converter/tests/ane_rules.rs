//! The `ane` layout keeps the rules it claims, for every head and both attention forms.

use std::path::{Path, PathBuf};

use corer_converter::{AttentionForm, Conversion, Layout, Precision, Request, convert};
use corer_mil::{Binding, DataType, Operation, Target, ValueType};

const HEADS: &[&str] = &[
    "feature-extraction",
    "sequence-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "sentence-mean",
    "sentence-max",
    "sentence-cls-dense",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/bert-tiny")
        .join(name)
}

fn request(name: &str) -> Request {
    let mut request = Request::new(fixture(name));
    request.sequence_length = Some(64.into());
    request
}

fn operations(conversion: &Conversion) -> &[Operation] {
    &conversion.model.program.functions["main"]
        .body()
        .expect("a body")
        .operations
}

fn every_ane_package(mut judge: impl FnMut(&str, &Conversion)) {
    for head in HEADS {
        for attention in [AttentionForm::Packed, AttentionForm::Split] {
            let conversion = convert(&Request {
                attention,
                ..request(head)
            })
            .expect("converts");
            judge(&format!("{head} {}", attention.name()), &conversion);
        }
    }
}

fn dtype(ty: &ValueType) -> Option<DataType> {
    ty.as_tensor().map(|tensor| tensor.dtype)
}

/// The constant bound to a parameter.
fn constant<'a>(
    all: &'a [Operation],
    operation: &'a Operation,
    parameter: &str,
) -> Option<&'a corer_mil::Value> {
    match operation.inputs.get(parameter)?.first()? {
        Binding::Value(value) => Some(value),
        Binding::Name(name) => all
            .iter()
            .find(|other| other.outputs.iter().any(|output| output.name == *name))?
            .const_value(),
    }
}

fn ints(all: &[Operation], operation: &Operation, parameter: &str) -> Vec<i64> {
    constant(all, operation, parameter)
        .and_then(corer_mil::Value::as_ints)
        .unwrap_or_default()
}

#[test]
fn nothing_is_fp32_or_int32_but_constants_of_shape() {
    every_ane_package(|name, conversion| {
        for operation in operations(conversion)
            .iter()
            .filter(|operation| operation.op != "const")
        {
            for output in &operation.outputs {
                assert_eq!(
                    dtype(&output.ty),
                    Some(DataType::Fp16),
                    "{name}: {} makes {}",
                    operation.op,
                    output.ty
                );
            }
        }
        for operation in operations(conversion)
            .iter()
            .filter(|operation| operation.op == "const")
        {
            assert_ne!(
                dtype(&operation.outputs[0].ty),
                Some(DataType::Fp32),
                "{name}: {}",
                operation.name()
            );
        }
    });
}

#[test]
fn integers_are_met_only_in_the_prefix() {
    every_ane_package(|name, conversion| {
        let inputs: Vec<&str> = conversion.model.program.functions["main"]
            .inputs
            .iter()
            .map(|input| input.name.as_str())
            .collect();
        let takes_integers = |operation: &Operation| {
            operation
                .inputs
                .values()
                .flatten()
                .any(|binding| matches!(binding, Binding::Name(name) if inputs.contains(&name.as_str())))
        };
        for operation in operations(conversion)
            .iter()
            .filter(|operation| takes_integers(operation))
        {
            assert!(
                ["gather", "cast"].contains(&operation.op.as_str()),
                "{name}: {} takes an input",
                operation.op
            );
        }
    });
}

#[test]
fn norms_and_softmax_run_over_channels() {
    every_ane_package(|name, conversion| {
        let all = operations(conversion);
        for operation in all {
            match operation.op.as_str() {
                "layer_norm" => assert_eq!(ints(all, operation, "axes"), [1], "{name}"),
                "softmax" => assert_eq!(ints(all, operation, "axis"), [1], "{name}"),
                "linear" | "matmul" => panic!("{name}: {} in the ane layout", operation.op),
                _ => {}
            }
        }
    });
}

#[test]
fn one_transpose_leads_in_one_per_layer_and_one_out_per_token_output() {
    every_ane_package(|name, conversion| {
        let all = operations(conversion);
        let count = |op: &str| all.iter().filter(|operation| operation.op == op).count();
        let layers = count("softmax");
        let token_outputs = conversion
            .model
            .description
            .outputs
            .iter()
            .filter(|output| matches!(&output.ty, corer_proto::FeatureType::MultiArray { shape, .. } if shape.len() == 3))
            .count();
        assert_eq!(count("transpose"), 1 + layers + token_outputs, "{name}");
        let masked = all
            .iter()
            .filter(|operation| operation.name().ends_with("_masked") && operation.op == "add");
        let attention_masks = masked
            .filter(|operation| operation.name().contains("attention"))
            .count();
        assert_eq!(attention_masks, layers, "{name}: one mask add per layer");
    });
}

#[test]
fn the_packed_attention_block_is_thirteen_operations() {
    let conversion = convert(&Request {
        attention: AttentionForm::Packed,
        ..request("feature-extraction")
    })
    .expect("converts");
    let block = operations(&conversion)
        .iter()
        .filter(|operation| operation.op != "const")
        .filter(|operation| operation.name().starts_with("encoder_layer_0_attention"))
        .filter(|operation| {
            !["add", "layer_norm"].contains(&operation.op.as_str()) || operation.name().contains("masked")
        });
    assert_eq!(block.count(), 13);
}

#[test]
fn nothing_is_cut_along_the_last_axis_from_the_middle() {
    every_ane_package(|name, conversion| {
        let all = operations(conversion);
        for operation in all {
            let x = operation.inputs.get("x").and_then(|bindings| bindings.first());
            let Some(Binding::Name(source)) = x else { continue };
            let maker = all
                .iter()
                .find(|other| other.outputs.iter().any(|output| output.name == *source));
            let rank = maker
                .and_then(|maker| maker.outputs[0].ty.as_tensor())
                .map_or(0, corer_mil::TensorType::rank);
            match operation.op.as_str() {
                "slice_by_index" => {
                    assert_eq!(
                        ints(all, operation, "begin").last(),
                        Some(&0),
                        "{name}: {}",
                        operation.name()
                    );
                }
                "split" => assert_ne!(ints(all, operation, "axis"), [rank as i64 - 1], "{name}"),
                _ => {}
            }
        }
    });
}

#[test]
fn auto_takes_heads_apart_only_when_their_scores_pass_two_mebibytes() {
    // Two heads, 64 tokens: 16 KiB of scores.
    let small = convert(&request("feature-extraction")).expect("converts");
    assert!(operations(&small).iter().all(|operation| operation.op != "split"));
}

#[test]
fn the_mask_and_every_epsilon_survive_fp16() {
    every_ane_package(|name, conversion| {
        let all = operations(conversion);
        let mask = all
            .iter()
            .find(|operation| operation.name() == "attention_mask_scale")
            .expect("a mask");
        let factor = constant(all, mask, "y")
            .and_then(corer_mil::Value::as_float)
            .expect("a factor");
        assert_eq!(factor, 1e4, "{name}");
        for norm in all.iter().filter(|operation| operation.op == "layer_norm") {
            let epsilon = constant(all, norm, "epsilon")
                .and_then(corer_mil::Value::as_float)
                .expect("an epsilon");
            assert!(epsilon > 0.0 && epsilon <= 1e-4, "{name}: epsilon {epsilon}");
        }
    });
}

#[test]
fn the_standard_layout_uses_fused_attention_where_the_opset_has_it() {
    for (target, fused) in [(Target::Ios17, 0), (Target::Ios18, 2)] {
        let request = Request {
            target,
            layout: Layout::Standard,
            ..request("feature-extraction")
        };
        let conversion = convert(&request).expect("converts");
        let count = operations(&conversion)
            .iter()
            .filter(|operation| operation.op == "scaled_dot_product_attention")
            .count();
        assert_eq!(count, fused, "{target}");
    }
}

#[test]
fn fp32_packages_hold_no_fp16_at_all() {
    for layout in [Layout::Ane, Layout::Standard] {
        let request = Request {
            precision: Precision::Fp32,
            layout,
            ..request("sentence-mean")
        };
        let conversion = convert(&request).expect("converts");
        for operation in operations(&conversion) {
            for output in &operation.outputs {
                assert_ne!(dtype(&output.ty), Some(DataType::Fp16), "{}", operation.name());
            }
        }
    }
}

#[test]
fn absent_token_types_become_part_of_the_position_table() {
    let request = Request {
        token_types: false,
        ..request("feature-extraction")
    };
    let conversion = convert(&request).expect("converts");
    let gathers = operations(&conversion)
        .iter()
        .filter(|operation| operation.op == "gather")
        .count();
    assert_eq!(gathers, 1);
    assert_eq!(conversion.model.description.inputs.len(), 2);
}
