//! A function of fixed length as one for shorter texts, so that calibration does not compute padding.
//!
//! Nothing in a package says which sizes are the length. Every size equal to it is taken for one: in types, in constants
//! (cut to their first part) and among the integers operations are told sizes by. Where another size happens to be the
//! same the result is wrong or does not compile, so whoever shortens compares the whole function once ([`agrees`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use corer_mil::{Binding, DataType, Dim, MemoryWeight, Operation, Program, TensorType, Value, ValueType};
use corer_runtime::{Arithmetic, Executable, Options, Tensor, TensorData};

/// Lengths below this are found among other sizes too easily.
pub(crate) const SHORTEST: usize = 16;

/// The length a text of so many tokens is run at, of at most `length`: a few steps, since each is compiled apart.
pub(crate) fn step(tokens: usize, length: usize) -> usize {
    let mut step = SHORTEST;
    while step < tokens {
        // 16, 24, 32, 48, 64, 96, …
        step = if step.is_power_of_two() {
            step / 2 * 3
        } else {
            step / 3 * 4
        };
    }
    step.min(length)
}

/// `program` with every size `from` made `to`; `None` when a constant can't be read or cut.
pub(crate) fn shorten(program: &Program, from: usize, to: usize) -> Option<Program> {
    let mut program = program.clone();
    if from == to {
        return Some(program);
    }
    let (from, to) = (from as u64, to as u64);
    for function in program.functions.values_mut() {
        for input in &mut function.inputs {
            shorten_type(&mut input.ty, from, to);
        }
        for block in function.blocks.values_mut() {
            for operation in &mut block.operations {
                shorten_operation(operation, from, to)?;
            }
        }
    }
    Some(program)
}

fn shorten_operation(operation: &mut Operation, from: u64, to: u64) -> Option<()> {
    if !operation.blocks.is_empty() {
        return None;
    }
    for output in &mut operation.outputs {
        shorten_type(&mut output.ty, from, to);
    }
    for value in operation.attributes.values_mut() {
        shorten_value(value, from, to)?;
    }
    for binding in operation.inputs.values_mut().flatten() {
        if let Binding::Value(value) = binding {
            shorten_value(value, from, to)?;
        }
    }
    Some(())
}

fn shorten_type(ty: &mut ValueType, from: u64, to: u64) {
    if let ValueType::Tensor(tensor) = ty {
        for dim in &mut tensor.shape {
            if dim.known() == Some(from) {
                *dim = Dim::Known(to);
            }
        }
    }
}

fn shorten_value(value: &mut Value, from: u64, to: u64) -> Option<()> {
    let Some(ty) = value.tensor_type().cloned() else {
        return Some(());
    };
    let shape = ty.known_shape()?;
    if shape.contains(&from) {
        *value = cut(value, &ty, &shape, from, to)?;
        return Some(());
    }
    if ty.dtype == DataType::Int32
        && shape.len() <= 1
        && let Some(numbers) = value.as_ints()
        && numbers.contains(&i64::try_from(from).ok()?)
    {
        let bytes = numbers
            .iter()
            .map(|number| {
                if *number == from as i64 {
                    to as i32
                } else {
                    *number as i32
                }
            })
            .flat_map(i32::to_le_bytes)
            .collect();
        *value = Value::tensor(ty, bytes);
    }
    Some(())
}

/// The first part of a constant along each axis of the length.
fn cut(value: &Value, ty: &TensorType, shape: &[u64], from: u64, to: u64) -> Option<Value> {
    let size = match ty.dtype.bits() {
        bits if bits >= 8 => bits as usize / 8,
        _ => return None,
    };
    let mut bytes = value.to_bytes().ok()??;
    let mut sizes: Vec<usize> = shape
        .iter()
        .map(|size| usize::try_from(*size).ok())
        .collect::<Option<_>>()?;
    for axis in 0..sizes.len() {
        if sizes[axis] as u64 != from {
            continue;
        }
        let row = sizes[axis + 1..].iter().product::<usize>() * size;
        let kept = to as usize * row;
        bytes = bytes
            .chunks(sizes[axis] * row)
            .flat_map(|part| &part[..kept])
            .copied()
            .collect();
        sizes[axis] = to as usize;
    }
    let ty = TensorType::new(ty.dtype, sizes.iter().map(|size| *size as u64));
    Some(Value::weight(ty, Arc::new(MemoryWeight(bytes))))
}

