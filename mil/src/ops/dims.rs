//! Arithmetic on dimensions that may be symbolic: what can't be told is a fresh symbol, what can't be is an error.

use crate::types::{Dim, TensorType};

/// `dim + by`, which must not be negative.
pub(super) fn add(dim: Dim, by: i64) -> Result<Dim, String> {
    match dim {
        Dim::Known(size) => size
            .checked_add_signed(by)
            .map(Dim::Known)
            .ok_or_else(|| format!("size {size} changed by {by} is not a size")),
        Dim::Symbol(_) if by == 0 => Ok(dim),
        Dim::Symbol(_) => Ok(Dim::FRESH),
    }
}

/// `dim * by`.
pub(super) fn multiply(dim: Dim, by: u64) -> Result<Dim, String> {
    match dim {
        Dim::Known(size) => size
            .checked_mul(by)
            .map(Dim::Known)
            .ok_or_else(|| format!("size {size} times {by} is too large")),
        Dim::Symbol(_) if by == 1 => Ok(dim),
        Dim::Symbol(_) => Ok(Dim::FRESH),
    }
}

/// The sum of two sizes.
pub(super) fn sum(a: Dim, b: Dim) -> Result<Dim, String> {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) => a
            .checked_add(b)
            .map(Dim::Known)
            .ok_or_else(|| format!("size {a} plus {b} is too large")),
        (Dim::Known(0), other) | (other, Dim::Known(0)) => Ok(other),
        _ => Ok(Dim::FRESH),
    }
}

/// The one size both must have; a known one wins over a symbol.
pub(super) fn unify(a: Dim, b: Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(x), Dim::Known(y)) if x != y => None,
        (Dim::Symbol(_), Dim::Known(_)) => Some(b),
        _ => Some(a),
    }
}

/// [`unify`], dimension by dimension.
pub(super) fn unify_shapes(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    if a.len() != b.len() {
        return None;
    }
    a.iter().zip(b).map(|(a, b)| unify(*a, *b)).collect()
}

/// The product of known sizes.
pub(super) fn product(sizes: impl IntoIterator<Item = u64>) -> Result<u64, String> {
    sizes
        .into_iter()
        .try_fold(1u64, u64::checked_mul)
        .ok_or_else(|| "the product of the sizes is too large".to_owned())
}

/// The number of elements of a shape without symbols.
pub(super) fn count(ty: &TensorType) -> Result<Option<u64>, String> {
    ty.known_shape().map(product).transpose()
}

/// A size that came as a signed constant.
pub(super) fn size(value: i64, name: &str) -> Result<u64, String> {
    u64::try_from(value).map_err(|_| format!("`{name}` holds {value}, which is not a size"))
}

/// Writes a shape as in messages: `[1, 128, ?0]`.
pub(super) fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(", "))
}
