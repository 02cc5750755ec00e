//! Where a package departs from its reference: loss by depth, and the operations that cost most.

use minijinja::Value;
use serde::Serialize;

use crate::render::figures::{count, decibels};
use crate::render::svg::{self, Bar, Part};
use crate::report::drift::{BlockDrift, DriftErrors, DriftReport, OperationDrift};

/// What the page says of a drift.
#[derive(Serialize)]
pub(super) struct Drift<'a> {
    rows: String,
    bucket: &'a str,
    reference: &'a str,
    threshold: f64,
    /// Where it departs, in words.
    departure: Option<String>,
    chart: Option<Value>,
    blocks: Vec<Row<'a>>,
    costliest: Vec<Row<'a>>,
    unpaired: usize,
}

/// A block or an operation.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    cumulative: String,
    isolated: String,
    max_abs: String,
}

impl<'a> Row<'a> {
    fn of(name: &'a str, cumulative: &DriftErrors, isolated: &DriftErrors) -> Self {
        Self {
            name,
            cumulative: decibels(cumulative.sqnr),
            isolated: decibels(isolated.sqnr),
            max_abs: format!("{:.2e}", cumulative.max_abs),
        }
    }

    fn block(block: &'a BlockDrift) -> Self {
        Self::of(&block.place, &block.cumulative, &block.isolated)
    }

    fn operation(operation: &'a OperationDrift) -> Self {
        Self::of(&operation.operation, &operation.cumulative, &operation.isolated)
    }
}

impl<'a> Drift<'a> {
    pub(super) fn of(found: &'a DriftReport) -> Self {
        Self {
            rows: count(found.rows as u64),
            bucket: &found.bucket,
            reference: &found.reference,
            threshold: found.threshold,
            departure: found.departure.as_ref().map(ToString::to_string),
            chart: (!found.blocks.is_empty()).then(|| chart(found)),
            blocks: found.blocks.iter().map(Row::block).collect(),
            costliest: found.costliest().into_iter().map(Row::operation).collect(),
            unpaired: found.unpaired.len(),
        }
    }
}

fn chart(found: &DriftReport) -> Value {
    let bars: Vec<_> = found
        .blocks
        .iter()
        .map(|block| bar(block, found.threshold))
        .collect();
    let name = "Loss of each block, in the order they are computed; the table below has the numbers";
    Value::from_safe_string(svg::bars(
        name,
        "loss over signal, as a share of the threshold's",
        &bars,
    ))
}

fn bar(block: &BlockDrift, threshold: f64) -> Bar {
    let part = |class, what: &str, errors: &DriftErrors| Part {
        class,
        title: format!("{what} {}", decibels(errors.sqnr)),
        // Of amplitudes: 20 dB are a factor of ten.
        share: 10f64.powf((threshold - errors.sqnr.0) / 20.0),
    };
    Bar {
        label: block.place.clone(),
        parts: vec![
            part("result", "gathered", &block.cumulative),
            part("sum", "by itself", &block.isolated),
        ],
    }
}
