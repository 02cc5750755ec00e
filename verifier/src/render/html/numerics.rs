//! Other arithmetics beside the judged one, headroom to the limits of a device, and what single operations lose.

use corer_runtime::{ACCUMULATOR_LIMIT, HALF_MAX};
use minijinja::Value;
use serde::Serialize;

use crate::render::arithmetics::{self, HeadroomRow, LossRow, ModeRow, SHOWN};
use crate::render::figures::count;
use crate::render::svg::{self, Bar, Part};
use crate::report::numerics::{HeadroomReport, NumericsReport, RuleReport};
use crate::report::{BucketReport, VerifyReport};

/// One bucket's numerics.
#[derive(Serialize)]
pub(super) struct Numerics<'a> {
    rows: String,
    warnings: &'a [String],
    modes: Vec<ModeRow>,
    rules: Vec<&'a RuleReport>,
    headroom_chart: Option<Value>,
    headroom: Vec<HeadroomRow>,
    /// Operations watched in all.
    watched: String,
    losses: Vec<LossRow>,
}

impl<'a> Numerics<'a> {
    /// `None` where nobody looked.
    pub(super) fn of(report: &VerifyReport, bucket: &'a BucketReport) -> Option<Self> {
        let found = bucket.numerics.as_ref()?;
        let NumericsReport { headroom, losses, .. } = found;
        let least = &headroom[..SHOWN.min(headroom.len())];
        Some(Self {
            rows: count(found.rows as u64),
            warnings: &found.warnings,
            modes: arithmetics::modes(report, bucket),
            rules: found.modes.iter().flat_map(|mode| &mode.rules).collect(),
            headroom_chart: (!least.is_empty()).then(|| chart(least)),
            headroom: least.iter().map(HeadroomRow::of).collect(),
            watched: count(headroom.len() as u64),
            losses: losses.iter().take(SHOWN).map(LossRow::of).collect(),
        })
    }
}

fn chart(least: &[HeadroomReport]) -> Value {
    let bars: Vec<_> = least.iter().map(bar).collect();
    let name = "Largest values of the operations with the least headroom, as shares of the limit; the table below has them";
    Value::from_safe_string(svg::bars(name, "share of the limit", &bars))
}

fn bar(found: &HeadroomReport) -> Bar {
    let result = Part {
        class: "result",
        title: format!("result {:.3e} of {HALF_MAX}", found.largest),
        share: f64::from(found.largest / HALF_MAX),
    };
    let sum = found.sums.map(|sums| Part {
        class: "sum",
        title: format!("sum {:.3e} of {ACCUMULATOR_LIMIT}", sums.reached),
        share: f64::from(sums.reached / ACCUMULATOR_LIMIT),
    });
    Bar {
        label: found.operation.clone(),
        parts: std::iter::once(result).chain(sum).collect(),
    }
}
