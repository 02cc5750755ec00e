//! Why a model can't be compressed as asked.

use std::path::PathBuf;

use corer_mil::{Opset, Target, WeightError};

use crate::scheme::SchemeError;

/// Why a model can't be compressed as asked.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A scheme's spelling.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// A configuration file.
    #[error("{}{}: {reason}", .path.display(), .line.map_or_else(String::new, |line| format!(":{line}")))]
    Config {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1, where known.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// The program's opset can't express a scheme.
    #[error(
        "weight `{weight}`: `{scheme}` needs {what}, which came with {needs}; function `{function}` is written for {} ({opset})",
        .opset.target()
    )]
    Opset {
        /// Function name.
        function: String,
        /// Name of the weight.
        weight: String,
        /// The scheme.
        scheme: String,
        /// What of it is too new.
        what: &'static str,
        /// The oldest target that has it.
        needs: Target,
        /// The function's opset.
        opset: Opset,
    },
    /// The program can't be written for a newer target.
    #[error("function `{function}` can't be raised to {target}: {reason}")]
    Raise {
        /// Function name.
        function: String,
        /// The wanted target.
        target: Target,
        /// What stands in the way.
        reason: String,
    },
    /// A weight holds something that has no place in a compressed form.
    #[error(
        "weight `{weight}`: element {index} is {value}; only finite weights can be compressed (skip it in a config file)"
    )]
    NotFinite {
        /// Name of the weight.
        weight: String,
        /// Row-major index.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// No weight at all could be given the scheme it was to have.
    #[error("no weight can be compressed to {scheme}: {reason}")]
    Nothing {
        /// The scheme.
        scheme: String,
        /// The first weight's reason.
        reason: String,
    },
    /// A weight's bytes can't be read.
    #[error("weight `{weight}` can't be read")]
    Weight {
        /// Name of the weight.
        weight: String,
        /// Why.
        source: WeightError,
    },
    /// A compressed weight can't be decompressed.
    #[error("weight `{weight}` can't be decompressed: {reason}")]
    Decompress {
        /// Name of the weight.
        weight: String,
        /// Why.
        reason: String,
    },
    /// The model can't be run on the calibration texts, or what it computes is of no use.
    #[error("calibration: {reason}")]
    Calibration {
        /// What went wrong.
        reason: String,
    },
    /// The disk.
    #[error("{}: room for compressed weights can't be had", .path.display())]
    Spill {
        /// Directory of the temporary file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Threads.
    #[error("no threads to work with: {reason}")]
    Threads {
        /// The system's reason.
        reason: String,
    },
}
