//! The op table: one row per operation, saying which opset brought it, what it takes, what it gives.
//!
//! The rows live in the sub-modules by family; [`lookup`] finds one by name. The builder, the checker, the
//! runtime's coverage test and the documentation all read the same rows.

mod activation;
mod binary;
mod call;
mod classify;
mod constant;
mod constexpr;
mod constexpr_attributes;
mod conv;
mod dims;
mod domain;
mod foreign;
mod gather;
mod generate;
mod join;
mod linear;
mod norm;
mod order;
mod quantize;
mod reduce;
mod rows;
mod shape;
mod slice;
mod unary;

pub use call::{Arg, Call, broadcast, normalize_axis, one};
pub use foreign::{ForeignOp, ForeignParam, all_foreign, foreign};

use crate::dtype::DataType;
use crate::opset::Opset;
use crate::types::ValueType;

/// One row of the table.
#[derive(Debug)]
pub struct OpDef {
    /// Operation type as written in a package.
    pub name: &'static str,
    /// First opset that has it.
    pub since: Opset,
    /// First opset that no longer accepts this form, if any (the attribute form of `constexpr_*`).
    pub until: Option<Opset>,
    /// Parameters in documentation order.
    pub params: &'static [Param],
    /// Whether parameters are written as attributes instead of inputs (iOS 16 `constexpr_*`).
    pub attributes: bool,
    /// How many results.
    pub outputs: Outputs,
    /// Type and shape of the results from those of the arguments.
    pub infer: Infer,
}

/// How many results an operation has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outputs {
    /// Always this many.
    Exactly(usize),
    /// As many as the arguments make (`split`).
    Variable,
}

/// Computes the result types, or says in one sentence why the call is wrong.
pub type Infer = fn(&Call<'_>) -> Result<Vec<ValueType>, String>;

/// One parameter of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Parameter name.
    pub name: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// Whether its value must be known when the package is written.
    pub constant: bool,
    /// Whether it takes several bindings.
    pub variadic: bool,
    /// Which types it takes.
    pub types: TypeRule,
    /// First opset that has it.
    pub since: Opset,
}

/// What is wrong with one argument of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArgumentFault {
    /// Which rule it breaks.
    pub kind: ArgumentFaultKind,
    /// The parameter.
    pub parameter: String,
    /// One sentence.
    pub message: String,
}

/// The rules an argument can break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgumentFaultKind {
    /// Required and not bound.
    Missing,
    /// Not a parameter of the operation in any opset.
    Unknown,
    /// A parameter that only newer opsets have.
    Opset,
    /// Several bindings where one belongs.
    Count,
    /// Computed at prediction where a constant is wanted.
    Constant,
    /// Of a type the parameter doesn't take.
    Type,
}

/// Which element types a parameter accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeRule {
    /// Any value at all.
    Any,
    /// fp16 or fp32.
    Float,
    /// One of these.
    OneOf(&'static [DataType]),
    /// One of the first list; from the opset named, of the second too.
    Widened(&'static [DataType], Opset, &'static [DataType]),
    /// The element type of another parameter of the same call.
    SameAs(&'static str),
    /// A list of strings or of int64 (`classify`).
    Labels,
}

impl Param {
    /// A required parameter that may be computed at prediction.
    pub const fn new(name: &'static str, types: TypeRule) -> Self {
        Self {
            name,
            required: true,
            constant: false,
            variadic: false,
            types,
            since: Opset::CoreMl5,
        }
    }

    /// The same parameter, but it may be left out.
    pub const fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// The same parameter, but its value must be known when the package is written.
    pub const fn constant(mut self) -> Self {
        self.constant = true;
        self
    }

    /// The same parameter, but it takes several bindings.
    pub const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// The same parameter, but it exists only from `opset` on.
    pub const fn since(mut self, opset: Opset) -> Self {
        self.since = opset;
        self
    }
}

/// All rows.
pub fn all() -> impl Iterator<Item = &'static OpDef> {
    rows::TABLES.iter().flat_map(|table| table.iter())
}

