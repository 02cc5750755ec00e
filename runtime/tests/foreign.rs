//! Packages written by coremltools against numpy's formulas in f64.
//!
//! Tolerances: what only moves or compares elements, and all integers, must be equal. Other f32 results may be off by
//! a few units in the last place of the largest value (sums) or of the value itself (functions of one number). An
//! fp16 result computed as written may be off by what one rounding of such an f32 result allows, not more.

mod common;

use std::collections::BTreeMap;

use common::{recorded, repository, with_prefix};
use corer_mil::DataType;
use corer_proto::Package;
use corer_runtime::{Arithmetic, Executable, Labels, Options, Tensor};

fn open(name: &str) -> (Package, BTreeMap<String, Tensor>, BTreeMap<String, String>) {
    let folder = repository("conformance/foreign");
    let package = Package::open(&folder.join(format!("{name}.mlpackage")))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let (tensors, metadata) = recorded(&folder.join(format!("{name}.safetensors")));
    let ops = metadata.get("ops").expect("names of ops");
    (
        package,
        tensors,
        serde_json::from_str(ops).expect("a JSON object"),
    )
}

fn compile(package: &Package, function: &str, arithmetic: Arithmetic) -> Executable {
    let mut options = Options::new(arithmetic);
    options.threads = Some(2);
    Executable::compile(&package.model.program, function, &options)
        .unwrap_or_else(|error| panic!("{}: {error}", package.path.display()))
}

/// How far an f32 result may be from the exact one, relative to the value and to the largest value of the tensor.
fn allowance(op: &str) -> (f64, f64) {
    const UNIT: f64 = 6e-8;
    match op {
        // Products and sums: error grows with the terms, not with the result.
        "linear" | "conv" | "matmul" | "einsum" | "scaled_dot_product_attention" | "cumsum" => {
            (0.0, 8.0 * UNIT)
        }
        op if op.starts_with("reduce_") => (4.0 * UNIT, 8.0 * UNIT),
        "layer_norm" | "instance_norm" | "batch_norm" | "l2_norm" | "softmax" => (8.0 * UNIT, 8.0 * UNIT),
        // Functions with cancelling terms, and remainders of f32 numbers.
        "gelu"
        | "silu"
        | "softplus_parametric"
        | "linear_activation"
        | "sigmoid_hard"
        | "elu"
        | "cast"
        | "log" => (8.0 * UNIT, 4.0 * UNIT),
        op if op.starts_with("constexpr_") => (4.0 * UNIT, 8.0 * UNIT),
        "quantize" | "dequantize" => (4.0 * UNIT, 0.0),
        _ => (8.0 * UNIT, 0.0),
    }
}

/// Half the distance between fp16 numbers about a value.
fn half_unit(value: f64) -> f64 {
    let exponent = value.abs().max(f64::powi(2.0, -14)).log2().floor();
    f64::powf(2.0, exponent - 11.0)
}

/// Says where the tensors differ by more than the op allows.
///
/// `scale` is the largest number the op was given: what sums lose to rounding where large terms cancel.
fn compare(op: &str, rounded: bool, scale: f64, actual: &Tensor, expected: &Tensor) -> Result<(), String> {
    if actual.shape() != expected.shape() {
        return Err(format!(
            "shape {:?}, expected {:?}",
            actual.shape(),
            expected.shape()
        ));
    }
    if let Some(expected) = expected.as_i32() {
        return match actual.as_i32() {
            Some(actual) if actual == expected => Ok(()),
            Some(actual) => Err(format!("{actual:?}, expected {expected:?}")),
            None => Err(format!("is {}", actual.dtype())),
        };
    }
    let (actual, expected) = (actual.to_f32(), expected.to_f32());
    let largest = expected
        .iter()
        .filter(|x| x.is_finite())
        .fold(0f64, |largest, x| largest.max(f64::from(x.abs())));
    let (own, all) = allowance(op);
    for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        let (actual, expected) = (f64::from(*actual), f64::from(*expected));
        if actual == expected || (actual.is_nan() && expected.is_nan()) {
            continue;
        }
        let mut allowed = own * expected.abs() + all * largest.max(scale);
        if rounded {
            allowed = allowed * 1.5 + half_unit(expected);
            if op.starts_with("constexpr_") {
                // These cases add a decoded weight to their input: the weight is rounded too.
                allowed += half_unit(expected.abs() + scale);
            }
        }
        let error = (actual - expected).abs();
        // A NaN is within nothing.
        let within = error <= allowed;
        if !within {
            return Err(format!(
                "[{index}] {actual}, expected {expected}: off by {error:e}, allowed {allowed:e}"
            ));
        }
    }
    Ok(())
}

