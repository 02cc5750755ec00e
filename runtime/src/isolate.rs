//! What each operation loses by itself: every one is given the values an f32 run had at its place.

use std::collections::{BTreeMap, BTreeSet};

use corer_mil::{Binding, Block, DataType, Dim, Function, NamedType, Operation, Program, TensorType};

use crate::error::{CompileError, RunError};
use crate::executable::Executable;
use crate::options::{Arithmetic, Options};
use crate::tensor::Tensor;

/// What one operation loses.
#[derive(Clone, PartialEq, Debug)]
pub struct Loss {
    /// Operation name.
    pub operation: String,
    /// Operation type.
    pub op: String,
    /// Σ (loss)², the rounding of what it is given included. Infinite where a value is not finite.
    pub noise: f64,
    /// Σ (its f32 result)².
    pub signal: f64,
}

/// Why losses could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IsolateError {
    /// The function, or one of its operations alone, can't be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It can't be run.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Adds what each fp16 operation of a function loses in `arithmetic` on these inputs, in program order.
///
/// Every operation is compiled alone and given the values of an f32 run of the whole, so that no loss is another
/// operation's. Constants, casts and what depends on constants alone are left out.
///
/// # Errors
/// When the function, or one of its operations alone, can't be compiled or run.
pub fn isolated_losses(
    program: &Program,
    function: &str,
    inputs: &[BTreeMap<String, Tensor>],
    arithmetic: Arithmetic,
) -> Result<Vec<Loss>, IsolateError> {
    let whole = Executable::compile(program, function, &Options::new(Arithmetic::F32))?;
    let Some(source) = program.functions.get(function) else {
        return Ok(Vec::new());
    };
    let body = source.body().map_or(&[][..], |body| body.operations.as_slice());
    let mut losses: Vec<Option<Loss>> = vec![None; body.len()];
    for inputs in inputs {
        let mut values = inputs.clone();
        whole.run_observed(inputs, &mut |seen| {
            values.insert(seen.value.to_owned(), seen.tensor());
        })?;
        for (index, operation) in body.iter().enumerate() {
            let half =
                |output: &NamedType| output.ty.as_tensor().is_some_and(|ty| ty.dtype == DataType::Fp16);
            let known = operation
                .outputs
                .iter()
                .all(|output| values.contains_key(&output.name));
            if operation.op == "cast" || !known || !operation.outputs.iter().all(half) {
                continue;
            }
            let (alone, given) = alone(source, body, index, &values);
            let executable = Executable::compile(&alone, "main", &Options::new(arithmetic))?;
            let outputs = executable.run(&given)?;
            let loss = losses[index].get_or_insert_with(|| Loss {
                operation: operation.name().to_owned(),
                op: operation.op.clone(),
                noise: 0.0,
                signal: 0.0,
            });
            for (name, found) in &outputs {
                for (found, exact) in found.to_f32().iter().zip(values[name].to_f32()) {
                    let error = f64::from(*found) - f64::from(exact);
                    loss.noise += if error.is_finite() {
                        error * error
                    } else {
                        f64::INFINITY
                    };
                    loss.signal += f64::from(exact) * f64::from(exact);
                }
            }
        }
    }
    Ok(losses.into_iter().flatten().collect())
}

/// A program of one operation and the constants it takes, and what it is given.
fn alone(
    source: &Function,
    body: &[Operation],
    index: usize,
    values: &BTreeMap<String, Tensor>,
) -> (Program, BTreeMap<String, Tensor>) {
    let mut given: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut inputs = Vec::new();
    let mut wanted = vec![index];
    let mut needed = BTreeSet::new();
    while let Some(next) = wanted.pop() {
        if !needed.insert(next) {
            continue;
        }
        for binding in body[next].inputs.values().flatten() {
            let Binding::Name(name) = binding else { continue };
            if let Some(tensor) = values.get(name) {
                if given.insert(name.clone(), tensor.clone()).is_none() {
                    inputs.push(NamedType::new(name.clone(), declared(source, body, name, tensor)));
                }
            } else if let Some(maker) = body[..next]
                .iter()
                .position(|operation| operation.outputs.iter().any(|output| output.name == *name))
            {
                wanted.push(maker);
            }
        }
    }
    let block = Block {
        operations: needed.iter().map(|index| body[*index].clone()).collect(),
        outputs: body[index]
            .outputs
            .iter()
            .map(|output| output.name.clone())
            .collect(),
        ..Block::default()
    };
    let function = Function {
        inputs,
        opset: source.opset,
        blocks: BTreeMap::from([(source.opset, block)]),
        attributes: BTreeMap::new(),
    };
    let program = Program {
        functions: BTreeMap::from([("main".to_owned(), function)]),
        attributes: BTreeMap::new(),
    };
    (program, given)
}

/// The type a value is declared with, at the sizes it has.
fn declared(source: &Function, body: &[Operation], name: &str, tensor: &Tensor) -> TensorType {
    let mut all = source
        .inputs
        .iter()
        .chain(body.iter().flat_map(|operation| &operation.outputs));
    let dtype = all
        .find(|value| value.name == name)
        .and_then(|value| value.ty.as_tensor())
        .map_or_else(|| tensor.dtype(), |ty| ty.dtype);
    TensorType {
        dtype,
        shape: tensor
            .shape()
            .iter()
            .map(|size| Dim::Known(*size as u64))
            .collect(),
    }
}
