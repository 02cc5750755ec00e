//! Compressed variants of ML Programs: linear, palettized, sparse, joined.
//!
//! [`quantize`] takes a program whose weights lie anywhere and gives one whose weights are `constexpr_*` operations;
//! [`plan`] says what it would do. Weights are read in pieces and their codes go to a temporary file, so memory does
//! not grow with the model. Which weight gets which [`Scheme`] is said by a [`Config`].

mod blocks;
pub mod calibrate;
mod codec;
pub mod config;
mod decompress;
mod dense;
mod emit;
pub mod error;
mod grid;
mod kmeans;
mod linear;
mod mask;
mod names;
mod pack;
mod palette;
pub mod progress;
mod raise;
pub mod report;
mod rules;
mod run;
mod sample;
pub mod scheme;
mod sites;
mod spill;
mod store;
mod stored;
mod variant;
mod vector;
mod vectorised;

pub use calibrate::{Calibration, CalibrationRow};
pub use config::{Config, DEFAULT_THRESHOLD, Rule, Wanted};
pub use corer_runtime::Tensor;
pub use error::QuantizeError;
pub use progress::{NoProgress, Progress};
pub use report::{Report, Totals, WeightReport};
pub use rules::Warning;
pub use run::{Quantized, Request, plan, quantize};
pub use scheme::{Scheme, SchemeError};
pub use stored::{StoredWeight, stored_weights};
