//! The messages that hold maps, with ordered maps.
//!
//! `coreml-proto` has `HashMap`s, whose order (and so the encoded bytes) changes from run to run. Field numbers are
//! those of `Model.proto` and `MIL.proto`; messages without a map are `coreml-proto`'s own, and a map-carrying field
//! this crate always leaves empty (`TensorType.attributes`) does no harm.

use std::collections::BTreeMap;

use coreml_proto::proto::mil_spec::{Argument, NamedValueType, Value};
use coreml_proto::proto::{FeatureDescription, FunctionDescription};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Model {
    #[prost(int32, tag = "1")]
    pub(super) specification_version: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) description: Option<ModelDescription>,
    #[prost(message, optional, tag = "502")]
    pub(super) ml_program: Option<Program>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelDescription {
    #[prost(message, repeated, tag = "1")]
    pub(super) input: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "10")]
    pub(super) output: Vec<FeatureDescription>,
    #[prost(string, tag = "11")]
    pub(super) predicted_feature_name: String,
    #[prost(string, tag = "12")]
    pub(super) predicted_probabilities_name: String,
    #[prost(message, repeated, tag = "13")]
    pub(super) state: Vec<FeatureDescription>,
    #[prost(message, repeated, tag = "20")]
    pub(super) functions: Vec<FunctionDescription>,
    #[prost(string, tag = "21")]
    pub(super) default_function_name: String,
    #[prost(message, optional, tag = "100")]
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    #[prost(string, tag = "1")]
    pub(super) short_description: String,
    #[prost(string, tag = "2")]
    pub(super) version_string: String,
    #[prost(string, tag = "3")]
    pub(super) author: String,
    #[prost(string, tag = "4")]
    pub(super) license: String,
    #[prost(btree_map = "string, string", tag = "100")]
    pub(super) user_defined: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Program {
    #[prost(int64, tag = "1")]
    pub(super) version: i64,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) functions: BTreeMap<String, Function>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(super) attributes: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Function {
    #[prost(message, repeated, tag = "1")]
    pub(super) inputs: Vec<NamedValueType>,
    #[prost(string, tag = "2")]
    pub(super) opset: String,
    #[prost(btree_map = "string, message", tag = "3")]
    pub(super) block_specializations: BTreeMap<String, Block>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(super) attributes: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Block {
    #[prost(message, repeated, tag = "1")]
    pub(super) inputs: Vec<NamedValueType>,
    #[prost(string, repeated, tag = "2")]
    pub(super) outputs: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(super) operations: Vec<Operation>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub(super) attributes: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Operation {
    #[prost(string, tag = "1")]
    pub(super) r#type: String,
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) inputs: BTreeMap<String, Argument>,
    #[prost(message, repeated, tag = "3")]
    pub(super) outputs: Vec<NamedValueType>,
    #[prost(message, repeated, tag = "4")]
    pub(super) blocks: Vec<Block>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(super) attributes: BTreeMap<String, Value>,
}
