//! Walks functions and blocks: names, scopes, nesting.

use std::collections::HashMap;

use super::near::{hint, nearest};
use super::value::{check_type, check_value};
use super::{FaultKind, Faults, OperationAt, arguments};
use crate::builder::is_identifier;
use crate::opset::Opset;
use crate::program::{Block, Function, NamedType, Operation};
use crate::types::ValueType;
use crate::value::Value;

/// The deepest nesting of blocks that is looked into.
const MAX_NESTING: usize = 32;

/// What is known of a value that has been defined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Its declared type.
    pub(super) ty: &'a ValueType,
    /// Its value, when it is a `const`.
    pub(super) value: Option<&'a Value>,
    /// How it is made.
    pub(super) origin: Origin,
    /// Whether its type is one to reason about.
    pub(super) sound: bool,
}

/// How a value is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// From constants alone: Apple's reader folds it.
    Constant,
    /// By a `constexpr_*`: it stands for a constant as it is, but nothing computed from it does.
    Decompressed,
    /// At prediction.
    Computed,
}

/// The values an operation can see.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    known: HashMap<&'a str, Known<'a>>,
    /// In order of definition, so that a block's own can be forgotten when it ends.
    order: Vec<&'a str>,
}

impl<'a> Scope<'a> {
    pub(super) fn get(&self, name: &str) -> Option<Known<'a>> {
        self.known.get(name).copied()
    }

    /// Names like `name`, for messages; not for every one of many faults, as the search takes its time.
    pub(super) fn like(&self, name: &str, faults: &Faults) -> String {
        const MOST_NAMES: usize = 20_000;
        const MOST_FAULTS: usize = 20;
        if faults.list.len() >= MOST_FAULTS {
            return String::new();
        }
        hint(&nearest(name, self.order.iter().rev().take(MOST_NAMES).copied()))
    }

    /// Adds a value, unless its name is taken.
    pub(super) fn define(
        &mut self,
        named: &'a NamedType,
        value: Option<&'a Value>,
        origin: Origin,
        faults: &mut Faults,
    ) {
        let name = named.name.as_str();
        if !is_identifier(name) {
            let message = if name.is_empty() {
                "a value has no name".to_owned()
            } else {
                format!(
                    "is not an identifier (`{}` would be)",
                    crate::builder::identifier(name)
                )
            };
            faults.add(FaultKind::Identifier, Some(name), message);
        }
        let sound = match check_type(&named.ty) {
            Ok(()) => true,
            Err(reason) => {
                faults.add(FaultKind::Rank, Some(name), reason);
                false
            }
        };
        if self.known.contains_key(name) {
            faults.add(FaultKind::Duplicate, Some(name), "is defined already".into());
            return;
        }
        self.known.insert(
            name,
            Known {
                ty: &named.ty,
                value,
                origin,
                sound,
            },
        );
        self.order.push(name);
    }

    fn forget_from(&mut self, mark: usize) {
        for name in self.order.drain(mark..) {
            self.known.remove(name);
        }
    }
}

/// Checks one function.
pub(super) fn check_function(function: &Function, faults: &mut Faults) {
    faults.operation = None;
    for (name, value) in &function.attributes {
        if let Err(reason) = check_value(value) {
            faults.add(
                FaultKind::Value,
                Some(name),
                format!("function attribute: {reason}"),
            );
        }
    }
    if function.body().is_none() {
        let message = format!("has no block for its opset {}", function.opset);
        faults.add(FaultKind::Function, None, message);
    }
    for (opset, body) in &function.blocks {
        let mut scope = Scope::default();
        faults.operation = None;
        for input in &function.inputs {
            scope.define(input, None, Origin::Computed, faults);
        }
        if let Some(input) = body.inputs.first() {
            faults.add(
                FaultKind::Function,
                Some(&input.name),
                "a function's body has inputs of its own".into(),
            );
        }
        check_block(body, *opset, &mut scope, &mut Vec::new(), faults);
    }
}

/// Checks a block in the scope around it; `path` is where it stands.
fn check_block<'a>(
    block: &'a Block,
    opset: Opset,
    scope: &mut Scope<'a>,
    path: &mut Vec<usize>,
    faults: &mut Faults,
) {
    for input in &block.inputs {
        scope.define(input, None, Origin::Computed, faults);
    }
    for (index, operation) in block.operations.iter().enumerate() {
        if faults.full() {
            return;
        }
        path.push(index);
        faults.operation = Some(OperationAt {
            name: operation.name().to_owned(),
            op: operation.op.clone(),
            index: path.clone(),
        });
        check_operation(operation, opset, scope, path, faults);
        path.pop();
    }
    faults.operation = None;
    for name in &block.outputs {
        if scope.get(name).is_none() {
            let message = format!(
                "the block returns it but does not define it{}",
                scope.like(name, faults)
            );
            faults.add(FaultKind::Undefined, Some(name), message);
        }
    }
}

fn check_operation<'a>(
    operation: &'a Operation,
    opset: Opset,
    scope: &mut Scope<'a>,
    path: &mut Vec<usize>,
    faults: &mut Faults,
) {
    for (name, value) in &operation.attributes {
        if let Err(reason) = check_value(value) {
            faults.add(FaultKind::Value, Some(name), format!("attribute: {reason}"));
        }
    }
    if operation
        .attributes
        .get("name")
        .is_some_and(|name| name.as_str().is_none())
    {
        faults.add(
            FaultKind::Value,
            Some("name"),
            "an operation's name must be one string".into(),
        );
    }
    let origin = arguments::check(operation, opset, scope, faults);
    if path.len() / 2 >= MAX_NESTING {
        if !operation.blocks.is_empty() {
            faults.add(
                FaultKind::Nesting,
                None,
                format!("blocks are nested more than {MAX_NESTING} deep"),
            );
        }
    } else {
        let place = faults.operation.clone();
        for (index, block) in operation.blocks.iter().enumerate() {
            let mark = scope.order.len();
            path.push(index);
            check_block(block, opset, scope, path, faults);
            path.pop();
            scope.forget_from(mark);
            faults.operation.clone_from(&place);
        }
    }
    let value = operation.const_value().filter(|value| is_short(value));
    for output in &operation.outputs {
        scope.define(output, value, origin, faults);
    }
}

/// Whether a constant may be looked into at every use: sizes and axes may, and tables that many operations
/// share would make the check take the product of both.
fn is_short(value: &Value) -> bool {
    const LONGEST: usize = 64 << 10;
    value.immediate_bytes().is_none_or(|bytes| bytes.len() <= LONGEST)
}
