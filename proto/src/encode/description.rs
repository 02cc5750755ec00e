//! The model description as messages.

use coreml_proto::proto::array_feature_type::{
    ArrayDataType, DefaultOptionalValue, EnumeratedShapes, Shape, ShapeFlexibility, ShapeRange,
};
use coreml_proto::proto::image_feature_type::{
    self, EnumeratedImageSizes, ImageSize, ImageSizeRange, SizeFlexibility,
};
use coreml_proto::proto::{
    ArrayFeatureType, DictionaryFeatureType, DoubleFeatureType, FeatureDescription,
    FeatureType as TypeMessage, FunctionDescription as FunctionMessage, ImageFeatureType, Int64FeatureType,
    SequenceFeatureType, SizeRange, StateFeatureType, StringFeatureType, dictionary_feature_type,
    feature_type, sequence_feature_type, state_feature_type,
};

use super::messages;
use crate::error::WriteError;
use crate::model::{
    ArrayType, ColorSpace, DefaultValue, Description, Feature, FeatureType, Flexibility, FunctionDescription,
    ImageFlexibility, LabelType, Metadata,
};

pub(super) fn description(description: &Description) -> Result<messages::ModelDescription, WriteError> {
    Ok(messages::ModelDescription {
        input: features("input", &description.inputs)?,
        output: features("output", &description.outputs)?,
        predicted_feature_name: description.predicted_feature.clone().unwrap_or_default(),
        predicted_probabilities_name: description.predicted_probabilities.clone().unwrap_or_default(),
        state: features("state", &description.states)?,
        functions: description
            .functions
            .iter()
            .map(function)
            .collect::<Result<_, _>>()?,
        default_function_name: description.default_function.clone().unwrap_or_default(),
        metadata: metadata(&description.metadata),
    })
}

fn function(function: &FunctionDescription) -> Result<FunctionMessage, WriteError> {
    Ok(FunctionMessage {
        name: function.name.clone(),
        input: features("input", &function.inputs)?,
        output: features("output", &function.outputs)?,
        state: features("state", &function.states)?,
        predicted_feature_name: function.predicted_feature.clone().unwrap_or_default(),
        predicted_probabilities_name: function.predicted_probabilities.clone().unwrap_or_default(),
    })
}

/// Absent when there is nothing to say, as coremltools leaves it.
fn metadata(metadata: &Metadata) -> Option<messages::Metadata> {
    (*metadata != Metadata::default()).then(|| messages::Metadata {
        short_description: metadata.short_description.clone(),
        version_string: metadata.version.clone(),
        author: metadata.author.clone(),
        license: metadata.license.clone(),
        user_defined: metadata.user_defined.clone(),
    })
}

fn features(kind: &str, features: &[Feature]) -> Result<Vec<FeatureDescription>, WriteError> {
    features.iter().map(|item| feature(kind, item)).collect()
}

fn feature(kind: &str, feature: &Feature) -> Result<FeatureDescription, WriteError> {
    let ty = feature_type(&feature.ty).map_err(|reason| WriteError::Model {
        place: format!("{kind} `{}`", feature.name),
        reason,
    })?;
    Ok(FeatureDescription {
        name: feature.name.clone(),
        short_description: feature.description.clone(),
        r#type: Some(TypeMessage {
            is_optional: feature.optional,
            r#type: Some(ty),
        }),
    })
}

