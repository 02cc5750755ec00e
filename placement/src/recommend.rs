//! Which unit to ask for, from measurements where there are any, else from the prediction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chip::Chip;
use crate::decision::Decision;
use crate::explain::Unit;
use crate::rules::Rule;
use crate::support::Confidence;
use crate::work::Work;

/// Units as a caller of Core ML asks for them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum ComputeUnits {
    /// CPU alone.
    #[serde(rename = "cpuOnly", alias = "cpu")]
    CpuOnly,
    /// CPU and GPU.
    #[serde(rename = "cpuAndGPU", alias = "cpu+gpu", alias = "gpu")]
    CpuAndGpu,
    /// CPU and Neural Engine.
    #[serde(rename = "cpuAndNeuralEngine", alias = "cpu+ane", alias = "ane")]
    CpuAndNeuralEngine,
    /// Whatever the system chooses.
    #[serde(rename = "all")]
    All,
}

impl ComputeUnits {
    /// The name of Core ML's constant.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuOnly => "cpuOnly",
            Self::CpuAndGpu => "cpuAndGPU",
            Self::CpuAndNeuralEngine => "cpuAndNeuralEngine",
            Self::All => "all",
        }
    }
}

/// What a function was measured to take, in milliseconds at the median, by the units asked for.
pub type Measurements = BTreeMap<ComputeUnits, f64>;

/// Advice for one function.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Recommendation {
    /// What to ask for.
    pub compute_units: ComputeUnits,
    /// What it rests on.
    pub basis: Basis,
    /// How sure it is.
    pub confidence: Confidence,
    /// Why.
    pub reasons: Vec<String>,
    /// Rules it rests on.
    pub rules: Vec<Rule>,
}

/// What advice rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Measured latencies that the caller gave.
    Measured,
    /// The prediction.
    Predicted,
}

impl Basis {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Predicted => "predicted",
        }
    }
}

/// Batches from here on leave the Neural Engine's good range (rule S15: 1.3 times the cost per row at 8, 2.8 at 16).
const LARGE_BATCH: u64 = 16;

/// The most a model may take on the Neural Engine of a phone (rule S16), in bytes.
const LARGEST_ON_A_PHONE: u64 = 1 << 30;

/// What [`recommend`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The decision predicted.
    pub decision: &'a Decision,
    /// All work of the function.
    pub work: &'a Work,
    /// Rows in one call.
    pub batch: u64,
    /// The chip.
    pub chip: &'a Chip,
}

/// Advises on a function.
pub fn recommend(case: &Case<'_>, measured: Option<&Measurements>) -> Recommendation {
    if let Some(found) = measured.and_then(fastest) {
        return found;
    }
    let Case {
        decision,
        work,
        batch,
        chip,
    } = case;
    let predicted = |compute_units, confidence, reasons: Vec<String>, rules: Vec<Rule>| Recommendation {
        compute_units,
        basis: Basis::Predicted,
        confidence,
        reasons,
        rules,
    };
    let size = format!("{:.2} GFLOP a call", work.flops as f64 / 1e9);
    if chip.id.starts_with('a') && work.weight_bytes > LARGEST_ON_A_PHONE {
        return predicted(
            ComputeUnits::CpuAndGpu,
            Confidence::Medium,
            vec!["more than 1 GiB of weights, the most a phone's Neural Engine takes".into()],
            vec![Rule::S16],
        );
    }
    match decision.unit {
        Unit::Ane if *batch >= LARGE_BATCH => predicted(
            ComputeUnits::CpuAndGpu,
            Confidence::Low,
            vec![
                format!(
                    "a batch of {batch}: a row costs several times what it does alone on the Neural Engine"
                ),
                "measure it against cpuAndNeuralEngine with a batch of 1".into(),
            ],
            vec![Rule::S15],
        ),
        Unit::Ane => predicted(
            ComputeUnits::CpuAndNeuralEngine,
            decision.confidence,
            vec![
                format!("{size}, predicted to run on the Neural Engine"),
                "asking for all units may put it on the GPU (P11)".into(),
            ],
            vec![Rule::P2, Rule::P11],
        ),
        Unit::Cpu if decision.margin_ms.is_none() => {
            let (units, why) = if work.flops as f64 >= 1e9 {
                (ComputeUnits::CpuAndGpu, "large enough for the GPU")
            } else {
                (ComputeUnits::CpuOnly, "too small for another unit")
            };
            predicted(
                units,
                Confidence::Low,
                vec![format!("nothing can run on the Neural Engine; {size}, {why}")],
                vec![Rule::P1],
            )
        }
        Unit::Cpu => predicted(
            ComputeUnits::CpuOnly,
            decision.confidence,
            vec![format!(
                "{size}: the Neural Engine's fixed costs are more than it saves"
            )],
            vec![Rule::P2],
        ),
        Unit::Undetermined => predicted(
            ComputeUnits::CpuAndNeuralEngine,
            Confidence::Low,
            vec![
                format!(
                    "{size}: too near or too little to tell, so let the system choose between CPU and Neural Engine"
                ),
                "measure before relying on it".into(),
            ],
            vec![Rule::P2, Rule::P5],
        ),
    }
}

