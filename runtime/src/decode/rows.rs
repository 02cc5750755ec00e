//! Tables whose rows are decoded when they are asked for, so that a vocabulary stays as small in memory as it is on disk
//! and a model does not wait for rows it never looks up.

use std::sync::Arc;

use corer_mil::{DataType, WeightSource};

use super::recipe::{Kind, Recipe};
use super::{bit_stream, sign_extend, words};
use crate::buffer::Buffer;
use crate::half_values;
use crate::plan::{ConstantId, Constants, Emit, Reason};
use crate::team::Team;

/// A matrix on disk, each row of it at hand.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: usize,
    source: Arc<dyn WeightSource>,
    /// Type of what lies there, and its bits.
    dtype: DataType,
    bits: usize,
    coding: Coding,
    /// Whether what comes of it is rounded to fp16.
    round: bool,
}

/// What the numbers there mean.
#[derive(Debug)]
enum Coding {
    /// Themselves.
    Plain,
    /// scale · (number − offset).
    Linear {
        cut: Cut,
        scale: Arc<Buffer>,
        offset: Vec<f32>,
    },
    /// Entries of a palette.
    Palette {
        cut: Cut,
        entries: usize,
        lut: Arc<Buffer>,
    },
}

/// How a matrix is cut into cells that share parameters.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Rows and columns of a cell.
    rows: usize,
    columns: usize,
    /// Cells beside each other.
    across: usize,
}

impl Cut {
    /// `down` × `across` cells of a matrix.
    fn new(shape: &[usize], down: usize, across: usize) -> Option<Self> {
        let [rows, columns] = *shape else { return None };
        let whole = |size: usize, cells: usize| {
            (cells > 0 && size > 0 && size.is_multiple_of(cells)).then(|| size / cells)
        };
        Some(Self {
            rows: whole(rows, down)?,
            columns: whole(columns, across)?,
            across,
        })
    }

    /// The cells of a row and their elements.
    fn each(self, row: usize, out: &mut [u32]) -> impl Iterator<Item = (usize, &mut [u32])> {
        let first = row / self.rows * self.across;
        out.chunks_mut(self.columns)
            .enumerate()
            .map(move |(index, part)| (first + index, part))
    }
}

impl Rows {
    /// Rows of numbers as they are, `columns` in each.
    pub(crate) fn plain(source: Arc<dyn WeightSource>, dtype: DataType, columns: usize) -> Self {
        Self {
            columns,
            source,
            dtype,
            bits: dtype.bits() as usize,
            coding: Coding::Plain,
            round: false,
        }
    }

    /// Decodes a row that is there.
    pub(crate) fn decode(&self, row: usize, out: &mut [u32]) {
        // Checked when the plan was made.
        let Some(bytes) = self.source.bytes() else { return };
        let first = row * self.columns;
        if self.bits < 8 || self.dtype.bits() as usize != self.bits {
            bit_stream(bytes, first, self.bits, out);
            if self.dtype == DataType::Int4 {
                sign_extend(4, out);
            }
        } else {
            let size = self.bits / 8;
            // Types that could fail are not taken.
            let _ = words(
                Team::ALONE,
                self.dtype,
                &bytes[first * size..][..out.len() * size],
                out,
            );
        }
        match &self.coding {
            Coding::Plain => {}
            Coding::Linear { cut, scale, offset } => {
                for (cell, part) in cut.each(row, out) {
                    let (scale, offset) = (scale.floats()[cell], offset[cell]);
                    for word in part {
                        *word = (scale * (*word as i32 as f32 - offset)).to_bits();
                    }
                }
            }
            Coding::Palette { cut, entries, lut } => {
                for (cell, part) in cut.each(row, out) {
                    let lut = &lut.words()[cell * entries..][..*entries];
                    for word in part {
                        *word = lut[*word as usize];
                    }
                }
            }
        }
        if self.round {
            half_values::round_all(bytemuck::cast_slice_mut(out));
        }
    }
}

