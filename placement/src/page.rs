//! An explanation as one self-contained HTML page: style inline, no script, nothing fetched.

use std::fmt::{self, Display, Formatter, Write};

use crate::chip::Chip;
use crate::explain::{Explanation, FunctionExplanation, OperationExplanation, Unit};
use crate::recommend::Recommendation;
use crate::roofline::Figures;

const STYLE: &str = include_str!("page.css");

/// What a page shows besides the explanation.
#[derive(Clone, Copy, Debug)]
pub struct Heading<'a> {
    /// The package, as people know it.
    pub title: &'a str,
    /// The chip the explanation is for.
    pub chip: &'a Chip,
    /// Advice by function, where it was asked for.
    pub advice: &'a [(&'a str, &'a Recommendation)],
}

/// The page.
pub fn page(explanation: &Explanation, heading: Heading<'_>) -> String {
    let mut out = String::new();
    // A string takes whatever is written.
    let _ = write_page(&mut out, explanation, heading);
    out
}

/// Text of a package, which may hold anything.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Ane => "<span class=\"ane\">ANE</span>",
        Unit::Cpu => "<span class=\"cpu\">CPU</span>",
        Unit::Undetermined => "<span class=\"open\">undetermined</span>",
    }
}

fn write_page(out: &mut String, explanation: &Explanation, heading: Heading<'_>) -> fmt::Result {
    let title = Escaped(heading.title);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Placement: {title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )?;
    writeln!(
        out,
        "<p>Predicted for {} and {}, with the units CPU and Neural Engine. Nothing here was measured: it follows from \
         published rules and prices. Only a compute plan made on the device settles where an operation runs.</p>",
        Escaped(&heading.chip.name),
        explanation.os
    )?;
    for function in &explanation.functions {
        write_function(out, function, heading)?;
    }
    out.push_str("<h2 id=\"rules\">Rules</h2>\n<table>\n<thead><tr><th>Rule</th><th>Says</th><th>Grade</th><th>Known for</th><th>Source</th></tr></thead>\n<tbody>\n");
    for rule in &explanation.rules {
        writeln!(
            out,
            "<tr id=\"{id}\"><th>{id}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"quiet\">{}</td></tr>",
            Escaped(rule.says),
            rule.grade.name(),
            Escaped(rule.on),
            Escaped(rule.source),
            id = rule.id.id(),
        )?;
    }
    out.push_str("</tbody>\n</table>\n</body>\n</html>\n");
    Ok(())
}

fn write_function(out: &mut String, function: &FunctionExplanation, heading: Heading<'_>) -> fmt::Result {
    let decision = &function.decision;
    writeln!(out, "<h2>Function {}</h2>", Escaped(&function.name))?;
    write!(out, "<p>{}", unit(decision.unit))?;
    if let (Some(margin), Some(with_ane)) = (decision.margin_ms, decision.with_ane_ms) {
        write!(
            out,
            ", {} by {margin:.3} ms of estimated time: {:.3} ms on the CPU, {with_ane:.3} ms with the Neural Engine, {:.3} of \
             them fixed",
            decision.leaning.name(),
            decision.all_cpu_ms,
            decision.fixed_ms
        )?;
    }
    write!(out, ". Confidence {}. Rules", decision.confidence.name())?;
    for rule in &decision.rules {
        write!(out, " <a href=\"#{id}\">{id}</a>", id = rule.id())?;
    }
    out.push_str(".</p>\n");
    for note in &decision.notes {
        writeln!(out, "<p class=\"quiet\">{}</p>", Escaped(note))?;
    }
    for (_, advice) in heading.advice.iter().filter(|(name, _)| *name == function.name) {
        writeln!(
            out,
            "<p>Ask for <strong>{}</strong> ({}, confidence {}): {}.</p>",
            advice.compute_units.name(),
            advice.basis.name(),
            advice.confidence.name(),
            Escaped(&advice.reasons.join("; "))
        )?;
    }
    if !function.findings.is_empty() {
        out.push_str("<h3>What to change</h3>\n<table>\n<thead><tr><th>Concerns</th><th>Rule</th><th>Found</th><th>Instead</th><th>Where</th></tr></thead>\n<tbody>\n");
        for finding in &function.findings {
            writeln!(
                out,
                "<tr><td>{}</td><td><a href=\"#{id}\">{id}</a></td><td>{}</td><td>{}</td><td class=\"quiet\">{}</td></tr>",
                finding.kind.name(),
                Escaped(&finding.text),
                Escaped(&finding.fix),
                Escaped(&finding.operations.join(", ")),
                id = finding.rule.id(),
            )?;
        }
        out.push_str("</tbody>\n</table>\n");
    }
    write_bounds(out, function)?;
    out.push_str("<h3>Operations</h3>\n<table>\n<thead><tr><th>Unit</th><th>Operation</th><th>Name</th><th class=\"n\">MFLOP</th><th class=\"n\">Weights, KiB</th><th class=\"n\">Activations, KiB</th><th>Why</th></tr></thead>\n<tbody>\n");
    for operation in &function.operations {
        write_operation(out, operation)?;
    }
    out.push_str("</tbody>\n</table>\n");
    Ok(())
}