/// The row for `name` that `opset` would use: the newest form not newer than `opset`.
pub fn lookup(name: &str, opset: Opset) -> Option<&'static OpDef> {
    all()
        .filter(|row| row.name == name && row.since <= opset && row.until.is_none_or(|until| opset < until))
        .max_by_key(|row| row.since)
}

/// The first opset that knows `name`, be it in this table or in that of foreign operations.
pub fn introduced(name: &str) -> Option<Opset> {
    let own = all().filter(|row| row.name == name).map(|row| row.since);
    own.chain(all_foreign().filter(|row| row.name == name).map(|row| row.since))
        .min()
}

impl OpDef {
    /// A row with one result that every opset has and whose parameters are inputs.
    const fn new(name: &'static str, params: &'static [Param], infer: Infer) -> Self {
        Self {
            name,
            since: Opset::CoreMl5,
            until: None,
            params,
            attributes: false,
            outputs: Outputs::Exactly(1),
            infer,
        }
    }

    /// The same row, from `opset` on.
    const fn since(mut self, opset: Opset) -> Self {
        self.since = opset;
        self
    }

    /// The same row, before `opset` only.
    const fn until(mut self, opset: Opset) -> Self {
        self.until = Some(opset);
        self
    }

    /// The same row with parameters written as attributes.
    const fn attributes(mut self) -> Self {
        self.attributes = true;
        self
    }

    /// The same row with another number of results.
    const fn results(mut self, outputs: Outputs) -> Self {
        self.outputs = outputs;
        self
    }

    /// Checks names, presence, constness and element types of a call's arguments; shapes are [`Self::infer`]'s.
    ///
    /// # Errors
    /// All faults, joined in one sentence each.
    pub fn check_arguments(&self, call: &Call<'_>) -> Result<(), String> {
        let faults = self.argument_faults(call);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults
                .into_iter()
                .map(|fault| fault.message)
                .collect::<Vec<_>>()
                .join("; "))
        }
    }

    /// As [`Self::check_arguments`], fault by fault.
    pub fn argument_faults(&self, call: &Call<'_>) -> Vec<ArgumentFault> {
        let mut faults = Vec::new();
        let mut fault = |kind, name: &str, message: String| {
            faults.push(ArgumentFault {
                kind,
                parameter: name.to_owned(),
                message,
            });
        };
        for name in call.args.keys() {
            let since = match self.params.iter().find(|param| param.name == *name) {
                Some(param) => Some(param.since),
                None => parameter_introduced(self.name, name),
            };
            match since {
                Some(since) if since > call.opset => fault(
                    ArgumentFaultKind::Opset,
                    name,
                    format!(
                        "parameter `{name}` needs opset {since} ({} or newer)",
                        since.target()
                    ),
                ),
                Some(_) if self.params.iter().any(|param| param.name == *name) => {}
                _ => fault(
                    ArgumentFaultKind::Unknown,
                    name,
                    format!("has no parameter `{name}`"),
                ),
            }
        }
        for param in self.params {
            let args = call.all(param.name);
            if args.is_empty() {
                if param.required && param.since <= call.opset {
                    fault(
                        ArgumentFaultKind::Missing,
                        param.name,
                        format!("`{}` is missing", param.name),
                    );
                }
                continue;
            }
            if args.len() > 1 && !param.variadic {
                let message = format!("`{}` takes one argument, has {}", param.name, args.len());
                fault(ArgumentFaultKind::Count, param.name, message);
            }
            let rule = self.resolve(param, call);
            for arg in args {
                if param.constant && arg.value.is_none() && !arg.fixed {
                    let message = format!("`{}` must be a constant", param.name);
                    fault(ArgumentFaultKind::Constant, param.name, message);
                }
                if let Err(reason) = rule.accepts(arg.ty, call) {
                    fault(
                        ArgumentFaultKind::Type,
                        param.name,
                        format!("`{}` {reason}", param.name),
                    );
                }
            }
        }
        faults
    }

    /// The element types a parameter accepts in `opset`, in declaration order; `None` when any type will do.
    pub fn element_types(&self, param: &Param, opset: Opset) -> Option<Vec<DataType>> {
        let mut types = match param.types {
            TypeRule::Any | TypeRule::Labels => return None,
            TypeRule::Float => vec![DataType::Fp16, DataType::Fp32],
            TypeRule::OneOf(allowed) => allowed.to_vec(),
            TypeRule::Widened(allowed, since, more) if opset >= since => [allowed, more].concat(),
            TypeRule::Widened(allowed, _, _) => allowed.to_vec(),
            // One step: no anchor is itself anchored (a test holds the table to it).
            TypeRule::SameAs(anchor) => {
                let anchor = self.params.iter().find(|other| other.name == anchor)?;
                match anchor.types {
                    TypeRule::SameAs(_) => return None,
                    _ => self.element_types(anchor, opset)?,
                }
            }
        };
        types.sort_unstable();
        Some(types)
    }

    /// The rule for a parameter in one call. Where the parameter it should be like is left out, the first bound
    /// one of the same group takes its place.
    fn resolve(&self, param: &Param, call: &Call<'_>) -> TypeRule {
        let TypeRule::SameAs(anchor) = param.types else {
            return param.types;
        };
        if call.get(anchor).is_some() {
            return param.types;
        }
        let stand_in = self
            .params
            .iter()
            .find(|other| other.types == TypeRule::SameAs(anchor) && call.get(other.name).is_some());
        match stand_in {
            Some(other) if other.name != param.name => TypeRule::SameAs(other.name),
            _ => self
                .params
                .iter()
                .find(|other| other.name == anchor)
                .map_or(TypeRule::Any, |other| other.types),
        }
    }
}

