//! The rules by name, with the evidence for each, and sets of them.

use std::fmt;
use std::str::FromStr;

/// One behaviour of the Neural Engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AneRule {
    /// A sum of products whose magnitude is 32768 or more at any moment is ±∞ from then on. The bias is where it
    /// starts.
    AccumulatorLimit,
    /// Sums of products are multiples of 2⁻¹⁶; products of small numbers are dropped.
    FixedPoint,
    /// Infinities and NaN given to an operation are read as the large numbers their bits would be: ∞ as 2¹⁶.
    DecodedInfinities,
    /// Results between two fp16 numbers, equally far from both, go away from zero.
    RoundHalfAway,
    /// −0 is written as +0.
    PositiveZero,
    /// gelu, in either mode, is a line between 33 points on [−4, 4].
    GeluTable,
    /// sigmoid and tanh are lines between 33 points.
    FunctionTables,
    /// Values beyond ±4094 that pass a slice which doesn't begin at 0 on the last axis become ±∞.
    SliceLimit,
    /// Subnormal factors of products count as zero.
    FlushSubnormals,
}

/// How well a rule is known, in the order of trust.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Grade {
    /// Measured by third parties on the chips named.
    Measured,
    /// Measured by some, described otherwise by others.
    Contested,
}

impl Grade {
    /// `measured` or `contested`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Contested => "contested",
        }
    }
}

/// Why a rule is believed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Evidence {
    /// Id in corer's table of Neural Engine rules.
    pub id: &'static str,
    /// How well it is known.
    pub grade: Grade,
    /// Chips it was seen on.
    pub chips: &'static str,
    /// Who measured it.
    pub source: &'static str,
}

/// The microarchitecture study of M6 that repeated its measurements on M4.
const STUDY: &str = "751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/numerics.md";

impl AneRule {
    /// All of them, in the order they are listed.
    pub const ALL: [Self; 9] = [
        Self::AccumulatorLimit,
        Self::FixedPoint,
        Self::DecodedInfinities,
        Self::RoundHalfAway,
        Self::PositiveZero,
        Self::GeluTable,
        Self::FunctionTables,
        Self::SliceLimit,
        Self::FlushSubnormals,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccumulatorLimit => "accumulator-limit",
            Self::FixedPoint => "fixed-point",
            Self::DecodedInfinities => "decoded-infinities",
            Self::RoundHalfAway => "round-half-away",
            Self::PositiveZero => "positive-zero",
            Self::GeluTable => "gelu-table",
            Self::FunctionTables => "function-tables",
            Self::SliceLimit => "slice-limit",
            Self::FlushSubnormals => "flush-subnormals",
        }
    }

    /// What it says, in a line.
    pub const fn says(self) -> &'static str {
        match self {
            Self::AccumulatorLimit => "a sum of products that reaches 32768 is infinite from then on",
            Self::FixedPoint => "sums of products are multiples of 2^-16, products below 2^-17 are dropped",
            Self::DecodedInfinities => "infinities and NaN are read as numbers from 2^16 on",
            Self::RoundHalfAway => "ties are rounded away from zero",
            Self::PositiveZero => "-0 is written as +0",
            Self::GeluTable => "gelu is a line between 33 points",
            Self::FunctionTables => "sigmoid and tanh are lines between 33 points",
            Self::SliceLimit => {
                "slices that don't begin at 0 on the last axis hold 4094 at most (before A16)"
            }
            Self::FlushSubnormals => "subnormal factors of products count as zero (M1)",
        }
    }

    /// Why it is believed.
    pub const fn evidence(self) -> Evidence {
        let (id, grade, chips, source) = match self {
            Self::AccumulatorLimit => (
                "N1",
                Grade::Measured,
                "M1, M1 Max, M2 Pro, M4, M5, M5 Pro, M6",
                "sbryngelson/ANEForge docs/numeric-cliffs.md; 751K/Apple-Neural-Engine-Microarchitecture-Study-M6 notes/numerics.md",
            ),
            Self::FixedPoint => ("N2", Grade::Contested, "M4, M6", STUDY),
            Self::DecodedInfinities => ("D9", Grade::Measured, "M4, M6", STUDY),
            Self::RoundHalfAway | Self::PositiveZero => ("N9", Grade::Measured, "M4, M6", STUDY),
            Self::GeluTable | Self::FunctionTables => ("N8", Grade::Measured, "M6", STUDY),
            Self::SliceLimit => (
                "N5",
                Grade::Measured,
                "M1, M2 (not A16 and later)",
                "sbryngelson/ANEForge docs/numeric-cliffs.md",
            ),
            Self::FlushSubnormals => ("N7", Grade::Contested, "M1 (not M4 to M6)", "arXiv 2606.22283"),
        };
        Evidence {
            id,
            grade,
            chips,
            source,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for AneRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.evidence().id)
    }
}

