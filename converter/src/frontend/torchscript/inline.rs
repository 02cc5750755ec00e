//! Follows `forward` from the root module, replacing calls of modules by what their methods do.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::parse::parse;
use super::syntax::{
    Argument, Expression, ExpressionKind, Function, Parameter, Span, Statement, StatementKind, Text,
};
use crate::frontend::aten::{Arg, Node, Origin, Output, Program, ValueId};
use crate::source::{Attribute, LazyTensor, ObjectId, Place, ScriptArchive, SourceError};

/// Deepest nesting of calls: modules nest about ten deep.
const DEEPEST: usize = 100;

/// Most calls a program may make, so that code that calls itself twice over, over and over, ends.
const MOST_NODES: usize = 1 << 16;

/// Most statements looked at, for code that calls and computes nothing.
const MOST_STATEMENTS: usize = 1 << 20;

/// What a name stands for while code is followed.
#[derive(Clone, Debug)]
enum Value {
    /// A module, with its path from the root.
    Object(ObjectId, Rc<str>),
    /// A plain argument.
    Plain(Arg),
    /// A tuple or list; known element by element.
    List(Vec<Value>),
    /// A dictionary with text for keys.
    Dict(Vec<(String, Value)>),
    /// A function of the archive, by its qualified name.
    Function(Rc<str>),
    /// The input that is a dictionary; its items become inputs when they are asked for.
    Features,
}

type Followed<T> = Result<T, SourceError>;

/// The root's `forward`, flattened.
pub(super) fn program(archive: &ScriptArchive) -> Followed<Program> {
    let root = archive.root()?;
    let mut inliner = Inliner {
        archive,
        texts: HashMap::new(),
        program: Program::default(),
        parameters: HashMap::new(),
        constants: HashMap::new(),
        guards: Vec::new(),
        statements: 0,
        depth: 0,
    };
    inliner.program.class = archive
        .class(root)
        .map(|class| class.rsplit('.').next().unwrap_or_default().to_owned());
    let (entry, function) = inliner.method(root, "forward", None)?;
    let (_, parameters) = function
        .parameters
        .split_first()
        .ok_or_else(|| inliner.fail(&entry, function.span, "`forward` takes no `self`"))?;
    let mut arguments = vec![Value::Object(root, Rc::from(""))];
    for parameter in parameters {
        arguments.push(inliner.input(&entry, parameter)?);
    }
    let frame = Frame {
        entry,
        scope: Arc::from(""),
        locals: HashMap::new(),
    };
    let result = inliner.run(frame, &function, arguments)?;
    let mut outputs = Vec::new();
    flatten(None, result, &mut outputs);
    inliner.program.outputs = outputs;
    Ok(inliner.program)
}

/// Tuples and dictionaries taken apart; keys become names.
fn flatten(name: Option<String>, value: Value, outputs: &mut Vec<Output>) {
    match value {
        Value::List(elements) => elements
            .into_iter()
            .for_each(|element| flatten(None, element, outputs)),
        Value::Dict(items) => {
            for (key, item) in items {
                flatten(Some(key), item, outputs);
            }
        }
        Value::Plain(Arg::None) | Value::Object(..) | Value::Function(_) | Value::Features => {}
        Value::Plain(value) => outputs.push(Output { name, value }),
    }
}

/// A method being followed.
struct Frame {
    entry: Arc<str>,
    scope: Arc<str>,
    locals: HashMap<String, Value>,
}

struct Inliner<'a> {
    archive: &'a ScriptArchive,
    /// Texts read so far, by module.
    texts: HashMap<String, (Arc<str>, Rc<Text>)>,
    program: Program,
    /// Values of tensor attributes; an object that stands in two places has one of each.
    parameters: HashMap<(ObjectId, String), ValueId>,
    constants: HashMap<usize, ValueId>,
    /// Conditions that what is followed now stands under.
    guards: Vec<(ValueId, bool)>,
    statements: usize,
    depth: usize,
}

