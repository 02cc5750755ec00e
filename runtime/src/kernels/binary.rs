//! Functions of two broadcast tensors, and `select`.

use super::activation::{at_least, at_most};
use super::elementwise::walk;
use super::{Fault, Io, Kernel};
use crate::half_values::Rounding;
use crate::plan::{Emit, Op, Reason};
use crate::view::{Nest, View};

/// A function of two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Binary {
    Add,
    Div,
    FloorDiv,
    Max,
    Min,
    Mod,
    Mul,
    Pow,
    Sub,
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    NotEqual,
    And,
    Or,
    Xor,
}

impl Binary {
    fn parse(op: &str) -> Option<Self> {
        Some(match op {
            "add" => Self::Add,
            "real_div" => Self::Div,
            "floor_div" => Self::FloorDiv,
            "maximum" => Self::Max,
            "minimum" => Self::Min,
            "mod" => Self::Mod,
            "mul" => Self::Mul,
            "pow" => Self::Pow,
            "sub" => Self::Sub,
            "equal" => Self::Equal,
            "greater" => Self::Greater,
            "greater_equal" => Self::GreaterEqual,
            "less" => Self::Less,
            "less_equal" => Self::LessEqual,
            "not_equal" => Self::NotEqual,
            "logical_and" => Self::And,
            "logical_or" => Self::Or,
            "logical_xor" => Self::Xor,
            _ => return None,
        })
    }
}

/// The rest of a division that has the divisor's sign, as numpy and Python have it.
fn modulo(x: f32, y: f32) -> f32 {
    let rest = x % y;
    if rest != 0.0 && (rest < 0.0) != (y < 0.0) {
        rest + y
    } else if rest == 0.0 {
        0f32.copysign(y)
    } else {
        rest
    }
}

/// numpy's `floor_divide`: exact where floor(x / y) would suffer from the quotient's rounding.
fn floor_divide(x: f32, y: f32) -> f32 {
    if y == 0.0 {
        return x / y;
    }
    let quotient = (x - modulo(x, y)) / y;
    if quotient == 0.0 {
        return 0f32.copysign(x / y);
    }
    let floor = quotient.floor();
    if quotient - floor > 0.5 {
        floor + 1.0
    } else {
        floor
    }
}

#[inline(always)]
fn each<T: Copy, R>(x: &[T], y: &[T], out: &mut [R], function: impl Fn(T, T) -> R) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = function(*x, *y);
    }
}

#[inline(always)]
fn floats(function: Binary, x: &[f32], y: &[f32], out: &mut [u32]) {
    let mut plain = |function: fn(f32, f32) -> f32| each(x, y, bytemuck::cast_slice_mut(out), function);
    match function {
        Binary::FloorDiv => return plain(floor_divide),
        Binary::Mod => return plain(modulo),
        Binary::Pow => return plain(|x, y| libm::pow(f64::from(x), f64::from(y)) as f32),
        _ => {}
    }
    match function {
        Binary::Add => each(x, y, bytemuck::cast_slice_mut(out), |x: f32, y| x + y),
        Binary::Div => each(x, y, bytemuck::cast_slice_mut(out), |x: f32, y| x / y),
        Binary::Mul => each(x, y, bytemuck::cast_slice_mut(out), |x: f32, y| x * y),
        Binary::Sub => each(x, y, bytemuck::cast_slice_mut(out), |x: f32, y| x - y),
        // NaN wins on either side, as in numpy.
        Binary::Max => each(x, y, bytemuck::cast_slice_mut(out), |x: f32, y: f32| {
            if y.is_nan() { y } else { at_least(x, y) }
        }),
        Binary::Min => each(x, y, bytemuck::cast_slice_mut(out), |x: f32, y: f32| {
            if y.is_nan() { y } else { at_most(x, y) }
        }),
        Binary::Equal => each(x, y, out, |x, y| u32::from(x == y)),
        Binary::Greater => each(x, y, out, |x, y| u32::from(x > y)),
        Binary::GreaterEqual => each(x, y, out, |x, y| u32::from(x >= y)),
        Binary::Less => each(x, y, out, |x, y| u32::from(x < y)),
        Binary::LessEqual => each(x, y, out, |x, y| u32::from(x <= y)),
        Binary::NotEqual => each(x, y, out, |x, y| u32::from(x != y)),
        _ => out.fill(0),
    }
}

/// Division by zero gives 0, as numpy's integer division does.
fn integer(function: Binary, x: i32, y: i32) -> i32 {
    match function {
        Binary::Add => x.wrapping_add(y),
        Binary::Sub => x.wrapping_sub(y),
        Binary::Mul => x.wrapping_mul(y),
        Binary::Max => x.max(y),
        Binary::Min => x.min(y),
        // The true quotient, cast back.
        Binary::Div => (f64::from(x) / f64::from(y)) as i32,
        Binary::FloorDiv if y == 0 => 0,
        Binary::FloorDiv => {
            let (quotient, rest) = (x.wrapping_div(y), x.wrapping_rem(y));
            quotient.wrapping_sub(i32::from(rest != 0 && (rest < 0) != (y < 0)))
        }
        Binary::Mod if y == 0 => 0,
        Binary::Mod => {
            let rest = x.wrapping_rem(y);
            if rest != 0 && (rest < 0) != (y < 0) {
                rest.wrapping_add(y)
            } else {
                rest
            }
        }
        Binary::Pow => match u32::try_from(y) {
            Ok(power) => x.wrapping_pow(power),
            Err(_) => libm::pow(f64::from(x), f64::from(y)) as i32,
        },
        Binary::Equal => i32::from(x == y),
        Binary::Greater => i32::from(x > y),
        Binary::GreaterEqual => i32::from(x >= y),
        Binary::Less => i32::from(x < y),
        Binary::LessEqual => i32::from(x <= y),
        Binary::NotEqual => i32::from(x != y),
        Binary::And => i32::from(x != 0 && y != 0),
        Binary::Or => i32::from(x != 0 || y != 0),
        Binary::Xor => i32::from((x != 0) != (y != 0)),
    }
}