/// A set of rules. The default holds those that were measured and are not contested.
///
/// As text, a list of names or ids (an id stands for all rules that have it), each of which may have a `+` or `-` in
/// front, and of `all`, `default` and `none`; later ones win: `all,-N5`, `-gelu-table` (all of the default but one),
/// `N1` (only that).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AneRules(u16);

impl AneRules {
    /// No rule: fp16 as a CPU has it.
    pub const NONE: Self = Self(0);
    /// Every rule, contested ones too.
    pub const ALL: Self = Self((1 << AneRule::ALL.len()) - 1);

    /// Whether the rule is in it.
    pub const fn has(self, rule: AneRule) -> bool {
        self.0 & rule.bit() != 0
    }

    /// With the rule.
    #[must_use]
    pub const fn with(self, rule: AneRule) -> Self {
        Self(self.0 | rule.bit())
    }

    /// Without the rule.
    #[must_use]
    pub const fn without(self, rule: AneRule) -> Self {
        Self(self.0 & !rule.bit())
    }

    /// Those in it, in order.
    pub fn iter(self) -> impl Iterator<Item = AneRule> {
        AneRule::ALL.into_iter().filter(move |rule| self.has(*rule))
    }
}

impl Default for AneRules {
    fn default() -> Self {
        AneRule::ALL
            .into_iter()
            .filter(|rule| rule.evidence().grade == Grade::Measured)
            .fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for AneRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AneRules({self})")
    }
}

impl fmt::Display for AneRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (index, rule) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", rule.name())?;
        }
        Ok(())
    }
}

/// A word that names no rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no rule `{word}`; there are all, default, none, {}", known())]
pub struct UnknownRule {
    /// The word.
    pub word: String,
}

fn known() -> String {
    let names: Vec<String> = AneRule::ALL.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl FromStr for AneRules {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        // A list that begins by taking something away begins with the default.
        let mut rules = if text.trim_start().starts_with(['-', '+']) {
            Self::default()
        } else {
            Self::NONE
        };
        for word in text.split(',').map(str::trim) {
            match word {
                "all" => rules = Self::ALL,
                "default" => rules = Self::default(),
                "none" => rules = Self::NONE,
                _ => {
                    let (remove, name) = match (word.strip_prefix('-'), word.strip_prefix('+')) {
                        (Some(name), _) => (true, name),
                        (_, Some(name)) => (false, name),
                        _ => (false, word),
                    };
                    let named =
                        |rule: &AneRule| rule.name() == name || rule.evidence().id.eq_ignore_ascii_case(name);
                    let mut found = AneRule::ALL.into_iter().filter(named).peekable();
                    if found.peek().is_none() {
                        return Err(UnknownRule {
                            word: word.to_owned(),
                        });
                    }
                    rules = found.fold(rules, |rules, rule| {
                        if remove {
                            rules.without(rule)
                        } else {
                            rules.with(rule)
                        }
                    });
                }
            }
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_left_to_right() {
        let parse = |text: &str| text.parse::<AneRules>();
        assert_eq!(parse("default"), Ok(AneRules::default()));
        assert_eq!(parse("all,-N5"), Ok(AneRules::ALL.without(AneRule::SliceLimit)));
        assert_eq!(parse("N1"), Ok(AneRules::NONE.with(AneRule::AccumulatorLimit)));
        assert_eq!(
            parse("-gelu-table,+fixed-point"),
            Ok(AneRules::default()
                .without(AneRule::GeluTable)
                .with(AneRule::FixedPoint))
        );
        // An id takes all rules that have it.
        assert_eq!(parse("n9").unwrap().iter().count(), 2);
        assert_eq!(parse("all,none"), Ok(AneRules::NONE));
        for wrong in ["", "N4", "all,,N1", "--N1"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.to_string().contains("accumulator-limit (N1)"), "{error}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for rules in [AneRules::NONE, AneRules::default(), AneRules::ALL] {
            assert_eq!(rules.to_string().parse(), Ok(rules));
        }
        assert!(!AneRules::default().has(AneRule::FixedPoint));
        assert!(AneRules::ALL.has(AneRule::FlushSubnormals));
    }
}
