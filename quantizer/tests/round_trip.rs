//! Every scheme on weights of awkward shapes: what is written as a package, read back and decompressed by the runtime
//! is off by exactly what the report says, and is what the scheme's own definition allows.

mod common;

use common::{decoded, package, weights, with_weight};
use corer_mil::{DataType, Target};
use corer_quantizer::{Config, NoProgress, QuantizeError, Request, Scheme, quantize};
use proptest::prelude::*;

/// Schemes that fit a shape of any size.
const ANY_SHAPE: &[&str] = &[
    "int8",
    "uint8",
    "int8-tensor",
    "uint8-affine",
    "int8-affine",
    "int8-fitted",
    "int4",
    "uint4",
    "int4-affine",
    "uint4-affine-full",
    "int4-full",
    "lut1",
    "lut2",
    "lut3",
    "lut4",
    "lut6",
    "lut8",
    "lut4-uniform",
    "lut6+int8",
    "sparse50",
    "sparse87.5",
    "sparse-below0.3",
    "sparse2:4",
    "sparse1:3",
    "sparse60-block2",
    "sparse50+lut4",
    "sparse50+lut3",
    "sparse2:4+lut6+int8",
    "sparse50+int8",
    "sparse50+uint8-affine",
    "sparse40+int4",
];

/// Schemes an iOS 16 package can hold.
const OLD: &[&str] = &[
    "int8",
    "uint8",
    "int8-tensor",
    "uint8-affine",
    "lut1",
    "lut2",
    "lut4",
    "lut6",
    "lut8",
    "lut4-uniform",
    "sparse50",
    "sparse3:4",
];

fn check(shape: &[usize], values: &[f32], op: &str, scheme: &str, target: Target, dtype: DataType) {
    let program = with_weight(shape, values, op, target.opset(), dtype);
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::uniform(scheme.parse().unwrap());
    config.threshold = 0;
    let request = Request {
        config: &config,
        target: None,
        scratch: directory.path(),
        threads: Some(2),
        calibration: None,
        progress: &NoProgress,
    };
    let quantized = quantize(program, &request).unwrap();
    assert_eq!(corer_mil::check(&quantized.program), vec![]);
    let weight = quantized
        .report
        .weights
        .iter()
        .find(|weight| weight.name == "w")
        .unwrap();
    assert!(weight.changed, "{scheme}: {:?}", weight.note);
    let read = package(&directory.path().join("X.mlpackage"), quantized.program);
    let back = decoded(&read, "w", shape);
    let original: Vec<f32> = values
        .iter()
        .map(|value| common::rounded(dtype, *value))
        .collect();
    let error: f64 = back
        .iter()
        .zip(&original)
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum();
    let told = weight.squared_error.unwrap();
    assert!(
        (error - told).abs() <= 1e-5 * error.max(1e-9),
        "{scheme} {shape:?}: {error} is not {told}"
    );
    let stored: u64 = weight.bytes_after;
    assert!(stored > 0);
    if op == "gather" {
        // Rows looked up one by one, and the same table decompressed as a whole.
        let whole = common::quantized(read, "fp16").unwrap().program;
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&back),
            bits(&decoded(&whole, "w", shape)),
            "{scheme} {shape:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shape(
        (rows, columns) in (1usize..24, 1usize..40),
        seed in any::<u64>(),
        op in prop::sample::select(&["linear", "add", "gather"]),
        dtype in prop::sample::select(&[DataType::Fp16, DataType::Fp32]),
    ) {
        let values = weights(rows * columns, seed);
        for scheme in ANY_SHAPE {
            let structured = scheme.contains(':') || scheme.contains("block");
            if structured && op != "linear" {
                continue;
            }
            check(&[rows, columns], &values, op, scheme, Target::Ios18, dtype);
        }
        for scheme in OLD {
            if scheme.contains(':') && op != "linear" {
                continue;
            }
            check(&[rows, columns], &values, op, scheme, Target::Ios16, dtype);
        }
    }

    #[test]
    fn blocks_groups_and_vectors_that_divide(
        (outer, inner) in (1usize..7, 1usize..7),
        seed in any::<u64>(),
        block in 1usize..5,
    ) {
        let (rows, columns) = (outer * 4 * block, inner * block);
        let values = weights(rows * columns, seed);
        for scheme in [
            format!("int4-block{block}"), format!("uint8-block{block}-affine"), format!("int8-block{block}"),
            format!("lut2-g{block}"), format!("lut4-g{block}-axis1"), format!("lut3-v2-g{}", 4 * block),
            "lut2-v4".to_owned(), format!("lut4-g{block}+int8"), format!("sparse50+lut2-g{block}"),
            format!("sparse50+int8-block{block}"), "lut4-v2+int8".to_owned(),
        ] {
            check(&[rows, columns], &values, "linear", &scheme, Target::Ios18, DataType::Fp16);
        }
    }
}

