//! Visiting a function's operations in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use corer_mil::ops::{self, Arg, Call, OpDef};
use corer_mil::{
    Binding, Block, Data, DataType, Dim, Function, Immediate, Operation, Opset, TensorType, Value, ValueType,
};

use super::constants::{Source, Store};
use super::emit::{Emit, Reason};
use super::values::{Argument, Held, Known, Op, Values};
use super::{OutputPlan, Plan, Sighting, places};
use crate::ane::with_tables;
use crate::decode::{Recipe, is_constexpr};
use crate::error::CompileError;
use crate::half_values::Rounding;
use crate::kernels::{Fault, Sum, Unary, activation_of, lowering, planned_parameters};
use crate::options::Arithmetic;
use crate::team::Team;
use crate::view::{Storage, View};

/// What to plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The function and its name.
    pub(crate) function: &'a Function,
    pub(crate) name: &'a str,
    /// Sizes of the inputs, in declared order.
    pub(crate) sizes: &'a [Vec<usize>],
    /// Values that sizes depend on, as a run gave them.
    pub(crate) planned: &'a BTreeMap<String, Value>,
    /// Values to compute instead of the function's outputs.
    pub(crate) wanted: Option<&'a [String]>,
    /// Whether every value is to be shown, which forbids computing several operations at once.
    pub(crate) observed: bool,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) memory_limit: u64,
    pub(crate) team: Team,
    pub(crate) store: &'a Store,
}

/// A plan, or what has to be known first.
#[derive(Debug)]
pub(crate) enum Outcome {
    Ready(Plan),
    /// Sizes depend on these values.
    Needs(Vec<String>),
}

/// Integer constants up to this many elements are kept where shapes can depend on them.
const SMALL: usize = 4096;

/// Plans a function.
pub(crate) fn build(request: Request<'_>) -> Result<Outcome, CompileError> {
    let Some(body) = request.function.body() else {
        return Err(CompileError::NoBody {
            function: request.name.into(),
            opset: request.function.opset.to_string(),
        });
    };
    let mut builder = Builder {
        request,
        body,
        opset: request.function.opset,
        users: users(body),
        outputs: match request.wanted {
            Some(wanted) => wanted.to_vec(),
            None => body.outputs.clone(),
        },
        values: Values::default(),
        absorbed: BTreeSet::new(),
        emit: Emit::new(
            request.store,
            request.team,
            request.arithmetic,
            request.memory_limit,
        ),
        sightings: Vec::new(),
        loose: BTreeSet::new(),
    };
    match builder.all() {
        Ok((inputs, outputs)) => {
            let words = builder.emit.buffers.clone();
            let mut plan = builder.emit.finish();
            plan.inputs = inputs;
            plan.outputs = outputs;
            plan.sightings = builder.sightings;
            places::assign(&mut plan, &words);
            plan.forget_unused_constants();
            Ok(Outcome::Ready(plan))
        }
        Err(Stop::Needs(names)) => Ok(Outcome::Needs(names)),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Which operations use each name, once for each use.
fn users(body: &Block) -> HashMap<&str, Vec<usize>> {
    let mut users: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, operation) in body.operations.iter().enumerate() {
        for binding in operation.inputs.values().flatten() {
            if let Binding::Name(name) = binding {
                users.entry(name).or_default().push(index);
            }
        }
    }
    users
}

/// Why planning stopped.
enum Stop {
    Needs(Vec<String>),
    Error(CompileError),
}

impl From<CompileError> for Stop {
    fn from(error: CompileError) -> Self {
        Self::Error(error)
    }
}

struct Builder<'a> {
    request: Request<'a>,
    body: &'a Block,
    opset: Opset,
    users: HashMap<&'a str, Vec<usize>>,
    outputs: Vec<String>,
    values: Values,
    /// Operations computed along with an earlier one.
    absorbed: BTreeSet<usize>,
    emit: Emit<'a>,
    sightings: Vec<Sighting>,
    /// Values whose declared shapes are known to be wrong (see [`Self::results`]).
    loose: BTreeSet<String>,
}

/// A plan's inputs and outputs.
type Ends = (Vec<View>, Vec<(String, OutputPlan)>);

/// Element type and sizes of a result.
type Sized = (DataType, Vec<usize>);