impl Inliner<'_> {
    /// Declares an input of the model.
    fn input(&mut self, entry: &Arc<str>, parameter: &Parameter) -> Followed<Value> {
        let ty = parameter.ty.as_ref().map(type_name).unwrap_or_default();
        if let Some(default) = &parameter.default {
            // What may be left out is left out: the trace was made without it.
            let mut frame = Frame {
                entry: entry.clone(),
                scope: Arc::from(""),
                locals: HashMap::new(),
            };
            return self.evaluate(&mut frame, default, 1);
        }
        match ty.as_str() {
            "Tensor" | "" => {
                let id = self.program.input(parameter.name.clone(), None, None);
                Ok(Value::Plain(Arg::Value(id)))
            }
            "Dict[str, Tensor]" => Ok(Value::Features),
            other => Err(self.refuse(
                entry,
                parameter.span,
                &format!(
                    "input `{}` is of type {other}; trace the model with tensors, or a dictionary of them, as arguments",
                    parameter.name
                ),
            )),
        }
    }

    /// Follows a function's statements to its result.
    fn run(&mut self, mut frame: Frame, function: &Function, arguments: Vec<Value>) -> Followed<Value> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.refuse(&frame.entry, function.span, "calls are nested too deeply"));
        }
        for (index, parameter) in function.parameters.iter().enumerate() {
            let value = match (arguments.get(index), &parameter.default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => self.evaluate(&mut frame, default, 1)?,
                (None, None) => {
                    let reason = format!("`{}` is called without `{}`", function.name, parameter.name);
                    return Err(self.fail(&frame.entry, parameter.span, &reason));
                }
            };
            frame.locals.insert(parameter.name.clone(), value);
        }
        let result = self.block(&mut frame, &function.body)?;
        self.depth -= 1;
        Ok(result.unwrap_or(Value::Plain(Arg::None)))
    }

    /// Follows statements in order; the result, when one of them returns.
    fn block(&mut self, frame: &mut Frame, statements: &[Statement]) -> Followed<Option<Value>> {
        for statement in statements {
            self.statements += 1;
            if self.statements > MOST_STATEMENTS {
                return Err(self.refuse(
                    &frame.entry,
                    statement.span,
                    "the code is longer than any trace's",
                ));
            }
            if let Some(result) = self.statement(frame, statement)? {
                return Ok(Some(result));
            }
        }
        Ok(None)
    }

    /// Follows both branches, each under its condition; whatever they leave different is chosen by it. A trace has
    /// no `if` of its own, but functions it calls may have been scripted, and choose by sizes.
    fn branches(
        &mut self,
        frame: &mut Frame,
        span: Span,
        condition: &Expression,
        bodies: [&[Statement]; 2],
    ) -> Followed<()> {
        let condition = match self.argument(frame, condition)? {
            Arg::Bool(truth) => {
                let body = bodies[usize::from(!truth)];
                return match self.block(frame, body)? {
                    None => Ok(()),
                    Some(_) => Err(self.refuse(&frame.entry, span, "`return` within `if`")),
                };
            }
            Arg::Value(id) => id,
            _ => return Err(self.fail(&frame.entry, span, "the condition is no truth value")),
        };
        let before = frame.locals.clone();
        let mut after = Vec::with_capacity(2);
        for (truth, body) in [true, false].into_iter().zip(bodies) {
            frame.locals.clone_from(&before);
            self.guards.push((condition, truth));
            let returned = self.block(frame, body)?;
            self.guards.pop();
            if returned.is_some() {
                return Err(self.refuse(&frame.entry, span, "`return` within `if`"));
            }
            after.push(std::mem::take(&mut frame.locals));
        }
        let otherwise = after.pop().unwrap_or_default();
        let then = after.pop().unwrap_or_default();
        frame.locals = before;
        let mut names: Vec<&String> = then.keys().filter(|name| otherwise.contains_key(*name)).collect();
        names.sort_unstable();
        for name in names {
            let chosen = match (then[name].clone(), otherwise[name].clone()) {
                (Value::Object(a, path), Value::Object(b, _)) if a == b => Value::Object(a, path),
                (Value::Features, Value::Features) => Value::Features,
                (Value::Function(a), Value::Function(b)) if a == b => Value::Function(a),
                (a, b) => match (self.plain(frame, span, a)?, self.plain(frame, span, b)?) {
                    (a, b) if a == b => continue_with(a),
                    (a, b) => self.push_one(frame, span, "prim::If", vec![Arg::Value(condition), a, b])?,
                },
            };
            frame.locals.insert(name.clone(), chosen);
        }
        Ok(())
    }

    /// Follows one statement; the result, when it returns one.
    fn statement(&mut self, frame: &mut Frame, statement: &Statement) -> Followed<Option<Value>> {
        match &statement.kind {
            StatementKind::Pass => {}
            StatementKind::Assign(name, value) => {
                let value = self.evaluate(frame, value, 1)?;
                frame.locals.insert(name.clone(), value);
            }
            StatementKind::Unpack(names, value) => {
                let span = value.span;
                let value = self.evaluate(frame, value, names.len())?;
                let elements = self.unpack(frame, span, value, names.len())?;
                frame.locals.extend(names.iter().cloned().zip(elements));
            }
            StatementKind::Return(None) => return Ok(Some(Value::Plain(Arg::None))),
            StatementKind::Return(Some(value)) => return self.evaluate(frame, value, 1).map(Some),
            StatementKind::Expression(value) => {
                self.evaluate(frame, value, 1)?;
            }
            StatementKind::If(condition, then, otherwise) => {
                self.branches(frame, statement.span, condition, [then, otherwise])?;
            }
            StatementKind::Refused(keyword) => {
                let reason = format!(
                    "`{keyword}` is control flow, which no package can follow: this module was scripted, not traced. \
                     Trace the whole model: torch.jit.trace(model, inputs).save(\"model.pt\")"
                );
                return Err(self.refuse(&frame.entry, statement.span, &reason));
            }
        }
        Ok(None)
    }

    /// A value's elements, of which there must be `count`.
    fn unpack(&mut self, frame: &Frame, span: Span, value: Value, count: usize) -> Followed<Vec<Value>> {
        match value {
            Value::List(elements) if elements.len() == count => Ok(elements),
            Value::List(elements) => {
                let reason = format!("{} values are unpacked into {count} names", elements.len());
                Err(self.fail(&frame.entry, span, &reason))
            }
            Value::Plain(Arg::Value(list)) => {
                let outputs = self.push(
                    frame,
                    span,
                    "prim::ListUnpack",
                    vec![Arg::Value(list)],
                    Vec::new(),
                    count,
                )?;
                Ok(outputs
                    .into_iter()
                    .map(|id| Value::Plain(Arg::Value(id)))
                    .collect())
            }
            _ => Err(self.fail(&frame.entry, span, "only tuples and lists can be unpacked")),
        }
    }

    /// What an expression stands for; `results` is how many values a call's result is taken apart into.
    fn evaluate(&mut self, frame: &mut Frame, expression: &Expression, results: usize) -> Followed<Value> {
        let span = expression.span;
        Ok(match &expression.kind {
            ExpressionKind::None => Value::Plain(Arg::None),
            ExpressionKind::Bool(value) => Value::Plain(Arg::Bool(*value)),
            ExpressionKind::Int(value) => Value::Plain(Arg::Int(*value)),
            ExpressionKind::Float(value) => Value::Plain(Arg::Float(*value)),
            ExpressionKind::Str(value) => Value::Plain(Arg::Str(value.as_str().into())),
            ExpressionKind::Name(name) => frame
                .locals
                .get(name)
                .cloned()
                .ok_or_else(|| self.fail(&frame.entry, span, &format!("`{name}` has no value here")))?,
            ExpressionKind::Tuple(elements) | ExpressionKind::List(elements) => {
                let mut values = Vec::with_capacity(elements.len());
                for element in elements {
                    values.push(self.evaluate(frame, element, 1)?);
                }
                Value::List(values)
            }
            ExpressionKind::Dict(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (key, value) in items {
                    let ExpressionKind::Str(key) = &key.kind else {
                        return Err(self.refuse(&frame.entry, key.span, "keys other than text are not read"));
                    };
                    values.push((key.clone(), self.evaluate(frame, value, 1)?));
                }
                Value::Dict(values)
            }
            ExpressionKind::Attribute(base, name) => match dotted(frame, expression).as_deref() {
                Some(path) => self.global(frame, span, path)?,
                None => {
                    let base = self.evaluate(frame, base, 1)?;
                    self.attribute(frame, span, &base, name)?
                }
            },
            ExpressionKind::Subscript(base, indices) => self.subscript(frame, span, base, indices)?,
            ExpressionKind::Unary(function, value) => {
                let value = self.argument(frame, value)?;
                self.push_one(frame, span, &format!("aten::{function}"), vec![value])?
            }
            ExpressionKind::Binary(function, left, right) => {
                let sides = vec![self.argument(frame, left)?, self.argument(frame, right)?];
                self.push_one(frame, span, &format!("aten::{function}"), sides)?
            }
            ExpressionKind::Call(callee, arguments) => self.call(frame, span, callee, arguments, results)?,
            ExpressionKind::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.conditional(frame, span, [condition, then, otherwise])?
            }
        })
    }

    /// `then if condition else otherwise`, each side under its condition.
    fn conditional(&mut self, frame: &mut Frame, span: Span, parts: [&Expression; 3]) -> Followed<Value> {
        let [condition, then, otherwise] = parts;
        let condition = match self.argument(frame, condition)? {
            Arg::Bool(true) => return self.evaluate(frame, then, 1),
            Arg::Bool(false) => return self.evaluate(frame, otherwise, 1),
            Arg::Value(id) => id,
            _ => return Err(self.fail(&frame.entry, span, "the condition is no truth value")),
        };
        let mut args = vec![Arg::Value(condition)];
        for (truth, side) in [(true, then), (false, otherwise)] {
            self.guards.push((condition, truth));
            let side = self.argument(frame, side)?;
            self.guards.pop();
            args.push(side);
        }
        self.push_one(frame, span, "prim::If", args)
    }

    /// `CONSTANTS.c3`, or another name that belongs to no value of the code.
    fn global(&mut self, frame: &Frame, span: Span, path: &str) -> Followed<Value> {
        let index = path
            .strip_prefix("CONSTANTS.c")
            .and_then(|index| index.parse().ok());
        if path.starts_with("__torch__.") {
            return Ok(Value::Function(Rc::from(path)));
        }
        let Some(index) = index else {
            return Err(self.refuse(
                &frame.entry,
                span,
                &format!("`{path}` is not a value a trace has"),
            ));
        };
        if let Some(id) = self.constants.get(&index) {
            return Ok(Value::Plain(Arg::Value(*id)));
        }
        let archive = self.archive;
        let Some(constant) = archive.constant(index) else {
            return Err(self.fail(
                &frame.entry,
                span,
                &format!("the archive has no constant {index}"),
            ));
        };
        let value = self.stored(constant.clone(), path, Rc::from(path))?;
        if let Value::Plain(Arg::Value(id)) = value {
            self.constants.insert(index, id);
        }
        Ok(value)
    }

    /// An attribute of an object.
    fn attribute(&mut self, frame: &Frame, span: Span, base: &Value, name: &str) -> Followed<Value> {
        let Value::Object(object, path) = base else {
            return Err(self.refuse(
                &frame.entry,
                span,
                &format!("`.{name}` of something that is no module"),
            ));
        };
        if let Some(id) = self.parameters.get(&(*object, name.to_owned())) {
            return Ok(Value::Plain(Arg::Value(*id)));
        }
        let qualified = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        let archive = self.archive;
        let Some(attribute) = archive.attribute(*object, name, &qualified)? else {
            let reason = format!("`{qualified}` is not among the objects of the archive");
            return Err(self.fail(&frame.entry, span, &reason));
        };
        let value = self.stored(attribute, &qualified, Rc::from(&*qualified))?;
        if let Value::Plain(Arg::Value(id)) = value {
            self.parameters.insert((*object, name.to_owned()), id);
        }
        Ok(value)
    }

    /// A stored attribute as a value.
    fn stored(&mut self, attribute: Attribute, name: &str, path: Rc<str>) -> Followed<Value> {
        Ok(match attribute {
            Attribute::None => Value::Plain(Arg::None),
            Attribute::Bool(value) => Value::Plain(Arg::Bool(value)),
            Attribute::Int(value) => Value::Plain(Arg::Int(value)),
            Attribute::Float(value) => Value::Plain(Arg::Float(value)),
            Attribute::Text(text) => Value::Plain(Arg::Str(text.into())),
            Attribute::Object(object) => Value::Object(object, path),
            Attribute::Tensor(slice) => {
                let id = self.program.parameter(name, LazyTensor::new(slice));
                Value::Plain(Arg::Value(id))
            }
            Attribute::List(elements) => {
                let mut values = Vec::with_capacity(elements.len());
                for (index, element) in elements.into_iter().enumerate() {
                    let path = format!("{name}.{index}");
                    values.push(self.stored(element, &path, Rc::from(&*path))?);
                }
                Value::List(values)
            }
        })
    }

    fn subscript(
        &mut self,
        frame: &mut Frame,
        span: Span,
        base: &Expression,
        indices: &[Expression],
    ) -> Followed<Value> {
        let base = self.evaluate(frame, base, 1)?;
        let [index] = indices else {
            return Err(self.refuse(&frame.entry, span, "more than one index"));
        };
        let index = self.argument(frame, index)?;
        match (base, index) {
            (Value::List(mut elements), Arg::Int(index)) => {
                let len = i64::try_from(elements.len()).unwrap_or(i64::MAX);
                let at = if index < 0 {
                    index.saturating_add(len)
                } else {
                    index
                };
                match usize::try_from(at) {
                    Ok(at) if at < elements.len() => Ok(elements.swap_remove(at)),
                    _ => Err(self.fail(&frame.entry, span, &format!("there is no element {index}"))),
                }
            }
            (Value::Dict(items), Arg::Str(key)) => items
                .into_iter()
                .find(|(name, _)| **name == *key)
                .map(|(_, value)| value)
                .ok_or_else(|| self.fail(&frame.entry, span, &format!("there is no item `{key}`"))),
            (Value::Features, Arg::Str(key)) => {
                let known = self.program.inputs.iter().find(|input| *input.name == *key);
                let id = match known.map(|input| input.value) {
                    Some(id) => id,
                    None => self.program.input(&*key, None, None),
                };
                Ok(Value::Plain(Arg::Value(id)))
            }
            (base, index) => {
                let base = self.plain(frame, span, base)?;
                self.push_one(frame, span, "aten::__getitem__", vec![base, index])
            }
        }
    }

    fn call(
        &mut self,
        frame: &mut Frame,
        span: Span,
        callee: &Expression,
        arguments: &[Argument],
        results: usize,
    ) -> Followed<Value> {
        if let ExpressionKind::Name(name) = &callee.kind
            && !frame.locals.contains_key(name)
        {
            return self.built_in(frame, span, name, arguments);
        }
        if let ExpressionKind::Name(name) = &callee.kind
            && let Some(Value::Function(path)) = frame.locals.get(name).cloned()
        {
            return self.global_call(frame, span, &path, arguments, results);
        }
        if let Some(path) = dotted(frame, callee) {
            return self.global_call(frame, span, &path, arguments, results);
        }
        let ExpressionKind::Attribute(base, method) = &callee.kind else {
            return Err(self.refuse(&frame.entry, span, "only methods and functions can be called"));
        };
        let base = self.evaluate(frame, base, 1)?;
        let Value::Object(object, path) = base.clone() else {
            return Err(self.refuse(
                &frame.entry,
                span,
                &format!("`.{method}` of something that is no module"),
            ));
        };
        let (entry, function) = self.method(object, method, Some((&frame.entry, span)))?;
        let mut values = vec![base];
        values.extend(self.in_order(frame, span, &function, arguments)?);
        let callee = Frame {
            entry,
            scope: Arc::from(&*path),
            locals: HashMap::new(),
        };
        self.run(callee, &function, values)
    }

    /// Arguments of a function of the archive in the order of its parameters, the object left out.
    fn in_order(
        &mut self,
        frame: &mut Frame,
        span: Span,
        function: &Function,
        arguments: &[Argument],
    ) -> Followed<Vec<Value>> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let expected = function
                .parameters
                .get(values.len() + 1)
                .map(|parameter| &parameter.name);
            if argument.name.is_some() && argument.name.as_ref() != expected {
                return Err(self.refuse(&frame.entry, span, "keyword arguments out of order"));
            }
            values.push(self.evaluate(frame, &argument.value, 1)?);
        }
        Ok(values)
    }

    /// `int(x)`, `annotate(List[int], x)` and the like.
    fn built_in(
        &mut self,
        frame: &mut Frame,
        span: Span,
        name: &str,
        arguments: &[Argument],
    ) -> Followed<Value> {
        let target = match (name, arguments) {
            ("annotate" | "unchecked_cast", [_, value]) => return self.evaluate(frame, &value.value, 1),
            ("getattr", [base, attribute]) => {
                let base = self.evaluate(frame, &base.value, 1)?;
                let ExpressionKind::Str(attribute) = &attribute.value.kind else {
                    return Err(self.refuse(&frame.entry, span, "an attribute whose name is computed"));
                };
                return self.attribute(frame, span, &base, attribute);
            }
            ("int", [_]) => "aten::Int",
            ("float", [_]) => "aten::Float",
            ("bool", [_]) => "aten::Bool",
            _ => {
                return Err(self.refuse(
                    &frame.entry,
                    span,
                    &format!("`{name}(…)` is not a call a trace makes"),
                ));
            }
        };
        let value = self.argument(frame, &arguments[0].value)?;
        self.push_one(frame, span, target, vec![value])
    }

    /// `torch.…`, `ops.…`, or a function of the archive.
    fn global_call(
        &mut self,
        frame: &mut Frame,
        span: Span,
        path: &str,
        arguments: &[Argument],
        results: usize,
    ) -> Followed<Value> {
        let target = match path.split('.').collect::<Vec<_>>()[..] {
            ["torch", "device"] => return Ok(Value::Plain(Arg::Ignored)),
            ["torch", function] => format!("aten::{function}"),
            ["ops", namespace, function] => format!("{namespace}::{function}"),
            ["torch", .., function] => format!("aten::{function}"),
            ["__torch__", .., name] => {
                let module = path.strip_suffix(name).unwrap_or(path).trim_end_matches('.');
                let (entry, text) = self.text(module, Some((&frame.entry, span)))?;
                let function = text
                    .functions
                    .iter()
                    .find(|function| function.name == name)
                    .cloned();
                let Some(function) = function else {
                    let reason =
                        format!("`{path}` is no function of the archive (a class built while running?)");
                    return Err(self.refuse(&frame.entry, span, &reason));
                };
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.evaluate(frame, &argument.value, 1)?);
                }
                let callee = Frame {
                    entry,
                    scope: frame.scope.clone(),
                    locals: HashMap::new(),
                };
                return self.run(callee, &function, values);
            }
            _ => {
                return Err(self.refuse(
                    &frame.entry,
                    span,
                    &format!("`{path}` is not a function a trace calls"),
                ));
            }
        };
        let (mut args, mut kwargs) = (Vec::new(), Vec::new());
        for argument in arguments {
            let value = self.argument(frame, &argument.value)?;
            match &argument.name {
                Some(name) => kwargs.push((name.clone(), value)),
                None => args.push(value),
            }
        }
        let outputs = self.push(frame, span, &target, args, kwargs, results)?;
        let mut values: Vec<Value> = outputs
            .into_iter()
            .map(|id| Value::Plain(Arg::Value(id)))
            .collect();
        Ok(match values.len() {
            1 => values.swap_remove(0),
            _ => Value::List(values),
        })
    }

    /// An expression as an argument of a call.
    fn argument(&mut self, frame: &mut Frame, expression: &Expression) -> Followed<Arg> {
        let value = self.evaluate(frame, expression, 1)?;
        self.plain(frame, expression.span, value)
    }

    fn plain(&self, frame: &Frame, span: Span, value: Value) -> Followed<Arg> {
        match value {
            Value::Plain(arg) => Ok(arg),
            Value::List(elements) => {
                let each = elements
                    .into_iter()
                    .map(|element| self.plain(frame, span, element));
                each.collect::<Result<Vec<_>, _>>().map(Arg::List)
            }
            Value::Object(..) | Value::Function(_) | Value::Dict(_) | Value::Features => Err(self.refuse(
                &frame.entry,
                span,
                "modules and dictionaries are no arguments of ATen functions",
            )),
        }
    }

    fn push_one(&mut self, frame: &Frame, span: Span, target: &str, args: Vec<Arg>) -> Followed<Value> {
        let outputs = self.push(frame, span, target, args, Vec::new(), 1)?;
        Ok(Value::Plain(
            outputs.first().map_or(Arg::None, |id| Arg::Value(*id)),
        ))
    }

    /// Appends a call.
    fn push(
        &mut self,
        frame: &Frame,
        span: Span,
        target: &str,
        args: Vec<Arg>,
        kwargs: Vec<(String, Arg)>,
        results: usize,
    ) -> Followed<Vec<ValueId>> {
        if self.program.nodes.len() >= MOST_NODES {
            return Err(self.refuse(
                &frame.entry,
                span,
                "the program has more calls than any model needs",
            ));
        }
        if !self.guards.is_empty() {
            self.program
                .guards
                .insert(self.program.nodes.len(), self.guards.clone());
        }
        let outputs: Vec<ValueId> = (0..results).map(|_| self.program.value()).collect();
        self.program.nodes.push(Node {
            target: target.into(),
            overload: None,
            args,
            kwargs,
            outputs: outputs.clone(),
            scope: frame.scope.clone(),
            at: Origin::Source {
                entry: frame.entry.clone(),
                line: span.line,
                column: span.column,
            },
        });
        Ok(outputs)
    }

    /// A method of an object's class.
    fn method(
        &mut self,
        object: ObjectId,
        method: &str,
        caller: Option<(&Arc<str>, Span)>,
    ) -> Followed<(Arc<str>, Function)> {
        let class = self.archive.class(object).unwrap_or_default();
        let (module, name) = class.rsplit_once('.').unwrap_or(("", &class));
        let (entry, text) = self.text(module, caller)?;
        let found = text
            .classes
            .iter()
            .filter(|class| class.name == name)
            .flat_map(|class| &class.methods)
            .find(|function| function.name == method);
        match found {
            Some(function) => Ok((entry, function.clone())),
            None => {
                let reason = format!("class `{class}` has no method `{method}`");
                let (at, span) = caller.unwrap_or((&entry, Span { line: 1, column: 1 }));
                Err(self.fail(at, span, &reason))
            }
        }
    }

    /// The text of a module, parsed.
    fn text(&mut self, module: &str, caller: Option<(&Arc<str>, Span)>) -> Followed<(Arc<str>, Rc<Text>)> {
        if let Some((entry, text)) = self.texts.get(module) {
            return Ok((entry.clone(), text.clone()));
        }
        let (entry, text) = self.archive.code(module).map_err(|error| match caller {
            Some((at, span)) if matches!(error, SourceError::Malformed { .. }) => self.fail(
                at,
                span,
                &format!("the code of `{module}` can't be read ({error})"),
            ),
            _ => error,
        })?;
        let entry: Arc<str> = entry.into();
        let parsed = parse(&text).map_err(|error| self.fail(&entry, error.span, &error.reason))?;
        let parsed = Rc::new(parsed);
        self.texts
            .insert(module.to_owned(), (entry.clone(), parsed.clone()));
        Ok((entry, parsed))
    }

    /// The code contradicts itself or the archive.
    fn fail(&self, entry: &str, span: Span, reason: &str) -> SourceError {
        SourceError::malformed(self.archive.file().path(), place(entry, span), reason)
    }

    /// The code does what a trace does not.
    fn refuse(&self, entry: &str, span: Span, reason: &str) -> SourceError {
        SourceError::unsupported(self.archive.file().path(), place(entry, span), reason)
    }
}

