//! Programs with one weight, and what becomes of it.
#![allow(dead_code, missing_docs)] // each test file uses its part

use std::collections::BTreeMap;
use std::path::Path;

use corer_mil::{DataType, Function, FunctionBuilder, Input, Opset, Program, TensorType, Value};
use corer_proto::{Description, Model, Package, WriteOptions};
use corer_quantizer::{Config, NoProgress, QuantizeError, Quantized, Report, Request, quantize};
use corer_runtime::{Arithmetic, Executable, Options, Tensor};
use half::f16;

/// Bell-shaped numbers with a tail, the same for the same seed.
pub(crate) fn weights(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..count)
        .map(|_| {
            let bell = next() + next() + next();
            if next() > 0.48 { bell * 4.0 } else { bell }
        })
        .collect()
}

pub(crate) fn rounded(dtype: DataType, value: f32) -> f32 {
    if dtype == DataType::Fp16 {
        f16::from_f32(value).to_f32()
    } else {
        value
    }
}

fn bytes(dtype: DataType, values: &[f32]) -> Vec<u8> {
    if dtype == DataType::Fp16 {
        values
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes())
            .collect()
    } else {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

/// A program whose output shows its weight `w`: `linear` and `gather` take rank 2, `add` anything.
pub(crate) fn with_weight(
    shape: &[usize],
    values: &[f32],
    op: &str,
    opset: Opset,
    dtype: DataType,
) -> Program {
    let mut builder = FunctionBuilder::new(opset);
    let sizes: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
    let weight = Value::memory_weight(TensorType::new(dtype, sizes.clone()), bytes(dtype, values));
    let result = match op {
        "linear" => {
            let x = builder.input("x", TensorType::new(dtype, [sizes[1], sizes[1]]));
            let w = builder.constant("w", weight);
            builder.op(
                "linear",
                "y",
                vec![("x", Input::from(&x)), ("weight", (&w).into())],
            )
        }
        "gather" => {
            let x = builder.input("x", TensorType::new(DataType::Int32, [sizes[0]]));
            let w = builder.constant("w", weight);
            let mut inputs = vec![
                ("x", Input::from(&w)),
                ("indices", (&x).into()),
                ("axis", Value::i32(0).into()),
            ];
            inputs.push(("batch_dims", Value::i32(0).into()));
            if opset >= Opset::CoreMl7 {
                inputs.push(("validate_indices", Value::bool(false).into()));
            }
            builder.op("gather", "y", inputs)
        }
        _ => {
            let x = builder.input("x", TensorType::new(dtype, sizes));
            let w = builder.constant("w", weight);
            builder.op("add", "y", vec![("x", Input::from(&x)), ("y", (&w).into())])
        }
    }
    .unwrap();
    program(builder.finish(&[result]))
}

pub(crate) fn program(function: Function) -> Program {
    Program {
        functions: BTreeMap::from([("main".to_owned(), function)]),
        attributes: BTreeMap::new(),
    }
}

/// Writes a program as a package and reads it back.
pub(crate) fn package(path: &Path, program: Program) -> Program {
    let opset = program.functions["main"].opset;
    let model = Model {
        specification_version: opset.specification_version(),
        description: Description::default(),
        program,
    };
    let options = WriteOptions {
        overwrite: true,
        durable: false,
        ..WriteOptions::default()
    };
    corer_proto::write(path, &model, &options).unwrap();
    Package::open(path).unwrap().model.program
}

/// The weight as the runtime sees it, through the one operation of [`with_weight`].
pub(crate) fn decoded(program: &Program, _name: &str, shape: &[usize]) -> Vec<f32> {
    let executable = Executable::compile(program, "main", &Options::new(Arithmetic::AsWritten)).unwrap();
    let input = executable.inputs()[0].ty.as_tensor().unwrap().clone();
    let sizes: Vec<usize> = input
        .known_shape()
        .unwrap()
        .iter()
        .map(|size| *size as usize)
        .collect();
    let count: usize = sizes.iter().product();
    let op = program.functions["main"]
        .body()
        .unwrap()
        .operations
        .last()
        .unwrap()
        .op
        .clone();
    let tensor = match op.as_str() {
        "gather" => Tensor::i32(sizes, (0..count as i32).collect()),
        // The identity matrix shows the weight's columns; zeros show what is added.
        "linear" => Tensor::f32(
            sizes.clone(),
            (0..count)
                .map(|i| f32::from(u8::from(i / sizes[1] == i % sizes[1])))
                .collect(),
        ),
        _ => Tensor::f32(sizes, vec![0.0; count]),
    }
    .unwrap();
    let outputs = executable
        .run(&BTreeMap::from([("x".to_owned(), tensor)]))
        .unwrap();
    let values = outputs["y"].to_f32();
    if op == "linear" {
        let (rows, columns) = (shape[0], shape[1]);
        (0..rows * columns)
            .map(|i| values[i % columns * rows + i / columns])
            .collect()
    } else {
        values
    }
}

pub(crate) fn quantized(program: Program, scheme: &str) -> Result<Quantized, QuantizeError> {
    quantized_for(program, scheme, None)
}

pub(crate) fn quantized_for(
    program: Program,
    scheme: &str,
    target: Option<corer_mil::Target>,
) -> Result<Quantized, QuantizeError> {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::uniform(scheme.parse().unwrap());
    config.threshold = 0;
    let request = Request {
        config: &config,
        target,
        scratch: directory.path(),
        threads: Some(2),
        calibration: None,
        progress: &NoProgress,
    };
    quantize(program, &request)
}

pub(crate) fn report(program: Program, scheme: &str) -> Report {
    quantized(program, scheme).unwrap().report
}
