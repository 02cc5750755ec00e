//! Writes a program for a newer target.

use std::collections::BTreeMap;

use corer_mil::{Binding, DataType, Operation, Opset, Program, Target, TensorType, Value, ops};

use crate::emit::index_type;
use crate::error::QuantizeError;

/// Has every function of `program` use at least the opset of `target`. Operations mean the same in every opset that
/// has them; only the older forms of `constexpr_*` are rewritten.
pub(crate) fn raise(program: &mut Program, target: Target) -> Result<(), QuantizeError> {
    let opset = target.opset();
    for (name, function) in &mut program.functions {
        if function.opset >= opset {
            continue;
        }
        let fail = |reason: String| QuantizeError::Raise {
            function: name.clone(),
            target,
            reason,
        };
        let Some(mut block) = function.blocks.remove(&function.opset) else {
            return Err(fail(format!("it has no body for {}", function.opset)));
        };
        for operation in &mut block.operations {
            if opset >= Opset::CoreMl8
                && operation.op.starts_with("constexpr_")
                && operation.inputs.is_empty()
            {
                modernise(operation).map_err(|reason| fail(format!("`{}`: {reason}", operation.name())))?;
            }
            add_required(operation, opset);
        }
        function.blocks.clear();
        function.blocks.insert(opset, block);
        function.opset = opset;
    }
    match corer_mil::check(program).into_iter().next() {
        None => Ok(()),
        Some(fault) => Err(QuantizeError::Raise {
            function: fault.function.clone(),
            target,
            reason: fault.to_string(),
        }),
    }
}

/// Parameters that newer opsets ask for and that change nothing.
fn add_required(operation: &mut Operation, opset: Opset) {
    let Some(row) = ops::lookup(&operation.op, opset) else {
        return;
    };
    for param in row.params.iter().filter(|param| param.required) {
        if param.name == "validate_indices" && !operation.inputs.contains_key(param.name) {
            operation
                .inputs
                .insert(param.name.into(), vec![Binding::Value(Value::bool(false))]);
        }
    }
}

/// From attributes to inputs. `constexpr_affine_dequantize` keeps its form in every opset.
fn modernise(operation: &mut Operation) -> Result<(), String> {
    let shape = operation
        .outputs
        .first()
        .and_then(|output| output.ty.as_tensor()?.known_shape())
        .ok_or("its shape is not known")?;
    let mut take = |name: &str| {
        operation
            .attributes
            .remove(name)
            .ok_or_else(|| format!("`{name}` is missing"))
    };
    let retyped = |value: Value, dtype: DataType, shape: Vec<u64>| Value {
        ty: TensorType::new(dtype, shape).into(),
        data: value.data,
    };
    let inputs: Vec<(&str, Value)> = match operation.op.as_str() {
        "constexpr_lut_to_dense" => {
            let (indices, lut) = (take("indices")?, take("lut")?);
            take("shape")?;
            let table = lut.tensor_type().ok_or("`lut` is no tensor")?.clone();
            let entries = table
                .element_count()
                .filter(|entries| *entries > 1)
                .ok_or("`lut` is empty")?;
            let mut lut_shape = vec![1; shape.len()];
            lut_shape.extend([entries, 1]);
            vec![
                ("indices", retyped(indices, index_type(entries.ilog2()), shape)),
                ("lut", retyped(lut, table.dtype, lut_shape)),
            ]
        }
        "constexpr_sparse_to_dense" => {
            let (data, mask) = (take("nonzero_data")?, take("mask")?);
            take("shape")?;
            vec![
                ("nonzero_data", data),
                ("mask", retyped(mask, DataType::UInt1, shape)),
            ]
        }
        "constexpr_cast" => vec![
            ("source_val", take("source_val")?),
            ("output_dtype", take("output_dtype")?),
        ],
        _ => return Ok(()),
    };
    operation.inputs = inputs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), vec![Binding::Value(value)]))
        .collect::<BTreeMap<_, _>>();
    Ok(())
}