#[test]
fn tables_of_rank_3_and_4_have_a_scale_per_channel() {
    for shape in [vec![1usize, 9, 7], vec![1, 7, 1, 9], vec![5, 3, 1, 1]] {
        let count = shape.iter().product();
        let values = weights(count, 7);
        for scheme in ["int8", "int4", "lut4", "sparse50", "int4-affine", "lut2-g1"] {
            check(&shape, &values, "add", scheme, Target::Ios18, DataType::Fp16);
        }
    }
    // One large channel must not cost the others their precision.
    let mut values = weights(4 * 64, 3);
    values[..64].iter_mut().for_each(|value| *value *= 100.0);
    let program = with_weight(&[1, 4, 64], &values, "add", Target::Ios16.opset(), DataType::Fp16);
    let report = common::report(program, "int8");
    assert!(report.weights[0].squared_error.unwrap() < 0.25 * 64.0 * (100.0f64 / 127.0).powi(2));
    let others: f64 = 3.0 * 64.0 * 0.25 * (1.0f64 / 127.0).powi(2);
    let first: f64 = 64.0 * (100.0f64 / 127.0).powi(2) / 3.0;
    assert!(report.weights[0].squared_error.unwrap() < first + others);
}

#[test]
fn unique_palettes_lose_nothing() {
    let few: Vec<f32> = (0..600).map(|i| [0.5, -0.25, 3.0, 0.0, 1e-3][i % 5]).collect();
    for (target, bits) in [(Target::Ios16, "4 bits"), (Target::Ios18, "3 bits")] {
        let program = with_weight(&[20, 30], &few, "linear", target.opset(), DataType::Fp16);
        let report = common::report(program, "lut-unique");
        assert_eq!(report.weights[0].squared_error, Some(0.0));
        assert_eq!(report.weights[0].sqnr_db, None);
        assert_eq!(report.weights[0].note.as_deref(), Some(bits));
    }
    let many = weights(600, 1);
    let program = with_weight(&[20, 30], &many, "linear", Target::Ios16.opset(), DataType::Fp16);
    let error = common::quantized(program, "lut-unique").unwrap_err();
    assert!(matches!(&error, QuantizeError::Nothing { .. }), "{error}");
    assert!(
        error.to_string().contains("more than 256 distinct values"),
        "{error}"
    );
}

#[test]
fn blocks_that_do_not_divide_say_which_would() {
    let values = weights(20 * 30, 2);
    let program = with_weight(
        &[20, 30],
        &values,
        "linear",
        Target::Ios18.opset(),
        DataType::Fp16,
    );
    let error = common::quantized(program, "int4-block8").unwrap_err().to_string();
    assert!(
        error.contains("blocks of 8 don't divide its 30 input channels (blocks of 1, 2, 3, 5, 6, 10, 15 do)"),
        "{error}"
    );
}

#[test]
fn weights_that_are_not_finite_are_refused_by_place() {
    for (bad, text) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        for scheme in [
            "int8",
            "int8-tensor",
            "int4-block10",
            "lut4",
            "lut4-g1-axis1",
            "sparse50",
            "sparse2:4",
            "lut2-v2",
        ] {
            let mut values = weights(20 * 30, 2);
            values[431] = bad;
            let program = with_weight(
                &[20, 30],
                &values,
                "linear",
                Target::Ios18.opset(),
                DataType::Fp16,
            );
            let error = common::quantized(program, scheme).unwrap_err();
            let QuantizeError::NotFinite { index, .. } = error else {
                panic!("{scheme}: {error}")
            };
            assert_eq!(index, 431, "{scheme}");
            assert!(
                error.to_string().contains(&format!("element 431 is {text};")),
                "{error}"
            );
        }
    }
}

