//! The JSON of an exported program: what of it is needed to know the calls, typed.
//!
//! Form: `torch/_export/serde/schema.py`, versions 7 and 8. A union is an object of one member, named after the
//! choice; members added by later minor versions are passed over, as PyTorch itself does. Stack traces, most of the
//! text, are never kept. Nesting is bounded by the parser (128 levels).

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::source::json::UniqueMap;
use crate::source::pt2::{Number, ScalarCode, TensorMeta};

/// What has to be known before the rest is read.
#[derive(Debug, Deserialize)]
pub(super) struct Versioned {
    pub(super) schema_version: SchemaVersion,
    pub(super) torch_version: Option<String>,
}

/// The schema's version: a new major breaks readers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub(super) struct SchemaVersion {
    pub(super) major: i64,
    pub(super) minor: i64,
}

/// The whole program.
#[derive(Debug, Deserialize)]
pub(super) struct ExportedProgram {
    pub(super) graph_module: GraphModule,
    pub(super) range_constraints: UniqueMap<Range>,
}

/// What values a symbol takes.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    pub(super) min_val: Option<i64>,
    pub(super) max_val: Option<i64>,
}

/// The graph and how it is called.
#[derive(Debug, Deserialize)]
pub(super) struct GraphModule {
    pub(super) graph: Graph,
    pub(super) signature: Signature,
    #[serde(default)]
    pub(super) module_call_graph: Vec<ModuleCall>,
}

/// Calls in order, and what is known of the values between them.
#[derive(Debug, Deserialize)]
pub(super) struct Graph {
    pub(super) inputs: Vec<Argument>,
    pub(super) outputs: Vec<Argument>,
    pub(super) nodes: Vec<Node>,
    pub(super) tensor_values: UniqueMap<TensorMeta>,
}

/// One call.
#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) target: String,
    pub(super) inputs: Vec<NamedArgument>,
    pub(super) outputs: Vec<Argument>,
    #[serde(default)]
    pub(super) metadata: Metadata,
}

/// Of a call's metadata, the modules it was made in.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) nn_module_stack: Option<String>,
}

/// An argument under the name the operator's schema gives it.
#[derive(Debug, Deserialize)]
pub(super) struct NamedArgument {
    pub(super) name: String,
    pub(super) arg: Argument,
    /// 1: passed by position, 2: by name; since torch 2.7.
    pub(super) kind: Option<i64>,
}

/// By position.
pub(super) const POSITIONAL: i64 = 1;

/// A value.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::enum_variant_names)] // the schema's own
pub(super) enum Argument {
    AsNone(IgnoredAny),
    AsTensor(Named),
    AsTensors(Vec<Named>),
    AsOptionalTensor(OptionalTensor),
    AsOptionalTensors(Vec<OptionalTensor>),
    AsNestedTensors(IgnoredAny),
    AsInt(i64),
    AsInts(Vec<i64>),
    AsIntLists(Vec<Vec<i64>>),
    AsFloat(Number),
    AsFloats(Vec<Number>),
    AsFloatLists(Vec<Vec<Number>>),
    AsComplex(IgnoredAny),
    AsBool(bool),
    AsBools(Vec<bool>),
    AsString(String),
    AsStrings(Vec<String>),
    AsStringToArgument(IgnoredAny),
    AsSymInt(SymIntArgument),
    AsSymInts(Vec<SymIntArgument>),
    AsSymFloat(SymFloatArgument),
    AsSymFloats(Vec<SymFloatArgument>),
    AsSymBool(SymBoolArgument),
    AsSymBools(Vec<SymBoolArgument>),
    AsScalarType(ScalarCode),
    AsMemoryFormat(IgnoredAny),
    AsLayout(IgnoredAny),
    AsDevice(IgnoredAny),
    AsGraph(Box<GraphArgument>),
    AsCustomObj(IgnoredAny),
    AsOperator(IgnoredAny),
}

/// A value of the graph, by name.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

/// One of a list of tensors that may have holes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OptionalTensor {
    AsTensor(Named),
    AsNone(IgnoredAny),
}

/// An integer, or the value that is one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SymIntArgument {
    AsName(String),
    AsInt(i64),
}

/// A float, or the value that is one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SymFloatArgument {
    AsName(String),
    AsFloat(Number),
}

/// A truth value, or the value that is one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SymBoolArgument {
    AsName(String),
    AsBool(bool),
}

/// A graph a higher-order operator calls.
#[derive(Debug, Deserialize)]
pub(super) struct GraphArgument {
    pub(super) graph: Graph,
}

/// What the graph's inputs and outputs stand for.
#[derive(Debug, Deserialize)]
pub(super) struct Signature {
    pub(super) input_specs: Vec<InputSpec>,
    pub(super) output_specs: Vec<OutputSpec>,
}

/// What an input of the graph stands for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InputSpec {
    UserInput {
        arg: Argument,
    },
    Parameter {
        arg: Named,
        parameter_name: String,
    },
    Buffer {
        arg: Named,
        buffer_name: String,
    },
    TensorConstant {
        arg: Named,
        tensor_constant_name: String,
    },
    CustomObj {
        custom_obj_name: String,
    },
    Token(IgnoredAny),
    ConstantInput {
        name: String,
    },
}

/// What an output of the graph stands for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutputSpec {
    UserOutput { arg: Argument },
    LossOutput(IgnoredAny),
    BufferMutation { buffer_name: String },
    ParameterMutation { parameter_name: String },
    GradientToParameter(IgnoredAny),
    GradientToUserInput(IgnoredAny),
    UserInputMutation { user_input_name: String },
    Token(IgnoredAny),
}

/// How one module is called.
#[derive(Debug, Deserialize)]
pub(super) struct ModuleCall {
    /// Its path; empty for the outermost.
    pub(super) fqn: String,
    pub(super) signature: Option<CallSignature>,
}

/// How what a module returns is put together from the outputs.
#[derive(Debug, Deserialize)]
pub(super) struct CallSignature {
    /// A tree of containers, as JSON within the JSON (`torch/utils/_pytree.py`, `treespec_dumps`).
    pub(super) out_spec: String,
}

impl Argument {
    /// What kind of value it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::AsNone(_) => "None",
            Self::AsTensor(_) | Self::AsOptionalTensor(_) => "a tensor",
            Self::AsTensors(_) | Self::AsOptionalTensors(_) => "a list of tensors",
            Self::AsNestedTensors(_) => "a list of lists of tensors",
            Self::AsInt(_) | Self::AsSymInt(_) => "an int",
            Self::AsInts(_) | Self::AsSymInts(_) => "a list of ints",
            Self::AsIntLists(_) => "a list of lists of ints",
            Self::AsFloat(_) | Self::AsSymFloat(_) => "a float",
            Self::AsFloats(_) | Self::AsSymFloats(_) => "a list of floats",
            Self::AsFloatLists(_) => "a list of lists of floats",
            Self::AsComplex(_) => "a complex number",
            Self::AsBool(_) | Self::AsSymBool(_) => "a bool",
            Self::AsBools(_) | Self::AsSymBools(_) => "a list of bools",
            Self::AsString(_) => "a str",
            Self::AsStrings(_) => "a list of str",
            Self::AsStringToArgument(_) => "a dict",
            Self::AsScalarType(_) => "an element type",
            Self::AsMemoryFormat(_) => "a memory format",
            Self::AsLayout(_) => "a layout",
            Self::AsDevice(_) => "a device",
            Self::AsGraph(_) => "a graph",
            Self::AsCustomObj(_) => "a custom object",
            Self::AsOperator(_) => "an operator",
        }
    }
}
