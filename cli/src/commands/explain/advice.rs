//! `--recommend`: the prediction and, where given, measurements, to units to ask for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use corer_placement::recommend::Case;
use corer_placement::{Chip, Explanation, Measurements, recommend};

use super::Advice;
use crate::exit_codes::Exit;
use crate::failure::Failure;

/// Advice for every function.
///
/// # Errors
/// When the measurements can't be read, are of a function the package doesn't have, or are no latencies.
pub(super) fn advise(
    explanation: &Explanation,
    chip: &Chip,
    measured: Option<&Path>,
) -> Result<Vec<Advice>, Failure> {
    let measured = match measured {
        Some(path) => read(path, explanation)?,
        None => BTreeMap::new(),
    };
    let functions = explanation.functions.iter();
    let advice = functions.map(|function| {
        let case = Case {
            decision: &function.decision,
            work: &function.work,
            batch: function.batch,
            chip,
        };
        Advice {
            function: function.name.clone(),
            recommendation: recommend(&case, measured.get(&function.name)),
        }
    });
    Ok(advice.collect())
}

fn read(path: &Path, explanation: &Explanation) -> Result<BTreeMap<String, Measurements>, Failure> {
    let shown = path.display();
    let wrong = |reason: String| {
        Failure::new(Exit::Usage, format!("{shown}: {reason}"))
            .hint("write {\"main\": {\"cpuOnly\": 11.2, \"cpuAndNeuralEngine\": 2.8}}, in milliseconds")
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let measured: BTreeMap<String, Measurements> =
        serde_json::from_str(&text).map_err(|error| wrong(format!("no measurements: {error}")))?;
    for (name, latencies) in &measured {
        if !explanation
            .functions
            .iter()
            .any(|function| function.name == *name)
        {
            return Err(wrong(format!("the package has no function `{name}`")));
        }
        if let Some((units, ms)) = latencies.iter().find(|(_, ms)| !(ms.is_finite() && **ms > 0.0)) {
            return Err(wrong(format!("{ms} ms with {} is no latency", units.name())));
        }
    }
    Ok(measured)
}
