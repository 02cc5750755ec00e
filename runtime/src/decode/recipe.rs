//! The `constexpr_*` operations of both generations, as recipes that are followed when someone needs the result.
//!
//! The formulas are those of coremltools' documentation of iOS 16 and iOS 18 ops; results are computed in f32 and,
//! where values are rounded as written, rounded once.

use std::collections::BTreeMap;

use corer_mil::DataType;
use corer_mil::ops::Call;

use super::bit_stream;
use super::blocks::Blocks;
use crate::buffer::Buffer;
use crate::half_values;
use crate::plan::{ConstantId, Constants, Emit, Reason};
use crate::view::{count, row_major};

/// One `constexpr_*` operation.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(super) op: Kind,
    operands: BTreeMap<String, ConstantId>,
    /// Type and sizes of each result.
    pub(super) results: Vec<(DataType, Vec<usize>)>,
    /// `axis` or `vector_axis`, from the front.
    pub(super) axis: usize,
    /// Whether results are rounded to fp16.
    pub(super) round: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Affine,
    Cast,
    /// Palette indices packed in bytes, one palette.
    Lut16,
    Lut18,
    /// A mask packed in bytes.
    Sparse16,
    Sparse18,
    Blockwise,
    LutSparse,
    BlockwiseSparse,
}

/// Whether an operation is one of these.
pub(crate) fn is_constexpr(op: &str) -> bool {
    op.starts_with("constexpr_")
}

impl Recipe {
    /// Reads a call that the op table has accepted.
    pub(crate) fn new(
        call: &Call<'_>,
        attributes: bool,
        operands: BTreeMap<String, ConstantId>,
        results: Vec<(DataType, Vec<usize>)>,
        rounds: bool,
    ) -> Result<Self, Reason> {
        let (op, axis) = match (call.op, attributes) {
            ("constexpr_affine_dequantize", _) => {
                let rank = results.first().map_or(0, |(_, shape)| shape.len());
                (Kind::Affine, call.axis_or("axis", 0, rank)?)
            }
            ("constexpr_cast", _) => (Kind::Cast, 0),
            ("constexpr_lut_to_dense", true) => (Kind::Lut16, 0),
            ("constexpr_lut_to_dense", false) => (Kind::Lut18, vector_axis(call, "indices")?),
            ("constexpr_sparse_to_dense", true) => (Kind::Sparse16, 0),
            ("constexpr_sparse_to_dense", false) => (Kind::Sparse18, 0),
            ("constexpr_blockwise_shift_scale", _) => (Kind::Blockwise, 0),
            ("constexpr_lut_to_sparse", _) => (Kind::LutSparse, vector_axis(call, "indices_mask")?),
            ("constexpr_sparse_blockwise_shift_scale", _) => (Kind::BlockwiseSparse, 0),
            (other, _) => return Err(Reason::Unsupported(format!("constant expression `{other}`"))),
        };
        let round = rounds && results.iter().any(|(dtype, _)| *dtype == DataType::Fp16);
        Ok(Self {
            op,
            operands,
            results,
            axis,
            round,
        })
    }