impl<'a> Builder<'a> {
    /// Inputs and outputs of the finished plan.
    fn all(&mut self) -> Result<Ends, Stop> {
        let inputs = self.inputs()?;
        let live = self.live();
        // Constants first: an operation that follows another may be looked at before its own constants' turn.
        for (index, operation) in self.body.operations.iter().enumerate() {
            if live[index] && operation.op == "const" {
                self.constant(index, operation)
                    .map_err(|reason| self.stop(operation, reason))?;
            }
        }
        for (index, operation) in self.body.operations.iter().enumerate() {
            if live[index] && operation.op != "const" && !self.absorbed.contains(&index) {
                self.emit.operation = index;
                self.operation(index, operation)
                    .map_err(|reason| self.stop(operation, reason))?;
            }
        }
        let outputs = self.collect()?;
        Ok((inputs, outputs))
    }

    fn stop(&self, operation: &Operation, reason: Reason) -> Stop {
        let function = self.request.name.to_owned();
        let invalid = |reason: String| CompileError::Invalid {
            function: function.clone(),
            operation: operation.name().to_owned(),
            op: operation.op.clone(),
            reason,
        };
        Stop::Error(match reason {
            Reason::Needs(names) => return Stop::Needs(names),
            Reason::Invalid(reason) => invalid(reason),
            Reason::Unsupported(reason) => CompileError::Unsupported {
                function: function.clone(),
                ops: vec![crate::error::UnsupportedOp {
                    operation: operation.name().to_owned(),
                    op: operation.op.clone(),
                    reason,
                }],
            },
            Reason::Weight { value, source } => CompileError::Weight {
                function,
                value,
                source,
            },
            Reason::TooLarge { needed } => CompileError::TooLarge {
                function,
                value: operation
                    .outputs
                    .first()
                    .map_or_else(|| operation.name().to_owned(), |output| output.name.clone()),
                needed,
                limit: self.request.memory_limit,
            },
            Reason::Fault(Fault::Index { value, index, size }) => invalid(format!(
                "`{value}`: index {index} is outside an axis of size {size}"
            )),
        })
    }

    fn inputs(&mut self) -> Result<Vec<View>, Stop> {
        let mut views = Vec::new();
        for (input, sizes) in self.request.function.inputs.iter().zip(self.request.sizes) {
            let interface = |reason: String| CompileError::Interface {
                function: self.request.name.into(),
                value: input.name.clone(),
                reason,
            };
            let Some(ty) = input.ty.as_tensor() else {
                return Err(interface(format!("inputs of type {} are not executed", input.ty)).into());
            };
            let words = self
                .checked_count(sizes)
                .and_then(|count| self.emit.buffer(count))
                .map_err(|_| CompileError::TooLarge {
                    function: self.request.name.into(),
                    value: input.name.clone(),
                    needed: u64::MAX,
                    limit: self.request.memory_limit,
                })?;
            let view = View::whole(Storage::Buffer(words), sizes.clone(), ty.dtype);
            let known = Known {
                ty: TensorType::new(ty.dtype, sizes.iter().map(|size| *size as u64)).into(),
                value: self.request.planned.get(&input.name).cloned(),
                held: Held::View(view.clone()),
            };
            self.values.known.insert(input.name.clone(), known);
            views.push(view);
        }
        Ok(views)
    }

    /// Number of elements, if memory may hold them.
    fn checked_count(&self, sizes: &[usize]) -> Result<usize, Reason> {
        // Sizes of 0 must not hide others that no index could reach.
        let spread = sizes
            .iter()
            .try_fold(1usize, |count, size| count.checked_mul((*size).max(1)));
        match spread {
            Some(spread) if (spread as u64).saturating_mul(4) <= self.request.memory_limit => {
                Ok(crate::view::count(sizes))
            }
            _ => Err(Reason::TooLarge {
                needed: spread.map_or(u64::MAX, |spread| (spread as u64).saturating_mul(4)),
            }),
        }
    }

    /// Which operations the outputs (or an observer) need.
    fn live(&self) -> Vec<bool> {
        let operations = &self.body.operations;
        if self.request.observed {
            return vec![true; operations.len()];
        }
        let mut wanted: BTreeSet<&str> = self.outputs.iter().map(String::as_str).collect();
        let mut live = vec![false; operations.len()];
        for (index, operation) in operations.iter().enumerate().rev() {
            if operation
                .outputs
                .iter()
                .any(|output| wanted.contains(output.name.as_str()))
            {
                live[index] = true;
                for binding in operation.inputs.values().flatten() {
                    if let Binding::Name(name) = binding {
                        wanted.insert(name);
                    }
                }
            }
        }
        live
    }

