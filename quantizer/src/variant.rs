//! Compresses one weight: cells, parameters, codes.

use std::sync::Arc;

use corer_mil::{DataType, Opset};

use crate::blocks;
use crate::codec::{Codec, Deviation};
use crate::dense::Dense;
use crate::emit::{Compressed, Content};
use crate::error::QuantizeError;
use crate::grid::Grid;
use crate::linear;
use crate::mask::{self, Channels, Mask};
use crate::palette;
use crate::sample::{Importance, fit_cells};
use crate::scheme::{Coding, Granularity, Linear, Palette, Prune, Scheme};
use crate::store::Store;
use crate::vector;

/// A compressed weight and how far it is off.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) compressed: Compressed,
    pub(crate) deviation: Deviation,
    /// What was settled for this weight alone: the axis or size of groups, the width of a unique palette.
    pub(crate) note: Option<String>,
}

impl Variant {
    /// Adds to what is said of it.
    pub(crate) fn say(&mut self, text: &str) {
        self.note = Some(match self.note.take() {
            Some(note) => format!("{note}; {text}"),
            None => text.to_owned(),
        });
    }
}

/// What became of a weight: compressed, or why it could not be.
pub(crate) type Outcome = Result<Variant, String>;

/// How `scheme` cuts `shape`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    pub(crate) grid: Grid,
    pub(crate) note: Option<String>,
}

/// The cells a scheme gives a weight, or why it can't have it.
pub(crate) fn cut(shape: &[usize], channels: Channels, scheme: &Scheme) -> Result<Cut, String> {
    let plain = |grid| Cut { grid, note: None };
    match scheme.coding {
        Coding::Dense => Ok(plain(Grid::whole(shape))),
        Coding::Linear(linear) => linear_cut(shape, channels, linear).map(plain),
        Coding::Palette(palette) => palette_cut(shape, channels, palette),
    }
}

fn linear_cut(shape: &[usize], channels: Channels, linear: Linear) -> Result<Grid, String> {
    let mut cells = vec![1; shape.len()];
    if linear.granularity != Granularity::Tensor {
        cells[channels.output] = shape[channels.output];
    }
    if let Granularity::Block(block) = linear.granularity {
        let size = shape[channels.input];
        if channels.input == channels.output || !size.is_multiple_of(block) {
            let near: Vec<String> = divisors(size)
                .into_iter()
                .filter(|d| d.abs_diff(block) < block)
                .map(|d| d.to_string())
                .collect();
            return Err(format!(
                "blocks of {block} don't divide its {size} input channels{}",
                if near.is_empty() {
                    String::new()
                } else {
                    format!(" (blocks of {} do)", near.join(", "))
                }
            ));
        }
        cells[channels.input] = size / block;
    }
    Grid::new(shape, &cells).ok_or_else(|| "its shape can't be cut into blocks".into())
}

fn palette_cut(shape: &[usize], channels: Channels, palette: Palette) -> Result<Cut, String> {
    let vector_axis = palette.axis.unwrap_or(channels.output);
    if palette.axis.is_some_and(|axis| axis >= shape.len()) {
        return Err(format!("it has no axis {vector_axis}"));
    }
    if palette.vector > 1 && !shape[vector_axis].is_multiple_of(palette.vector) {
        return Err(format!(
            "vectors of {} don't divide its {} channels",
            palette.vector, shape[vector_axis]
        ));
    }
    let Some(group) = palette.group else {
        return Ok(Cut {
            grid: Grid::whole(shape),
            note: None,
        });
    };
    let fits = |axis: usize, group: usize| {
        shape[axis].is_multiple_of(group) && (axis != vector_axis || group.is_multiple_of(palette.vector))
    };
    let along = |axis: usize, group: usize, note: Option<String>| {
        let grid = Grid::along(shape, axis, shape[axis] / group)
            .ok_or_else(|| "its shape can't be cut into groups".to_owned())?;
        Ok(Cut { grid, note })
    };
    if let Some(axis) = palette.axis {
        return if fits(axis, group) {
            along(axis, group, None)
        } else {
            Err(format!(
                "groups of {group} don't divide its {} channels on axis {axis}",
                shape[axis]
            ))
        };
    }
    if fits(channels.output, group) {
        return along(channels.output, group, None);
    }
    // A vocabulary is seldom a multiple of anything; the hidden size is.
    if fits(channels.input, group) {
        let note = format!(
            "grouped along axis {} ({} channels on axis {} are no multiple of {group})",
            channels.input, shape[channels.output], channels.output
        );
        return along(channels.input, group, Some(note));
    }
    let axes = [channels.output, channels.input];
    let best = axes
        .into_iter()
        .flat_map(|axis| {
            divisors(shape[axis])
                .into_iter()
                .map(move |divisor| (divisor, axis))
        })
        .filter(|(divisor, axis)| *divisor <= group && *divisor >= 4 && fits(*axis, *divisor))
        .max_by_key(|(divisor, axis)| (*divisor, std::cmp::Reverse(*axis)));
    match best {
        Some((divisor, axis)) => along(
            axis,
            divisor,
            Some(format!("groups of {divisor} along axis {axis}")),
        ),
        None => Err(format!(
            "no group of 4 to {group} channels divides it on either axis"
        )),
    }
}

