//! The sizes a package takes: what was asked for, and the form it is given in.
//!
//! One size makes one fixed shape. Several make *buckets*: a function per bucket over one copy of the weights
//! (iOS 18), or one function with enumerated shapes. A range makes one function that takes every size within it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use corer_mil::{Dim, Target};

use crate::error::ConvertError;
use crate::request::Buckets;

/// Most shapes an input may enumerate, and most functions corer writes (coremltools' `EnumeratedShapes` has the
/// same limit).
pub const MOST_BUCKETS: usize = 128;

/// Metadata key of the form several sizes are given in.
pub const BUCKETS_KEY: &str = "corer.buckets";

/// Metadata key of the default among several sizes, and why it is that.
pub const DEFAULT_KEY: &str = "corer.buckets.default";

/// Why the default is what it is.
const DEFAULT_REASON: &str = "the longest, so that a caller who chooses none has no text cut";

/// Rules S11 and S12.
const ENUMERATED: &str = "enumerated shapes: Apple says they keep to the Neural Engine, others measured none of it \
    used (one conformer, M1 Pro); look at the compute plan on a device, or have one function of fixed shape per size \
    (--buckets functions, from ios18 on)";

/// Rule S9.
const RANGE: &str = "a range of sizes keeps a model off the Neural Engine: Core ML runs it on CPU and GPU; list the \
    sizes that matter (32,64,128) with --target ios18 to have a function of fixed shape for each";

/// Sizes of one dimension of the inputs.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sizes(Kind);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Kind {
    /// Ascending, at least one, no two equal.
    Listed(Vec<u64>),
    Range(Extent),
}

impl Sizes {
    /// One or several sizes, in any order.
    ///
    /// # Errors
    /// When there is none, one is 0, or two are equal.
    pub fn listed(sizes: impl Into<Vec<u64>>) -> Result<Self, String> {
        let mut sizes = sizes.into();
        sizes.sort_unstable();
        if sizes.is_empty() {
            return Err("names no size".into());
        }
        if sizes[0] == 0 {
            return Err("a size must be at least 1".into());
        }
        match sizes.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("{} is named twice", pair[0])),
            None => Ok(Self(Kind::Listed(sizes))),
        }
    }

    /// Every size from `least` to `most`.
    ///
    /// # Errors
    /// When `least` is 0 or above `most`.
    pub fn range(least: u64, most: u64) -> Result<Self, String> {
        match (least, most) {
            (0, _) => Err("a size must be at least 1".into()),
            _ if least > most => Err(format!("{least} to {most} holds no size")),
            _ if least == most => Ok(least.into()),
            _ => Ok(Self(Kind::Range(Extent { least, most }))),
        }
    }

    /// The smallest and largest size.
    pub fn extent(&self) -> Extent {
        match &self.0 {
            Kind::Listed(sizes) => Extent {
                least: sizes[0],
                most: sizes[sizes.len() - 1],
            },
            Kind::Range(extent) => *extent,
        }
    }

    /// Whether every size between two ends is meant.
    pub fn is_range(&self) -> bool {
        matches!(self.0, Kind::Range(_))
    }

    /// The sizes, when they are listed.
    fn list(&self) -> Option<&[u64]> {
        match &self.0 {
            Kind::Listed(sizes) => Some(sizes),
            Kind::Range(_) => None,
        }
    }

    /// The size, when there is one.
    fn one(&self) -> Option<u64> {
        self.extent().known()
    }
}

impl From<u64> for Sizes {
    fn from(size: u64) -> Self {
        Self(Kind::Listed(vec![size]))
    }
}

impl FromStr for Sizes {
    type Err = String;

