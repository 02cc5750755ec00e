//! `corer explain`: where operations will run, and what keeps them off the Neural Engine.

use serde_json::Value;

use crate::harness::{Scratch, assert_run, fixture, foreign};

/// The explanation of a package in a scratch directory, as JSON.
fn explained(scratch: &Scratch, arguments: &[&str]) -> Value {
    let arguments = [&["explain", "Model.mlpackage", "--json"], arguments].concat();
    let output = scratch.output(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// bert-tiny as corer converts it.
fn converted(arguments: &[&str]) -> Scratch {
    let scratch = Scratch::new();
    let source = fixture("feature-extraction");
    let arguments = [&["convert", source.as_str(), "-o", "Model.mlpackage"], arguments].concat();
    let output = scratch.output(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    scratch
}

/// The operations of the first function.
fn operations(explanation: &Value) -> &Vec<Value> {
    explanation["functions"][0]["operations"]
        .as_array()
        .expect("operations")
}

/// What keeps an operation off the Neural Engine, by rule.
fn refused_by(operation: &Value) -> Vec<&str> {
    let reasons = operation["reasons"].as_array().into_iter().flatten();
    reasons.filter_map(|reason| reason["rule"].as_str()).collect()
}

#[test]
fn explain_takes_known_chips_only() {
    assert_run!(Scratch::new(), ["explain", "Model.mlpackage", "--chip", "m9"]);
}

#[test]
fn explain_takes_known_systems_only() {
    assert_run!(Scratch::new(), ["explain", "Model.mlpackage", "--os", "macos10"]);
}

#[test]
fn explain_a_package_newer_than_the_system() {
    assert_run!(
        foreign("foreign-bert/sentence-mean-ios18-fp16"),
        ["explain", "Model.mlpackage", "--os", "macos14"]
    );
}

/// After the lookups and the mask's cast nothing in the `ane` layout is kept off the Neural Engine.
#[test]
fn only_the_lookup_prefix_is_kept_off() {
    let explanation = explained(&converted(&[]), &[]);
    assert_eq!(explanation["chip"], "m4");
    let kept: Vec<_> = operations(&explanation)
        .iter()
        .map(|operation| (operation["op"].as_str().expect("a type"), refused_by(operation)))
        .filter(|(_, rules)| !rules.is_empty())
        .collect();
    assert_eq!(
        kept,
        [
            ("gather", vec!["D6"]),
            ("gather", vec!["D6"]),
            ("cast", vec!["D3"])
        ]
    );
}

/// What coremltools adds around the lookups stays on the CPU, each for its reason.
#[test]
fn what_coremltools_adds_is_named() {
    let scratch = foreign("foreign-bert/feature-extraction-ios17-fp16");
    let explanation = explained(&scratch, &[]);
    let kept = |op: &str| {
        let found = operations(&explanation)
            .iter()
            .filter(|operation| operation["op"] == op);
        found
            .filter(|operation| !refused_by(operation).is_empty())
            .count()
    };
    assert_eq!(kept("gather"), 2);
    // int32 to int16 and back for the ids, int32 to uint16 for the types, the mask to fp16 and that to bool.
    assert_eq!(kept("cast"), 6);
    assert_eq!(kept("greater_equal") + kept("add") + kept("select"), 3);
    // The mask is spread out in int32.
    assert_eq!(kept("expand_dims") + kept("tile"), 3);
    assert_eq!(kept("linear") + kept("matmul") + kept("layer_norm"), 0);
}

/// A range of lengths keeps everything behind the inputs off the Neural Engine.
#[test]
fn a_range_of_lengths_runs_on_the_cpu() {
    let scratch = converted(&["--sequence-length", "32..128", "--target", "ios18"]);
    let explanation = explained(&scratch, &[]);
    assert_eq!(explanation["functions"][0]["sizes"], "range");
    let convs = operations(&explanation)
        .iter()
        .filter(|operation| operation["op"] == "conv");
    let convs: Vec<_> = convs.filter(|conv| conv["name"] != "pooler_dense").collect();
    assert!(!convs.is_empty() && convs.iter().all(|conv| refused_by(conv) == ["S9"]));
}

/// The prediction says it is one; measurements, where given, decide instead.
#[test]
fn a_recommendation_says_what_it_rests_on() {
    let scratch = foreign("foreign-bert/feature-extraction-ios17-fp16");
    let predicted = explained(&scratch, &["--recommend"]);
    assert_eq!(predicted["recommendations"][0]["basis"], "predicted");
    let measured = r#"{"main": {"cpuOnly": 0.31, "cpuAndNeuralEngine": 0.62}}"#;
    std::fs::write(scratch.path().join("measured.json"), measured).expect("a file");
    let found = explained(&scratch, &["--recommend", "--measured", "measured.json"]);
    assert_eq!(found["recommendations"][0]["basis"], "measured");
    assert_eq!(found["recommendations"][0]["compute_units"], "cpuOnly");
}

#[test]
fn explain_with_measurements_that_are_none() {
    let scratch = foreign("foreign-bert/feature-extraction-ios17-fp16");
    std::fs::write(scratch.path().join("measured.json"), r#"{"main": {"tpu": 1.0}}"#).expect("a file");
    assert_run!(
        scratch,
        [
            "explain",
            "Model.mlpackage",
            "--recommend",
            "--measured",
            "measured.json"
        ]
    );
}

#[test]
fn explain_what_coremltools_wrote() {
    assert_run!(
        foreign("foreign-bert/feature-extraction-ios17-fp16"),
        ["explain", "Model.mlpackage", "--recommend"]
    );
}

/// The page stands by itself: it fetches nothing, runs nothing, and names every operation.
#[test]
fn a_page_that_needs_nothing_else() {
    let scratch = converted(&[]);
    let arguments = [
        "explain",
        "Model.mlpackage",
        "--recommend",
        "--report",
        "placement",
    ];
    assert!(scratch.output(&arguments).status.success());
    let read =
        |name: &str| std::fs::read_to_string(scratch.path().join("placement").join(name)).expect("a file");
    let page = read("explanation.html");
    for foreign in ["<script", "src=", "http://", "https://", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let document: Value = serde_json::from_str(&read("explanation.json")).expect("one JSON document");
    for operation in operations(&document) {
        let name = operation["name"].as_str().expect("a name");
        assert!(page.contains(&format!("<td>{name}</td>")), "{name}");
    }
    assert_eq!(page.matches("<tr").count(), page.matches("</tr>").count());
}
