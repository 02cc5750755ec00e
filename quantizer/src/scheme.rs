//! What a weight is compressed to, and how that is spelled: `int8`, `int4-block32`, `lut4-g16`, `sparse50+lut4`.

use std::fmt;
use std::str::FromStr;

use corer_mil::{Opset, Target};

/// How one weight is to be stored.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scheme {
    /// Which elements become zero and are not stored.
    pub prune: Option<Prune>,
    /// How the others are stored.
    pub coding: Coding,
}

/// How elements are stored.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Coding {
    /// As they are.
    Dense,
    /// Integers with a scale.
    Linear(Linear),
    /// Indices into a table.
    Palette(Palette),
}

/// Which elements become zero.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Prune {
    /// The share (0 to 1) of a weight's elements with the smallest magnitudes.
    Ratio(f64),
    /// Those of at most this magnitude.
    Threshold(f32),
    /// The `zeros` smallest of each `of` neighbours along the input channels.
    Neighbours {
        /// Elements zeroed.
        zeros: usize,
        /// Out of so many.
        of: usize,
    },
    /// As [`Self::Ratio`], but blocks of neighbouring output channels together, by their root of summed squares.
    Blocks {
        /// Share of blocks, 0 to 1.
        ratio: f64,
        /// Output channels in a block.
        size: usize,
    },
}

/// Integers with a scale and, when affine, an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Linear {
    /// 4 or 8.
    pub bits: u32,
    /// Two's complement rather than from zero up.
    pub signed: bool,
    /// With an offset of its own per scale rather than about zero.
    pub affine: bool,
    /// What shares a scale.
    pub granularity: Granularity,
    /// How the scale is found.
    pub range: Range,
}

/// What shares a scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granularity {
    /// The whole weight.
    Tensor,
    /// One output channel.
    Channel,
    /// So many neighbouring input channels of one output channel.
    Block(usize),
}

/// How a scale is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// The largest magnitude just fits.
    Full,
    /// The scale with the least squared error, outliers clipped if need be; never a larger error than
    /// [`Self::Full`].
    Fitted,
}

/// Indices into a table of values or vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Palette {
    /// 1, 2, 3, 4, 6 or 8; for [`Mode::Unique`], `None` takes as many as needed.
    pub bits: Option<u32>,
    /// How the table is found.
    pub mode: Mode,
    /// Channels that share a table; `None` for the whole weight.
    pub group: Option<usize>,
    /// The axis the groups are along; chosen by the weight when `None`.
    pub axis: Option<usize>,
    /// Elements along the output channels that share an index; 1 for scalars.
    pub vector: usize,
    /// Whether the table's entries are int8 with a scale.
    pub int8_entries: bool,
}

/// How a table is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The least squared error.
    KMeans,
    /// Equal steps from the smallest value to the largest.
    Uniform,
    /// The weight's own values; only for weights that have few.
    Unique,
}

/// A scheme that is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is no weight scheme: {reason}")]
pub struct SchemeError {
    /// What was asked for.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Widths a palette's index may have.
pub const PALETTE_BITS: [u32; 6] = [1, 2, 3, 4, 6, 8];

/// The spellings, for messages and help.
pub const SPELLINGS: &str = "\
fp16 · int8 · uint8 · int4 · uint4, with -affine, -tensor, -blockN, -fitted, -full · lut1 · lut2 · lut3 · lut4 · lut6 · lut8 · \
lut-unique, with -gN, -axisN, -vN, -uniform, -unique · sparse50 · sparse2:4 · sparse50-blockN · sparse-below0.01 · \
joined with +: sparse50+lut4, sparse50+int8, lut4+int8";

impl Scheme {
    /// Dense fp16 (or fp32, where the program is).
    pub const DENSE: Self = Self {
        prune: None,
        coding: Coding::Dense,
    };

    /// Whether nothing is compressed.
    pub fn is_dense(&self) -> bool {
        *self == Self::DENSE
    }