    /// `128`, `32,64,128`, or `1..512` with both ends included.
    fn from_str(text: &str) -> Result<Self, String> {
        let size = |text: &str| {
            text.trim()
                .parse::<u64>()
                .map_err(|_| format!("`{}` is not a size; say 128, 32,64,128 or 1..512", text.trim()))
        };
        match text.split_once("..") {
            Some((least, most)) => {
                let most = most.strip_prefix('=').unwrap_or(most);
                if least.trim().is_empty() || most.trim().is_empty() {
                    return Err(
                        "a range needs both ends (1..512): an ML Program takes no unbounded size".into(),
                    );
                }
                Self::range(size(least)?, size(most)?)
            }
            None => Self::listed(text.split(',').map(size).collect::<Result<Vec<_>, _>>()?),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Range(Extent { least, most }) => write!(f, "{least}..{most}"),
            Kind::Listed(sizes) => {
                let sizes: Vec<_> = sizes.iter().map(u64::to_string).collect();
                f.write_str(&sizes.join(","))
            }
        }
    }
}

/// The smallest and the largest size of one dimension.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// Smallest.
    pub least: u64,
    /// Largest.
    pub most: u64,
}

impl Extent {
    /// The size, when it is the only one.
    pub fn known(self) -> Option<u64> {
        (self.least == self.most).then_some(self.most)
    }
}

impl From<u64> for Extent {
    fn from(size: u64) -> Self {
        Self {
            least: size,
            most: size,
        }
    }
}

/// Sizes a source is read for: each fixed, or open between two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputShape {
    /// Rows.
    pub batch: Extent,
    /// Tokens per row.
    pub tokens: Extent,
}

impl InputShape {
    /// Whether neither size is open.
    pub fn is_known(&self) -> bool {
        self.batch.known().is_some() && self.tokens.known().is_some()
    }

    /// The batch as a dimension of the graph.
    pub fn batch_dim(&self) -> Dim {
        self.batch.known().map_or(Dim::Symbol(0), Dim::Known)
    }

    /// The tokens as a dimension of the graph.
    pub fn tokens_dim(&self) -> Dim {
        self.tokens.known().map_or(Dim::Symbol(1), Dim::Known)
    }
}

/// Rows and tokens of one accepted input.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Shape {
    /// Rows.
    pub batch: u64,
    /// Tokens per row.
    pub tokens: u64,
}

impl From<Shape> for InputShape {
    fn from(shape: Shape) -> Self {
        Self {
            batch: shape.batch.into(),
            tokens: shape.tokens.into(),
        }
    }
}

/// The sizes a package takes, in the form it takes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shapes {
    /// One function `main` of one shape.
    Fixed(Shape),
    /// One function per shape.
    Functions {
        /// Names and shapes, shortest first.
        functions: Vec<(String, Shape)>,
    },
    /// One function `main` that takes any of these.
    Enumerated {
        /// The shapes, shortest first.
        shapes: Vec<Shape>,
    },
    /// One function `main` that takes everything in between.
    Range(InputShape),
}

impl Shapes {
    /// The shapes of a package for `target` that takes every batch with every length.
    ///
    /// # Errors
    /// Sizes that go in no form, or not in the one asked for.
    pub fn new(
        batch: &Sizes,
        tokens: &Sizes,
        buckets: Buckets,
        target: Target,
    ) -> Result<Self, ConvertError> {
        let refuse = |reason: String| {
            Err(ConvertError::Request {
                flag: "--buckets",
                reason,
            })
        };
        for (flag, sizes) in [("--batch-size", batch), ("--sequence-length", tokens)] {
            if sizes.extent().least == 0 {
                let reason = "a size must be at least 1".into();
                return Err(ConvertError::Request { flag, reason });
            }
        }
        if let (Some(batch), Some(tokens)) = (batch.one(), tokens.one()) {
            if buckets != Buckets::Auto {
                return refuse(format!(
                    "{} asks for several sizes, and there is one",
                    buckets.name()
                ));
            }
            return Ok(Self::Fixed(Shape { batch, tokens }));
        }
        let (batches, lengths) = match (batch.list(), tokens.list()) {
            (Some(batches), Some(lengths)) => (batches, lengths),
            (Some([_, _, ..]), _) | (_, Some([_, _, ..])) => {
                return Err(ConvertError::Request {
                    flag: "--batch-size",
                    reason: format!("a list and a range don't go together: {batch} with lengths {tokens}"),
                });
            }
            _ if buckets != Buckets::Auto => {
                return refuse(format!(
                    "{} asks for a list of sizes, not a range",
                    buckets.name()
                ));
            }
            _ => {
                return Ok(Self::Range(InputShape {
                    batch: batch.extent(),
                    tokens: tokens.extent(),
                }));
            }
        };
        let count = batches.len().saturating_mul(lengths.len());
        if count > MOST_BUCKETS {
            return refuse(format!(
                "these sizes make {count} buckets, and a package may have {MOST_BUCKETS}; a range takes any number"
            ));
        }
        let shapes = lengths
            .iter()
            .flat_map(|tokens| batches.iter().map(|batch| (*batch, *tokens)))
            .map(|(batch, tokens)| Shape { batch, tokens });
        let several_functions = target >= Target::Ios18;
        match buckets {
            Buckets::Functions if !several_functions => refuse(format!(
                "several functions need --target ios18 or newer, this is {target}"
            )),
            Buckets::Functions | Buckets::Auto if several_functions => {
                let name = |shape: Shape| {
                    let mut parts = Vec::with_capacity(2);
                    if batches.len() > 1 {
                        parts.push(format!("batch{}", shape.batch));
                    }
                    if lengths.len() > 1 {
                        parts.push(format!("seq{}", shape.tokens));
                    }
                    parts.join("_")
                };
                Ok(Self::Functions {
                    functions: shapes.map(|shape| (name(shape), shape)).collect(),
                })
            }
            _ => Ok(Self::Enumerated {
                shapes: shapes.collect(),
            }),
        }
    }

