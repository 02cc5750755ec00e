//! The text form: what is printed parses back to the same program, and what is no program is refused in words.

use std::collections::BTreeMap;
use std::sync::Arc;

use corer_mil::text::{ParseError, parse, print, print_listing};
use corer_mil::{
    Binding, Block, Data, DataType, Dim, Function, Immediate, MemoryWeight, NamedType, Operation, Opset,
    Program, TensorType, Value, ValueType, WeightSource, difference,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Names as packages have them, and as they should not.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_][a-z0-9_@]{0,6}",
        1 => prop::sample::select(vec!["tensor", "int4", "fp16", "block", "also", "weight", "hex", "func", "nan", ""])
            .prop_map(str::to_owned),
        1 => ".{0,4}",
    ]
}

fn dtypes() -> impl Strategy<Value = DataType> {
    prop::sample::select(DataType::ALL.to_vec())
}

fn dims() -> impl Strategy<Value = Dim> {
    prop_oneof![
        6 => (0u64..4).prop_map(Dim::Known),
        1 => any::<u64>().prop_map(Dim::Known),
        1 => any::<u32>().prop_map(Dim::Symbol),
    ]
}

fn tensors() -> impl Strategy<Value = TensorType> {
    (dtypes(), vec(dims(), 0..4)).prop_map(|(dtype, shape)| TensorType { dtype, shape })
}

fn types() -> impl Strategy<Value = ValueType> {
    tensors()
        .prop_map(ValueType::Tensor)
        .prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                (inner.clone(), dims())
                    .prop_map(|(element, length)| ValueType::List(Box::new(element), length)),
                vec(inner.clone(), 0..3).prop_map(ValueType::Tuple),
                (inner.clone(), inner.clone())
                    .prop_map(|(key, value)| ValueType::Dictionary(Box::new(key), Box::new(value))),
                inner.prop_map(|inner| ValueType::State(Box::new(inner))),
            ]
        })
}

/// A tensor whose data fills its type, of any element type and with any bits.
fn filled() -> impl Strategy<Value = Value> {
    (dtypes(), vec(0u64..4, 0..4)).prop_flat_map(|(dtype, shape)| {
        let ty = TensorType::new(dtype, shape);
        let count = usize::try_from(ty.element_count().expect("known")).expect("small");
        let length = usize::try_from(ty.byte_len().expect("known")).expect("small");
        let data = if dtype == DataType::String {
            vec(".{0,5}", count).prop_map(Immediate::Strings).boxed()
        } else {
            vec(any::<u8>(), length).prop_map(Immediate::Bytes).boxed()
        };
        data.prop_map(move |data| Value {
            ty: ty.clone().into(),
            data: Data::Immediate(data),
        })
    })
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        vec(any::<u8>(), 0..12).prop_map(|bytes| Data::Immediate(Immediate::Bytes(bytes))),
        vec(".{0,5}", 0..3).prop_map(|strings| Data::Immediate(Immediate::Strings(strings))),
        vec(any::<u8>(), 0..12).prop_map(|bytes| Data::Weight(Arc::new(MemoryWeight(bytes)))),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let any_data = (types(), data()).prop_map(|(ty, data)| Value { ty, data });
    prop_oneof![3 => filled(), 1 => any_data].prop_recursive(3, 8, 3, |inner| {
        let data = prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Data::Tuple),
            vec(inner.clone(), 0..3).prop_map(Data::List),
            vec((inner.clone(), inner), 0..3).prop_map(Data::Dictionary),
        ];
        (types(), data).prop_map(|(ty, data)| Value { ty, data })
    })
}

fn attributes() -> impl Strategy<Value = BTreeMap<String, Value>> {
    btree_map(names(), values(), 0..3)
}

fn named_types() -> impl Strategy<Value = Vec<NamedType>> {
    vec(
        (names(), types()).prop_map(|(name, ty)| NamedType { name, ty }),
        0..3,
    )
}

fn bindings() -> impl Strategy<Value = Vec<Binding>> {
    let binding = prop_oneof![names().prop_map(Binding::Name), values().prop_map(Binding::Value)];
    vec(binding, 0..3)
}

fn operations(blocks: BoxedStrategy<Vec<Block>>) -> impl Strategy<Value = Operation> {
    (
        names(),
        btree_map(names(), bindings(), 0..3),
        named_types(),
        attributes(),
        blocks,
    )
        .prop_map(|(op, inputs, outputs, attributes, blocks)| Operation {
            op,
            inputs,
            outputs,
            attributes,
            blocks,
        })
}

fn blocks() -> impl Strategy<Value = Block> {
    let block = |inner: BoxedStrategy<Vec<Block>>| {
        (
            named_types(),
            vec(operations(inner), 0..3),
            vec(names(), 0..3),
            attributes(),
        )
            .prop_map(|(inputs, operations, outputs, attributes)| Block {
                inputs,
                operations,
                outputs,
                attributes,
            })
    };
    block(Just(Vec::new()).boxed()).prop_recursive(2, 4, 2, move |inner| block(vec(inner, 0..2).boxed()))
}

