//! What the Neural Engine computes differently from fp16 on a CPU, as far as others have measured it.
//!
//! Nothing here was measured by this project. Each behaviour is a rule of its own that can be switched
//! ([`AneRules`]) and carries its evidence ([`AneRule::evidence`]). The rules are about values, not about placement:
//! which operations would run on the engine is not decided here, every fp16 operation is taken for one that does.
//!
//! Not modelled, because no published figure says what happens: the order in which the engine adds products (the
//! package's is taken, one after the other), the function inside softmax, the insides of a norm, and the fitted table
//! of silu.

mod accumulator;
mod rounding;
mod rules;
mod tables;

pub(crate) use accumulator::{Accumulator, LIMIT};
pub(crate) use rounding::AneRounding;
pub use rules::{AneRule, AneRules, Evidence, Grade, UnknownRule};
pub(crate) use tables::{Table, with_tables};

/// Largest magnitude that a slice with a non-zero begin on the last axis hands on before A16: 65504 / 16 (N5).
pub(crate) const SLICE_LIMIT: f32 = 4094.0;

/// Replaces subnormal fp16 numbers by zeros (N7).
pub(crate) fn flush_subnormals(values: &mut [f32]) {
    /// 2⁻¹⁴, the smallest normal fp16 number.
    const NORMAL: f32 = 6.103_515_6e-5;
    for value in values {
        if value.abs() < NORMAL {
            *value = 0.0;
        }
    }
}
