//! Packages small enough to compute by hand: a lookup in a table of eight vectors of two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_mil::{
    DataType, Dim, Function, FunctionBuilder, Input, Opset, Program, TensorType, Value, ValueType, Var,
};
use corer_proto::{
    ArrayType, Description, Feature, FeatureType, Flexibility, FunctionDescription, LabelType, Model,
    WriteOptions,
};

pub(crate) const LENGTH: usize = 4;
pub(crate) const WIDTH: usize = 2;
const VOCABULARY: usize = 8;

/// Vector of a token id.
pub(crate) fn vector(id: i32) -> [f32; WIDTH] {
    [0.5 + id as f32, 3.0 - 0.25 * (id * id) as f32]
}

/// Input rows: token ids and mask.
pub(crate) const ROWS: [([i32; LENGTH], [i32; LENGTH]); 5] = [
    ([1, 2, 3, 4], [1, 1, 1, 1]),
    ([5, 6, 0, 0], [1, 1, 0, 0]),
    ([7, 0, 0, 0], [1, 0, 0, 0]),
    ([0, 0, 2, 6], [0, 0, 1, 1]),
    ([3, 3, 3, 0], [1, 1, 1, 0]),
];

/// A directory with packages and recordings.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

/// What the toy's network does after the lookup.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum After {
    /// Nothing.
    Nothing,
    /// Multiplies by tokens over tokens: 1, or NaN without any.
    DividesByTokens,
    /// Adds the mean over all positions, padded ones too.
    LeaksPadding,
    /// Rounds to fp16.
    Rounds,
}

/// A toy's shape.
#[derive(Clone, Copy)]
pub(crate) struct Toy<'a> {
    pub(crate) batch: usize,
    pub(crate) output: &'a str,
    pub(crate) after: After,
    /// Entries of the table replaced: (id, channel, value).
    pub(crate) spoiled: &'a [(usize, usize, f32)],
}

