//! The model description and metadata that stand beside the program.

use std::collections::BTreeMap;

use corer_mil::{Dim, Function, Opset, Program, Value, ValueType};
use corer_proto::{
    ArrayType, Description, Feature, FeatureType, Flexibility, FunctionDescription, LabelType, Metadata,
    Model,
};

use crate::error::ConvertError;
use crate::lower::Classifier;
use crate::shapes::{Shape, Shapes};

/// What callers see of each input and output, by name.
const MEANINGS: &[(&str, &str)] = &[
    ("input_ids", "Token ids, padded to the sequence length"),
    ("attention_mask", "1 for tokens, 0 for padding"),
    ("token_type_ids", "0 for the first text, 1 for the second"),
    (
        "last_hidden_state",
        "One vector per token (batch, tokens, channels)",
    ),
    (
        "pooler_output",
        "The first token's vector through the pooler (batch, channels)",
    ),
    ("logits", "Unnormalised scores"),
    ("start_logits", "Unnormalised scores of the answer's first token"),
    ("end_logits", "Unnormalised scores of the answer's last token"),
    ("sentence_embedding", "One vector per text (batch, channels)"),
];

/// Assembles a model of one function called `main`, or of several functions of fixed shapes.
///
/// # Errors
/// When an input or output has a type a feature can't have, or the target takes no such shapes.
pub(crate) fn model(
    functions: Vec<(String, Function)>,
    shapes: &Shapes,
    classifier: Option<&Classifier>,
    metadata: Metadata,
) -> Result<Model, ConvertError> {
    let mut description = Description {
        metadata,
        ..Description::default()
    };
    let mut opset = Opset::CoreMl5;
    for (name, function) in &functions {
        opset = opset.max(function.opset);
        let described = FunctionDescription {
            name: name.clone(),
            inputs: inputs(function, shapes)?,
            outputs: outputs(function)?,
            states: Vec::new(),
            predicted_feature: classifier.map(|classifier| classifier.label.clone()),
            predicted_probabilities: classifier.map(|classifier| format!("{}_probs", classifier.label)),
        };
        if let Shapes::Functions { .. } = shapes {
            description.functions.push(described);
        } else {
            description.inputs = described.inputs;
            description.outputs = described.outputs;
            description.predicted_feature = described.predicted_feature;
            description.predicted_probabilities = described.predicted_probabilities;
        }
    }
    description.default_function = shapes.default_function().map(str::to_owned);
    let program = Program {
        functions: functions.into_iter().collect(),
        attributes: BTreeMap::<String, Value>::new(),
    };
    Ok(Model {
        specification_version: opset.specification_version(),
        description,
        program,
    })
}

/// The inputs with the shapes each takes.
fn inputs(function: &Function, shapes: &Shapes) -> Result<Vec<Feature>, ConvertError> {
    let open = function.inputs.iter().filter(|input| {
        let tensor = input.ty.as_tensor();
        tensor.is_some_and(|tensor| tensor.known_shape().is_none())
    });
    let names: Vec<&str> = open.map(|input| input.name.as_str()).collect();
    let enumerated = matches!(shapes, Shapes::Enumerated { .. });
    if enumerated && names.len() > 1 && function.opset < Opset::CoreMl8 {
        return Err(ConvertError::Request {
            flag: "--sequence-length",
            reason: format!(
                "below ios18 only one input may enumerate shapes, and this model takes {} ({}); give --target ios18, \
                 a range as in {}..{}, or make a package for each length",
                names.len(),
                names.join(", "),
                shapes.extent().tokens.least,
                shapes.extent().tokens.most,
            ),
        });
    }
    let features = function.inputs.iter().map(|input| {
        let tensor = input.ty.as_tensor();
        let dtype = tensor.and_then(|tensor| ArrayType::from_data_type(tensor.dtype));
        let dtype = dtype.ok_or_else(|| unknown(&input.name, &format!("{} can't be a feature", input.ty)))?;
        let dims = tensor.map_or(&[][..], |tensor| &tensor.shape[..]);
        // Its own sizes, and the open ones as they are in `shape`: the batch's symbol is the first (`InputShape`).
        let sized = |shape: Shape| -> Vec<u64> {
            let size = |dim: &Dim| match dim {
                Dim::Known(size) => *size,
                Dim::Symbol(0) => shape.batch,
                Dim::Symbol(_) => shape.tokens,
            };
            dims.iter().map(size).collect()
        };
        let default = sized(shapes.default_shape());
        let flexibility = match shapes {
            _ if dims.iter().all(|dim| dim.known().is_some()) => Flexibility::Fixed,
            Shapes::Fixed(_) | Shapes::Functions { .. } => Flexibility::Fixed,
            Shapes::Enumerated { shapes } => {
                let mut all: Vec<_> = shapes.iter().copied().map(sized).collect();
                // The default comes first.
                all.sort_by_key(|shape| *shape != default);
                Flexibility::Enumerated(all)
            }
            Shapes::Range(shape) => {
                let (least, most) = (
                    Shape {
                        batch: shape.batch.least,
                        tokens: shape.tokens.least,
                    },
                    Shape {
                        batch: shape.batch.most,
                        tokens: shape.tokens.most,
                    },
                );
                let ends = sized(least).into_iter().zip(sized(most));
                Flexibility::Range(ends.map(|(least, most)| (least, Some(most))).collect())
            }
        };
        let mut feature = Feature::multi_array(&input.name, dtype, default);
        if let FeatureType::MultiArray {
            flexibility: slot, ..
        } = &mut feature.ty
        {
            *slot = flexibility;
        }
        Ok(described(feature))
    });
    features.collect()
}

/// The outputs; one whose shape follows from the input's is described without.
fn outputs(function: &Function) -> Result<Vec<Feature>, ConvertError> {
    let types: BTreeMap<&str, &ValueType> = function
        .body()
        .into_iter()
        .flat_map(|block| &block.operations)
        .flat_map(|operation| &operation.outputs)
        .map(|output| (output.name.as_str(), &output.ty))
        .collect();
    let names = function.body().into_iter().flat_map(|block| &block.outputs);
    let features = names.map(|name| {
        let ty = types
            .get(name.as_str())
            .ok_or_else(|| unknown(name, "was never written"))?;
        output(name, ty)
    });
    features.collect()
}

fn output(name: &str, ty: &ValueType) -> Result<Feature, ConvertError> {
    let ty = match ty {
        ValueType::Tensor(tensor) if tensor.dtype == corer_mil::DataType::String => FeatureType::String,
        ValueType::Tensor(tensor) => {
            let dtype = ArrayType::from_data_type(tensor.dtype)
                .ok_or_else(|| unknown(name, &format!("{} is no multi-array type", tensor.dtype)))?;
            let shape = tensor.known_shape().unwrap_or_default();
            return Ok(described(Feature::multi_array(name, dtype, shape)));
        }
        ValueType::Dictionary(..) => FeatureType::Dictionary {
            key: LabelType::String,
        },
        other => return Err(unknown(name, &format!("{other} can't be a feature"))),
    };
    Ok(described(Feature::new(name, ty)))
}

fn described(mut feature: Feature) -> Feature {
    if let Some((_, meaning)) = MEANINGS.iter().find(|(name, _)| *name == feature.name) {
        feature.description = (*meaning).to_owned();
    }
    feature
}

fn unknown(name: &str, reason: &str) -> ConvertError {
    ConvertError::Lowering {
        scope: name.into(),
        op: "feature".into(),
        reason: reason.into(),
    }
}
