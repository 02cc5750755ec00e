//! Convolution, and the window arithmetic pooling shares.

use super::call::{Call, one};
use super::domain::{INT32, LIKE_X, STRING};
use super::{OpDef, Param, TypeRule};
use crate::opset::Opset;
use crate::types::{Dim, ValueType};

const STRIDES: Param = Param::new("strides", INT32).constant().optional();
const PAD_TYPE: Param = Param::new("pad_type", STRING).constant().optional();
const PAD: Param = Param::new("pad", INT32).constant().optional();
const DILATIONS: Param = Param::new("dilations", INT32).constant().optional();
const GROUPS: Param = Param::new("groups", INT32).constant().optional();

/// The rows of this family. From iOS 17 on the bias may be computed and weights may have their own type.
pub(super) static ROWS: &[OpDef] = &[
    OpDef::new(
        "conv",
        &[
            Param::new("x", TypeRule::Float),
            Param::new("weight", LIKE_X),
            Param::new("bias", LIKE_X).constant().optional(),
            STRIDES,
            PAD_TYPE,
            PAD,
            DILATIONS,
            GROUPS,
        ],
        conv,
    ),
    OpDef::new(
        "conv",
        &[
            Param::new("x", TypeRule::Float),
            Param::new("weight", TypeRule::Float),
            Param::new("bias", TypeRule::SameAs("weight")).optional(),
            STRIDES,
            PAD_TYPE,
            PAD,
            DILATIONS,
            GROUPS,
        ],
        conv,
    )
    .since(Opset::CoreMl7),
];

/// How the windows of a convolution or pooling lie on the spatial axes.
struct Windows {
    strides: Vec<u64>,
    dilations: Vec<u64>,
    /// Padding before and after each axis; `None` for `same` and `same_lower`, which follow from the size.
    pad: Option<Vec<(u64, u64)>>,
}

impl Windows {
    /// Reads `strides`, `dilations`, `pad_type` and `pad` for `spatial` axes.
    fn read(call: &Call<'_>, spatial: usize) -> Result<Self, String> {
        let positive = |name: &str| match call.ints(name)? {
            None => Ok(vec![1; spatial]),
            Some(values) if values.len() != spatial => Err(format!(
                "`{name}` must hold {spatial} numbers, holds {}",
                values.len()
            )),
            Some(values) => values
                .into_iter()
                .map(|value| u64::try_from(value).ok().filter(|value| *value > 0))
                .collect::<Option<Vec<u64>>>()
                .ok_or_else(|| format!("`{name}` must be positive")),
        };
        let pad = match call.str_or("pad_type", "valid")? {
            "valid" => Some(vec![(0, 0); spatial]),
            "same" => None,
            "same_lower" if call.opset >= Opset::CoreMl6 => None,
            "same_lower" => return Err("pad_type `same_lower` needs opset CoreML6".into()),
            "custom" => {
                let pad = call.ints("pad")?.unwrap_or_else(|| vec![0; spatial * 2]);
                let (pairs, rest) = pad.as_chunks::<2>();
                if pairs.len() != spatial || !rest.is_empty() {
                    return Err(format!(
                        "`pad` must hold {} numbers, holds {}",
                        spatial * 2,
                        pad.len()
                    ));
                }
                let pairs = pairs
                    .iter()
                    .map(|[before, after]| Some((u64::try_from(*before).ok()?, u64::try_from(*after).ok()?)))
                    .collect::<Option<Vec<_>>>()
                    .ok_or("`pad` must not be negative")?;
                Some(pairs)
            }
            other => {
                return Err(format!(
                    "pad_type `{other}` is not one of valid, same, same_lower, custom"
                ));
            }
        };
        Ok(Self {
            strides: positive("strides")?,
            dilations: positive("dilations")?,
            pad,
        })
    }

    /// How many windows fit on one axis.
    fn count(&self, axis: usize, size: Dim, kernel: Dim) -> Result<Dim, String> {
        let Dim::Known(size) = size else {
            return Ok(Dim::FRESH);
        };
        let stride = self.strides[axis];
        let Some(pad) = &self.pad else {
            return Ok(Dim::Known(size.div_ceil(stride)));
        };
        let Dim::Known(kernel) = kernel else {
            return Ok(Dim::FRESH);
        };
        let padded = size
            .checked_add(pad[axis].0)
            .and_then(|size| size.checked_add(pad[axis].1));
        let reach = kernel
            .checked_sub(1)
            .ok_or("a kernel has no size")?
            .checked_mul(self.dilations[axis])
            .and_then(|reach| reach.checked_add(1));
        match (padded, reach) {
            (Some(padded), Some(reach)) if padded >= reach => Ok(Dim::Known((padded - reach) / stride + 1)),
            (Some(_), Some(_)) => Err(format!(
                "the kernel is larger than size {size} of spatial axis {axis}"
            )),
            _ => Err(format!("sizes of spatial axis {axis} are too large")),
        }
    }
}

/// `x[N, C, ..]`, `weight[O, C / groups, ..]`, `bias[O]`.
fn conv(call: &Call<'_>) -> Result<Vec<ValueType>, String> {
    let (x, weight) = (call.tensor("x")?, call.tensor("weight")?);
    if !(3..=5).contains(&x.rank()) || weight.rank() != x.rank() {
        return Err(format!(
            "`x` and `weight` must have one rank from 3 to 5, are {x} and {weight}"
        ));
    }
    let groups = u64::try_from(call.int_or("groups", 1)?)
        .ok()
        .filter(|groups| *groups > 0);
    let groups = groups.ok_or("`groups` must be positive")?;
    let (channels, outputs) = (x.shape[1], weight.shape[0]);
    if let Dim::Known(channels) = channels {
        if !channels.is_multiple_of(groups) {
            return Err(format!("{channels} channels don't divide into {groups} groups"));
        }
        if !weight.shape[1].compatible(Dim::Known(channels / groups)) {
            return Err(format!(
                "`weight` {weight} takes {} channels a group, `x` {x} in {groups} groups has {}",
                weight.shape[1],
                channels / groups
            ));
        }
    }
    if let Dim::Known(outputs) = outputs
        && !outputs.is_multiple_of(groups)
    {
        return Err(format!(
            "{outputs} output channels don't divide into {groups} groups"
        ));
    }
    if call.get("bias").is_some() {
        let bias = call.tensor("bias")?;
        if bias.rank() != 1 || !bias.shape[0].compatible(outputs) {
            return Err(format!("`bias` must have shape [{outputs}], is {bias}"));
        }
    }
    let windows = Windows::read(call, x.rank() - 2)?;
    let computed = call
        .get("weight")
        .is_some_and(|weight| !weight.fixed && weight.value.is_none());
    if computed && windows.dilations.iter().any(|dilation| *dilation > 1) {
        return Err("a computed `weight` does not go with dilations".into());
    }
    let mut shape = vec![x.shape[0], outputs];
    for (axis, (size, kernel)) in x.shape[2..].iter().zip(&weight.shape[2..]).enumerate() {
        shape.push(windows.count(axis, *size, *kernel)?);
    }
    one(x.dtype, shape)
}
