//! Data-aware compression loses less at a layer's outputs, on inputs it did not see, than compression by values alone.

mod common;

use std::collections::BTreeMap;

use common::{package, weights};
use corer_mil::{DataType, FunctionBuilder, Input, Program, Target, TensorType, Value};
use corer_quantizer::{
    Calibration, CalibrationRow, Config, NoProgress, QuantizeError, Request, Tensor, quantize,
};
use corer_runtime::{Arithmetic, Executable, Options};

const TOKENS: usize = 64;
const WIDTH: usize = 48;

/// Two layers with a non-linearity between them.
fn program() -> Program {
    let mut builder = FunctionBuilder::new(Target::Ios18.opset());
    let x = builder.input(
        "x",
        TensorType::new(DataType::Fp16, [TOKENS as u64, WIDTH as u64]),
    );
    let mut hidden = x;
    for layer in 0..2 {
        let values = weights(WIDTH * WIDTH, 5 + layer);
        let bytes = values
            .iter()
            .flat_map(|value| half::f16::from_f32(value * 0.2).to_le_bytes())
            .collect();
        let ty = TensorType::new(DataType::Fp16, [WIDTH as u64, WIDTH as u64]);
        let weight = builder.constant(&format!("w{layer}"), Value::memory_weight(ty, bytes));
        let inputs = vec![("x", Input::from(&hidden)), ("weight", (&weight).into())];
        let name = if layer == 1 { "y" } else { "first" };
        hidden = builder.op("linear", name, inputs).unwrap();
        if layer == 0 {
            hidden = builder
                .op("tanh", "active", vec![("x", (&hidden).into())])
                .unwrap();
        }
    }
    common::program(builder.finish(&[hidden]))
}

/// Tokens whose channels go together, as those of real models do.
fn inputs(seed: u64) -> BTreeMap<String, Tensor> {
    let (factors, noise) = (weights(TOKENS * 6, seed), weights(TOKENS * WIDTH, seed + 1000));
    let mix = weights(6 * WIDTH, 77);
    let values = (0..TOKENS * WIDTH)
        .map(|at| {
            let (token, channel) = (at / WIDTH, at % WIDTH);
            let shared: f32 = (0..6)
                .map(|f| factors[token * 6 + f] * mix[f * WIDTH + channel])
                .sum();
            shared * 2.0 + noise[at] * 0.1
        })
        .collect();
    BTreeMap::from([("x".to_owned(), Tensor::f32([TOKENS, WIDTH], values).unwrap())])
}

fn rows() -> Vec<CalibrationRow> {
    (0..12)
        .map(|seed| CalibrationRow {
            inputs: inputs(seed * 2 + 1),
            tokens: vec![true; TOKENS],
        })
        .collect()
}

/// Squared error at the output, relative, over inputs calibration did not see.
fn loss(program: &Program) -> f64 {
    let run = |program: &Program, seed: u64| {
        let executable = Executable::compile(program, "main", &Options::new(Arithmetic::F32)).unwrap();
        executable.run(&inputs(seed)).unwrap()["y"].to_f32()
    };
    let original = self::program();
    let (mut error, mut total) = (0f64, 0f64);
    for seed in [501, 503] {
        for (a, b) in run(program, seed).iter().zip(run(&original, seed)) {
            error += f64::from(a - b).powi(2);
            total += f64::from(b).powi(2);
        }
    }
    error / total
}

fn compressed(
    scheme: &str,
    rows: Option<&[CalibrationRow]>,
    threads: usize,
) -> Result<Program, QuantizeError> {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::uniform(scheme.parse().unwrap());
    config.threshold = 0;
    let calibration = rows.map(|rows| Calibration {
        function: "main",
        rows,
    });
    let request = Request {
        config: &config,
        target: None,
        scratch: directory.path(),
        threads: Some(threads),
        calibration: calibration.as_ref(),
        progress: &NoProgress,
    };
    let quantized = quantize(program(), &request)?;
    assert_eq!(corer_mil::check(&quantized.program), vec![]);
    Ok(package(&directory.path().join("X.mlpackage"), quantized.program))
}

#[test]
fn less_is_lost_on_unseen_inputs() {
    let rows = rows();
    for (scheme, factor) in [
        ("int8", 0.5),
        ("int4", 0.5),
        ("int4-block8", 0.5),
        ("uint4-affine", 0.5),
        ("lut4", 0.5),
        ("lut6", 0.5),
        ("lut4-g8", 0.5),
        ("lut4+int8", 0.6),
        ("sparse50", 0.5),
        ("sparse50+lut4", 0.5),
        ("sparse50+int8", 0.5),
        ("sparse2:4", 0.6),
    ] {
        let by_value = loss(&compressed(scheme, None, 2).unwrap());
        let by_data = loss(&compressed(scheme, Some(&rows), 2).unwrap());
        assert!(
            by_data < by_value * factor,
            "{scheme}: {by_data:.3e}, by values alone {by_value:.3e}"
        );
    }
}

#[test]
fn threads_change_nothing() {
    let rows = rows();
    for scheme in ["int4", "lut4", "sparse50+lut4"] {
        let values = |threads| loss(&compressed(scheme, Some(&rows), threads).unwrap()).to_bits();
        assert_eq!(values(1), values(3), "{scheme}");
    }
}

#[test]
fn no_rows_and_no_such_function_are_refused() {
    let error = compressed("int8", Some(&[]), 1).unwrap_err();
    assert_eq!(error.to_string(), "calibration: there are no texts");
    let mut padding = rows();
    padding.iter_mut().for_each(|row| row.tokens.fill(false));
    let error = compressed("int8", Some(&padding), 1).unwrap_err();
    assert_eq!(error.to_string(), "calibration: the texts have no tokens");
}
