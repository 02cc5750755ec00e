//! The checker finds each kind of fault, all of them at once, and nothing in a program that is well-formed.

use std::collections::BTreeMap;

use corer_mil::{
    Binding, Data, DataType, Dim, Fault, FaultKind, Function, FunctionBuilder, Input, NamedType, Opset,
    Program, TensorType, Value, ValueType, check,
};

fn program(function: Function) -> Program {
    Program {
        functions: BTreeMap::from([("main".to_owned(), function)]),
        attributes: BTreeMap::new(),
    }
}

fn fp16(shape: &[u64]) -> TensorType {
    TensorType::new(DataType::Fp16, shape.iter().copied())
}

fn weight(shape: &[u64]) -> Value {
    let ty = fp16(shape);
    let length = usize::try_from(ty.byte_len().expect("known")).expect("small");
    Value::memory_weight(ty, vec![0; length])
}

/// `ids → gather → layer_norm → linear → softmax`, and a compressed weight.
fn small(opset: Opset) -> Program {
    let mut f = FunctionBuilder::new(opset);
    let ids = f.input("ids", TensorType::new(DataType::Int32, [1u64, 8]));
    let embedded = f
        .op(
            "gather",
            "embedded",
            vec![("x", weight(&[100, 16]).into()), ("indices", (&ids).into())],
        )
        .expect("gather");
    let normal = f
        .op(
            "layer_norm",
            "normal",
            vec![
                ("x", (&embedded).into()),
                ("axes", Value::i32s(&[-1]).into()),
                ("gamma", weight(&[16]).into()),
                ("beta", weight(&[16]).into()),
                ("epsilon", Value::float(DataType::Fp16, 1e-5).into()),
            ],
        )
        .expect("layer_norm");
    let palette = if opset >= Opset::CoreMl8 {
        let indices = TensorType::new(DataType::UInt2, [4u64, 16]);
        vec![
            ("indices", Input::Literal(Value::tensor(indices, vec![0x1b; 16]))),
            (
                "lut",
                Input::Literal(Value::floats(
                    DataType::Fp16,
                    &[1, 1, 4, 1],
                    &[0.0, 1.0, 2.0, 3.0],
                )),
            ),
        ]
    } else {
        let bytes = TensorType::new(DataType::UInt8, [16u64]);
        let shape = [4u32, 16].iter().flat_map(|size| size.to_le_bytes()).collect();
        vec![
            ("indices", Value::tensor(bytes, vec![0x1b; 16]).into()),
            (
                "lut",
                Value::floats(DataType::Fp16, &[4], &[0.0, 1.0, 2.0, 3.0]).into(),
            ),
            (
                "shape",
                Value::tensor(TensorType::new(DataType::UInt32, [2u64]), shape).into(),
            ),
        ]
    };
    let dense = f
        .op("constexpr_lut_to_dense", "dense", palette)
        .expect("constexpr");
    let scores = f
        .op(
            "linear",
            "scores",
            vec![("x", (&normal).into()), ("weight", (&dense).into())],
        )
        .expect("a decompressed weight counts as constant");
    let result = f
        .op(
            "softmax",
            "probabilities",
            vec![("x", (&scores).into()), ("axis", Value::i32(-1).into())],
        )
        .expect("softmax");
    program(f.finish(&[result]))
}

fn body(program: &mut Program) -> &mut Vec<corer_mil::Operation> {
    let function = program.functions.get_mut("main").expect("main");
    &mut function
        .blocks
        .get_mut(&function.opset)
        .expect("a body")
        .operations
}

fn operation<'a>(program: &'a mut Program, name: &str) -> &'a mut corer_mil::Operation {
    body(program)
        .iter_mut()
        .find(|operation| operation.name() == name)
        .expect("the operation")
}

fn kinds(faults: &[Fault]) -> Vec<FaultKind> {
    faults.iter().map(|fault| fault.kind).collect()
}

/// The only fault of a program, with its message.
fn only(program: &Program) -> (FaultKind, String) {
    let faults = check(program);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    (faults[0].kind, faults[0].to_string())
}

#[test]
fn what_the_builder_builds_checks() {
    for opset in [Opset::CoreMl6, Opset::CoreMl7, Opset::CoreMl8, Opset::CoreMl9] {
        let faults = check(&small(opset));
        assert!(faults.is_empty(), "{opset}: {faults:#?}");
    }
}

#[test]
fn faults_say_where_they_are() {
    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "probabilities").outputs[0].ty = fp16(&[1, 8, 5]).into();
    let (kind, message) = only(&program);
    assert_eq!(kind, FaultKind::Result);
    assert_eq!(
        message,
        "function `main`, operation 10 `probabilities` (softmax), `probabilities`, result: is declared \
         tensor<fp16, [1, 8, 5]>, but is tensor<fp16, [1, 8, 4]>"
    );
}