    /// Registers a `const`.
    fn constant(&mut self, index: usize, operation: &Operation) -> Result<(), Reason> {
        let value = operation
            .const_value()
            .ok_or_else(|| "has no value".to_owned())?
            .clone();
        let output = operation
            .outputs
            .first()
            .ok_or_else(|| "has no result".to_owned())?;
        if !output.ty.compatible(&value.ty) {
            return Err(Reason::Invalid(format!(
                "is declared {}, holds {}",
                output.ty, value.ty
            )));
        }
        let (held, value) = self.literal(&output.name, value, (index, 0))?;
        let known = Known {
            ty: value.ty.clone(),
            value: Some(value),
            held,
        };
        self.values.known.insert(output.name.clone(), known);
        Ok(())
    }

    /// A literal as a constant, and its value, read from the weight file if it is short and whole.
    fn literal(&mut self, name: &str, value: Value, origin: (usize, usize)) -> Result<(Held, Value), Reason> {
        let Some(ty) = value.tensor_type() else {
            return Ok((Held::Literal, value));
        };
        if ty.dtype == DataType::String {
            return Ok((Held::Literal, value));
        }
        let sizes = known_sizes(ty).ok_or_else(|| format!("`{name}` has sizes that are not known"))?;
        let count = self.checked_count(&sizes)?;
        let dtype = ty.dtype;
        let whole = dtype.is_integer() || dtype == DataType::Bool;
        let value = match &value.data {
            Data::Weight(source) if whole && !dtype.is_sub_byte() && count <= SMALL => {
                let bytes = source.to_vec().map_err(|source| Reason::Weight {
                    value: name.to_owned(),
                    source,
                })?;
                Value::tensor(ty.clone(), bytes)
            }
            _ => value,
        };
        let source = Source::Value(value.clone());
        let id = self.values.constants.add(name, sizes, dtype, source, origin)?;
        Ok((Held::Constant(id), value))
    }

