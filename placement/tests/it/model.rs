//! Models of any size without a byte of weights: what is explained are shapes and types.

use std::collections::BTreeMap;
use std::sync::Arc;

use corer_mil::{
    DataType, Dim, FunctionBuilder, Input, Opset, Program, TensorType, Value, Var, WeightError, WeightSource,
};
use corer_placement::{Chip, Explanation, FunctionExplanation, explain};
use corer_proto::{Description, Model};

/// A weight that has a size and no bytes.
#[derive(Debug)]
struct Promise(u64);

impl WeightSource for Promise {
    fn byte_len(&self) -> u64 {
        self.0
    }

    fn read_at(&self, offset: u64, _: &mut [u8]) -> Result<(), WeightError> {
        Err(WeightError {
            place: format!("offset {offset}"),
            reason: "an explanation must not read large weights".into(),
        })
    }
}

pub(crate) fn half(shape: &[u64]) -> TensorType {
    TensorType::new(DataType::Fp16, shape.iter().copied())
}

pub(crate) fn promise(ty: TensorType) -> Value {
    let bytes = ty.byte_len().expect("a known size");
    Value::weight(ty, Arc::new(Promise(bytes)))
}

pub(crate) fn scalar(value: f32) -> Value {
    Value::float(DataType::Fp16, value)
}

/// A function under construction that panics where the op table refuses.
pub(crate) struct Builder(pub(crate) FunctionBuilder);

impl Builder {
    pub(crate) fn new() -> Self {
        Self(FunctionBuilder::new(Opset::CoreMl8))
    }

    pub(crate) fn input(&mut self, name: &str, dtype: DataType, shape: &[u64]) -> Var {
        self.0.input(name, TensorType::new(dtype, shape.iter().copied()))
    }

    pub(crate) fn open(&mut self, name: &str, dtype: DataType, shape: Vec<Dim>) -> Var {
        self.0.input(name, TensorType::new(dtype, shape))
    }

    pub(crate) fn op(&mut self, op: &str, name: &str, inputs: Vec<(&str, Input)>) -> Var {
        self.0.op(op, name, inputs).expect("a call the op table accepts")
    }

    /// A convolution of one position.
    pub(crate) fn dense(&mut self, name: &str, x: &Var, out: u64) -> Var {
        let into = x.tensor().shape[1].known().expect("channels");
        let inputs = vec![
            ("x", x.into()),
            ("weight", promise(half(&[out, into, 1, 1])).into()),
            ("bias", promise(half(&[out])).into()),
            ("strides", Value::i32s(&[1, 1]).into()),
            ("pad_type", Value::string("valid").into()),
            ("pad", Value::i32s(&[0, 0, 0, 0]).into()),
            ("dilations", Value::i32s(&[1, 1]).into()),
            ("groups", Value::i32(1).into()),
        ];
        self.op("conv", name, inputs)
    }

    pub(crate) fn norm(&mut self, name: &str, x: &Var) -> Var {
        let channels = x.tensor().shape[1].known().expect("channels");
        let inputs = vec![
            ("x", x.into()),
            ("axes", Value::i32s(&[1]).into()),
            ("gamma", promise(half(&[channels])).into()),
            ("beta", promise(half(&[channels])).into()),
            ("epsilon", scalar(1e-7).into()),
        ];
        self.op("layer_norm", name, inputs)
    }

    pub(crate) fn reshape(&mut self, name: &str, x: &Var, shape: &[u64]) -> Var {
        let shape: Vec<i32> = shape
            .iter()
            .map(|size| i32::try_from(*size).expect("a size"))
            .collect();
        self.op(
            "reshape",
            name,
            vec![("x", x.into()), ("shape", Value::i32s(&shape).into())],
        )
    }

    pub(crate) fn finish(self, outputs: &[&Var]) -> Model {
        let outputs: Vec<Var> = outputs.iter().map(|var| (*var).clone()).collect();
        let function = self.0.finish(&outputs);
        model(function)
    }
}

/// A model of one function.
pub(crate) fn model(function: corer_mil::Function) -> Model {
    Model {
        specification_version: 9,
        description: Description::default(),
        program: Program {
            functions: BTreeMap::from([("main".to_owned(), function)]),
            attributes: BTreeMap::new(),
        },
    }
}

/// The sizes of an encoder.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) layers: u64,
    pub(crate) hidden: u64,
    pub(crate) heads: u64,
    pub(crate) vocabulary: u64,
    pub(crate) length: u64,
}

pub(crate) const BERT_BASE: Sizes = Sizes {
    layers: 12,
    hidden: 768,
    heads: 12,
    vocabulary: 30_522,
    length: 128,
};
pub(crate) const MINI_LM: Sizes = Sizes {
    layers: 6,
    hidden: 384,
    ..BERT_BASE
};
pub(crate) const BERT_TINY: Sizes = Sizes {
    layers: 2,
    hidden: 128,
    heads: 2,
    ..BERT_BASE
};

