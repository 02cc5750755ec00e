//! Joining, splitting, repeating and padding.

use super::call::{Call, normalize_axis, one};
use super::domain::{BOOL, INT32, LIKE_X, PLAIN, STRING};
use super::shape::unknown_shape;
use super::{OpDef, Outputs, Param, TypeRule, dims};
use crate::types::{Dim, TensorType, ValueType};

const VALUES: Param = Param::new("values", TypeRule::Any).variadic();
const AXIS: Param = Param::new("axis", INT32).constant();

/// The most pieces one `split` may have: more than any real model, and few enough to list.
const MAX_PIECES: usize = 1 << 16;

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new(
        "concat",
        &[VALUES, AXIS, Param::new("interleave", BOOL).constant().optional()],
        concat,
    ),
    OpDef::new("stack", &[VALUES, AXIS], stack),
    OpDef::new(
        "split",
        &[
            Param::new("x", PLAIN),
            Param::new("num_splits", INT32).constant().optional(),
            Param::new("split_sizes", INT32).constant().optional(),
            AXIS,
        ],
        split,
    )
    .results(Outputs::Variable),
    OpDef::new("tile", &[Param::new("x", PLAIN), Param::new("reps", INT32)], tile),
    OpDef::new(
        "pad",
        &[
            Param::new("x", TypeRule::Float),
            Param::new("pad", INT32),
            Param::new("mode", STRING).constant().optional(),
            Param::new("constant_val", LIKE_X).constant().optional(),
        ],
        pad,
    ),
];

/// The tensors bound to `values`, which must have one element type.
fn values<'a>(call: &Call<'a>) -> Result<Vec<&'a TensorType>, String> {
    let tensors: Option<Vec<_>> = call.all("values").iter().map(|arg| arg.ty.as_tensor()).collect();
    let tensors = tensors.ok_or("`values` must be tensors")?;
    let first = tensors.first().ok_or("`values` is empty")?;
    match tensors.iter().find(|tensor| tensor.dtype != first.dtype) {
        Some(other) => Err(format!(
            "`values` have element types {} and {}",
            first.dtype, other.dtype
        )),
        None => Ok(tensors),
    }
}

/// Scalars join to a vector.
fn concat(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let tensors = values(call)?;
    let first = tensors[0];
    if tensors.iter().all(|tensor| tensor.rank() == 0) {
        return one(first.dtype, vec![Dim::Known(tensors.len() as u64)]);
    }
    let axis = call.axis_or("axis", 0, first.rank())?;
    let interleave = call.bool_or("interleave", false)?;
    let mut shape = first.shape.clone();
    for tensor in &tensors[1..] {
        if tensor.rank() != shape.len() {
            return Err(format!("`values` have different ranks: {first} and {tensor}"));
        }
        for (other, dim) in tensor.shape.iter().enumerate() {
            if other == axis {
                if interleave && !dim.compatible(first.shape[axis]) {
                    return Err(format!(
                        "interleaved `values` must have one shape, are {first} and {tensor}"
                    ));
                }
                shape[axis] = dims::sum(shape[axis], *dim)?;
            } else {
                shape[other] = dims::unify(shape[other], *dim)
                    .ok_or_else(|| format!("`values` {first} and {tensor} differ on axis {other}"))?;
            }
        }
    }
    one(first.dtype, shape)
}

/// Puts tensors of one shape on a new axis.
fn stack(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let tensors = values(call)?;
    let mut shape = tensors[0].shape.clone();
    for tensor in &tensors[1..] {
        shape = dims::unify_shapes(&shape, &tensor.shape)
            .ok_or_else(|| format!("`values` have different shapes: {} and {tensor}", tensors[0]))?;
    }
    let axis = normalize_axis(call.int_or("axis", 0)?, shape.len() + 1)
        .map_err(|reason| format!("`axis`: {reason}"))?;
    shape.insert(axis, Dim::Known(tensors.len() as u64));
    one(tensors[0].dtype, shape)
}

