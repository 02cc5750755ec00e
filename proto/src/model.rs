//! What a package says besides its program: specification version, features, metadata.
//!
//! Mirrors `Model.proto` and `FeatureTypes.proto` of Core ML, with the field's own words for names.

use std::collections::BTreeMap;

/// A Core ML model whose kind is ML Program.
#[derive(Clone, Debug)]
pub struct Model {
    /// `Model.specificationVersion`; see [`corer_mil::Opset::specification_version`].
    pub specification_version: i32,
    /// Inputs, outputs, metadata.
    pub description: Description,
    /// The program.
    pub program: corer_mil::Program,
}

/// `ModelDescription`: what a caller of the model sees.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Description {
    /// Inputs of a single-function model, in order; empty for a multi-function model.
    pub inputs: Vec<Feature>,
    /// Outputs of a single-function model, in order; empty for a multi-function model.
    pub outputs: Vec<Feature>,
    /// States of a single-function model (specification version 9).
    pub states: Vec<Feature>,
    /// Functions of a multi-function model (specification version 9), in order.
    pub functions: Vec<FunctionDescription>,
    /// The function used when the caller names none; only with [`Self::functions`].
    pub default_function: Option<String>,
    /// Output that carries a classifier's label.
    pub predicted_feature: Option<String>,
    /// Output that carries a classifier's label → probability dictionary.
    pub predicted_probabilities: Option<String>,
    /// Author, licence and the like.
    pub metadata: Metadata,
}

/// `FunctionDescription`: what a caller of one function of a multi-function model sees.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FunctionDescription {
    /// Name of the function in the program.
    pub name: String,
    /// Inputs, in order.
    pub inputs: Vec<Feature>,
    /// Outputs, in order.
    pub outputs: Vec<Feature>,
    /// States.
    pub states: Vec<Feature>,
    /// Output that carries a classifier's label.
    pub predicted_feature: Option<String>,
    /// Output that carries a classifier's label → probability dictionary.
    pub predicted_probabilities: Option<String>,
}

/// Model metadata; an empty string stands for an absent entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// Who made the model.
    pub author: String,
    /// Its licence.
    pub license: String,
    /// One line about it.
    pub short_description: String,
    /// Its version, free text.
    pub version: String,
    /// Further entries, sorted by key.
    pub user_defined: BTreeMap<String, String>,
}

/// One input, output or state.
#[derive(Clone, PartialEq, Debug)]
pub struct Feature {
    /// Name, equal to the name of the program's input or output.
    pub name: String,
    /// One line about it; may be empty.
    pub description: String,
    /// Whether a caller may leave the input out.
    pub optional: bool,
    /// Its type.
    pub ty: FeatureType,
}

impl Feature {
    /// A required multi-array of fixed shape without a description text.
    pub fn multi_array(name: impl Into<String>, dtype: ArrayType, shape: impl Into<Vec<u64>>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            optional: false,
            ty: FeatureType::MultiArray {
                dtype,
                shape: shape.into(),
                flexibility: Flexibility::Fixed,
                default: None,
            },
        }
    }

    /// A required feature of the given type without a description text.
    pub fn new(name: impl Into<String>, ty: FeatureType) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            optional: false,
            ty,
        }
    }
}

/// The type of a feature.
#[derive(Clone, PartialEq, Debug)]
pub enum FeatureType {
    /// An n-dimensional array.
    MultiArray {
        /// Element type.
        dtype: ArrayType,
        /// Shape, or default shape when flexible; empty when the program computes it.
        shape: Vec<u64>,
        /// Which other shapes are accepted.
        flexibility: Flexibility,
        /// The value every element takes when an optional input is left out.
        default: Option<DefaultValue>,
    },
    /// An image.
    Image {
        /// Width in pixels, or default width.
        width: u64,
        /// Height in pixels, or default height.
        height: u64,
        /// Pixel layout.
        color_space: ColorSpace,
        /// Which other sizes are accepted.
        flexibility: ImageFlexibility,
    },
    /// A string, such as a classifier's label.
    String,
    /// A 64-bit integer, such as a classifier's label.
    Int64,
    /// A double.
    Double,
    /// A dictionary from labels to doubles.
    Dictionary {
        /// Type of the labels.
        key: LabelType,
    },
    /// A sequence of labels.
    Sequence {
        /// Type of the labels; absent when the package says none.
        element: Option<LabelType>,
        /// Smallest and largest accepted length; no upper bound when `None`.
        sizes: Option<(u64, Option<u64>)>,
    },
    /// A state array that outlives a prediction (specification version 9).
    State {
        /// Element type.
        dtype: ArrayType,
        /// Shape.
        shape: Vec<u64>,
    },
    /// A type this crate has no words for; it can be shown but not written.
    Other(String),
}

/// Element type of a multi-array.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum ArrayType {
    Float16,
    Float32,
    Double,
    Int32,
    Int8,
}

impl ArrayType {
    /// Every element type.
    pub const ALL: [ArrayType; 5] = [
        Self::Float16,
        Self::Float32,
        Self::Double,
        Self::Int32,
        Self::Int8,
    ];

    /// The MIL element type a function input or output of this feature type has.
    pub const fn data_type(self) -> corer_mil::DataType {
        match self {
            Self::Float16 => corer_mil::DataType::Fp16,
            Self::Float32 => corer_mil::DataType::Fp32,
            Self::Double => corer_mil::DataType::Fp64,
            Self::Int32 => corer_mil::DataType::Int32,
            Self::Int8 => corer_mil::DataType::Int8,
        }
    }

    /// The feature element type for a MIL element type, if a model may take or give it.
    pub fn from_data_type(dtype: corer_mil::DataType) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|candidate| candidate.data_type() == dtype)
    }

    /// The name in `FeatureTypes.proto`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float16 => "FLOAT16",
            Self::Float32 => "FLOAT32",
            Self::Double => "DOUBLE",
            Self::Int32 => "INT32",
            Self::Int8 => "INT8",
        }
    }

    /// First specification version whose models may take or give this type.
    pub const fn since(self) -> i32 {
        match self {
            Self::Float32 | Self::Double | Self::Int32 => 6,
            Self::Float16 => 7,
            Self::Int8 => 10,
        }
    }
}

/// Which shapes besides the default one a multi-array accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flexibility {
    /// None.
    Fixed,
    /// One of these; the default comes first.
    Enumerated(Vec<Vec<u64>>),
    /// Per dimension a smallest and a largest size; no upper bound when `None`.
    Range(Vec<(u64, Option<u64>)>),
}

/// Which sizes besides the default one an image accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageFlexibility {
    /// None.
    Fixed,
    /// One of these (width, height) pairs.
    Enumerated(Vec<(u64, u64)>),
    /// A smallest and a largest size for each side; no upper bound when `None`.
    Range {
        /// Accepted widths.
        width: (u64, Option<u64>),
        /// Accepted heights.
        height: (u64, Option<u64>),
    },
}

/// Pixel layout of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum ColorSpace {
    Grayscale,
    Rgb,
    Bgr,
    GrayscaleFloat16,
}

/// Type of a classifier's labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum LabelType {
    String,
    Int64,
}

/// Fill value of an optional input that a caller leaves out.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs)] // the names say it all
pub enum DefaultValue {
    Int(i32),
    Float(f32),
    Double(f64),
}