impl Toy<'_> {
    pub(crate) const PLAIN: Toy<'static> = Toy {
        batch: 1,
        output: "last_hidden_state",
        after: After::Nothing,
        spoiled: &[],
    };
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the toy as a package.
    pub(crate) fn package(&self, toy: &Toy<'_>) -> PathBuf {
        let size = [toy.batch as u64, LENGTH as u64];
        let shape = [toy.batch as u64, LENGTH as u64, WIDTH as u64];
        let description = Description {
            inputs: inputs(&size),
            outputs: vec![Feature::multi_array(toy.output, ArrayType::Float32, shape)],
            ..Description::default()
        };
        let function = function(Opset::CoreMl7, toy, size.map(Dim::Known));
        self.write([("main".into(), function)].into(), description)
    }

    /// Writes toys as functions of one package, the first of them the default: name, positions, toy.
    pub(crate) fn functions(&self, toys: &[(&str, u64, Toy<'_>)]) -> PathBuf {
        let mut description = Description {
            default_function: Some(toys[0].0.into()),
            ..Description::default()
        };
        let mut functions = BTreeMap::new();
        for (name, length, toy) in toys {
            let size = [toy.batch as u64, *length];
            let shape = [size[0], size[1], WIDTH as u64];
            description.functions.push(FunctionDescription {
                name: (*name).into(),
                inputs: inputs(&size),
                outputs: vec![Feature::multi_array(toy.output, ArrayType::Float32, shape)],
                ..FunctionDescription::default()
            });
            functions.insert(
                (*name).to_owned(),
                function(Opset::CoreMl8, toy, size.map(Dim::Known)),
            );
        }
        self.write(functions, description)
    }

    /// Writes the toy as one function that takes several sizes, 1 x [`LENGTH`] by default.
    pub(crate) fn flexible(&self, toy: &Toy<'_>, flexibility: &Flexibility) -> PathBuf {
        let mut inputs = inputs(&[1, LENGTH as u64]);
        for input in &mut inputs {
            if let FeatureType::MultiArray {
                flexibility: slot, ..
            } = &mut input.ty
            {
                *slot = flexibility.clone();
            }
        }
        let description = Description {
            inputs,
            outputs: vec![Feature::multi_array(toy.output, ArrayType::Float32, [])],
            ..Description::default()
        };
        let function = function(Opset::CoreMl8, toy, [Dim::Symbol(0), Dim::Symbol(1)]);
        self.write([("main".into(), function)].into(), description)
    }

    /// Writes a classifier of the first token: its vector's softmax over these classes.
    pub(crate) fn classifier(&self, classes: [&str; WIDTH], spoiled: &[(usize, usize, f32)]) -> PathBuf {
        let mut builder = FunctionBuilder::new(Opset::CoreMl7);
        let size = [1, LENGTH as u64];
        let ids = builder.input("input_ids", TensorType::new(DataType::Int32, size));
        builder.input("attention_mask", TensorType::new(DataType::Int32, size));
        let hidden = lookup(&mut builder, &ids, spoiled);
        let first = vec![
            ("x", (&hidden).into()),
            ("begin", Value::i32s(&[0, 0, 0]).into()),
            ("size", Value::i32s(&[1, 1, WIDTH as i32]).into()),
        ];
        let first = builder.op("slice_by_size", "first", first).unwrap();
        let shape = Value::i32s(&[1, WIDTH as i32]);
        let first = builder
            .op(
                "reshape",
                "logits",
                vec![("x", (&first).into()), ("shape", shape.into())],
            )
            .unwrap();
        let axis = Value::i32(-1);
        let probabilities = builder
            .op(
                "softmax",
                "probabilities",
                vec![("x", (&first).into()), ("axis", axis.into())],
            )
            .unwrap();
        let labels = Value {
            ty: ValueType::List(
                Box::new(TensorType::scalar(DataType::String).into()),
                corer_mil::Dim::Known(WIDTH as u64),
            ),
            data: corer_mil::Data::List(classes.map(Value::string).to_vec()),
        };
        let classify = vec![
            ("probabilities", (&probabilities).into()),
            ("classes", Input::Literal(labels)),
        ];
        let results = builder.ops("classify", "classify", classify).unwrap();
        let results: Vec<Var> = results
            .iter()
            .zip(["classLabel", "classLabel_probs"])
            .map(|(result, name)| builder.rename(result, name).unwrap())
            .collect();
        let description = Description {
            inputs: inputs(&size),
            outputs: vec![
                Feature::new("classLabel", FeatureType::String),
                Feature::new(
                    "classLabel_probs",
                    FeatureType::Dictionary {
                        key: LabelType::String,
                    },
                ),
            ],
            predicted_feature: Some("classLabel".into()),
            predicted_probabilities: Some("classLabel_probs".into()),
            ..Description::default()
        };
        self.write([("main".into(), builder.finish(&results))].into(), description)
    }

    fn write(&self, functions: BTreeMap<String, Function>, description: Description) -> PathBuf {
        let opset = functions.values().map(|function| function.opset).max().unwrap();
        let model = Model {
            specification_version: opset.specification_version(),
            description,
            program: Program {
                functions,
                ..Program::default()
            },
        };
        let path = self.path("toy.mlpackage");
        let options = WriteOptions {
            overwrite: true,
            durable: false,
            ..WriteOptions::default()
        };
        corer_proto::write(&path, &model, &options).unwrap();
        path
    }

    /// Records what a network of these row values computes on [`ROWS`] under this name, (5, …).
    pub(crate) fn recording(
        &self,
        name: &str,
        row_shape: &[usize],
        row: impl Fn(&[i32; LENGTH]) -> Vec<f32>,
    ) -> PathBuf {
        let ids: Vec<i32> = ROWS.iter().flat_map(|(ids, _)| *ids).collect();
        let mask: Vec<i32> = ROWS.iter().flat_map(|(_, mask)| *mask).collect();
        let values: Vec<f32> = ROWS.iter().flat_map(|(ids, _)| row(ids)).collect();
        let shape: Vec<usize> = [ROWS.len()].iter().chain(row_shape).copied().collect();
        let bytes = |words: &[[u8; 4]]| words.concat();
        let ints =
            |values: &[i32]| bytes(&values.iter().map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        let floats = bytes(&values.iter().map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        let path = self.path("recorded.safetensors");
        write_safetensors(
            &path,
            &[
                ("input.input_ids", "I32", vec![ROWS.len(), LENGTH], ints(&ids)),
                (
                    "input.attention_mask",
                    "I32",
                    vec![ROWS.len(), LENGTH],
                    ints(&mask),
                ),
                (&format!("output.{name}"), "F32", shape, floats),
            ],
        );
        path
    }

    /// Records the plain toy.
    pub(crate) fn plain_recording(&self) -> PathBuf {
        self.recording("last_hidden_state", &[LENGTH, WIDTH], |ids| {
            ids.iter().flat_map(|id| vector(*id)).collect()
        })
    }
}

fn function(opset: Opset, toy: &Toy<'_>, size: [Dim; 2]) -> Function {
    let mut builder = FunctionBuilder::new(opset);
    let ids = builder.input("input_ids", TensorType::new(DataType::Int32, size));
    let mask = builder.input("attention_mask", TensorType::new(DataType::Int32, size));
    let hidden = lookup(&mut builder, &ids, toy.spoiled);
    let hidden = after(&mut builder, toy.after, &hidden, &mask);
    let output = builder.rename(&hidden, toy.output).unwrap();
    builder.finish(&[output])
}

fn lookup(builder: &mut FunctionBuilder, ids: &Var, spoiled: &[(usize, usize, f32)]) -> Var {
    let mut table: Vec<f32> = (0..VOCABULARY as i32).flat_map(vector).collect();
    for (id, channel, value) in spoiled {
        table[id * WIDTH + channel] = *value;
    }
    let table = Value::floats(DataType::Fp32, &[VOCABULARY as u64, WIDTH as u64], &table);
    let table = builder.constant("table", table);
    let inputs = vec![
        ("x", (&table).into()),
        ("indices", ids.into()),
        ("axis", Value::i32(0).into()),
    ];
    builder.op("gather", "hidden", inputs).unwrap()
}

fn after(builder: &mut FunctionBuilder, after: After, hidden: &Var, mask: &Var) -> Var {
    let mut op = |op: &str, name: &str, inputs: Vec<(&str, Input)>| builder.op(op, name, inputs).unwrap();
    let dtype = |name: &str| Value::string(name).into();
    match after {
        After::Nothing => op("identity", "copied", vec![("x", hidden.into())]),
        After::Rounds => {
            let half = op(
                "cast",
                "half",
                vec![("x", hidden.into()), ("dtype", dtype("fp16"))],
            );
            op(
                "cast",
                "single",
                vec![("x", (&half).into()), ("dtype", dtype("fp32"))],
            )
        }
        After::LeaksPadding => {
            let axes = Value::i32s(&[1]);
            let inputs = vec![
                ("x", hidden.into()),
                ("axes", axes.into()),
                ("keep_dims", Value::bool(true).into()),
            ];
            let mean = op("reduce_mean", "mean", inputs);
            op(
                "add",
                "leaking",
                vec![("x", hidden.into()), ("y", (&mean).into())],
            )
        }
        After::DividesByTokens => {
            let mask = op("cast", "mask", vec![("x", mask.into()), ("dtype", dtype("fp32"))]);
            let inputs = vec![
                ("x", (&mask).into()),
                ("axes", Value::i32s(&[1]).into()),
                ("keep_dims", Value::bool(true).into()),
            ];
            let count = op("reduce_sum", "count", inputs);
            let one = op(
                "real_div",
                "one",
                vec![("x", (&count).into()), ("y", (&count).into())],
            );
            let one = op(
                "expand_dims",
                "ones",
                vec![("x", (&one).into()), ("axes", Value::i32s(&[2]).into())],
            );
            op("mul", "scaled", vec![("x", hidden.into()), ("y", (&one).into())])
        }
    }
}

fn inputs(size: &[u64; 2]) -> Vec<Feature> {
    ["input_ids", "attention_mask"]
        .map(|name| Feature::multi_array(name, ArrayType::Int32, *size))
        .into()
}

/// Writes tensors as (name, dtype, shape, bytes).
pub(crate) fn write_safetensors(path: &Path, tensors: &[(&str, &str, Vec<usize>, Vec<u8>)]) {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert((*name).into(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(path, file).unwrap();
}
