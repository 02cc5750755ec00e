//! Lowering of functions of one tensor.

use std::sync::Arc;

use corer_mil::ops::Call;

use super::activation::softplus;
use super::elementwise::{Map, walk};
use super::{Fault, Io, Kernel, Unary};
use crate::ane::with_tables;
use crate::buffer::Buffer;
use crate::half_values::Rounding;
use crate::plan::{Emit, Op, Reason};
use crate::view::{Nest, View};

/// The float function an operation applies to `x`, if it is one.
///
/// # Errors
/// When a parameter is not what the function takes.
pub(crate) fn parse(call: &Call<'_>) -> Result<Option<Unary>, String> {
    let number = |name: &str, default: Option<f32>| match (call.value(name)?, default) {
        (Some(value), _) => value
            .as_float()
            .ok_or_else(|| format!("`{name}` must be one number")),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(format!("`{name}` is missing")),
    };
    let alpha = || number("alpha", None);
    let beta = || number("beta", None);
    let epsilon = |default| number("epsilon", Some(default));
    Ok(Some(match call.op {
        "abs" => Unary::Abs,
        "acos" => Unary::Exact(libm::acos),
        "asin" => Unary::Exact(libm::asin),
        "atan" => Unary::Exact(libm::atan),
        "atanh" => Unary::Exact(libm::atanh),
        "ceil" => Unary::Ceil,
        "clamped_relu" => Unary::ClampedRelu(alpha()?, beta()?),
        "clip" => Unary::Clip(alpha()?, beta()?),
        "cos" => Unary::Exact(libm::cos),
        "cosh" => Unary::Exact(libm::cosh),
        "elu" => Unary::Elu(alpha()?),
        "erf" => Unary::Erf,
        "exp" => Unary::Exp,
        "exp2" => Unary::Exp2,
        "floor" => Unary::Floor,
        "gelu" => match call.str_or("mode", "EXACT")? {
            "EXACT" => Unary::Gelu,
            "TANH_APPROXIMATION" => Unary::GeluTanh,
            _ => Unary::GeluSigmoid,
        },
        "inverse" => Unary::Inverse(epsilon(1e-4)?),
        "leaky_relu" => Unary::LeakyRelu(alpha()?),
        "linear_activation" => Unary::Linear(alpha()?, beta()?),
        "log" => Unary::Log(epsilon(1e-45)?),
        "relu" => Unary::Relu,
        "relu6" => Unary::Relu6,
        "round" => Unary::Round,
        "rsqrt" => Unary::Rsqrt(epsilon(1e-12)?),
        "scaled_tanh" => Unary::ScaledTanh(alpha()?, beta()?),
        "sigmoid" => Unary::Sigmoid,
        "sigmoid_hard" => Unary::SigmoidHard(alpha()?, beta()?),
        "sign" => Unary::Sign,
        "silu" => Unary::Silu,
        "sin" => Unary::Exact(libm::sin),
        "sinh" => Unary::Exact(libm::sinh),
        "softplus" => Unary::Softplus,
        "softsign" => Unary::Softsign,
        "sqrt" => Unary::Sqrt,
        "square" => Unary::Square,
        "tan" => Unary::Exact(libm::tan),
        "tanh" => Unary::Tanh,
        "threshold" => Unary::Threshold(alpha()?),
        "thresholded_relu" => Unary::ThresholdedRelu(alpha()?),
        _ => return Ok(None),
    }))
}

/// Any function [`parse`] knows, of floats; a few of them of int32 too.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    if x.is_float() {
        let function =
            parse(op.call)?.ok_or_else(|| format!("`{}` is no function of one number", op.call.op))?;
        let function = with_tables(function, emit.ane(op.dtype()));
        let round = emit.rounds(op.dtype());
        let map = Map::new(&x, vec![(function, round)]);
        return Ok(vec![emit.step(map, &[&x], op.shape(), op.dtype())?]);
    }
    let function = match op.call.op {
        "abs" => Integer::Abs,
        "exp2" => Integer::Exp2,
        "sign" => Integer::Sign,
        "square" => Integer::Square,
        "threshold" => {
            let alpha = op.call.int_or("alpha", 0)?;
            Integer::Threshold(i32::try_from(alpha).map_err(|_| "`alpha` is no int32".to_owned())?)
        }
        "logical_not" => Integer::Not,
        other => return Err(Reason::Unsupported(format!("`{other}` of {}", x.dtype))),
    };
    let kernel = IntegerMap {
        nest: Nest::new(&x.shape, &[&x.strides]),
        offset: x.offset,
        function,
    };
    Ok(vec![emit.step(kernel, &[&x], op.shape(), op.dtype())?])
}

