//! References that read a source the way the converter does, and compute it another way.
//!
//! [`GraphReference`] takes what a frontend read, before any pass and without lowering, and computes it operation by
//! operation in f32. It shares the reading of the source with the converter and nothing after that: an error of a pass,
//! a lowering, a weight's order or the package's bytes shows; an error of reading is for candle and for recordings of
//! PyTorch to find.

mod bounds;
mod interpret;
mod source_graph;

pub use interpret::ComputeError;
pub use source_graph::GraphReference;
