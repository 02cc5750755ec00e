//! The `ane` layout keeps its rules for every family.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use corer_converter::{Conversion, Request, convert};
use corer_mil::{Binding, DataType, Operation, ValueType};

fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/families")
}

/// Every checkpoint, converted as it is by default.
fn every_package(mut judge: impl FnMut(&str, &[Operation])) {
    let mut seen = 0;
    for family in fs::read_dir(families()).expect("families") {
        for model in fs::read_dir(family.expect("a family").path()).expect("models") {
            let path = model.expect("a model").path();
            let mut request = Request::new(&path);
            request.sequence_length = Some(32.into());
            let conversion = convert(&request).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            judge(&path.display().to_string(), operations(&conversion));
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} checkpoints");
}

fn operations(conversion: &Conversion) -> &[Operation] {
    let main = &conversion.model.program.functions["main"];
    &main.body().expect("a body").operations
}

fn dtype(ty: &ValueType) -> Option<DataType> {
    ty.as_tensor().map(|tensor| tensor.dtype)
}

fn ints(all: &[Operation], operation: &Operation, parameter: &str) -> Vec<i64> {
    let value = match operation
        .inputs
        .get(parameter)
        .and_then(|bindings| bindings.first())
    {
        Some(Binding::Value(value)) => value.as_ints(),
        Some(Binding::Name(name)) => all
            .iter()
            .find(|other| other.outputs.iter().any(|output| output.name == *name))
            .and_then(Operation::const_value)
            .and_then(corer_mil::Value::as_ints),
        None => None,
    };
    value.unwrap_or_default()
}

/// Rules D1, D3, S1: what runs after the lookups is fp16 of rank 5 at most; integers are counted positions alone, on
/// their way into a lookup.
#[test]
fn floats_are_half_and_integers_only_count_positions() {
    every_package(|name, all| {
        let counting = ["not_equal", "cast", "cumsum", "mul", "add"];
        let mut whole = HashSet::new();
        for operation in all.iter().filter(|operation| operation.op != "const") {
            for output in &operation.outputs {
                let ty = output.ty.as_tensor().expect("a tensor");
                assert!(ty.rank() <= 5, "{name}: {} makes {ty}", operation.op);
                match ty.dtype {
                    DataType::Fp16 => {}
                    DataType::Int32 | DataType::Bool => {
                        assert!(
                            counting.contains(&operation.op.as_str()),
                            "{name}: {}",
                            operation.op
                        );
                        whole.insert(output.name.as_str());
                    }
                    other => panic!("{name}: {} makes {other}", operation.op),
                }
            }
            let reads_whole = operation
                .inputs
                .values()
                .flatten()
                .any(|binding| matches!(binding, Binding::Name(name) if whole.contains(name.as_str())));
            let makes_whole = operation
                .outputs
                .iter()
                .any(|output| dtype(&output.ty) != Some(DataType::Fp16));
            assert!(
                !reads_whole || makes_whole || operation.op == "gather",
                "{name}: {} reads integers",
                operation.op
            );
        }
    });
}

/// Rules L2, L6, L7, N5.
#[test]
fn layers_are_convolutions_and_norms_and_softmax_run_over_channels() {
    every_package(|name, all| {
        for operation in all {
            match operation.op.as_str() {
                "layer_norm" => assert_eq!(ints(all, operation, "axes"), [1], "{name}"),
                "softmax" => assert_eq!(ints(all, operation, "axis"), [1], "{name}"),
                "linear" | "matmul" => panic!("{name}: {} in the ane layout", operation.op),
                "slice_by_index" => {
                    assert_eq!(
                        ints(all, operation, "begin").last(),
                        Some(&0),
                        "{name}: {}",
                        operation.name()
                    );
                }
                _ => {}
            }
        }
    });
}

/// Rule N11, and no operation left for it: every family's scale is in its query's weights. With it goes the packed
/// form, which needs weights that nothing else reads: heads side by side on axis 2 of four.
#[test]
fn scales_are_folded_and_heads_are_packed() {
    every_package(|name, all| {
        assert!(
            all.iter().all(|operation| !operation.name().ends_with("_scaled")),
            "{name}: scales scores"
        );
        let attentions = all.iter().filter(|operation| operation.op == "softmax").count();
        let contractions = all.iter().filter(|operation| operation.op == "einsum").count();
        assert!(attentions > 0 && contractions >= 2 * attentions, "{name}");
    });
}