/// The units of the least latency; `None` when nothing usable was measured.
fn fastest(measured: &Measurements) -> Option<Recommendation> {
    let usable = || measured.iter().filter(|(_, ms)| ms.is_finite() && **ms > 0.0);
    let (units, best) = usable().min_by(|a, b| a.1.total_cmp(b.1))?;
    let mut reasons = vec![format!(
        "{best:.2} ms, the least of {} measured",
        usable().count()
    )];
    for (other, ms) in usable().filter(|(other, _)| *other != units) {
        reasons.push(format!(
            "{}: {ms:.2} ms, {:.2} times as long",
            other.name(),
            ms / best
        ));
    }
    Some(Recommendation {
        compute_units: *units,
        basis: Basis::Measured,
        confidence: Confidence::High,
        reasons,
        rules: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(unit: Unit) -> Decision {
        Decision {
            unit,
            leaning: unit,
            confidence: Confidence::Medium,
            margin_ms: Some(5.0),
            all_cpu_ms: 10.0,
            with_ane_ms: Some(5.0),
            fixed_ms: 0.375,
            notes: Vec::new(),
            rules: Vec::new(),
        }
    }

    fn case(decision: &Decision, batch: u64) -> Recommendation {
        let work = Work {
            flops: 2_870_000_000,
            ..Work::default()
        };
        let chip = Chip::find("m4").expect("a chip");
        recommend(
            &Case {
                decision,
                work: &work,
                batch,
                chip,
            },
            None,
        )
    }

    #[test]
    fn a_prediction_is_called_one() {
        let one = case(&decision(Unit::Ane), 1);
        assert_eq!(
            (one.compute_units, one.basis),
            (ComputeUnits::CpuAndNeuralEngine, Basis::Predicted)
        );
        assert_eq!(
            case(&decision(Unit::Ane), 16).compute_units,
            ComputeUnits::CpuAndGpu
        );
        assert_eq!(case(&decision(Unit::Cpu), 1).compute_units, ComputeUnits::CpuOnly);
        assert_eq!(case(&decision(Unit::Undetermined), 1).confidence, Confidence::Low);
    }

    #[test]
    fn measurements_outweigh_it() {
        let decision = decision(Unit::Ane);
        let chip = Chip::find("m4").expect("a chip");
        let case = Case {
            decision: &decision,
            work: &Work::default(),
            batch: 1,
            chip,
        };
        let measured = Measurements::from([
            (ComputeUnits::CpuOnly, 2.0),
            (ComputeUnits::CpuAndNeuralEngine, 3.0),
        ]);
        let advice = recommend(&case, Some(&measured));
        assert_eq!(
            (advice.compute_units, advice.basis),
            (ComputeUnits::CpuOnly, Basis::Measured)
        );
        let none = recommend(&case, Some(&Measurements::from([(ComputeUnits::All, f64::NAN)])));
        assert_eq!(none.basis, Basis::Predicted);
    }
}
