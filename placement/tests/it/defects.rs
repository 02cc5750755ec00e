//! Defects planted one by one: each must be named by its rule, and the same function without it must be clean.

use corer_mil::{DataType, Dim, Input, TensorType, Value, Var};
use corer_placement::{FunctionExplanation, Unit};
use corer_proto::Model;

use crate::model::{Builder, function, half, promise, scalar};

/// A convolution large enough for the Neural Engine, its result changed by `after`.
fn chain(after: impl FnOnce(&mut Builder, Var) -> Var) -> Model {
    let mut b = Builder::new();
    let x = b.input("x", DataType::Fp16, &[1, 1024, 1, 512]);
    let x = b.dense("dense", &x, 1024);
    let x = after(&mut b, x);
    b.finish(&[&x])
}

fn cast(b: &mut Builder, name: &str, x: &Var, dtype: &str) -> Var {
    b.op(
        "cast",
        name,
        vec![("x", x.into()), ("dtype", Value::string(dtype).into())],
    )
}

/// Rules that keep an operation off.
fn refused<'a>(found: &'a FunctionExplanation, name: &str) -> Vec<&'a str> {
    let operation = found.operations.iter().find(|operation| operation.name == name);
    let operation = operation.expect("an operation of that name");
    operation.reasons.iter().map(|reason| reason.rule.id()).collect()
}

/// Rules of findings about an operation, each with a way out.
fn findings<'a>(found: &'a FunctionExplanation, name: &str) -> Vec<&'a str> {
    let about = found
        .findings
        .iter()
        .filter(|finding| finding.operations.iter().any(|other| other == name));
    about
        .inspect(|finding| assert!(!finding.fix.is_empty(), "{} has a fix", finding.rule.id()))
        .map(|finding| finding.rule.id())
        .collect()
}

#[test]
fn nothing_is_wrong_with_the_chain() {
    let found = function(&chain(|_, x| x), "m4");
    assert_eq!(found.findings, []);
    assert_eq!(found.operations[0].unit, Unit::Ane);
}

/// An fp32 constant pulls its operation, and two casts, out of fp16.
#[test]
fn an_fp32_constant() {
    let found = function(
        &chain(|b, x| {
            let wide = cast(b, "widened", &x, "fp32");
            let scaled = b.op(
                "mul",
                "scaled",
                vec![
                    ("x", (&wide).into()),
                    ("y", Value::float(DataType::Fp32, 0.125).into()),
                ],
            );
            cast(b, "narrowed", &scaled, "fp16")
        }),
        "m4",
    );
    assert_eq!(refused(&found, "scaled"), ["D1", "D2"]);
    assert!(findings(&found, "scaled").contains(&"D2"));
    assert_eq!(
        refused(&found, "widened"),
        [""; 0],
        "a cast from fp16 to fp32 by itself runs"
    );
    let half = function(
        &chain(|b, x| {
            b.op(
                "mul",
                "scaled",
                vec![("x", (&x).into()), ("y", scalar(0.125).into())],
            )
        }),
        "m4",
    );
    assert_eq!(refused(&half, "scaled"), [""; 0]);
}

/// The same written into an fp16 operation, which no converter does but a package can hold.
#[test]
fn an_fp32_epsilon() {
    let mut model = chain(|b, x| b.norm("norm", &x));
    let main = model.program.functions.get_mut("main").expect("a function");
    let body = main.blocks.get_mut(&main.opset).expect("a body");
    for operation in &mut body.operations {
        if operation.name() == "norm_epsilon" {
            let value = Value::float(DataType::Fp32, 1e-7);
            operation.outputs[0].ty = value.ty.clone();
            operation.attributes.insert("val".into(), value);
        }
    }
    let found = function(&model, "m4");
    assert_eq!(refused(&found, "norm"), ["D2"]);
}

/// A range of sizes.
#[test]
fn an_open_dimension() {
    let mut b = Builder::new();
    let x = b.open(
        "x",
        DataType::Fp16,
        vec![Dim::Known(1), Dim::Known(1024), Dim::Known(1), Dim::Symbol(0)],
    );
    let x = b.dense("dense", &x, 1024);
    let found = function(&b.finish(&[&x]), "m4");
    assert_eq!(refused(&found, "dense"), ["S9"]);
    assert_eq!(findings(&found, "dense"), ["S9"]);
    assert_eq!((found.decision.unit, found.decision.margin_ms), (Unit::Cpu, None));
}