#[derive(Debug)]
struct Pairwise {
    nest: Nest,
    offsets: [usize; 2],
    function: Binary,
    float: bool,
    round: Rounding,
}

impl Kernel for Pairwise {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands = [(io.inputs[0], self.offsets[0]), (io.inputs[1], self.offsets[1])];
        walk(
            io.team,
            operands,
            &self.nest,
            io.output,
            #[inline(always)]
            |[x, y], out| {
                if self.float {
                    floats(
                        self.function,
                        bytemuck::cast_slice(x),
                        bytemuck::cast_slice(y),
                        out,
                    );
                    self.round.all(bytemuck::cast_slice_mut(out));
                } else {
                    let out: &mut [i32] = bytemuck::cast_slice_mut(out);
                    each(bytemuck::cast_slice(x), bytemuck::cast_slice(y), out, |x, y| {
                        integer(self.function, x, y)
                    });
                }
            },
        );
        Ok(())
    }
}

/// Lowers any function [`Binary::parse`] knows.
pub(crate) fn lower(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let (x, y) = (op.view(emit, "x")?, op.view(emit, "y")?);
    let function =
        Binary::parse(op.call.op).ok_or_else(|| format!("`{}` is no function of two numbers", op.call.op))?;
    let result = pairwise(emit, function, &x, &y, op.shape(), op.dtype())?;
    Ok(vec![result])
}

fn pairwise(
    emit: &mut Emit<'_>,
    function: Binary,
    x: &View,
    y: &View,
    shape: &[usize],
    dtype: corer_mil::DataType,
) -> Result<View, Reason> {
    let (bx, by) = (broadcast(x, shape)?, broadcast(y, shape)?);
    let kernel = Pairwise {
        nest: Nest::new(shape, &[&bx.strides, &by.strides]),
        offsets: [bx.offset, by.offset],
        function,
        float: x.is_float(),
        round: emit.rounds(dtype),
    };
    emit.step(kernel, &[x, y], shape, dtype)
}

fn broadcast(view: &View, shape: &[usize]) -> Result<View, Reason> {
    view.broadcast(shape)
        .ok_or_else(|| Reason::Invalid(format!("{:?} does not broadcast to {shape:?}", view.shape)))
}

/// The sum of two float tensors, not computed yet: whoever needs it next may add while reading.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    pub(crate) x: View,
    pub(crate) y: View,
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: corer_mil::DataType,
}

impl Sum {
    /// Computes it after all.
    pub(crate) fn compute(&self, emit: &mut Emit<'_>) -> Result<View, Reason> {
        pairwise(emit, Binary::Add, &self.x, &self.y, &self.shape, self.dtype)
    }
}

#[derive(Debug)]
struct Select {
    nest: Nest,
    offsets: [usize; 3],
}

impl Kernel for Select {
    fn run(&self, io: Io<'_>) -> Result<(), Fault> {
        let operands = std::array::from_fn(|operand| (io.inputs[operand], self.offsets[operand]));
        walk(
            io.team,
            operands,
            &self.nest,
            io.output,
            #[inline(always)]
            |[cond, a, b]: [&[u32]; 3], out| {
                for (((out, cond), a), b) in out.iter_mut().zip(cond).zip(a).zip(b) {
                    *out = if *cond != 0 { *a } else { *b };
                }
            },
        );
        Ok(())
    }
}

/// `a` where `cond`, else `b`.
pub(crate) fn lower_select(op: &Op<'_>, emit: &mut Emit<'_>) -> Result<Vec<View>, Reason> {
    let inputs = [op.view(emit, "cond")?, op.view(emit, "a")?, op.view(emit, "b")?];
    let mut views = Vec::with_capacity(3);
    for input in &inputs {
        views.push(broadcast(input, op.shape())?);
    }
    let kernel = Select {
        nest: Nest::new(
            op.shape(),
            &[&views[0].strides, &views[1].strides, &views[2].strides],
        ),
        offsets: [views[0].offset, views[1].offset, views[2].offset],
    };
    let inputs = [&inputs[0], &inputs[1], &inputs[2]];
    Ok(vec![emit.step(kernel, &inputs, op.shape(), op.dtype())?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_rounds_down_and_its_rest_has_the_divisors_sign() {
        for (x, y, quotient, rest) in [
            (7, 2, 3, 1),
            (-7, 2, -4, 1),
            (7, -2, -4, -1),
            (-7, -2, 3, -1),
            (5, 0, 0, 0),
        ] {
            assert_eq!(integer(Binary::FloorDiv, x, y), quotient, "{x} // {y}");
            assert_eq!(integer(Binary::Mod, x, y), rest, "{x} % {y}");
            if y != 0 {
                assert_eq!(floor_divide(x as f32, y as f32), quotient as f32);
                assert_eq!(modulo(x as f32, y as f32), rest as f32);
            }
        }
        assert_eq!(integer(Binary::FloorDiv, i32::MIN, -1), i32::MIN);
        assert_eq!(floor_divide(1.0, 0.1), 9.0); // 1 / 0.1f32 rounds to 10, but 10 · 0.1f32 is more than 1
    }
}