fn family(name: &str) {
    let (package, tensors, ops) = open(name);
    let half = name.ends_with("fp16");
    let inputs = with_prefix(&tensors, "input.");
    let mut faults = Vec::new();
    for arithmetic in [Arithmetic::F32, Arithmetic::AsWritten] {
        let executable = compile(&package, "main", arithmetic);
        let outputs = executable
            .run(&inputs)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let rounded = half && arithmetic == Arithmetic::AsWritten;
        for (output, expected) in with_prefix(&tensors, "output.") {
            let op = &ops[&output];
            // A cast to fp16 rounds only where values are computed as written.
            if output == "cast_through_fp16_out" && arithmetic == Arithmetic::F32 && !half {
                assert_eq!(outputs[&output].as_f32(), inputs["cast_through_fp16_x"].as_f32());
                continue;
            }
            let case = output.trim_end_matches("_out");
            let scale = with_prefix(&inputs, &format!("{case}_"))
                .values()
                .flat_map(Tensor::to_f32)
                .fold(0f64, |scale, x| scale.max(f64::from(x.abs())));
            let scale = if op.starts_with("reduce_") || op.starts_with("constexpr_") {
                scale
            } else {
                0.0
            };
            if let Err(fault) = compare(op, rounded, scale, &outputs[&output], &expected) {
                faults.push(format!("{arithmetic:?} {output} ({op}): {fault}"));
            }
            let declared = executable
                .outputs()
                .iter()
                .find(|declared| declared.name == output)
                .expect("declared");
            let declared = declared.ty.as_tensor().expect("a tensor").dtype;
            let wanted = if declared == DataType::Fp16 && !rounded {
                DataType::Fp32
            } else {
                declared
            };
            assert_eq!(outputs[&output].dtype(), wanted, "{output}");
        }
        // Observed, every operation is on its own: fusing must change nothing.
        let mut shown = 0;
        let observed = executable
            .run_observed(&inputs, &mut |_| shown += 1)
            .expect("runs observed");
        assert!(shown >= observed.len(), "{shown} values shown");
        for (output, tensor) in &outputs {
            assert!(
                same(tensor, &observed[output]),
                "{arithmetic:?} {output}: differs when observed"
            );
        }
        let mut options = Options::new(arithmetic);
        options.threads = Some(1);
        let alone = Executable::compile(&package.model.program, "main", &options).expect("compiles");
        for (output, tensor) in alone.run(&inputs).expect("runs") {
            assert!(
                same(&tensor, &outputs[&output]),
                "{arithmetic:?} {output}: differs with one thread"
            );
        }
    }
    assert!(
        faults.is_empty(),
        "{name}: {} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Bit for bit; NaN equals NaN.
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.shape() == b.shape()
        && a.dtype() == b.dtype()
        && a.to_f32()
            .iter()
            .zip(b.to_f32())
            .all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

macro_rules! families {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            family($name);
        })*

        /// The index and this file name the same packages.
        #[test]
        fn every_package_is_run() {
            let index = std::fs::read_to_string(repository("conformance/foreign/index.json")).expect("the index");
            let index: Vec<serde_json::Value> = serde_json::from_str(&index).expect("a JSON list");
            let own = ["classifier-ios16-fp32", "enumerated-ios17-fp32", "range-ios17-fp32", "functions-ios18-fp16"];
            for entry in index {
                let name = entry["package"].as_str().expect("a name");
                assert!([$($name),*].contains(&name) || own.contains(&name), "{name} is not run");
            }
        }
    };
}