fn feature_type(ty: &FeatureType) -> Result<feature_type::Type, String> {
    Ok(match ty {
        FeatureType::MultiArray {
            dtype,
            shape,
            flexibility,
            default,
        } => feature_type::Type::MultiArrayType(ArrayFeatureType {
            shape: sizes(shape)?,
            data_type: array_type(*dtype),
            shape_flexibility: shape_flexibility(flexibility)?,
            default_optional_value: default.map(|value| match value {
                DefaultValue::Int(value) => DefaultOptionalValue::IntDefaultValue(value),
                DefaultValue::Float(value) => DefaultOptionalValue::FloatDefaultValue(value),
                DefaultValue::Double(value) => DefaultOptionalValue::DoubleDefaultValue(value),
            }),
        }),
        FeatureType::Image {
            width,
            height,
            color_space,
            flexibility,
        } => feature_type::Type::ImageType(ImageFeatureType {
            width: size(*width)?,
            height: size(*height)?,
            color_space: match color_space {
                ColorSpace::Grayscale => image_feature_type::ColorSpace::Grayscale,
                ColorSpace::Rgb => image_feature_type::ColorSpace::Rgb,
                ColorSpace::Bgr => image_feature_type::ColorSpace::Bgr,
                ColorSpace::GrayscaleFloat16 => image_feature_type::ColorSpace::GrayscaleFloat16,
            } as i32,
            size_flexibility: image_flexibility(flexibility)?,
        }),
        FeatureType::String => feature_type::Type::StringType(StringFeatureType {}),
        FeatureType::Int64 => feature_type::Type::Int64Type(Int64FeatureType {}),
        FeatureType::Double => feature_type::Type::DoubleType(DoubleFeatureType {}),
        FeatureType::Dictionary { key } => feature_type::Type::DictionaryType(DictionaryFeatureType {
            key_type: Some(match key {
                LabelType::String => dictionary_feature_type::KeyType::StringKeyType(StringFeatureType {}),
                LabelType::Int64 => dictionary_feature_type::KeyType::Int64KeyType(Int64FeatureType {}),
            }),
        }),
        FeatureType::Sequence { element, sizes } => feature_type::Type::SequenceType(SequenceFeatureType {
            size_range: sizes.map(range).transpose()?,
            r#type: element.map(|element| match element {
                LabelType::String => sequence_feature_type::Type::StringType(StringFeatureType {}),
                LabelType::Int64 => sequence_feature_type::Type::Int64Type(Int64FeatureType {}),
            }),
        }),
        FeatureType::State { dtype, shape } => {
            let array = ArrayFeatureType {
                shape: sizes(shape)?,
                data_type: array_type(*dtype),
                shape_flexibility: None,
                default_optional_value: None,
            };
            feature_type::Type::StateType(StateFeatureType {
                r#type: Some(state_feature_type::Type::ArrayType(array)),
            })
        }
        FeatureType::Other(kind) => return Err(format!("features of type {kind} can't be written")),
    })
}

fn shape_flexibility(flexibility: &Flexibility) -> Result<Option<ShapeFlexibility>, String> {
    Ok(match flexibility {
        Flexibility::Fixed => None,
        Flexibility::Enumerated(shapes) => Some(ShapeFlexibility::EnumeratedShapes(EnumeratedShapes {
            shapes: shapes
                .iter()
                .map(|shape| Ok(Shape { shape: sizes(shape)? }))
                .collect::<Result<_, String>>()?,
        })),
        Flexibility::Range(ranges) => Some(ShapeFlexibility::ShapeRange(ShapeRange {
            size_ranges: ranges.iter().copied().map(range).collect::<Result<_, _>>()?,
        })),
    })
}

fn image_flexibility(flexibility: &ImageFlexibility) -> Result<Option<SizeFlexibility>, String> {
    Ok(match flexibility {
        ImageFlexibility::Fixed => None,
        ImageFlexibility::Enumerated(sizes) => Some(SizeFlexibility::EnumeratedSizes(EnumeratedImageSizes {
            sizes: sizes
                .iter()
                .map(|(width, height)| ImageSize {
                    width: *width,
                    height: *height,
                })
                .collect(),
        })),
        ImageFlexibility::Range { width, height } => Some(SizeFlexibility::ImageSizeRange(ImageSizeRange {
            width_range: Some(range(*width)?),
            height_range: Some(range(*height)?),
        })),
    })
}

fn range((lower_bound, upper): (u64, Option<u64>)) -> Result<SizeRange, String> {
    // A negative upper bound means that there is none.
    Ok(SizeRange {
        lower_bound,
        upper_bound: upper.map_or(Ok(-1), size)?,
    })
}

fn sizes(shape: &[u64]) -> Result<Vec<i64>, String> {
    shape.iter().copied().map(size).collect()
}

fn size(size: u64) -> Result<i64, String> {
    i64::try_from(size).map_err(|_| format!("size {size} is too large"))
}

const fn array_type(ty: ArrayType) -> i32 {
    (match ty {
        ArrayType::Float16 => ArrayDataType::Float16,
        ArrayType::Float32 => ArrayDataType::Float32,
        ArrayType::Double => ArrayDataType::Double,
        ArrayType::Int32 => ArrayDataType::Int32,
        ArrayType::Int8 => ArrayDataType::Int8,
    }) as i32
}