    /// The shape of a caller who chooses none: the longest, so that no text is cut, and the smallest batch.
    pub fn default_shape(&self) -> Shape {
        let best = |shapes: &mut dyn Iterator<Item = Shape>| {
            shapes.max_by_key(|shape| (shape.tokens, std::cmp::Reverse(shape.batch)))
        };
        match self {
            Self::Fixed(shape) => Some(*shape),
            Self::Functions { functions } => best(&mut functions.iter().map(|(_, shape)| *shape)),
            Self::Enumerated { shapes } => best(&mut shapes.iter().copied()),
            Self::Range(shape) => Some(Shape {
                batch: shape.batch.least,
                tokens: shape.tokens.most,
            }),
        }
        // Neither list is ever empty.
        .unwrap_or(Shape { batch: 1, tokens: 1 })
    }

    /// The function of a caller who chooses none; `None` where there is only `main`.
    pub fn default_function(&self) -> Option<&str> {
        let Self::Functions { functions } = self else {
            return None;
        };
        let default = self.default_shape();
        let found = functions.iter().find(|(_, shape)| *shape == default);
        found.map(|(name, _)| name.as_str())
    }

    /// Adds to the package's metadata which shape is the default and why, and to `notes` what the form costs.
    pub(crate) fn describe(&self, metadata: &mut BTreeMap<String, String>, notes: &mut Vec<String>) {
        let Shape { batch, tokens } = self.default_shape();
        let form = match self {
            Self::Fixed(_) => return,
            Self::Functions { .. } => "functions",
            Self::Enumerated { .. } => {
                notes.push(ENUMERATED.into());
                "enumerated"
            }
            Self::Range(_) => {
                notes.push(RANGE.into());
                "range"
            }
        };
        let default = match self.default_function() {
            Some(name) => name.to_owned(),
            None => format!("{batch} x {tokens}"),
        };
        metadata.insert(BUCKETS_KEY.into(), form.into());
        metadata.insert(DEFAULT_KEY.into(), format!("{default}: {DEFAULT_REASON}"));
    }