    /// The arguments of an operation: literals become constants.
    fn arguments(
        &mut self,
        index: usize,
        operation: &'a Operation,
        row: &OpDef,
    ) -> Result<Arguments<'a>, Reason> {
        let mut arguments = Arguments::default();
        let attribute_bindings: Vec<(&'a str, Vec<Binding>)> = if row.attributes {
            operation
                .attributes
                .iter()
                .filter(|(name, _)| *name != "name")
                .map(|(name, value)| (name.as_str(), vec![Binding::Value(value.clone())]))
                .collect()
        } else {
            Vec::new()
        };
        let bindings = operation
            .inputs
            .iter()
            .map(|(name, bindings)| (name.as_str(), bindings.clone()))
            .chain(attribute_bindings);
        let mut literals = 0;
        for (parameter, bindings) in bindings {
            for binding in bindings {
                let argument = match binding {
                    Binding::Name(name) => {
                        let known = self.values.known.get(&name).ok_or_else(|| {
                            format!("`{parameter}` is bound to `{name}`, which is not defined before")
                        })?;
                        Bound {
                            ty: known.ty.clone(),
                            value: known.value.clone(),
                            argument: Argument {
                                name: Some(name),
                                held: known.held.clone(),
                            },
                        }
                    }
                    Binding::Value(value) => {
                        literals += 1;
                        let (held, value) = self.literal(parameter, value, (index, literals))?;
                        Bound {
                            ty: value.ty.clone(),
                            value: Some(value),
                            argument: Argument { name: None, held },
                        }
                    }
                };
                arguments.bound.entry(parameter).or_default().push(argument);
            }
        }
        Ok(arguments)
    }

    fn operation(&mut self, index: usize, operation: &'a Operation) -> Result<(), Reason> {
        let row = ops::lookup(&operation.op, self.opset)
            .ok_or_else(|| Reason::Unsupported("not in the op table of this opset".into()))?;
        let arguments = self.arguments(index, operation, row)?;
        let unknown: Vec<String> = planned_parameters(&operation.op)
            .iter()
            .filter_map(|name| arguments.bound.get(name)?.first())
            .filter(|bound| bound.value.is_none())
            .filter_map(|bound| bound.argument.name.clone())
            .collect();
        if !unknown.is_empty() {
            return Err(Reason::Needs(unknown));
        }
        let call = arguments.call(operation, self.opset);
        row.check_arguments(&call)?;
        let results = self.results(row, &call, operation)?;
        if is_constexpr(&operation.op) {
            let recipe = self.recipe(&call, row, &arguments, &results)?;
            for (position, (output, (dtype, sizes))) in operation.outputs.iter().zip(&results).enumerate() {
                let source = Source::Recipe(recipe.clone(), position);
                let id = self.values.constants.add(
                    &output.name,
                    sizes.clone(),
                    *dtype,
                    source,
                    (index, position),
                )?;
                self.define(&output.name, (*dtype, sizes.clone()), Held::Constant(id), None);
            }
            return Ok(());
        }
        let lower = lowering(&operation.op).ok_or_else(|| Reason::Unsupported("has no kernel".into()))?;
        let fixed = arguments.fixed();
        let (stages, last) = if fixed {
            (Vec::new(), index)
        } else {
            self.followers(index, operation, &results)?
        };
        let bare: BTreeMap<&str, Vec<Argument>> = arguments
            .bound
            .iter()
            .map(|(name, bound)| (*name, bound.iter().map(|bound| bound.argument.clone()).collect()))
            .collect();
        let op = Op {
            call: &call,
            results: &results,
            arguments: &bare,
            constants: &self.values.constants,
            stages,
        };
        if !fixed && self.defers(operation) {
            let (x, y) = (op.view(&mut self.emit, "x")?, op.view(&mut self.emit, "y")?);
            let (dtype, shape) = results[0].clone();
            let readable = |view: &View| view.shape == shape && view.is_contiguous();
            if dtype.is_float() && (readable(&x) || readable(&y)) {
                let sum = Sum {
                    x,
                    y,
                    shape: shape.clone(),
                    dtype,
                };
                self.define(&operation.outputs[0].name, (dtype, shape), Held::Sum(sum), None);
                return Ok(());
            }
        }
        let first = self.emit.steps.len();
        let mut views = lower(&op, &mut self.emit)?;
        if fixed && self.emit.steps.len() > first {
            views = self.emit.fold(first, views)?;
        }
        let outputs = &self.body.operations[last].outputs;
        for (position, (output, view)) in outputs.iter().zip(views).enumerate() {
            if self.request.observed && !fixed {
                self.sightings.push(Sighting {
                    after: self.emit.steps.len(),
                    operation: index,
                    result: position,
                    view: view.clone(),
                });
            }
            let value = self.small_value(&output.name, &view);
            let held = match (operation.op.as_str(), position) {
                ("classify", 0) => Held::Label(view),
                ("classify", _) => Held::Probabilities(view),
                _ => Held::View(view),
            };
            self.define(&output.name, results[position].clone(), held, value);
        }
        Ok(())
    }

    fn define(&mut self, name: &str, (dtype, sizes): Sized, held: Held, value: Option<Value>) {
        let known = Known {
            ty: TensorType::new(dtype, sizes.into_iter().map(|size| size as u64)).into(),
            value,
            held,
        };
        self.values.known.insert(name.to_owned(), known);
    }

    /// Results by the op table's rule, held against what the operation declares.
    ///
    /// coremltools leaves `cond` out of the shape it declares for `select`, so a package may declare a scalar where
    /// there is a tensor, and carry that on through the operations that follow. What is computed is right; such
    /// declarations are passed over.
    fn results(&mut self, row: &OpDef, call: &Call<'_>, operation: &Operation) -> Result<Vec<Sized>, Reason> {
        let select = operation.op == "select";
        let inferred = if select {
            (row.infer)(&Call {
                op: call.op,
                opset: call.opset,
                args: call.args.clone(),
                declared: Vec::new(),
            })?
        } else {
            (row.infer)(call)?
        };
        let loose = select
            || operation
                .inputs
                .values()
                .flatten()
                .any(|binding| matches!(binding, Binding::Name(name) if self.loose.contains(name)));
        if inferred.len() != operation.outputs.len() {
            return Err(Reason::Invalid(format!(
                "has {} results, declares {}",
                inferred.len(),
                operation.outputs.len()
            )));
        }
        let mut results = Vec::with_capacity(inferred.len());
        for (inferred, output) in inferred.iter().zip(&operation.outputs) {
            if !output.ty.compatible(inferred) && loose {
                self.loose.insert(output.name.clone());
            } else if !output.ty.compatible(inferred) {
                return Err(Reason::Invalid(format!(
                    "`{}` is declared {}, would be {inferred}",
                    output.name, output.ty
                )));
            }
            let Some(ty) = inferred.as_tensor() else {
                results.push((DataType::Fp64, Vec::new()));
                continue;
            };
            let sizes = known_sizes(ty).ok_or_else(|| {
                Reason::Unsupported(format!("the sizes of `{}` can't be told", output.name))
            })?;
            self.checked_count(&sizes)?;
            results.push((ty.dtype, sizes));
        }
        Ok(results)
    }

    fn recipe(
        &self,
        call: &Call<'_>,
        row: &OpDef,
        arguments: &Arguments<'_>,
        results: &[Sized],
    ) -> Result<Recipe, Reason> {
        let mut operands = BTreeMap::new();
        for (name, bound) in &arguments.bound {
            match bound.first().map(|bound| &bound.argument.held) {
                Some(Held::Constant(id)) => {
                    operands.insert((*name).to_owned(), *id);
                }
                Some(Held::Literal) | None => {}
                Some(_) => return Err(Reason::Invalid(format!("`{name}` must be a constant"))),
            }
        }
        // What is compressed is unpacked when the package is loaded, not by the Neural Engine.
        let rounds = self.emit.rounds(DataType::Fp16) != Rounding::None;
        Recipe::new(call, row.attributes, operands, results.to_vec(), rounds)
    }

    /// The only operation that uses `name`, once, when nobody else sees it.
    fn sole_user(&self, name: &str) -> Option<(usize, &'a Operation)> {
        if self.request.observed || self.outputs.iter().any(|output| output == name) {
            return None;
        }
        match self.users.get(name)?[..] {
            [user] => Some((user, &self.body.operations[user])),
            _ => None,
        }
    }

    /// Functions of one number that follow a product and are applied to its rows while they are in cache, and the
    /// last operation among them.
    fn followers(
        &mut self,
        index: usize,
        operation: &'a Operation,
        results: &[Sized],
    ) -> Result<(Vec<(Unary, Rounding)>, usize), Reason> {
        let mut stages = Vec::new();
        let mut last = index;
        let float = results.first().is_some_and(|(dtype, _)| dtype.is_float());
        if !float || !matches!(operation.op.as_str(), "conv" | "linear" | "matmul") {
            return Ok((stages, last));
        }
        while let [output] = &self.body.operations[last].outputs[..]
            && let Some((user, follower)) = self.sole_user(&output.name)
            && matches!(follower.inputs.get("x").map(Vec::as_slice), Some([Binding::Name(name)]) if *name == output.name)
            && let Some(row) = ops::lookup(&follower.op, self.opset)
        {
            // The value it follows has no place of its own; its type is enough.
            let (dtype, sizes) = results[0].clone();
            self.define(&output.name, (dtype, sizes), Held::Literal, None);
            let Ok(arguments) = self.arguments(user, follower, row) else {
                break;
            };
            let call = arguments.call(follower, self.opset);
            let Some(function) = activation_of(&call) else {
                break;
            };
            row.check_arguments(&call)?;
            let own = self.results(row, &call, follower)?;
            if own != results {
                break;
            }
            let dtype = results[0].0;
            let function = with_tables(function, self.emit.ane(dtype));
            stages.push((function, self.emit.rounds(dtype)));
            self.absorbed.insert(user);
            last = user;
        }
        Ok((stages, last))
    }

    /// Whether a sum can be left to the operation that uses it, which adds while reading.
    fn defers(&self, operation: &Operation) -> bool {
        let [output] = &operation.outputs[..] else {
            return false;
        };
        operation.op == "add"
            && self.sole_user(&output.name).is_some_and(|(_, user)| {
                matches!(user.op.as_str(), "softmax" | "layer_norm")
                    && matches!(user.inputs.get("x").map(Vec::as_slice), Some([Binding::Name(name)]) if *name == output.name)
            })
    }

    /// Elements that shapes may depend on: given ones, and small constant integers.
    fn small_value(&self, name: &str, view: &View) -> Option<Value> {
        if let Some(value) = self.request.planned.get(name) {
            return Some(value.clone());
        }
        let Storage::Constant(index) = view.storage else {
            return None;
        };
        if view.dtype != DataType::Int32 && view.dtype != DataType::Bool && !view.is_float()
            || view.count() > SMALL
        {
            return None;
        }
        let mut words = vec![0; view.count()];
        let nest = crate::view::Nest::new(&view.shape, &[&view.strides]);
        crate::kernels::copy(
            Team::ALONE,
            self.emit.constants[index].words(),
            view.offset,
            &nest,
            &mut words,
        );
        Some(value_of(view, &words))
    }

    /// The plan's outputs.
    fn collect(&mut self) -> Result<Vec<(String, OutputPlan)>, Stop> {
        let mut outputs = Vec::new();
        for name in self.outputs.clone() {
            let interface = |reason: &str| CompileError::Interface {
                function: self.request.name.into(),
                value: name.clone(),
                reason: reason.into(),
            };
            let held = self
                .values
                .known
                .get(&name)
                .ok_or_else(|| interface("is not defined"))?
                .held
                .clone();
            let plan = match held {
                Held::View(view) => OutputPlan::Tensor(view),
                Held::Label(view) => OutputPlan::Label(view),
                Held::Probabilities(view) => OutputPlan::Probabilities(view),
                Held::Literal => return Err(interface("is no tensor of numbers").into()),
                Held::Constant(id) => OutputPlan::Tensor(
                    self.emit
                        .load(&self.values.constants, id)
                        .map_err(|_| interface("can't be decoded"))?,
                ),
                Held::Sum(sum) => OutputPlan::Tensor(
                    sum.compute(&mut self.emit)
                        .map_err(|_| interface("can't be computed"))?,
                ),
            };
            outputs.push((name, plan));
        }
        Ok(outputs)
    }
}