fn divisors(size: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (1..)
        .take_while(|divisor| divisor * divisor <= size)
        .filter(|divisor| size.is_multiple_of(*divisor))
        .flat_map(|divisor| [divisor, size / divisor])
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Compresses a weight by its values alone.
pub(crate) fn compress(
    store: &Store,
    dense: &Dense,
    channels: Channels,
    scheme: &Scheme,
    importance: Option<&Importance>,
    opset: Opset,
) -> Result<Outcome, QuantizeError> {
    let Cut { grid, mut note } = match cut(&dense.shape, channels, scheme) {
        Ok(cut) => cut,
        Err(reason) => return Ok(Err(reason)),
    };
    let mask = scheme
        .prune
        .map(|prune| pruned(dense, prune, channels))
        .transpose()?;
    if let Coding::Palette(palette @ Palette { vector: 2.., .. }) = scheme.coding {
        if mask.is_some() {
            return Ok(Err("vectors of a palette can't be joined with sparsity".into()));
        }
        let axis = palette.axis.unwrap_or(channels.output);
        return vector::compress(store, dense, grid, palette, axis).map(Ok);
    }
    let fitted = parameters(
        dense,
        &grid,
        mask.as_ref(),
        importance,
        scheme,
        opset,
        dense.dtype,
    )?;
    let (codec, content) = match fitted {
        Ok(fitted) => fitted,
        Err(reason) => return Ok(Err(reason)),
    };
    if let (Coding::Palette(Palette { bits: None, .. }), Content::Palette { bits, .. }) =
        (&scheme.coding, &content)
    {
        note.get_or_insert(format!("{bits} bits"));
    }
    let (codes, deviation) = store.codes(dense, &grid, &codec, mask.as_ref())?;
    Ok(Ok(Variant {
        compressed: Compressed {
            dtype: dense.dtype,
            grid,
            content,
            mask: mask.map(Arc::new),
            codes: Arc::new(codes),
        },
        deviation,
        note,
    }))
}

/// What is kept; never nothing, for Core ML has no empty weights.
pub(crate) fn pruned(dense: &Dense, prune: Prune, channels: Channels) -> Result<Mask, QuantizeError> {
    let mask = mask::by_magnitude(dense, prune, channels)?;
    Ok(if mask.kept() == 0 {
        Mask::from_fn(dense.len(), |index| index == 0)
    } else {
        mask
    })
}

/// The parameters of all cells as `dtype` holds them, for the encoder and for the package; a reason where there are
/// none.
pub(crate) fn parameters(
    dense: &Dense,
    grid: &Grid,
    mask: Option<&Mask>,
    importance: Option<&Importance>,
    scheme: &Scheme,
    opset: Opset,
    dtype: DataType,
) -> Result<Result<(Codec, Content), String>, QuantizeError> {
    match scheme.coding {
        Coding::Dense => Ok(Ok((Codec::Dense, Content::Dense))),
        Coding::Linear(linear) => {
            let steps = if mask.is_none() && importance.is_none() && blocks::can_fit(grid, linear) {
                blocks::fit(dense, grid, linear, dtype)?
            } else {
                fit_cells(dense, grid, mask, importance, |sample, _| {
                    linear::fit(sample, linear, dtype)
                })?
            };
            Ok(Ok((
                Codec::Linear {
                    linear,
                    steps: steps.clone(),
                },
                Content::Linear { linear, steps },
            )))
        }
        Coding::Palette(palette) => {
            let tables = fit_cells(dense, grid, mask, importance, |sample, counts| {
                palette::fit(sample, palette, dtype, counts)
            })?;
            Ok(assembled(tables, palette, dtype, opset))
        }
    }
}

fn assembled(
    tables: Vec<Option<Vec<f32>>>,
    palette: Palette,
    dtype: DataType,
    opset: Opset,
) -> Result<(Codec, Content), String> {
    let limit = 1 << palette.bits.unwrap_or(8);
    let tables = tables
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| format!("it has more than {limit} distinct values"))?;
    let bits = palette.bits.unwrap_or_else(|| palette::width(&tables, opset));
    let entries = 1 << bits;
    let mut level = palette::level(&tables, entries);
    let int8 = palette
        .int8_entries
        .then(|| palette::to_int8(&mut level, entries, dtype));
    Ok((
        Codec::Palette {
            entries,
            tables: level.clone(),
        },
        Content::Palette {
            bits,
            tables: level,
            int8,
            vector: None,
        },
    ))
}