/// The first opset in which `name` has the parameter.
fn parameter_introduced(name: &str, parameter: &str) -> Option<Opset> {
    all()
        .filter(|row| row.name == name)
        .flat_map(|row| {
            row.params
                .iter()
                .map(|param| (row.since.max(param.since), param.name))
        })
        .filter(|(_, name)| *name == parameter)
        .map(|(since, _)| since)
        .min()
}

impl TypeRule {
    /// Whether a value of type `ty` may be bound in `call`.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn accepts(self, ty: &ValueType, call: &Call<'_>) -> Result<(), String> {
        let dtype = ty.as_tensor().map(|tensor| tensor.dtype);
        let one_of = |allowed: &[DataType], more: &[DataType]| match dtype {
            Some(dtype) if allowed.contains(&dtype) || more.contains(&dtype) => Ok(()),
            _ => {
                let names: Vec<_> = allowed.iter().chain(more).map(|dtype| dtype.name()).collect();
                Err(format!("must be {}, is {ty}", names.join(" or ")))
            }
        };
        match self {
            Self::Any => Ok(()),
            Self::Float => one_of(&[DataType::Fp16, DataType::Fp32], &[]),
            Self::OneOf(allowed) => one_of(allowed, &[]),
            Self::Widened(allowed, since, more) => {
                one_of(allowed, if call.opset >= since { more } else { &[] })
            }
            Self::SameAs(other) => match (call.tensor(other), dtype) {
                (Ok(wanted), Some(dtype)) if wanted.dtype != dtype => {
                    Err(format!("must be {} like `{other}`, is {dtype}", wanted.dtype))
                }
                (_, None) => Err(format!("must be a tensor, is {ty}")),
                _ => Ok(()),
            },
            Self::Labels => match ty {
                ValueType::List(element, _)
                    if element.as_tensor().is_some_and(|element| {
                        matches!(element.dtype, DataType::String | DataType::Int64)
                    }) =>
                {
                    Ok(())
                }
                _ => Err(format!("must be a list of strings or int64, is {ty}")),
            },
        }
    }
}