/// One argument with what the op table wants to know of it.
struct Bound {
    ty: ValueType,
    value: Option<Value>,
    argument: Argument,
}

/// Arguments by parameter.
#[derive(Default)]
struct Arguments<'a> {
    bound: BTreeMap<&'a str, Vec<Bound>>,
}

impl Arguments<'_> {
    fn call<'s>(&'s self, operation: &'s Operation, opset: Opset) -> Call<'s> {
        Call {
            op: &operation.op,
            opset,
            args: self
                .bound
                .iter()
                .map(|(name, bound)| {
                    let args = bound
                        .iter()
                        .map(|bound| Arg {
                            ty: &bound.ty,
                            value: bound.value.as_ref(),
                            fixed: is_fixed(&bound.argument.held),
                        })
                        .collect();
                    (*name, args)
                })
                .collect(),
            declared: operation.outputs.iter().map(|output| &output.ty).collect(),
        }
    }

    /// Whether all arguments are constants.
    fn fixed(&self) -> bool {
        self.bound
            .values()
            .flatten()
            .all(|bound| is_fixed(&bound.argument.held))
    }
}

fn is_fixed(held: &Held) -> bool {
    match held {
        Held::Constant(_) | Held::Literal => true,
        Held::View(view) => matches!(view.storage, Storage::Constant(_)),
        Held::Sum(_) | Held::Label(_) | Held::Probabilities(_) => false,
    }
}

