//! What in a function makes it leave the Neural Engine, slow or wrong there, and what to do about it.

mod layout;
mod numbers;

use corer_mil::Function;
use serde::Serialize;

use crate::chip::{Chip, Os};
use crate::graph::Graph;
use crate::rules::{Grade, Rule};
use crate::support::Support;

/// One finding, for all operations it is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How well it is known.
    pub grade: Grade,
    /// What it costs.
    pub kind: Kind,
    /// What is there.
    pub text: String,
    /// What to do.
    pub fix: String,
    /// Names of the operations, or of inputs and outputs.
    pub operations: Vec<String>,
}

/// What a finding costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The operations leave the Neural Engine.
    Placement,
    /// Results may be wrong.
    Numbers,
    /// It takes longer, or more memory.
    Speed,
}

impl Kind {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Placement => "placement",
            Self::Numbers => "numbers",
            Self::Speed => "speed",
        }
    }
}

/// What lints look at.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) function: &'a Function,
    pub(crate) graph: &'a Graph<'a>,
    pub(crate) chip: &'a Chip,
    pub(crate) os: Os,
}

/// Findings while they are collected: the same said of several operations is one.
#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, rule: Rule, kind: Kind, text: String, fix: &str, operation: &str) {
        let same =
            |finding: &&mut Finding| finding.rule == rule && finding.text == text && finding.fix == fix;
        match self.0.iter_mut().find(same) {
            Some(finding) => finding.operations.push(operation.to_owned()),
            None => self.0.push(Finding {
                rule,
                grade: rule.grade(),
                kind,
                text,
                fix: fix.to_owned(),
                operations: vec![operation.to_owned()],
            }),
        }
    }
}

/// All findings of a function: first what keeps operations off the Neural Engine and can be changed, then numbers, then
/// speed.
pub(crate) fn lint(subject: Subject<'_>, supports: &[Support]) -> Vec<Finding> {
    let mut findings = Findings::default();
    for (node, support) in subject.graph.nodes.iter().zip(supports) {
        let Support::Refused(reasons) = support else {
            continue;
        };
        for reason in reasons {
            if let Some(fix) = &reason.fix {
                let name = node.operation.name();
                findings.add(reason.rule, Kind::Placement, reason.text.clone(), fix, name);
            }
        }
    }
    numbers::check(subject, &mut findings);
    layout::check(subject, &mut findings);
    findings.0.sort_by_key(|finding| finding.kind);
    findings.0
}
