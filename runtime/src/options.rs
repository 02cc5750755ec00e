//! How a program is to be executed.

use crate::ane::AneRules;

/// Which precision values have while a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Arithmetic {
    /// Every float value is f32: constants the package stores in fp16 are widened, nothing is rounded on the way.
    F32,
    /// Every value an operation produces is rounded to the type the program declares. An fp16 operation takes fp16
    /// values, accumulates in f32 and rounds its result once.
    #[default]
    AsWritten,
    /// As written, and fp16 operations by these rules of the Neural Engine: a prediction from published measurements.
    /// Operations of other types don't run there and are computed as written.
    Ane(AneRules),
}

impl Arithmetic {
    /// `f32`, `as-written` or `ane`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::AsWritten => "as-written",
            Self::Ane(_) => "ane",
        }
    }
}

/// What to compile a program for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Precision of values.
    pub arithmetic: Arithmetic,
    /// Threads to compute with; `None` uses as many as the machine offers. Results do not depend on it.
    pub threads: Option<usize>,
    /// The most bytes that decoded constants, packed weights and buffers may take together, so that a small file
    /// that declares huge tensors is refused instead of exhausting the machine.
    pub memory_limit: u64,
}

impl Options {
    /// 32 GiB: more than any model a package may hold unrolls to.
    pub const DEFAULT_MEMORY_LIMIT: u64 = 32 << 30;

    /// All threads and the default memory limit.
    pub const fn new(arithmetic: Arithmetic) -> Self {
        Self {
            arithmetic,
            threads: None,
            memory_limit: Self::DEFAULT_MEMORY_LIMIT,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new(Arithmetic::default())
    }
}
