//! Functions of one number, applied in place.

use crate::ane::Table;
use crate::math;

/// A function of one f32.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unary {
    Abs,
    Ceil,
    Clip(f32, f32),
    /// min(max(x, 0), β) + min(α·min(x, 0), β), as MIL defines it.
    ClampedRelu(f32, f32),
    Elu(f32),
    Erf,
    Exp,
    Exp2,
    Floor,
    Gelu,
    GeluSigmoid,
    GeluTanh,
    /// 1 / (x + ε)
    Inverse(f32),
    LeakyRelu(f32),
    /// α·x + β
    Linear(f32, f32),
    /// ln(x + ε)
    Log(f32),
    Relu,
    Relu6,
    Round,
    /// 1 / √(x + ε)
    Rsqrt(f32),
    /// α·tanh(β·x)
    ScaledTanh(f32, f32),
    Sigmoid,
    /// min(max(α·x + β, 0), 1)
    SigmoidHard(f32, f32),
    Sign,
    Silu,
    Softplus,
    Softsign,
    Sqrt,
    Square,
    Tanh,
    /// max(x, α)
    Threshold(f32),
    ThresholdedRelu(f32),
    /// Beyond ±limit ±∞.
    Beyond(f32),
    /// As the Neural Engine looks it up.
    Table(Table),
    /// A function computed in f64 and rounded once.
    Exact(fn(f64) -> f64),
}

/// x where it is larger than `limit` or NaN, else `limit`.
#[inline(always)]
pub(crate) fn at_least(x: f32, limit: f32) -> f32 {
    if x < limit { limit } else { x }
}

/// x where it is smaller than `limit` or NaN, else `limit`.
#[inline(always)]
pub(crate) fn at_most(x: f32, limit: f32) -> f32 {
    if x > limit { limit } else { x }
}

#[inline(always)]
fn each(values: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in values {
        *value = function(*value);
    }
}

/// ln(1 + eˣ) without overflow.
pub(crate) fn softplus(x: f32) -> f32 {
    (libm::log1p(libm::exp(-f64::from(x.abs()))) + f64::from(at_least(x, 0.0))) as f32
}

impl Unary {
    /// Replaces every value by the function's.
    #[inline(always)]
    pub(crate) fn apply(&self, values: &mut [f32]) {
        match *self {
            Self::Abs => each(values, f32::abs),
            Self::Ceil => each(values, f32::ceil),
            Self::Clip(low, high) => each(values, |x| at_most(at_least(x, low), high)),
            Self::ClampedRelu(alpha, beta) => each(values, |x| {
                at_most(at_least(x, 0.0), beta) + at_most(alpha * at_most(x, 0.0), beta)
            }),
            Self::Elu(alpha) => each(values, |x| if x > 0.0 { x } else { alpha * (libm::expm1f(x)) }),
            Self::Erf => each(values, math::erf),
            Self::Exp => each(values, math::exp),
            Self::Exp2 => each(values, |x| libm::exp2(f64::from(x)) as f32),
            Self::Floor => each(values, f32::floor),
            Self::Gelu => each(values, |x| {
                0.5 * x * (1.0 + math::erf(x * std::f32::consts::FRAC_1_SQRT_2))
            }),
            Self::GeluSigmoid => each(values, |x| x * math::sigmoid(1.702 * x)),
            Self::GeluTanh => each(values, |x| {
                /// √(2/π)
                const SCALE: f32 = 0.797_884_6;
                0.5 * x * (1.0 + math::tanh(SCALE * (0.044_715 * x * x).mul_add(x, x)))
            }),
            Self::Inverse(epsilon) => each(values, |x| 1.0 / (x + epsilon)),
            Self::LeakyRelu(alpha) => each(values, |x| if x < 0.0 { alpha * x } else { x }),
            Self::Linear(alpha, beta) => each(values, |x| alpha * x + beta),
            Self::Log(epsilon) => each(values, |x| libm::log(f64::from(x) + f64::from(epsilon)) as f32),
            Self::Relu => each(values, |x| at_least(x, 0.0)),
            Self::Relu6 => each(values, |x| at_most(at_least(x, 0.0), 6.0)),
            Self::Round => each(values, f32::round_ties_even),
            Self::Rsqrt(epsilon) => each(values, |x| 1.0 / (x + epsilon).sqrt()),
            Self::ScaledTanh(alpha, beta) => each(values, |x| alpha * math::tanh(beta * x)),
            Self::Sigmoid => each(values, math::sigmoid),
            Self::SigmoidHard(alpha, beta) => each(values, |x| at_most(at_least(alpha * x + beta, 0.0), 1.0)),
            Self::Sign => each(values, |x| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                }
            }),
            Self::Silu => each(values, |x| x * math::sigmoid(x)),
            Self::Softplus => each(values, softplus),
            Self::Softsign => each(values, |x| x / (1.0 + x.abs())),
            Self::Sqrt => each(values, f32::sqrt),
            Self::Square => each(values, |x| x * x),
            Self::Tanh => each(values, math::tanh),
            Self::Threshold(alpha) => each(values, |x| at_least(x, alpha)),
            Self::ThresholdedRelu(alpha) => each(values, |x| if x < alpha { 0.0 } else { x }),
            Self::Beyond(limit) => each(values, |x| {
                if x.abs() > limit {
                    f32::INFINITY.copysign(x)
                } else {
                    x
                }
            }),
            Self::Table(table) => table.apply(values),
            Self::Exact(function) => each(values, |x| function(f64::from(x)) as f32),
        }
    }
}
