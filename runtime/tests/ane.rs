//! The Neural Engine's rules in whole programs, and the watch over sums: what is expected is the published behaviour
//! (see `corer_runtime::AneRule::evidence`) or a plain sum formed here.

use std::collections::BTreeMap;

use corer_mil::{DataType, Function, FunctionBuilder, Input, Program, Target, TensorType, Value};
use corer_runtime::{
    AneRules, Arithmetic, Executable, Extent, Options, Tensor, TensorData, Watch, isolated_losses,
};

const HALF: DataType = DataType::Fp16;

fn compile(function: Function, arithmetic: Arithmetic) -> Executable {
    let program = Program {
        functions: BTreeMap::from([("main".to_owned(), function)]),
        attributes: BTreeMap::new(),
    };
    let mut options = Options::new(arithmetic);
    options.threads = Some(2);
    Executable::compile(&program, "main", &options).expect("compiles")
}

fn ane(rules: &str) -> Arithmetic {
    Arithmetic::Ane(rules.parse().expect("rules"))
}

fn inputs(shape: &[usize], values: &[f32]) -> BTreeMap<String, Tensor> {
    BTreeMap::from([("x".to_owned(), Tensor::f32(shape, values.to_vec()).unwrap())])
}

/// One operation of `x` and constants.
fn one(op: &str, dtype: DataType, shape: &[u64], parameters: &[(&str, Value)]) -> Function {
    let mut builder = FunctionBuilder::new(Target::Ios18.opset());
    let x = builder.input("x", TensorType::new(dtype, shape.iter().copied()));
    let mut arguments = vec![("x", Input::from(&x))];
    arguments.extend(
        parameters
            .iter()
            .map(|(name, value)| (*name, Input::from(value.clone()))),
    );
    let y = builder.op(op, "y", arguments).expect("accepted");
    builder.finish(&[y])
}

fn computed(function: Function, arithmetic: Arithmetic, values: &[f32], shape: &[usize]) -> Vec<f32> {
    let executable = compile(function, arithmetic);
    executable.run(&inputs(shape, values)).expect("runs")["y"].to_f32()
}

/// The study's 1 × 1 convolution whose weights are all 1: output = Σ x (N1), through conv and linear.
#[test]
fn accumulators_end_at_32768() {
    let sum = |values: &[f32], arithmetic: Arithmetic| {
        let k = values.len() as u64;
        let weight = |shape: &[u64]| Value::floats(HALF, shape, &vec![1.0; values.len()]);
        let conv = one("conv", HALF, &[1, k, 1, 1], &[("weight", weight(&[1, k, 1, 1]))]);
        let linear = one("linear", HALF, &[1, k], &[("weight", weight(&[1, k]))]);
        let k = values.len();
        let by_conv = computed(conv, arithmetic, values, &[1, k, 1, 1])[0];
        let by_linear = computed(linear, arithmetic, values, &[1, k])[0];
        assert_eq!(by_conv, by_linear);
        by_conv
    };
    for (values, on_cpu, on_ane) in [
        (&[32752.0][..], 32752.0, 32752.0),
        (&[16384.0, 16376.0], 32768.0, 32768.0),
        (&[16384.0, 16384.0], 32768.0, f32::INFINITY),
        (&[16384.0, 16384.0, -16384.0, -16384.0, 1.0], 1.0, f32::INFINITY),
        (&[2048.0, 1.0], 2048.0, 2050.0),
        (&[-4096.0, -2.0], -4096.0, -4100.0),
    ] {
        assert_eq!(sum(values, Arithmetic::AsWritten), on_cpu, "{values:?}");
        assert_eq!(sum(values, ane("default")), on_ane, "{values:?}");
        assert_eq!(sum(values, ane("all")), on_ane, "{values:?}");
        assert_eq!(sum(values, ane("none")), on_cpu, "{values:?}");
        assert_eq!(sum(values, Arithmetic::F32), values.iter().sum::<f32>());
    }
    // N2: small products are lost on the grid, and only there.
    let small = [16384.0, 2f32.powi(-18), -16384.0];
    assert_eq!(sum(&small, ane("default")), 2f32.powi(-18));
    assert_eq!(sum(&small, ane("all")), 0.0);
    // N7: 2⁻²⁰ is subnormal.
    assert_eq!(sum(&[2f32.powi(-20)], ane("default")), 2f32.powi(-20));
    assert_eq!(sum(&[2f32.powi(-20)], ane("N7")), 0.0);
}

