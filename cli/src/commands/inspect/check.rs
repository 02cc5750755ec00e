//! `inspect --check`: everything wrong with a package.

use anstyle::AnsiColor;
use corer_proto::{Fault, Package};
use serde::Serialize;

use super::summary;
use crate::exit_codes::Exit;
use crate::failure::{Failure, bold};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    package: String,
    ok: bool,
    operations: usize,
    faults: Vec<FaultView<'a>>,
    exit_code: u8,
}

#[derive(Serialize)]
struct FaultView<'a> {
    place: &'a str,
    message: &'a str,
}

/// Prints every fault.
///
/// # Errors
/// When stdout can't be written.
pub(super) fn run(package: &Package, json: bool) -> Result<Exit, Failure> {
    let faults = corer_proto::check(package);
    let exit = if faults.is_empty() {
        Exit::Done
    } else {
        Exit::Package
    };
    let functions = package.model.program.functions.values();
    let operations = functions
        .filter_map(|function| function.body())
        .map(summary::count)
        .sum();
    if json {
        output::json(&Document {
            package: package.path.display().to_string(),
            ok: faults.is_empty(),
            operations,
            faults: faults
                .iter()
                .map(|Fault { place, message }| FaultView { place, message })
                .collect(),
            exit_code: exit.code(),
        })?;
        return Ok(exit);
    }
    output::text(|out| {
        let (red, green) = (bold(AnsiColor::Red), bold(AnsiColor::Green));
        for fault in &faults {
            writeln!(out, "{red}fault:{red:#} {fault}")?;
        }
        match faults.len() {
            0 => writeln!(out, "{green}ok:{green:#} {operations} operations, no fault found"),
            1 => writeln!(out, "1 fault in {operations} operations"),
            count => writeln!(out, "{count} faults in {operations} operations"),
        }
    })?;
    Ok(exit)
}
