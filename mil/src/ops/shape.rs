//! Operations that change the shape and keep the elements.

use super::activation::like_x;
use super::call::{Call, normalize_axis, one};
use super::domain::{EXTENT, INT32, MOVABLE, PLAIN};
use super::{OpDef, Param, TypeRule, dims};
use crate::dtype::DataType;
use crate::types::{Dim, TensorType, ValueType};

const X: Param = Param::new("x", MOVABLE);

/// The rows of this family.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new("reshape", &[X, Param::new("shape", EXTENT)], reshape),
    OpDef::new(
        "expand_dims",
        &[X, Param::new("axes", INT32).constant()],
        expand_dims,
    ),
    OpDef::new(
        "squeeze",
        &[X, Param::new("axes", INT32).constant().optional()],
        squeeze,
    ),
    OpDef::new("transpose", &[X, Param::new("perm", INT32).constant()], transpose),
    OpDef::new(
        "reverse",
        &[X, Param::new("axes", INT32).constant().optional()],
        reverse,
    ),
    OpDef::new(
        "flatten2d",
        &[
            Param::new("x", PLAIN),
            Param::new("axis", INT32).constant().optional(),
        ],
        flatten2d,
    ),
    OpDef::new("shape", &[Param::new("x", PLAIN)], shape),
    OpDef::new("identity", &[Param::new("x", TypeRule::Any)], identity),
];

/// The shape a vector computed at prediction stands for: as many unknown sizes as it has elements.
pub(super) fn unknown_shape(call: &Call<'_>, name: &str) -> Result<Vec<Dim>, String> {
    let vector = call.tensor(name)?;
    match vector.shape[..] {
        // Deeper tensors than this are no tensors of Core ML, whatever a package says.
        [Dim::Known(rank)] if rank <= 16 => Ok(vec![Dim::FRESH; usize::try_from(rank).unwrap_or_default()]),
        [Dim::Symbol(_)] => call
            .declared
            .first()
            .and_then(|ty| ty.as_tensor())
            .map(|ty| ty.shape.clone())
            .ok_or_else(|| format!("the length of `{name}` is not known, so neither is the rank")),
        _ => Err(format!(
            "`{name}` must be a vector of at most 16 sizes, is {vector}"
        )),
    }
}

/// `shape` may hold one −1 (what is left) and, when it is as long as the rank, zeros (copied from `x`).
fn reshape(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let Some(value) = call.get("shape").and_then(|arg| arg.value) else {
        return one(x.dtype, unknown_shape(call, "shape")?);
    };
    if call.tensor("shape")?.rank() != 1 {
        return Err("`shape` must be a vector".into());
    }
    let wanted = value.as_ints().ok_or("`shape` must hold integers")?;
    let open: Vec<usize> = (0..wanted.len()).filter(|axis| wanted[*axis] == -1).collect();
    if open.len() > 1 {
        return Err("`shape` holds more than one -1".into());
    }
    let mut shape = Vec::with_capacity(wanted.len());
    for (axis, size) in wanted.iter().enumerate() {
        shape.push(match size {
            0 if wanted.len() == x.rank() => x.shape[axis],
            0 => {
                return Err(format!(
                    "`shape` {wanted:?} holds a 0 but not one size for each axis of {x}"
                ));
            }
            -1 => Dim::FRESH,
            size => Dim::Known(dims::size(*size, "shape")?),
        });
    }
    // Symbols that were copied cancel out; what is left on the source's side decides.
    let mut left: Vec<Dim> = x
        .shape
        .iter()
        .copied()
        .filter(|dim| dim.known().is_none())
        .collect();
    for (axis, dim) in shape.iter().enumerate() {
        if wanted[axis] == 0
            && let Some(position) = left.iter().position(|other| other == dim)
        {
            left.remove(position);
        }
    }
    let from = dims::product(x.shape.iter().filter_map(|dim| dim.known()))?;
    let to = dims::product(shape.iter().filter_map(|dim| dim.known()))?;
    match (&left[..], open.first()) {
        ([], Some(axis)) if to > 0 && from.is_multiple_of(to) => shape[*axis] = Dim::Known(from / to),
        ([], None) if from == to => {}
        ([], _) => return Err(format!("{x} does not fill shape {wanted:?}")),
        // Where all else is equal, what is left is the one size that is not known.
        ([symbol], Some(axis)) if from == to => shape[*axis] = *symbol,
        _ => {}
    }
    one(x.dtype, shape)
}

/// Inserts ones so that the result has them at `axes`.
fn expand_dims(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let axes = call.ints("axes")?.unwrap_or_default();
    let rank = x.rank() + axes.len();
    let axes = call.axes("axes", rank)?.unwrap_or_default();
    let mut rest = x.shape.iter();
    let shape = (0..rank)
        .map(|axis| {
            if axes.contains(&axis) {
                Dim::Known(1)
            } else {
                rest.next().copied().unwrap_or(Dim::Known(1))
            }
        })
        .collect();
    one(x.dtype, shape)
}

/// Drops axes of size 1: those named, else all.
fn squeeze(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let axes = match call.axes("axes", x.rank())? {
        Some(axes) => {
            if let Some(axis) = axes
                .iter()
                .find(|axis| !x.shape[**axis].compatible(Dim::Known(1)))
            {
                return Err(format!("axis {axis} of {x} has not size 1"));
            }
            axes
        }
        None => (0..x.rank())
            .filter(|axis| x.shape[*axis] == Dim::Known(1))
            .collect(),
    };
    let shape = x
        .shape
        .iter()
        .enumerate()
        .filter(|(axis, _)| !axes.contains(axis))
        .map(|(_, dim)| *dim)
        .collect();
    one(x.dtype, shape)
}

fn transpose(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let perm = call.axes("perm", x.rank())?.unwrap_or_default();
    if perm.len() != x.rank() {
        return Err(format!("`perm` names {} axes of {x}", perm.len()));
    }
    one(x.dtype, perm.iter().map(|axis| x.shape[*axis]).collect())
}

fn reverse(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    call.axes("axes", call.tensor("x")?.rank())?;
    like_x(call)
}

/// `[product of the sizes before axis, product of the others]`.
fn flatten2d(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    let axis = call.int_or("axis", 1)?;
    // The end is a legal place to cut.
    let axis = if i64::try_from(x.rank()) == Ok(axis) {
        x.rank()
    } else {
        normalize_axis(axis, x.rank()).map_err(|reason| format!("`axis`: {reason}"))?
    };
    let flat = |dims: &[Dim]| match dims {
        [only] => Ok(*only),
        _ => match dims.iter().map(|dim| dim.known()).collect::<Option<Vec<u64>>>() {
            Some(sizes) => dims::product(sizes).map(Dim::Known),
            None => Ok(Dim::FRESH),
        },
    };
    one(x.dtype, vec![flat(&x.shape[..axis])?, flat(&x.shape[axis..])?])
}

fn shape(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.tensor("x")?;
    Ok(vec![TensorType::new(DataType::Int32, [x.rank() as u64]).into()])
}

fn identity(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let x = call.get("x").ok_or("`x` is missing")?;
    Ok(vec![x.ty.clone()])
}
