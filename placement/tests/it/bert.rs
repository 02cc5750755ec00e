//! The encoders that were worked out by hand from the published rules: rule P5 and the roofline of BERT-base.

use corer_placement::roofline::Figures;
use corer_placement::{Rule, Unit};

use crate::model::{BERT_BASE, BERT_TINY, MINI_LM, Sizes, bert, function};

/// Within a part in a hundred: by hand, embeddings and norms were left out.
fn near(found: u64, by_hand: f64) -> bool {
    (found as f64 / by_hand - 1.0).abs() < 0.01
}

#[test]
fn work_of_bert_base() {
    let found = function(&bert(BERT_BASE), "m4");
    assert_eq!(found.work.flops, 22_347_251_712);
    assert!(
        near(found.work.weight_bytes, 170.1e6),
        "{}",
        found.work.weight_bytes
    );
    let intensity = found.work.flops as f64 / found.work.weight_bytes as f64;
    assert!((intensity - 131.0).abs() < 1.0, "{intensity}");
    let attention: u64 = found
        .operations
        .iter()
        .filter(|operation| operation.op == "einsum")
        .filter_map(|operation| Some(operation.work?.flops))
        .sum();
    assert!((attention as f64 / found.work.flops as f64 - 0.027).abs() < 5e-4);
    let long = function(
        &bert(Sizes {
            length: 512,
            ..BERT_BASE
        }),
        "m4",
    );
    assert!(near(long.work.flops, 96.6e9), "{}", long.work.flops);
}

#[test]
fn work_of_mini_lm() {
    let found = function(&bert(MINI_LM), "m4");
    assert!(near(found.work.flops, 2.87e9), "{}", found.work.flops);
    assert!(
        near(found.work.weight_bytes, 21.3e6),
        "{}",
        found.work.weight_bytes
    );
}

#[test]
fn bounds_of_bert_base() {
    let found = function(&bert(BERT_BASE), "m4");
    let bound = |chip: &str, figures: Figures| {
        let found = found
            .bounds
            .iter()
            .find(|bound| bound.chip == chip && bound.figures == figures);
        found.and_then(|bound| bound.bound_ms).expect("a bound")
    };
    for (chip, figures, by_hand) in [
        ("m1", Figures::Published, 2.49),
        ("m1", Figures::Measured, 3.34),
        ("m4", Figures::Published, 1.42),
        ("m4", Figures::Measured, 2.54),
    ] {
        let found = bound(chip, figures);
        assert!((found - by_hand).abs() < 0.01, "{chip}: {found}");
    }
    assert_eq!(found.bounds[0].chip, "m4", "the chip asked for comes first");
}

/// Rule P5: the small one stays, inside the zone where nothing can be told; the others go.
#[test]
fn which_encoders_go_to_the_neural_engine() {
    for (sizes, leaning, unit) in [
        (BERT_TINY, Unit::Cpu, Unit::Undetermined),
        (MINI_LM, Unit::Ane, Unit::Ane),
        (BERT_BASE, Unit::Ane, Unit::Ane),
    ] {
        let decision = function(&bert(sizes), "m4").decision;
        assert_eq!(
            (decision.leaning, decision.unit),
            (leaning, unit),
            "{} layers",
            sizes.layers
        );
        // A launch, the change from the lookups, and the result.
        assert!((decision.fixed_ms - 0.375).abs() < 1e-9, "{}", decision.fixed_ms);
        for rule in [Rule::P2, Rule::P3, Rule::P4] {
            assert!(decision.rules.contains(&rule));
        }
        assert_eq!(decision.rules.contains(&Rule::P5), unit == Unit::Undetermined);
    }
}

/// Break-even by hand is at 0.13 GFLOP of linear work; encoders a layer below and above it must lean to either side.
#[test]
fn the_break_even_is_where_it_was_worked_out() {
    let leaning = |layers: u64| {
        let found = function(&bert(Sizes { layers, ..BERT_TINY }), "m4");
        (found.work.flops as f64 / 1e9, found.decision.leaning)
    };
    let turn = (1..=8)
        .map(leaning)
        .find(|(_, unit)| *unit == Unit::Ane)
        .expect("some size goes");
    assert!((0.13..0.25).contains(&turn.0), "{}", turn.0);
}

/// In the `ane` layout, whatever follows the lookups is predicted on the Neural Engine; what comes before is not.
#[test]
fn all_but_the_lookups() {
    let found = function(&bert(BERT_BASE), "m4");
    for operation in &found.operations {
        let kept = matches!(operation.name.as_str(), "embeddings" | "mask_float");
        let unit = if kept { Unit::Cpu } else { Unit::Ane };
        assert_eq!(operation.unit, unit, "{}", operation.name);
        assert_eq!(!operation.reasons.is_empty(), kept, "{}", operation.name);
        // In the middle nothing is near a toss; only the first and last operations are.
        if operation.name.starts_with("layer_") && !operation.name.starts_with("layer_11") {
            assert!(!operation.edge, "{}", operation.name);
            assert!(operation.margin_ms.is_some_and(|margin| margin >= 0.1));
        }
    }
    assert!(found.findings.is_empty(), "{:?}", found.findings);
}

#[test]
fn other_chips_are_priced_as_m4_and_say_so() {
    let decision = function(&bert(BERT_BASE), "m1").decision;
    assert_eq!(decision.unit, Unit::Ane);
    assert_eq!(decision.confidence.name(), "low");
    assert!(
        decision
            .notes
            .iter()
            .any(|note| note.contains("priced as for M4")),
        "{:?}",
        decision.notes
    );
}

/// Names come from a file anyone may have written.
#[test]
fn a_page_escapes_what_a_package_says() {
    let mut model = bert(BERT_TINY);
    let function = model.program.functions.remove("main").expect("a function");
    model.program.functions.insert("<script>\"&'".into(), function);
    let explanation = crate::model::explained(&model, "m4");
    let heading = corer_placement::page::Heading {
        title: "<b>",
        chip: corer_placement::Chip::find("m4").expect("a chip"),
        advice: &[],
    };
    let page = corer_placement::page::page(&explanation, heading);
    assert!(!page.contains("<script") && !page.contains("<b>"));
    assert!(page.contains("&lt;script&gt;&quot;&amp;&#39;"));
}
