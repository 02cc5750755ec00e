//! From the program to the graph: every call is read in order with what is known of its arguments.
//!
//! Input sizes are concrete, so everything that follows from sizes alone (views, positions, rotary tables) is computed
//! on the way and never reaches the graph. In-place calls rebind the value they change; dropout and the like are what
//! they are in evaluation.

use std::collections::{BTreeMap, HashMap, HashSet};

use corer_mil::Dim;

use super::array::{Array, Number};
use super::call::Call;
use super::context::{Context, kind, name};
use super::dtype::ScalarType;
use super::names::Names;
use super::ops::{self, Row};
use super::program::{Arg, Node, Program, ValueId};
use super::value::{Tensor, Value};
use crate::error::{ConvertError, UnsupportedOp};
use crate::graph::Graph;

/// What the request says of the inputs.
pub(crate) struct Inputs<'a> {
    /// Rows of every (B, S) input.
    pub(crate) batch: u64,
    /// Columns of every (B, S) input.
    pub(crate) tokens: u64,
    /// Shapes the program itself declares, by input.
    pub(crate) dims: &'a [Option<Vec<Dim>>],
    /// Inputs declared by name, in place of (B, S) integers.
    pub(crate) declared: &'a [crate::request::InputSpec],
    /// An input that is left out and all zeros, if the program has it.
    pub(crate) zero: Option<&'a str>,
}

/// Most parameters read whole because they are integers: position ids and the like.
const MOST_INTEGERS: u64 = 1 << 22;

/// Places of one unsupported operator an error spells out.
const MOST_PLACES: usize = 4;

/// Builds the graph; outputs get the names given, or the program's own, or made-up ones.
///
/// # Errors
/// Operators there is no reading for, all at once; a call whose arguments don't fit; control flow that depends on what
/// the model computes.
pub(crate) fn import(
    program: &Program,
    file: &str,
    inputs: &Inputs<'_>,
    outputs: &[String],
) -> Result<Graph, ConvertError> {
    let roots = roots(program);
    let live = live(program, &roots);
    check_supported(program, file, &live)?;
    let mut importer = Importer {
        program,
        file,
        context: Context {
            graph: Graph::default(),
            scope: String::new(),
            constants: HashMap::new(),
        },
        values: HashMap::new(),
        last_use: last_use(program, &live),
        roots,
        example: false,
        names: Names::default(),
        tokens: inputs.tokens,
        short: None,
    };
    importer.inputs(inputs)?;
    importer.example = importer.is_example();
    importer.parameters()?;
    for (index, node) in program.nodes.iter().enumerate() {
        if live.contains(&index) {
            importer.node(index, node)?;
            importer.forget(index);
        }
    }
    importer.outputs(outputs)?;
    Ok(importer.context.graph)
}

/// Values an argument names.
fn named(arg: &Arg, found: &mut Vec<ValueId>) {
    match arg {
        Arg::Value(id) => found.push(*id),
        Arg::List(elements) => elements.iter().for_each(|element| named(element, found)),
        _ => {}
    }
}

/// Values a node takes, and those that decide whether it happens at all.
fn taken(program: &Program, index: usize) -> Vec<ValueId> {
    let node = &program.nodes[index];
    let mut found = Vec::new();
    for arg in node.args.iter().chain(node.kwargs.iter().map(|(_, arg)| arg)) {
        named(arg, &mut found);
    }
    found.extend(
        program
            .guards
            .get(&index)
            .into_iter()
            .flatten()
            .map(|(condition, _)| *condition),
    );
    found
}

/// The value an in-place call changes.
fn changed(node: &Node) -> Option<ValueId> {
    match (ops::in_place(&node.target), node.args.first()) {
        (true, Some(Arg::Value(id))) => Some(*id),
        _ => None,
    }
}

/// What every value shares its elements with: the value a chain of views and in-place calls started from.
fn roots(program: &Program) -> HashMap<ValueId, ValueId> {
    let mut roots: HashMap<ValueId, ValueId> = HashMap::new();
    for node in &program.nodes {
        let shares = ops::in_place(&node.target) || ops::find(&node.target).is_some_and(|row| row.view);
        if let (true, Some(Arg::Value(first))) = (shares, node.args.first()) {
            let root = roots.get(first).copied().unwrap_or(*first);
            roots.extend(node.outputs.iter().map(|output| (*output, root)));
        }
    }
    roots
}

