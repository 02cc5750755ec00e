//! A gate: the `[gate]` table of a manifest or of a file of its own, for all variants and for one.
//!
//! ```toml
//! [gate]                       # fails below
//! min-psnr = 65
//! max-psnr-drop = 1            # against the earlier report
//! baseline = "last/report.json"
//! [gate.warn]                  # warns below
//! min-psnr = 70
//! [gate.int8]                  # for one variant
//! min-psnr = 40
//! [gate.int8.warn]
//! min-psnr = 45
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use corer_publisher::report::StoredReport;
use corer_verifier::{Drops, Gate, ThresholdOverrides, VerifyReport};
use toml::de::{DeTable, DeValue};

use super::toml_reader::{Mistake, Section, Source};
use crate::exit_codes::Exit;
use crate::failure::Failure;

const LIMITS: &[&str] = &[
    "min-psnr",
    "min-cosine",
    "max-abs",
    "min-top1",
    "min-overlap",
    "max-padding-change",
    "max-psnr-drop",
    "max-cosine-drop",
    "max-top1-drop",
    "max-overlap-drop",
    "max-abs-growth",
];

/// Limits as they stand in one table, or merged from several.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Limits {
    /// On figures.
    pub(super) figures: ThresholdOverrides,
    /// On how much worse than before they may be.
    pub(super) drops: Drops,
}

/// What is asked of one package.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Asked {
    /// Short of these it fails.
    pub(super) fail: Limits,
    /// Short of these there is a warning.
    pub(super) warn: Limits,
    /// The earlier report, where one is named.
    pub(super) baseline: Option<PathBuf>,
}

impl Limits {
    #[allow(clippy::cast_possible_truncation)] // limits on f32 errors
    fn read(table: &Section<'_, '_>) -> Result<Self, Mistake> {
        Ok(Self {
            figures: ThresholdOverrides {
                min_psnr: table.number("min-psnr")?,
                min_cosine: table.number("min-cosine")?,
                max_abs: table.number("max-abs")?.map(|limit| limit as f32),
                min_top1: table.number("min-top1")?,
                min_neighbour_overlap: table.number("min-overlap")?,
                finite_without_tokens: None,
                max_change_under_padding: table.number("max-padding-change")?.map(|limit| limit as f32),
            },
            drops: Drops {
                psnr: table.number("max-psnr-drop")?,
                cosine: table.number("max-cosine-drop")?,
                top1: table.number("max-top1-drop")?,
                neighbour_overlap: table.number("max-overlap-drop")?,
                max_abs: table.number("max-abs-growth")?,
            },
        })
    }

    /// These, and those of `general` where there are none.
    pub(super) fn or(self, general: Self) -> Self {
        let (own, other) = (self.figures, general.figures);
        Self {
            figures: ThresholdOverrides {
                min_psnr: own.min_psnr.or(other.min_psnr),
                min_cosine: own.min_cosine.or(other.min_cosine),
                max_abs: own.max_abs.or(other.max_abs),
                min_top1: own.min_top1.or(other.min_top1),
                min_neighbour_overlap: own.min_neighbour_overlap.or(other.min_neighbour_overlap),
                finite_without_tokens: own.finite_without_tokens.or(other.finite_without_tokens),
                max_change_under_padding: own.max_change_under_padding.or(other.max_change_under_padding),
            },
            drops: self.drops.or(general.drops),
        }
    }
}