#[test]
fn what_the_opset_lacks_is_refused_and_raising_helps() {
    let values = weights(32 * 64, 5);
    for scheme in [
        "int4",
        "int8-block32",
        "lut3",
        "lut4-g16",
        "lut4-v2",
        "lut4+int8",
        "sparse50+lut4",
    ] {
        let program = || {
            with_weight(
                &[32, 64],
                &values,
                "gather",
                Target::Ios16.opset(),
                DataType::Fp16,
            )
        };
        let error = common::quantized(program(), scheme).unwrap_err().to_string();
        assert!(error.contains("which came with ios18"), "{scheme}: {error}");
        let raised = common::quantized_for(program(), scheme, Some(Target::Ios18)).unwrap();
        assert_eq!(corer_mil::check(&raised.program), vec![]);
    }
}

/// Whether a program, written and read back, still decompresses to the numbers expected.
fn same(directory: &tempfile::TempDir, name: &str, program: corer_mil::Program, expected: &[f32]) {
    let read = package(&directory.path().join(name).with_extension("mlpackage"), program);
    assert!(decoded(&read, "w", &[32, 64]) == expected, "step {name}");
}

#[test]
fn twice_and_back_says_what_it_did_and_never_corrupts() {
    let values = weights(32 * 64, 5);
    for (first, target) in [
        ("int8", Target::Ios16),
        ("lut4", Target::Ios17),
        ("sparse50", Target::Ios16),
        ("int4", Target::Ios18),
        ("sparse50+lut4+int8", Target::Ios18),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let program = with_weight(&[32, 64], &values, "linear", target.opset(), DataType::Fp16);
        let once = common::quantized(program, first).unwrap();
        let once = package(&directory.path().join("1.mlpackage"), once.program);
        let expected = decoded(&once, "w", &[32, 64]);
        // The same again, or another scheme, leaves a compressed weight alone.
        for scheme in [first, "int8"] {
            let again = common::quantized(once.clone(), scheme).unwrap();
            assert_eq!(
                again.report.weights[0].note.as_deref(),
                Some("compressed already")
            );
            same(&directory, "2", again.program, &expected);
        }
        // Back to numbers: the very ones it decompresses to, and no trace of the chain.
        let dense = common::quantized(once.clone(), "fp16").unwrap();
        let operations = &dense.program.functions["main"].body().unwrap().operations;
        assert!(
            operations
                .iter()
                .all(|operation| !operation.op.starts_with("constexpr_"))
        );
        assert_eq!(corer_mil::check(&dense.program), vec![]);
        let dense = package(&directory.path().join("3.mlpackage"), dense.program);
        assert!(decoded(&dense, "w", &[32, 64]) == expected);
        // Raising the target rewrites the form and keeps the numbers.
        let raised = common::quantized_for(once.clone(), first, Some(Target::Ios18)).unwrap();
        assert_eq!(corer_mil::check(&raised.program), vec![]);
        same(&directory, "4", raised.program, &expected);
        // Once more only when told so, from what it decompresses to.
        let mut config = Config::uniform("lut-unique".parse::<Scheme>().unwrap());
        config.recompress = true;
        let request = Request {
            config: &config,
            target: None,
            scratch: directory.path(),
            threads: Some(1),
            calibration: None,
            progress: &NoProgress,
        };
        match quantize(once, &request) {
            Ok(again) => same(&directory, "5", again.program, &expected),
            Err(error) => assert!(error.to_string().contains("distinct values"), "{error}"),
        }
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let values = weights(300 * 700, 11);
    for scheme in [
        "int8",
        "int4-block70",
        "lut4",
        "lut6-g20",
        "lut3-g7-axis1",
        "sparse50+lut3",
        "lut2-v2",
        "uint4-affine-tensor",
    ] {
        let bytes = |threads| {
            let directory = tempfile::tempdir().unwrap();
            let program = with_weight(
                &[300, 700],
                &values,
                "linear",
                Target::Ios18.opset(),
                DataType::Fp16,
            );
            let config = Config::uniform(scheme.parse().unwrap());
            let request = Request {
                config: &config,
                target: None,
                scratch: directory.path(),
                threads: Some(threads),
                calibration: None,
                progress: &NoProgress,
            };
            let quantized = quantize(program, &request).unwrap();
            let path = directory.path().join("X.mlpackage");
            package(&path, quantized.program);
            (corer_proto::package_digest(&path).unwrap(), quantized.report)
        };
        assert_eq!(bytes(1), bytes(3), "{scheme}");
    }
}
