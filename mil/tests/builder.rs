//! The builder: names, constants, symbols, and the calls it refuses.

use corer_mil::builder::{identifier, is_identifier};
use corer_mil::{
    Binding, DataType, Dim, FunctionBuilder, Input, Operation, Opset, Program, TensorType, Value, check,
};
use proptest::prelude::*;

fn fp16(shape: &[u64]) -> TensorType {
    TensorType::new(DataType::Fp16, shape.iter().copied())
}

fn refusal(
    opset: Opset,
    op: &str,
    inputs: impl FnOnce(&mut FunctionBuilder) -> Vec<(&'static str, Input)>,
) -> String {
    let mut f = FunctionBuilder::new(opset);
    let inputs = inputs(&mut f);
    f.op(op, "y", inputs).expect_err("refused").to_string()
}

fn operations(f: FunctionBuilder, outputs: &[corer_mil::Var]) -> Vec<Operation> {
    let function = f.finish(outputs);
    let program = Program {
        functions: [("main".to_owned(), function)].into(),
        attributes: Default::default(),
    };
    let faults = check(&program);
    assert!(faults.is_empty(), "{faults:#?}");
    program.functions["main"]
        .body()
        .expect("a body")
        .operations
        .clone()
}

#[test]
fn constants_become_operations_named_after_their_parameter() {
    let mut f = FunctionBuilder::new(Opset::CoreMl7);
    let x = f.input("x", fp16(&[2, 3]));
    let y = f
        .op(
            "softmax",
            "y",
            vec![("x", (&x).into()), ("axis", Value::i32(1).into())],
        )
        .expect("softmax");
    let operations = operations(f, &[y]);
    let names: Vec<_> = operations
        .iter()
        .map(|operation| (operation.op.as_str(), operation.name()))
        .collect();
    assert_eq!(names, [("const", "y_axis"), ("softmax", "y")]);
    assert!(matches!(&operations[1].inputs["axis"][..], [Binding::Name(name)] if name == "y_axis"));
}

#[test]
fn operations_share_the_inline_constants_they_bring() {
    let mut f = FunctionBuilder::new(Opset::CoreMl7);
    let mut x = f.input("x", fp16(&[2, 3]));
    for (name, axis) in [("a", 1), ("b", 0), ("c", 1)] {
        let inputs = vec![("x", (&x).into()), ("axis", Value::i32(axis).into())];
        x = f.op("softmax", name, inputs).expect("softmax");
    }
    // Equal bytes of another type are another constant, and so are weights, which are their source's to share.
    let scalar = |value| Value::float(DataType::Fp16, value);
    let scaled = vec![("x", (&x).into()), ("y", scalar(2.0).into())];
    let y = f.op("mul", "scaled", scaled).expect("mul");
    let y = f.rename(&y, "a_axis").expect("the constant makes room");
    let inputs = vec![("x", (&y).into()), ("axis", Value::i32(1).into())];
    let last = f.op("softmax", "last", inputs).expect("softmax");
    let operations = operations(f, &[last]);
    let constants: Vec<&str> = operations
        .iter()
        .filter(|operation| operation.op == "const")
        .map(|operation| operation.name())
        .collect();
    assert_eq!(constants, ["a_axis_1", "b_axis", "scaled_y"]);
    for (name, axis) in [
        ("a", "a_axis_1"),
        ("b", "b_axis"),
        ("c", "a_axis_1"),
        ("last", "a_axis_1"),
    ] {
        let operation = operations
            .iter()
            .find(|operation| operation.name() == name)
            .expect("an operation");
        assert!(
            matches!(&operation.inputs["axis"][..], [Binding::Name(bound)] if bound == axis),
            "{name}: {:?}",
            operation.inputs["axis"]
        );
    }
}

#[test]
fn literals_stay_literals_and_attributes_attributes() {
    let data = || Value::tensor(TensorType::new(DataType::Int8, [4u64, 2]), vec![1; 8]);
    let mut f = FunctionBuilder::new(Opset::CoreMl8);
    let w = f
        .op(
            "constexpr_blockwise_shift_scale",
            "w",
            vec![
                ("data", Input::Literal(data())),
                (
                    "scale",
                    Input::Literal(Value::floats(DataType::Fp16, &[4, 1], &[0.5; 4])),
                ),
            ],
        )
        .expect("constexpr");
    assert_eq!(w.ty, fp16(&[4, 2]).into());
    assert!(matches!(
        &operations(f, &[w])[0].inputs["data"][..],
        [Binding::Value(_)]
    ));

    let mut f = FunctionBuilder::new(Opset::CoreMl6);
    let w = f
        .op(
            "constexpr_affine_dequantize",
            "w",
            vec![
                ("quantized_data", data().into()),
                (
                    "zero_point",
                    Value::tensor(TensorType::scalar(DataType::Int8), vec![0]).into(),
                ),
                ("scale", Value::float(DataType::Fp16, 0.5).into()),
                ("axis", Value::i32(0).into()),
            ],
        )
        .expect("constexpr");
    let operations = operations(f, &[w]);
    assert_eq!(operations.len(), 1);
    assert!(operations[0].inputs.is_empty() && operations[0].attributes.contains_key("quantized_data"));
}

#[test]
fn names_are_made_legal_and_fresh() {
    let mut f = FunctionBuilder::new(Opset::CoreMl7);
    let x = f.input("encoder.layer.0/out", fp16(&[2]));
    assert_eq!(x.name, "encoder_layer_0_out");
    let relu = |f: &mut FunctionBuilder, name: &str| {
        f.op("relu", name, vec![("x", (&x).into())]).expect("relu").name
    };
    assert_eq!(relu(&mut f, "y"), "y");
    assert_eq!(relu(&mut f, "y"), "y_1");
    assert_eq!(relu(&mut f, "encoder_layer_0_out"), "encoder_layer_0_out_1");
    assert_eq!(relu(&mut f, "bool"), "bool_");
    assert_eq!(relu(&mut f, "0"), "_0");
    assert_eq!(relu(&mut f, ""), "_");
}

#[test]
fn several_results_are_numbered() {
    let mut f = FunctionBuilder::new(Opset::CoreMl7);
    let x = f.input("x", fp16(&[2, 6]));
    let split = |f: &mut FunctionBuilder, count: i32| {
        f.ops(
            "split",
            "part",
            vec![
                ("x", (&x).into()),
                ("num_splits", Value::i32(count).into()),
                ("axis", Value::i32(1).into()),
            ],
        )
    };
    let parts = split(&mut f, 3).expect("split");
    assert_eq!(
        parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>(),
        ["part", "part_1", "part_2"]
    );
    assert!(parts.iter().all(|part| part.ty == fp16(&[2, 2]).into()));
    assert!(split(&mut f, 4).is_err());
    let joined = f.op(
        "concat",
        "joined",
        vec![("values", Input::Vars(parts)), ("axis", Value::i32(1).into())],
    );
    assert_eq!(joined.expect("concat").ty, fp16(&[2, 6]).into());
}

#[test]
fn unknown_sizes_get_symbols_of_their_own() {
    let mut f = FunctionBuilder::new(Opset::CoreMl7);
    let shape = [Dim::Symbol(3), Dim::Known(8)];
    let x = f.input(
        "x",
        TensorType {
            dtype: DataType::Fp16,
            shape: shape.to_vec(),
        },
    );
    // Copied by a 0, the symbol stays and leaves the rest known; flattened, it becomes another.
    let kept = f.op(
        "reshape",
        "kept",
        vec![("x", (&x).into()), ("shape", Value::i32s(&[0, -1]).into())],
    );
    assert_eq!(kept.expect("reshape").tensor().shape, shape);
    let flat = || vec![("x", (&x).into()), ("shape", Value::i32s(&[-1]).into())];
    let first = f.op("reshape", "first", flat()).expect("reshape");
    let second = f.op("reshape", "second", flat()).expect("reshape");
    assert_eq!(
        (&first.tensor().shape[..], &second.tensor().shape[..]),
        (&[Dim::Symbol(4)][..], &[Dim::Symbol(5)][..])
    );
    // The same symbol adds to itself; two of unknown relation give a third.
    let same = f
        .op("add", "same", vec![("x", (&x).into()), ("y", (&x).into())])
        .expect("add");
    assert_eq!(same.tensor().shape, shape);
    let other = f
        .op(
            "add",
            "other",
            vec![("x", (&first).into()), ("y", (&second).into())],
        )
        .expect("add");
    assert_eq!(other.tensor().shape, [Dim::Symbol(6)]);
}

#[test]
fn refusals_say_what_would_be_right() {
    let one = |f: &mut FunctionBuilder| vec![("x", Input::from(&f.input("x", fp16(&[2]))))];
    assert_eq!(
        refusal(Opset::CoreMl7, "nothing", one),
        "operation `y` (nothing): is not in the op table"
    );
    assert_eq!(
        refusal(Opset::CoreMl7, "scaled_dot_product_attention", one),
        "operation `y` (scaled_dot_product_attention): needs opset CoreML8 (ios18 or newer), this function is CoreML7"
    );
    assert_eq!(
        refusal(Opset::CoreMl6, "gather", |f| vec![
            ("x", (&f.input("x", fp16(&[2]))).into()),
            ("indices", Value::i32(0).into()),
            ("validate_indices", Value::bool(true).into()),
        ]),
        "operation `y` (gather): parameter `validate_indices` needs opset CoreML7 (ios17 or newer)"
    );
    assert_eq!(
        refusal(Opset::CoreMl7, "softmax", |f| {
            let axis = f.input("axis", TensorType::scalar(DataType::Int32));
            vec![
                ("x", (&axis).into()),
                ("axis", (&axis).into()),
                ("z", Value::i32(0).into()),
            ]
        }),
        "operation `y` (softmax): has no parameter `z`; `x` must be fp16 or fp32, is tensor<int32, []>; `axis` \
         must be a constant"
    );
    let twice = |f: &mut FunctionBuilder| [one(f), one(f)].concat();
    assert_eq!(
        refusal(Opset::CoreMl7, "relu", twice),
        "operation `y` (relu): `x` is bound twice"
    );
    assert_eq!(
        refusal(Opset::CoreMl7, "relu", |_| Vec::new()),
        "operation `y` (relu): `x` is missing"
    );
}

#[test]
fn parameters_left_out_leave_their_group_without_an_anchor() {
    // From iOS 17 on gamma, beta and epsilon share a type of their own, whichever of them are given.
    let layer_norm = |gamma: Option<DataType>, epsilon: DataType| {
        let mut f = FunctionBuilder::new(Opset::CoreMl7);
        let x = f.input("x", fp16(&[2, 4]));
        let mut inputs: Vec<(&str, Input)> = vec![("x", (&x).into()), ("axes", Value::i32s(&[1]).into())];
        if let Some(dtype) = gamma {
            inputs.push(("beta", Value::floats(dtype, &[4], &[0.0; 4]).into()));
        }
        inputs.push(("epsilon", Value::float(epsilon, 1e-5).into()));
        f.op("layer_norm", "y", inputs)
            .map(|_| ())
            .map_err(|error| error.reason)
    };
    assert_eq!(layer_norm(None, DataType::Fp32), Ok(()));
    assert_eq!(layer_norm(Some(DataType::Fp32), DataType::Fp32), Ok(()));
    assert_eq!(
        layer_norm(Some(DataType::Fp32), DataType::Fp16),
        Err("`epsilon` must be fp32 like `beta`, is fp16".into())
    );
}

#[test]
fn values_get_the_names_users_know() {
    let mut f = FunctionBuilder::new(Opset::CoreMl7);
    let x = f.input("x", fp16(&[2]));
    let y = f.op("relu", "logits", vec![("x", (&x).into())]).expect("relu");
    let z = f.op("tanh", "z", vec![("x", (&y).into())]).expect("tanh");
    let z = f.rename(&z, "logits").expect("the name is taken over");
    assert!(f.rename(&x, "other").is_err(), "an input keeps its name");
    let operations = operations(f, std::slice::from_ref(&z));
    assert_eq!(
        operations.iter().map(Operation::name).collect::<Vec<_>>(),
        ["logits_1", "logits"]
    );
}

proptest! {
    #[test]
    fn any_name_becomes_an_identifier(name in ".{0,20}") {
        let legal = identifier(&name);
        prop_assert!(is_identifier(&legal), "{legal}");
        if is_identifier(&name) {
            prop_assert_eq!(legal, name);
        }
    }
}
