//! The explanation of a package: for each function, where each operation will run and why.

use std::collections::BTreeMap;

use corer_mil::Function;
use corer_proto::{Feature, FeatureType, Flexibility, Model};
use serde::Serialize;

use crate::chip::{Chip, Os};
use crate::decision::{Decision, Facts, decide};
use crate::graph::{Graph, Node};
use crate::lints::{Finding, Subject, lint};
use crate::roofline::{Bound, bounds};
use crate::rules::{Grade, Rule};
use crate::segment::{Prices, Segmentation, Step, Times, segment};
use crate::support::{Confidence, Reason, Sizes, Support, support};
use crate::work::{Work, work};

/// Why a package can't be explained for a system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system doesn't load it.
    #[error("the package is for {needs} or newer, {os} doesn't load it")]
    TooOld {
        /// What the package needs.
        needs: &'static str,
        /// The system asked for.
        os: Os,
    },
    /// Nothing to explain.
    #[error("function `{0}` has no body for its opset")]
    NoBody(String),
}

/// Where the operations of a package will run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// Id of the chip.
    pub chip: String,
    /// Number of the system's release, as iOS counts.
    pub os: Os,
    /// Units the caller is taken to allow (rule P11).
    pub compute_units: &'static str,
    /// One for each function, in the order of the package.
    pub functions: Vec<FunctionExplanation>,
    /// The rules named, each once.
    pub rules: Vec<RuleText>,
}

/// A rule, written out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleText {
    /// Id.
    pub id: Rule,
    /// How well it is known.
    pub grade: Grade,
    /// Chips and systems it is known for.
    pub on: &'static str,
    /// What it says.
    pub says: &'static str,
    /// Who found it.
    pub source: &'static str,
}

impl From<Rule> for RuleText {
    fn from(rule: Rule) -> Self {
        Self {
            id: rule,
            grade: rule.grade(),
            on: rule.on(),
            says: rule.says(),
            source: rule.source(),
        }
    }
}

/// Where the operations of one function will run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FunctionExplanation {
    /// Name.
    pub name: String,
    /// Whether its sizes are fixed.
    pub sizes: Sizes,
    /// Rows in one call: the first size of the inputs, 1 where it is open.
    pub batch: u64,
    /// What the whole is taken to do.
    pub decision: Decision,
    /// How many operations end on each unit.
    pub units: BTreeMap<Unit, usize>,
    /// The work of all operations but lookups.
    pub work: Work,
    /// The least time that work takes, on the chip asked for first.
    pub bounds: Vec<Bound>,
    /// What to look at.
    pub findings: Vec<Finding>,
    /// One for each operation that is computed at prediction, in the order of the file.
    pub operations: Vec<OperationExplanation>,
}

/// A unit an operation may run on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Neural Engine.
    Ane,
    /// CPU.
    Cpu,
    /// No rule tells.
    Undetermined,
}

impl Unit {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ane => "ANE",
            Self::Cpu => "CPU",
            Self::Undetermined => "?",
        }
    }
}

/// Where one operation will run, and why.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OperationExplanation {
    /// Name.
    pub name: String,
    /// Operation type.
    pub op: String,
    /// Type of the first result.
    pub result: String,
    /// The unit.
    pub unit: Unit,
    /// How sure that is.
    pub confidence: Confidence,
    /// Whether the other unit costs so little more that the model doesn't tell: operations at the edge of a stretch.
    pub edge: bool,
    /// What the cheapest way with the operation on the other unit costs more, in milliseconds of estimated time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin_ms: Option<f64>,
    /// Estimated times on both units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Times>,
    /// What it has to do; absent when a size is known only at prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// What keeps it off the Neural Engine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// The rule by which the Neural Engine can take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eligible_by: Option<Rule>,
}

/// Explains every function of a model for a chip and a system.
///
/// # Errors
/// When the system is older than the package, or a function has no body.
pub fn explain(model: &Model, chip: &Chip, os: Os) -> Result<Explanation, Error> {
    let newest = model
        .program
        .functions
        .values()
        .map(|function| function.opset)
        .max();
    if let Some(opset) = newest
        && opset > os.target().opset()
    {
        return Err(Error::TooOld {
            needs: opset.target().name(),
            os,
        });
    }
    let mut functions = Vec::new();
    for (name, function) in &model.program.functions {
        if function.body().is_none() {
            return Err(Error::NoBody(name.clone()));
        }
        functions.push(explain_function(model, name, function, chip, os));
    }
    let rules = named(&functions);
    Ok(Explanation {
        chip: chip.id.clone(),
        os,
        compute_units: "cpuAndNeuralEngine",
        functions,
        rules,
    })
}