/// The first `to` of `from` positions along every axis of that size.
pub(crate) fn shorten_tensor(tensor: &Tensor, from: usize, to: usize) -> Option<Tensor> {
    let mut result = tensor.clone();
    while let Some(axis) = result.shape().iter().position(|size| *size == from && from != to) {
        let mut shape = result.shape().to_vec();
        let row: usize = shape[axis + 1..].iter().product();
        shape[axis] = to;
        let (whole, kept) = (from * row, to * row);
        macro_rules! cut {
            ($variant:ident, $values:expr) => {
                TensorData::$variant(
                    $values
                        .chunks(whole)
                        .flat_map(|part| &part[..kept])
                        .copied()
                        .collect(),
                )
            };
        }
        let data = match result.data() {
            TensorData::I32(values) => cut!(I32, values),
            TensorData::F16(values) => cut!(F16, values),
            TensorData::F32(values) => cut!(F32, values),
            _ => return None,
        };
        result = Tensor::new(shape, data).ok()?;
    }
    Some(result)
}

/// Whether `program` shortened computes for `inputs`, which fit, what it computes at full length.
pub(crate) fn agrees(program: &Program, inputs: &BTreeMap<String, Tensor>, from: usize, to: usize) -> bool {
    let run = |program: &Program, inputs: &BTreeMap<String, Tensor>| {
        let executable = Executable::compile(program, "main", &Options::new(Arithmetic::F32)).ok()?;
        executable.run(inputs).ok()
    };
    let compared = || {
        let short = shorten(program, from, to)?;
        let cut = inputs
            .iter()
            .map(|(name, tensor)| Some((name.clone(), shorten_tensor(tensor, from, to)?)))
            .collect::<Option<_>>()?;
        let (long, short) = (run(program, inputs)?, run(&short, &cut)?);
        Some(long.iter().all(|(name, long)| {
            let (Some(long), Some(short)) = (shorten_tensor(long, from, to), short.get(name)) else {
                return false;
            };
            let (long, short) = (long.to_f32(), short.to_f32());
            let largest = long.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            long.len() == short.len()
                && long
                    .iter()
                    .zip(&short)
                    .all(|(a, b)| (a - b).abs() <= largest * 1e-3)
        }))
    };
    compared() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corer_mil::{FunctionBuilder, Input, Target};

    const LENGTH: usize = 32;

    /// Tokens of `width` channels: positions added, channels viewed as two heads, each token's sum taken.
    fn program(width: usize) -> Program {
        let mut builder = FunctionBuilder::new(Target::Ios18.opset());
        let x = builder.input(
            "x",
            TensorType::new(DataType::Fp32, [1, LENGTH as u64, width as u64]),
        );
        let values: Vec<f32> = (0..LENGTH * width).map(|at| (at * 7 % 13) as f32 * 0.1).collect();
        let shape = [1, LENGTH as u64, width as u64];
        let positions = builder.constant("positions", Value::floats(DataType::Fp32, &shape, &values));
        let placed = builder
            .op(
                "add",
                "placed",
                vec![("x", Input::from(&x)), ("y", (&positions).into())],
            )
            .unwrap();
        let heads = Value::i32s(&[1, LENGTH as i32, 2, width as i32 / 2]);
        let shape = builder.constant("shape", heads);
        let viewed = builder
            .op(
                "reshape",
                "viewed",
                vec![("x", (&placed).into()), ("shape", (&shape).into())],
            )
            .unwrap();
        let axes = builder.constant("axes", Value::i32s(&[2]));
        let keep = builder.constant("keep", Value::bool(false));
        let sums = vec![
            ("x", (&viewed).into()),
            ("axes", (&axes).into()),
            ("keep_dims", (&keep).into()),
        ];
        let y = builder.op("reduce_sum", "y", sums).unwrap();
        let function = builder.finish(&[y]);
        Program {
            functions: BTreeMap::from([("main".into(), function)]),
            attributes: BTreeMap::new(),
        }
    }

    fn inputs(width: usize) -> BTreeMap<String, Tensor> {
        let values = (0..LENGTH * width).map(|at| (at % 29) as f32 - 14.0).collect();
        BTreeMap::from([("x".into(), Tensor::f32([1, LENGTH, width], values).unwrap())])
    }

    #[test]
    fn a_shorter_function_computes_the_same() {
        for to in [16, 24, LENGTH] {
            assert!(agrees(&program(6), &inputs(6), LENGTH, to), "{to}");
        }
    }

    /// The length is one of the other sizes too.
    #[test]
    fn what_can_not_be_told_apart_is_noticed() {
        assert!(!agrees(&program(LENGTH), &inputs(LENGTH), LENGTH, 16));
        assert!(!agrees(&program(2 * LENGTH), &inputs(2 * LENGTH), LENGTH, 16));
    }

    #[test]
    fn steps_hold_their_texts() {
        let steps: Vec<usize> = [1, 16, 17, 25, 33, 49, 65, 100, 128]
            .map(|tokens| step(tokens, 128))
            .to_vec();
        assert_eq!(steps, [16, 16, 24, 32, 48, 64, 96, 128, 128]);
        assert_eq!(step(3, 8), 8);
    }
}