    /// The oldest target that can express it, and what about it needs that.
    pub fn needs(&self) -> (Target, &'static str) {
        match (self.prune, self.coding) {
            (None, Coding::Dense) => (Target::Ios15, "dense weights"),
            (Some(_), Coding::Dense) => (Target::Ios16, "sparse weights"),
            (Some(_), _) => (Target::Ios18, "sparse weights joined with another form"),
            (None, Coding::Linear(linear)) => match linear {
                Linear { bits: 4, .. } => (Target::Ios18, "4-bit integers"),
                Linear {
                    granularity: Granularity::Block(_),
                    ..
                } => (Target::Ios18, "scales per block"),
                _ => (Target::Ios16, "8-bit integers"),
            },
            (None, Coding::Palette(palette)) => match palette {
                Palette {
                    int8_entries: true, ..
                } => (Target::Ios18, "int8 palette entries"),
                Palette { group: Some(_), .. } => (Target::Ios18, "palettes per group of channels"),
                Palette { vector: 2.., .. } => (Target::Ios18, "palettes of vectors"),
                Palette { bits: Some(3), .. } => (Target::Ios18, "3-bit palettes"),
                _ => (Target::Ios16, "palettes"),
            },
        }
    }

    /// Whether `opset` can express it.
    pub fn fits(&self, opset: Opset) -> bool {
        self.needs().0.opset() <= opset
    }
}

impl Linear {
    /// The smallest and largest code. Symmetric 8-bit codes leave −128 out, as Core ML Tools does; 4-bit ones use all
    /// sixteen when fitted.
    pub const fn codes(&self) -> (i32, i32) {
        let span = 1 << self.bits;
        match (self.signed, self.affine, self.range) {
            (true, false, Range::Full) => (1 - span / 2, span / 2 - 1),
            (true, ..) => (-span / 2, span / 2 - 1),
            (false, false, Range::Full) => (0, span - 2),
            (false, ..) => (0, span - 1),
        }
    }

