//! Type promotion as `torch.result_type` does it (`aten/src/ATen/native/TypeProperties.cpp`).
//!
//! Tensors with dimensions come before tensors without, those before Python numbers: a later group only counts when
//! its kind (truth, integer, float) ranks higher.

use super::dtype::ScalarType;
use super::value::Value;

/// The type of a result of these operands.
pub(super) fn result_type<'a>(operands: impl IntoIterator<Item = &'a Value>) -> ScalarType {
    let mut groups: [Option<ScalarType>; 3] = [None; 3];
    for operand in operands {
        let (group, dtype) = match operand {
            Value::Tensor(tensor) => (usize::from(tensor.rank() == 0), tensor.dtype()),
            other => match other.scalar_type() {
                Some(dtype) => (2, dtype),
                None => continue,
            },
        };
        groups[group] = Some(groups[group].map_or(dtype, |known| promote(known, dtype)));
    }
    let [mut result, wrapped, number] = groups;
    for other in [wrapped, number].into_iter().flatten() {
        result = match result {
            Some(known) if category(known) >= category(other) => Some(known),
            // A Python float beside integers gives the default float type.
            _ => Some(result.map_or(other, |known| promote(known, other))),
        };
    }
    result.unwrap_or(ScalarType::Float32)
}

fn category(dtype: ScalarType) -> u8 {
    match dtype {
        ScalarType::Bool => 0,
        dtype if dtype.is_integer() => 1,
        dtype if dtype.is_float() => 2,
        _ => 3,
    }
}

/// The smallest type both fit (`c10/core/ScalarType.cpp`).
fn promote(a: ScalarType, b: ScalarType) -> ScalarType {
    use ScalarType::{BFloat16, Float16, Float32, Int8, Int16, Int32, Int64, Uint8};
    if a == b {
        return a;
    }
    let (low, high) = if category(a) <= category(b) {
        (a, b)
    } else {
        (b, a)
    };
    if category(low) != category(high) {
        return high;
    }
    match (a, b) {
        (Float16, BFloat16) | (BFloat16, Float16) => Float32,
        // Neither holds the other.
        (Uint8, Int8) | (Int8, Uint8) => Int16,
        _ => {
            let rank = |dtype| {
                [Uint8, Int8, Int16, Int32, Int64]
                    .iter()
                    .position(|known| *known == dtype)
            };
            match (rank(a), rank(b)) {
                (Some(first), Some(second)) if first > second => a,
                (Some(_), Some(_)) => b,
                _ if a == ScalarType::Float64 || b == ScalarType::Float64 => ScalarType::Float64,
                _ => Float32,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::array::{Array, Number};
    use super::*;

    fn tensor(dtype: ScalarType, shape: &[u64]) -> Value {
        let count = shape.iter().product::<u64>() as usize;
        Array::from_numbers(dtype, shape.to_vec(), vec![Number::Int(1); count]).into()
    }

    #[test]
    fn dimensions_come_before_kinds_within_a_group() {
        use ScalarType::{Bool, Float16, Float32, Float64, Int32, Int64};
        let cases = [
            (vec![tensor(Int32, &[2]), tensor(Int64, &[])], Int32),
            (vec![tensor(Int64, &[2]), tensor(Float64, &[])], Float64),
            (vec![tensor(Float16, &[2]), tensor(Float64, &[])], Float16),
            (vec![tensor(Float32, &[2]), Value::Int(3)], Float32),
            (vec![tensor(Int64, &[2]), Value::Float(0.5)], Float32),
            (vec![tensor(Bool, &[2]), Value::Int(3)], Int64),
            (vec![tensor(Int32, &[2]), tensor(Float16, &[1])], Float16),
            (vec![Value::Int(1), Value::Float(1.0)], Float32),
        ];
        for (operands, wanted) in cases {
            assert_eq!(result_type(&operands), wanted, "{operands:?}");
        }
    }
}
