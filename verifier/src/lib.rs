//! Judges a written package against its source.
//!
//! [`verify()`] executes a package, as it stands on disk, on this CPU, has a [`Reference`] compute the same inputs, and
//! returns a [`VerifyReport`] with a [`Verdict`]. The report serialises to JSON, displays as a table and
//! [`render`]s to what people and CI read. Any [`Reference`]
//! will do; those here share no code with the converter.

mod bounds;
mod buckets;
mod drift;
mod drift_table;
mod error;
pub mod inputs;
mod interface;
pub mod metrics;
mod numerics_table;
mod pairing;
mod probes;
mod progress;
pub mod reference;
pub mod render;
pub mod report;
mod tensor;
mod verdict;
mod verify;

pub use corer_runtime::Arithmetic;
pub use corer_runtime::{AneRules, UnknownRule};
pub use drift::{Drift, drift};
pub use error::{InputError, ReferenceError, VerifyError};
pub use inputs::{Inputs, Labels};
pub use progress::{NoProgress, Progress};
pub use reference::Reference;
pub use reference::candle::{CandleReference, Task};
pub use reference::golden::GoldenReference;
pub use reference::package::PackageReference;
pub use report::VerifyReport;
pub use tensor::Tensor;
pub use verdict::{Drops, Gate, GateReport, Reason, ThresholdOverrides, Thresholds, Verdict};
pub use verify::{Numerics, VerifyRequest, verify};