/// Elementwise operations have fp16's own range (the study's table of the other path), and fp32 ones don't change.
#[test]
fn elementwise_operations_have_no_accumulator() {
    let add = |dtype, term: f32, x: f32, arithmetic| {
        let function = one("add", dtype, &[1], &[("y", Value::float(dtype, term))]);
        computed(function, arithmetic, &[x], &[1])[0]
    };
    for (x, term, expected) in [
        (2048.0, 1.0, 2050.0),
        (65504.0, 0.0, 65504.0),
        (40000.0, 1.0, 40000.0),
        (16384.0, 16384.0, 32768.0),
        (2f32.powi(-24), 0.0, 2f32.powi(-24)),
        (f32::NAN, 1.0, f32::INFINITY),
    ] {
        assert_eq!(add(HALF, term, x, ane("default")), expected, "{x} + {term}");
    }
    assert_eq!(add(DataType::Fp32, 1.0, 2048.0, ane("all")), 2049.0);
    // D9: an infinity is a number to the next operation, and an infinity again where it leaves.
    let half = one("mul", HALF, &[1], &[("y", Value::float(HALF, 0.25))]);
    assert_eq!(
        computed(half.clone(), ane("D9"), &[f32::INFINITY], &[1]),
        [16384.0]
    );
    assert_eq!(
        computed(half, ane("none"), &[f32::INFINITY], &[1]),
        [f32::INFINITY]
    );
    let square = one("mul", HALF, &[1], &[("y", Value::float(HALF, 256.0))]);
    assert_eq!(computed(square, ane("default"), &[256.0], &[1]), [f32::INFINITY]);
    let cast = |arithmetic| {
        let function = one("cast", HALF, &[1], &[("dtype", Value::string("fp32"))]);
        computed(function, arithmetic, &[f32::INFINITY], &[1])[0]
    };
    assert_eq!(cast(ane("default")), f32::INFINITY);
}

/// N10: counts are exact to 2048, and 2049 is read back as 2050.
#[test]
fn integer_sums_are_rounded() {
    let sum = |count: usize| {
        let function = one(
            "reduce_sum",
            HALF,
            &[count as u64],
            &[("axes", Value::i32s(&[0]))],
        );
        computed(function, ane("default"), &vec![1.0; count], &[count])[0]
    };
    assert_eq!(sum(2048), 2048.0);
    assert_eq!(sum(2049), 2050.0);
}

/// N5: only slices that begin inside the last axis, only beyond 65504 / 16.
#[test]
fn wide_slices_lose_large_values() {
    let slice = |begin: [i32; 2], end: [i32; 2], arithmetic| {
        let parameters = [("begin", Value::i32s(&begin)), ("end", Value::i32s(&end))];
        let function = one("slice_by_index", HALF, &[2, 3], &parameters);
        computed(
            function,
            arithmetic,
            &[1.0, 4094.0, -4096.0, 5000.0, 2.0, 3.0],
            &[2, 3],
        )
    };
    let infinity = f32::INFINITY;
    assert_eq!(slice([0, 1], [1, 3], ane("N5")), [4094.0, -infinity]);
    assert_eq!(slice([0, 1], [1, 3], ane("all,-N5")), [4094.0, -4096.0]);
    assert_eq!(slice([0, 0], [1, 3], ane("N5")), [1.0, 4094.0, -4096.0]);
    assert_eq!(slice([1, 0], [2, 1], ane("N5")), [5000.0]);
}

/// N8: both modes of gelu are one function, also where it follows a product and is computed along with it.
#[test]
fn gelu_is_looked_up() {
    let gelu = |mode: &str, fused: bool, arithmetic| {
        let mut builder = FunctionBuilder::new(Target::Ios18.opset());
        let x = builder.input("x", TensorType::new(HALF, [2, 1]));
        let weight = Value::floats(HALF, &[1, 1], &[1.0]);
        let y = match fused {
            true => builder.op("linear", "l", vec![("x", (&x).into()), ("weight", weight.into())]),
            false => builder.op(
                "mul",
                "m",
                vec![("x", (&x).into()), ("y", Value::float(HALF, 1.0).into())],
            ),
        };
        let mode = Value::string(mode);
        let y = builder
            .op(
                "gelu",
                "y",
                vec![("x", (&y.unwrap()).into()), ("mode", mode.into())],
            )
            .unwrap();
        computed(builder.finish(&[y]), arithmetic, &[0.125, 5.0], &[2, 1])
    };
    let exact = gelu("EXACT", false, ane("N8"));
    assert_eq!(exact, gelu("TANH_APPROXIMATION", false, ane("N8")));
    assert_eq!(exact, gelu("EXACT", true, ane("N8")));
    // Half way between two points, the chord of a convex function is above it, by h²/8 of its curvature.
    let cpu = gelu("EXACT", false, ane("none"));
    assert!((exact[0] - cpu[0] - 6.2e-3).abs() < 3e-4, "{exact:?} {cpu:?}");
    assert_eq!(exact[1], 5.0);
}