    /// The constants it is made of.
    pub(crate) fn operands(&self) -> impl Iterator<Item = ConstantId> + '_ {
        self.operands.values().copied()
    }

    pub(super) fn operand(&self, name: &str) -> Result<ConstantId, Reason> {
        self.operands
            .get(name)
            .copied()
            .ok_or_else(|| Reason::Invalid(format!("`{name}` is missing")))
    }

    /// The operand, if it is there.
    pub(super) fn optional(&self, name: &str) -> Option<ConstantId> {
        self.operands.get(name).copied()
    }

    /// Computes a result.
    pub(crate) fn decode(
        &self,
        constants: &Constants,
        emit: &mut Emit<'_>,
        result: usize,
    ) -> Result<Buffer, Reason> {
        let (dtype, shape) = &self.results[result];
        let mut out = Buffer::zeroed(count(shape))?;
        match self.op {
            Kind::Cast => {
                let data = constants.decode(self.operand("source_val")?, emit)?;
                out.words_mut().copy_from_slice(data.words());
            }
            Kind::Affine => self.affine(constants, emit, &mut out)?,
            Kind::Blockwise => {
                let id = self.operand("data")?;
                let data = constants.decode(id, emit)?;
                let floats = as_floats(data.words(), constants.get(id).dtype.is_float());
                self.shift_scale(constants, emit, shape, &floats, out.floats_mut())?;
            }
            Kind::Lut16 => {
                let lut = constants.decode(self.operand("lut")?, emit)?;
                let bytes = constants.bytes(self.operand("indices")?)?;
                let bits = lut.words().len().max(2).ilog2() as usize;
                if bytes.len() < (out.words().len() * bits).div_ceil(8) {
                    return Err(Reason::Invalid("`indices` is too short".into()));
                }
                bit_stream(&bytes, 0, bits, out.words_mut());
                for word in out.words_mut() {
                    *word = lut.words()[*word as usize];
                }
            }
            Kind::Lut18 => {
                let id = self.operand("indices")?;
                let indices = constants.decode(id, emit)?;
                let from = constants.get(id).shape.clone();
                self.look_up(constants, emit, &from, indices.words(), shape, out.words_mut())?;
            }
            Kind::Sparse16 => {
                let bytes = constants.bytes(self.operand("mask")?)?;
                if bytes.len() < out.words().len().div_ceil(8) {
                    return Err(Reason::Invalid("`mask` is too short".into()));
                }
                let values = constants.decode(self.operand("nonzero_data")?, emit)?;
                let bits = (0..out.words().len()).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1);
                scatter(bits.collect::<Vec<_>>(), values.words(), out.words_mut())?;
            }
            Kind::Sparse18 => {
                let mask = constants.decode(self.operand("mask")?, emit)?;
                let values = constants.decode(self.operand("nonzero_data")?, emit)?;
                let bits = mask.words().iter().map(|word| *word != 0);
                scatter(bits.collect::<Vec<_>>(), values.words(), out.words_mut())?;
            }
            Kind::LutSparse => self.lut_sparse(constants, emit, result, &mut out)?,
            Kind::BlockwiseSparse => {
                let mask = constants.decode(self.operand("data_mask")?, emit)?;
                if result == 0 {
                    out.words_mut().copy_from_slice(mask.words());
                } else {
                    let dense_shape = constants.get(self.operand("data_mask")?).shape.clone();
                    let id = self.operand("nonzero_data")?;
                    let values = constants.decode(id, emit)?;
                    let values = as_floats(values.words(), constants.get(id).dtype.is_float());
                    let bits: Vec<bool> = mask.words().iter().map(|word| *word != 0).collect();
                    emit.take(2 * bits.len())?;
                    let mut dense = vec![0f32; bits.len()];
                    scatter(
                        bits.iter().copied(),
                        bytemuck::cast_slice(&values),
                        bytemuck::cast_slice_mut(&mut dense),
                    )?;
                    let mut scaled = vec![0f32; bits.len()];
                    self.shift_scale(constants, emit, &dense_shape, &dense, &mut scaled)?;
                    collect(&bits, bytemuck::cast_slice(&scaled), out.words_mut())?;
                }
            }
        }
        if self.round && dtype.is_float() {
            half_values::round_all(out.floats_mut());
        }
        Ok(out)
    }

    /// scale · (quantized_data − zero_point), scale and zero point scalars or vectors over the axis.
    fn affine(&self, constants: &Constants, emit: &mut Emit<'_>, out: &mut Buffer) -> Result<(), Reason> {
        let (data, zero) = (self.operand("quantized_data")?, self.operand("zero_point")?);
        let zero_is_float = constants.get(zero).dtype.is_float();
        let shape = constants.get(data).shape.clone();
        let data = constants.decode(data, emit)?;
        let zero = constants.decode(zero, emit)?;
        let zero = as_floats(zero.words(), zero_is_float);
        let scale = constants.decode(self.operand("scale")?, emit)?;
        let size = shape.get(self.axis).copied().unwrap_or(1);
        let inner: usize = shape.iter().skip(self.axis + 1).product();
        let at = |values: &[f32], channel: usize| match values {
            [one] => Ok(*one),
            many => many
                .get(channel)
                .copied()
                .ok_or_else(|| Reason::Invalid("`scale` or `zero_point` is shorter than its axis".into())),
        };
        for (stretch, (data, out)) in data
            .ints()
            .chunks(inner.max(1))
            .zip(out.floats_mut().chunks_mut(inner.max(1)))
            .enumerate()
        {
            let channel = stretch % size.max(1);
            let (scale, zero) = (at(scale.floats(), channel)?, at(&zero, channel)?);
            for (out, data) in out.iter_mut().zip(data) {
                *out = scale * (*data as f32 - zero);
            }
        }
        Ok(())
    }

    /// scale · (data − offset), block by block.
    fn shift_scale(
        &self,
        constants: &Constants,
        emit: &mut Emit<'_>,
        shape: &[usize],
        data: &[f32],
        out: &mut [f32],
    ) -> Result<(), Reason> {
        let id = self.operand("scale")?;
        let blocks = Blocks::new(shape, &constants.get(id).shape)
            .ok_or_else(|| Reason::Invalid("`scale` does not cut the data into whole blocks".into()))?;
        let scale = constants.decode(id, emit)?;
        let offset = match self.operands.get("offset") {
            Some(id) => {
                let offset = constants.decode(*id, emit)?;
                as_floats(offset.words(), constants.get(*id).dtype.is_float()).into_owned()
            }
            None => vec![0.0; scale.words().len()],
        };
        if offset.len() != scale.words().len() {
            return Err(Reason::Invalid(
                "`offset` and `scale` have different sizes".into(),
            ));
        }
        blocks.each(|range, group| {
            let (scale, offset) = (scale.floats()[group], offset[group]);
            for (out, data) in out[range.clone()].iter_mut().zip(&data[range]) {
                *out = scale * (*data - offset);
            }
        });
        Ok(())
    }

    /// Replaces indices of shape `from` by palette entries, or by vectors along the axis.
    fn look_up(
        &self,
        constants: &Constants,
        emit: &mut Emit<'_>,
        from: &[usize],
        indices: &[u32],
        shape: &[usize],
        out: &mut [u32],
    ) -> Result<(), Reason> {
        let id = self.operand("lut")?;
        let lut_shape = constants.get(id).shape.clone();
        let [groups @ .., entries, length] = &lut_shape[..] else {
            return Err(Reason::Invalid("`lut` has too few axes".into()));
        };
        let (entries, length) = (*entries, *length);
        let blocks = Blocks::new(from, groups)
            .ok_or_else(|| Reason::Invalid("`lut` does not cut the indices into whole groups".into()))?;
        let lut = constants.decode(id, emit)?;
        let lut = lut.words();
        if indices.iter().any(|index| *index as usize >= entries) {
            return Err(Reason::Invalid("an index is outside its palette".into()));
        }
        if out.len() != indices.len() * length {
            return Err(Reason::Invalid(
                "vectors of the palette don't fill the result".into(),
            ));
        }
        // Along the axis a vector's elements lie `stride` apart; an index's place moves on by a whole vector.
        let stride = row_major(shape).get(self.axis).copied().unwrap_or(1) as usize;
        blocks.each(|range, group| {
            for position in range {
                let entry = (group * entries + indices[position] as usize) * length;
                let place = position / stride * stride * length + position % stride;
                for (step, value) in lut[entry..entry + length].iter().enumerate() {
                    out[place + step * stride] = *value;
                }
            }
        });
        Ok(())
    }

    /// A mask and palette entries for its set bits; vectors stretch both along the axis.
    fn lut_sparse(
        &self,
        constants: &Constants,
        emit: &mut Emit<'_>,
        result: usize,
        out: &mut Buffer,
    ) -> Result<(), Reason> {
        let id = self.operand("indices_mask")?;
        let from = constants.get(id).shape.clone();
        let mask = constants.decode(id, emit)?;
        let shape = &self.results[0].1;
        let bits: Vec<bool> = mask.words().iter().map(|word| *word != 0).collect();
        let whole = count(shape);
        emit.take(2 * whole)?;
        // The mask, repeated along the axis.
        let length = whole.checked_div(bits.len()).unwrap_or_default();
        let stride = row_major(shape).get(self.axis).copied().unwrap_or(1) as usize;
        let mut stretched = vec![false; whole];
        for (position, bit) in bits.iter().enumerate() {
            let place = position / stride * stride * length + position % stride;
            for step in 0..length {
                stretched[place + step * stride] = *bit;
            }
        }
        if result == 0 {
            for (out, bit) in out.words_mut().iter_mut().zip(&stretched) {
                *out = u32::from(*bit);
            }
            return Ok(());
        }
        let values = constants.decode(self.operand("indices_nonzero_data")?, emit)?;
        let mut indices = vec![0u32; bits.len()];
        scatter(bits.iter().copied(), values.words(), &mut indices)?;
        let mut dense = vec![0u32; whole];
        self.look_up(constants, emit, &from, &indices, shape, &mut dense)?;
        collect(&stretched, &dense, out.words_mut())
    }
}

