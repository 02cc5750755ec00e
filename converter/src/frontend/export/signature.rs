//! What goes into the graph and what comes out of it: inputs, parameters, buffers, constants, named outputs.

use crate::frontend::aten::{Arg, Output};
use crate::source::{LazyTensor, SourceError, TensorSet, shortened};

use super::argument::{Names, argument, scalar_type};
use super::reader::{Reader, recorded, symbolic};
use super::schema::{Argument, InputSpec, OutputSpec};
use super::{names, symbol};

impl<'a> Reader<'a> {
    /// Declares everything the graph takes; what its names stand for.
    pub(super) fn inputs(&mut self) -> Result<Names<'a>, SourceError> {
        let exported = self.exported;
        let module = &exported.graph_module;
        let (inputs, specs) = (&module.graph.inputs, &module.signature.input_specs);
        if inputs.len() != specs.len() {
            let reason = format!("describes {} inputs, the graph has {}", specs.len(), inputs.len());
            return Err(self.malformed("graph_module.signature.input_specs", reason));
        }
        let mut names = Names::new();
        for (index, spec) in specs.iter().enumerate() {
            let path = format!("graph_module.signature.input_specs[{index}]");
            match spec {
                InputSpec::UserInput { arg } => self.user_input(arg, &path, &mut names)?,
                InputSpec::Parameter { arg, parameter_name } => {
                    self.stored(&arg.name, parameter_name, &path, &mut names)?;
                }
                InputSpec::Buffer { arg, buffer_name } => {
                    self.stored(&arg.name, buffer_name, &path, &mut names)?
                }
                InputSpec::TensorConstant {
                    arg,
                    tensor_constant_name,
                } => self.stored(&arg.name, tensor_constant_name, &path, &mut names)?,
                InputSpec::CustomObj { custom_obj_name } => {
                    let reason = format!(
                        "the model uses the custom object `{}`, which can't be converted",
                        shortened(custom_obj_name)
                    );
                    return Err(self.unsupported(path, reason));
                }
                InputSpec::Token(_) => {
                    return Err(
                        self.unsupported(path, "the model has side effects, which can't be converted")
                    );
                }
                // Fixed when the model was exported; the graph does not mention it.
                InputSpec::ConstantInput { name } => self.define(&mut names, name, Arg::None, &path)?,
            }
        }
        Ok(names)
    }

    /// Declares what the model is called with.
    fn user_input(
        &mut self,
        arg: &'a Argument,
        path: &str,
        names: &mut Names<'a>,
    ) -> Result<(), SourceError> {
        let exported = self.exported;
        let Argument::AsTensor(tensor) = arg else {
            return match symbolic(arg) {
                Some(name) => {
                    let reason = format!(
                        "`{}` is a number, inputs of a package are tensors; export the model with a fixed one",
                        shortened(name)
                    );
                    Err(self.unsupported(path, reason))
                }
                // A constant, as in `return_dict=False`.
                None => Ok(()),
            };
        };
        let name = tensor.name.as_str();
        let graph = &exported.graph_module.graph;
        let Some(meta) = graph.tensor_values.0.get(name) else {
            let reason = format!(
                "nothing is said of the input `{}` in tensor_values",
                shortened(name)
            );
            return Err(self.malformed(path, reason));
        };
        let place = format!("graph_module.graph.tensor_values.{name}");
        let dtype =
            scalar_type(meta.dtype).map_err(|reason| self.unsupported(format!("{place}.dtype"), reason))?;
        let mut shape = Vec::with_capacity(meta.sizes.len());
        for (index, size) in meta.sizes.iter().enumerate() {
            let size = symbol::size(size, &exported.range_constraints)
                .map_err(|reason| self.unsupported(format!("{place}.sizes[{index}]"), reason))?;
            shape.push(size);
        }
        let value = self.program.input(name, Some(dtype), Some(shape));
        self.program.recorded.insert(value, recorded(name, meta));
        self.define(names, name, Arg::Value(value), path)
    }

    /// Declares a tensor that lies in the file.
    fn stored(
        &mut self,
        name: &'a str,
        tensor: &str,
        path: &str,
        names: &mut Names<'a>,
    ) -> Result<(), SourceError> {
        let pt2 = self.pt2;
        // Buffers that are not saved with a state dict lie with the constants.
        let Some(slice) = pt2.state.get(tensor).or_else(|| pt2.constants.get(tensor)) else {
            let mut reason = format!("there is no tensor `{}` in the archive", shortened(tensor));
            let near = |set: &TensorSet| set.nearest(tensor).into_iter().map(shortened).collect::<Vec<_>>();
            let near = [near(&pt2.state), near(&pt2.constants)].concat();
            if !near.is_empty() {
                reason.push_str(&format!(" (there is {})", near.join(", ")));
            }
            return Err(self.malformed(path, reason));
        };
        let value = self.program.parameter(tensor, LazyTensor::new(slice.clone()));
        self.define(names, name, Arg::Value(value), path)
    }

    /// Declares what the model returns.
    pub(super) fn outputs(&mut self, names: &Names<'a>) -> Result<(), SourceError> {
        let module = &self.exported.graph_module;
        let mut returned = Vec::new();
        for (index, spec) in module.signature.output_specs.iter().enumerate() {
            let path = format!("graph_module.signature.output_specs[{index}]");
            let changes = |what: &str, name: &str| {
                let reason = format!(
                    "the model changes its {what} `{}`, a package can't",
                    shortened(name)
                );
                Err(self.unsupported(path.clone(), reason))
            };
            match spec {
                OutputSpec::UserOutput { arg } => {
                    let value = argument(arg, names).map_err(|reason| self.malformed(path, reason))?;
                    returned.push(value);
                }
                OutputSpec::BufferMutation { buffer_name } => return changes("buffer", buffer_name),
                OutputSpec::ParameterMutation { parameter_name } => {
                    return changes("parameter", parameter_name);
                }
                OutputSpec::UserInputMutation { user_input_name } => {
                    return changes("input", user_input_name);
                }
                OutputSpec::LossOutput(_)
                | OutputSpec::GradientToParameter(_)
                | OutputSpec::GradientToUserInput(_) => {
                    return Err(
                        self.unsupported(path, "the program trains the model; export the model itself")
                    );
                }
                OutputSpec::Token(_) => {
                    return Err(
                        self.unsupported(path, "the model has side effects, which can't be converted")
                    );
                }
            }
        }
        let keys = names::outputs(module, returned.len());
        let outputs = returned.into_iter().zip(keys);
        // Things a model may return beside tensors: `None` for what it was not asked for, a number.
        self.program.outputs = outputs
            .filter(|(value, _)| matches!(value, Arg::Value(_)))
            .map(|(value, name)| Output { name, value })
            .collect();
        if self.program.outputs.is_empty() {
            return Err(self.unsupported(
                "graph_module.signature.output_specs",
                "the model returns no tensor",
            ));
        }
        Ok(())
    }
}