/// BERT in the `ane` layout, as corer writes it, without a pooler.
pub(crate) fn bert(sizes: Sizes) -> Model {
    let Sizes {
        layers,
        hidden,
        heads,
        vocabulary,
        length,
    } = sizes;
    let width = hidden / heads;
    let mut b = Builder::new();
    let ids = b.input("input_ids", DataType::Int32, &[1, length]);
    let mask = b.input("attention_mask", DataType::Int32, &[1, length]);
    let table = b.0.constant("words", promise(half(&[vocabulary, hidden])));
    let words = b.op(
        "gather",
        "embeddings",
        vec![
            ("x", (&table).into()),
            ("indices", (&ids).into()),
            ("axis", Value::i32(0).into()),
            ("batch_dims", Value::i32(0).into()),
            ("validate_indices", Value::bool(false).into()),
        ],
    );
    let mask = b.op(
        "cast",
        "mask_float",
        vec![("x", (&mask).into()), ("dtype", Value::string("fp16").into())],
    );
    let mask = b.op(
        "expand_dims",
        "mask_shaped",
        vec![("x", (&mask).into()), ("axes", Value::i32s(&[2, 3]).into())],
    );
    let mask = b.op(
        "sub",
        "mask_less_one",
        vec![("x", (&mask).into()), ("y", scalar(1.0).into())],
    );
    let mask = b.op(
        "mul",
        "mask",
        vec![("x", (&mask).into()), ("y", scalar(10_000.0).into())],
    );
    let x = b.op(
        "transpose",
        "channels_first",
        vec![("x", (&words).into()), ("perm", Value::i32s(&[0, 2, 1]).into())],
    );
    let x = b.op(
        "expand_dims",
        "bc1s",
        vec![("x", (&x).into()), ("axes", Value::i32s(&[2]).into())],
    );
    let positions = b.0.constant("positions", promise(half(&[1, hidden, 1, length])));
    let x = b.op(
        "add",
        "with_positions",
        vec![("x", (&x).into()), ("y", (&positions).into())],
    );
    let mut x = b.norm("embeddings_norm", &x);
    for layer in 0..layers {
        let name = |part: &str| format!("layer_{layer}_{part}");
        let query = b.dense(&name("query"), &x, hidden);
        let key = b.dense(&name("key"), &x, hidden);
        let value = b.dense(&name("value"), &x, hidden);
        let split = [1, width, heads, length];
        let key = b.reshape(&name("key_heads"), &key, &split);
        let key = b.op(
            "transpose",
            &name("key_transposed"),
            vec![("x", (&key).into()), ("perm", Value::i32s(&[0, 3, 2, 1]).into())],
        );
        let query = b.reshape(&name("query_heads"), &query, &split);
        let value = b.reshape(&name("value_heads"), &value, &split);
        let einsum = |b: &mut Builder, name: &str, values: [&Var; 2]| {
            let values = values.map(Clone::clone).to_vec();
            b.op(
                "einsum",
                name,
                vec![
                    ("values", Input::Vars(values)),
                    ("equation", Value::string("nchw,nwhu->nchu").into()),
                ],
            )
        };
        let scores = einsum(&mut b, &name("scores"), [&key, &query]);
        let scores = b.op(
            "add",
            &name("masked"),
            vec![("x", (&scores).into()), ("y", (&mask).into())],
        );
        let scores = b.op(
            "softmax",
            &name("softmax"),
            vec![("x", (&scores).into()), ("axis", Value::i32(1).into())],
        );
        let context = einsum(&mut b, &name("context"), [&value, &scores]);
        let context = b.reshape(&name("joined"), &context, &[1, hidden, 1, length]);
        let attention = b.dense(&name("attention"), &context, hidden);
        let attention = b.op(
            "add",
            &name("add"),
            vec![("x", (&attention).into()), ("y", (&x).into())],
        );
        let attention = b.norm(&name("norm"), &attention);
        let inner = b.dense(&name("intermediate"), &attention, 4 * hidden);
        let inner = b.op(
            "gelu",
            &name("gelu"),
            vec![("x", (&inner).into()), ("mode", Value::string("EXACT").into())],
        );
        let inner = b.dense(&name("output"), &inner, hidden);
        let inner = b.op(
            "add",
            &name("output_add"),
            vec![("x", (&inner).into()), ("y", (&attention).into())],
        );
        x = b.norm(&name("output_norm"), &inner);
    }
    let x = b.op(
        "squeeze",
        "bcs",
        vec![("x", (&x).into()), ("axes", Value::i32s(&[2]).into())],
    );
    let x = b.op(
        "transpose",
        "last_hidden_state",
        vec![("x", (&x).into()), ("perm", Value::i32s(&[0, 2, 1]).into())],
    );
    b.finish(&[&x])
}

/// The explanation of a model for a chip and the default system.
pub(crate) fn explained(model: &Model, chip: &str) -> Explanation {
    explain(
        model,
        Chip::find(chip).expect("a chip"),
        corer_placement::Os::DEFAULT,
    )
    .expect("an explanation")
}

/// The explanation of its only function.
pub(crate) fn function(model: &Model, chip: &str) -> FunctionExplanation {
    explained(model, chip).functions.remove(0)
}
