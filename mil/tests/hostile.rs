//! No call, however senseless, panics or overflows: every row of the table, bound to anything.

use std::collections::BTreeMap;

use corer_mil::ops::{self, Arg, Call, Outputs};
use corer_mil::{
    Binding, Block, Data, DataType, Dim, Function, Immediate, NamedType, Operation, Program, TensorType,
    Value, ValueType, check,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn sizes() -> impl Strategy<Value = Dim> {
    prop_oneof![
        6 => (0u64..5).prop_map(Dim::Known),
        1 => select(vec![u64::MAX, u64::MAX / 2, 1 << 32, i64::MAX as u64 + 1, 1 << 62]).prop_map(Dim::Known),
        1 => select(vec![0, 1, u32::MAX]).prop_map(Dim::Symbol),
    ]
}

fn tensors() -> impl Strategy<Value = TensorType> {
    let dtypes = prop_oneof![
        3 => select(vec![DataType::Fp16, DataType::Fp32, DataType::Int32]),
        1 => select(DataType::ALL.to_vec()),
    ];
    (dtypes, vec(sizes(), 0..7)).prop_map(|(dtype, shape)| TensorType { dtype, shape })
}

fn integers() -> impl Strategy<Value = i32> {
    prop_oneof![4 => -3..6i32, 1 => select(vec![i32::MIN, i32::MIN + 1, i32::MAX, 1 << 20])]
}

/// Axes, sizes, flags, modes, factors: what parameters that must be constant are likely to hold, and what not.
fn constants() -> impl Strategy<Value = Value> {
    let modes = "valid same same_lower custom constant reflect fp16 int8 uint8 fp32 EXACT nchw,nwhu->nchu chw,whu->chu , ->";
    let modes: Vec<String> = modes.split(' ').map(str::to_owned).collect();
    prop_oneof![
        4 => vec(integers(), 0..7).prop_map(|values| Value::i32s(&values)),
        2 => integers().prop_map(Value::i32),
        1 => vec(any::<bool>(), 0..5).prop_map(|values| Value::bools(&values)),
        1 => any::<bool>().prop_map(Value::bool),
        2 => select(modes).prop_map(Value::string),
        1 => any::<f32>().prop_map(|value| Value::float(DataType::Fp16, value)),
        1 => any::<f32>().prop_map(|value| Value::float(DataType::Fp32, value)),
        // Types and data that have nothing to do with each other.
        2 => (tensors(), vec(any::<u8>(), 0..40)).prop_map(|(ty, bytes)| Value::tensor(ty, bytes)),
        1 => (tensors(), vec(any::<u8>(), 0..40)).prop_map(|(ty, bytes)| Value::memory_weight(ty, bytes)),
        1 => (tensors(), vec(".{0,3}", 0..3)).prop_map(|(ty, strings)| Value {
            ty: ty.into(),
            data: Data::Immediate(Immediate::Strings(strings)),
        }),
    ]
}

#[derive(Clone, Debug)]
enum Bound {
    Computed(ValueType),
    Constant(Value),
}

fn bounds() -> impl Strategy<Value = Bound> {
    prop_oneof![
        tensors().prop_map(|ty| Bound::Computed(ty.into())),
        constants().prop_map(Bound::Constant),
    ]
}

/// An operation of the table, an opset that has it, and something for each of its parameters.
fn calls() -> impl Strategy<Value = (&'static ops::OpDef, corer_mil::Opset, Vec<Vec<Bound>>)> {
    let rows: Vec<&'static ops::OpDef> = ops::all().collect();
    (select(rows), any::<bool>()).prop_flat_map(|(row, newest)| {
        let opset = match row.until {
            None if newest => corer_mil::Opset::CoreMl9,
            _ => row.since,
        };
        let params = row
            .params
            .iter()
            .map(|param| vec(bounds(), usize::from(param.required)..3).boxed());
        (Just(row), Just(opset), params.collect::<Vec<_>>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn inference_survives_anything((row, opset, bound) in calls()) {
        let args: BTreeMap<&str, Vec<Arg<'_>>> = row
            .params
            .iter()
            .zip(&bound)
            .map(|(param, bound)| {
                let args = bound.iter().map(|bound| match bound {
                    Bound::Computed(ty) => Arg::computed(ty),
                    Bound::Constant(value) => Arg::constant(value),
                });
                (param.name, args.collect())
            })
            .collect();
        let call = Call { op: row.name, opset, args, declared: Vec::new() };
        // Inference is called after the arguments were found right; it may not rely on that.
        let accepted = row.check_arguments(&call).is_ok();
        if let (Ok(types), true, Outputs::Exactly(count)) = ((row.infer)(&call), accepted, row.outputs) {
            prop_assert_eq!(types.len(), count);
        }
    }

    #[test]
    fn checking_survives_anything((row, opset, bound) in calls(), declared in vec(tensors(), 0..3)) {
        let mut inputs = Vec::new();
        let mut parameters = BTreeMap::new();
        let mut attributes = BTreeMap::from([("name".to_owned(), Value::string("y"))]);
        for (param, bound) in row.params.iter().zip(bound) {
            let mut bindings = Vec::new();
            for bound in bound {
                match bound {
                    Bound::Computed(ty) => {
                        let name = format!("x{}", inputs.len());
                        bindings.push(Binding::Name(name.clone()));
                        inputs.push(NamedType { name, ty });
                    }
                    Bound::Constant(value) if row.attributes => {
                        attributes.insert(param.name.to_owned(), value);
                    }
                    Bound::Constant(value) => bindings.push(Binding::Value(value)),
                }
            }
            if !bindings.is_empty() {
                parameters.insert(param.name.to_owned(), bindings);
            }
        }
        let outputs = declared.into_iter().enumerate().map(|(index, ty)| NamedType::new(format!("y{index}"), ty));
        let operation = Operation {
            op: row.name.to_owned(),
            inputs: parameters,
            outputs: outputs.collect(),
            attributes,
            blocks: Vec::new(),
        };
        let block = Block { operations: vec![operation], ..Block::default() };
        let function = Function { inputs, opset, blocks: BTreeMap::from([(opset, block)]), attributes: BTreeMap::new() };
        let program = Program {
            functions: BTreeMap::from([("main".to_owned(), function)]),
            attributes: BTreeMap::new(),
        };
        for fault in check(&program) {
            prop_assert!(!fault.to_string().is_empty());
        }
    }
}
