//! Figures as every document writes them.

use std::fmt::Write;

use crate::metrics::Agreement;
use crate::report::{Decibels, VerifyReport};

/// What stands where nothing was measured.
pub(super) const NONE: &str = "–";

/// `71.24 dB`, `exact`, or `−∞ dB`.
pub(super) fn decibels(value: Decibels) -> String {
    match value.0 {
        value if value.is_finite() => format!("{value:.2} dB"),
        value if value > 0.0 => "exact".into(),
        _ => "−∞ dB".into(),
    }
}

/// Bytes as people read them.
#[allow(clippy::cast_precision_loss)] // three digits are shown
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // A thin space that does not break.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `39 of 40`, near ties named.
pub(super) fn decisions(top1: &Agreement) -> String {
    let mut out = format!("{} of {}", count(top1.agree), count(top1.total));
    if top1.undecided > 0 {
        let _ = write!(out, ", {} near ties", count(top1.undecided));
    }
    out
}

/// The figures of a package that stand for all of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Extremes {
    /// The lowest of all outputs and buckets.
    pub(super) psnr: Option<Decibels>,
    /// The lowest of all vectors.
    pub(super) cosine: Option<f64>,
    /// The largest error.
    pub(super) max_abs: Option<f32>,
    /// Decisions over all outputs and buckets.
    pub(super) top1: Option<(u64, u64)>,
}

impl Extremes {
    pub(super) fn of(report: &VerifyReport) -> Self {
        let errors = || {
            let outputs = report.buckets.iter().flat_map(|bucket| &bucket.outputs);
            outputs.map(|output| &output.errors)
        };
        let compared = || errors().filter(|errors| errors.elements > 0);
        let cosines = errors().flat_map(|errors| {
            let sentence = errors
                .sentence
                .as_ref()
                .and_then(|sentence| sentence.cosine.as_ref());
            [errors.cosine.as_ref(), sentence].into_iter().flatten()
        });
        let decisions = errors().filter_map(|errors| errors.top1).fold(None, |sum, top1| {
            let (agree, total) = sum.unwrap_or((0, 0));
            Some((agree + top1.agree, total + top1.total))
        });
        Self {
            psnr: compared()
                .map(|errors| errors.psnr)
                .min_by(|a, b| a.0.total_cmp(&b.0)),
            cosine: cosines.map(|cosine| cosine.min).min_by(f64::total_cmp),
            max_abs: compared().map(|errors| errors.max_abs).max_by(f32::total_cmp),
            top1: decisions,
        }
    }

    /// PSNR, cosine, largest error and decisions as text.
    pub(super) fn shown(&self) -> [String; 4] {
        let none = || NONE.to_owned();
        [
            self.psnr.map_or_else(none, decibels),
            self.cosine.map_or_else(none, |cosine| format!("{cosine:.7}")),
            self.max_abs.map_or_else(none, |error| format!("{error:.2e}")),
            self.top1.map_or_else(none, |(agree, total)| {
                format!("{} of {}", count(agree), count(total))
            }),
        ]
    }
}

/// How a package's values and weights are held: `fp16`, `int8 × 38 weights`.
pub(super) fn held(report: &VerifyReport) -> String {
    if let Some(weights) = report.package.metadata.get("corer.weights") {
        return weights.clone();
    }
    let precision = report.buckets.first().map(|bucket| bucket.precision);
    precision.map_or_else(
        || NONE.to_owned(),
        |precision| {
            match precision {
                crate::report::Precision::Fp32 => "fp32",
                crate::report::Precision::Fp16 => "fp16",
                crate::report::Precision::Compressed => "compressed weights",
            }
            .to_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_people_read_them() {
        assert_eq!(
            [bytes(17), bytes(1536), bytes(90 << 20)],
            ["17 B", "1.5 KiB", "90.0 MiB"]
        );
        assert_eq!(
            [count(7), count(1234), count(12_345_678)],
            ["7", "1\u{202f}234", "12\u{202f}345\u{202f}678"]
        );
        assert_eq!(decibels(Decibels(f64::INFINITY)), "exact");
        assert_eq!(decibels(Decibels(71.236)), "71.24 dB");
    }
}
