//! candle's outputs against PyTorch's for every head, activation, pooling and checkpoint format.

use std::collections::BTreeMap;
use std::path::Path;

use corer_verifier::inputs::InputRow;
use corer_verifier::reference::Reference;
use corer_verifier::{CandleReference, GoldenReference, Task, Tensor};

use crate::fixtures;

/// What two f32 implementations may differ by: 10⁻⁵, or 10⁻⁶ of an output's largest value where that is more.
/// Run in f64, the masked LM's logits (up to 22.8) are 1.1·10⁻⁵ away from what PyTorch computes in f32.
fn tolerance(peak: f32) -> f32 {
    1e-5f32.max(1e-6 * peak)
}

/// Largest difference over all recorded outputs and positions, padded ones included, as a share of the tolerance.
fn difference(directory: &Path, group: &str) -> f32 {
    let golden = GoldenReference::open_group(&directory.join("expected.safetensors"), group).unwrap();
    let candle = CandleReference::open(directory, None).unwrap();
    let inputs = golden.inputs();
    let mut worst = 0f32;
    // Batches of an odd size: a row must not depend on its neighbours.
    for first in (0..inputs.rows.len()).step_by(4) {
        let batch = inputs.batch(first, 4);
        let (expected, computed) = (golden.outputs(&batch).unwrap(), candle.outputs(&batch).unwrap());
        for name in golden.task_outputs() {
            let (expected, computed) = (&expected[&name], &computed[&name]);
            assert_eq!(expected.shape(), computed.shape(), "{name}");
            let peak = expected
                .values()
                .iter()
                .fold(0f32, |peak, value| peak.max(value.abs()));
            let pairs = expected.values().iter().zip(computed.values());
            worst = pairs
                .map(|(a, b)| (a - b).abs() / tolerance(peak))
                .fold(worst, |worst, share| {
                    assert!(share.is_finite(), "{name}");
                    worst.max(share)
                });
        }
    }
    worst
}

/// The same of what is computed without padding, at tokens.
fn difference_at_tokens(directory: &Path) -> f32 {
    let golden = GoldenReference::open(&directory.join("expected.safetensors")).unwrap();
    let candle = CandleReference::open(directory, None).unwrap();
    let inputs = golden.inputs();
    let batch = inputs.batch(0, inputs.rows.len());
    let (expected, computed) = (
        golden.outputs(&batch).unwrap(),
        candle.outputs_at_tokens(&batch).unwrap(),
    );
    let (mut worst, mut left_out, mut positions) = (0f32, 0, false);
    for name in golden.task_outputs() {
        let (expected, computed) = (&expected[&name], &computed[&name]);
        assert_eq!(expected.shape(), computed.shape(), "{name}");
        let peak = expected
            .values()
            .iter()
            .fold(0f32, |peak, value| peak.max(value.abs()));
        let per_position = match name.as_str() {
            "logits" => expected.row_shape().len() == 2,
            other => ["last_hidden_state", "start_logits", "end_logits"].contains(&other),
        };
        positions |= per_position;
        for (index, row) in batch.rows.iter().enumerate() {
            let width = expected.row(index).len() / if per_position { inputs.length } else { 1 };
            for (at, (a, b)) in expected.row(index).iter().zip(computed.row(index)).enumerate() {
                if !per_position || row.is_token(at / width) {
                    worst = worst.max((a - b).abs() / tolerance(peak));
                } else {
                    left_out += usize::from(*b == 0.0);
                }
            }
        }
    }
    let half_empty = |row: &InputRow| {
        row.attention_mask[inputs.length / 2..]
            .iter()
            .all(|mask| *mask == 0)
    };
    let short = inputs.rows.iter().any(half_empty);
    assert!(left_out > 0 || !(positions && short), "padding is left out");
    worst
}

