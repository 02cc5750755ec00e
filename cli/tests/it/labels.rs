//! `corer verify --labels`: both sides scored on known answers, and labels that don't fit.

use std::fs;

use serde_json::Value;

use crate::harness::{Scratch, fixture};

/// A scratch directory with a package made from a fixture at 32 positions.
fn converted(source: &str) -> Scratch {
    let scratch = Scratch::new();
    let output = scratch.output(&[
        "convert",
        source,
        "-o",
        "Out.mlpackage",
        "--sequence-length",
        "32",
        // The scores of random weights are so close that half precision chooses other spans.
        "--precision",
        "fp32",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    scratch
}

fn verified(
    scratch: &Scratch,
    source: &str,
    texts: &[&str],
    labels: &[&str],
) -> (Option<i32>, Value, String) {
    fs::write(scratch.path().join("texts.txt"), texts.join("\n")).unwrap();
    fs::write(scratch.path().join("labels.txt"), labels.join("\n")).unwrap();
    let output = scratch.output(&[
        "verify",
        "Out.mlpackage",
        "--reference",
        source,
        "--texts",
        "texts.txt",
        "--labels",
        "labels.txt",
        "--json",
    ]);
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (
        output.status.code(),
        report,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

const TEXTS: [&str; 4] = ["a first text", "another one", "the third", "and the last of them"];

#[test]
fn classes_by_name_or_number_give_accuracy_and_f1_of_both_sides() {
    let source = fixture("sequence-classification");
    let scratch = converted(&source);
    // Whatever this random model says, calling every class once over the three runs scores 1 in sum.
    let mut sum = 0.0;
    for label in ["negative", "1", "positive"] {
        let (code, report, errors) = verified(&scratch, &source, &TEXTS, &[label; 4]);
        assert_eq!(code, Some(0), "{errors}");
        let labelled = &report["buckets"][0]["outputs"][0]["labelled"];
        assert_eq!(labelled["labels"], 4);
        let accuracy = &labelled["scores"][0];
        assert_eq!(accuracy["score"], "accuracy");
        assert_eq!(
            (&accuracy["difference"], &accuracy["reference"]),
            (&Value::from(0.0), &accuracy["package"])
        );
        assert_eq!(labelled["scores"][1]["score"], "macro F1");
        sum += accuracy["package"].as_f64().unwrap();
    }
    assert!((sum - 1.0).abs() < 1e-12, "{sum}");
}

#[test]
fn embeddings_are_labelled_in_pairs() {
    let source = fixture("sentence-mean");
    let scratch = converted(&source);
    let same = [
        "one text",
        "one text",
        "one text",
        "quite another thing",
        "one text",
        "one text indeed",
    ];
    let (code, report, errors) = verified(&scratch, &source, &same, &["1", "0.1", "0.6"]);
    assert_eq!(code, Some(0), "{errors}");
    let outputs = report["buckets"][0]["outputs"].as_array().unwrap();
    let scores = outputs.iter().map(|output| &output["labelled"]["scores"][0]);
    for score in scores {
        assert_eq!(score["score"], "Spearman");
        // The pair of equal texts is the most alike whatever the model.
        assert!(score["package"].as_f64().unwrap() >= 0.5, "{score}");
        assert_eq!(score["difference"], 0.0);
    }
}

#[test]
fn labels_that_do_not_fit_are_refused_with_their_place() {
    let source = fixture("sequence-classification");
    let scratch = converted(&source);
    for (labels, said) in [
        (&["0", "1"][..], "2 labels, but the classes of 4 texts take 4"),
        (
            &["0", "1", "happy", "2"],
            "labels.txt: line 3: label `happy` must be one of negative, neutral, positive",
        ),
        (&["0", "1", "2", "3"], "line 4: label `3`"),
        (&["", " "], "no labels"),
    ] {
        let (code, _, errors) = verified(&scratch, &source, &TEXTS, labels);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(said), "{errors}");
    }
    let source = fixture("token-classification");
    let (code, _, errors) = verified(&converted(&source), &source, &TEXTS, &["0"; 4]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("scores per position"), "{errors}");
}

#[test]
fn question_answering_counts_equal_answers() {
    let source = fixture("question-answering");
    let (code, report, errors) = {
        let scratch = converted(&source);
        let texts = "who wrote it\tnobody knows who wrote it\nwhere is it\tit is in the second drawer";
        fs::write(scratch.path().join("texts.txt"), texts).unwrap();
        let output = scratch.output(&[
            "verify",
            "Out.mlpackage",
            "--reference",
            &source,
            "--texts",
            "texts.txt",
            "--json",
        ]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            output.status.code(),
            report,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert_eq!(code, Some(0), "{errors}");
    let spans = &report["buckets"][0]["spans"];
    assert_eq!(
        (&spans["rows"], &spans["exact"]),
        (&Value::from(2), &Value::from(2)),
        "{spans}"
    );
}
