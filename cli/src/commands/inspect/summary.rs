//! The summary of a package: interface, metadata, operations, weights.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use corer_mil::value::Data;
use corer_mil::{Binding, Block, Program, Value};
use corer_proto::{
    Description, Feature, FeatureType, Flexibility, ImageFlexibility, LabelType, Metadata, Package,
};
use serde::Serialize;

use crate::failure::bold;
use crate::output;

/// Everything the summary shows; serialised as it is for `--json`.
#[derive(Serialize)]
pub(super) struct Summary {
    package: String,
    digest: String,
    specification_version: i32,
    deployment_target: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_function: Option<String>,
    functions: Vec<FunctionView>,
    weights: Weights,
    metadata: MetadataView,
}

#[derive(Serialize)]
struct FunctionView {
    name: String,
    opset: &'static str,
    inputs: Vec<FeatureView>,
    outputs: Vec<FeatureView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    states: Vec<FeatureView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_feature: Option<String>,
    operation_count: usize,
    operations: BTreeMap<String, usize>,
}

#[derive(Serialize)]
struct FeatureView {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    shape: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flexibility: Option<String>,
    optional: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
}

#[derive(Serialize, Default)]
struct Weights {
    files: Vec<WeightFile>,
    by_dtype: BTreeMap<String, WeightTotal>,
}

#[derive(Serialize)]
struct WeightFile {
    name: String,
    bytes: u64,
    blobs: u32,
}

#[derive(Serialize, Default)]
struct WeightTotal {
    tensors: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct MetadataView {
    #[serde(skip_serializing_if = "String::is_empty")]
    author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    license: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    short_description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    user_defined: BTreeMap<String, String>,
}

impl Summary {
    /// The summary of an opened package.
    pub(super) fn of(package: &Package, digest: String) -> Self {
        let model = &package.model;
        let version = model.specification_version;
        Self {
            package: package.path.display().to_string(),
            digest,
            specification_version: version,
            deployment_target: corer_mil::Opset::ALL
                .into_iter()
                .find(|opset| opset.specification_version() == version)
                .map(|opset| opset.target().name()),
            default_function: model.description.default_function.clone(),
            functions: functions(&model.program, &model.description),
            weights: weights(package),
            metadata: metadata(&model.description.metadata),
        }
    }

    /// Prints the summary for people.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = bold(AnsiColor::Green);
        let dim = Style::new().dimmed();
        writeln!(out, "{head}{}{head:#}", self.package)?;
        writeln!(out, "  digest         {}", self.digest)?;
        let target = self.deployment_target.unwrap_or("unknown target");
        writeln!(out, "  specification  {} ({target})", self.specification_version)?;
        for function in &self.functions {
            let default = self.default_function.as_deref() == Some(&function.name);
            let default = if default { ", default" } else { "" };
            writeln!(
                out,
                "\n{head}function {}{head:#} {dim}({}{default}){dim:#}",
                function.name, function.opset
            )?;
            for (label, features) in [
                ("input", &function.inputs),
                ("output", &function.outputs),
                ("state", &function.states),
            ] {
                for feature in features {
                    feature.write(out, label)?;
                }
            }
            if let Some(feature) = &function.predicted_feature {
                writeln!(out, "  predicts {feature}")?;
            }
            writeln!(out, "  {} operations", function.operation_count)?;
            let mut by_count: Vec<_> = function.operations.iter().collect();
            by_count.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (op, count) in by_count {
                writeln!(out, "  {count:>6}  {op}")?;
            }
        }
        writeln!(out, "\n{head}weights{head:#}")?;
        for (dtype, total) in &self.weights.by_dtype {
            writeln!(
                out,
                "  {dtype:<7} {:>6} tensors  {:>12}",
                total.tensors,
                output::bytes(total.bytes)
            )?;
        }
        for file in &self.weights.files {
            writeln!(
                out,
                "  {}: {} blobs, {}",
                file.name,
                file.blobs,
                output::bytes(file.bytes)
            )?;
        }
        if !self.metadata.is_empty() {
            writeln!(out, "\n{head}metadata{head:#}")?;
            self.metadata.write(out)?;
        }
        Ok(())
    }
}

fn functions(program: &Program, description: &Description) -> Vec<FunctionView> {
    let views = |features: &[Feature]| features.iter().map(FeatureView::of).collect::<Vec<_>>();
    // In the order the package describes them, which for buckets is shortest first.
    let place = |name: &str| {
        let mut described = description.functions.iter();
        described.position(|function| function.name == name)
    };
    let mut functions: Vec<_> = program.functions.iter().collect();
    functions.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
    functions
        .into_iter()
        .map(|(name, function)| {
            // A multi-function model describes each function; any other describes its only one at the top.
            let own = description
                .functions
                .iter()
                .find(|candidate| candidate.name == *name);
            let (inputs, outputs, states, predicted) = match own {
                Some(own) => (&own.inputs, &own.outputs, &own.states, &own.predicted_feature),
                None => (
                    &description.inputs,
                    &description.outputs,
                    &description.states,
                    &description.predicted_feature,
                ),
            };
            let mut operations = BTreeMap::new();
            if let Some(body) = function.body() {
                histogram(body, &mut operations);
            }
            FunctionView {
                name: name.clone(),
                opset: function.opset.name(),
                inputs: views(inputs),
                outputs: views(outputs),
                states: views(states),
                predicted_feature: predicted.clone(),
                operation_count: operations.values().sum(),
                operations,
            }
        })
        .collect()
}

