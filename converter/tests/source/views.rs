//! Lazy tensors do what the same steps on a plain vector do, read whole or in pieces, aligned or not.

use std::sync::Arc;

use ::safetensors::tensor::{Dtype, TensorView};
use corer_converter::source::{LazyTensor, Overflow, SourceFile, TensorSlice, safetensors};
use corer_mil::DataType;
use half::{bf16, f16};
use proptest::prelude::*;

/// A tensor in memory and the same steps done to it at once.
#[derive(Clone, Debug)]
struct Plain {
    shape: Vec<usize>,
    values: Vec<f32>,
    factor: f32,
}

impl Plain {
    fn matrix(&self) -> (usize, usize) {
        (self.shape[0], self.shape[1..].iter().product())
    }

    fn pick(&self, shape: Vec<usize>, rows: &[u32], columns: &[u32]) -> Self {
        let width = self.matrix().1;
        let pick = |row: &u32| {
            let row = *row as usize * width;
            columns
                .iter()
                .map(move |column| self.values[row + *column as usize])
                .collect::<Vec<_>>()
        };
        Self {
            shape,
            values: rows.iter().flat_map(pick).collect(),
            factor: self.factor,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Reshape(prop::sample::Index),
    Rows(Vec<prop::sample::Index>),
    Columns(Vec<prop::sample::Index>),
    Shuffle,
    Slice(prop::sample::Index, prop::sample::Index),
    Transpose,
    Scale(f32),
}

fn indices(picks: &[prop::sample::Index], size: usize) -> Vec<u32> {
    if size == 0 {
        Vec::new()
    } else {
        picks.iter().map(|pick| pick.index(size) as u32).collect()
    }
}

/// Every way to split a count into one, two or three axes.
fn shapes(count: usize) -> Vec<Vec<usize>> {
    let divisors: Vec<usize> = (1..=count).filter(|size| count.is_multiple_of(*size)).collect();
    let mut shapes = vec![vec![count]];
    for size in &divisors {
        shapes.push(vec![*size, count / size]);
        shapes.push(vec![*size, 1, count / size]);
        if (count / size).is_multiple_of(2) {
            shapes.push(vec![*size, 2, count / size / 2]);
        }
    }
    shapes
}

fn apply(plain: Plain, lazy: LazyTensor, step: &Step) -> (Plain, LazyTensor) {
    let (rows, columns) = plain.matrix();
    let all = |size: usize| (0..size as u32).collect::<Vec<_>>();
    match step {
        Step::Reshape(which) => {
            if plain.values.is_empty() {
                return (plain, lazy);
            }
            let shapes = shapes(plain.values.len());
            let shape = which.get(&shapes).clone();
            let lazy = lazy
                .reshape(shape.iter().map(|size| *size as u64).collect())
                .unwrap();
            (Plain { shape, ..plain }, lazy)
        }
        Step::Rows(picks) => {
            let picks = indices(picks, rows);
            let mut shape = plain.shape.clone();
            shape[0] = picks.len();
            (
                plain.pick(shape, &picks, &all(columns)),
                lazy.select_rows(picks.into()).unwrap(),
            )
        }
        Step::Shuffle => {
            // Heads of 4 rows interleaved, as packed attention does it.
            let heads = rows / 4;
            let picks: Vec<u32> = (0..heads * 4)
                .map(|i| ((i % heads) * 4 + i / heads) as u32)
                .collect();
            let mut shape = plain.shape.clone();
            shape[0] = picks.len();
            (
                plain.pick(shape, &picks, &all(columns)),
                lazy.select_rows(picks.into()).unwrap(),
            )
        }
        Step::Columns(picks) => {
            let picks = indices(picks, columns);
            let mut shape = vec![rows, picks.len()];
            shape.resize(plain.shape.len().max(2), 1);
            (
                plain.pick(shape, &all(rows), &picks),
                lazy.select_columns(picks.into()).unwrap(),
            )
        }
        Step::Slice(a, b) => {
            let (a, b) = (a.index(rows + 1), b.index(rows + 1));
            let range = a.min(b)..a.max(b);
            let mut shape = plain.shape.clone();
            shape[0] = range.len();
            let picks: Vec<u32> = range.clone().map(|row| row as u32).collect();
            let lazy = lazy.slice_rows(range.start as u64..range.end as u64).unwrap();
            (plain.pick(shape, &picks, &all(columns)), lazy)
        }
        Step::Transpose => {
            let [rows, columns] = plain.shape[..] else {
                return (plain, lazy);
            };
            let values = (0..columns)
                .flat_map(|column| (0..rows).map(move |row| row * columns + column))
                .map(|at| plain.values[at])
                .collect();
            (
                Plain {
                    shape: vec![columns, rows],
                    values,
                    ..plain
                },
                lazy.transpose().unwrap(),
            )
        }
        Step::Scale(factor) => (
            Plain {
                factor: plain.factor * factor,
                ..plain
            },
            lazy.scale(*factor),
        ),
    }
}

fn step() -> impl Strategy<Value = Step> {
    let picks = || prop::collection::vec(any::<prop::sample::Index>(), 0..40);
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Step::Reshape),
        picks().prop_map(Step::Rows),
        picks().prop_map(Step::Columns),
        Just(Step::Shuffle),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(a, b)| Step::Slice(a, b)),
        Just(Step::Transpose),
        prop::sample::select(vec![0.125f32, -3.0, 1.0]).prop_map(Step::Scale),
    ]
}

