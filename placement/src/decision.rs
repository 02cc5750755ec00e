//! What the segmenter is taken to decide for a function: Neural Engine, CPU, or too near to tell.

use serde::Serialize;

use crate::chip::{Chip, Os};
use crate::explain::Unit;
use crate::rules::Rule;
use crate::segment::{Prices, Segmentation};
use crate::support::{Confidence, Sizes};
use crate::work::Work;

/// The decision about a whole function: whether any of it goes to the Neural Engine.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Decision {
    /// The unit of its products, or undetermined inside the tie zone.
    pub unit: Unit,
    /// The unit that is cheaper by the model, however little.
    pub leaning: Unit,
    /// How sure that is.
    pub confidence: Confidence,
    /// By how many milliseconds of estimated time; absent when nothing can run on the Neural Engine.
    pub margin_ms: Option<f64>,
    /// Estimated time with everything on the CPU.
    pub all_cpu_ms: f64,
    /// Estimated time of the cheapest way that uses the Neural Engine, fixed costs included.
    pub with_ane_ms: Option<f64>,
    /// What that way pays for launches, changes of unit and results.
    pub fixed_ms: f64,
    /// Why it is as sure as it is.
    pub notes: Vec<String>,
    /// What it rests on.
    pub rules: Vec<Rule>,
}

/// The facts a decision is made from.
pub(crate) struct Facts<'a> {
    pub(crate) segmentation: &'a Segmentation,
    pub(crate) work: &'a Work,
    pub(crate) chip: &'a Chip,
    pub(crate) os: Os,
    pub(crate) sizes: Sizes,
    /// Whether some size of an operation the Neural Engine could take is known only at prediction.
    pub(crate) open: bool,
}

pub(crate) fn decide(facts: &Facts<'_>, prices: &Prices) -> Decision {
    let found = facts.segmentation;
    let possible = found.with_ane_ms.is_finite();
    let difference = found.all_cpu_ms - found.with_ane_ms;
    let leaning = if possible && difference > 0.0 {
        Unit::Ane
    } else {
        Unit::Cpu
    };
    let mut decision = Decision {
        unit: leaning,
        leaning,
        confidence: Confidence::High,
        margin_ms: possible.then(|| difference.abs()),
        all_cpu_ms: found.all_cpu_ms,
        with_ane_ms: possible.then_some(found.with_ane_ms),
        fixed_ms: found.fixed_ms,
        notes: Vec::new(),
        rules: vec![Rule::P1],
    };
    if !possible {
        decision
            .notes
            .push("no operation can run on the Neural Engine".into());
        return decision;
    }
    decision.rules.extend([Rule::P2, Rule::P3, Rule::P4]);
    if facts.open {
        decision.unit = Unit::Undetermined;
        decision.confidence = Confidence::Low;
        decision.margin_ms = None;
        decision.rules.extend([Rule::S11, Rule::S12]);
        decision.notes.push(match facts.sizes {
            Sizes::Enumerated => "the shapes are enumerated: documented to run there, measured not to".into(),
            _ => "some sizes are known only at prediction".into(),
        });
        return decision;
    }
    let gflop = facts.work.flops as f64 / 1e9;
    let tie = difference.abs() < prices.tie_ms;
    let small = gflop < prices.least_gflop;
    if tie || small {
        decision.unit = Unit::Undetermined;
        decision.confidence = Confidence::Low;
        decision.rules.push(Rule::P5);
        if tie {
            decision.notes.push(format!("nearer than {} ms", prices.tie_ms));
        }
        if small {
            decision.notes.push(format!(
                "{gflop:.3} GFLOP, too little to tell below {}",
                prices.least_gflop
            ));
        }
        return decision;
    }
    decision.confidence = if facts.chip.is_measured_model() {
        Confidence::Medium
    } else {
        decision.notes.push(format!(
            "priced as for M4: nobody published what {} charges",
            facts.chip.name
        ));
        Confidence::Low
    };
    if facts.os.number() < 27 {
        decision.notes.push(format!(
            "the prices are macOS 27's, those of {} are not published",
            facts.os
        ));
    }
    decision
}
