//! One feature against the program's value of that name.

use corer_mil::{DataType, Dim, TensorType, ValueType};

use crate::model::{ArrayType, ColorSpace, FeatureType, Flexibility, ImageFlexibility, LabelType};

/// An input: its default shape and every shape it accepts must fit the function's.
pub(super) fn input(feature: &FeatureType, ty: &ValueType) -> Result<(), String> {
    match (feature, ty) {
        (
            FeatureType::MultiArray {
                dtype,
                shape,
                flexibility,
                ..
            },
            ValueType::Tensor(tensor),
        ) => {
            element_type(*dtype, tensor)?;
            if shape.is_empty() {
                return Err("has no default shape".into());
            }
            fits(shape, tensor)?;
            flexible(shape, flexibility, tensor)
        }
        (FeatureType::Image { .. }, ValueType::Tensor(tensor)) => image(feature, tensor),
        _ => Err(mismatch(feature, ty)),
    }
}

/// An output: its shape must be the function's, or absent where the function does not know it.
pub(super) fn output(feature: &FeatureType, ty: &ValueType) -> Result<(), String> {
    match (feature, ty) {
        (FeatureType::MultiArray { dtype, shape, .. }, ValueType::Tensor(tensor)) => {
            element_type(*dtype, tensor)?;
            match tensor.known_shape() {
                // coremltools leaves a scalar's shape out.
                Some(known) if known.is_empty() && shape.is_empty() => Ok(()),
                Some(_) if shape.is_empty() => Err(format!("has no shape, the function gives {tensor}")),
                None if shape.is_empty() => Ok(()),
                _ => fits(shape, tensor),
            }
        }
        (FeatureType::Image { .. }, ValueType::Tensor(tensor)) => image(feature, tensor),
        (FeatureType::String, ValueType::Tensor(tensor)) if tensor.dtype == DataType::String => Ok(()),
        (FeatureType::Int64, ValueType::Tensor(tensor)) if tensor.dtype == DataType::Int64 => Ok(()),
        (FeatureType::Double, ValueType::Tensor(tensor)) if tensor.dtype == DataType::Fp64 => Ok(()),
        (FeatureType::Dictionary { key }, ValueType::Dictionary(actual, _))
            if actual.as_tensor().map(|tensor| tensor.dtype) == Some(label_type(*key)) =>
        {
            Ok(())
        }
        _ => Err(mismatch(feature, ty)),
    }
}

/// A state: type and shape must be those of the function's state input.
pub(super) fn state(feature: &FeatureType, ty: &ValueType) -> Result<(), String> {
    match (feature, ty) {
        (FeatureType::State { dtype, shape }, ValueType::State(inner)) => match inner.as_ref() {
            ValueType::Tensor(tensor) => {
                element_type(*dtype, tensor)?;
                fits(shape, tensor)
            }
            _ => Err(mismatch(feature, ty)),
        },
        _ => Err(mismatch(feature, ty)),
    }
}

fn mismatch(feature: &FeatureType, ty: &ValueType) -> String {
    let kind = match feature {
        FeatureType::MultiArray { .. } => "a multi-array",
        FeatureType::Image { .. } => "an image",
        FeatureType::String => "a string",
        FeatureType::Int64 => "an int64",
        FeatureType::Double => "a double",
        FeatureType::Dictionary { .. } => "a dictionary",
        FeatureType::Sequence { .. } => "a sequence",
        FeatureType::State { .. } => "a state",
        FeatureType::Other(kind) => kind,
    };
    format!("is described as {kind}, the function has {ty}")
}

const fn label_type(key: LabelType) -> DataType {
    match key {
        LabelType::String => DataType::String,
        LabelType::Int64 => DataType::Int64,
    }
}

fn element_type(dtype: ArrayType, tensor: &TensorType) -> Result<(), String> {
    if dtype.data_type() == tensor.dtype {
        Ok(())
    } else {
        Err(format!(
            "is described as {}, the function has {tensor}",
            dtype.name()
        ))
    }
}

/// Whether the function's type admits this shape. A scalar is described with shape `[1]`.
fn fits(shape: &[u64], tensor: &TensorType) -> Result<(), String> {
    let scalar = tensor.shape.is_empty() && shape == [1];
    let admits = shape.len() == tensor.rank()
        && shape
            .iter()
            .zip(&tensor.shape)
            .all(|(size, dim)| dim.compatible(Dim::Known(*size)));
    if scalar || admits {
        Ok(())
    } else {
        Err(format!(
            "is described with shape {shape:?}, the function has {tensor}"
        ))
    }
}

fn flexible(default: &[u64], flexibility: &Flexibility, tensor: &TensorType) -> Result<(), String> {
    match flexibility {
        Flexibility::Fixed => match tensor.shape.iter().any(|dim| dim.known().is_none()) {
            true => Err(format!(
                "has one fixed shape, the function leaves a dimension open: {tensor}"
            )),
            false => Ok(()),
        },
        Flexibility::Enumerated(shapes) => {
            for shape in shapes {
                fits(shape, tensor)?;
            }
            if shapes.iter().any(|shape| shape == default) {
                Ok(())
            } else {
                Err(format!(
                    "its default shape {default:?} is none of the enumerated ones"
                ))
            }
        }
        Flexibility::Range(ranges) => {
            if ranges.len() != tensor.rank() {
                return Err(format!(
                    "has {} size ranges, the function has {tensor}",
                    ranges.len()
                ));
            }
            for (axis, ((lower, upper), dim)) in ranges.iter().zip(&tensor.shape).enumerate() {
                let Some(upper) = upper else {
                    return Err(format!("axis {axis} has no upper bound, an ML Program needs one"));
                };
                if lower > upper {
                    return Err(format!("axis {axis} ranges from {lower} to {upper}"));
                }
                if !(*lower..=*upper).contains(&default[axis]) {
                    return Err(format!(
                        "its default size {} on axis {axis} is not in {lower}..={upper}",
                        default[axis]
                    ));
                }
                if dim.known().is_some_and(|size| (size, size) != (*lower, *upper)) {
                    return Err(format!(
                        "axis {axis} ranges from {lower} to {upper}, the function has {tensor}"
                    ));
                }
            }
            Ok(())
        }
    }
}

/// Images are rank-4 tensors (N, C, H, W) to the program.
fn image(feature: &FeatureType, tensor: &TensorType) -> Result<(), String> {
    let FeatureType::Image {
        width,
        height,
        color_space,
        flexibility,
    } = feature
    else {
        return Ok(());
    };
    let channels = match color_space {
        ColorSpace::Grayscale | ColorSpace::GrayscaleFloat16 => 1,
        ColorSpace::Rgb | ColorSpace::Bgr => 3,
    };
    let [_, c, h, w] = tensor.shape.as_slice() else {
        return Err(format!(
            "is described as an image, which needs rank 4; the function has {tensor}"
        ));
    };
    if !c.compatible(Dim::Known(channels)) {
        return Err(format!(
            "is described as an image of {channels} channels, the function has {tensor}"
        ));
    }
    let admits =
        |width: u64, height: u64| w.compatible(Dim::Known(width)) && h.compatible(Dim::Known(height));
    let sizes = match flexibility {
        ImageFlexibility::Enumerated(sizes) => sizes.as_slice(),
        ImageFlexibility::Fixed | ImageFlexibility::Range { .. } => &[],
    };
    match std::iter::once(&(*width, *height))
        .chain(sizes)
        .find(|(width, height)| !admits(*width, *height))
    {
        Some((width, height)) => Err(format!(
            "is described as an image {width} wide and {height} high, the function has {tensor}"
        )),
        None => Ok(()),
    }
}
