//! Every checkpoint, trace and export of the fixtures.

use std::path::Path;

use corer_verifier::{GoldenReference, Reference};

use crate::{below, fixtures, opened};

/// What two f32 implementations may differ by; logits over a vocabulary reach 22.8, where f32 is that coarse.
const TOLERANCE: f32 = 1e-5;
const OF_PEAK: f32 = 1e-6;

/// The largest difference over all recorded outputs at tokens, as a share of the tolerance.
fn difference(model: &Path, recording: &Path, batch: usize) -> f32 {
    let golden = GoldenReference::open(recording).unwrap();
    let reference = opened(model, &golden, batch);
    let inputs = golden.inputs();
    let mut worst = 0f32;
    // Parts of another size than executions: a row must not depend on its neighbours.
    for first in (0..inputs.rows.len()).step_by(3) {
        let rows = inputs.batch(first, 3);
        let expected = golden.outputs(&rows).unwrap();
        let computed = reference
            .outputs(&rows)
            .unwrap_or_else(|error| panic!("{}: {error}", model.display()));
        let recorded = golden.task_outputs();
        // Sentence models record what they pool too.
        for (at, name) in reference.task_outputs().iter().enumerate() {
            let computed = &computed[name];
            let expected = expected.get(name).unwrap_or_else(|| &expected[&recorded[at]]);
            assert_eq!(expected.shape(), computed.shape(), "{} {name}", model.display());
            // A score of one per position is told from an embedding by its width.
            let per_position = expected.row_shape().first() == Some(&inputs.length);
            let peak = expected
                .values()
                .iter()
                .fold(0f32, |peak, value| peak.max(value.abs()));
            for (index, row) in rows.rows.iter().enumerate() {
                let sides = expected.row(index).iter().zip(computed.row(index)).enumerate();
                let width = expected.row(index).len() / if per_position { inputs.length } else { 1 };
                for (at, (a, b)) in sides {
                    assert!(b.is_finite(), "{} {name}", model.display());
                    // Nobody reads what stands at padding, nor what becomes of a row of it, and families differ there.
                    if row.tokens() > 0 && (!per_position || row.is_token(at / width)) {
                        worst = worst.max((a - b).abs() / TOLERANCE.max(OF_PEAK * peak));
                    }
                }
            }
        }
    }
    worst
}

fn all_agree(models: &[std::path::PathBuf], recording: impl Fn(&Path) -> std::path::PathBuf) {
    let mut apart = Vec::new();
    for model in models {
        let share = difference(model, &recording(model), 1);
        if share > 1.0 {
            apart.push(format!("{}: {share} of what is tolerated", model.display()));
        }
    }
    assert!(
        apart.is_empty(),
        "{} are apart:\n{}",
        apart.len(),
        apart.join("\n")
    );
}

#[test]
fn checkpoints_of_every_family() {
    let checkpoints = below(&fixtures(), |path| {
        path.join("config.json").is_file() && path.join("expected.safetensors").is_file()
    });
    assert!(checkpoints.len() > 70, "{}", checkpoints.len());
    all_agree(&checkpoints, |checkpoint| checkpoint.join("expected.safetensors"));
}

#[test]
fn other_lengths_and_batches() {
    let model = fixtures().join("bert-tiny/sentence-mean");
    for length in ["16", "128"] {
        let recording = model.join(format!("expected-{length}.safetensors"));
        for batch in [1, 2, 4] {
            assert!(difference(&model, &recording, batch) <= 1.0, "{length} {batch}");
        }
    }
}

#[test]
fn traces_of_every_family() {
    let traces = below(&fixtures().join("families"), |path| {
        path.extension().is_some_and(|extension| extension == "pt")
    });
    assert!(traces.len() > 30, "{}", traces.len());
    all_agree(&traces, |trace| trace.with_file_name("expected.safetensors"));
}

#[test]
fn exports_of_every_family() {
    let exports = below(&fixtures().join("families"), |path| {
        path.extension().is_some_and(|extension| extension == "pt2")
    });
    assert!(exports.len() > 15, "{}", exports.len());
    all_agree(&exports, |export| export.with_file_name("expected.safetensors"));
}

#[test]
fn a_model_of_somebodys_own_with_an_input_more() {
    let folder = fixtures().join("own-model");
    assert!(difference(&folder.join("model.pt"), &folder.join("expected.safetensors"), 1) <= 1.0);
}
