//! One model is one package, however it was saved: checkpoint, trace and export give the same operations in the `ane`
//! layout and agree in f32.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_runtime::{Executable, Options, Tensor as Value};

use crate::checkpoint::{Tensor, read_safetensors};
use crate::exports::saved;
use crate::harness::Scratch;

/// Largest difference of two packages' outputs, of a number above one in proportion to it: what rounding leaves alike.
const TOLERANCE: f32 = 1e-6;

/// The same where the program holds the scale of its attention as PyTorch rounded it to f32, beside the checkpoint's exact
/// one: DeBERTa's square root of a tensor, decomposed attention's two roots.
const ROUNDED_SCALE: (f32, [&str; 2]) = (4e-6, ["deberta", "export-core"]);

/// A package as its source's: operations counted, and what it computes.
struct Converted {
    operations: BTreeMap<String, usize>,
    inputs: Vec<String>,
    executable: Executable,
}

/// Converts to f32 in the `ane` layout for one row of `length` tokens.
fn converted(source: &Path, length: usize) -> Converted {
    let scratch = Scratch::new();
    let (source, length) = (source.display().to_string(), length.to_string());
    let convert = ["convert", &source, "-o", "Out.mlpackage", "--precision", "fp32"];
    let output = scratch.output(&[&convert[..], &["--sequence-length", &length]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{source}: {said}");
    let package = corer_proto::Package::open(&scratch.path().join("Out.mlpackage")).expect("a package");
    let main = &package.model.program.functions["main"];
    let body = main.body().expect("a body");
    let mut operations = BTreeMap::new();
    for operation in body.operations.iter().filter(|operation| operation.op != "const") {
        *operations.entry(operation.op.clone()).or_default() += 1;
    }
    assert!(operations.len() > 8, "{source}: {operations:?}");
    Converted {
        operations,
        inputs: main.inputs.iter().map(|input| input.name.clone()).collect(),
        executable: Executable::compile(&package.model.program, "main", &Options::default()).expect("runs"),
    }
}

/// The rows of a recording's inputs, one after the other.
fn rows(recording: &Path) -> Vec<BTreeMap<String, Value>> {
    let tensors = read_safetensors(recording);
    let inputs: Vec<(&str, &Tensor)> = tensors
        .iter()
        .filter_map(|tensor| Some((tensor.name.strip_prefix("input.")?, tensor)))
        .collect();
    let count = inputs.first().expect("inputs").1.shape[0] as usize;
    let row = |tensor: &Tensor, index: usize| {
        let each = tensor.bytes.len() / count;
        let words = tensor.bytes[index * each..(index + 1) * each].chunks_exact(4);
        let words = words.map(|word| i32::from_le_bytes(word.try_into().expect("four bytes")));
        Value::i32(vec![1, tensor.shape[1] as usize], words.collect()).expect("values fill the shape")
    };
    (0..count)
        .map(|index| {
            let named = inputs
                .iter()
                .map(|(name, tensor)| ((*name).to_owned(), row(tensor, index)));
            named.collect()
        })
        .collect()
}

/// Holds a package against the checkpoint's; the largest difference of their outputs, NaN where one is.
fn compare(checkpoint: &Converted, other: &Converted, rows: &[BTreeMap<String, Value>], name: &Path) -> f32 {
    let name = name.display();
    assert_eq!(other.operations, checkpoint.operations, "{name}");
    let mut worst: f32 = 0.0;
    let mut compared = 0;
    for row in rows {
        let run = |package: &Converted| {
            // Families of one token type record them, all zero, and don't take them.
            let mut inputs = row.clone();
            inputs.retain(|name, _| package.inputs.contains(name));
            package.executable.run(&inputs).expect("runs")
        };
        let (wanted, found) = (run(checkpoint), run(other));
        assert_eq!(wanted.len(), found.len(), "{name}");
        for (output, found) in &found {
            let wanted = wanted.get(output).unwrap_or_else(|| panic!("{name}: `{output}`"));
            for (a, b) in wanted.to_f32().iter().zip(found.to_f32()) {
                // NaN is no agreement.
                let difference = (a - b).abs() / a.abs().max(1.0);
                // `max` would lose a NaN.
                worst = if difference <= worst { worst } else { difference };
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "{name}");
    worst
}

/// Whether outputs that differ by so much at most are the same.
fn agree(worst: f32, tolerance: f32) -> bool {
    worst <= tolerance
}

#[test]
fn however_a_model_is_saved_it_is_the_same_package() {
    let mut checkpoint: Option<(PathBuf, Converted)> = None;
    let (mut compared, mut apart) = (0, Vec::new());
    let mut programs = [saved("pt"), saved("pt2")].concat();
    programs.sort();
    for program in programs {
        let folder = program.parent().expect("a folder").to_owned();
        if checkpoint.as_ref().is_none_or(|(known, _)| *known != folder) {
            checkpoint = Some((folder.clone(), converted(&folder, 32)));
        }
        let (_, checkpoint) = checkpoint.as_ref().expect("converted");
        let rows = rows(&folder.join("expected.safetensors"));
        let worst = compare(checkpoint, &converted(&program, 32), &rows, &program);
        let (rounded, programs) = ROUNDED_SCALE;
        let name = program.to_string_lossy();
        let tolerance = match programs.iter().any(|part| name.contains(part)) {
            true => rounded,
            false => TOLERANCE,
        };
        if !agree(worst, tolerance) {
            apart.push(format!("{}: {worst:e}", program.display()));
        }
        compared += 1;
    }
    assert!(apart.is_empty(), "{}", apart.join("\n"));
    assert!(compared > 50, "{compared}");
}

/// The same of a model of the user's, by `conformance/one_model.sh`.
#[test]
#[allow(clippy::print_stdout)] // figures, for whoever runs it
#[ignore = "needs CORER_ONE_MODEL, a folder with `checkpoint`, traces, exports and a recording"]
fn so_is_the_model_of_ones_own() {
    let folder = PathBuf::from(std::env::var_os("CORER_ONE_MODEL").expect("CORER_ONE_MODEL"));
    let found = |ending: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut found: Vec<PathBuf> = paths
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        found.sort();
        assert!(!found.is_empty(), "no {ending}");
        found
    };
    let rows = rows(&found("-expected.safetensors")[0]);
    let length = rows[0].values().next().expect("inputs").shape()[1];
    let checkpoint = converted(&folder.join("checkpoint"), length);
    println!("{:?}", checkpoint.operations);
    for program in [found(".pt"), found(".pt2")].concat() {
        let worst = compare(&checkpoint, &converted(&program, length), &rows, &program);
        assert!(agree(worst, TOLERANCE), "{}: {worst:e}", program.display());
        println!(
            "{}: the checkpoint's operations, outputs within {worst:e}",
            program.display()
        );
    }
}
