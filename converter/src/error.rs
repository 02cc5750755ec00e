//! Everything that can stop a conversion, each saying where and what to do.

use corer_mil::BuildError;

use crate::graph::GraphError;
use crate::source::SourceError;

/// Why a source was not converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The checkpoint can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The configuration says something impossible or unsupported.
    #[error("{file}: `{key}` {reason}")]
    Config {
        /// Configuration file.
        file: String,
        /// Key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint is of a model corer does not know.
    #[error("{file}: {found} is not supported; supported: {}", supported.join(", "))]
    Architecture {
        /// Configuration file.
        file: String,
        /// What it names.
        found: String,
        /// What corer converts.
        supported: Vec<String>,
    },
    /// A traced or exported program does what is not converted.
    #[error("{place}: {reason}")]
    Import {
        /// File, input or call.
        place: String,
        /// What it does, and what would do.
        reason: String,
    },
    /// The tensors don't match the configuration.
    #[error("{0}")]
    Tensors(TensorMismatch),
    /// The request asks what this model can't give.
    #[error("{flag}: {reason}")]
    Request {
        /// The flag at fault.
        flag: &'static str,
        /// Why, and what would do.
        reason: String,
    },
    /// The model uses operators there is no reading for.
    #[error("{file}: {} of its operators can't be converted yet:{}", ops.len(), listed(ops))]
    UnsupportedOps {
        /// The file.
        file: String,
        /// All of them, by name.
        ops: Vec<UnsupportedOp>,
    },
    /// A call of the model that can't be converted.
    #[error("{file}: {op} at {place}: {reason}")]
    Program {
        /// The file.
        file: String,
        /// Module path and place in the file.
        place: String,
        /// Operator.
        op: String,
        /// What is wrong.
        reason: String,
    },
    /// The graph does not hold together.
    #[error("after `{stage}`: {error}")]
    Graph {
        /// Frontend or pass.
        stage: String,
        /// The node at fault.
        #[source]
        error: GraphError,
    },
    /// The lowering met something it has no form for.
    #[error("{scope}: {op} can't be lowered: {reason}")]
    Lowering {
        /// Module path.
        scope: String,
        /// Operation.
        op: String,
        /// Why.
        reason: String,
    },
    /// The op table refused what the lowering wrote.
    #[error("lowering wrote an operation the op table refuses")]
    Build(#[from] BuildError),
}

/// An operator there is no reading for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnsupportedOp {
    /// Name: `aten::conv1d`.
    pub name: String,
    /// How often the model calls it.
    pub count: usize,
    /// Where it does, the first few.
    pub places: Vec<String>,
}

/// One line per operator.
fn listed(ops: &[UnsupportedOp]) -> String {
    let line = |op: &UnsupportedOp| {
        let more = if op.count > op.places.len() { ", …" } else { "" };
        format!(
            "\n    {} ({}×): {}{more}",
            op.name,
            op.count,
            op.places.join(", ")
        )
    };
    ops.iter().map(line).collect()
}

/// Tensors that are missing, of the wrong shape, or not accounted for, all at once.
#[derive(Debug, Default)]
pub struct TensorMismatch {
    /// Checkpoint file or directory.
    pub place: String,
    /// Name wanted, shape wanted, names that come near.
    pub missing: Vec<(String, Vec<u64>, Vec<String>)>,
    /// Name, shape wanted, shape found.
    pub misshapen: Vec<(String, Vec<u64>, Vec<u64>)>,
    /// Names present that nothing uses.
    pub extra: Vec<String>,
}

impl TensorMismatch {
    /// Whether anything stops the conversion.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty()
    }
}

/// Longest list an error message spells out.
const MOST_LISTED: usize = 12;

impl std::fmt::Display for TensorMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: the tensors don't match config.json", self.place)?;
        let rest = |f: &mut std::fmt::Formatter<'_>, count: usize| match count.checked_sub(MOST_LISTED) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n    … and {more} more"),
        };
        if !self.missing.is_empty() {
            write!(f, "\n  missing ({}):", self.missing.len())?;
            for (name, shape, near) in self.missing.iter().take(MOST_LISTED) {
                write!(f, "\n    {name} {shape:?}")?;
                if !near.is_empty() {
                    write!(f, " (there is {})", near.join(", "))?;
                }
            }
            rest(f, self.missing.len())?;
        }
        if !self.misshapen.is_empty() {
            write!(f, "\n  of another shape ({}):", self.misshapen.len())?;
            for (name, wanted, found) in self.misshapen.iter().take(MOST_LISTED) {
                write!(f, "\n    {name}: {found:?}, config.json makes it {wanted:?}")?;
            }
            rest(f, self.misshapen.len())?;
        }
        if !self.extra.is_empty() {
            write!(f, "\n  not used ({}):", self.extra.len())?;
            for name in self.extra.iter().take(MOST_LISTED) {
                write!(f, "\n    {name}")?;
            }
            rest(f, self.extra.len())?;
        }
        Ok(())
    }
}