/// A one-tensor file written by the safetensors crate.
fn stored(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> TensorSlice {
    let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let file = ::safetensors::serialize([("x", view)], None).unwrap();
    safetensors::read(&SourceFile::memory("x.safetensors", file))
        .unwrap()
        .remove(0)
}

/// Values that differ everywhere and are exact in every stored type.
fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 37 + i / 251) % 251) as f32 - 125.0)
        .collect()
}

fn encode(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let each = |f: &dyn Fn(f32) -> Vec<u8>| values.iter().flat_map(|v| f(*v)).collect();
    match dtype {
        Dtype::F16 => each(&|v| f16::from_f32(v).to_le_bytes().to_vec()),
        Dtype::BF16 => each(&|v| bf16::from_f32(v).to_le_bytes().to_vec()),
        Dtype::F64 => each(&|v| f64::from(v).to_le_bytes().to_vec()),
        _ => each(&|v| v.to_le_bytes().to_vec()),
    }
}

/// Compares all of a lazy tensor, and windows of it at odd places, to what a plain vector holds.
fn agree(plain: &Plain, lazy: &LazyTensor, windows: &[(usize, usize)]) {
    assert_eq!(
        lazy.shape(),
        plain.shape.iter().map(|size| *size as u64).collect::<Vec<_>>()
    );
    assert_eq!(lazy.count(), plain.values.len() as u64);
    let wanted: Vec<f32> = plain.values.iter().map(|value| value * plain.factor).collect();
    assert_eq!(lazy.read_f32().unwrap(), wanted);
    let single: Vec<u8> = wanted.iter().flat_map(|value| value.to_le_bytes()).collect();
    let half: Vec<u8> = wanted
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes())
        .collect();
    for (dtype, size, bytes) in [(DataType::Fp32, 4, single), (DataType::Fp16, 2, half)] {
        let source = lazy.clone().into_source(dtype, Overflow::Error);
        assert_eq!(source.byte_len(), bytes.len() as u64);
        assert!(source.to_vec().unwrap() == bytes, "{dtype} of {plain:?}");
        for (start, len) in windows {
            let start = start % (wanted.len() + 1);
            let len = len % (wanted.len() + 1 - start);
            // One byte further, so that elements are not aligned.
            let mut buffer = vec![0u8; len * size + 1];
            source.read_at((start * size) as u64, &mut buffer[1..]).unwrap();
            assert!(
                buffer[1..] == bytes[start * size..(start + len) * size],
                "{dtype} {start}+{len}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Sizes on both sides of the buffers' 16384 elements: many small rows, few rows longer than a buffer.
    #[test]
    fn steps_on_disk_are_steps_in_memory(
        dtype in prop::sample::select(vec![Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64]),
        (rows, columns) in prop_oneof![
            (1usize..40, 1usize..40),
            (200usize..900, 20usize..90),
            (1usize..4, 16380usize..17000),
            (16000usize..17000, 1usize..3),
        ],
        steps in prop::collection::vec(step(), 0..5),
        windows in prop::collection::vec((any::<usize>(), any::<usize>()), 4),
    ) {
        let values = values(rows * columns);
        let slice = stored(dtype, &[rows, columns], &encode(dtype, &values));
        let mut plain = Plain { shape: vec![rows, columns], values, factor: 1.0 };
        let mut lazy = LazyTensor::new(slice);
        for step in &steps {
            (plain, lazy) = apply(plain, lazy, step);
        }
        agree(&plain, &lazy, &windows);
    }
}

#[test]
fn packed_attention_of_a_wide_model_reads_right() {
    let (rows, columns) = (768, 768);
    let all = values(rows * columns);
    let slice = stored(Dtype::F32, &[rows, columns], &encode(Dtype::F32, &all));
    let order: Vec<u32> = (0..768).map(|i| (i % 12) * 64 + i / 12).collect();
    let plain = Plain {
        shape: vec![rows, columns],
        values: all,
        factor: 0.125,
    };
    let every: Vec<u32> = (0..768).collect();
    let packed_rows = LazyTensor::new(slice.clone())
        .select_rows(order.clone().into())
        .unwrap()
        .scale(0.125);
    agree(
        &plain.pick(vec![rows, columns], &order, &every),
        &packed_rows,
        &[(100_001, 262_144), (5, 1)],
    );
    let packed_columns = LazyTensor::new(slice)
        .select_columns(order.clone().into())
        .unwrap()
        .scale(0.125);
    agree(
        &plain.pick(vec![rows, columns], &every, &order),
        &packed_columns,
        &[(100_001, 262_144), (5, 1)],
    );
}

#[test]
fn several_threads_read_one_tensor() {
    let all = values(1 << 20);
    let slice = stored(Dtype::F32, &[1 << 10, 1 << 10], &encode(Dtype::F32, &all));
    let order: Arc<[u32]> = (0..1 << 10).rev().collect();
    let lazy = LazyTensor::new(slice).select_rows(order).unwrap();
    let source = lazy.into_source(DataType::Fp16, Overflow::Error);
    let whole = source.to_vec().unwrap();
    let mut pieces = vec![0; whole.len()];
    std::thread::scope(|scope| {
        for (index, piece) in pieces.chunks_mut(100_002).enumerate() {
            let source = &source;
            scope.spawn(move || source.read_at(index as u64 * 100_002, piece).unwrap());
        }
    });
    assert!(pieces == whole);
}

#[test]
fn views_that_do_not_fit_say_so() {
    let lazy = || LazyTensor::new(stored(Dtype::F32, &[2, 3], &encode(Dtype::F32, &values(6))));
    for (result, reason) in [
        (
            lazy().reshape(vec![4]),
            "tensor `x`: shape [2, 3] can't be seen as [4]",
        ),
        (lazy().reshape(vec![u64::MAX, u64::MAX]), "can't be seen as"),
        (
            lazy().select_rows(vec![2].into()),
            "tensor `x`: row 2 does not lie within its 2",
        ),
        (
            lazy().select_columns(vec![0, 3].into()),
            "column 3 does not lie within its 3",
        ),
        (lazy().slice_rows(1..3), "rows 1..3 don't lie within its 2"),
        (
            lazy().reshape(vec![6]).unwrap().transpose(),
            "shape [6] is not a matrix",
        ),
        (
            LazyTensor::from_values("t", vec![3], vec![1.0]),
            "1 values don't fill [3]",
        ),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn values_that_are_not_numbers_are_named() {
    for (bad, spelling) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let mut all = values(600 * 100);
        all[317 * 100 + 45] = bad;
        let lazy = LazyTensor::new(stored(Dtype::F32, &[600, 100], &encode(Dtype::F32, &all)));
        let order: Arc<[u32]> = (0..600).rev().collect();
        let views = [
            lazy.clone(),
            lazy.clone().select_rows(order).unwrap().scale(0.0),
            lazy.transpose().unwrap(),
        ];
        for view in views {
            for dtype in [DataType::Fp16, DataType::Fp32] {
                for overflow in [Overflow::Error, Overflow::Saturate] {
                    let error = view.clone().into_source(dtype, overflow).to_vec().unwrap_err();
                    assert_eq!(error.place, "x.safetensors, tensor `x`");
                    let wanted = format!("the value at [317, 45] is {spelling};");
                    assert!(error.reason.starts_with(&wanted), "{error}");
                }
            }
            assert!(view.read_f32().unwrap_err().to_string().contains("[317, 45]"));
        }
    }
}

#[test]
fn values_beyond_fp16_are_refused_or_clamped() {
    let with = |value: f32| {
        let mut all = values(300 * 100);
        all[123 * 100 + 7] = value;
        LazyTensor::new(stored(Dtype::F32, &[300, 100], &encode(Dtype::F32, &all)))
    };
    // 65519.996 still rounds to the largest f16; 65520 is the first to round beyond it.
    let kept = with(65519.996)
        .into_source(DataType::Fp16, Overflow::Error)
        .to_vec()
        .unwrap();
    assert_eq!(kept[(123 * 100 + 7) * 2..][..2], 0x7bffu16.to_le_bytes());
    for value in [65520.0, -1e6, 3e38] {
        let error = with(value)
            .into_source(DataType::Fp16, Overflow::Error)
            .to_vec()
            .unwrap_err();
        let wanted = format!("the value {value} at [123, 7] is beyond the largest fp16 (65504); --saturate");
        assert!(error.reason.starts_with(&wanted), "{error}");
        let clamped = with(value)
            .into_source(DataType::Fp16, Overflow::Saturate)
            .to_vec()
            .unwrap();
        let bits = if value > 0.0 { 0x7bffu16 } else { 0xfbff };
        assert_eq!(clamped[(123 * 100 + 7) * 2..][..2], bits.to_le_bytes());
        with(value)
            .into_source(DataType::Fp32, Overflow::Error)
            .to_vec()
            .unwrap();
    }
    // The factor counts: within range before, beyond after, and the other way round.
    let error = with(60000.0)
        .scale(2.0)
        .into_source(DataType::Fp16, Overflow::Error)
        .to_vec()
        .unwrap_err();
    assert!(
        error
            .reason
            .contains("the value 60000 at [123, 7], scaled by 2, is beyond"),
        "{error}"
    );
    with(1e5)
        .scale(0.125)
        .into_source(DataType::Fp16, Overflow::Error)
        .to_vec()
        .unwrap();
    // Doubles beyond f32 are told as what they become there.
    let double = stored(Dtype::F64, &[1], &1e300f64.to_le_bytes());
    assert!(LazyTensor::new(double).read_f32().is_err());
}

#[test]
fn rounding_is_to_nearest_even_for_every_half_way_case() {
    // All finite halves, each with the point half way to the next and its neighbours in f32.
    let halves = (0..0x7bffu16).flat_map(|bits| [bits, bits | 0x8000]);
    let all: Vec<f32> = halves
        .flat_map(|bits| {
            let (a, b) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
            let middle = (f64::from(a) + f64::from(b)) / 2.0;
            let middle = middle as f32; // exact: one more bit than a half has
            [
                a,
                middle,
                f32::from_bits(middle.to_bits() - 1),
                f32::from_bits(middle.to_bits() + 1),
            ]
        })
        .collect();
    let slice = stored(Dtype::F32, &[all.len()], &encode(Dtype::F32, &all));
    let rounded = LazyTensor::new(slice)
        .into_source(DataType::Fp16, Overflow::Error)
        .to_vec()
        .unwrap();
    for (value, bytes) in all.iter().zip(rounded.as_chunks::<2>().0) {
        // By the definition, in f64, where both distances are exact.
        let got = f16::from_le_bytes(*bytes);
        let distance = |half: f16| (f64::from(*value) - half.to_f64()).abs();
        for other in [got.to_bits().wrapping_sub(1), got.to_bits() + 1].map(f16::from_bits) {
            if other.is_finite() {
                let closer = distance(got) < distance(other);
                let tie_to_even = distance(got) == distance(other) && got.to_bits().is_multiple_of(2);
                assert!(closer || tie_to_even, "{value} became {got}, not {other}");
            }
        }
    }
}

#[test]
fn only_real_numbers_become_weights() {
    let slice = stored(Dtype::I64, &[2], &[0; 16]);
    let error = LazyTensor::new(slice).read_f32().unwrap_err().to_string();
    assert!(
        error.contains("tensor `x`: I64 elements are not real numbers"),
        "{error}"
    );
    let lazy = LazyTensor::placeholder("cls.bias", &[4]);
    assert!(
        lazy.read_f32()
            .unwrap_err()
            .to_string()
            .contains("`cls.bias`: is missing from the checkpoint")
    );
    let lazy = LazyTensor::new(stored(Dtype::F32, &[2], &[0; 8]));
    let source = lazy.into_source(DataType::Int8, Overflow::Error);
    assert!(
        source
            .read_at(0, &mut [0; 2])
            .unwrap_err()
            .reason
            .contains("can't be written as int8")
    );
}

#[test]
fn reads_outside_are_refused() {
    let lazy = LazyTensor::new(stored(Dtype::F32, &[4], &[0; 16]));
    let source = lazy.into_source(DataType::Fp16, Overflow::Error);
    for (offset, len) in [(0, 10), (8, 2), (1, 2), (0, 3), (u64::MAX, 2)] {
        let error = source.read_at(offset, &mut vec![0; len]).unwrap_err();
        assert!(
            error.reason.contains("are not whole elements of its 8 bytes"),
            "{error}"
        );
    }
}
