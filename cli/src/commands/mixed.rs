//! `convert --precision mixed`: which operations have to stay in f32, found by measuring the package without them.
//!
//! Convert, measure, choose, convert again, until nothing passes a limit and the package passes as written and by the
//! rules of the Neural Engine. What is chosen is names, so the package is the one `--keep-f32` with them gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use corer_converter::{Conversion, Pattern, Request};
use corer_mil::{Binding, Operation};
use corer_proto::WriteOptions;
use corer_verifier::report::numerics::{HeadroomReport, NumericsReport};
use corer_verifier::{Inputs, Numerics, VerifyReport};
use serde::Serialize;

use super::convert::{conversion_failure, write_failure};
use super::{package_output, verify};
use crate::exit_codes::Exit;
use crate::failure::Failure;

/// An operation kept in f32, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Kept {
    /// Operation name.
    pub(super) operation: String,
    /// What was measured.
    pub(super) reason: String,
}

/// What was chosen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Mixed {
    /// The operations, in the order they were found.
    pub(super) kept: Vec<Kept>,
    /// Rows of text it was measured on.
    pub(super) rows: usize,
}

/// Rounds of measuring; each keeps at least one operation more.
const ROUNDS: usize = 64;
/// Rows on which every operation's own loss is looked at.
const LOSS_ROWS: usize = 4;

impl Mixed {
    /// The operations as patterns.
    pub(super) fn patterns(&self) -> Vec<Pattern> {
        self.kept
            .iter()
            .map(|kept| Pattern::new(&kept.operation))
            .collect()
    }

    /// Measures and chooses. `output` is where the package will go; what is measured lies beside it meanwhile.
    ///
    /// # Errors
    /// When the source can't be converted or measured, or no choice makes the package pass.
    pub(super) fn choose(
        request: &Request,
        output: &Path,
        texts: Option<&Path>,
        quiet: bool,
    ) -> Result<Self, Failure> {
        let scratch = tempfile::tempdir_in(package_output::directory(output))
            .map_err(|error| Failure::new(Exit::Unexpected, error))?;
        let mut measuring = Measuring {
            request,
            texts,
            quiet,
            package: scratch.path().join("Measured.mlpackage"),
        };
        let mut mixed = Self::default();
        for _ in 0..ROUNDS {
            let (conversion, report, numerics) = measuring.measure(&mixed, 0)?;
            mixed.rows = numerics.rows;
            let before = mixed.kept.len();
            for op in &numerics.headroom {
                mixed.keep_for(op, &conversion);
            }
            if mixed.kept.len() > before {
                continue;
            }
            let failing = numerics
                .modes
                .iter()
                .map(|mode| &mode.verdict)
                .chain([&report.verdict]);
            let reasons: Vec<String> = failing
                .flat_map(|verdict| &verdict.reasons)
                .map(ToString::to_string)
                .collect();
            if reasons.is_empty() {
                return Ok(mixed);
            }
            let (_, _, numerics) = measuring.measure(&mixed, LOSS_ROWS)?;
            let worst = numerics.losses.iter().find(|loss| !mixed.keeps(&loss.operation));
            let Some(worst) = worst else {
                let message = format!("no operations kept in f32 make it pass: {}", reasons.join("; "));
                return Err(Failure::new(Exit::Gate, message));
            };
            mixed.kept.push(Kept {
                operation: worst.operation.clone(),
                reason: format!(
                    "loses most by itself, {:.1} dB below its values, and the package does not pass: {}",
                    worst.sqnr, reasons[0]
                ),
            });
        }
        let message = format!("{ROUNDS} operations kept in f32 don't make it pass");
        Err(Failure::new(Exit::Gate, message).hint("use --precision fp32"))
    }

    fn keeps(&self, operation: &str) -> bool {
        self.kept.iter().any(|kept| kept.operation == operation)
    }

