//! `cast`, with C's rules: floats lose their fraction, integers keep their low bits, booleans are 0 and 1.

use corer_mil::DataType;

use super::elementwise::{Map, walk};
use super::{Fault, Io, Kernel, Unary};
use crate::ane::AneRule;
use crate::half_values::Rounding;
use crate::plan::{Emit, Op, Reason};
use crate::view::{Nest, View};

#[derive(Debug)]
struct Cast {
    nest: Nest,
    offset: usize,
    from: DataType,
    to: DataType,
    round: Rounding,
}

/// Keeps an i32 to the bits of a smaller type.
pub(crate) fn wrap(value: i32, to: DataType) -> i32 {
    match to {
        DataType::Int8 => i32::from(value as i8),
        DataType::UInt8 => i32::from(value as u8),
        DataType::Int16 => i32::from(value as i16),
        DataType::UInt16 => i32::from(value as u16),
        DataType::Bool => i32::from(value != 0),
        _ => value,
    }
}

impl Kernel for Cast {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands = [(io.inputs[0], self.offset)];
        let (from_float, to_float) = (self.from.is_float(), self.to.is_float());
        walk(
            io.team,
            operands,
            &self.nest,
            io.output,
            #[inline(always)]
            |[x], out| {
                match (from_float, to_float) {
                    (true, true) => out.copy_from_slice(x),
                    (false, true) => {
                        let out: &mut [f32] = bytemuck::cast_slice_mut(out);
                        for (out, x) in out.iter_mut().zip(x) {
                            *out = *x as i32 as f32;
                        }
                    }
                    (true, false) => {
                        for (out, x) in out.iter_mut().zip(x) {
                            let x = f32::from_bits(*x);
                            *out = match self.to {
                                DataType::Bool => u32::from(x != 0.0),
                                to => wrap(x as i32, to) as u32,
                            };
                        }
                    }
                    (false, false) => {
                        for (out, x) in out.iter_mut().zip(x) {
                            *out = wrap(*x as i32, self.to) as u32;
                        }
                    }
                }
                self.round.all(bytemuck::cast_slice_mut(out));
            },
        );
        Ok(())
    }
}

/// Casts that change nothing here are views.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let (from, to) = (x.dtype, op.dtype());
    let round = if from == DataType::Fp16 {
        Rounding::None
    } else {
        emit.rounds(to)
    };
    if from == DataType::Fp16 && to == DataType::Fp32 && emit.ane(from).has(AneRule::DecodedInfinities) {
        // What the Neural Engine reads as numbers are infinities to everyone else.
        let map = Map::new(&x, vec![(Unary::Beyond(65504.0), Rounding::None)]);
        return Ok(vec![emit.step(map, &[&x], op.shape(), to)?]);
    }
    let same = from == to
        || (from.is_float() && to.is_float() && round == Rounding::None)
        || (from == DataType::Bool && to.is_integer())
        || (from.is_integer() && to == DataType::Int32);
    if same {
        return Ok(vec![x.with_dtype(to)]);
    }
    let kernel = Cast {
        nest: Nest::new(&x.shape, &[&x.strides]),
        offset: x.offset,
        from,
        to,
        round,
    };
    Ok(vec![emit.step(kernel, &[&x], op.shape(), to)?])
}
