//! The chips known, and the systems they run.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use corer_mil::Target;
use serde::{Deserialize, Serialize};

/// What is published about one chip's Neural Engine.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Chip {
    /// Name on the command line.
    pub id: String,
    /// Name as Apple writes it.
    pub name: String,
    /// Compiler tier, which decides how long an axis may be.
    pub family: Family,
    /// Whether the tier is that of the sibling chip instead of one seen.
    #[serde(default)]
    pub family_inferred: bool,
    /// Least and most a call costs that computes nothing, in milliseconds.
    #[serde(default)]
    pub call_ms: Option<[f64; 2]>,
    /// Whether weights of 8 bits are made fp16 at load.
    #[serde(default)]
    pub int8_folds: bool,
    /// Published figures.
    pub spec: Rates,
    /// What third parties measured.
    #[serde(default)]
    pub measured: Option<Rates>,
}

/// How fast a chip's Neural Engine computes and reads weights; what nobody published is absent.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// 10¹² operations per second in fp16, a multiplication and an addition counted as two.
    #[serde(default)]
    pub fp16_tflops: Option<f64>,
    /// The same for int8 weights and activations.
    #[serde(default)]
    pub int8_tflops: Option<f64>,
    /// The same for fp16 products of matrices, where that was measured apart.
    #[serde(default)]
    pub gemm_tflops: Option<f64>,
    /// 10⁹ bytes per second.
    #[serde(default)]
    pub gb_per_s: Option<f64>,
    /// Where the figures are from.
    pub source: String,
}

/// Compiler tiers of the Neural Engine (one behind the chip's own name: M1, of A14's generation, is "A13").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A14, M1.
    A13,
    /// A15, M2.
    A14,
    /// A16, M3.
    A15,
    /// A17 Pro and M4 on.
    A16,
}

impl Family {
    /// The longest a spatial axis, or a sum of products, may be (rule S2).
    pub const fn longest_spatial_axis(self) -> u64 {
        match self {
            Self::A13 | Self::A14 | Self::A15 => 16_384,
            Self::A16 => 65_536,
        }
    }

    /// The longest sum of products (rules S2 and S3).
    pub const fn longest_contraction(self) -> u64 {
        match self {
            Self::A13 | Self::A14 | Self::A15 => 16_384,
            Self::A16 => 32_768,
        }
    }

    /// The widest kernel of a convolution that is not square (rule O1).
    pub const fn widest_kernel(self) -> u64 {
        match self {
            Self::A13 | Self::A14 | Self::A15 => 13,
            Self::A16 => 15,
        }
    }
}

/// The longest the channel axis may be on any chip (rule S2).
pub const LONGEST_CHANNEL_AXIS: u64 = 65_536;

/// The chip a prediction is for unless another is asked for: the only one whose cost model was published.
pub const DEFAULT_CHIP: &str = "m4";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    chip: Vec<Chip>,
}

static CHIPS: LazyLock<Vec<Chip>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("../data/chips.toml")).expect("a test reads the table");
    table.chip
});

impl Chip {
    /// All chips, phones first.
    pub fn all() -> &'static [Chip] {
        &CHIPS
    }

    /// The chip of that id, in any case.
    pub fn find(id: &str) -> Option<&'static Chip> {
        CHIPS.iter().find(|chip| chip.id.eq_ignore_ascii_case(id))
    }

    /// Whether the cost model and the list of supported operations were measured on this chip.
    pub fn is_measured_model(&self) -> bool {
        self.id == "m4"
    }
}

/// A release of the systems, by iOS's number: 15 to 18, from 26 on (macOS 12 to 15 came out with iOS 15 to 18).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(transparent)]
pub struct Os(u16);

impl Os {
    /// iOS 26 and macOS 26.
    pub const DEFAULT: Self = Self(26);

    /// iOS's number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The newest deployment target whose packages the release loads.
    pub fn target(self) -> Target {
        match self.0 {
            ..=15 => Target::Ios15,
            16 => Target::Ios16,
            17 => Target::Ios17,
            18..=25 => Target::Ios18,
            26.. => Target::Ios26,
        }
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ios @ ..26 => write!(f, "iOS {ios} / macOS {}", ios - 3),
            both => write!(f, "iOS {both} / macOS {both}"),
        }
    }
}

impl FromStr for Os {
    type Err = String;

    /// `26`, `ios18` or `macos15`.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        let wrong = || {
            format!(
                "`{text}` is no system that runs ML Programs: ios15 to ios18, macos12 to macos15, 26 or 27"
            )
        };
        let (digits, behind) = match lower.strip_prefix("macos") {
            Some(digits) => (digits, 3),
            None => (lower.strip_prefix("ios").unwrap_or(&lower), 0),
        };
        let number: u16 = digits.parse().map_err(|_| wrong())?;
        match (number, behind) {
            (15..=18 | 26 | 27, 0) | (26 | 27, 3) => Ok(Self(number)),
            (12..=15, 3) => Ok(Self(number + 3)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_says_where_from() {
        assert!(Chip::find(DEFAULT_CHIP).is_some_and(Chip::is_measured_model));
        for chip in Chip::all() {
            assert!(!chip.spec.source.is_empty());
            assert_eq!(Chip::find(&chip.id.to_uppercase()), Some(chip));
        }
    }

    #[test]
    fn systems_are_named_three_ways() {
        assert_eq!("macos15".parse(), Ok(Os(18)));
        assert_eq!("iOS18".parse(), Ok(Os(18)));
        assert_eq!("26".parse(), Ok(Os(26)));
        assert_eq!(Os(17).to_string(), "iOS 17 / macOS 14");
        for wrong in ["14", "19", "macos17", "linux", ""] {
            assert!(wrong.parse::<Os>().is_err(), "{wrong}");
        }
    }
}