    /// Keeps an operation that passes a limit; for a cast to fp16, those it was made for.
    fn keep_for(&mut self, op: &HeadroomReport, conversion: &Conversion) {
        let Some(warning) = op.warning() else { return };
        let mut keep = |operation: &str, reason: String| {
            if !self.keeps(operation) {
                self.kept.push(Kept {
                    operation: operation.to_owned(),
                    reason,
                });
            }
        };
        if op.op != "cast" {
            return keep(&op.operation, warning);
        }
        let mut users = BTreeSet::new();
        for function in conversion.model.program.functions.values() {
            let operations = function.body().map_or(&[][..], |body| body.operations.as_slice());
            let made = operations
                .iter()
                .find(|operation| operation.name() == op.operation)
                .and_then(|operation| operation.outputs.first());
            let Some(made) = made else { continue };
            let takes = |user: &&Operation| {
                user.op != "cast"
                    && user
                        .inputs
                        .values()
                        .flatten()
                        .any(|binding| matches!(binding, Binding::Name(name) if *name == made.name))
            };
            users.extend(operations.iter().filter(takes).map(|user| user.name().to_owned()));
        }
        for user in users {
            keep(&user, format!("takes what fp16 can't hold: {warning}"));
        }
    }
}

struct Measuring<'a> {
    request: &'a Request,
    texts: Option<&'a Path>,
    quiet: bool,
    package: PathBuf,
}

impl Measuring<'_> {
    /// The package with these operations kept, judged, and its numerics.
    fn measure(
        &mut self,
        mixed: &Mixed,
        losses: usize,
    ) -> Result<(Conversion, VerifyReport, NumericsReport), Failure> {
        let mut request = self.request.clone();
        request.keep_f32.extend(mixed.patterns());
        let conversion =
            corer_converter::convert(&request).map_err(|error| conversion_failure(error, request.task))?;
        let options = WriteOptions {
            overwrite: true,
            ..WriteOptions::default()
        };
        corer_proto::write(&self.package, &conversion.model, &options).map_err(write_failure)?;
        let mut verification = verify::after_conversion(
            &self.package,
            &self.request.source,
            conversion.task,
            super::reference::Engine::Auto,
        );
        if let Some(texts) = self.texts {
            verification.request.inputs = Inputs::Texts {
                file: Some(texts.to_owned()),
                tokenizer: None,
            };
        }
        verification.request.numerics = Numerics {
            rows: usize::MAX,
            losses,
            ..Numerics::usual()
        };
        let mut report = verify::verify(&verification, self.quiet)?;
        let numerics = report
            .buckets
            .iter_mut()
            .find_map(|bucket| bucket.numerics.take());
        let numerics = numerics.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "--precision mixed needs a size the package takes by default",
            )
        })?;
        Ok((conversion, report, numerics))
    }
}

/// What keeping operations in f32 costs in placement, as a prediction from the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Placement {
    /// Operations that leave the Neural Engine: f32 never runs there (ANE rule D1).
    pub(super) off_engine: usize,
    /// Stretches of such operations, each of which the engine is left for and come back to (ANE rules P2, P9).
    pub(super) stretches: usize,
    /// Casts written at their borders.
    pub(super) casts: usize,
}

impl Placement {
    /// Of the first function.
    pub(super) fn of(conversion: &Conversion) -> Self {
        let kept: BTreeSet<&str> = conversion.kept_f32.iter().map(String::as_str).collect();
        let function = conversion.model.program.functions.values().next();
        let operations = function
            .and_then(|function| function.body())
            .map_or(&[][..], |body| body.operations.as_slice());
        let (mut stretches, mut casts, mut inside) = (0, 0, false);
        let mut makers: BTreeMap<&str, &str> = BTreeMap::new();
        for operation in operations.iter().filter(|operation| operation.op != "const") {
            let keeps = kept.contains(operation.name());
            if operation.op == "cast" {
                let from = operation.inputs.get("x").and_then(|x| x.first());
                let of_kept = matches!(from, Some(Binding::Name(name)) if makers.contains_key(name.as_str()));
                let name = operation
                    .outputs
                    .first()
                    .map_or("", |output| output.name.as_str());
                casts += usize::from(of_kept || name.ends_with("_f32"));
                continue;
            }
            if keeps {
                for output in &operation.outputs {
                    makers.insert(&output.name, operation.name());
                }
            }
            stretches += usize::from(keeps && !inside);
            inside = keeps;
        }
        Self {
            off_engine: kept.len(),
            stretches,
            casts,
        }
    }
}