/// `vector_axis` from the front; 0 when there is none.
fn vector_axis(call: &Call<'_>, indices: &str) -> Result<usize, Reason> {
    let rank = call.tensor(indices)?.rank();
    if call.get("vector_axis").is_none() {
        return Ok(rank.saturating_sub(1));
    }
    Ok(call.axis_or("vector_axis", 0, rank)?)
}

/// Words as f32, converted if they are i32.
fn as_floats(words: &[u32], float: bool) -> std::borrow::Cow<'_, [f32]> {
    if float {
        std::borrow::Cow::Borrowed(bytemuck::cast_slice(words))
    } else {
        words.iter().map(|word| *word as i32 as f32).collect()
    }
}

/// Puts values in turn where bits are set.
fn scatter(bits: impl IntoIterator<Item = bool>, values: &[u32], out: &mut [u32]) -> Result<(), Reason> {
    let mut values = values.iter();
    let mismatch = || Reason::Invalid("a mask and its values have different numbers of elements".into());
    for (out, bit) in out.iter_mut().zip(bits) {
        if bit {
            *out = *values.next().ok_or_else(mismatch)?;
        }
    }
    if values.next().is_some() {
        Err(mismatch())
    } else {
        Ok(())
    }
}

/// Takes the elements whose bits are set.
fn collect(bits: &[bool], values: &[u32], out: &mut [u32]) -> Result<(), Reason> {
    let taken = bits
        .iter()
        .zip(values)
        .filter(|(bit, _)| **bit)
        .map(|(_, value)| *value);
    let mut written = 0;
    for value in taken {
        *out.get_mut(written).ok_or_else(|| {
            Reason::Invalid("a mask and its values have different numbers of elements".into())
        })? = value;
        written += 1;
    }
    if written == out.len() {
        Ok(())
    } else {
        Err(Reason::Invalid(
            "a mask and its values have different numbers of elements".into(),
        ))
    }
}