macro_rules! agrees {
    ($($test:ident: $directory:literal,)*) => {$(
        #[test]
        fn $test() {
            let directory = fixtures().join($directory);
            for group in ["", "zero_mask"] {
                let share = difference(&directory, group);
                assert!(share <= 1.0, "{group}: {share} of the tolerance");
            }
            let share = difference_at_tokens(&directory);
            assert!(share <= 1.0, "without padding: {share} of the tolerance");
        }
    )*};
}

agrees! {
    feature_extraction: "feature-extraction",
    sequence_classification: "sequence-classification",
    token_classification: "token-classification",
    question_answering: "question-answering",
    fill_mask: "fill-mask",
    sentence_mean: "sentence-mean",
    sentence_cls_dense_and_gelu_new: "sentence-cls-dense",
    sentence_max_and_relu: "sentence-max",
    sharded: "formats/sharded",
    f16_weights: "formats/f16",
    bf16_weights: "formats/bf16",
    prefixed_names: "formats/prefixed",
    pickle: "formats/pickle",
    pickle_with_tied_storage: "formats/pickle-tied",
    gamma_and_beta: "formats/gamma-beta",
}

#[test]
fn tasks_and_labels_come_from_the_checkpoint() {
    let open = |name: &str, task| CandleReference::open(&fixtures().join(name), task).unwrap();
    assert_eq!(
        open("feature-extraction", None).task_outputs(),
        ["last_hidden_state", "pooler_output"]
    );
    assert_eq!(
        open("question-answering", None).task_outputs(),
        ["start_logits", "end_logits"]
    );
    assert_eq!(open("sentence-mean", None).task_outputs(), ["sentence_embedding"]);
    assert_eq!(
        open("fill-mask", Some(Task::FeatureExtraction)).task_outputs(),
        ["last_hidden_state"]
    );
    let classifier = open("sequence-classification", None);
    assert_eq!(classifier.labels().unwrap(), ["negative", "neutral", "positive"]);
    assert_eq!(
        classifier.describe().task.as_deref(),
        Some("sequence-classification")
    );
    assert!(open("question-answering", None).labels().is_none());
}

#[test]
fn files_are_named_with_the_digests_sha256sum_prints() {
    let report = CandleReference::open(&fixtures().join("formats/sharded"), None)
        .unwrap()
        .describe();
    let names: Vec<&str> = report.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors"
        ]
    );
    let dense = CandleReference::open(&fixtures().join("sentence-cls-dense"), None)
        .unwrap()
        .describe();
    assert_eq!(dense.files.last().unwrap().name, "2_Dense/model.safetensors");
}

/// Real weights: run `fixtures/fetch_minilm.sh` and `fixtures/record_outputs.py` first.
#[test]
#[ignore = "needs MiniLM and its recording in .cache/"]
fn minilm() {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache");
    let golden = GoldenReference::open(&cache.join("recorded/all-MiniLM-L6-v2.safetensors")).unwrap();
    let candle = CandleReference::open(&cache.join("models/all-MiniLM-L6-v2"), None).unwrap();
    let mut most = 0f32;
    for first in (0..golden.inputs().rows.len()).step_by(8) {
        let batch = golden.inputs().batch(first, 8);
        let (expected, computed) = (golden.outputs(&batch).unwrap(), candle.outputs(&batch).unwrap());
        for (index, row) in batch.rows.iter().enumerate() {
            let tokens = |outputs: &BTreeMap<String, Tensor>| -> Vec<f32> {
                let vectors = outputs["last_hidden_state"].row(index).chunks(384).enumerate();
                vectors
                    .filter(|(at, _)| row.is_token(*at))
                    .flat_map(|(_, vector)| vector.to_vec())
                    .collect()
            };
            let (expected, computed) = (tokens(&expected), tokens(&computed));
            assert_eq!(expected.len(), computed.len());
            most = expected
                .iter()
                .zip(&computed)
                .map(|(a, b)| (a - b).abs())
                .fold(most, f32::max);
        }
    }
    assert!(most <= 1e-5, "{most:e}");
}