impl Recipe {
    /// The rows of what it makes, where each can be decoded by itself: a matrix of linear codes, or of indices into
    /// palettes of scalars. What is wrong with its operands is left for decoding the whole to say.
    pub(crate) fn rows(&self, constants: &Constants, emit: &mut Emit<'_>) -> Result<Option<Rows>, Reason> {
        let [(dtype, shape)] = &self.results[..] else {
            return Ok(None);
        };
        let [_, columns] = shape[..] else {
            return Ok(None);
        };
        let packed = match self.op {
            Kind::Affine => "quantized_data",
            Kind::Blockwise => "data",
            Kind::Lut16 | Kind::Lut18 => "indices",
            _ => return Ok(None),
        };
        let packed = self.operand(packed)?;
        let stored = constants.get(packed);
        if !dtype.is_float()
            || !(stored.dtype.is_sub_byte() || matches!(stored.dtype, DataType::Int8 | DataType::UInt8))
        {
            return Ok(None);
        }
        let (stored, mut bits) = (stored.dtype, stored.dtype.bits() as usize);
        let Some(source) = constants.mapped(packed)? else {
            return Ok(None);
        };
        let coding = match self.op {
            Kind::Affine => self.affine_rows(constants, emit, shape)?,
            Kind::Blockwise => self.block_rows(constants, emit, shape)?,
            Kind::Lut16 => {
                let lut = constants.decode(self.operand("lut")?, emit)?;
                bits = lut.words().len().max(2).ilog2() as usize;
                let enough = source.byte_len() as usize >= (shape[0] * columns * bits).div_ceil(8);
                let whole = lut.words().len() == 1 << bits && bits <= 8;
                Cut::new(shape, 1, 1)
                    .filter(|_| enough && whole)
                    .map(|cut| Coding::Palette {
                        cut,
                        entries: 1 << bits,
                        lut,
                    })
            }
            _ => self.palette_rows(constants, emit, shape, bits)?,
        };
        Ok(coding.map(|coding| Rows {
            columns,
            source,
            dtype: stored,
            bits,
            coding,
            round: self.round,
        }))
    }

    fn affine_rows(
        &self,
        constants: &Constants,
        emit: &mut Emit<'_>,
        shape: &[usize],
    ) -> Result<Option<Coding>, Reason> {
        let scale = constants.decode(self.operand("scale")?, emit)?;
        let zero = numbers(constants, emit, self.operand("zero_point")?)?;
        let count = usize::max(scale.words().len(), zero.len());
        if count != 1 && count != shape[self.axis] {
            return Ok(None);
        }
        let cells = if self.axis == 0 { (count, 1) } else { (1, count) };
        let Some(cut) = Cut::new(shape, cells.0, cells.1) else {
            return Ok(None);
        };
        // One for all, or one each.
        let spread = |values: &[f32]| match values {
            [one] => Some(vec![*one; count]),
            many => (many.len() == count).then(|| many.to_vec()),
        };
        let (Some(scales), Some(offset)) = (spread(scale.floats()), spread(&zero)) else {
            return Ok(None);
        };
        let mut scale = Buffer::zeroed(count)?;
        scale.floats_mut().copy_from_slice(&scales);
        Ok(Some(Coding::Linear {
            cut,
            scale: Arc::new(scale),
            offset,
        }))
    }

    fn block_rows(
        &self,
        constants: &Constants,
        emit: &mut Emit<'_>,
        shape: &[usize],
    ) -> Result<Option<Coding>, Reason> {
        let id = self.operand("scale")?;
        let [down, across] = constants.get(id).shape[..] else {
            return Ok(None);
        };
        let Some(cut) = Cut::new(shape, down, across) else {
            return Ok(None);
        };
        let offset = match self.optional("offset") {
            Some(id) => numbers(constants, emit, id)?,
            None => vec![0.0; down * across],
        };
        if offset.len() != down * across {
            return Ok(None);
        }
        let scale = constants.decode(id, emit)?;
        Ok(Some(Coding::Linear { cut, scale, offset }))
    }

    fn palette_rows(
        &self,
        constants: &Constants,
        emit: &mut Emit<'_>,
        shape: &[usize],
        bits: usize,
    ) -> Result<Option<Coding>, Reason> {
        let id = self.operand("lut")?;
        // With an entry for every index there is none outside.
        let [down, across, entries, 1] = constants.get(id).shape[..] else {
            return Ok(None);
        };
        let Some(cut) = Cut::new(shape, down, across).filter(|_| entries == 1 << bits) else {
            return Ok(None);
        };
        let lut = constants.decode(id, emit)?;
        Ok(Some(Coding::Palette { cut, entries, lut }))
    }
}

/// A constant's numbers as f32.
fn numbers(constants: &Constants, emit: &mut Emit<'_>, id: ConstantId) -> Result<Vec<f32>, Reason> {
    let decoded = constants.decode(id, emit)?;
    Ok(if constants.get(id).dtype.is_float() {
        decoded.floats().to_vec()
    } else {
        decoded.ints().iter().map(|value| *value as f32).collect()
    })
}