/// Nodes that outputs depend on.
fn live(program: &Program, roots: &HashMap<ValueId, ValueId>) -> HashSet<usize> {
    let root = |id: &ValueId| roots.get(id).copied().unwrap_or(*id);
    let mut wanted = Vec::new();
    for output in &program.outputs {
        named(&output.value, &mut wanted);
    }
    let mut shared: HashSet<ValueId> = wanted.iter().map(root).collect();
    let mut wanted: HashSet<ValueId> = wanted.into_iter().collect();
    let mut live = HashSet::new();
    for (index, node) in program.nodes.iter().enumerate().rev() {
        let results = node.outputs.iter().any(|output| wanted.contains(output));
        if results || changed(node).is_some_and(|id| shared.contains(&root(&id))) {
            let taken = taken(program, index);
            shared.extend(taken.iter().map(root));
            wanted.extend(taken);
            live.insert(index);
        }
    }
    live
}

/// The last node that takes each value.
fn last_use(program: &Program, live: &HashSet<usize>) -> HashMap<ValueId, usize> {
    let mut last = HashMap::new();
    for index in (0..program.nodes.len()).filter(|index| live.contains(index)) {
        last.extend(taken(program, index).into_iter().map(|id| (id, index)));
    }
    let mut returned = Vec::new();
    program
        .outputs
        .iter()
        .for_each(|output| named(&output.value, &mut returned));
    last.extend(returned.into_iter().map(|id| (id, usize::MAX)));
    last
}

/// Refuses operators there is no row for, all at once. Those that a known condition may skip are left to their turn.
fn check_supported(program: &Program, file: &str, live: &HashSet<usize>) -> Result<(), ConvertError> {
    let mut found: BTreeMap<&str, UnsupportedOp> = BTreeMap::new();
    for (index, node) in program.nodes.iter().enumerate() {
        let certain = live.contains(&index) && !program.guards.contains_key(&index);
        if !certain || ops::find(&node.target).is_some() {
            continue;
        }
        let entry = found.entry(&node.target).or_insert_with(|| UnsupportedOp {
            name: node.target.clone(),
            count: 0,
            places: Vec::new(),
        });
        entry.count += 1;
        if entry.places.len() < MOST_PLACES {
            entry.places.push(place(node));
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(ConvertError::UnsupportedOps {
            file: file.into(),
            ops: found.into_values().collect(),
        }),
    }
}

/// Where a call stands: its module, and its place in the file.
fn place(node: &Node) -> String {
    match node.scope.is_empty() {
        true => node.at.to_string(),
        false => format!("{} ({})", node.scope, node.at),
    }
}

struct Importer<'a> {
    program: &'a Program,
    file: &'a str,
    context: Context,
    values: HashMap<ValueId, Value>,
    last_use: HashMap<ValueId, usize>,
    /// Whether the inputs have the sizes the program was exported with.
    example: bool,
    /// What the package's inputs and outputs are called.
    names: Names,
    /// Tokens asked for.
    tokens: u64,
    /// The first parameter that holds fewer positions than there are tokens, and how many.
    short: Option<(String, u64)>,
    /// What values share their elements with, so that in-place calls don't change one behind another's back.
    roots: HashMap<ValueId, ValueId>,
}

