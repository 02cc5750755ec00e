//! A function made ready to run: the public face of this crate.

use std::collections::BTreeMap;

use corer_mil::{NamedType, Program};

use crate::engine::{Engine, EngineDescription};
use crate::error::{CompileError, RunError};
use crate::options::Options;
use crate::tensor::Tensor;

/// A compiled function. Running takes `&self` and may happen on several threads at once.
#[derive(Debug)]
pub struct Executable {
    inputs: Vec<NamedType>,
    outputs: Vec<NamedType>,
}

/// One value an operation produced, as an observer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Operation name.
    pub operation: &'a str,
    /// Operation type.
    pub op: &'a str,
    /// Name of the value.
    pub value: &'a str,
    /// The value.
    pub tensor: &'a Tensor,
}

/// The classes a classifier chooses from.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the element type says it
pub enum Labels {
    Strings(Vec<String>),
    Integers(Vec<i64>),
}

impl Executable {
    /// Makes `function` of `program` ready to run.
    ///
    /// # Errors
    /// When there is no such function, an operation is not supported (all of them are listed) or not well-formed,
    /// a weight can't be read, or the memory limit would be passed.
    pub fn compile(program: &Program, function: &str, options: &Options) -> Result<Self, CompileError> {
        let _ = (program, options);
        Err(CompileError::NoBody {
            function: function.into(),
            opset: "execution is being written".into(),
        })
    }

    /// The function's inputs, in declared order.
    pub fn inputs(&self) -> &[NamedType] {
        &self.inputs
    }

    /// The function's outputs, in declared order. Under [`crate::Arithmetic::F32`] outputs declared fp16 are
    /// delivered as [`crate::TensorData::F32`]. A classifier's dictionary is delivered as the vector of its
    /// probabilities, in the order of [`Self::labels`].
    pub fn outputs(&self) -> &[NamedType] {
        &self.outputs
    }

    /// The classes behind an output of `classify`: its label or its dictionary.
    pub fn labels(&self, output: &str) -> Option<&Labels> {
        let _ = output;
        None
    }

    /// Computes the outputs. An input declared fp16 or fp32 may be given as either; anything else must have the
    /// declared element type.
    ///
    /// # Errors
    /// When inputs don't fit, or an index is out of range.
    pub fn run(&self, inputs: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, RunError> {
        self.run_observed(inputs, &mut |_| {})
    }

    /// As [`Self::run`], showing the observer every value an operation computes, in execution order. Operations
    /// whose operands are all constants were computed when compiling and are not shown. Slower than `run`:
    /// nothing is fused.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_observed(
        &self,
        inputs: &BTreeMap<String, Tensor>,
        observer: &mut dyn FnMut(&Observation<'_>),
    ) -> Result<BTreeMap<String, Tensor>, RunError> {
        let _ = (inputs, observer);
        Err(RunError::Engine {
            engine: "corer-cpu".into(),
            reason: "execution is being written".into(),
        })
    }
}

impl Engine for Executable {
    fn describe(&self) -> EngineDescription {
        EngineDescription {
            name: "corer-cpu".into(),
            detail: "execution is being written".into(),
            threads: None,
        }
    }

    fn inputs(&self) -> &[NamedType] {
        self.inputs()
    }

    fn outputs(&self) -> &[NamedType] {
        self.outputs()
    }

    fn run(&self, inputs: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, RunError> {
        self.run(inputs)
    }
}
