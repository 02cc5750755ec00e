//! One operation: its row, its arguments, and its results as declared against those inferred.

use std::collections::BTreeMap;

use super::function::{Origin, Scope};
use super::near::{hint, nearest};
use super::value::{check_type, check_value};
use super::{FaultKind, Faults};
use crate::ops::{self, Arg, ArgumentFaultKind, Call, ForeignOp, OpDef};
use crate::opset::Opset;
use crate::program::{Binding, Operation};
use crate::types::ValueType;

/// The rank Core ML takes at prediction; what only feeds decompression may have more.
const MAX_RANK: usize = 5;

/// Checks an operation but for its blocks; returns how its results are made.
pub(super) fn check<'a>(
    operation: &'a Operation,
    opset: Opset,
    scope: &Scope<'a>,
    faults: &mut Faults,
) -> Origin {
    let mut bound = bind(operation, scope, faults);
    if let Some(row) = ops::lookup(&operation.op, opset) {
        if !operation.blocks.is_empty() {
            faults.add(FaultKind::Nesting, None, "takes no blocks".into());
        }
        if row.attributes {
            attributes(operation, row, &mut bound, faults);
        }
        infer(operation, opset, row, bound.args, bound.whole, faults);
    } else if let Some(row) = ops::foreign(&operation.op, opset) {
        foreign(operation, opset, row, faults);
        // Random numbers and the like are no constants, whatever they are made from.
        bound.plain = false;
    } else {
        unknown(&operation.op, opset, faults);
    }
    ranks(operation, faults);
    if operation.op.starts_with("constexpr_") {
        Origin::Decompressed
    } else if bound.plain && operation.blocks.is_empty() {
        Origin::Constant
    } else {
        Origin::Computed
    }
}

/// The arguments of an operation, resolved.
struct Bound<'a> {
    args: BTreeMap<&'a str, Vec<Arg<'a>>>,
    /// Whether all of them are known and of types to reason about.
    whole: bool,
    /// Whether all of them are made from constants alone.
    plain: bool,
}

fn bind<'a>(operation: &'a Operation, scope: &Scope<'a>, faults: &mut Faults) -> Bound<'a> {
    let mut bound = Bound {
        args: BTreeMap::new(),
        whole: true,
        plain: true,
    };
    for (param, bindings) in &operation.inputs {
        let mut args = Vec::with_capacity(bindings.len());
        if bindings.is_empty() {
            faults.add(FaultKind::Parameter, Some(param), "is bound to nothing".into());
            bound.whole = false;
        }
        for binding in bindings {
            match binding {
                Binding::Value(value) => match check_value(value) {
                    Ok(()) => args.push(Arg::constant(value)),
                    Err(reason) => {
                        faults.add(FaultKind::Value, Some(param), reason);
                        bound.whole = false;
                    }
                },
                Binding::Name(name) => match scope.get(name) {
                    Some(known) if known.sound => {
                        bound.plain &= known.origin == Origin::Constant;
                        args.push(Arg {
                            ty: known.ty,
                            value: known.value,
                            fixed: known.origin != Origin::Computed,
                        });
                    }
                    Some(_) => bound.whole = false,
                    None => {
                        let message = format!(
                            "`{param}` uses it before it is defined{}",
                            scope.like(name, faults)
                        );
                        faults.add(FaultKind::Undefined, Some(name), message);
                        bound.whole = false;
                    }
                },
            }
        }
        bound.args.insert(param, args);
    }
    bound.plain &= bound.whole;
    bound
}

/// Takes an attribute-style operation's parameters from its attributes.
fn attributes<'a>(operation: &'a Operation, row: &OpDef, bound: &mut Bound<'a>, faults: &mut Faults) {
    if !operation.inputs.is_empty() {
        let message = "takes its parameters as attributes, not as inputs".to_owned();
        faults.add(FaultKind::Parameter, None, message);
        bound.args.clear();
        bound.whole = false;
    }
    for (name, value) in &operation.attributes {
        if name != "name" || row.params.iter().any(|param| param.name == "name") {
            // Faults in the value itself are reported with the attribute.
            bound.whole &= check_value(value).is_ok();
            bound.args.insert(name, vec![Arg::constant(value)]);
        }
    }
}

