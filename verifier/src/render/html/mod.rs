//! One self-contained HTML page: style and charts inline, no script, nothing fetched.
//!
//! `report.html.j2` is the page, with everything escaped that is not said to be safe; these modules say what stands in
//! it, one for each kind of section. A section is there when the report has what it shows.

mod drift;
mod errors;
mod gate;
mod meaning;
mod numerics;
mod outputs;
mod provenance;
mod variant;
mod worst;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

use self::variant::Variant;
use super::{Document, RenderError};

const TEMPLATE: &str = include_str!("../report.html.j2");
const STYLE: &str = include_str!("../report.css");

/// The document as one HTML page.
///
/// # Errors
/// When it can't be written, which would be a defect here.
pub fn html(document: &Document<'_>) -> Result<String, RenderError> {
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    let whitespace = whitespace.map_err(failure)?;
    environment.set_syntax(whitespace);
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    // The name's ending turns escaping on.
    let page = environment.add_template("report.html", TEMPLATE).and_then(|()| {
        environment
            .get_template("report.html")?
            .render(Serde(Page::of(document)))
    });
    page.map_err(failure)
}

fn failure(error: minijinja::Error) -> RenderError {
    RenderError {
        what: "HTML report",
        reason: format!("{error:#}"),
    }
}

#[derive(Serialize)]
struct Page<'a> {
    style: Value,
    title: &'a str,
    verdict: Mark,
    headline: String,
    corer: &'a str,
    tool: Option<&'a str>,
    variants: Vec<Variant<'a>>,
}

/// A verdict as word and style.
#[derive(Serialize)]
struct Mark {
    class: &'static str,
    word: &'static str,
    sign: &'static str,
}

impl Mark {
    const fn of(passed: bool, warned: bool) -> Self {
        match (passed, warned) {
            (true, false) => Self::PASSED,
            (true, true) => Self::WARNED,
            (false, _) => Self::FAILED,
        }
    }

    const PASSED: Self = Self {
        class: "pass",
        word: "Passed",
        sign: "✓",
    };
    const WARNED: Self = Self {
        class: "warn",
        word: "Passed with warnings",
        sign: "!",
    };
    const PARTIAL: Self = Self {
        class: "fail",
        word: "Partial",
        sign: "…",
    };
    const FAILED: Self = Self {
        class: "fail",
        word: "Failed",
        sign: "✕",
    };
}

impl<'a> Page<'a> {
    fn of(document: &'a Document<'a>) -> Self {
        let first = document.entries.first().map(|entry| entry.report);
        Self {
            style: Value::from_safe_string(STYLE.to_owned()),
            title: document.title,
            verdict: match document.interrupted() && document.entries.len() == 1 {
                true => Mark::PARTIAL,
                false => Mark::of(document.passed(), document.warned()),
            },
            headline: document.headline(),
            corer: first.map_or("", |report| &report.corer),
            tool: first.and_then(|report| report.tool_sha256.as_deref()),
            variants: document.entries.iter().enumerate().map(Variant::of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, examples};
    use super::*;

    fn page(entries: &[Entry<'_>]) -> String {
        html(&Document {
            title: "Tiny </title><script>alert(1)</script>",
            entries,
        })
        .expect("a page")
    }

    #[test]
    fn nothing_of_others_is_markup_and_nothing_is_fetched() {
        let (good, bad) = (examples::passed(), examples::failed());
        let text = page(&[
            Entry {
                name: "<i>",
                report: &good,
            },
            Entry {
                name: "int8",
                report: &bad,
            },
        ]);
        for forbidden in [
            "<script",
            "<i>",
            "<b>",
            "http:",
            "https:",
            "url(",
            "@import",
            "javascript:",
        ] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        assert!(
            text.contains("&lt;b&gt;markup&lt;&#x2f;b&gt;"),
            "texts are shown as they are"
        );
        assert_eq!(
            text,
            page(&[
                Entry {
                    name: "<i>",
                    report: &good
                },
                Entry {
                    name: "int8",
                    report: &bad
                },
            ])
        );
    }

    #[test]
    fn the_verdict_comes_first_and_sections_follow() {
        let (good, bad) = (examples::passed(), examples::failed());
        let passed = page(&[Entry {
            name: "fp16",
            report: &good,
        }]);
        let body = passed.split_once("<body>").expect("a body").1;
        let order = [
            "Passed",
            "<h1",
            "id=\"variants\"",
            "id=\"variant-1\"",
            "<svg",
            "Worst inputs",
            "Provenance",
        ];
        let places: Vec<_> = order
            .iter()
            .map(|part| body.find(part).unwrap_or_else(|| panic!("{part}")))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert!(!body.contains("Failed") && !body.contains("class=\"reasons\""));
        let failed = page(&[
            Entry {
                name: "fp16",
                report: &good,
            },
            Entry {
                name: "int8",
                report: &bad,
            },
        ]);
        let body = failed.split_once("<body>").expect("a body").1;
        assert!(body.find("Failed").expect("a verdict") < body.find("<h1").expect("a heading"));
        assert!(body.contains("1.75 where the reference has 2") && body.contains("would pass"));
    }

    #[test]
    fn everything_looked_into_is_shown() {
        let report = examples::looked_into();
        let text = page(&[Entry {
            name: "fp16",
            report: &report,
        }]);
        let body = text.split_once("<body>").expect("a body").1;
        for shown in [
            "Passed with warnings",
            "a sum reaches 40000",
            "layer &lt;1&gt; linear",
            "0.82 ×",
            "bar sum over",
            "61.25 dB",
            "N1 ",
            "0.7375",
            "-0.0300 to +0.0100",
            "KL divergence",
        ] {
            assert!(body.contains(shown), "{shown}");
        }
        assert!(!body.contains("layer <1>"));
    }

    #[test]
    fn a_partial_result_is_marked() {
        let mut report = examples::passed();
        report.interrupted = true;
        report.verdict = report.verdict.unless(true);
        let text = page(&[Entry {
            name: "fp16",
            report: &report,
        }]);
        let body = text.split_once("<body>").expect("a body").1;
        let verdict = body.find("Partial").expect("a mark");
        assert!(verdict < body.find("<h1").expect("a heading"));
        assert!(body.contains("Stopped before all inputs were compared"));
    }

    #[test]
    fn a_departure_is_named_and_drawn() {
        let mut report = examples::failed();
        report.drift = Some(examples::departed());
        let text = page(&[Entry {
            name: "int8",
            report: &report,
        }]);
        assert!(
            text.contains("Departs first at <code>encoder_layer_0_&lt;dense&gt; (linear) in encoder.layer.0")
        );
        // Past the limit in both ways of looking; the block before it in neither.
        assert!(
            text.contains(r#"<rect class="bar result over""#)
                && text.contains(r#"<rect class="bar sum over""#)
        );
        assert!(text.contains("<title>embeddings: gathered 70.00 dB</title>"));
        assert!(text.contains("<title>encoder.layer.0: by itself 13.25 dB</title>"));
        report.drift = None;
        report.drift_missing = Some("a recording has no inner values".into());
        let text = page(&[Entry {
            name: "int8",
            report: &report,
        }]);
        assert!(text.contains("Not looked for: a recording has no inner values"));
    }
}