impl Asked {
    /// What `[gate]` in `document` asks of a variant, or of a package that is none. `variants` are the tables it may have.
    ///
    /// # Errors
    /// The first mistake in it.
    pub(super) fn of(
        source: Source<'_>,
        document: &DeTable<'_>,
        variants: &[&str],
        variant: Option<&str>,
    ) -> Result<Self, Mistake> {
        let gate = document.iter().find(|(name, _)| name.get_ref() == "gate");
        let empty = DeTable::new();
        let gate = match gate.map(|(_, value)| (value.get_ref(), value.span())) {
            None => &empty,
            Some((DeValue::Table(table), _)) => table,
            Some((other, span)) => {
                let message = format!("`gate` must be a table, this is a {}", other.type_str());
                return Err(source.mistake(span, message));
            }
        };
        let own: &[&str] = &["warn", "baseline"];
        let general = Section::new(source, gate, "gate", &[LIMITS, own, variants].concat())?;
        let directory = source.path.parent().unwrap_or(Path::new(""));
        let baseline = |table: &Section<'_, '_>| {
            table.parsed("baseline", &[], |text| match text {
                "" => Err("is empty".to_owned()),
                path => Ok(directory.join(path)),
            })
        };
        let warn = |table: &Section<'_, '_>| {
            let warn = table.table("warn")?.unwrap_or(&empty);
            Limits::read(&Section::new(source, warn, "gate.warn", LIMITS)?)
        };
        let mut asked = Self {
            fail: Limits::read(&general)?,
            warn: warn(&general)?,
            baseline: baseline(&general)?,
        };
        // Every table is read, so that a mistake is found whichever variant is asked about.
        for name in variants {
            let table = general.table(name)?.unwrap_or(&empty);
            let table = Section::new(source, table, "gate", &[LIMITS, own].concat())?;
            let found = Self {
                fail: Limits::read(&table)?,
                warn: warn(&table)?,
                baseline: baseline(&table)?,
            };
            if variant == Some(*name) {
                asked = Self {
                    fail: found.fail.or(asked.fail),
                    warn: found.warn.or(asked.warn),
                    baseline: found.baseline.or(asked.baseline),
                };
            }
        }
        Ok(asked)
    }

    /// What the `[gate]` of a file asks, a release's manifest or one of its own.
    ///
    /// # Errors
    /// When it can't be read, has mistakes, or has no such variant.
    pub(super) fn read(path: &Path, variant: Option<&str>) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", path.display())))?;
        let source = Source { path, text: &text };
        let read = || {
            let document = source.parse()?;
            let tables = document.iter().find(|(name, _)| name.get_ref() == "gate");
            let tables = tables.and_then(|(_, gate)| gate.get_ref().as_table());
            let variants: Vec<_> = tables
                .iter()
                .flat_map(|gate| gate.iter())
                .filter(|(name, value)| value.get_ref().is_table() && name.get_ref() != "warn")
                .map(|(name, _)| name.get_ref().as_ref())
                .collect();
            if tables.is_none() {
                return Err(source.mistake(0..0, "has no [gate]"));
            }
            if let Some(name) = variant.filter(|name| !variants.contains(name)) {
                let there = match &variants[..] {
                    [] => "it has none for variants".to_owned(),
                    names => format!("it has {}", names.join(", ")),
                };
                return Err(source.mistake(0..0, format!("no [gate.{name}]: {there}")));
            }
            Self::of(source, &document, &variants, variant)
        };
        read().map_err(Mistake::into_failure)
    }

    /// The gate beside the thresholds, with the earlier report.
    pub(super) fn gate(&self, earlier: Option<VerifyReport>) -> Gate {
        Gate {
            warn: self.warn.figures,
            baseline: earlier.map(Arc::new),
            drops: self.fail.drops,
            warn_drops: self.warn.drops,
        }
    }

    /// Whether it is about an earlier report.
    pub(super) fn compares(&self) -> bool {
        !self.fail.drops.is_empty() || !self.warn.drops.is_empty()
    }
}

/// An earlier report, a file or the directory it lies in.
///
/// # Errors
/// When it is none.
pub(super) fn earlier_report(path: &Path) -> Result<VerifyReport, Failure> {
    let stored = StoredReport::read(path).map_err(|error| Failure::new(Exit::Usage, error))?;
    VerifyReport::parse(&stored.bytes)
        .map_err(|reason| Failure::new(Exit::Usage, format!("{}: {reason}", stored.path.display())))
}