fn infer<'a>(
    operation: &'a Operation,
    opset: Opset,
    row: &OpDef,
    args: BTreeMap<&'a str, Vec<Arg<'a>>>,
    whole: bool,
    faults: &mut Faults,
) {
    let call = Call {
        op: &operation.op,
        opset,
        args,
        declared: operation.outputs.iter().map(|output| &output.ty).collect(),
    };
    // With an argument missing for a reason already given, what follows from it would be noise.
    let before = faults.list.len();
    for fault in row.argument_faults(&call) {
        let kind = match fault.kind {
            // Bound, but to something that has been reported already.
            ArgumentFaultKind::Missing if operation.inputs.contains_key(&fault.parameter) => continue,
            ArgumentFaultKind::Missing | ArgumentFaultKind::Unknown | ArgumentFaultKind::Count => {
                FaultKind::Parameter
            }
            ArgumentFaultKind::Opset => FaultKind::Opset,
            ArgumentFaultKind::Constant => FaultKind::Constant,
            ArgumentFaultKind::Type => FaultKind::Type,
        };
        let misplaced = fault.kind == ArgumentFaultKind::Missing
            && !row.attributes
            && operation.attributes.contains_key(&fault.parameter);
        let message = if misplaced {
            format!(
                "{} among the inputs; in opset {opset} parameters are not attributes",
                fault.message
            )
        } else {
            fault.message
        };
        faults.add(kind, Some(&fault.parameter), message);
    }
    if !whole || faults.list.len() > before {
        return;
    }
    match (row.infer)(&call) {
        Err(reason) => faults.add(FaultKind::Shape, None, reason),
        Ok(inferred) => results(operation, &inferred, faults),
    }
}

/// Declared results against inferred ones.
fn results(operation: &Operation, inferred: &[ValueType], faults: &mut Faults) {
    if operation.outputs.len() != inferred.len() {
        let message = format!(
            "has {} results, declares {}",
            inferred.len(),
            operation.outputs.len()
        );
        faults.add(FaultKind::Result, None, message);
        return;
    }
    for (output, inferred) in operation.outputs.iter().zip(inferred) {
        if check_type(&output.ty).is_err() {
            continue; // Reported when it is defined.
        }
        // The type of a constant, decompressed or not, holds no doubt; elsewhere a symbol stands for any size.
        let agrees = if operation.op == "const" || operation.op.starts_with("constexpr_") {
            output.ty == *inferred
        } else {
            output.ty.compatible(inferred)
        };
        if !agrees {
            let message = format!("is declared {}, but is {inferred}", output.ty);
            faults.add(FaultKind::Result, Some(&output.name), message);
        }
    }
}

/// Names and arity of an operation whose types are trusted.
fn foreign(operation: &Operation, opset: Opset, row: &ForeignOp, faults: &mut Faults) {
    if row.open {
        return;
    }
    for (name, bindings) in &operation.inputs {
        match row.params.iter().find(|param| param.name == name) {
            Some(param) if param.exists_in(opset) => {
                if bindings.len() > 1 && !param.variadic {
                    let message = format!("takes one argument, has {}", bindings.len());
                    faults.add(FaultKind::Parameter, Some(name), message);
                }
            }
            Some(param) if param.since > opset => {
                let message = format!("needs opset {} ({} or newer)", param.since, param.since.target());
                faults.add(FaultKind::Opset, Some(name), message);
            }
            Some(_) => faults.add(FaultKind::Opset, Some(name), format!("is gone in opset {opset}")),
            None => faults.add(FaultKind::Parameter, Some(name), "is no parameter of it".into()),
        }
    }
    for param in row
        .params
        .iter()
        .filter(|param| param.required && param.exists_in(opset))
    {
        if !operation.inputs.contains_key(param.name) {
            faults.add(FaultKind::Parameter, Some(param.name), "is missing".into());
        }
    }
}

fn unknown(op: &str, opset: Opset, faults: &mut Faults) {
    match ops::introduced(op) {
        Some(since) if since > opset => {
            let message = format!(
                "needs opset {since} ({} or newer), the block is {opset}",
                since.target()
            );
            faults.add(FaultKind::Opset, None, message);
        }
        Some(_) => faults.add(FaultKind::Opset, None, format!("is gone in opset {opset}")),
        None => {
            let known = ops::all()
                .map(|row| row.name)
                .chain(ops::all_foreign().map(|row| row.name));
            let message = format!("no opset has an operation `{op}`{}", hint(&nearest(op, known)));
            faults.add(FaultKind::UnknownOperation, None, message);
        }
    }
}

/// Core ML computes with five axes at most.
fn ranks(operation: &Operation, faults: &mut Faults) {
    if operation.op == "const" || operation.op.starts_with("constexpr_") {
        return;
    }
    for output in &operation.outputs {
        if let Some(tensor) = output.ty.as_tensor()
            && (MAX_RANK + 1..=super::value::MAX_RANK).contains(&tensor.rank())
        {
            let message = format!("is {tensor}: Core ML takes no more than {MAX_RANK} axes");
            faults.add(FaultKind::Rank, Some(&output.name), message);
        }
    }
}
