//! The model description from messages.

use coreml_proto::proto::array_feature_type::{ArrayDataType, DefaultOptionalValue, ShapeFlexibility};
use coreml_proto::proto::image_feature_type::{self, SizeFlexibility};
use coreml_proto::proto::{
    ArrayFeatureType, FeatureDescription, FunctionDescription as FunctionMessage, ImageFeatureType,
    Metadata as MetadataMessage, ModelDescription, SizeRange, dictionary_feature_type, feature_type,
    sequence_feature_type, state_feature_type,
};

use crate::error::ReadError;
use crate::model::{
    ArrayType, ColorSpace, DefaultValue, Description, Feature, FeatureType, Flexibility, FunctionDescription,
    ImageFlexibility, LabelType, Metadata,
};

pub(super) fn description(file: &str, message: ModelDescription) -> Result<Description, ReadError> {
    let wrong = |place: String, reason: String| ReadError::Model {
        file: file.to_owned(),
        place,
        reason,
    };
    if !message.training_input.is_empty() {
        return Err(wrong(
            "description.trainingInput".into(),
            "an ML Program can't be trained on the device".into(),
        ));
    }
    let features = |place: &str, messages: Vec<FeatureDescription>| {
        messages
            .into_iter()
            .map(|message| feature(file, place, message))
            .collect::<Result<Vec<_>, _>>()
    };
    let function = |message: FunctionMessage| {
        let place = |part: &str| format!("description.functions `{}`.{part}", message.name);
        Ok(FunctionDescription {
            inputs: features(&place("input"), message.input)?,
            outputs: features(&place("output"), message.output)?,
            states: features(&place("state"), message.state)?,
            predicted_feature: present(message.predicted_feature_name),
            predicted_probabilities: present(message.predicted_probabilities_name),
            name: message.name,
        })
    };
    Ok(Description {
        inputs: features("description.input", message.input)?,
        outputs: features("description.output", message.output)?,
        states: features("description.state", message.state)?,
        functions: message
            .functions
            .into_iter()
            .map(function)
            .collect::<Result<_, ReadError>>()?,
        default_function: present(message.default_function_name),
        predicted_feature: present(message.predicted_feature_name),
        predicted_probabilities: present(message.predicted_probabilities_name),
        metadata: metadata(message.metadata.unwrap_or_default()),
    })
}

fn metadata(message: MetadataMessage) -> Metadata {
    Metadata {
        author: message.author,
        license: message.license,
        short_description: message.short_description,
        version: message.version_string,
        user_defined: message.user_defined.into_iter().collect(),
    }
}

fn feature(file: &str, place: &str, message: FeatureDescription) -> Result<Feature, ReadError> {
    let Some(ty) = message.r#type else {
        return Err(ReadError::Model {
            file: file.to_owned(),
            place: format!("{place} `{}`", message.name),
            reason: "the type is missing".into(),
        });
    };
    let optional = ty.is_optional;
    let ty = ty
        .r#type
        .map_or_else(|| Ok(FeatureType::Other("unspecified".into())), feature_type)
        .map_err(|reason| ReadError::Model {
            file: file.to_owned(),
            place: format!("{place} `{}`", message.name),
            reason,
        })?;
    Ok(Feature {
        name: message.name,
        description: message.short_description,
        optional,
        ty,
    })
}

fn feature_type(message: feature_type::Type) -> Result<FeatureType, String> {
    Ok(match message {
        feature_type::Type::Int64Type(_) => FeatureType::Int64,
        feature_type::Type::DoubleType(_) => FeatureType::Double,
        feature_type::Type::StringType(_) => FeatureType::String,
        feature_type::Type::ImageType(image) => image_type(image)?,
        feature_type::Type::MultiArrayType(array) => multi_array(array)?,
        feature_type::Type::DictionaryType(dictionary) => match dictionary.key_type {
            Some(dictionary_feature_type::KeyType::StringKeyType(_)) => FeatureType::Dictionary {
                key: LabelType::String,
            },
            Some(dictionary_feature_type::KeyType::Int64KeyType(_)) => FeatureType::Dictionary {
                key: LabelType::Int64,
            },
            None => FeatureType::Other("dictionary without a key type".into()),
        },
        feature_type::Type::SequenceType(sequence) => FeatureType::Sequence {
            element: sequence.r#type.map(|ty| match ty {
                sequence_feature_type::Type::Int64Type(_) => LabelType::Int64,
                sequence_feature_type::Type::StringType(_) => LabelType::String,
            }),
            sizes: sequence.size_range.map(range),
        },
        feature_type::Type::StateType(state) => {
            let Some(state_feature_type::Type::ArrayType(array)) = state.r#type else {
                return Ok(FeatureType::Other("state without a type".into()));
            };
            FeatureType::State {
                dtype: array_type(array.data_type)?,
                shape: sizes(&array.shape)?,
            }
        }
    })
}

