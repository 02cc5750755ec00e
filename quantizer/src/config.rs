//! Which weight gets which scheme: a global one, exceptions by operation type, by name pattern, by name.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::QuantizeError;
use crate::scheme::Scheme;
use crate::sites::Site;

/// Weights of at most so many elements stay as they are; so does everything of rank 0 and 1.
pub const DEFAULT_THRESHOLD: u64 = 2048;

/// What to do with a weight.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Wanted {
    /// Give it this scheme; [`Scheme::DENSE`] decompresses.
    Scheme(Scheme),
    /// Leave it as it is.
    Skip,
}

/// Which weight gets which scheme. The most specific rule wins: name, then pattern, then type, then the global one.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// For weights no other rule names; without one they stay as they are.
    pub global: Option<Wanted>,
    /// By type of an operation that uses the weight.
    pub types: BTreeMap<String, Rule>,
    /// By pattern (`*` any text, `?` any character) of the weight's name or of an operation's that uses it; the first
    /// that matches counts.
    pub patterns: Vec<(String, Rule)>,
    /// By name of the weight, or of an operation that uses it.
    pub names: BTreeMap<String, Rule>,
    /// Weights of at most so many elements stay as they are.
    pub threshold: u64,
    /// Compress weights that are compressed already once more, from what they decompress to.
    pub recompress: bool,
}

/// One rule.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rule {
    /// What to do.
    pub wanted: Wanted,
    /// A size threshold of its own.
    pub threshold: Option<u64>,
}

/// Which rule a weight's decision came from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Origin {
    Name(String),
    Pattern(String),
    Type(String),
    Global,
}

impl Config {
    /// One scheme for every weight.
    pub fn uniform(scheme: Scheme) -> Self {
        Self {
            global: Some(Wanted::Scheme(scheme)),
            ..Self::default()
        }
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it can't be read, is not TOML, has unknown keys or unknown schemes; with the line.
    pub fn read(path: &Path) -> Result<Self, QuantizeError> {
        let fail = |line, reason| QuantizeError::Config {
            path: path.to_owned(),
            line,
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| fail(None, error.to_string()))?;
        Self::parse(&text).map_err(|(line, reason)| fail(line, reason))
    }

    /// As [`Self::read`], from text; errors are a line and a reason.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let file: File = toml::from_str(text).map_err(|error| {
            (
                error.span().map(|span| line_of(span.start)),
                error.message().to_owned(),
            )
        })?;
        let wanted = |spelled: &toml::Spanned<String>| {
            wanted(spelled.get_ref()).map_err(|reason| (Some(line_of(spelled.span().start)), reason))
        };
        let rule = |entry: &toml::Spanned<Entry>| {
            let line = Some(line_of(entry.span().start));
            let (spelled, threshold) = match entry.get_ref() {
                Entry::Spelled(spelled) => (spelled, None),
                Entry::Table(table) => (&table.weights, table.threshold),
            };
            let wanted = self::wanted(spelled).map_err(|reason| (line, reason))?;
            Ok(Rule { wanted, threshold })
        };
        let rules = |entries: &BTreeMap<String, toml::Spanned<Entry>>| {
            entries
                .iter()
                .map(|(name, entry)| Ok((name.clone(), rule(entry)?)))
                .collect::<Result<BTreeMap<_, _>, _>>()
        };
        Ok(Self {
            global: file.weights.as_ref().map(wanted).transpose()?,
            types: rules(&file.types)?,
            patterns: file
                .patterns
                .iter()
                .map(|pattern| {
                    let rule = Rule {
                        wanted: wanted(&pattern.weights)?,
                        threshold: pattern.threshold,
                    };
                    Ok((pattern.pattern.clone(), rule))
                })
                .collect::<Result<_, _>>()?,
            names: rules(&file.names)?,
            threshold: file.threshold.unwrap_or(DEFAULT_THRESHOLD),
            recompress: file.recompress.unwrap_or(false),
        })
    }

    /// The rule for a weight, and the threshold that goes with it.
    pub(crate) fn decide(&self, site: &Site) -> Option<(Wanted, u64, Origin)> {
        let names = || std::iter::once(&site.name).chain(site.uses.iter().map(|used| &used.name));
        let found = |rule: &Rule, origin| (rule.wanted, rule.threshold.unwrap_or(self.threshold), origin);
        for name in names() {
            if let Some(rule) = self.names.get(name) {
                return Some(found(rule, Origin::Name(name.clone())));
            }
        }
        for (pattern, rule) in &self.patterns {
            if names().any(|name| matches(pattern, name)) {
                return Some(found(rule, Origin::Pattern(pattern.clone())));
            }
        }
        for used in &site.uses {
            if let Some(rule) = self.types.get(&used.op) {
                return Some(found(rule, Origin::Type(used.op.clone())));
            }
        }
        self.global.map(|wanted| (wanted, self.threshold, Origin::Global))
    }

    /// Rules that no decision came from, and what may have been meant.
    pub(crate) fn unmatched(&self, used: &[Origin], sites: &[Site]) -> Vec<String> {
        let near = |wanted: &str, candidates: &mut dyn Iterator<Item = &str>| {
            let best = candidates
                .map(|candidate| (strsim::jaro_winkler(wanted, candidate), candidate))
                .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)));
            best.filter(|(score, _)| *score > 0.8)
                .map_or_else(String::new, |(_, name)| format!("; `{name}` is near"))
        };
        let names = || {
            sites.iter().flat_map(|site| {
                std::iter::once(site.name.as_str()).chain(site.uses.iter().map(|used| used.name.as_str()))
            })
        };
        let types = || {
            sites
                .iter()
                .flat_map(|site| site.uses.iter().map(|used| used.op.as_str()))
        };
        // A rule may match and yet be overruled everywhere; only what matches nothing is worth a word.
        let mut warnings = Vec::new();
        for name in self.names.keys() {
            if !used.contains(&Origin::Name(name.clone())) && names().all(|other| other != name) {
                warnings.push(format!(
                    "no weight or operation is called `{name}`{}",
                    near(name, &mut names())
                ));
            }
        }
        for (pattern, _) in &self.patterns {
            if names().all(|name| !matches(pattern, name)) {
                warnings.push(format!("no weight or operation matches `{pattern}`"));
            }
        }
        for op in self.types.keys() {
            if types().all(|other| other != op) {
                warnings.push(format!(
                    "no weight is used by an operation of type `{op}`{}",
                    near(op, &mut types())
                ));
            }
        }
        warnings
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            global: None,
            types: BTreeMap::new(),
            patterns: Vec::new(),
            names: BTreeMap::new(),
            threshold: DEFAULT_THRESHOLD,
            recompress: false,
        }
    }
}