/// Operations in a block and its nested blocks, constants left out.
pub(super) fn count(block: &Block) -> usize {
    let mut by_op = BTreeMap::new();
    histogram(block, &mut by_op);
    by_op.values().sum()
}

fn histogram(block: &Block, counts: &mut BTreeMap<String, usize>) {
    for operation in &block.operations {
        if operation.op != "const" {
            *counts.entry(operation.op.clone()).or_default() += 1;
        }
        for nested in &operation.blocks {
            histogram(nested, counts);
        }
    }
}

fn weights(package: &Package) -> Weights {
    let files = package.blobs.iter();
    let files = files
        .map(|blob| WeightFile {
            name: blob.name.clone(),
            bytes: blob.bytes,
            blobs: blob.count,
        })
        .collect();
    let mut weights = Weights {
        files,
        ..Weights::default()
    };
    for function in package.model.program.functions.values() {
        for block in function.blocks.values() {
            add_weights(block, &mut weights.by_dtype);
        }
    }
    weights
}

fn add_weights(block: &Block, totals: &mut BTreeMap<String, WeightTotal>) {
    for operation in &block.operations {
        let bound = operation
            .inputs
            .values()
            .flatten()
            .filter_map(|binding| match binding {
                Binding::Value(value) => Some(value),
                Binding::Name(_) => None,
            });
        for value in operation.attributes.values().chain(bound) {
            add_weight(value, totals);
        }
        for nested in &operation.blocks {
            add_weights(nested, totals);
        }
    }
}

fn add_weight(value: &Value, totals: &mut BTreeMap<String, WeightTotal>) {
    if let (Data::Weight(source), Some(tensor)) = (&value.data, value.tensor_type()) {
        let total = totals.entry(tensor.dtype.name().to_owned()).or_default();
        total.tensors += 1;
        total.bytes += source.byte_len();
    }
}

impl FeatureView {
    fn of(feature: &Feature) -> Self {
        let label = |label: LabelType| match label {
            LabelType::String => "string",
            LabelType::Int64 => "int64",
        };
        let (kind, shape, flexibility) = match &feature.ty {
            FeatureType::MultiArray {
                dtype,
                shape,
                flexibility,
                ..
            } => (
                dtype.data_type().name().to_owned(),
                shape.clone(),
                flexible(flexibility),
            ),
            FeatureType::Image {
                width,
                height,
                color_space,
                flexibility,
            } => {
                let flexibility =
                    (*flexibility != ImageFlexibility::Fixed).then(|| "flexible size".to_owned());
                (
                    format!("image ({color_space:?})"),
                    vec![*height, *width],
                    flexibility,
                )
            }
            FeatureType::String => ("string".to_owned(), vec![], None),
            FeatureType::Int64 => ("int64".to_owned(), vec![], None),
            FeatureType::Double => ("double".to_owned(), vec![], None),
            FeatureType::Dictionary { key } => (format!("dictionary {} → double", label(*key)), vec![], None),
            FeatureType::Sequence { element, .. } => (
                format!("sequence of {}", element.map_or("anything", label)),
                vec![],
                None,
            ),
            FeatureType::State { dtype, shape } => (dtype.data_type().name().to_owned(), shape.clone(), None),
            FeatureType::Other(kind) => (kind.clone(), vec![], None),
        };
        let Feature {
            name,
            optional,
            description,
            ..
        } = feature;
        Self {
            name: name.clone(),
            kind,
            shape,
            flexibility,
            optional: *optional,
            description: description.clone(),
        }
    }

    fn write(&self, out: &mut dyn Write, label: &str) -> io::Result<()> {
        write!(out, "  {label:<7}{}: {}", self.name, self.kind)?;
        if !self.shape.is_empty() {
            write!(out, " {}", sizes(&self.shape))?;
        }
        if let Some(flexibility) = &self.flexibility {
            write!(out, ", {flexibility}")?;
        }
        if self.optional {
            write!(out, ", optional")?;
        }
        writeln!(out)
    }
}

fn sizes(shape: &[u64]) -> String {
    let sizes: Vec<_> = shape.iter().map(u64::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

fn flexible(flexibility: &Flexibility) -> Option<String> {
    match flexibility {
        Flexibility::Fixed => None,
        Flexibility::Enumerated(shapes) => {
            let shapes: Vec<_> = shapes.iter().map(|shape| sizes(shape)).collect();
            Some(format!("one of {}", shapes.join(" ")))
        }
        Flexibility::Range(ranges) => {
            let ranges: Vec<_> = ranges
                .iter()
                .map(|(least, most)| most.map_or(format!("{least}.."), |most| format!("{least}..={most}")))
                .collect();
            Some(format!("range [{}]", ranges.join(", ")))
        }
    }
}

fn metadata(metadata: &Metadata) -> MetadataView {
    let Metadata {
        author,
        license,
        short_description,
        version,
        user_defined,
    } = metadata.clone();
    MetadataView {
        author,
        license,
        short_description,
        version,
        user_defined,
    }
}

impl MetadataView {
    fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let fixed = [
            ("author", &self.author),
            ("license", &self.license),
            ("description", &self.short_description),
            ("version", &self.version),
        ];
        let fixed = fixed.into_iter().map(|(key, value)| (key, value.as_str()));
        let own = self
            .user_defined
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        fixed.chain(own).filter(|(_, value)| !value.is_empty())
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = self
            .entries()
            .map(|(key, _)| key.chars().count())
            .max()
            .unwrap_or(0);
        for (key, value) in self.entries() {
            writeln!(out, "  {key:<width$}  {value}")?;
        }
        Ok(())
    }
}