impl Importer<'_> {
    fn inputs(&mut self, inputs: &Inputs<'_>) -> Result<(), ConvertError> {
        for spec in inputs.declared {
            if !self.program.inputs.iter().any(|input| input.name == spec.name) {
                let names: Vec<_> = self
                    .program
                    .inputs
                    .iter()
                    .map(|input| input.name.as_str())
                    .collect();
                return Err(ConvertError::Request {
                    flag: "--input",
                    reason: format!("there is no input `{}`, only {}", spec.name, names.join(", ")),
                });
            }
        }
        let mut used = HashSet::new();
        for index in 0..self.program.nodes.len() {
            used.extend(taken(self.program, index));
        }
        for output in &self.program.outputs {
            let mut returned = Vec::new();
            named(&output.value, &mut returned);
            used.extend(returned);
        }
        for (index, input) in self.program.inputs.iter().enumerate() {
            let spec = inputs.declared.iter().find(|spec| spec.name == input.name);
            let dtype = input.dtype.unwrap_or(ScalarType::Int64);
            let declared = inputs.dims.get(index).and_then(Option::as_ref);
            let (dtype, shape) = match (spec, declared) {
                (Some(spec), _) => (spec.dtype, spec.shape(inputs.batch, inputs.tokens)),
                (None, Some(dims)) => {
                    let known: Option<Vec<u64>> = dims.iter().map(|dim| dim.known()).collect();
                    let open = || self.refuse(&input.name, "has a size that is not known".into());
                    (dtype, known.ok_or_else(open)?)
                }
                (None, None) => (dtype, vec![inputs.batch, inputs.tokens]),
            };
            if !used.contains(&input.value) {
                // An argument the trace never looks at; the package has no use for it either.
                continue;
            }
            if inputs.zero == Some(input.name.as_str()) {
                let zeros = Array::full(dtype, shape, Number::Int(0))
                    .map_err(|reason| self.refuse(&input.name, reason))?;
                self.values.insert(input.value, zeros.into());
                continue;
            }
            let dims = shape.iter().copied().map(Dim::Known).collect();
            let name = self.names.own(&input.name);
            let id = self.context.graph.input(&name, kind(dtype), dims);
            let tensor = Tensor::Node { id, dtype, shape };
            self.values.insert(input.value, Value::Tensor(tensor));
        }
        Ok(())
    }

    /// Integers are read now, floats stay on disk.
    fn parameters(&mut self) -> Result<(), ConvertError> {
        for (id, parameter) in &self.program.parameters {
            if !self.last_use.contains_key(id) {
                continue;
            }
            let tensor = &parameter.tensor;
            let dtype = match tensor
                .stored()
                .map(|stored| (stored, ScalarType::from_stored(stored)))
            {
                None => ScalarType::Float32,
                Some((_, Some(dtype))) if dtype != ScalarType::Complex64 => dtype,
                Some((stored, _)) => return Err(self.refuse(&parameter.name, format!("is of type {stored}"))),
            };
            let value = if dtype.is_float() {
                Tensor::Weight(name(&parameter.name), dtype, tensor.clone())
            } else {
                if tensor.count() > MOST_INTEGERS {
                    let reason = format!("has {} integers, too many to be read ahead", tensor.count());
                    return Err(self.refuse(&parameter.name, reason));
                }
                let values = tensor.read_i64().map_err(ConvertError::Source)?;
                let numbers = values.into_iter().map(Number::Int);
                Tensor::Known(Array::from_numbers(dtype, tensor.shape().to_vec(), numbers))
            };
            // A lone number is one that arithmetic folds.
            let value = match &value {
                Tensor::Weight(_, _, weight) if weight.count() == 1 => self
                    .context
                    .known(&value)
                    .map_err(|reason| self.refuse(&parameter.name, reason))?
                    .map_or_else(|| value.clone(), Tensor::Known),
                _ => value,
            };
            self.values.insert(*id, Value::Tensor(value));
        }
        Ok(())
    }

    fn refuse(&self, name: &str, reason: String) -> ConvertError {
        ConvertError::Program {
            file: self.file.into(),
            place: format!("`{name}`"),
            op: "parameter".into(),
            reason,
        }
    }

    fn node(&mut self, index: usize, node: &Node) -> Result<(), ConvertError> {
        let fail = |importer: &Self, reason: String| {
            if let Some((table, positions)) = &importer.short {
                return ConvertError::Request {
                    flag: "--sequence-length",
                    reason: format!(
                        "{} tokens are more than the {positions} positions of `{table}`, the longest this model takes \
                         ({}: {} at {}: {reason})",
                        importer.tokens,
                        importer.file,
                        node.target,
                        place(node)
                    ),
                };
            }
            ConvertError::Program {
                file: importer.file.into(),
                place: place(node),
                op: node.target.clone(),
                reason,
            }
        };
        if !self.happens(index).map_err(|reason| fail(self, reason))? {
            return Ok(());
        }
        let Some(row) = ops::find(&node.target) else {
            return Err(ConvertError::UnsupportedOps {
                file: self.file.into(),
                ops: vec![UnsupportedOp {
                    name: node.target.clone(),
                    count: 1,
                    places: vec![place(node)],
                }],
            });
        };
        let value = self.evaluate(row, node).map_err(|reason| fail(self, reason))?;
        if let Some(id) = changed(node) {
            self.change(index, id, &value)
                .map_err(|reason| fail(self, reason))?;
        }
        self.check_recorded(node, &value)
            .map_err(|reason| fail(self, reason))?;
        if self.short.is_none() {
            self.short = self.cut_short(node, &value);
        }
        match (&node.outputs[..], value) {
            ([only], value) => {
                self.values.insert(*only, value);
            }
            (outputs, Value::List(elements)) if elements.len() >= outputs.len() => {
                self.values.extend(outputs.iter().copied().zip(elements));
            }
            ([], _) => {}
            (outputs, value) => {
                let reason = format!(
                    "{} values are expected of it, it gives {}",
                    outputs.len(),
                    value.kind()
                );
                return Err(fail(self, reason));
            }
        }
        Ok(())
    }

    /// A parameter cut to the tokens asked for that ends before them, as tables of positions do; what it is added to
    /// will not fit.
    fn cut_short(&self, node: &Node, result: &Value) -> Option<(String, u64)> {
        let (Arg::Value(x), Value::Tensor(result)) = (node.args.first()?, result) else {
            return None;
        };
        let number = |position: usize| self.value(node.args.get(position)?).ok()?.number();
        let end = number(3)?.int();
        let dim = usize::try_from(number(1)?.int()).ok()?;
        let size = *result.shape().get(dim)?;
        let cut = node.target == "aten::slice" && u64::try_from(end) == Ok(self.tokens) && size < self.tokens;
        let root = self.roots.get(x).unwrap_or(x);
        let table = self.program.parameters.get(root).filter(|_| cut)?;
        Some((table.name.clone(), size))
    }

    /// Drops what was looked at for the last time: known tensors may be large.
    fn forget(&mut self, index: usize) {
        for id in taken(self.program, index) {
            if self.last_use.get(&id) == Some(&index) {
                self.values.remove(&id);
            }
        }
    }

    /// Holds results against what the file says of them.
    fn check_recorded(&self, node: &Node, value: &Value) -> Result<(), String> {
        let several = match value {
            Value::List(elements) if node.outputs.len() > 1 => &elements[..],
            one => std::slice::from_ref(one),
        };
        for (id, result) in node.outputs.iter().zip(several) {
            if let (Some(recorded), Value::Tensor(tensor)) = (self.program.recorded.get(id), result)
                && let Some(reason) = recorded.contradiction(tensor.dtype(), tensor.shape(), self.example)
            {
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Whether the inputs have the sizes the program was exported with.
    fn is_example(&self) -> bool {
        self.program.inputs.iter().all(|input| {
            match (
                self.program.recorded.get(&input.value),
                self.values.get(&input.value),
            ) {
                (Some(recorded), Some(Value::Tensor(tensor))) => recorded.is_example(tensor.shape()),
                _ => true,
            }
        })
    }

    /// Whether the conditions a node stands under hold.
    fn happens(&self, index: usize) -> Result<bool, String> {
        for (condition, wanted) in self.program.guards.get(&index).into_iter().flatten() {
            // A condition that was never computed stands in a branch that was not taken.
            let Some(value) = self.values.get(condition) else {
                return Ok(false);
            };
            let truth = value.number().map(Number::truth).ok_or_else(|| {
                "`if` (prim::If) depends on what the model computes, which no package can follow: this code was \
                 scripted, not traced. Trace the whole model with torch.jit.trace"
                    .to_owned()
            })?;
            if truth != *wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn evaluate(&mut self, row: &Row, node: &Node) -> Result<Value, String> {
        self.context.scope = match node.scope.is_empty() {
            // Names in the package start with a letter; the outermost module has none.
            true => node
                .target
                .rsplit(':')
                .next()
                .unwrap_or("model")
                .trim_end_matches('_')
                .to_owned(),
            false => node.scope.to_string(),
        };
        let positional = node
            .args
            .iter()
            .map(|arg| self.value(arg))
            .collect::<Result<Vec<_>, _>>()?;
        let mut keywords = Vec::with_capacity(node.kwargs.len());
        for (name, arg) in &node.kwargs {
            keywords.push((name.clone(), self.value(arg)?));
        }
        let call = Call::new(
            row.target,
            row.parameters,
            positional,
            keywords,
            node.outputs.len(),
        )?;
        (row.read)(&mut self.context, &call)
    }

    fn value(&self, arg: &Arg) -> Result<Value, String> {
        Ok(match arg {
            Arg::None => Value::None,
            Arg::Bool(value) => Value::Bool(*value),
            Arg::Int(value) => Value::Int(*value),
            Arg::Float(value) => Value::Float(*value),
            Arg::Str(text) => Value::Str(text.clone()),
            Arg::Dtype(dtype) => Value::Dtype(*dtype),
            Arg::Ignored => Value::Ignored,
            Arg::List(elements) => Value::List(
                elements
                    .iter()
                    .map(|element| self.value(element))
                    .collect::<Result<_, _>>()?,
            ),
            // In a branch that was not taken, or never computed at all: whoever looks at it says so.
            Arg::Value(id) => self.values.get(id).cloned().unwrap_or(Value::None),
        })
    }

    /// Rebinds what an in-place call changes: every name of the same whole. A part of it that is looked at later under
    /// another name would have to change too, and is refused.
    fn change(&mut self, index: usize, id: ValueId, result: &Value) -> Result<(), String> {
        let root = |id: &ValueId| self.roots.get(id).copied().unwrap_or(*id);
        let whole = |value: Option<&Value>| match value {
            Some(Value::Tensor(Tensor::Node { id, shape, .. })) => Some((*id, shape.clone())),
            _ => None,
        };
        let (own, before) = (root(&id), whole(self.values.get(&id)));
        let mut names = Vec::new();
        for (name, value) in &self.values {
            if *name == id || root(name) != own {
                continue;
            }
            let later = self.last_use.get(name).is_some_and(|last| *last > index);
            match whole(Some(value)) == before && before.is_some() {
                true => names.push(*name),
                false if later => {
                    return Err(
                        "changes in place what is looked at later as part of something else; write it without the \
                         underscore"
                            .into(),
                    );
                }
                false => {}
            }
        }
        names.push(id);
        for name in names {
            self.values.insert(name, result.clone());
        }
        Ok(())
    }

    fn outputs(&mut self, names: &[String]) -> Result<(), ConvertError> {
        let mut found = Vec::new();
        for output in &self.program.outputs {
            let value = self
                .value(&output.value)
                .map_err(|reason| self.refuse("output", reason))?;
            collect(output.name.clone(), value, &mut found);
        }
        if !names.is_empty() && names.len() != found.len() {
            return Err(ConvertError::Request {
                flag: "--output-name",
                reason: format!("{} names for {} outputs", names.len(), found.len()),
            });
        }
        let several = found.len() > 1;
        for (index, (own, tensor)) in found.into_iter().enumerate() {
            let name = match (names.get(index), own) {
                (Some(name), _) => self.names.given("--output-name", name)?,
                (None, Some(own)) => self.names.own(&own),
                (None, None) if several => self.names.own(&format!("output_{index}")),
                (None, None) => self.names.own("output"),
            };
            let fail = |importer: &Self, reason: String| ConvertError::Program {
                file: importer.file.into(),
                place: format!("output `{name}`"),
                op: "return".into(),
                reason,
            };
            if !matches!(tensor, Tensor::Node { .. }) {
                return Err(fail(self, "does not depend on the inputs".into()));
            }
            let id = self.context.id(&tensor).map_err(|reason| fail(self, reason))?;
            self.context.graph.outputs.push((name, id));
        }
        match self.context.graph.outputs.is_empty() {
            true => Err(ConvertError::Program {
                file: self.file.into(),
                place: "forward".into(),
                op: "return".into(),
                reason: "returns no tensor".into(),
            }),
            false => Ok(()),
        }
    }
}

/// Tensors of a returned value, lists taken apart.
fn collect(name: Option<String>, value: Value, found: &mut Vec<(Option<String>, Tensor)>) {
    match value {
        Value::Tensor(tensor) => found.push((name, tensor)),
        Value::List(elements) => elements
            .into_iter()
            .for_each(|element| collect(None, element, found)),
        _ => {}
    }
}