#[test]
fn outputs_are_what_a_caller_expects() {
    let function = one("add", HALF, &[1], &[("y", Value::float(HALF, 1.0))]);
    let executable = compile(function, Arithmetic::Ane(AneRules::default()));
    let outputs = executable.run(&inputs(&[1], &[1.0])).unwrap();
    assert!(matches!(outputs["y"].data(), TensorData::F16(_)));
}

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            half::f16::from_f32((state >> 8) as f32 / 8_388_608.0 - 1.0).to_f32()
        })
        .collect()
}

fn watched(function: Function, shape: &[usize], values: &[f32]) -> Vec<Extent> {
    let executable = compile(function, Arithmetic::F32);
    let mut watch = Watch::default();
    executable
        .run_observed(&inputs(shape, values), &mut |seen| watch.see(seen))
        .expect("runs");
    watch.extents().to_vec()
}

/// (last, reached, bound) of the sums start + Σ a·b.
fn plain(start: f32, terms: impl Iterator<Item = (f32, f32)>) -> [f64; 3] {
    let start = f64::from(start);
    let [mut sum, mut reached, mut bound] = [start, start.abs(), start.abs()];
    for (a, b) in terms {
        let product = f64::from(a) * f64::from(b);
        sum += product;
        bound += product.abs();
        reached = reached.max(sum.abs());
    }
    [sum.abs(), reached, bound]
}

fn assert_sums(extent: &Extent, expected: [f64; 3]) {
    let sums = extent.sums.expect("sums");
    for (found, expected) in [sums.last, sums.reached, sums.bound].into_iter().zip(expected) {
        assert!(
            (f64::from(found) - expected).abs() < 1e-4 * expected.max(1.0),
            "{}: {sums:?}, expected {expected}",
            extent.operation
        );
    }
    assert!((f64::from(extent.largest) - expected[0]).abs() < 1e-4 * expected[0].max(1.0));
}

/// Sums of conv, linear, matmul and einsum against sums formed one by one; ragged sizes on purpose.
#[test]
fn sums_are_measured() {
    let (rows, k, columns) = (13, 37, 21);
    let x = numbers(rows * k, 1);
    let w = numbers(columns * k, 2);
    let bias = numbers(columns, 3);
    let largest = |a: &dyn Fn(usize, usize) -> f32, start: &dyn Fn(usize) -> f32| {
        let mut all = [0f64; 3];
        for row in 0..rows {
            for column in 0..columns {
                let terms = (0..k).map(|i| (a(row, i), w[column * k + i]));
                for (all, own) in all.iter_mut().zip(plain(start(column), terms)) {
                    *all = all.max(own);
                }
            }
        }
        all
    };
    let (r, n, m) = (rows as u64, columns as u64, k as u64);
    let by_rows = |row: usize, i: usize| x[row * k + i];
    let linear = one(
        "linear",
        HALF,
        &[r, m],
        &[
            ("weight", Value::floats(HALF, &[n, m], &w)),
            ("bias", Value::floats(HALF, &[n], &bias)),
        ],
    );
    let found = watched(linear, &[rows, k], &x);
    let [extent] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*extent.operation, &*extent.op), ("y", "linear"));
    assert_sums(extent, largest(&by_rows, &|column| bias[column]));
    // Channels are what a convolution sums over.
    let conv = one(
        "conv",
        HALF,
        &[1, m, 1, r],
        &[
            ("weight", Value::floats(HALF, &[n, m, 1, 1], &w)),
            ("bias", Value::floats(HALF, &[n], &bias)),
        ],
    );
    let by_channels = |row: usize, i: usize| x[i * rows + row];
    let found = watched(conv, &[1, k, 1, rows], &x);
    assert_sums(&found[0], largest(&by_channels, &|column| bias[column]));
    // A product of two computed values, through matmul.
    let mut builder = FunctionBuilder::new(Target::Ios18.opset());
    let a = builder.input("x", TensorType::new(HALF, [1, r, m]));
    let w_value = Value::floats(HALF, &[1, n, m], &w);
    let zero = builder
        .op(
            "mul",
            "zero",
            vec![("x", (&a).into()), ("y", Value::float(HALF, 0.0).into())],
        )
        .unwrap();
    let zero = builder
        .op(
            "slice_by_index",
            "row",
            vec![
                ("x", (&zero).into()),
                ("begin", Value::i32s(&[0, 0, 0]).into()),
                ("end", Value::i32s(&[1, 1, k as i32]).into()),
            ],
        )
        .unwrap();
    let b = builder
        .op("add", "b", vec![("x", (&zero).into()), ("y", w_value.into())])
        .unwrap();
    let y = builder
        .op(
            "matmul",
            "y",
            vec![
                ("x", (&a).into()),
                ("y", (&b).into()),
                ("transpose_y", Value::bool(true).into()),
            ],
        )
        .unwrap();
    let found = watched(builder.finish(&[y]), &[1, rows, k], &x);
    let product = found
        .iter()
        .find(|extent| extent.op == "matmul")
        .expect("a product");
    assert_sums(product, largest(&by_rows, &|_| 0.0));
    assert!(
        found
            .iter()
            .all(|extent| extent.op == "matmul" || extent.sums.is_none())
    );
}