fn multi_array(message: ArrayFeatureType) -> Result<FeatureType, String> {
    let flexibility = match message.shape_flexibility {
        None => Flexibility::Fixed,
        Some(ShapeFlexibility::EnumeratedShapes(shapes)) => {
            let shapes = shapes.shapes.iter().map(|shape| sizes(&shape.shape));
            Flexibility::Enumerated(shapes.collect::<Result<_, _>>()?)
        }
        Some(ShapeFlexibility::ShapeRange(ranges)) => {
            Flexibility::Range(ranges.size_ranges.into_iter().map(range).collect())
        }
    };
    Ok(FeatureType::MultiArray {
        dtype: array_type(message.data_type)?,
        shape: sizes(&message.shape)?,
        flexibility,
        default: message.default_optional_value.map(|value| match value {
            DefaultOptionalValue::IntDefaultValue(value) => DefaultValue::Int(value),
            DefaultOptionalValue::FloatDefaultValue(value) => DefaultValue::Float(value),
            DefaultOptionalValue::DoubleDefaultValue(value) => DefaultValue::Double(value),
        }),
    })
}

fn image_type(message: ImageFeatureType) -> Result<FeatureType, String> {
    let color_space = match image_feature_type::ColorSpace::try_from(message.color_space) {
        Ok(image_feature_type::ColorSpace::Grayscale) => ColorSpace::Grayscale,
        Ok(image_feature_type::ColorSpace::Rgb) => ColorSpace::Rgb,
        Ok(image_feature_type::ColorSpace::Bgr) => ColorSpace::Bgr,
        Ok(image_feature_type::ColorSpace::GrayscaleFloat16) => ColorSpace::GrayscaleFloat16,
        Ok(image_feature_type::ColorSpace::InvalidColorSpace) | Err(_) => {
            return Err(format!("unknown color space {}", message.color_space));
        }
    };
    let flexibility = match message.size_flexibility {
        None => ImageFlexibility::Fixed,
        Some(SizeFlexibility::EnumeratedSizes(sizes)) => ImageFlexibility::Enumerated(
            sizes
                .sizes
                .into_iter()
                .map(|size| (size.width, size.height))
                .collect(),
        ),
        Some(SizeFlexibility::ImageSizeRange(ranges)) => ImageFlexibility::Range {
            width: range(ranges.width_range.unwrap_or_default()),
            height: range(ranges.height_range.unwrap_or_default()),
        },
    };
    Ok(FeatureType::Image {
        width: size(message.width)?,
        height: size(message.height)?,
        color_space,
        flexibility,
    })
}

/// A negative upper bound means that there is none.
fn range(message: SizeRange) -> (u64, Option<u64>) {
    (message.lower_bound, u64::try_from(message.upper_bound).ok())
}

fn sizes(shape: &[i64]) -> Result<Vec<u64>, String> {
    shape.iter().copied().map(size).collect()
}

fn size(size: i64) -> Result<u64, String> {
    u64::try_from(size).map_err(|_| format!("size {size} is negative"))
}

fn array_type(code: i32) -> Result<ArrayType, String> {
    match ArrayDataType::try_from(code) {
        Ok(ArrayDataType::Float16) => Ok(ArrayType::Float16),
        Ok(ArrayDataType::Float32) => Ok(ArrayType::Float32),
        Ok(ArrayDataType::Double) => Ok(ArrayType::Double),
        Ok(ArrayDataType::Int32) => Ok(ArrayType::Int32),
        Ok(ArrayDataType::Int8) => Ok(ArrayType::Int8),
        Ok(ArrayDataType::InvalidArrayDataType) | Err(_) => Err(format!("unknown array data type {code}")),
    }
}

fn present(name: String) -> Option<String> {
    if name.is_empty() { None } else { Some(name) }
}
