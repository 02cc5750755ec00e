//! Builds one function op by op; every result type comes from the op table, so what is built checks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ops::{self, Arg, Call};
use crate::opset::Opset;
use crate::program::{Binding, Block, Function, NamedType, Operation};
use crate::types::{Dim, TensorType, ValueType};
use crate::value::{Data, Immediate, Value};

/// A value of the function under construction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Var {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
}

impl Var {
    /// The tensor type; an empty scalar type for anything else (the table refuses those calls anyway).
    pub fn tensor(&self) -> &TensorType {
        const NONE: &TensorType = &TensorType::scalar(crate::dtype::DataType::String);
        self.ty.as_tensor().unwrap_or(NONE)
    }
}

/// An argument of an operation under construction.
#[derive(Clone, Debug)]
pub enum Input {
    /// A value built earlier.
    Var(Var),
    /// Several values for a variadic parameter.
    Vars(Vec<Var>),
    /// A constant; becomes a `const` operation named `<op name>_<parameter>`, shared by all operations that bring the
    /// same inline value.
    Const(Value),
    /// A literal bound in place (`classify`'s classes, iOS 18 `constexpr_*`).
    Literal(Value),
}

impl From<&Var> for Input {
    fn from(var: &Var) -> Self {
        Self::Var(var.clone())
    }
}

impl From<Value> for Input {
    fn from(value: Value) -> Self {
        Self::Const(value)
    }
}

/// An argument's type, and its value when it is a constant.
type Typed = (ValueType, Option<Value>);

/// A call the op table refuses.
#[derive(Debug, thiserror::Error)]
#[error("operation `{name}` ({op}): {reason}")]
pub struct BuildError {
    /// Operation name.
    pub name: String,
    /// Operation type.
    pub op: String,
    /// Why.
    pub reason: String,
}

/// Builds the body of one function.
#[derive(Debug)]
pub struct FunctionBuilder {
    opset: Opset,
    inputs: Vec<NamedType>,
    operations: Vec<Operation>,
    names: BTreeSet<String>,
    constants: HashMap<String, usize>,
    /// Names of the inline constants that operations brought along: strides, axes and the like, the same in every
    /// layer. Written once each, they take half the model file less.
    shared: HashMap<(ValueType, Immediate), String>,
    /// Values that may stand where a constant is asked for: constants, what is computed from them alone, and
    /// results of `constexpr_*` as they are.
    fixed: BTreeSet<String>,
    /// Those of [`Self::fixed`] that no `constexpr_*` made.
    plain: BTreeSet<String>,
    /// The next dimension symbol no value has yet.
    next_symbol: u32,
}

impl FunctionBuilder {
    /// An empty function for `opset`.
    pub fn new(opset: Opset) -> Self {
        Self {
            opset,
            inputs: Vec::new(),
            operations: Vec::new(),
            names: BTreeSet::new(),
            constants: HashMap::new(),
            shared: HashMap::new(),
            fixed: BTreeSet::new(),
            plain: BTreeSet::new(),
            next_symbol: 0,
        }
    }

    /// The opset being built for.
    pub const fn opset(&self) -> Opset {
        self.opset
    }

