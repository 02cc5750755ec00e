//! Charts as inline SVG: no script, coloured by the page's style sheet, so that they follow dark mode and print.
//!
//! A chart is 360 units wide, the width of a phone's column, so that its letters have their own size there.

mod bars;
mod histogram;

pub(super) use bars::{Bar, Part, bars};
pub(super) use histogram::{Column, histogram};

const WIDTH: f64 = 360.0;
/// Where bars from the left begin and end.
const LEFT_TO_RIGHT: [f64; 2] = [2.0, 338.0];
/// Most characters of a name in a chart: as many of the widest usual letters as fit.
const LONGEST_NAME: usize = 46;

/// A name that fits, its middle left out: what tells operations apart stands at both ends.
fn shortened(name: &str) -> String {
    let letters: Vec<_> = name.chars().collect();
    if letters.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let half = LONGEST_NAME / 2;
    let start = letters[..half].iter();
    let end = letters[letters.len() + 1 + half - LONGEST_NAME..].iter();
    start.chain(&['…']).chain(end).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_both_ends() {
        assert_eq!(shortened("short"), "short");
        let long = format!("encoder{}query", "_".repeat(80));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), LONGEST_NAME);
        assert!(
            short.starts_with("encoder_") && short.ends_with("_query"),
            "{short}"
        );
    }
}