families! {
    constexpr_attributes_ios16_fp16 "constexpr_attributes-ios16-fp16"
    constexpr_attributes_ios16_fp32 "constexpr_attributes-ios16-fp32"
    constexpr_attributes_ios17_fp16 "constexpr_attributes-ios17-fp16"
    constexpr_inputs_ios18_fp16 "constexpr_inputs-ios18-fp16"
    constexpr_inputs_ios18_fp32 "constexpr_inputs-ios18-fp32"
    consts_ios18_fp32 "consts-ios18-fp32"
    elementwise_ios15_fp32 "elementwise-ios15-fp32"
    elementwise_ios16_fp16 "elementwise-ios16-fp16"
    elementwise_ios17_fp16 "elementwise-ios17-fp16"
    elementwise_ios18_fp32 "elementwise-ios18-fp32"
    linear_ios15_fp32 "linear-ios15-fp32"
    linear_ios16_fp16 "linear-ios16-fp16"
    linear_ios17_fp16 "linear-ios17-fp16"
    linear_ios18_fp16 "linear-ios18-fp16"
    linear_ios18_fp32 "linear-ios18-fp32"
    normalise_ios15_fp32 "normalise-ios15-fp32"
    normalise_ios16_fp16 "normalise-ios16-fp16"
    normalise_ios17_fp16 "normalise-ios17-fp16"
    normalise_ios18_fp32 "normalise-ios18-fp32"
    shapes_ios15_fp32 "shapes-ios15-fp32"
    shapes_ios16_fp16 "shapes-ios16-fp16"
    shapes_ios17_fp16 "shapes-ios17-fp16"
    shapes_ios18_fp32 "shapes-ios18-fp32"
}

#[test]
fn a_classifier_gives_its_label_and_probabilities() {
    let (package, tensors, _) = open("classifier-ios16-fp32");
    let executable = compile(&package, "main", Arithmetic::AsWritten);
    let outputs = executable.run(&with_prefix(&tensors, "input.")).expect("runs");
    compare(
        "softmax",
        false,
        0.0,
        &outputs["label_probs"],
        &tensors["output.label_probs"],
    )
    .expect("equal");
    let Some(Labels::Strings(labels)) = executable.labels("label") else {
        panic!("no labels");
    };
    let index = tensors["output.label_index"].to_f32()[0] as usize;
    assert_eq!(outputs["label"].as_strings(), Some(&[labels[index].clone()][..]));
}

#[test]
fn flexible_inputs_are_planned_for_each_size() {
    for name in ["enumerated-ios17-fp32", "range-ios17-fp32"] {
        let (package, tensors, _) = open(name);
        let executable = compile(&package, "main", Arithmetic::F32);
        let mut compared = 0;
        for length in 1..200 {
            let inputs = with_prefix(&tensors, &format!("length{length}.input."));
            if inputs.is_empty() {
                continue;
            }
            let outputs = executable
                .run(&inputs)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            for (output, expected) in with_prefix(&tensors, &format!("length{length}.output.")) {
                // Both come after a dense layer.
                compare("linear", false, 0.0, &outputs[&output], &expected)
                    .unwrap_or_else(|fault| panic!("{name} {output}: {fault}"));
                compared += 1;
            }
        }
        assert!(compared >= 4, "{name}: {compared} compared");
    }
}

#[test]
fn each_function_of_several_runs() {
    let (package, tensors, _) = open("functions-ios18-fp16");
    for function in ["plain", "double"] {
        let executable = compile(&package, function, Arithmetic::AsWritten);
        let outputs = executable
            .run(&with_prefix(&tensors, &format!("{function}.input.")))
            .expect("runs");
        for (output, expected) in with_prefix(&tensors, &format!("{function}.output.")) {
            // Two fp16 roundings at most: a dense layer, then a product.
            let (actual, expected) = (outputs[&output].to_f32(), expected.to_f32());
            for (actual, expected) in actual.iter().zip(&expected) {
                let error = f64::from((actual - expected).abs());
                assert!(
                    error <= 3.0 * half_unit(f64::from(*expected)),
                    "{function} {output}: {actual} for {expected}"
                );
            }
        }
    }
}
