//! An explanation on the terminal: the decision, the operations by unit and reason, bounds, findings, rules.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use corer_placement::lints::{Finding, Kind};
use corer_placement::roofline::{Bound, Figures};
use corer_placement::{Chip, Explanation, FunctionExplanation, OperationExplanation, Unit};

use super::Advice;
use crate::failure::bold;
use crate::output;

/// How many names stand for all of a list.
const NAMES: usize = 2;

/// What is shown.
pub(super) struct View<'a> {
    pub(super) path: &'a str,
    pub(super) chip: &'a Chip,
    pub(super) explanation: &'a Explanation,
    pub(super) recommendations: &'a [Advice],
    pub(super) all: bool,
}

impl View<'_> {
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = bold(AnsiColor::Green);
        let dim = Style::new().dimmed();
        writeln!(out, "{head}{}{head:#}", self.path)?;
        writeln!(
            out,
            "  predicted for {} and {}, with the units CPU and Neural Engine; a compute plan made there settles it",
            self.chip.name, self.explanation.os
        )?;
        for function in &self.explanation.functions {
            let counts = function.units.iter();
            let counts: Vec<_> = counts
                .map(|(unit, count)| format!("{count} {}", unit.name()))
                .collect();
            writeln!(
                out,
                "\n{head}function {}{head:#} {dim}({}){dim:#}",
                function.name,
                counts.join(", ")
            )?;
            decision(out, function)?;
            let advice = self
                .recommendations
                .iter()
                .find(|advice| advice.function == function.name);
            if let Some(advice) = advice {
                recommendation(out, advice)?;
            }
            if self.all {
                for operation in &function.operations {
                    operation_line(out, operation)?;
                }
            } else {
                stretches(out, function)?;
            }
            bounds(out, self.chip, function)?;
            for finding in &function.findings {
                finding_lines(out, finding)?;
            }
        }
        self.rules(out)
    }

    fn rules(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = bold(AnsiColor::Green);
        let dim = Style::new().dimmed();
        writeln!(out, "\n{head}rules{head:#}")?;
        // By which rule each operation is eligible is shown with --all only.
        let eligible = |id: &str| id.starts_with('O');
        let named = |id: &str| {
            let operations = self
                .explanation
                .functions
                .iter()
                .flat_map(|function| &function.operations);
            let mut reasons = operations.flat_map(|operation| &operation.reasons);
            reasons.any(|reason| reason.rule.id() == id)
        };
        for rule in &self.explanation.rules {
            let id = rule.id.id();
            if self.all || !eligible(id) || named(id) {
                let grade = rule.grade.name();
                writeln!(out, "  {id:<4} {} {dim}({grade}; {}){dim:#}", rule.says, rule.on)?;
            }
        }
        Ok(())
    }
}

fn style(unit: Unit) -> Style {
    bold(match unit {
        Unit::Ane => AnsiColor::Green,
        Unit::Cpu => AnsiColor::Yellow,
        Unit::Undetermined => AnsiColor::Magenta,
    })
}

fn decision(out: &mut dyn Write, function: &FunctionExplanation) -> io::Result<()> {
    let decision = &function.decision;
    let style = style(decision.unit);
    let unit = match decision.unit {
        Unit::Undetermined => "undetermined",
        unit => unit.name(),
    };
    let rules: Vec<_> = decision.rules.iter().map(|rule| rule.id()).collect();
    write!(out, "  {style}{unit}{style:#}")?;
    if decision.unit != decision.leaning && decision.margin_ms.is_some() {
        write!(out, ", leaning to {}", decision.leaning.name())?;
    }
    if let (Some(margin), Some(with_ane)) = (decision.margin_ms, decision.with_ane_ms) {
        write!(
            out,
            " by {margin:.3} ms of estimated time: {:.3} on the CPU, {with_ane:.3} with the Neural Engine ({:.3} fixed)",
            decision.all_cpu_ms, decision.fixed_ms
        )?;
    }
    writeln!(
        out,
        "; confidence {} ({})",
        decision.confidence.name(),
        rules.join(", ")
    )?;
    for note in &decision.notes {
        writeln!(out, "    {note}")?;
    }
    Ok(())
}

fn recommendation(out: &mut dyn Write, advice: &Advice) -> io::Result<()> {
    let cyan = bold(AnsiColor::Cyan);
    let found = &advice.recommendation;
    writeln!(
        out,
        "  {cyan}ask for {}{cyan:#}: {}, confidence {}",
        found.compute_units.name(),
        found.basis.name(),
        found.confidence.name()
    )?;
    for reason in &found.reasons {
        writeln!(out, "    {reason}")?;
    }
    Ok(())
}