/// A function of one int32 (or boolean).
#[derive(Clone, Copy, Debug)]
enum Integer {
    Abs,
    Exp2,
    Not,
    Sign,
    Square,
    Threshold(i32),
}

#[derive(Debug)]
struct IntegerMap {
    nest: Nest,
    offset: usize,
    function: Integer,
}

impl Kernel for IntegerMap {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands = [(io.inputs[0], self.offset)];
        walk(io.team, operands, &self.nest, io.output, |[x], out| {
            let x: &[i32] = bytemuck::cast_slice(x);
            let out: &mut [i32] = bytemuck::cast_slice_mut(out);
            for (out, x) in out.iter_mut().zip(x) {
                *out = match self.function {
                    Integer::Abs => x.wrapping_abs(),
                    // Truncated and held to the range, as a cast of the float result is.
                    Integer::Exp2 => libm::exp2(f64::from(*x)) as i32,
                    Integer::Not => i32::from(*x == 0),
                    Integer::Sign => x.signum(),
                    Integer::Square => x.wrapping_mul(*x),
                    Integer::Threshold(alpha) => (*x).max(alpha),
                };
            }
        });
        Ok(())
    }
}

/// `prelu` and `softplus_parametric`: parameters are vectors over axis 1.
#[derive(Debug)]
struct ByChannel {
    nest: Nest,
    offset: usize,
    softplus: bool,
    round: Rounding,
}

impl Kernel for ByChannel {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands =
            std::array::from_fn(|input| (io.inputs[input], if input == 0 { self.offset } else { 0 }));
        walk(
            io.team,
            operands,
            &self.nest,
            io.output,
            |[x, alpha, beta]: [&[u32]; 3], out| {
                for (((out, x), alpha), beta) in out.iter_mut().zip(x).zip(alpha).zip(beta) {
                    let [x, alpha, beta] = [x, alpha, beta].map(|word| f32::from_bits(*word));
                    let value = if self.softplus {
                        alpha * softplus(beta * x)
                    } else if x < 0.0 {
                        alpha * x
                    } else {
                        x
                    };
                    *out = value.to_bits();
                }
                self.round.all(bytemuck::cast_slice_mut(out));
            },
        );
        Ok(())
    }
}

/// x or α·x; or α·ln(1 + e^(β·x)).
pub(crate) fn lower_by_channel(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let x = op.view(emit, "x")?;
    let alpha = op.floats(emit, "alpha")?.unwrap_or_default();
    let beta = op.floats(emit, "beta")?.unwrap_or_else(|| vec![1.0; alpha.len()]);
    let mut strides = vec![0; x.rank()];
    strides[1] = 1;
    let mut views = vec![x.clone()];
    for values in [alpha, beta] {
        if values.len() != x.shape[1] {
            return Err(Reason::Invalid(format!(
                "`alpha` and `beta` must hold {} numbers",
                x.shape[1]
            )));
        }
        emit.take(values.len())?;
        let mut buffer = Buffer::zeroed(values.len())?;
        buffer.floats_mut().copy_from_slice(&values);
        views.push(View {
            storage: emit.constant(Arc::new(buffer)),
            offset: 0,
            shape: x.shape.clone(),
            strides: strides.clone(),
            dtype: x.dtype,
        });
    }
    let kernel = ByChannel {
        nest: Nest::new(&x.shape, &[&x.strides, &strides, &strides]),
        offset: x.offset,
        softplus: op.call.op == "softplus_parametric",
        round: emit.rounds(op.dtype()),
    };
    let inputs: Vec<&View> = views.iter().collect();
    Ok(vec![emit.step(kernel, &inputs, op.shape(), op.dtype())?])
}