/// The sizes of a type, if they are known and fit this machine.
pub(crate) fn known_sizes(ty: &TensorType) -> Option<Vec<usize>> {
    ty.shape
        .iter()
        .map(|dim| match dim {
            Dim::Known(size) => usize::try_from(*size).ok(),
            Dim::Symbol(_) => None,
        })
        .collect()
}

/// Elements as a MIL value.
pub(crate) fn value_of(view: &View, words: &[u32]) -> Value {
    let ty = TensorType::new(
        if view.is_float() {
            DataType::Fp32
        } else {
            view.dtype
        },
        view.shape.iter().map(|size| *size as u64),
    );
    let bytes = match ty.dtype {
        DataType::Bool => words.iter().map(|word| u8::from(*word != 0)).collect(),
        DataType::Int8 | DataType::UInt8 => words.iter().map(|word| *word as u8).collect(),
        DataType::Int16 | DataType::UInt16 => words
            .iter()
            .flat_map(|word| (*word as u16).to_le_bytes())
            .collect(),
        _ => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
    };
    Value {
        ty: ty.into(),
        data: Data::Immediate(Immediate::Bytes(bytes)),
    }
}

impl Plan {
    /// Lets go of constants that were only steps on the way to others.
    fn forget_unused_constants(&mut self) {
        let mut used = vec![false; self.constants.len()];
        let views = self
            .outputs
            .iter()
            .map(|(_, output)| Self::output_view(output))
            .chain(self.sightings.iter().map(|sighting| &sighting.view))
            .map(|view| view.storage);
        for storage in views.chain(self.steps.iter().flat_map(|step| step.inputs.iter().copied())) {
            if let Storage::Constant(index) = storage {
                used[index] = true;
            }
        }
        for (constant, used) in self.constants.iter_mut().zip(used) {
            if !used {
                *constant = std::sync::Arc::default();
            }
        }
    }
}
