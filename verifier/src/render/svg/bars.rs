//! Bars to a logarithmic scale that ends at a limit.

use std::fmt::Write;

use super::{LEFT_TO_RIGHT, WIDTH, escape, shortened};

/// Height of the name above the bars of a row.
const NAME: f64 = 15.0;
/// Height of one bar and the gap below it.
const THICK: f64 = 7.0;
const GAP: f64 = 8.0;
const BOTTOM: f64 = 34.0;
/// Powers of two drawn at least, so that equal charts have equal scales.
const FEWEST: i32 = 8;
/// Powers of two drawn at most; smaller shares have no bar.
const MOST: i32 = 24;

/// A name and its bars.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::render) struct Bar {
    /// Above them.
    pub(in crate::render) label: String,
    pub(in crate::render) parts: Vec<Part>,
}

/// One bar.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::render) struct Part {
    /// Its colour, a class of the style sheet.
    pub(in crate::render) class: &'static str,
    /// What it shows, in words.
    pub(in crate::render) title: String,
    /// Its length as a share of the limit. From 1 on it is drawn as what is wrong.
    pub(in crate::render) share: f64,
}

/// Horizontal bars, one below the other, and a line where the limit is. `name` says what it shows to whoever can't see it.
pub(in crate::render) fn bars(name: &str, axis: &str, rows: &[Bar]) -> String {
    let (low, high) = ends(rows);
    let [left, right] = LEFT_TO_RIGHT;
    let place = |share: f64| {
        let at = (share.log2() - f64::from(low)) / f64::from(high - low);
        left + at.clamp(0.0, 1.0) * (right - left)
    };
    let tall = |row: &Bar| {
        #[allow(clippy::cast_precision_loss)] // two bars
        let bars = row.parts.len() as f64;
        NAME + THICK * bars + GAP
    };
    let bottom = rows.iter().map(tall).sum::<f64>() + 4.0;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        r#"<svg viewBox="0 0 {WIDTH} {:.0}" role="img" aria-label="{}">"#,
        bottom + BOTTOM,
        escape(name)
    );
    // Labels such as 1/32768 need their room.
    let step = ((high - low + 2) / 3).max(1);
    for power in (low..=high).filter(|power| power % step == 0 && *power != 0) {
        let x = place(2f64.powi(power));
        let anchor = if power == low { "start" } else { "middle" };
        let _ = write!(
            out,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="0" y2="{bottom:.1}"/><text class="tick" x="{x:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            bottom + 14.0,
            share(power)
        );
    }
    let mut y = 0.0;
    for row in rows {
        let _ = write!(
            out,
            r#"<text class="label" x="{left}" y="{:.1}">{}</text>"#,
            y + NAME - 4.0,
            escape(&shortened(&row.label))
        );
        y += NAME;
        for part in &row.parts {
            let over = if part.share >= 1.0 { " over" } else { "" };
            let wide = if part.share > 0.0 {
                place(part.share) - left
            } else {
                0.0
            };
            let _ = write!(
                out,
                r#"<rect class="bar {}{over}" x="{left}" y="{y:.1}" width="{:.1}" height="{:.1}"><title>{}: {}</title></rect>"#,
                part.class,
                wide.max(1.0),
                THICK - 1.0,
                escape(&row.label),
                escape(&part.title)
            );
            y += THICK;
        }
        y += GAP;
    }
    let limit = place(1.0);
    let anchor = if high == 0 { "end" } else { "middle" };
    let _ = write!(
        out,
        r#"<line class="limit" x1="{limit:.1}" x2="{limit:.1}" y1="0" y2="{bottom:.1}"/><text class="tick" x="{limit:.1}" y="{:.1}" text-anchor="{anchor}">limit</text><text class="name" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text></svg>"#,
        bottom + 14.0,
        (left + right) / 2.0,
        bottom + BOTTOM - 5.0,
        escape(axis)
    );
    out
}

/// The powers of two the scale begins and ends with.
#[allow(clippy::cast_possible_truncation)] // between −150 and 128
fn ends(rows: &[Bar]) -> (i32, i32) {
    let shares = rows
        .iter()
        .flat_map(|row| &row.parts)
        .map(|part| part.share)
        .filter(|share| *share > 0.0 && share.is_finite());
    let (mut low, mut high) = (-FEWEST, 0);
    for share in shares {
        low = low.min(share.log2().floor() as i32 - 1);
        high = high.max(share.log2().ceil() as i32);
    }
    // Two powers of room, so that what passes the limit is seen to.
    if high > 0 {
        high += 1;
    }
    (low.max(-MOST), high.min(MOST))
}

fn share(power: i32) -> String {
    match power {
        -19..0 => format!("1/{}", 1u32 << -power),
        0..20 => format!("{}×", 1u32 << power),
        _ => format!("{:.0e}", 2f64.powi(power)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(share: f64) -> Bar {
        Bar {
            label: "layer <0>".into(),
            parts: vec![Part {
                class: "sum",
                title: "a & b".into(),
                share,
            }],
        }
    }

    #[test]
    fn what_passes_the_limit_is_drawn_beyond_it() {
        assert_eq!(ends(&[bar(0.01)]), (-FEWEST, 0));
        assert_eq!(ends(&[bar(3.0), bar(1e-30)]), (-MOST, 3));
        let chart = bars(
            "name",
            "axis",
            &[bar(0.5), bar(3.0), bar(f64::INFINITY), bar(0.0)],
        );
        assert_eq!(chart.matches("bar sum over").count(), 2, "{chart}");
        assert_eq!(chart.matches("bar sum\"").count(), 2, "{chart}");
        assert!(chart.contains("layer &lt;0&gt;") && chart.contains("a &amp; b"));
        assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
        assert!(bars("none", "axis", &[]).ends_with("</svg>"));
    }
}