/// What both branches leave alike; lists stay lists.
fn continue_with(arg: Arg) -> Value {
    match arg {
        Arg::List(elements) => Value::List(elements.into_iter().map(continue_with).collect()),
        arg => Value::Plain(arg),
    }
}

fn place(entry: &str, span: Span) -> Place {
    Place::Text {
        entry: entry.into(),
        line: span.line,
        column: span.column,
    }
}

/// `torch.nn.x` as one name, when its first part is no variable.
fn dotted(frame: &Frame, expression: &Expression) -> Option<String> {
    match &expression.kind {
        ExpressionKind::Name(name) => (!frame.locals.contains_key(name)).then(|| name.clone()),
        ExpressionKind::Attribute(base, name) => Some(format!("{}.{name}", dotted(frame, base)?)),
        _ => None,
    }
}

/// A type as it is written.
fn type_name(ty: &Expression) -> String {
    match &ty.kind {
        ExpressionKind::Name(name) => name.clone(),
        ExpressionKind::Attribute(base, name) => format!("{}.{name}", type_name(base)),
        ExpressionKind::Subscript(base, indices) => {
            let indices: Vec<_> = indices.iter().map(type_name).collect();
            format!("{}[{}]", type_name(base), indices.join(", "))
        }
        _ => "?".into(),
    }
}
