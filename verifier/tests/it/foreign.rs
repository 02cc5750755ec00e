//! Packages coremltools converted from the fixtures, judged like any other.

use std::path::Path;

use corer_verifier::report::Precision;
use corer_verifier::{Inputs, VerifyReport};

use crate::case::{Against, Case};
use crate::fixtures;

fn judged(package: &str, model: &str) -> [VerifyReport; 3] {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conformance/foreign-bert")
        .join(format!("{package}.mlpackage"));
    let directory = fixtures().join(model);
    let file = directory.join("expected.safetensors");
    let recorded = Case::new(&package, Against::Recording(file));
    let texts = Case::new(&package, Against::Checkpoint(directory));
    let mut tokens = texts.clone();
    tokens.inputs = Inputs::Tokens { seed: 1, rows: 70 };
    [recorded, texts, tokens].map(|mut request| {
        // Theirs give NaN for a mask of zeros; everything else must hold.
        request.thresholds.finite_without_tokens = Some(false);
        let report = request.verify().unwrap();
        assert!(report.verdict.passed, "{report}");
        report
    })
}

#[test]
fn feature_extraction() {
    let [recorded, _, tokens] = judged("feature-extraction-ios17-fp16", "feature-extraction");
    assert_eq!(recorded.buckets[0].precision, Precision::Fp16);
    assert_eq!(recorded.buckets[0].outputs.len(), 2);
    assert_eq!(
        (
            tokens.buckets[0].inputs.shortest,
            tokens.buckets[0].inputs.longest
        ),
        (1, 64)
    );
}

#[test]
fn sequence_classification() {
    let [recorded, ..] = judged("sequence-classification-ios16-fp16", "sequence-classification");
    assert_eq!(recorded.buckets[0].outputs[0].errors.top1.unwrap().agree, 6);
}

#[test]
fn sentence_embedding() {
    let [_, texts, _] = judged("sentence-mean-ios18-fp16", "sentence-mean");
    assert!(
        texts.buckets[0]
            .outputs
            .iter()
            .any(|output| output.errors.sentence.is_some())
    );
}

#[test]
fn fp32() {
    for report in judged("prefixed-ios18-fp32", "formats/prefixed") {
        assert_eq!(report.buckets[0].precision, Precision::Fp32);
        assert!(
            report.buckets[0]
                .outputs
                .iter()
                .all(|output| output.errors.max_abs < 1e-5),
            "{report}"
        );
    }
}
