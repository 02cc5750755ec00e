//! Calls in order, graphs of higher-order operators put in their place.

use std::sync::Arc;

use crate::frontend::aten::{Arg, Node as Call, Origin, Program, Recorded, RecordedSize};
use crate::source::pt2::{Pt2, SymInt, TensorMeta};
use crate::source::{Place, SourceError, shortened};

use super::argument::{Names, argument, scalar_type};
use super::operator::{OPERATORS, Operator, Wrapper, operator};
use super::schema::{Argument, ExportedProgram, Graph, Node, OptionalTensor, POSITIONAL};
use super::scope::{self, Scopes};

/// Puts a program together.
pub(super) struct Reader<'a> {
    pub(super) pt2: &'a Pt2,
    pub(super) exported: &'a ExportedProgram,
    pub(super) program: Program,
    scopes: Scopes,
}

/// Positional and keyword arguments.
type Passed = (Vec<Arg>, Vec<(String, Arg)>);

/// A graph being read: the way to it in the JSON, and the index messages give its calls.
struct Level<'a> {
    graph: &'a Graph,
    path: String,
    index: Option<u32>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(pt2: &'a Pt2, exported: &'a ExportedProgram) -> Self {
        Self {
            pt2,
            exported,
            program: Program::default(),
            scopes: Scopes::default(),
        }
    }

    /// The whole program.
    pub(super) fn read(mut self) -> Result<Program, SourceError> {
        let mut names = self.inputs()?;
        let level = Level {
            graph: &self.exported.graph_module.graph,
            path: "graph_module.graph".into(),
            index: None,
        };
        self.calls(&level, &mut names)?;
        self.outputs(&names)?;
        let mut stacks = level
            .graph
            .nodes
            .iter()
            .filter_map(|node| node.metadata.nn_module_stack.as_deref());
        self.program.class = stacks.find_map(scope::class).map(Into::into);
        Ok(self.program)
    }

    /// An error at a member of the JSON.
    pub(super) fn malformed(&self, path: impl Into<String>, reason: impl Into<String>) -> SourceError {
        SourceError::malformed(self.pt2.file.path(), self.place(path), reason)
    }

    /// Something well formed that is not converted, at a member of the JSON.
    pub(super) fn unsupported(&self, path: impl Into<String>, reason: impl Into<String>) -> SourceError {
        SourceError::unsupported(self.pt2.file.path(), self.place(path), reason)
    }

    fn place(&self, path: impl Into<String>) -> Place {
        Place::Member {
            entry: self.pt2.entry.clone(),
            path: path.into(),
        }
    }

    /// Gives a value a name.
    pub(super) fn define(
        &self,
        names: &mut Names<'a>,
        name: &'a str,
        value: Arg,
        path: &str,
    ) -> Result<(), SourceError> {
        match names.insert(name, value) {
            None => Ok(()),
            Some(_) => {
                let reason = format!("`{}` is defined twice", shortened(name));
                Err(self.malformed(path, reason))
            }
        }
    }

    fn calls(&mut self, level: &Level<'a>, names: &mut Names<'a>) -> Result<(), SourceError> {
        for (position, node) in level.graph.nodes.iter().enumerate() {
            let path = format!("{}.nodes[{position}]", level.path);
            let index = level.index.unwrap_or(u32::try_from(position).unwrap_or(u32::MAX));
            match operator(&node.target) {
                Operator::Guard => {}
                Operator::Inline(wrapper) => self.inline(wrapper, node, &path, index, names)?,
                Operator::Call { target, overload } => {
                    let (args, kwargs) = self.arguments(node, &path, names)?;
                    let call = Call {
                        target,
                        overload,
                        args,
                        kwargs,
                        outputs: Vec::new(),
                        scope: self.scopes.innermost(node.metadata.nn_module_stack.as_deref()),
                        at: Origin::Index(index),
                    };
                    self.call(call, node, &path, level.graph, names)?;
                }
            }
        }
        Ok(())
    }

    fn arguments(&self, node: &Node, path: &str, names: &Names<'_>) -> Result<Passed, SourceError> {
        let (mut args, mut kwargs) = (Vec::new(), Vec::new());
        for (index, input) in node.inputs.iter().enumerate() {
            let arg = argument(&input.arg, names).map_err(|reason| {
                let target = shortened(&node.target);
                let reason = format!("argument `{}` of {target} {reason}", shortened(&input.name));
                self.malformed(format!("{path}.inputs[{index}]"), reason)
            })?;
            // Without a kind the position says nothing: arguments left out may stand between two. Python's own
            // operators take all of theirs by position.
            let by_position = input.kind == Some(POSITIONAL) || !node.target.starts_with(OPERATORS);
            if by_position && kwargs.is_empty() {
                args.push(arg);
            } else {
                kwargs.push((input.name.clone(), arg));
            }
        }
        Ok((args, kwargs))
    }

    /// Appends a call, its results named.
    fn call(
        &mut self,
        mut call: Call,
        node: &'a Node,
        path: &str,
        graph: &Graph,
        names: &mut Names<'a>,
    ) -> Result<(), SourceError> {
        let results = self.results(&node.outputs, path)?;
        let element_of = match &node.outputs[..] {
            // A list of one is still a list.
            [Argument::AsTensors(tensors)] if tensors.len() == 1 => Some(self.program.value()),
            _ => None,
        };
        let (scope, at): (Arc<str>, _) = (call.scope.clone(), call.at.clone());
        let mut values = Vec::with_capacity(results.len());
        for name in results {
            let value = self.program.value();
            values.push(value);
            let Some(name) = name else { continue };
            self.define(names, name, Arg::Value(value), path)?;
            if let Some(meta) = graph.tensor_values.0.get(name) {
                self.program.recorded.insert(value, recorded(name, meta));
            }
        }
        match element_of {
            None => {
                call.outputs = values;
                self.program.nodes.push(call);
            }
            Some(list) => {
                call.outputs = vec![list];
                self.program.nodes.push(call);
                self.program.nodes.push(Call {
                    target: "aten::__getitem__".into(),
                    overload: None,
                    args: vec![Arg::Value(list), Arg::Int(0)],
                    kwargs: Vec::new(),
                    outputs: values,
                    scope,
                    at,
                });
            }
        }
        Ok(())
    }

    /// Names of a call's results, lists taken apart; none for a result that is never used.
    fn results(&self, outputs: &'a [Argument], path: &str) -> Result<Vec<Option<&'a str>>, SourceError> {
        let mut results: Vec<Option<&'a str>> = Vec::new();
        for (index, output) in outputs.iter().enumerate() {
            let optional = |tensor: &'a OptionalTensor| match tensor {
                OptionalTensor::AsTensor(tensor) => Some(tensor.name.as_str()),
                OptionalTensor::AsNone(_) => None,
            };
            match output {
                Argument::AsNone(_) => results.push(None),
                Argument::AsTensor(tensor) => results.push(Some(&tensor.name)),
                Argument::AsTensors(tensors) => {
                    results.extend(tensors.iter().map(|tensor| Some(tensor.name.as_str())));
                }
                Argument::AsOptionalTensor(tensor) => results.push(optional(tensor)),
                Argument::AsOptionalTensors(tensors) => results.extend(tensors.iter().map(optional)),
                _ => match symbolic(output) {
                    Some(name) => results.push(Some(name)),
                    None => {
                        let reason = format!("a result is {}, which no call returns", output.kind());
                        return Err(self.malformed(format!("{path}.outputs[{index}]"), reason));
                    }
                },
            }
        }
        Ok(results)
    }

    /// Puts the graph a call was given in the call's place.
    fn inline(
        &mut self,
        wrapper: Wrapper,
        node: &'a Node,
        path: &str,
        index: u32,
        names: &mut Names<'a>,
    ) -> Result<(), SourceError> {
        let found = node
            .inputs
            .iter()
            .enumerate()
            .find_map(|(position, input)| match &input.arg {
                Argument::AsGraph(graph) => Some((position, &graph.graph)),
                _ => None,
            });
        let Some((position, graph)) = found else {
            return Err(self.malformed(
                format!("{path}.inputs"),
                format!("{} is given no graph", node.target),
            ));
        };
        let enabled = |input: &super::schema::NamedArgument| matches!(input.arg, Argument::AsBool(true));
        // (device type, element type, enabled, cache enabled)
        if wrapper == Wrapper::Autocast && node.inputs[..position].get(2).is_some_and(enabled) {
            let reason =
                "computes under torch.autocast; export the model without it, corer chooses the precision";
            return Err(self.unsupported(path, reason));
        }
        let given = &node.inputs[position + 1..];
        if given.len() != graph.inputs.len() {
            let reason = format!(
                "gives {} arguments to a graph of {}",
                given.len(),
                graph.inputs.len()
            );
            return Err(self.malformed(path, reason));
        }
        let inner_path = format!("{path}.inputs[{position}].arg.as_graph.graph");
        let mut inner = Names::new();
        for (offset, (outer, input)) in given.iter().zip(&graph.inputs).enumerate() {
            let place = format!("{path}.inputs[{}]", position + 1 + offset);
            let value = argument(&outer.arg, names).map_err(|reason| self.malformed(&place, reason))?;
            let name = match input {
                Argument::AsTensor(tensor) => Some(tensor.name.as_str()),
                _ => symbolic(input),
            };
            if let Some(name) = name {
                self.define(&mut inner, name, value, &place)?;
            }
        }
        let level = Level {
            graph,
            path: inner_path,
            index: Some(index),
        };
        self.calls(&level, &mut inner)?;
        let mut returned = Vec::new();
        for (position, output) in graph.outputs.iter().enumerate() {
            let value = argument(output, &inner)
                .map_err(|reason| self.malformed(format!("{}.outputs[{position}]", level.path), reason))?;
            match value {
                Arg::List(values) => returned.extend(values),
                value => returned.push(value),
            }
        }
        let results = self.results(&node.outputs, path)?;
        if results.len() != returned.len() {
            let reason = format!("takes {} results of {}", results.len(), returned.len());
            return Err(self.malformed(format!("{path}.outputs"), reason));
        }
        for (name, value) in results.into_iter().zip(returned) {
            if let Some(name) = name {
                self.define(names, name, value, path)?;
            }
        }
        Ok(())
    }
}

/// What the export says of a tensor.
pub(super) fn recorded(name: &str, meta: &TensorMeta) -> Recorded {
    let size = |size: &SymInt| match size {
        SymInt::Int(value) => u64::try_from(*value).map_or(RecordedSize::Example(None), RecordedSize::Fixed),
        SymInt::Expression(_) => RecordedSize::Example(size.example()),
    };
    Recorded {
        name: name.into(),
        dtype: scalar_type(meta.dtype).ok(),
        shape: meta.sizes.iter().map(size).collect(),
    }
}

/// The name of a number a call returns or a graph takes.
pub(super) fn symbolic(argument: &Argument) -> Option<&str> {
    use super::schema::{SymBoolArgument, SymFloatArgument, SymIntArgument};
    match argument {
        Argument::AsSymInt(SymIntArgument::AsName(name))
        | Argument::AsSymFloat(SymFloatArgument::AsName(name))
        | Argument::AsSymBool(SymBoolArgument::AsName(name)) => Some(name),
        _ => None,
    }
}
