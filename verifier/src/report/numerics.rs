//! What other arithmetics made of the package, and how near its values came to a limit.

use corer_runtime::{ACCUMULATOR_LIMIT, AneRule, AneRules, Extent, HALF_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{Number, OutputReport, finite_or_text, optional};
use crate::verdict::Verdict;

/// One bucket's numerics: a prediction where it is about the Neural Engine, and no part of the verdict.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NumericsReport {
    /// Rows it was found on: the first of the bucket's.
    pub rows: usize,
    /// The other arithmetics, held against the same reference; `ane` by wider thresholds, see [`crate::Thresholds`].
    pub modes: Vec<ModeReport>,
    /// The largest values of every operation, least headroom first; empty when nobody asked.
    pub headroom: Vec<HeadroomReport>,
    /// What every fp16 operation loses by itself, given the values of an f32 run; most first, empty when nobody asked.
    pub losses: Vec<LossReport>,
    /// What of it should be looked at.
    pub warnings: Vec<String>,
}

/// What one operation loses by itself in the arithmetic `ane`, or as written where that is not looked at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LossReport {
    /// Operation name in the package.
    pub operation: String,
    /// Operation type.
    pub op: String,
    /// Signal to loss, in decibels, the rounding of what it is given included.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub sqnr: f64,
}

/// The package in one arithmetic.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModeReport {
    /// `f32`, `as-written` or `ane`.
    pub arithmetic: String,
    /// For `ane`, the rules it followed.
    pub rules: Vec<RuleReport>,
    /// Whether the package would pass in it.
    pub verdict: Verdict,
    /// One entry per output.
    pub outputs: Vec<OutputReport>,
}

/// A rule of the Neural Engine, with its evidence. None of it was measured by corer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RuleReport {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// What it says.
    pub says: String,
    /// `measured` or `contested`.
    pub grade: String,
    /// Chips it was seen on.
    pub chips: String,
    /// Who measured it.
    pub source: String,
}

impl RuleReport {
    fn of(rule: AneRule) -> Self {
        let evidence = rule.evidence();
        Self {
            name: rule.name().into(),
            id: evidence.id.into(),
            says: rule.says().into(),
            grade: evidence.grade.name().into(),
            chips: evidence.chips.into(),
            source: evidence.source.into(),
        }
    }

    /// All rules of a set.
    pub fn all(rules: AneRules) -> Vec<Self> {
        rules.iter().map(Self::of).collect()
    }
}

/// How large the values of one fp16 operation got, in f32 so that nothing overflowed, over all rows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HeadroomReport {
    /// Operation name in the package.
    pub operation: String,
    /// Operation type.
    pub op: String,
    /// The smaller of the two headrooms: how many times as large the values could be.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub headroom: f32,
    /// Largest magnitude of a result; fp16 ends at 65504.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub largest: f32,
    /// 65504 over `largest`, infinite values left out; none where all are zero.
    #[serde(with = "optional")]
    #[schemars(with = "Option<Number>")]
    pub result_headroom: Option<f32>,
    /// Its sums of products, where it forms such.
    pub sums: Option<SumsReport>,
}

/// How far the sums of products of an operation went; the Neural Engine's accumulator ends at 32768 (ANE rule N1).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SumsReport {
    /// Largest magnitude of a finished sum.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub last: f32,
    /// Largest magnitude on the way, products added in the package's order from the bias on.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub reached: f32,
    /// Largest |bias| + Σ|product|: what no order exceeds.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub bound: f32,
    /// 32768 over `reached`.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub headroom: f32,
    /// 32768 over `bound`: from 1 on no order overflows.
    #[serde(with = "finite_or_text")]
    #[schemars(with = "Number")]
    pub certain_headroom: f32,
}

impl HeadroomReport {
    /// What a watch saw of an operation; `None` where no limit applies.
    pub(crate) fn of(extent: &Extent) -> Option<Self> {
        let sums = extent.sums.zip(extent.accumulator_headroom());
        let sums = sums.map(|(sums, headroom)| SumsReport {
            last: sums.last,
            reached: sums.reached,
            bound: sums.bound,
            headroom,
            certain_headroom: extent.certain_headroom().unwrap_or(headroom),
        });
        Some(Self {
            operation: extent.operation.clone(),
            op: extent.op.clone(),
            headroom: extent.headroom()?,
            largest: extent.largest,
            result_headroom: extent.result_headroom(),
            sums,
        })
    }

    /// What there is to say of it, if it passed a limit or may.
    pub fn warning(&self) -> Option<String> {
        let Self { operation, op, .. } = self;
        if let Some(sums) = self.sums.filter(|sums| sums.reached >= ACCUMULATOR_LIMIT) {
            return Some(format!(
                "{operation} ({op}): a sum reaches {:.0}, the Neural Engine's accumulator ends at {ACCUMULATOR_LIMIT} \
                 (ANE rule N1)",
                sums.reached
            ));
        }
        (self.largest > HALF_MAX).then(|| {
            format!(
                "{operation} ({op}): a result reaches {:.0}, fp16 ends at {HALF_MAX}",
                self.largest
            )
        })
    }
}
