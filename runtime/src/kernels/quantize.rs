//! `quantize` and `dequantize` of activations.

use std::sync::Arc;

use corer_mil::DataType;

use super::elementwise::walk;
use super::{Fault, Io, Kernel};
use crate::buffer::Buffer;
use crate::half_values::Rounding;
use crate::plan::{Emit, Op, Reason};
use crate::view::{Nest, View};

#[derive(Debug)]
struct Quantize {
    nest: Nest,
    offset: usize,
    /// The result's type.
    to: DataType,
    round: Rounding,
}

impl Kernel for Quantize {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands =
            std::array::from_fn(|input| (io.inputs[input], if input == 0 { self.offset } else { 0 }));
        let (low, high) = if self.to == DataType::Int8 {
            (-128.0, 127.0)
        } else {
            (0.0, 255.0)
        };
        walk(
            io.team,
            operands,
            &self.nest,
            io.output,
            #[inline(always)]
            |[x, scale, zero]: [&[u32]; 3], out| {
                for (((out, x), scale), zero) in out.iter_mut().zip(x).zip(scale).zip(zero) {
                    let (scale, zero) = (f32::from_bits(*scale), f32::from_bits(*zero));
                    *out = if self.to.is_float() {
                        (scale * (*x as i32 as f32 - zero)).to_bits()
                    } else {
                        let value = (f32::from_bits(*x) / scale).round_ties_even() + zero;
                        value.clamp(low, high) as i32 as u32
                    };
                }
                if self.to.is_float() {
                    self.round.all(bytemuck::cast_slice_mut(out));
                }
            },
        );
        Ok(())
    }
}

/// `quantize`: round(input / scale) + zero point, clamped. `dequantize`: scale · (input − zero point).
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "input")?;
    let axis = match op.call.get("axis") {
        Some(_) => Some(op.call.axis_or("axis", 0, x.rank())?),
        None => None,
    };
    let scale = op.floats(emit, "scale")?.unwrap_or_default();
    let zero = match op.optional(emit, "zero_point")? {
        Some(view) => {
            let crate::view::Storage::Constant(index) = view.storage else {
                return Err(Reason::Unsupported("a computed `zero_point`".into()));
            };
            emit.constants[index]
                .ints()
                .iter()
                .map(|zero| *zero as f32)
                .collect()
        }
        None => vec![0.0; scale.len()],
    };
    let length = axis.map_or(1, |axis| x.shape[axis]);
    if scale.len() != length || zero.len() != length {
        return Err(Reason::Invalid(format!(
            "`scale` and `zero_point` must hold {length} numbers"
        )));
    }
    let mut strides = vec![0; x.rank()];
    if let Some(axis) = axis {
        strides[axis] = 1;
    }
    let mut views = vec![x.clone()];
    for values in [scale, zero] {
        emit.take(length)?;
        let mut buffer = Buffer::zeroed(length)?;
        buffer.floats_mut().copy_from_slice(&values);
        views.push(View {
            storage: emit.constant(Arc::new(buffer)),
            offset: 0,
            shape: x.shape.clone(),
            strides: strides.clone(),
            dtype: DataType::Fp32,
        });
    }
    let kernel = Quantize {
        nest: Nest::new(&x.shape, &[&x.strides, &strides, &strides]),
        offset: x.offset,
        to: op.dtype(),
        round: emit.rounds(op.dtype()),
    };
    let inputs: Vec<&View> = views.iter().collect();
    Ok(vec![emit.step(kernel, &inputs, op.shape(), op.dtype())?])
}