fn opsets() -> impl Strategy<Value = Opset> {
    prop::sample::select(Opset::ALL.to_vec())
}

fn programs() -> impl Strategy<Value = Program> {
    let function = (
        named_types(),
        opsets(),
        btree_map(opsets(), blocks(), 0..3),
        attributes(),
    )
        .prop_map(|(inputs, opset, blocks, attributes)| Function {
            inputs,
            opset,
            blocks,
            attributes,
        });
    (btree_map(names(), function, 0..3), attributes()).prop_map(|(functions, attributes)| Program {
        functions,
        attributes,
    })
}

/// A program with one constant.
fn constant(value: Value) -> Program {
    Program {
        functions: BTreeMap::new(),
        attributes: BTreeMap::from([("value".to_owned(), value)]),
    }
}

fn there_and_back(program: &Program) -> Result<(), TestCaseError> {
    let printed = print(program);
    let parsed = parse(&printed.text, &printed.weights)
        .map_err(|error| TestCaseError::fail(format!("{error}\n{}", printed.text)))?;
    if let Some(difference) = difference(program, &parsed) {
        return Err(TestCaseError::fail(format!("{difference}\n{}", printed.text)));
    }
    // Weights stay weights and inline data stays inline, so printing again gives the same text.
    prop_assert_eq!(print(&parsed).text, printed.text);
    Ok(())
}

proptest! {
    #[test]
    fn printed_programs_parse_back(program in programs()) {
        there_and_back(&program)?;
        // The listing is for people; it only has to be there.
        prop_assert_eq!(print_listing(&program).is_empty(), program.functions.is_empty());
    }

    #[test]
    fn inline_tensors_come_back_bit_by_bit(value in filled()) {
        there_and_back(&constant(value))?;
    }

    #[test]
    fn floats_come_back_bit_by_bit(single in any::<u32>(), double in any::<u64>()) {
        let scalar = |dtype, bytes: &[u8]| Value::tensor(TensorType::scalar(dtype), bytes.to_vec());
        there_and_back(&constant(scalar(DataType::Fp32, &single.to_le_bytes())))?;
        there_and_back(&constant(scalar(DataType::Fp64, &double.to_le_bytes())))?;
    }

    #[test]
    fn broken_text_is_refused_not_fatal(
        program in programs(),
        edits in vec((any::<prop::sample::Index>(), "[\\[\\](){}<>,;=?:\"\\\\a-z0-9.\n/ -]{0,3}", 0usize..4), 1..6),
    ) {
        let printed = print(&program);
        let mut text: Vec<char> = printed.text.chars().collect();
        for (at, insert, remove) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = parse(&text, &printed.weights) {
            prop_assert!(error.line >= 1 && error.line <= text.lines().count() + 1, "{}", error);
        }
    }

    #[test]
    fn noise_is_refused(text in "[\\[\\](){}<>,;=?:\"a-z0-9 ]{0,60}") {
        prop_assert!(parse(&text, &[]).is_err());
    }
}

#[test]
fn every_half_comes_back() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for dtype in [DataType::Fp16, DataType::Bf16] {
        let program = constant(Value::tensor(TensorType::new(dtype, [65536u64]), bytes.clone()));
        there_and_back(&program).expect("all bits survive");
    }
}