fn write_bounds(out: &mut String, function: &FunctionExplanation) -> fmt::Result {
    writeln!(
        out,
        "<h3>Least time</h3>\n<p>{:.3} GFLOP, {:.1} MB of weights, {:.1} MB of activations. Computing and reading weights are \
         taken to overlap perfectly; a call adds its own cost.</p>",
        function.work.flops as f64 / 1e9,
        function.work.weight_bytes as f64 / 1e6,
        function.work.activation_bytes as f64 / 1e6
    )?;
    out.push_str("<table>\n<thead><tr><th>Chip</th><th>Figures</th><th class=\"n\">Computing, ms</th><th class=\"n\">Reading weights, ms</th><th class=\"n\">At least, ms</th></tr></thead>\n<tbody>\n");
    let ms = |ms: Option<f64>| ms.map_or("unknown".to_owned(), |ms| format!("{ms:.3}"));
    for bound in &function.bounds {
        let figures = match bound.figures {
            Figures::Published => "published",
            Figures::Measured => "measured by others",
        };
        writeln!(
            out,
            "<tr><th>{}</th><td>{figures}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Escaped(&bound.chip),
            ms(bound.compute_ms),
            ms(bound.read_ms),
            ms(bound.bound_ms)
        )?;
    }
    out.push_str("</tbody>\n</table>\n");
    Ok(())
}

fn write_operation(out: &mut String, operation: &OperationExplanation) -> fmt::Result {
    write!(
        out,
        "<tr><td>{}{}</td><td>{}</td><td>{}</td>",
        unit(operation.unit),
        if operation.edge { " (edge)" } else { "" },
        Escaped(&operation.op),
        Escaped(&operation.name)
    )?;
    match &operation.work {
        Some(work) => write!(
            out,
            "<td class=\"n\">{:.3}</td><td class=\"n\">{:.1}</td><td class=\"n\">{:.1}</td><td>",
            work.flops as f64 / 1e6,
            work.weight_bytes as f64 / 1024.0,
            work.activation_bytes as f64 / 1024.0
        )?,
        None => out.push_str("<td class=\"n\"></td><td class=\"n\"></td><td class=\"n\"></td><td>"),
    }
    for reason in &operation.reasons {
        write!(
            out,
            "<a href=\"#{id}\">{id}</a> {}; ",
            Escaped(&reason.text),
            id = reason.rule.id()
        )?;
    }
    if let Some(rule) = operation.eligible_by {
        write!(out, "<a href=\"#{id}\">{id}</a>", id = rule.id())?;
    }
    out.push_str("</td></tr>\n");
    Ok(())
}