fn operation_line(out: &mut dyn Write, operation: &OperationExplanation) -> io::Result<()> {
    let style = style(operation.unit);
    let dim = Style::new().dimmed();
    let OperationExplanation { name, op, .. } = operation;
    let edge = if operation.edge { "~" } else { " " };
    write!(
        out,
        "  {style}{:>3}{edge}{style:#} {op:<16} {name}",
        operation.unit.name()
    )?;
    if let Some(work) = &operation.work {
        write!(
            out,
            "  {:.3} GFLOP, weights {}, activations {}",
            work.flops as f64 / 1e9,
            output::bytes(work.weight_bytes),
            output::bytes(work.activation_bytes)
        )?;
    }
    writeln!(out, "  {dim}{}{dim:#}", why(operation))
}

/// Rules and reasons of one operation.
fn why(operation: &OperationExplanation) -> String {
    let reasons = operation.reasons.iter();
    let reasons = reasons.map(|reason| format!("{} {}", reason.rule.id(), reason.text));
    let eligible = operation.eligible_by.map(|rule| rule.id().to_owned());
    let parts: Vec<_> = reasons.chain(eligible).collect();
    match parts.as_slice() {
        [] => "no rule is about it".into(),
        parts => parts.join("; "),
    }
}

/// Stretches of neighbours on one unit, each with what keeps its operations there.
fn stretches(out: &mut dyn Write, function: &FunctionExplanation) -> io::Result<()> {
    let dim = Style::new().dimmed();
    for stretch in function.operations.chunk_by(|a, b| a.unit == b.unit) {
        let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else {
            continue;
        };
        let style = style(first.unit);
        let (names, noun) = match stretch {
            [only] => (only.name.clone(), "operation"),
            _ => (format!("{} … {}", first.name, last.name), "operations"),
        };
        writeln!(
            out,
            "  {style}{:<4}{style:#}{:>4} {noun:<10} {names}",
            first.unit.name(),
            stretch.len()
        )?;
        let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let mut by_cost = Vec::new();
        for operation in stretch.iter().filter(|operation| operation.unit != Unit::Ane) {
            match operation.eligible_by {
                Some(_) => by_cost.push(operation.name.as_str()),
                None => reasons.entry(why(operation)).or_default().push(&operation.name),
            }
        }
        for (reason, names) in &reasons {
            writeln!(out, "      ├ {reason}: {dim}{}{dim:#}", shortened(names))?;
        }
        if !by_cost.is_empty() && first.unit == Unit::Cpu {
            writeln!(
                out,
                "      ├ P2 costs less there: {dim}{}{dim:#}",
                shortened(&by_cost)
            )?;
        }
        let edges = stretch.iter().filter(|operation| operation.edge);
        let edges: Vec<_> = edges.map(|operation| operation.name.as_str()).collect();
        if !edges.is_empty() {
            writeln!(
                out,
                "      ├ P13 at an edge, may as well be on the CPU: {dim}{}{dim:#}",
                shortened(&edges)
            )?;
        }
    }
    Ok(())
}

fn shortened(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMES);
    let shown = names[..names.len().min(NAMES)].join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

fn bounds(out: &mut dyn Write, chip: &Chip, function: &FunctionExplanation) -> io::Result<()> {
    let work = &function.work;
    writeln!(
        out,
        "  {:.3} GFLOP, weights {}, activations {}",
        work.flops as f64 / 1e9,
        output::bytes(work.weight_bytes),
        output::bytes(work.activation_bytes)
    )?;
    for bound in function.bounds.iter().filter(|bound| bound.chip == chip.id) {
        writeln!(out, "    {}", bound_line(bound))?;
    }
    Ok(())
}

fn bound_line(bound: &Bound) -> String {
    let ms = |ms: Option<f64>| ms.map_or("unknown".to_owned(), |ms| format!("{ms:.3} ms"));
    let figures = match bound.figures {
        Figures::Published => "published figures",
        Figures::Measured => "figures others measured",
    };
    let mut line = format!(
        "at least {} by {figures}: computing {}, reading weights {}",
        ms(bound.bound_ms),
        ms(bound.compute_ms),
        ms(bound.read_ms)
    );
    if bound.as_products_ms.is_some() {
        line += &format!(", {} if lowered as matrix products", ms(bound.as_products_ms));
    }
    if let Some([least, most]) = bound.call_ms {
        line += &if least == most {
            format!("; a call adds about {least}")
        } else {
            format!("; a call adds {least} to {most}")
        };
    }
    line
}

fn finding_lines(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let style = bold(match finding.kind {
        Kind::Placement | Kind::Numbers => AnsiColor::Yellow,
        Kind::Speed => AnsiColor::Cyan,
    });
    let dim = Style::new().dimmed();
    let names: Vec<_> = finding.operations.iter().map(String::as_str).collect();
    writeln!(
        out,
        "  {style}{}{style:#} {} {}: {dim}{}{dim:#}",
        finding.kind.name(),
        finding.rule.id(),
        finding.text,
        shortened(&names)
    )?;
    writeln!(out, "    └ {}", finding.fix)
}