#[test]
fn text_reads_well() {
    let mut f = corer_mil::FunctionBuilder::new(Opset::CoreMl7);
    let ids = f.input(
        "ids",
        TensorType::new(DataType::Int32, [Dim::Known(1), Dim::Symbol(0)]),
    );
    let table = Value::memory_weight(TensorType::new(DataType::Fp16, [9u64, 4]), vec![0; 72]);
    let x = f
        .op(
            "gather",
            "x",
            vec![("x", table.into()), ("indices", (&ids).into())],
        )
        .expect("gather");
    let parts = f
        .ops(
            "split",
            "parts",
            vec![
                ("x", (&x).into()),
                ("num_splits", Value::i32(2).into()),
                ("axis", Value::i32(-1).into()),
            ],
        )
        .expect("split");
    let y = f
        .op(
            "concat",
            "y",
            vec![
                ("values", corer_mil::Input::Vars(parts)),
                ("axis", Value::i32(1).into()),
            ],
        )
        .expect("concat");
    let program = Program {
        functions: BTreeMap::from([("main".to_owned(), f.finish(&[y]))]),
        attributes: BTreeMap::from([(
            "scale".to_owned(),
            Value::floats(DataType::Fp16, &[2, 2], &[0.1, -0.0, 1e-5, f32::INFINITY]),
        )]),
    };
    let printed = print(&program);
    assert_eq!(
        printed.text,
        "program(1.0)
[scale = tensor<fp16, [2, 2]>([[0.1, -0.0], [1e-5, inf]])]
{
    func main<ios17>(tensor<int32, [1, ?0]> ids) {
        tensor<fp16, [9, 4]> x_x = const()[name = string(\"x_x\"), val = tensor<fp16, [9, 4]>(weight(0, bytes = 72))];
        tensor<fp16, [1, ?0, 4]> x = gather(indices = ids, x = x_x)[name = string(\"x\")];
        int32 parts_num_splits = const()[name = string(\"parts_num_splits\"), val = int32(2)];
        int32 parts_axis = const()[name = string(\"parts_axis\"), val = int32(-1)];
        tensor<fp16, [1, ?0, 2]> parts, tensor<fp16, [1, ?0, 2]> parts_1 = split(axis = parts_axis, \
         num_splits = parts_num_splits, x = x)[name = string(\"parts\")];
        int32 y_axis = const()[name = string(\"y_axis\"), val = int32(1)];
        tensor<fp16, [1, ?1, 2]> y = concat(axis = y_axis, values = (parts, parts_1))[name = string(\"y\")];
    } -> (y);
}
"
    );
    assert_eq!(
        print_listing(&program),
        "func main (CoreML7)
  ids: tensor<int32, [1, ?0]>

  x: tensor<fp16, [1, ?0, 4]> = gather(indices = ids, x = <tensor<fp16, [9, 4]>, 72 bytes>)
  parts: tensor<fp16, [1, ?0, 2]>, parts_1: tensor<fp16, [1, ?0, 2]> = split(axis = -1, num_splits = 2, x = x)
  y: tensor<fp16, [1, ?1, 2]> = concat(axis = 1, values = (parts, parts_1))

  return y
"
    );
}

#[test]
fn errors_say_where_and_what() {
    let weights: [Arc<dyn WeightSource>; 1] = [Arc::new(MemoryWeight(vec![0; 4]))];
    let fail = |body: &str| -> ParseError {
        let text = format!("program(1.0)\n[a = {body}]\n{{\n}}\n");
        parse(&text, &weights).expect_err(body)
    };
    assert_eq!(
        fail("int8(200)").to_string(),
        "line 2, column 11: `200` is no int8"
    );
    assert_eq!(
        fail("tensor<int32, [2]>([1, 2, 3])").to_string(),
        "line 2, column 25: tensor<int32, [2]> has 2 elements, 3 are given"
    );
    assert!(
        fail("tensor<fp16, [2]>(weight(1, bytes = 4))")
            .message
            .contains("no weight 1: 1 are given")
    );
    assert!(
        fail("tensor<fp16, [2]>(weight(0, bytes = 5))")
            .message
            .contains("has 4 bytes, not 5")
    );
    assert!(
        fail("tensor<fp17, [2]>(hex(\"00\"))")
            .message
            .contains("`fp17` is no element type")
    );
    assert!(
        fail("tensor<fp16, [?0]>([1])")
            .message
            .contains("no fixed number of elements")
    );
    assert!(fail("string(\"open)").message.contains("has no end"));
    assert!(fail("uint3(8)").message.contains("is no uint3"));
    assert!(fail("fp32(infinity)").message.contains("is no fp32"));
    let deep = "tuple<".repeat(100_000);
    assert!(
        fail(&deep).message.contains("nested more than"),
        "{}",
        fail(&deep)
    );
    let brackets = format!("tensor<fp16, [1]>({}", "[".repeat(100_000));
    assert!(fail(&brackets).message.contains("nested more than"));

    let twice = "program(1.0) { func f<ios16>() {} -> (); func f<ios16>() {} -> (); }";
    assert!(
        parse(twice, &[])
            .expect_err("twice")
            .message
            .contains("two functions `f`")
    );
    let version = parse("program(2.0) {}", &[]).expect_err("version");
    assert_eq!(
        version.to_string(),
        "line 1, column 9: expected version `1.0`, found `2.0`"
    );
}

#[test]
fn comments_and_opset_names_are_read() {
    let text = "// a program\nprogram(1.0) { func f<CoreML6>() { // nothing\n } -> (); } // end";
    let program = parse(text, &[]).expect("it parses");
    assert_eq!(program.functions["f"].opset, Opset::CoreMl6);
}

#[test]
fn differences_are_found() {
    let base = || constant(Value::i32s(&[1, 2]));
    assert_eq!(difference(&base(), &base()), None);
    let other = constant(Value::i32s(&[1, 3]));
    assert_eq!(
        difference(&base(), &other).as_deref(),
        Some("attribute `value`: data differs")
    );
    let bytes = base().attributes["value"]
        .to_bytes()
        .expect("readable")
        .expect("a tensor");
    let ty = TensorType::new(DataType::Int32, [2u64]);
    // Where the bytes lie makes no difference, what they are does.
    assert_eq!(
        difference(&base(), &constant(Value::memory_weight(ty.clone(), bytes))),
        None
    );
    let weight = constant(Value::memory_weight(ty, vec![1, 0, 0, 0, 3, 0, 0, 0]));
    assert_eq!(
        difference(&base(), &weight).as_deref(),
        Some("attribute `value`: bytes differ from byte 4 on")
    );
    assert!(difference(&base(), &Program::default()).is_some());
}