    /// The offset of symmetric codes.
    pub const fn middle(&self) -> i32 {
        match (self.signed, self.range) {
            (true, _) => 0,
            (false, Range::Full) => (1 << (self.bits - 1)) - 1,
            (false, Range::Fitted) => 1 << (self.bits - 1),
        }
    }
}

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(text: &str) -> Result<Self, SchemeError> {
        parse(text).map_err(|reason| SchemeError {
            text: text.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Scheme, String> {
    let mut scheme = Scheme::DENSE;
    let parts: Vec<&str> = text.split('+').collect();
    for (position, part) in parts.iter().enumerate() {
        let mut words = part.split('-');
        let head = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        if head.starts_with("sparse") {
            if position > 0 {
                return Err("`sparse` comes first".into());
            }
            scheme.prune = Some(prune(head, &words)?);
        } else if matches!(head, "fp16" | "fp32" | "dense" | "none") && parts.len() == 1 && words.is_empty() {
            return Ok(Scheme::DENSE);
        } else if let Some(rest) = head.strip_prefix("lut") {
            if scheme.coding != Coding::Dense {
                return Err("a weight has one coding".into());
            }
            scheme.coding = Coding::Palette(palette(rest, &words)?);
        } else if head.contains("int") {
            match &mut scheme.coding {
                Coding::Dense => scheme.coding = Coding::Linear(linear(head, &words)?),
                Coding::Palette(palette) if *part == "int8" && !palette.int8_entries => {
                    palette.int8_entries = true;
                }
                Coding::Palette(_) => return Err("a palette's entries may be int8 and nothing else".into()),
                Coding::Linear(_) => return Err("a weight has one coding".into()),
            }
        } else {
            return Err(unknown(part));
        }
    }
    Ok(scheme)
}

fn unknown(part: &str) -> String {
    format!("`{part}` is unknown; schemes are {SPELLINGS}")
}

fn number<T: FromStr>(word: &str, prefix: &str) -> Option<T> {
    word.strip_prefix(prefix)?.parse().ok()
}

fn linear(head: &str, words: &[&str]) -> Result<Linear, String> {
    let (signed, bits) = match head {
        "int8" => (true, 8),
        "uint8" => (false, 8),
        "int4" => (true, 4),
        "uint4" => (false, 4),
        _ => return Err(unknown(head)),
    };
    let mut linear = Linear {
        bits,
        signed,
        affine: false,
        granularity: Granularity::Channel,
        // Eight bits lose nearly nothing to an outlier, four do.
        range: if bits == 4 { Range::Fitted } else { Range::Full },
    };
    for word in words {
        match *word {
            "affine" => linear.affine = true,
            "tensor" => linear.granularity = Granularity::Tensor,
            "channel" => linear.granularity = Granularity::Channel,
            "full" => linear.range = Range::Full,
            "fitted" => linear.range = Range::Fitted,
            word => match number(word, "block") {
                Some(0) => return Err("a block has at least one element".into()),
                Some(size) => linear.granularity = Granularity::Block(size),
                None => return Err(unknown(word)),
            },
        }
    }
    Ok(linear)
}

fn palette(bits: &str, words: &[&str]) -> Result<Palette, String> {
    let mut palette = Palette {
        bits: None,
        mode: Mode::KMeans,
        group: None,
        axis: None,
        vector: 1,
        int8_entries: false,
    };
    if !bits.is_empty() {
        let width = bits.parse().ok().filter(|bits| PALETTE_BITS.contains(bits));
        palette.bits =
            Some(width.ok_or_else(|| format!("a palette has 1, 2, 3, 4, 6 or 8 bits, not `{bits}`"))?);
    }
    for word in words {
        match *word {
            "kmeans" => palette.mode = Mode::KMeans,
            "uniform" => palette.mode = Mode::Uniform,
            "unique" => palette.mode = Mode::Unique,
            word => {
                if let Some(axis) = number(word, "axis") {
                    palette.axis = Some(axis);
                } else if let Some(group) = number(word, "g") {
                    palette.group = Some(group);
                } else if let Some(vector) = number(word, "v") {
                    palette.vector = vector;
                } else {
                    return Err(unknown(word));
                }
            }
        }
    }
    if palette.vector > 16 {
        return Err("vectors have 16 elements at most".into());
    }
    if palette.group == Some(0) || palette.vector == 0 {
        return Err("groups and vectors have at least one element".into());
    }
    if palette.bits.is_none() && palette.mode != Mode::Unique {
        return Err("a palette needs a width: lut1, lut2, lut3, lut4, lut6 or lut8".into());
    }
    if palette.axis.is_some() && palette.group.is_none() && palette.vector == 1 {
        return Err("an axis goes with groups (-gN) or vectors (-vN)".into());
    }
    if palette.vector > 1 && palette.mode != Mode::KMeans {
        return Err("vectors are clustered by k-means only".into());
    }
    Ok(palette)
}

fn prune(head: &str, words: &[&str]) -> Result<Prune, String> {
    let amount = &head["sparse".len()..];
    if let Some((zeros, of)) = amount.split_once(':') {
        let (Ok(zeros), Ok(of), []) = (zeros.parse::<usize>(), of.parse::<usize>(), words) else {
            return Err("n:m sparsity is spelled like sparse2:4".into());
        };
        if zeros == 0 || zeros >= of {
            return Err("of m neighbours at least one is zeroed and one kept".into());
        }
        return Ok(Prune::Neighbours { zeros, of });
    }
    if amount.is_empty() {
        let threshold = match words {
            [word] => number::<f32>(word, "below"),
            _ => None,
        };
        let threshold = threshold.filter(|threshold| *threshold >= 0.0 && threshold.is_finite());
        return threshold
            .map(Prune::Threshold)
            .ok_or_else(|| "sparsity is spelled sparse50, sparse2:4 or sparse-below0.01".into());
    }
    let percent = amount.parse::<f64>().ok();
    let percent = percent.filter(|percent| *percent > 0.0 && *percent < 100.0);
    let ratio = percent.ok_or_else(|| format!("`{amount}` is no percentage between 0 and 100"))? / 100.0;
    match words {
        [] => Ok(Prune::Ratio(ratio)),
        [word] => match number(word, "block") {
            Some(size @ 2..) => Ok(Prune::Blocks { ratio, size }),
            _ => Err(unknown(word)),
        },
        _ => Err(unknown(words[1])),
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.prune, &self.coding) {
            (None, Coding::Dense) => f.write_str("fp16"),
            (None, coding) => coding.fmt(f),
            (Some(prune), Coding::Dense) => prune.fmt(f),
            (Some(prune), coding) => write!(f, "{prune}+{coding}"),
        }
    }
}

impl fmt::Display for Prune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Percentages come from text; a rounded product gives the text back.
        let percent = |ratio: f64| (ratio * 1e8).round() / 1e6;
        match self {
            Self::Ratio(ratio) => write!(f, "sparse{}", percent(*ratio)),
            Self::Threshold(threshold) => write!(f, "sparse-below{threshold}"),
            Self::Neighbours { zeros, of } => write!(f, "sparse{zeros}:{of}"),
            Self::Blocks { ratio, size } => write!(f, "sparse{}-block{size}", percent(*ratio)),
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense => f.write_str("fp16"),
            Self::Linear(linear) => {
                let sign = if linear.signed { "" } else { "u" };
                write!(f, "{sign}int{}", linear.bits)?;
                match linear.granularity {
                    Granularity::Tensor => f.write_str("-tensor")?,
                    Granularity::Channel => {}
                    Granularity::Block(size) => write!(f, "-block{size}")?,
                }
                if linear.affine {
                    f.write_str("-affine")?;
                }
                match (linear.bits, linear.range) {
                    (4, Range::Full) => f.write_str("-full"),
                    (8, Range::Fitted) => f.write_str("-fitted"),
                    _ => Ok(()),
                }
            }
            Self::Palette(palette) => {
                f.write_str("lut")?;
                if let Some(bits) = palette.bits {
                    write!(f, "{bits}")?;
                }
                match palette.mode {
                    Mode::KMeans => {}
                    Mode::Uniform => f.write_str("-uniform")?,
                    Mode::Unique => f.write_str("-unique")?,
                }
                if palette.vector > 1 {
                    write!(f, "-v{}", palette.vector)?;
                }
                if let Some(group) = palette.group {
                    write!(f, "-g{group}")?;
                }
                if let Some(axis) = palette.axis {
                    write!(f, "-axis{axis}")?;
                }
                if palette.int8_entries {
                    f.write_str("+int8")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_come_back() {
        for text in [
            "fp16",
            "int8",
            "uint8",
            "int8-tensor",
            "int8-affine",
            "uint8-block64-affine",
            "int4",
            "uint4",
            "int4-block32",
            "int4-full",
            "int8-fitted",
            "lut1",
            "lut8",
            "lut3",
            "lut-unique",
            "lut4-uniform",
            "lut6-g16",
            "lut4-g16-axis1",
            "lut4-v2",
            "lut2-v4-g8-axis0",
            "lut4+int8",
            "sparse50",
            "sparse2:4",
            "sparse12.5",
            "sparse75-block4",
            "sparse-below0.01",
            "sparse50+lut4",
            "sparse50+int8",
            "sparse2:4+lut4-g16+int8",
        ] {
            let scheme: Scheme = text.parse().unwrap();
            assert_eq!(scheme.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_scheme_says_what_would_be() {
        for text in [
            "",
            "int5",
            "lut5",
            "lut",
            "lut7",
            "int8+int8",
            "lut4+int4",
            "lut4+sparse50",
            "sparse0",
            "sparse100",
            "sparse4:2",
            "int4-block0",
            "lut4-g0",
            "lut4-axis1",
            "fp16+int8",
            "sparse",
            "int8-blockx",
            "banana",
            "lut4-v2-uniform",
            "lut4+int8+int8",
        ] {
            let error = text.parse::<Scheme>().unwrap_err();
            assert!(
                error.to_string().contains("is no weight scheme"),
                "{text}: {error}"
            );
        }
        assert!(
            "banana"
                .parse::<Scheme>()
                .unwrap_err()
                .to_string()
                .contains("int4")
        );
    }

    #[test]
    fn schemes_know_their_oldest_target() {
        for (text, target) in [
            ("int8", Target::Ios16),
            ("uint8-affine", Target::Ios16),
            ("int4", Target::Ios18),
            ("int8-block32", Target::Ios18),
            ("lut4", Target::Ios16),
            ("lut3", Target::Ios18),
            ("lut4-g16", Target::Ios18),
            ("lut4+int8", Target::Ios18),
            ("sparse50", Target::Ios16),
            ("sparse50+lut4", Target::Ios18),
            ("fp16", Target::Ios15),
        ] {
            assert_eq!(text.parse::<Scheme>().unwrap().needs().0, target, "{text}");
        }
    }
}
