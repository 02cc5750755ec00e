//! Whether the Neural Engine can take an operation at all: the hard rules, and the evidence for what is left.

mod catalogue;
mod shapes;
mod types;
mod weights;

pub(crate) use shapes::contraction;

use serde::Serialize;

use crate::chip::Chip;
use crate::graph::{Graph, Node};
use crate::rules::{Grade, Rule};

/// What the rules say of one operation.
#[derive(Clone, PartialEq, Debug)]
pub enum Support {
    /// It can't run there, for each of these reasons.
    Refused(Vec<Reason>),
    /// Nothing speaks against it, and this speaks for it.
    Eligible(Evidence),
    /// No rule is about it.
    Unknown,
}

/// Why an operation is kept off the Neural Engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reason {
    /// The rule.
    pub rule: Rule,
    /// How well it is known.
    pub grade: Grade,
    /// What of this operation it is about.
    pub text: String,
    /// What would take the reason away, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Reason {
    pub(crate) fn new(rule: Rule, text: impl Into<String>) -> Self {
        Self {
            rule,
            grade: rule.grade(),
            text: text.into(),
            fix: None,
        }
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What speaks for an operation on the Neural Engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The rule.
    pub rule: Rule,
    /// How sure that is on the chip asked for.
    pub confidence: Confidence,
}

/// How sure a statement is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Carried over from other chips, contested, or inside the tie zone.
    Low,
    /// One good source, or several of the same hardware.
    Medium,
    /// Several sources agree, or Apple says so.
    High,
}

impl Confidence {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// How the sizes a function leaves open are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sizes {
    /// All are known.
    Fixed,
    /// A list of shapes.
    Enumerated,
    /// Any between two bounds.
    Range,
}

/// Holds one operation against the rules.
pub fn support(graph: &Graph<'_>, node: &Node<'_>, chip: &Chip, sizes: Sizes) -> Support {
    let mut reasons = Vec::new();
    let listed = catalogue::listed(node, chip);
    if let Err(reason) = &listed {
        reasons.push(reason.clone());
    }
    types::check(graph, node, &mut reasons);
    shapes::check(node, chip, sizes, &mut reasons);
    weights::check(graph, node, &mut reasons);
    if !reasons.is_empty() {
        return Support::Refused(reasons);
    }
    match listed {
        Ok(Some(rule)) => {
            let open = node.results().any(|ty| ty.known_shape().is_none());
            let (rule, contested) = match sizes {
                Sizes::Enumerated if open => (Rule::S12, true),
                _ => (rule, rule.grade() == Grade::Contested),
            };
            let confidence = match (contested, chip.is_measured_model()) {
                (true, _) => Confidence::Low,
                (false, true) => Confidence::High,
                (false, false) => Confidence::Medium,
            };
            Support::Eligible(Evidence { rule, confidence })
        }
        _ => Support::Unknown,
    }
}
