//! How the errors of an output are spread, as charts.

use minijinja::Value;
use serde::Serialize;

use crate::metrics::Bin;
use crate::render::figures::count;
use crate::render::svg::{self, Column};
use crate::report::{BucketReport, Precision};

/// A chart and what to say of it.
#[derive(Serialize)]
pub(super) struct Chart<'a> {
    output: &'a str,
    title: &'static str,
    caption: String,
    svg: Value,
}

/// Two charts for each output: absolute errors, and errors in steps of the number format.
pub(super) fn charts(bucket: &BucketReport) -> Vec<Chart<'_>> {
    let format = match bucket.precision {
        Precision::Fp32 => "f32",
        Precision::Fp16 | Precision::Compressed => "fp16",
    };
    let mut charts = Vec::new();
    for output in &bucket.outputs {
        let errors = &output.errors;
        if errors.elements == 0 {
            continue;
        }
        for (title, axis, bins, label) in [
            (
                "Errors",
                "absolute error",
                &errors.error_histogram,
                power_of_two as fn(i32) -> String,
            ),
            (
                "Errors in steps of the number format",
                "steps between neighbouring numbers",
                &errors.step_histogram,
                steps,
            ),
        ] {
            if bins.is_empty() {
                continue;
            }
            let caption = match title {
                "Errors" => format!(
                    "{} elements: mean {:.2e}, 99 % below {:.2e}, largest {:.2e}",
                    count(errors.elements),
                    errors.mean_abs,
                    errors.p99_abs,
                    errors.max_abs
                ),
                _ => format!(
                    "{} within half a step of {format} at the reference's value",
                    percent(within_half_a_step(bins), errors.elements)
                ),
            };
            let name = format!("{title}, {}: {caption}", output.package);
            charts.push(Chart {
                output: &output.package,
                title,
                caption,
                svg: Value::from_safe_string(svg::histogram(&name, axis, &columns(bins, label))),
            });
        }
    }
    charts
}

/// Most columns that can be told apart on a phone. Smaller errors than these share the first.
const MOST_COLUMNS: usize = 24;

fn columns(bins: &[Bin], label: fn(i32) -> String) -> Vec<Column> {
    let exact = bins.iter().filter(|bin| bin.exponent.is_none());
    let rest: Vec<_> = bins.iter().filter(|bin| bin.exponent.is_some()).collect();
    let (small, large) = rest.split_at(rest.len().saturating_sub(MOST_COLUMNS));
    let mut columns: Vec<_> = exact
        .map(|bin| Column {
            label: "0".into(),
            title: format!("exact: {}", count(bin.count)),
            count: bin.count,
            exact: true,
        })
        .collect();
    let smaller: u64 = small.iter().map(|bin| bin.count).sum();
    for (index, bin) in large.iter().enumerate() {
        let exponent = bin.exponent.unwrap_or(0);
        let more = if index == 0 { smaller } else { 0 };
        let low = if more > 0 { "0".to_owned() } else { label(exponent) };
        columns.push(Column {
            label: label(exponent),
            title: format!("{low} to {}: {}", label(exponent + 1), count(bin.count + more)),
            count: bin.count + more,
            exact: false,
        });
    }
    columns
}

/// 2^exponent to one digit, in decimal.
fn power_of_two(exponent: i32) -> String {
    let value = 2f64.powi(exponent);
    if (0.01..1000.0).contains(&value) {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.0e}")
    }
}

/// 2^exponent steps.
fn steps(exponent: i32) -> String {
    match exponent {
        0.. if exponent < 14 => (1u32 << exponent).to_string(),
        0.. => format!("{:.0e}", 2f64.powi(exponent)),
        -3 => "⅛".into(),
        -2 => "¼".into(),
        -1 => "½".into(),
        _ => format!("{:.0e}", 2f64.powi(exponent)),
    }
}

fn within_half_a_step(bins: &[Bin]) -> u64 {
    let within = bins
        .iter()
        .filter(|bin| bin.exponent.is_none_or(|exponent| exponent < -1));
    within.map(|bin| bin.count).sum()
}

#[allow(clippy::cast_precision_loss)] // one digit is shown
fn percent(part: u64, of: u64) -> String {
    format!("{:.1} %", part as f64 / of.max(1) as f64 * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_few_and_lose_nothing() {
        let bins: Vec<_> = std::iter::once(None)
            .chain((-60..-2).map(Some))
            .map(|exponent| Bin { exponent, count: 2 })
            .collect();
        let columns = columns(&bins, power_of_two);
        assert_eq!(columns.len(), MOST_COLUMNS + 1);
        let total: u64 = columns.iter().map(|column| column.count).sum();
        assert_eq!(total, 2 * bins.len() as u64);
        assert_eq!(
            (power_of_two(-1), power_of_two(-20), power_of_two(3)),
            ("0.5".into(), "1e-6".into(), "8".into())
        );
    }
}