/// Cuts an axis into equal pieces or pieces of given sizes.
fn split(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", 0, x.rank())?;
    let whole = x.shape[axis];
    let pieces = match call.value("num_splits")? {
        None => None,
        Some(value) => Some(
            value
                .as_int()
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| (1..=MAX_PIECES).contains(count))
                .ok_or_else(|| format!("`num_splits` must be from 1 to {MAX_PIECES}"))?,
        ),
    };
    let sizes: Vec<Dim> = match (call.ints("split_sizes")?, pieces) {
        (Some(sizes), pieces) => {
            if pieces.is_some_and(|pieces| pieces != sizes.len())
                || sizes.is_empty()
                || sizes.len() > MAX_PIECES
            {
                return Err(format!(
                    "`split_sizes` holds {} sizes, `num_splits` says otherwise",
                    sizes.len()
                ));
            }
            let sizes = sizes
                .into_iter()
                .map(|size| dims::size(size, "split_sizes"))
                .collect::<Result<Vec<_>, _>>()?;
            let total = sizes
                .iter()
                .try_fold(0u64, |total, size| total.checked_add(*size));
            if !total.is_some_and(|total| whole.compatible(Dim::Known(total))) {
                return Err(format!("`split_sizes` {sizes:?} don't add up to {whole}"));
            }
            sizes.into_iter().map(Dim::Known).collect()
        }
        (None, Some(pieces)) => {
            let size = match whole {
                Dim::Known(whole) if whole.is_multiple_of(pieces as u64) => Dim::Known(whole / pieces as u64),
                Dim::Known(whole) => {
                    return Err(format!("size {whole} does not divide into {pieces} pieces"));
                }
                symbol if pieces == 1 => symbol,
                Dim::Symbol(_) => Dim::FRESH,
            };
            vec![size; pieces]
        }
        (None, None) => return Err("needs `num_splits` or `split_sizes`".into()),
    };
    Ok(sizes
        .into_iter()
        .map(|size| {
            let mut shape = x.shape.clone();
            shape[axis] = size;
            TensorType {
                dtype: x.dtype,
                shape,
            }
            .into()
        })
        .collect())
}

/// Repeats each axis.
fn tile(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let Some(value) = call.get("reps").and_then(|arg| arg.value) else {
        let shape = unknown_shape(call, "reps")?;
        return if shape.len() == x.rank() {
            one(x.dtype, shape)
        } else {
            Err(format!("`reps` must hold one number for each axis of {x}"))
        };
    };
    let reps = value.as_ints().ok_or("`reps` must hold integers")?;
    if reps.is_empty() || reps.len() != x.rank() {
        return Err(format!(
            "`reps` must hold one number for each axis of {x}, holds {}",
            reps.len()
        ));
    }
    let shape = x
        .shape
        .iter()
        .zip(reps)
        .map(|(dim, reps)| match u64::try_from(reps) {
            Ok(reps) if reps > 0 => dims::multiply(*dim, reps),
            _ => Err("`reps` must be positive".to_owned()),
        });
    one(x.dtype, shape.collect::<Result<_, _>>()?)
}

/// Pads the last axes, `pad` holding before and after for each.
fn pad(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let mode = call.str_or("mode", "constant")?;
    if !matches!(mode, "constant" | "reflect" | "replicate") {
        return Err(format!(
            "mode `{mode}` is not one of constant, reflect, replicate"
        ));
    }
    let Some(value) = call.get("pad").and_then(|arg| arg.value) else {
        return match call.tensor("pad")?.shape[..] {
            [length] if length.compatible(Dim::Known(x.rank() as u64 * 2)) => {
                one(x.dtype, vec![Dim::FRESH; x.rank()])
            }
            _ => Err(format!(
                "a computed `pad` must hold two numbers for each axis of {x}"
            )),
        };
    };
    let pad = value.as_ints().ok_or("`pad` must hold integers")?;
    let (pairs, rest) = pad.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > x.rank() || call.tensor("pad")?.rank() != 1 {
        return Err(format!(
            "`pad` must be a vector with two numbers for some last axes of {x}, holds {}",
            pad.len()
        ));
    }
    let mut shape = x.shape.clone();
    let first = x.rank() - pairs.len();
    for (dim, pair) in shape[first..].iter_mut().zip(pairs) {
        let mut sides = [0i64; 2];
        for (side, amount) in sides.iter_mut().zip(pair) {
            let amount_u64 = dims::size(*amount, "pad")?;
            let most = match (mode, dim.known()) {
                ("reflect", Some(size)) => size.saturating_sub(1),
                ("replicate", Some(size)) => size,
                _ => u64::MAX,
            };
            if amount_u64 > most {
                return Err(format!(
                    "`pad` {amount} is more than mode `{mode}` allows for size {dim}"
                ));
            }
            *side = *amount;
        }
        let total = sides[0].checked_add(sides[1]).ok_or("`pad` is too large")?;
        *dim = dims::add(*dim, total)?;
    }
    one(x.dtype, shape)
}