    /// Adds a function input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> Var {
        let name = self.fresh(name);
        for dim in &ty.shape {
            if let Dim::Symbol(id) = dim {
                self.next_symbol = self.next_symbol.max(id.saturating_add(1));
            }
        }
        self.inputs.push(NamedType::new(name.clone(), ty.clone()));
        Var { name, ty: ty.into() }
    }

    /// Adds a `const` operation.
    pub fn constant(&mut self, name: &str, value: Value) -> Var {
        let name = self.fresh(name);
        let ty = value.ty.clone();
        self.constants.insert(name.clone(), self.operations.len());
        self.fixed.insert(name.clone());
        self.plain.insert(name.clone());
        self.operations.push(Operation {
            op: "const".into(),
            inputs: BTreeMap::new(),
            outputs: vec![NamedType::new(name.clone(), ty.clone())],
            attributes: BTreeMap::from([
                ("name".into(), Value::string(name.clone())),
                ("val".into(), value),
            ]),
            blocks: Vec::new(),
        });
        Var { name, ty }
    }

    /// The name of a constant of this value: of the first operation's that asked for it, when it is inline.
    fn shared_constant(&mut self, name: &str, value: &Value) -> String {
        let Data::Immediate(immediate) = &value.data else {
            return self.constant(name, value.clone()).name;
        };
        let key = (value.ty.clone(), immediate.clone());
        if let Some(name) = self.shared.get(&key) {
            return name.clone();
        }
        let name = self.constant(name, value.clone()).name;
        self.shared.insert(key, name.clone());
        name
    }

    /// Adds an operation with one result.
    ///
    /// # Errors
    /// When the op table refuses the call.
    pub fn op(&mut self, op: &str, name: &str, inputs: Vec<(&str, Input)>) -> Result<Var, BuildError> {
        let mut results = self.ops(op, name, inputs)?;
        match results.pop() {
            Some(result) if results.is_empty() => Ok(result),
            _ => Err(BuildError {
                name: name.into(),
                op: op.into(),
                reason: "does not have exactly one result".into(),
            }),
        }
    }

    /// Adds an operation with any number of results, named `<name>`, `<name>_1`, ….
    ///
    /// # Errors
    /// When the op table refuses the call.
    pub fn ops(&mut self, op: &str, name: &str, inputs: Vec<(&str, Input)>) -> Result<Vec<Var>, BuildError> {
        let fail = |reason: String| BuildError {
            name: name.into(),
            op: op.into(),
            reason,
        };
        let row = ops::lookup(op, self.opset).ok_or_else(|| {
            fail(match ops::introduced(op) {
                Some(since) => format!(
                    "needs opset {since} ({} or newer), this function is {}",
                    since.target(),
                    self.opset
                ),
                None => "is not in the op table".into(),
            })
        })?;
        // Reserve the operation's own name before its constants take names derived from it.
        let op_name = self.fresh(name);
        let mut bindings: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
        let mut attributes = BTreeMap::from([("name".to_owned(), Value::string(op_name.clone()))]);
        let mut arg_types: Vec<(String, Vec<Typed>)> = Vec::new();
        for (param, input) in inputs {
            if arg_types.iter().any(|(bound, _)| bound == param) {
                return Err(fail(format!("`{param}` is bound twice")));
            }
            let (bound, types) = match input {
                Input::Var(var) => {
                    let value = self.constant_value(&var.name);
                    (vec![Binding::Name(var.name)], vec![(var.ty, value)])
                }
                Input::Vars(vars) => {
                    let types = vars
                        .iter()
                        .map(|var| (var.ty.clone(), self.constant_value(&var.name)))
                        .collect();
                    (
                        vars.into_iter().map(|var| Binding::Name(var.name)).collect(),
                        types,
                    )
                }
                Input::Const(value) if !row.attributes => {
                    let ty = value.ty.clone();
                    let name = self.shared_constant(&format!("{op_name}_{param}"), &value);
                    (vec![Binding::Name(name)], vec![(ty, Some(value))])
                }
                Input::Const(value) | Input::Literal(value) => (
                    vec![Binding::Value(value.clone())],
                    vec![(value.ty.clone(), Some(value))],
                ),
            };
            arg_types.push((param.to_owned(), types));
            if row.attributes {
                if let Some(Binding::Value(value)) = bound.into_iter().next() {
                    attributes.insert(param.to_owned(), value);
                }
            } else {
                bindings.insert(param.to_owned(), bound);
            }
        }
        let call = Call {
            op,
            opset: self.opset,
            args: arg_types
                .iter()
                .map(|(param, types)| {
                    let names = bindings.get(param).into_iter().flatten();
                    let fixed = names.map(|binding| match binding {
                        Binding::Name(name) => self.fixed.contains(name),
                        Binding::Value(_) => true,
                    });
                    let args = types
                        .iter()
                        .zip(fixed.chain(std::iter::repeat(true)))
                        .map(|((ty, value), fixed)| Arg {
                            ty,
                            value: value.as_ref(),
                            fixed,
                        })
                        .collect();
                    (param.as_str(), args)
                })
                .collect(),
            declared: Vec::new(),
        };
        row.check_arguments(&call).map_err(fail)?;
        let mut types = (row.infer)(&call).map_err(fail)?;
        drop(call);
        for ty in &mut types {
            self.number_symbols(ty);
        }
        // Apple's reader folds what constants alone make, but takes decompressed weights only as they are.
        let decompresses = op.starts_with("constexpr_");
        let plain = !decompresses
            && bindings.values().flatten().all(|binding| match binding {
                Binding::Name(name) => self.plain.contains(name),
                Binding::Value(_) => true,
            });
        let mut results: Vec<Var> = Vec::with_capacity(types.len());
        for (position, ty) in types.into_iter().enumerate() {
            let name = if position == 0 {
                op_name.clone()
            } else {
                self.fresh(&format!("{op_name}_{position}"))
            };
            if decompresses || plain {
                self.fixed.insert(name.clone());
            }
            if plain {
                self.plain.insert(name.clone());
            }
            results.push(Var { name, ty });
        }
        self.operations.push(Operation {
            op: op.into(),
            inputs: bindings,
            outputs: results
                .iter()
                .map(|var| NamedType::new(var.name.clone(), var.ty.clone()))
                .collect(),
            attributes,
            blocks: Vec::new(),
        });
        Ok(results)
    }

    /// Gives a value the name users know it by; whoever had that name gets another.
    ///
    /// # Errors
    /// When `name` is no legal identifier, names a function input, or `var` is one.
    pub fn rename(&mut self, var: &Var, name: &str) -> Result<Var, BuildError> {
        let renamed = Var {
            name: name.into(),
            ty: var.ty.clone(),
        };
        if var.name == name {
            return Ok(renamed);
        }
        let is_input = |name: &str| self.inputs.iter().any(|input| input.name == name);
        if !is_identifier(name) || is_input(name) || is_input(&var.name) {
            return Err(BuildError {
                name: name.into(),
                op: "rename".into(),
                reason: format!("`{}` can't be called `{name}`", var.name),
            });
        }
        if self.names.contains(name) {
            let other = self.fresh(name);
            self.replace_name(name, &other);
        }
        self.names.insert(name.into());
        self.names.remove(&var.name);
        self.replace_name(&var.name, name);
        Ok(renamed)
    }

    fn replace_name(&mut self, old: &str, new: &str) {
        for operation in &mut self.operations {
            for output in operation.outputs.iter_mut().filter(|output| output.name == old) {
                output.name = new.into();
            }
            if operation.outputs.first().is_some_and(|output| output.name == new) {
                operation.attributes.insert("name".into(), Value::string(new));
            }
            for binding in operation.inputs.values_mut().flatten() {
                if matches!(binding, Binding::Name(name) if name == old) {
                    *binding = Binding::Name(new.into());
                }
            }
        }
        for name in self.shared.values_mut().filter(|name| *name == old) {
            *name = new.into();
        }
        if let Some(index) = self.constants.remove(old) {
            self.constants.insert(new.into(), index);
        }
        for set in [&mut self.fixed, &mut self.plain] {
            if set.remove(old) {
                set.insert(new.into());
            }
        }
    }

    /// Ends the function, returning the given values under their own names.
    pub fn finish(self, outputs: &[Var]) -> Function {
        let block = Block {
            inputs: Vec::new(),
            operations: self.operations,
            outputs: outputs.iter().map(|var| var.name.clone()).collect(),
            attributes: BTreeMap::new(),
        };
        Function {
            inputs: self.inputs,
            opset: self.opset,
            blocks: BTreeMap::from([(self.opset, block)]),
            attributes: BTreeMap::new(),
        }
    }

    /// Gives every size no rule could tell a symbol of its own.
    fn number_symbols(&mut self, ty: &mut ValueType) {
        let ValueType::Tensor(tensor) = ty else { return };
        for dim in &mut tensor.shape {
            if *dim == Dim::FRESH {
                *dim = Dim::Symbol(self.next_symbol);
                self.next_symbol = self.next_symbol.saturating_add(1);
            }
        }
    }

    fn constant_value(&self, name: &str) -> Option<Value> {
        let index = *self.constants.get(name)?;
        self.operations[index].const_value().cloned()
    }

    /// A legal identifier close to `wanted` that no value has yet.
    fn fresh(&mut self, wanted: &str) -> String {
        let base = identifier(wanted);
        let mut name = base.clone();
        let mut counter = 0u32;
        while !self.names.insert(name.clone()) {
            counter += 1;
            name = format!("{base}_{counter}");
        }
        name
    }
}

/// Words a value may not be called in MIL text.
const RESERVED: &[&str] = &[
    "any", "bool", "program", "func", "tensor", "list", "dict", "tuple", "true", "false", "string", "bf16",
    "fp16", "fp32", "fp64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "state",
];

/// Whether `name` may name a value: `[A-Za-z_][A-Za-z0-9_@]*` and not reserved.
pub fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@')
        && !RESERVED.contains(&name)
}

/// The nearest legal identifier: other characters become `_`, reserved words and leading digits get one.
pub fn identifier(wanted: &str) -> String {
    let mut name: String = wanted
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '@' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if !name
        .chars()
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
    {
        name.insert(0, '_');
    }
    if RESERVED.contains(&name.as_str()) {
        name.push('_');
    }
    name
}