#[test]
fn an_axis_of_seventy_thousand() {
    let of = |length: u64, chip: &str| {
        let mut b = Builder::new();
        let x = b.input("x", DataType::Fp16, &[1, 8, 1, length]);
        let x = b.op("relu", "relu", vec![("x", (&x).into())]);
        function(&b.finish(&[&x]), chip)
    };
    let found = of(70_000, "m4");
    assert_eq!(refused(&found, "relu"), ["S2"]);
    assert_eq!(findings(&found, "relu"), ["S2"]);
    assert_eq!(refused(&of(65_536, "m4"), "relu"), [""; 0]);
    assert_eq!(refused(&of(65_536, "m1"), "relu"), ["S2"], "M1 takes 16384");
}

/// Weights of four bits with a scale for each block of 32 input channels.
fn int4(blocks: u64) -> Model {
    let mut b = Builder::new();
    let x = b.input("x", DataType::Fp16, &[1, 1024, 1, 512]);
    let data = promise(TensorType::new(DataType::Int4, [1024, 1024, 1, 1]));
    let scale = promise(half(&[1024, blocks, 1, 1]));
    let weight = b.op(
        "constexpr_blockwise_shift_scale",
        "weight",
        vec![("data", Input::Literal(data)), ("scale", Input::Literal(scale))],
    );
    let inputs = vec![
        ("x", (&x).into()),
        ("weight", (&weight).into()),
        ("strides", Value::i32s(&[1, 1]).into()),
        ("pad_type", Value::string("valid").into()),
        ("pad", Value::i32s(&[0, 0, 0, 0]).into()),
        ("dilations", Value::i32s(&[1, 1]).into()),
        ("groups", Value::i32(1).into()),
    ];
    let x = b.op("conv", "dense", inputs);
    b.finish(&[&x])
}

#[test]
fn a_convolution_with_scales_for_blocks() {
    let found = function(&int4(32), "m4");
    assert_eq!(refused(&found, "dense"), ["W6"]);
    assert_eq!(findings(&found, "dense"), ["W6"]);
    let per_channel = function(&int4(1), "m4");
    assert_eq!(refused(&per_channel, "dense"), [""; 0]);
    // Codes of half a byte and a scale for each channel.
    assert_eq!(per_channel.work.weight_bytes, 1024 * 1024 / 2 + 1024 * 2);
    assert_eq!(per_channel.work.folded_weight_bytes, 1024 * 1024 * 2);
}

#[test]
fn a_mask_of_infinity() {
    let masked = |value: f32| {
        chain(|b, x| {
            b.op(
                "add",
                "masked",
                vec![("x", (&x).into()), ("y", scalar(value).into())],
            )
        })
    };
    let found = function(&masked(f32::NEG_INFINITY), "m4");
    assert_eq!(findings(&found, "masked"), ["N6"]);
    assert!(
        found.findings[0].text.contains("−∞"),
        "{}",
        found.findings[0].text
    );
    assert_eq!(findings(&function(&masked(-40_000.0), "m4"), "masked"), ["N6"]);
    assert_eq!(findings(&function(&masked(-10_000.0), "m4"), "masked"), [""; 0]);
}

#[test]
fn a_last_axis_of_one() {
    let found = function(
        &chain(|b, x| {
            b.op(
                "transpose",
                "turned",
                vec![("x", (&x).into()), ("perm", Value::i32s(&[0, 1, 3, 2]).into())],
            )
        }),
        "m4",
    );
    assert_eq!(findings(&found, "turned"), ["S5"]);
    assert!(
        found.findings[0].text.contains("32 times"),
        "{}",
        found.findings[0].text
    );
}

#[test]
fn an_epsilon_that_fp16_has_not() {
    let of = |epsilon: f32| {
        let model = chain(|b, x| {
            let inputs = vec![
                ("x", (&x).into()),
                ("axes", Value::i32s(&[1]).into()),
                ("epsilon", scalar(epsilon).into()),
            ];
            b.op("layer_norm", "norm", inputs)
        });
        function(&model, "m4")
    };
    assert_eq!(findings(&of(1e-12), "norm"), ["N7"]);
    assert_eq!(findings(&of(1e-7), "norm"), [""; 0]);
}

#[test]
fn integers_and_places_computed_at_prediction() {
    let mut b = Builder::new();
    let ids = b.input("ids", DataType::Int32, &[1, 64]);
    let sum = b.op(
        "add",
        "sum",
        vec![("x", (&ids).into()), ("y", Value::i32(2).into())],
    );
    let found = function(&b.finish(&[&sum]), "m4");
    assert_eq!(refused(&found, "sum"), ["D3"]);
}