/// Attention has two products; its sums are the larger of both.
#[test]
fn sums_of_attention_are_measured() {
    let (length, width) = (5, 8);
    let query = numbers(length * width, 4);
    let mut builder = FunctionBuilder::new(Target::Ios18.opset());
    let x = builder.input("x", TensorType::new(HALF, [1, 1, length as u64, width as u64]));
    let arguments = ["query", "key", "value"].map(|name| (name, Input::from(&x)));
    let y = builder
        .op("scaled_dot_product_attention", "y", arguments.to_vec())
        .unwrap();
    let found = watched(builder.finish(&[y]), &[1, 1, length, width], &query);
    let mut scores = [0f64; 3];
    for a in query.chunks(width) {
        for b in query.chunks(width) {
            let own = plain(0.0, a.iter().copied().zip(b.iter().copied()));
            for (all, own) in scores.iter_mut().zip(own) {
                *all = all.max(own);
            }
        }
    }
    // Weights add up to 1, so the second product stays within the values, which are below 1.
    let sums = found[0].sums.expect("sums");
    assert!(
        (f64::from(sums.reached) - scores[1]).abs() < 1e-5,
        "{sums:?} {scores:?}"
    );
    assert!(
        (f64::from(sums.bound) - scores[2]).abs() < 1e-5,
        "{sums:?} {scores:?}"
    );
}

/// A sum that passes 32768 and comes back: as written it passes, by the rules it doesn't, and the watch says so.
#[test]
fn the_watch_sees_what_a_device_would_overflow_on() {
    let function = || {
        one(
            "linear",
            HALF,
            &[1, 3],
            &[("weight", Value::floats(HALF, &[1, 3], &[1.0; 3]))],
        )
    };
    let values = [30000.0, 20000.0, -40000.0];
    assert_eq!(
        computed(function(), Arithmetic::AsWritten, &values, &[1, 3]),
        [10000.0]
    );
    assert_eq!(
        computed(function(), ane("default"), &values, &[1, 3]),
        [f32::INFINITY]
    );
    let found = watched(function(), &[1, 3], &values);
    assert_eq!(found[0].accumulator_headroom(), Some(32768.0 / 50000.0));
    assert_eq!(found[0].certain_headroom(), Some(32768.0 / 90000.0));
    assert_eq!(found[0].result_headroom(), Some(6.5504));
    assert_eq!(found[0].headroom(), found[0].accumulator_headroom());
}

/// Each operation's loss is its own: what follows a lossy operation is given what an exact one would have.
#[test]
fn losses_are_each_operations_own() {
    let mut builder = FunctionBuilder::new(Target::Ios18.opset());
    let x = builder.input("x", TensorType::new(HALF, [2]));
    let half = |value: f32| Input::from(Value::float(HALF, value));
    let lossy = builder
        .op("add", "lossy", vec![("x", (&x).into()), ("y", half(2048.0))])
        .unwrap();
    let back = builder
        .op(
            "maximum",
            "back",
            vec![("x", (&lossy).into()), ("y", half(2050.0))],
        )
        .unwrap();
    let exact = builder
        .op("mul", "exact", vec![("x", (&back).into()), ("y", half(2.0))])
        .unwrap();
    let program = Program {
        functions: BTreeMap::from([("main".to_owned(), builder.finish(&[exact]))]),
        attributes: BTreeMap::new(),
    };
    // 2048 + 1 is 2048 in fp16; what is below 2050 doesn't come through the second.
    let rows = [inputs(&[2], &[1.0, 2.0]), inputs(&[2], &[2.0, 1.0])];
    let found = isolated_losses(&program, "main", &rows, Arithmetic::AsWritten).expect("measured");
    let found: Vec<(&str, f64, f64)> = found
        .iter()
        .map(|loss| (&*loss.operation, loss.noise, loss.signal))
        .collect();
    let square = |x: f64| x * x;
    assert_eq!(
        found,
        [
            ("lossy", 2.0, 2.0 * (square(2049.0) + square(2050.0))),
            ("back", 0.0, 4.0 * square(2050.0)),
            ("exact", 0.0, 4.0 * square(4100.0)),
        ]
    );
}