    /// Smallest and largest sizes over all shapes.
    pub fn extent(&self) -> InputShape {
        let over = |shapes: &mut dyn Iterator<Item = Shape>| {
            let shapes: Vec<Shape> = shapes.collect();
            let extent = |size: fn(&Shape) -> u64| Extent {
                least: shapes.iter().map(size).min().unwrap_or(1),
                most: shapes.iter().map(size).max().unwrap_or(1),
            };
            InputShape {
                batch: extent(|shape| shape.batch),
                tokens: extent(|shape| shape.tokens),
            }
        };
        match self {
            Self::Fixed(shape) => (*shape).into(),
            Self::Functions { functions } => over(&mut functions.iter().map(|(_, shape)| *shape)),
            Self::Enumerated { shapes } => over(&mut shapes.iter().copied()),
            Self::Range(shape) => *shape,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Sizes {
        text.parse().expect("sizes")
    }

    fn shapes(batch: &str, tokens: &str, buckets: Buckets, target: Target) -> Result<Shapes, String> {
        Shapes::new(&sizes(batch), &sizes(tokens), buckets, target).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_read_as_they_are_shown() {
        for text in ["128", "32,64,128", "1..512"] {
            assert_eq!(sizes(text).to_string(), text);
        }
        assert_eq!(sizes("128, 32,64").to_string(), "32,64,128");
        assert_eq!(sizes("1..=512"), sizes("1..512"));
        assert_eq!(sizes("64..64"), 64.into());
    }

    #[test]
    fn impossible_sizes_say_why() {
        for (text, reason) in [
            ("", "not a size"),
            ("32,", "not a size"),
            ("-4", "not a size"),
            ("0", "at least 1"),
            ("64,0", "at least 1"),
            ("0..4", "at least 1"),
            ("32,64,32", "32 is named twice"),
            ("512..1", "holds no size"),
            ("1..", "both ends"),
            ("..512", "both ends"),
            ("99999999999999999999", "not a size"),
        ] {
            let error = text.parse::<Sizes>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_list_makes_functions_from_ios18_on_and_enumerated_shapes_before() {
        let Ok(Shapes::Functions { functions }) = shapes("1", "64,32", Buckets::Auto, Target::Ios18) else {
            panic!("no functions")
        };
        let names: Vec<&str> = functions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["seq32", "seq64"]);
        for (target, buckets) in [
            (Target::Ios17, Buckets::Auto),
            (Target::Ios18, Buckets::Enumerated),
        ] {
            assert!(matches!(
                shapes("1", "32,64", buckets, target),
                Ok(Shapes::Enumerated { .. })
            ));
        }
        let error = shapes("1", "32,64", Buckets::Functions, Target::Ios17).expect_err("too old");
        assert!(error.contains("ios18"), "{error}");
    }

    #[test]
    fn names_say_what_varies() {
        let Ok(Shapes::Functions { functions }) = shapes("1,4", "32,64", Buckets::Auto, Target::Ios26) else {
            panic!("no functions")
        };
        let names: Vec<&str> = functions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["batch1_seq32", "batch4_seq32", "batch1_seq64", "batch4_seq64"]
        );
        let Ok(Shapes::Functions { functions }) = shapes("1,4", "32", Buckets::Auto, Target::Ios26) else {
            panic!("no functions")
        };
        assert_eq!(functions[1].0, "batch4");
    }

    #[test]
    fn the_default_is_the_longest_with_the_smallest_batch() {
        for target in [Target::Ios17, Target::Ios18] {
            let default = shapes("1,4", "32,64", Buckets::Auto, target)
                .expect("shapes")
                .default_shape();
            assert_eq!((default.batch, default.tokens), (1, 64));
        }
        let range = shapes("2..8", "1..512", Buckets::Auto, Target::Ios16).expect("a range");
        assert_eq!(
            range.default_shape(),
            Shape {
                batch: 2,
                tokens: 512
            }
        );
    }

    #[test]
    fn forms_that_don_t_go_with_the_sizes_are_refused() {
        for (batch, tokens, buckets, reason) in [
            ("1", "128", Buckets::Functions, "there is one"),
            ("1", "1..128", Buckets::Enumerated, "not a range"),
            ("1,2", "1..128", Buckets::Auto, "don't go together"),
            ("1..4", "32,64", Buckets::Auto, "don't go together"),
        ] {
            let error = shapes(batch, tokens, buckets, Target::Ios18).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
        let many: Vec<String> = (1..=129).map(|size| size.to_string()).collect();
        for buckets in [Buckets::Functions, Buckets::Enumerated] {
            let error = shapes("1", &many.join(","), buckets, Target::Ios18).expect_err("too many");
            assert!(error.contains("128"), "{error}");
        }
        assert!(shapes("1", &many[..128].join(","), Buckets::Enumerated, Target::Ios18).is_ok());
    }
}
