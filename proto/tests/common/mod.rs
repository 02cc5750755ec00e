//! Models to write and a way to compare what came back.

#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::collections::BTreeMap;
use std::sync::Arc;

use corer_mil::{
    Binding, Block, Data, DataType, Dim, Function, Immediate, NamedType, Operation, Opset, Program,
    TensorType, Value, ValueType, WeightError, WeightSource,
};
use corer_proto::{ArrayType, Description, Feature, Metadata, Model};

/// A weight computed on demand: byte `i` depends on `i` and the seed, so that a misplaced piece shows.
#[derive(Debug)]
pub struct Pattern {
    pub len: u64,
    pub seed: u64,
}

impl WeightSource for Pattern {
    fn byte_len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), WeightError> {
        for (position, byte) in out.iter_mut().enumerate() {
            let index = (offset + position as u64).wrapping_add(self.seed << 32);
            *byte = (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
        }
        Ok(())
    }
}

pub fn operation(op: &str, name: &str, ty: impl Into<ValueType>, inputs: &[(&str, &str)]) -> Operation {
    Operation {
        op: op.into(),
        inputs: inputs
            .iter()
            .map(|(param, name)| ((*param).to_owned(), vec![Binding::Name((*name).to_owned())]))
            .collect(),
        outputs: vec![NamedType::new(name, ty)],
        attributes: BTreeMap::from([("name".to_owned(), Value::string(name))]),
        blocks: Vec::new(),
    }
}

pub fn constant(name: &str, value: Value) -> Operation {
    let mut operation = operation("const", name, value.ty.clone(), &[]);
    operation.attributes.insert("val".into(), value);
    operation
}

/// A function that returns `relu(x)` after the given operations.
pub fn function(opset: Opset, mut operations: Vec<Operation>) -> Function {
    let ty = TensorType::new(DataType::Fp32, [1u64, 4]);
    operations.push(operation("relu", "y", ty.clone(), &[("x", "x")]));
    let block = Block {
        inputs: vec![],
        operations,
        outputs: vec!["y".into()],
        attributes: BTreeMap::new(),
    };
    Function {
        inputs: vec![NamedType::new("x", ty)],
        opset,
        blocks: BTreeMap::from([(opset, block)]),
        attributes: BTreeMap::new(),
    }
}

/// A model around [`function`].
pub fn model(opset: Opset, operations: Vec<Operation>) -> Model {
    Model {
        specification_version: opset.specification_version(),
        description: Description {
            inputs: vec![Feature::multi_array("x", ArrayType::Float32, [1, 4])],
            outputs: vec![Feature::multi_array("y", ArrayType::Float32, [1, 4])],
            metadata: Metadata {
                author: "someone".into(),
                user_defined: [("b", "2"), ("a", "1"), ("c", "3")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                ..Metadata::default()
            },
            ..Description::default()
        },
        program: Program {
            functions: BTreeMap::from([("main".to_owned(), function(opset, operations))]),
            attributes: BTreeMap::new(),
        },
    }
}

/// Weights of many sizes, some alike, next to inline constants of every type.
pub fn rich_model() -> Model {
    let mut operations = Vec::new();
    for index in 0..30u64 {
        let len = 1 + index * index * 997;
        let ty = TensorType::new(DataType::UInt8, [len.max(10)]);
        let source = Arc::new(Pattern {
            len: len.max(10),
            seed: index % 7,
        });
        operations.push(constant(&format!("w{index}"), Value::weight(ty, source)));
    }
    for (index, dtype) in DataType::ALL.into_iter().enumerate() {
        let name = format!("c_{}", dtype.name());
        if dtype == DataType::String {
            operations.push(constant(&name, Value::string("naïve")));
            continue;
        }
        for count in [0u64, 1, 7, 9, 24] {
            let ty = TensorType::new(dtype, [count]);
            let mut bytes = vec![0; usize::try_from(ty.byte_len().unwrap()).unwrap()];
            Pattern {
                len: bytes.len() as u64,
                seed: 90 + index as u64,
            }
            .read_at(0, &mut bytes)
            .unwrap();
            if dtype == DataType::Bool {
                bytes.iter_mut().for_each(|byte| *byte &= 1);
            }
            operations.push(constant(&format!("{name}_{count}"), Value::tensor(ty, bytes)));
        }
    }
    model(Opset::CoreMl8, operations)
}

/// Asserts that two models say the same; symbols may be numbered differently, weights may lie elsewhere.
pub fn assert_same(a: &Model, b: &Model) {
    assert_eq!(a.specification_version, b.specification_version);
    assert_eq!(a.description, b.description);
    let names = |program: &Program| program.functions.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&a.program), names(&b.program));
    same_values(&a.program.attributes, &b.program.attributes, "program");
    for (name, left) in &a.program.functions {
        let right = &b.program.functions[name];
        assert_eq!(left.opset, right.opset);
        same_types(&left.inputs, &right.inputs, name);
        same_values(&left.attributes, &right.attributes, name);
        assert_eq!(
            left.blocks.keys().collect::<Vec<_>>(),
            right.blocks.keys().collect::<Vec<_>>()
        );
        for (opset, block) in &left.blocks {
            same_block(block, &right.blocks[opset], name);
        }
    }
}

