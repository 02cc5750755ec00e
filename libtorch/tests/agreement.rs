//! A checkpoint traced and run by libtorch, against what PyTorch recorded of it and against candle.
#![cfg(feature = "libtorch")]
#![allow(clippy::print_stdout)] // figures, for whoever asks with --nocapture

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corer_converter::Task;
use corer_libtorch::{LibtorchReference, TraceRequest, trace};
use corer_verifier::inputs::{InputSet, seeded};
use corer_verifier::reference::Feed;
use corer_verifier::{CandleReference, GoldenReference, Reference, Tensor};

const HEADS: [&str; 8] = [
    "feature-extraction",
    "fill-mask",
    "question-answering",
    "sentence-cls-dense",
    "sentence-max",
    "sentence-mean",
    "sequence-classification",
    "token-classification",
];

fn fixture(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace");
    workspace.join("fixtures/bert-tiny").join(name)
}

/// The checkpoint as a module of libtorch's, to be run on `length` tokens; it was traced at another length.
fn traced(checkpoint: &Path, length: usize) -> LibtorchReference {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let file = scratch.path().join("model.pt");
    let request = TraceRequest {
        checkpoint: checkpoint.into(),
        task: Task::Auto,
        sequence_length: 9,
        batch_size: 2,
        token_types: true,
    };
    trace(&request, &file, false).expect("traces");
    let mut reference = LibtorchReference::open(&file).expect("loads");
    let feed = Feed {
        batch: 4,
        length,
        inputs: Vec::new(),
    };
    reference.prepare(&feed).expect("runs");
    reference
}

/// Largest difference between two references over all rows, with the number of values compared.
fn difference(one: &dyn Reference, other: &dyn Reference, inputs: &InputSet) -> (f32, usize) {
    let (mut worst, mut compared) = (0f32, 0);
    // Batches of another size than it runs at.
    for first in (0..inputs.rows.len()).step_by(5) {
        let batch = inputs.batch(first, 5);
        let outputs = |reference: &dyn Reference| -> BTreeMap<String, Tensor> {
            reference.outputs(&batch).expect("computes")
        };
        let (ours, theirs) = (outputs(one), outputs(other));
        for name in one.task_outputs() {
            let (ours, theirs) = (&ours[&name], &theirs[&name]);
            assert_eq!(ours.shape(), theirs.shape(), "{name}");
            // As `corer-verifier` holds candle to PyTorch: 10⁻⁶ of the largest value where that is more than 10⁻⁵.
            let peak = theirs
                .values()
                .iter()
                .fold(1f32, |peak, value| peak.max(value.abs() / 10.0));
            for (ours, theirs) in ours.values().iter().zip(theirs.values()) {
                let error = (ours - theirs).abs() / peak;
                assert!(error.is_finite(), "{name}");
                worst = worst.max(error);
                compared += 1;
            }
        }
    }
    (worst, compared)
}

#[test]
fn libtorch_gives_what_pytorch_recorded() {
    for head in HEADS {
        let checkpoint = fixture(head);
        for group in ["", "zero_mask"] {
            let recorded = checkpoint.join("expected.safetensors");
            let golden = GoldenReference::open_group(&recorded, group).expect("a recording");
            let module = traced(&checkpoint, golden.inputs().length);
            let (worst, compared) = difference(&module, &golden, golden.inputs());
            assert!(worst <= 1e-5, "{head} {group}: {worst}");
            assert!(compared > 0, "{head} {group}");
        }
    }
}

/// The two references, of which neither knows the other; `CORER_CHECKPOINT` names another checkpoint.
#[test]
fn libtorch_and_candle_agree() {
    let given = std::env::var_os("CORER_CHECKPOINT").map(PathBuf::from);
    let checkpoints = match given {
        Some(checkpoint) => vec![checkpoint],
        None => HEADS.iter().map(|head| fixture(head)).collect(),
    };
    for checkpoint in checkpoints {
        let candle = CandleReference::open(&checkpoint, None).expect("a checkpoint");
        let module = traced(&checkpoint, 48);
        let inputs = seeded(
            3,
            12,
            48,
            candle.vocabulary(),
            candle.token_types(),
            candle.pad_id(),
        );
        let (worst, compared) = difference(&module, &candle, &inputs);
        println!("{}: {compared} values within {worst:.2e}", checkpoint.display());
        assert!(worst <= 1e-5 && compared > 0, "{}: {worst}", checkpoint.display());
    }
}

/// A trace by PyTorch on what PyTorch recorded; `conformance/references.sh --libtorch` makes the folder.
#[test]
#[ignore = "needs a real model in every form in $CORER_AGREEMENT"]
fn libtorch_on_a_real_model() {
    let folder = PathBuf::from(std::env::var_os("CORER_AGREEMENT").expect("a folder"));
    let entries = std::fs::read_dir(&folder).expect("a folder");
    let traces = entries.map(|entry| entry.expect("an entry").path());
    let traces: Vec<PathBuf> = traces
        .filter(|path| path.extension().is_some_and(|ending| ending == "pt"))
        .collect();
    let golden = GoldenReference::open(&folder.join("recorded.safetensors")).expect("a recording");
    let candle = CandleReference::open(&folder.join("checkpoint"), None).expect("a checkpoint");
    assert!(!traces.is_empty());
    for trace in traces {
        let mut module = LibtorchReference::open(&trace).expect("loads");
        let feed = Feed {
            batch: 1,
            length: golden.inputs().length,
            inputs: Vec::new(),
        };
        module.prepare(&feed).expect("runs");
        for (name, other) in [("PyTorch", &golden as &dyn Reference), ("candle", &candle)] {
            let (worst, compared) = difference(&module, other, golden.inputs());
            println!(
                "{} in libtorch and {name}: {compared} values within {worst:.2e}",
                trace.display()
            );
            assert!(worst <= 1e-5 && compared > 0, "{name}: {worst}");
        }
    }
}

#[test]
fn libtorch_says_why_it_can_not_load_or_run() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broken = scratch.path().join("broken.pt");
    std::fs::write(&broken, b"PK\x03\x04 but no archive").expect("writes");
    for path in [broken, scratch.path().join("missing.pt")] {
        let error = LibtorchReference::open(&path).expect_err("no archive");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    let feed = Feed {
        batch: 1,
        length: 4096,
        inputs: Vec::new(),
    };
    let mut module = traced(&fixture("feature-extraction"), 16);
    let error = module
        .prepare(&feed)
        .expect_err("more tokens than positions")
        .to_string();
    assert!(error.contains("4096 tokens"), "{error}");
}