#[test]
fn all_faults_come_at_once() {
    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "probabilities").op = "sofmax".into();
    operation(&mut program, "normal").outputs[0].name = "1st".into();
    operation(&mut program, "embedded").inputs.remove("indices");
    let faults = check(&program);
    assert_eq!(
        kinds(&faults),
        [
            FaultKind::Parameter,
            FaultKind::Identifier,
            FaultKind::Undefined,
            FaultKind::UnknownOperation
        ],
        "{faults:#?}"
    );
    assert!(
        faults[3].message.contains("did you mean `softmax`"),
        "{}",
        faults[3]
    );
}

#[test]
fn names_are_checked() {
    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "embedded").outputs[0].name = "ids".into();
    let found = kinds(&check(&program));
    assert!(
        found.contains(&FaultKind::Duplicate) && found.contains(&FaultKind::Undefined),
        "{found:?}"
    );

    for illegal in ["fp16", "a-b", "", "9", "tensor", "bool"] {
        let mut program = small(Opset::CoreMl8);
        program
            .functions
            .get_mut("main")
            .expect("main")
            .inputs
            .push(NamedType::new(illegal, fp16(&[1])));
        assert_eq!(only(&program).0, FaultKind::Identifier, "{illegal:?}");
    }

    let mut program = small(Opset::CoreMl8);
    body(&mut program).swap(0, 1);
    assert_eq!(only(&program).0, FaultKind::Undefined);

    let mut program = small(Opset::CoreMl8);
    let function = program.functions.get_mut("main").expect("main");
    function
        .blocks
        .get_mut(&Opset::CoreMl8)
        .expect("a body")
        .outputs
        .push("nothing".into());
    assert_eq!(only(&program).0, FaultKind::Undefined);
}

#[test]
fn functions_are_checked() {
    assert_eq!(only(&Program::default()).0, FaultKind::Function);

    let mut program = small(Opset::CoreMl8);
    let function = program.functions.remove("main").expect("main");
    program.functions.insert(String::new(), function);
    assert_eq!(only(&program).0, FaultKind::Function);

    let mut program = small(Opset::CoreMl7);
    program.functions.get_mut("main").expect("main").opset = Opset::CoreMl8;
    assert_eq!(only(&program).0, FaultKind::Function);
}

#[test]
fn opsets_are_checked() {
    // The iOS 18 form of a constexpr in an iOS 17 block, and an operation that came later.
    let mut program = small(Opset::CoreMl8);
    let function = program.functions.get_mut("main").expect("main");
    let body = function.blocks.remove(&Opset::CoreMl8).expect("a body");
    function.blocks.insert(Opset::CoreMl7, body);
    function.opset = Opset::CoreMl7;
    let found = kinds(&check(&program));
    assert_eq!(found[0], FaultKind::Parameter, "{found:?}");

    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "probabilities").op = "scaled_dot_product_attention".into();
    let function = program.functions.get_mut("main").expect("main");
    let body = function.blocks.remove(&Opset::CoreMl8).expect("a body");
    function.blocks.insert(Opset::CoreMl6, body);
    function.opset = Opset::CoreMl6;
    let faults = check(&program);
    let late = faults
        .iter()
        .find(|fault| fault.kind == FaultKind::Opset)
        .expect("an opset fault");
    assert!(late.message.contains("CoreML8 (ios18 or newer)"), "{late}");

    let mut program = small(Opset::CoreMl6);
    let literal = Binding::Value(Value::bool(false));
    operation(&mut program, "embedded")
        .inputs
        .insert("validate_indices".into(), vec![literal]);
    let (kind, message) = only(&program);
    assert_eq!(kind, FaultKind::Opset);
    assert!(message.contains("CoreML7"), "{message}");
}