fn same_block(a: &Block, b: &Block, place: &str) {
    same_types(&a.inputs, &b.inputs, place);
    assert_eq!(a.outputs, b.outputs, "{place}");
    same_values(&a.attributes, &b.attributes, place);
    assert_eq!(a.operations.len(), b.operations.len(), "{place}");
    for (left, right) in a.operations.iter().zip(&b.operations) {
        let place = format!("{place}/{}", left.name());
        assert_eq!(left.op, right.op, "{place}");
        same_types(&left.outputs, &right.outputs, &place);
        same_values(&left.attributes, &right.attributes, &place);
        assert_eq!(
            left.inputs.keys().collect::<Vec<_>>(),
            right.inputs.keys().collect::<Vec<_>>(),
            "{place}"
        );
        for (param, bindings) in &left.inputs {
            assert_eq!(bindings.len(), right.inputs[param].len(), "{place}.{param}");
            for pair in bindings.iter().zip(&right.inputs[param]) {
                match pair {
                    (Binding::Name(a), Binding::Name(b)) => assert_eq!(a, b, "{place}.{param}"),
                    (Binding::Value(a), Binding::Value(b)) => same_value(a, b, &format!("{place}.{param}")),
                    _ => panic!("{place}.{param}: a name on one side, a value on the other"),
                }
            }
        }
        assert_eq!(left.blocks.len(), right.blocks.len(), "{place}");
        for (a, b) in left.blocks.iter().zip(&right.blocks) {
            same_block(a, b, &place);
        }
    }
}

fn same_types(a: &[NamedType], b: &[NamedType], place: &str) {
    assert_eq!(a.len(), b.len(), "{place}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.name, b.name, "{place}");
        assert_eq!(unnumbered(&a.ty), unnumbered(&b.ty), "{place}.{}", a.name);
    }
}

fn same_values(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>, place: &str) {
    assert_eq!(
        a.keys().collect::<Vec<_>>(),
        b.keys().collect::<Vec<_>>(),
        "{place}"
    );
    for (key, value) in a {
        same_value(value, &b[key], &format!("{place}.{key}"));
    }
}

fn same_value(a: &Value, b: &Value, place: &str) {
    assert_eq!(unnumbered(&a.ty), unnumbered(&b.ty), "{place}");
    match (&a.data, &b.data) {
        (Data::Immediate(Immediate::Strings(a)), Data::Immediate(Immediate::Strings(b))) => {
            assert_eq!(a, b, "{place}");
        }
        (Data::Tuple(a), Data::Tuple(b)) | (Data::List(a), Data::List(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            a.iter().zip(b).for_each(|(a, b)| same_value(a, b, place));
        }
        (Data::Dictionary(a), Data::Dictionary(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            for ((k, v), (l, w)) in a.iter().zip(b) {
                same_value(k, l, place);
                same_value(v, w, place);
            }
        }
        _ => {
            let bytes = |value: &Value| {
                value
                    .to_bytes()
                    .unwrap()
                    .unwrap_or_else(|| panic!("{place}: no bytes"))
            };
            assert!(bytes(a) == bytes(b), "{place}: bytes differ");
        }
    }
}

fn unnumbered(ty: &ValueType) -> ValueType {
    let dim = |dim: &Dim| {
        if dim.known().is_some() {
            *dim
        } else {
            Dim::Symbol(0)
        }
    };
    match ty {
        ValueType::Tensor(tensor) => TensorType {
            dtype: tensor.dtype,
            shape: tensor.shape.iter().map(dim).collect(),
        }
        .into(),
        ValueType::List(element, length) => ValueType::List(Box::new(unnumbered(element)), dim(length)),
        ValueType::Tuple(elements) => ValueType::Tuple(elements.iter().map(unnumbered).collect()),
        ValueType::Dictionary(key, value) => {
            ValueType::Dictionary(Box::new(unnumbered(key)), Box::new(unnumbered(value)))
        }
        ValueType::State(inner) => ValueType::State(Box::new(unnumbered(inner))),
    }
}

/// Every file of a directory with its bytes.
pub fn files(root: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    fn gather(root: &std::path::Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(root).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let kind = entry.file_type().unwrap();
            if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).unwrap();
                files.insert(name, target.into_os_string().into_encoded_bytes());
            } else if kind.is_dir() {
                gather(&entry.path(), &format!("{name}/"), files);
            } else {
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    gather(root, "", &mut files);
    files
}
