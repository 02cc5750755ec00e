//! Counts to a logarithmic scale.

use std::fmt::Write;

use super::{WIDTH, escape};

const HEIGHT: f64 = 190.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 6.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
/// Least room for one label below the columns.
const LABEL: f64 = 40.0;

/// One column of a histogram.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::render) struct Column {
    /// Below the axis.
    pub(in crate::render) label: String,
    /// What the column holds, in words.
    pub(in crate::render) title: String,
    pub(in crate::render) count: u64,
    /// Drawn as what is all right.
    pub(in crate::render) exact: bool,
}

/// A histogram whose counts are drawn to a logarithmic scale, since what matters are the few large errors. `name`
/// says what it shows to whoever can't see it.
pub(in crate::render) fn histogram(name: &str, axis: &str, columns: &[Column]) -> String {
    let mut out = String::new();
    let most = columns.iter().map(|column| column.count).max().unwrap_or(0);
    let decades = decades(most);
    let bottom = HEIGHT - BOTTOM;
    let height = bottom - TOP;
    // Writing to a string does not fail.
    let _ = write!(
        out,
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
        escape(name)
    );
    for decade in 0..=decades {
        let y = bottom - height * (f64::from(decade) + 1.0) / (f64::from(decades) + 1.0);
        let _ = write!(
            out,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            power(decade)
        );
    }
    #[allow(clippy::cast_precision_loss)] // a few dozen columns
    let step = (WIDTH - LEFT - RIGHT) / columns.len().max(1) as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few columns
    let every = (LABEL / step).ceil().max(1.0) as usize;
    for (index, column) in columns.iter().enumerate() {
        #[allow(clippy::cast_precision_loss)]
        let x = LEFT + step * index as f64;
        let tall = share(column.count, decades) * height;
        let class = if column.exact { "bar exact" } else { "bar" };
        if column.count > 0 {
            let _ = write!(
                out,
                r#"<rect class="{class}" x="{:.1}" y="{:.1}" width="{:.1}" height="{tall:.1}"><title>{}</title></rect>"#,
                x + step * 0.08,
                bottom - tall,
                step * 0.84,
                escape(&column.title)
            );
        }
        if index % every == 0 {
            let _ = write!(
                out,
                r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                x + step / 2.0,
                bottom + 14.0,
                escape(&column.label)
            );
        }
    }
    let _ = write!(
        out,
        r#"<line class="axis" x1="{LEFT}" x2="{:.1}" y1="{bottom:.1}" y2="{bottom:.1}"/><text class="name" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text></svg>"#,
        WIDTH - RIGHT,
        LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
        HEIGHT - 5.0,
        escape(axis)
    );
    out
}

/// The smallest power of ten that `most` does not pass.
fn decades(most: u64) -> u32 {
    (0..20)
        .find(|power| 10u64.checked_pow(*power).is_none_or(|limit| limit >= most))
        .unwrap_or(19)
}

/// How much of the height a count takes: one element is as tall as one decade, none has no height.
#[allow(clippy::cast_precision_loss)] // drawn to a tenth of a unit
fn share(count: u64, decades: u32) -> f64 {
    if count == 0 {
        0.0
    } else {
        ((count as f64).log10() + 1.0) / (f64::from(decades) + 1.0)
    }
}

fn power(decade: u32) -> String {
    match decade {
        0 => "1".into(),
        1 => "10".into(),
        2 => "100".into(),
        decade => {
            const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
            let digits = decade.to_string();
            let raised = digits.bytes().map(|digit| DIGITS[usize::from(digit - b'0')]);
            std::iter::once('1')
                .chain(std::iter::once('0'))
                .chain(raised)
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_logarithms() {
        assert_eq!(
            (decades(1), decades(10), decades(11), decades(1000)),
            (0, 1, 2, 3)
        );
        assert_eq!((share(0, 3), share(1, 3), share(1000, 3)), (0.0, 0.25, 1.0));
        assert_eq!((power(2), power(12)), ("100".into(), "10¹²".into()));
        let column = |count| Column {
            label: "<1".into(),
            title: "a & b".into(),
            count,
            exact: false,
        };
        let chart = histogram("\"name\"", "axis", &[column(1), column(0), column(u64::MAX)]);
        assert_eq!(chart.matches("<rect").count(), 2);
        assert!(chart.contains("&lt;1") && chart.contains("a &amp; b") && chart.contains("&quot;name&quot;"));
        assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
        assert!(histogram("none", "axis", &[]).ends_with("</svg>"));
    }
}