#[test]
fn arguments_are_checked() {
    let computed = |name: &str| vec![Binding::Name(name.into())];

    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "scores")
        .inputs
        .insert("weight".into(), computed("normal"));
    assert!(kinds(&check(&program)).contains(&FaultKind::Constant));

    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "normal")
        .inputs
        .insert("x".into(), computed("ids"));
    assert!(kinds(&check(&program)).contains(&FaultKind::Type));

    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "normal")
        .inputs
        .insert("gama".into(), computed("normal_gamma"));
    assert_eq!(only(&program).0, FaultKind::Parameter);

    let mut program = small(Opset::CoreMl8);
    let twice = vec![Binding::Name("ids".into()), Binding::Name("ids".into())];
    operation(&mut program, "embedded")
        .inputs
        .insert("indices".into(), twice);
    assert_eq!(only(&program).0, FaultKind::Parameter);

    // What is computed from a decompressed weight is no constant any more; what is computed from constants is.
    for (source, constant) in [("dense", false), ("plain", true)] {
        let mut f = FunctionBuilder::new(Opset::CoreMl8);
        let x = f.input("x", fp16(&[1, 4]));
        let weight = match source {
            "plain" => f.constant(source, weight(&[4, 6])),
            _ => {
                let data = Input::Literal(Value::tensor(
                    TensorType::new(DataType::Int8, [4u64, 6]),
                    vec![1; 24],
                ));
                let scale = Input::Literal(Value::floats(DataType::Fp16, &[1, 1], &[0.5]));
                f.op(
                    "constexpr_blockwise_shift_scale",
                    source,
                    vec![("data", data), ("scale", scale)],
                )
                .expect(source)
            }
        };
        let perm = Value::i32s(&[1, 0]).into();
        let turned = f
            .op(
                "transpose",
                "turned",
                vec![("x", (&weight).into()), ("perm", perm)],
            )
            .expect("transpose");
        let y = f.op(
            "linear",
            "y",
            vec![("x", (&x).into()), ("weight", (&turned).into())],
        );
        assert_eq!(y.is_ok(), constant, "{source}");
    }

    // An axis outside the rank, which Apple's reader lets through.
    let mut program = small(Opset::CoreMl8);
    let axis = vec![Binding::Value(Value::i32(3))];
    operation(&mut program, "probabilities")
        .inputs
        .insert("axis".into(), axis);
    let (kind, message) = only(&program);
    assert_eq!(kind, FaultKind::Shape);
    assert!(message.contains("axis 3 is outside rank 3"), "{message}");
}

#[test]
fn a_select_declared_as_coremltools_does_passes() {
    let mut f = FunctionBuilder::new(Opset::CoreMl6);
    let cond = f.input("cond", TensorType::new(DataType::Bool, [2u64, 9]));
    let scalar = |value| Input::Const(Value::float(DataType::Fp16, value));
    let y = f.op(
        "select",
        "y",
        vec![("cond", (&cond).into()), ("a", scalar(1.0)), ("b", scalar(0.0))],
    );
    let y = y.expect("select");
    assert_eq!(y.ty, fp16(&[2, 9]).into());
    let mut program = program(f.finish(&[y]));
    assert!(check(&program).is_empty());
    // It leaves the condition out of the shape; anything else is wrong.
    operation(&mut program, "y").outputs[0].ty = fp16(&[]).into();
    assert!(check(&program).is_empty());
    operation(&mut program, "y").outputs[0].ty = fp16(&[9]).into();
    assert_eq!(only(&program).0, FaultKind::Result);
}

#[test]
fn constants_are_checked() {
    // Declared otherwise than the value's own type.
    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "normal_gamma").outputs[0].ty = fp16(&[4, 4]).into();
    let found = kinds(&check(&program));
    assert_eq!(found[0], FaultKind::Result, "{found:?}");

    // Data that does not fill its type: inline and as a weight.
    for value in [
        Value::tensor(fp16(&[16]), vec![0; 31]),
        Value::memory_weight(fp16(&[16]), vec![0; 33]),
    ] {
        let mut program = small(Opset::CoreMl8);
        operation(&mut program, "normal_gamma")
            .attributes
            .insert("val".into(), value);
        let (kind, message) = only(&program);
        assert_eq!(kind, FaultKind::Value, "{message}");
        assert!(message.contains("takes 32 bytes"), "{message}");
    }

    // A decompressed weight declared otherwise.
    let mut program = small(Opset::CoreMl8);
    operation(&mut program, "dense").outputs[0].ty = fp16(&[16, 4]).into();
    assert!(kinds(&check(&program)).contains(&FaultKind::Result));
}

#[test]
fn sparse_masks_are_counted() {
    let sparse = |values: u64, mask: u8| {
        let mut f = FunctionBuilder::new(Opset::CoreMl8);
        let mask = Value::tensor(TensorType::new(DataType::UInt1, [8u64]), vec![mask]);
        f.op(
            "constexpr_sparse_to_dense",
            "dense",
            vec![
                ("nonzero_data", Input::Literal(weight(&[values]))),
                ("mask", Input::Literal(mask)),
            ],
        )
        .map(|_| ())
        .map_err(|error| error.reason)
    };
    assert_eq!(sparse(3, 0b1010_0100), Ok(()));
    assert_eq!(
        sparse(4, 0b1010_0100),
        Err("`mask` has 3 bits set, `nonzero_data` holds 4 values".into())
    );
}

