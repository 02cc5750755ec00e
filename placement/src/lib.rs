//! Where each operation of an ML Program will run on an Apple chip, and why: a prediction, made without the chip.
//!
//! Nothing here was measured by corer. [`rules`] names every rule with its evidence, [`chip`] what is published about
//! the chips. [`explain()`] puts together what the Neural Engine can't take ([`support`]), what the published cost model
//! does with the rest ([`segment`], [`decision`]), the least time a chip needs ([`roofline`]) and what to change
//! ([`lints`]). [`recommend()`] names the units to ask for.

pub mod chip;
pub mod decision;
pub mod explain;
pub mod graph;
pub mod lints;
pub mod page;
pub mod recommend;
pub mod roofline;
pub mod rules;
pub mod segment;
pub mod support;
pub mod work;

pub use chip::{Chip, Os};
pub use explain::{Error, Explanation, FunctionExplanation, OperationExplanation, Unit, explain};
pub use recommend::{ComputeUnits, Measurements, Recommendation, recommend};
pub use rules::{Grade, Rule};
