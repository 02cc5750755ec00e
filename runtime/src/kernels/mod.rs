//! What computes values: one module per family of operations, each with the kernels and with the lowering that
//! chooses among them.

mod activation;
mod attention;
mod binary;
mod cast;
mod classify;
mod conv;
mod copy;
mod cumulative;
mod einsum;
mod elementwise;
mod gather;
mod generate;
mod join;
mod linear;
mod matmul;
mod norm;
mod order;
mod quantize;
mod reduce;
mod shape;
mod slice;
mod softmax;
mod table;
mod unary;

use std::fmt;

pub(crate) use activation::Unary;
pub(crate) use binary::Sum;
pub(crate) use copy::{Copy, copy};
pub(crate) use table::{activation_of, lowering, planned_parameters};

use crate::gemm::Sums;
use crate::team::Team;

/// Why a kernel could not compute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// An index outside the axis it selects from.
    Index {
        /// The value that holds it.
        value: String,
        index: i64,
        size: usize,
    },
}

/// What a kernel works on: the storages of its inputs as a whole (its views say where to look) and the words of its
/// result, which are its own and row-major.
pub(crate) struct Io<'a> {
    pub(crate) inputs: &'a [&'a [u32]],
    pub(crate) output: &'a mut [u32],
    pub(crate) team: Team,
}

impl<'a> Io<'a> {
    /// An input's storage as f32.
    pub(crate) fn floats(&self, input: usize) -> &'a [f32] {
        bytemuck::cast_slice(self.inputs[input])
    }

    /// An input's storage as i32.
    pub(crate) fn ints(&self, input: usize) -> &'a [i32] {
        bytemuck::cast_slice(self.inputs[input])
    }
}

/// Computes one value. Everything about shapes was settled when the kernel was made.
pub(crate) trait Kernel: fmt::Debug + Send + Sync {
    /// Fills the output.
    fn run(&self, io: Io<'_>) -> Result<(), Fault>;

    /// How far its sums of products go, given the storages of its inputs; `None` if it has none.
    fn sums(&self, _inputs: &[&[u32]], _team: Team) -> Option<Sums> {
        None
    }
}
