//! The model description and metadata that stand beside the program.

use std::collections::BTreeMap;

use corer_mil::{Function, Program, Value, ValueType};
use corer_proto::{ArrayType, Description, Feature, FeatureType, LabelType, Metadata, Model};

use crate::error::ConvertError;
use crate::lower::Classifier;

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

/// Assembles a model of one function called `main`.
///
/// # Errors
/// When an output has a type a feature can't have.
pub(crate) fn model(
    function: Function,
    classifier: Option<&Classifier>,
    metadata: Metadata,
) -> Result<Model, ConvertError> {
    let opset = function.opset;
    let types: BTreeMap<&str, &ValueType> = function
        .body()
        .into_iter()
        .flat_map(|block| &block.operations)
        .flat_map(|operation| &operation.outputs)
        .map(|output| (output.name.as_str(), &output.ty))
        .collect();
    let mut description = Description {
        metadata,
        ..Description::default()
    };
    for input in &function.inputs {
        description.inputs.push(feature(&input.name, &input.ty)?);
    }
    for name in function.body().into_iter().flat_map(|block| &block.outputs) {
        let ty = types
            .get(name.as_str())
            .ok_or_else(|| unknown(name, "was never written"))?;
        description.outputs.push(feature(name, ty)?);
    }
    if let Some(classifier) = classifier {
        description.predicted_feature = Some(classifier.label.clone());
        description.predicted_probabilities = Some(format!("{}_probs", classifier.label));
    }
    let program = Program {
        functions: BTreeMap::from([("main".to_owned(), function)]),
        attributes: BTreeMap::<String, Value>::new(),
    };
    Ok(Model {
        specification_version: opset.specification_version(),
        description,
        program,
    })
}

fn feature(name: &str, ty: &ValueType) -> Result<Feature, ConvertError> {
    let ty = match ty {
        ValueType::Tensor(tensor) if tensor.dtype == corer_mil::DataType::String => FeatureType::String,
        ValueType::Tensor(tensor) => {
            let dtype = ArrayType::from_data_type(tensor.dtype)
                .ok_or_else(|| unknown(name, &format!("{} is no multi-array type", tensor.dtype)))?;
            let shape = tensor
                .known_shape()
                .ok_or_else(|| unknown(name, "has no fixed shape"))?;
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