fn explain_function(
    model: &Model,
    name: &str,
    function: &Function,
    chip: &Chip,
    os: Os,
) -> FunctionExplanation {
    let sizes = sizes(model, name);
    let graph = Graph::of(function);
    let prices = Prices::published();
    let supports: Vec<_> = graph
        .nodes
        .iter()
        .map(|node| support(&graph, node, chip, sizes))
        .collect();
    let works: Vec<_> = graph.nodes.iter().map(|node| work(&graph, node)).collect();
    let steps: Vec<_> = graph
        .nodes
        .iter()
        .zip(supports.iter().zip(&works))
        .map(|(node, (support, work))| Step {
            times: work.map_or(Times::default(), |work| {
                prices.estimate(&node.operation.op, &work)
            }),
            eligible: matches!(support, Support::Eligible(_)),
            gives_output: node.gives_output,
        })
        .collect();
    let segmentation = segment(&steps, prices);
    // Lookups are the CPU's and their tables are read in part.
    let total = graph
        .nodes
        .iter()
        .zip(&works)
        .filter(|(node, _)| !node.operation.op.starts_with("gather"))
        .filter_map(|(_, work)| *work)
        .fold(Work::default(), Work::plus);
    let open = steps
        .iter()
        .zip(&works)
        .any(|(step, work)| step.eligible && work.is_none());
    let facts = Facts {
        segmentation: &segmentation,
        work: &total,
        chip,
        os,
        sizes,
        open,
    };
    let decision = decide(&facts, prices);
    let operations: Vec<_> = graph
        .nodes
        .iter()
        .zip(supports.iter().zip(&works))
        .enumerate()
        .map(|(index, (node, (support, work)))| {
            let mut operation = describe(node, support);
            operation.work = *work;
            operation.estimate = work.is_some().then_some(steps[index].times);
            if matches!(support, Support::Eligible(_)) {
                place(&mut operation, index, &segmentation, &decision, prices);
            }
            operation
        })
        .collect();
    let mut units = BTreeMap::new();
    for operation in &operations {
        *units.entry(operation.unit).or_default() += 1;
    }
    let others = Chip::all().iter().filter(|other| other.id != chip.id);
    let subject = Subject {
        function,
        graph: &graph,
        chip,
        os,
    };
    FunctionExplanation {
        name: name.to_owned(),
        sizes,
        batch: batch(function),
        decision,
        units,
        work: total,
        bounds: std::iter::once(chip)
            .chain(others)
            .flat_map(|chip| bounds(&total, chip))
            .collect(),
        findings: lint(subject, &supports),
        operations,
    }
}

/// Rows in one call.
fn batch(function: &Function) -> u64 {
    let tensors = function.inputs.iter().filter_map(|input| input.ty.as_tensor());
    let first = tensors
        .filter(|ty| ty.rank() > 1)
        .filter_map(|ty| ty.shape[0].known());
    first.max().unwrap_or(1)
}

/// Everything about an operation that doesn't depend on its neighbours.
fn describe(node: &Node<'_>, support: &Support) -> OperationExplanation {
    let (unit, confidence, reasons, eligible_by) = match support {
        Support::Refused(reasons) => {
            let known = |reason: &Reason| !matches!(reason.grade, Grade::Contested | Grade::Folklore);
            let confidence = if reasons.iter().any(known) {
                Confidence::High
            } else {
                Confidence::Medium
            };
            (Unit::Cpu, confidence, reasons.clone(), None)
        }
        Support::Eligible(evidence) => (Unit::Ane, evidence.confidence, Vec::new(), Some(evidence.rule)),
        Support::Unknown => (Unit::Undetermined, Confidence::Low, Vec::new(), None),
    };
    OperationExplanation {
        name: node.operation.name().to_owned(),
        op: node.operation.op.clone(),
        result: node
            .operation
            .outputs
            .first()
            .map_or(String::new(), |output| output.ty.to_string()),
        unit,
        confidence,
        edge: false,
        margin_ms: None,
        estimate: None,
        work: None,
        reasons,
        eligible_by,
    }
}

/// The unit of an operation the Neural Engine can take, by what the whole does.
fn place(
    operation: &mut OperationExplanation,
    index: usize,
    found: &Segmentation,
    decision: &Decision,
    prices: &Prices,
) {
    let margin = found.margins_ms[index];
    operation.margin_ms = (margin.is_finite() && decision.margin_ms.is_some()).then_some(margin);
    operation.confidence = operation.confidence.min(decision.confidence);
    match decision.unit {
        Unit::Undetermined => operation.unit = Unit::Undetermined,
        Unit::Cpu => operation.unit = Unit::Cpu,
        Unit::Ane => {
            // At the edges of a stretch an operation costs much the same on both sides (rule P13): it is counted to
            // the stretch, and marked.
            operation.edge = margin < prices.tie_ms;
            operation.unit = if found.on_ane[index] || operation.edge {
                Unit::Ane
            } else {
                Unit::Cpu
            };
            if operation.edge {
                operation.confidence = Confidence::Low;
            }
        }
    }
}

/// How a function's sizes are given: open in the program, and listed or bounded in the description.
fn sizes(model: &Model, name: &str) -> Sizes {
    let description = &model.description;
    let own = description
        .functions
        .iter()
        .find(|function| function.name == name);
    let inputs: &[Feature] = own.map_or(&description.inputs, |own| &own.inputs);
    let mut sizes = Sizes::Fixed;
    for input in inputs {
        if let FeatureType::MultiArray { flexibility, .. } = &input.ty {
            match flexibility {
                Flexibility::Fixed => {}
                Flexibility::Enumerated(_) if sizes == Sizes::Fixed => sizes = Sizes::Enumerated,
                Flexibility::Enumerated(_) => {}
                Flexibility::Range(_) => sizes = Sizes::Range,
            }
        }
    }
    sizes
}

/// The rules an explanation names, in the order of the table.
fn named(functions: &[FunctionExplanation]) -> Vec<RuleText> {
    let mut rules = vec![Rule::P11, Rule::P14];
    for function in functions {
        rules.extend(&function.decision.rules);
        rules.extend(function.findings.iter().map(|finding| finding.rule));
        for operation in &function.operations {
            rules.extend(operation.reasons.iter().map(|reason| reason.rule));
            rules.extend(operation.eligible_by);
            rules.extend(operation.edge.then_some(Rule::P13));
        }
    }
    rules.sort_unstable();
    rules.dedup();
    rules.into_iter().map(RuleText::from).collect()
}
