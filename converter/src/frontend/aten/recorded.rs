//! What an export says of the tensors between calls, to hold against what is inferred of them.

use super::dtype::ScalarType;

/// What an export says of a tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    /// Name in the export's graph.
    pub name: String,
    /// Element type; `None` for those corer does not compute with.
    pub dtype: Option<ScalarType>,
    /// Sizes.
    pub shape: Vec<RecordedSize>,
}

/// A size an export records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordedSize {
    /// Whatever the inputs' sizes.
    Fixed(u64),
    /// For the example inputs, where it is known.
    Example(Option<u64>),
}

impl Recorded {
    /// Whether these are the sizes the example inputs gave.
    pub(super) fn is_example(&self, shape: &[u64]) -> bool {
        self.fits(shape, true)
    }

    /// What contradicts the record, in words. `example` tells that the inputs have the sizes they were exported with,
    /// so that those which depend on them must come out the same as well.
    pub(super) fn contradiction(&self, dtype: ScalarType, shape: &[u64], example: bool) -> Option<String> {
        let same_type = self.dtype.is_none_or(|recorded| recorded == dtype);
        (!same_type || !self.fits(shape, example)).then(|| {
            let sizes: Vec<String> = self.shape.iter().map(RecordedSize::to_string).collect();
            let recorded = self.dtype.map_or_else(String::new, |dtype| format!("{dtype} "));
            format!(
                "gives {dtype} {shape:?}, the export records {recorded}[{}] for `{}`: the file contradicts itself, or \
                 corer misreads this call; export the model again, and report it if that does not help",
                sizes.join(", "),
                self.name
            )
        })
    }

    fn fits(&self, shape: &[u64], example: bool) -> bool {
        let fits = |(recorded, size): (&RecordedSize, &u64)| match recorded {
            RecordedSize::Fixed(recorded) => recorded == size,
            RecordedSize::Example(Some(recorded)) => !example || recorded == size,
            RecordedSize::Example(None) => true,
        };
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(fits)
    }
}

impl std::fmt::Display for RecordedSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Example(Some(size)) => write!(f, "{size} for the example"),
            Self::Example(None) => f.write_str("?"),
        }
    }
}
