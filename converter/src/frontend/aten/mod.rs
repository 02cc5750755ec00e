//! ATen programs: what traces and exports say once their file format is behind them.
//!
//! A frontend reads a file into a [`Program`]: one flat list of ATen calls, modules inlined, weights still on disk.
//! Sizes are computed by calls like everything else, in-place calls are calls. `import` reads them in order,
//! with concrete input sizes, into the graph.

mod array;
mod call;
mod context;
mod dtype;
mod import;
mod names;
mod ops;
mod program;
mod promote;
mod recorded;
mod sizes;
mod value;

pub use dtype::ScalarType;
pub(crate) use import::{Inputs, import};
pub use ops::supported;
pub use program::{Arg, Input, Node, Origin, Output, Parameter, Program, Size, ValueId};
pub use recorded::{Recorded, RecordedSize};
pub use sizes::Declared;