#[test]
fn nested_blocks_see_outwards_and_keep_to_themselves() {
    let scalar: ValueType = TensorType::scalar(DataType::Bool).into();
    let mut f = FunctionBuilder::new(Opset::CoreMl7);
    let x = f.input("x", fp16(&[4]));
    let flag = f.input("flag", TensorType::scalar(DataType::Bool));
    let y = f.op("relu", "y", vec![("x", (&x).into())]).expect("relu");
    let mut program = program(f.finish(&[y]));
    let branch = |name: &str| {
        let mut inner = FunctionBuilder::new(Opset::CoreMl7);
        let x = inner.input("x", fp16(&[4]));
        let result = inner.op("relu", name, vec![("x", (&x).into())]).expect("relu");
        inner
            .finish(&[result])
            .blocks
            .remove(&Opset::CoreMl7)
            .expect("a body")
    };
    let mut cond = operation(&mut program, "y").clone();
    cond.op = "cond".into();
    cond.inputs = BTreeMap::from([("pred".to_owned(), vec![Binding::Name(flag.name)])]);
    cond.outputs = vec![NamedType::new("z", fp16(&[4]))];
    cond.attributes = BTreeMap::from([("name".to_owned(), Value::string("z"))]);
    cond.blocks = vec![branch("inner"), branch("inner")];
    body(&mut program).push(cond);
    assert!(check(&program).is_empty(), "{:#?}", check(&program));

    // The name of an inner value means nothing outside, and an outer one is taken inside.
    operation(&mut program, "z").blocks[1] = branch("y");
    let mut after = operation(&mut program, "y").clone();
    after
        .inputs
        .insert("x".into(), vec![Binding::Name("inner".into())]);
    after.outputs[0].name = "w".into();
    after.attributes.insert("name".into(), Value::string("w"));
    body(&mut program).push(after);
    assert_eq!(
        kinds(&check(&program)),
        [FaultKind::Duplicate, FaultKind::Undefined]
    );

    let mut program = small(Opset::CoreMl8);
    let nested = branch("inner");
    operation(&mut program, "probabilities").blocks.push(nested);
    assert!(kinds(&check(&program)).contains(&FaultKind::Nesting));
    assert_eq!(scalar.to_string(), "tensor<bool, []>");
}

#[test]
fn foreign_operations_are_checked_by_name_only() {
    let mut program = small(Opset::CoreMl8);
    let last = operation(&mut program, "probabilities");
    last.op = "scatter_nd".into();
    last.outputs[0].ty = fp16(&[7]).into();
    last.inputs = ["data", "indices", "updates"]
        .into_iter()
        .map(|name| (name.to_owned(), vec![Binding::Name("scores".into())]))
        .collect();
    assert!(check(&program).is_empty());
    let last = operation(&mut program, "probabilities");
    last.inputs.remove("updates");
    last.inputs
        .insert("update".into(), vec![Binding::Name("scores".into())]);
    assert_eq!(
        kinds(&check(&program)),
        [FaultKind::Parameter, FaultKind::Parameter]
    );
}

#[test]
fn hostile_programs_are_survived() {
    // Sizes whose product overflows, a rank out of this world, types nested without end, faults without end.
    let mut f = FunctionBuilder::new(Opset::CoreMl8);
    let x = f.input("x", fp16(&[u64::MAX, u64::MAX, 2]));
    let error = f.op(
        "reshape",
        "y",
        vec![("x", (&x).into()), ("shape", Value::i32s(&[-1]).into())],
    );
    assert!(error.expect_err("too large").reason.contains("too large"));

    let mut program = small(Opset::CoreMl8);
    let mut deep: ValueType = fp16(&[1]).into();
    for _ in 0..5000 {
        deep = ValueType::List(Box::new(deep), Dim::Known(1));
    }
    let main = program.functions.get_mut("main").expect("main");
    main.inputs.push(NamedType::new("deep", deep));
    main.inputs.push(NamedType::new("wide", fp16(&vec![1; 100_000])));
    assert_eq!(kinds(&check(&program)), [FaultKind::Rank, FaultKind::Rank]);

    let mut program = small(Opset::CoreMl8);
    let mut bad = operation(&mut program, "probabilities").clone();
    bad.op = "no_such_thing".into();
    for index in 0..5000 {
        bad.outputs[0].name = format!("bad_{index}");
        body(&mut program).push(bad.clone());
    }
    let faults = check(&program);
    assert_eq!(faults.len(), corer_mil::check::MAX_FAULTS);
    assert_eq!(faults.last().map(|fault| fault.kind), Some(FaultKind::TooMany));

    let mut program = small(Opset::CoreMl8);
    for _ in 0..100 {
        let block = program.functions["main"].body().expect("a body").clone();
        let last = operation(&mut program, "probabilities");
        last.blocks = vec![block];
    }
    assert!(!check(&program).is_empty());

    let mut program = small(Opset::CoreMl8);
    let list = ValueType::List(Box::new(fp16(&[1]).into()), Dim::Known(1));
    program.attributes.insert(
        "odd".into(),
        Value {
            ty: list,
            data: Data::Tuple(Vec::new()),
        },
    );
    assert_eq!(only(&program).0, FaultKind::Value);
}