fn wanted(text: &str) -> Result<Wanted, String> {
    if text == "skip" {
        return Ok(Wanted::Skip);
    }
    text.parse()
        .map(Wanted::Scheme)
        .map_err(|error: crate::SchemeError| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    weights: Option<toml::Spanned<String>>,
    threshold: Option<u64>,
    recompress: Option<bool>,
    #[serde(default)]
    types: BTreeMap<String, toml::Spanned<Entry>>,
    #[serde(default, rename = "pattern")]
    patterns: Vec<Pattern>,
    #[serde(default)]
    names: BTreeMap<String, toml::Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a scheme, or a table with `weights` and `threshold`")]
enum Entry {
    Spelled(String),
    Table(Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    weights: String,
    threshold: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    #[serde(rename = "match")]
    pattern: String,
    weights: toml::Spanned<String>,
    threshold: Option<u64>,
}

/// Whether `text` is what `pattern` describes: `*` stands for any text, `?` for one character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut star) = ((0, 0), None);
    loop {
        match pattern.get(at.0) {
            Some('*') => {
                star = Some(at);
                at.0 += 1;
            }
            Some(wanted)
                if text
                    .get(at.1)
                    .is_some_and(|found| *wanted == '?' || wanted == found) =>
            {
                at = (at.0 + 1, at.1 + 1);
            }
            None if at.1 == text.len() => return true,
            // Let the last star swallow one character more.
            _ => match &mut star {
                Some((place, taken)) if *taken < text.len() => {
                    *taken += 1;
                    at = (*place + 1, *taken);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*_weight", "x_weight_weight", true),
            ("**b", "aab", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_is_what_recursion_says(pattern in "[ab*?]{0,7}", text in "[ab]{0,8}") {
            fn simple(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) => simple(rest, text) || (!text.is_empty() && simple(pattern, &text[1..])),
                    ([b'?', rest @ ..], [_, others @ ..]) => simple(rest, others),
                    ([a, rest @ ..], [b, others @ ..]) => a == b && simple(rest, others),
                    _ => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), simple(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn a_whole_file() {
        let config = Config::parse(
            r#"
            weights = "int8"
            threshold = 4096
            [types]
            gather = "lut6"
            conv = { weights = "lut4-g16", threshold = 100 }
            [[pattern]]
            match = "pooler_*"
            weights = "skip"
            [names]
            "embeddings_word" = "fp16"
            "#,
        )
        .unwrap();
        assert_eq!(config.threshold, 4096);
        assert_eq!(config.types["conv"].threshold, Some(100));
        assert_eq!(config.patterns[0].1.wanted, Wanted::Skip);
        assert_eq!(
            config.names["embeddings_word"].wanted,
            Wanted::Scheme(Scheme::DENSE)
        );
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line, part) in [
            ("weights = \"int9\"", 1, "is no weight scheme"),
            ("\n[types]\nconv = \"lut5\"", 3, "is no weight scheme"),
            ("\n\nwieghts = 1", 3, "unknown field"),
            ("a =", 1, ""),
            ("[[pattern]]\nweights = \"int8\"", 1, "missing field `match`"),
        ] {
            let (found, reason) = Config::parse(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
            assert_eq!(found, Some(line), "{text}: {reason}");
        }
    }
}
