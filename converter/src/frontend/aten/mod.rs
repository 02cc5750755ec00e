//! ATen programs: what traces and exports say once their file format is behind them.
//!
//! A frontend reads a file into a [`Program`]: one flat list of ATen calls, modules inlined, weights still on disk.
//! Nothing is interpreted yet: sizes are computed by calls like everything else, in-place calls are calls.

mod dtype;
mod program;
mod sizes;

pub use dtype::ScalarType;
pub use program::{Arg, Input, Node, Origin, Output, Parameter, Program, Size, ValueId};
pub use sizes::Declared;
