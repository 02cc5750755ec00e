//! Whole verifications of packages computed by hand: what passes, what fails and why, what can't be judged.

use corer_verifier::report::{BucketReport, PairedBy, Precision};
use std::sync::atomic::{AtomicU64, Ordering};

use corer_verifier::{
    Arithmetic, InputError, Inputs, Progress, ThresholdOverrides, VerifyError, VerifyReport,
};

use crate::case::{Against, Case};
use crate::toy::{After, Bench, LENGTH, Toy, WIDTH, vector};

fn request(bench: &Bench, toy: &Toy<'_>) -> Case {
    Case::new(bench.package(toy), Against::Recording(bench.plain_recording()))
}

fn judged(toy: &Toy<'_>) -> VerifyReport {
    let bench = Bench::new();
    request(&bench, toy).verify().unwrap()
}

/// The only bucket judged.
fn only(report: &VerifyReport) -> &BucketReport {
    let [bucket] = &report.buckets[..] else {
        panic!("{report}")
    };
    assert!(bucket.default && report.not_judged.is_empty());
    bucket
}

fn measures(report: &VerifyReport) -> Vec<&str> {
    assert_eq!(report.verdict.passed, report.verdict.reasons.is_empty());
    report
        .verdict
        .reasons
        .iter()
        .map(|reason| reason.measure.as_str())
        .collect()
}

#[test]
fn what_is_equal_passes() {
    let report = judged(&Toy::PLAIN);
    assert!(report.verdict.passed, "{report}");
    assert_eq!(only(&report).precision, Precision::Fp32);
    let output = &only(&report).outputs[0];
    assert_eq!(
        (output.paired_by, &output.row_shape[..]),
        (PairedBy::Name, &[LENGTH, WIDTH][..])
    );
    // 4 + 2 + 1 + 2 + 3 tokens of two channels.
    assert_eq!((output.errors.elements, output.errors.max_abs), (24, 0.0));
    assert_eq!(only(&report).probes.nonfinite_without_tokens, Some(0));
    assert_eq!(only(&report).probes.change_under_padding, Some(0.0));
    assert_eq!(
        (
            only(&report).inputs.rows,
            only(&report).inputs.tokens,
            only(&report).inputs.shortest
        ),
        (5, 12, 1)
    );
    assert!(report.to_string().contains("passed"), "{report}");
}

#[test]
fn what_differs_fails_and_is_found() {
    // Id 6 is a token in rows 1 and 3.
    let report = judged(&Toy {
        spoiled: &[(6, 1, -9.0)],
        ..Toy::PLAIN
    });
    assert_eq!(
        measures(&report),
        ["PSNR", "lowest cosine", "lowest sentence cosine"]
    );
    let worst = only(&report).outputs[0].errors.worst.as_ref().unwrap();
    assert_eq!((worst.row, &worst.position[..]), (1, &[1, 1][..]));
    assert_eq!((worst.reference, worst.package, worst.error), (-6.0, -9.0, 3.0));
    // One error of 3 in two of 24 elements; the peak is id 7's 3 − 0.25·49 = −9.25.
    let psnr = 10.0 * (9.25f64 * 9.25 / (2.0 * 9.0 / 24.0)).log10();
    assert!((only(&report).outputs[0].errors.psnr.0 - psnr).abs() < 1e-9);
    assert!(report.to_string().contains("FAILED"), "{report}");
}

#[test]
fn what_differs_under_padding_only_passes_unless_it_is_not_finite() {
    // Id 0 is padding everywhere.
    assert!(
        judged(&Toy {
            spoiled: &[(0, 0, 50.0)],
            ..Toy::PLAIN
        })
        .verdict
        .passed
    );
    let report = judged(&Toy {
        spoiled: &[(0, 0, f32::NAN)],
        ..Toy::PLAIN
    });
    assert!(
        measures(&report).contains(&"values that are not finite"),
        "{report}"
    );
    assert_eq!(only(&report).outputs[0].errors.nonfinite_package, 2 + 3 + 2 + 1);
    let bench = Bench::new();
    let mut request = request(
        &bench,
        &Toy {
            spoiled: &[(7, 0, f32::INFINITY)],
            ..Toy::PLAIN
        },
    );
    request.thresholds = ThresholdOverrides {
        min_psnr: Some(f64::NEG_INFINITY),
        min_cosine: Some(-1.0),
        min_neighbour_overlap: Some(0.0),
        ..ThresholdOverrides::default()
    };
    assert_eq!(
        measures(&request.verify().unwrap()),
        ["values that are not finite"]
    );
}

#[test]
fn an_empty_mask_must_give_finite_numbers() {
    let toy = Toy {
        after: After::DividesByTokens,
        ..Toy::PLAIN
    };
    let report = judged(&toy);
    assert_eq!(
        measures(&report),
        ["values that are not finite under an all-zero mask"]
    );
    assert_eq!(
        only(&report).probes.nonfinite_without_tokens,
        Some((LENGTH * WIDTH) as u64)
    );
    let bench = Bench::new();
    let mut request = request(&bench, &toy);
    request.thresholds.finite_without_tokens = Some(false);
    assert!(request.verify().unwrap().verdict.passed);
}

#[test]
fn padding_must_not_matter() {
    // The recording has the same leak, so that only the probe can tell.
    let bench = Bench::new();
    let file = bench.recording("last_hidden_state", &[LENGTH, WIDTH], |ids| {
        let vectors: Vec<[f32; WIDTH]> = ids.iter().map(|id| vector(*id)).collect();
        let mean = |channel: usize| vectors.iter().map(|vector| vector[channel]).sum::<f32>() / LENGTH as f32;
        vectors
            .iter()
            .flat_map(|vector| [vector[0] + mean(0), vector[1] + mean(1)])
            .collect()
    });
    let package = bench.package(&Toy {
        after: After::LeaksPadding,
        ..Toy::PLAIN
    });
    let request = Case::new(package, Against::Recording(file));
    let report = request.verify().unwrap();
    assert_eq!(
        measures(&report),
        ["change when ids under the padding change"],
        "{report}"
    );
}

#[test]
fn precision_and_arithmetic_are_the_packages_own() {
    let bench = Bench::new();
    // 1/3 is not an fp16 number, the others are.
    let mut request = request(
        &bench,
        &Toy {
            after: After::Rounds,
            spoiled: &[(1, 0, 1.0 / 3.0)],
            ..Toy::PLAIN
        },
    );
    let written = request.verify().unwrap();
    assert_eq!(
        (only(&written).precision, &*written.execution.arithmetic),
        (Precision::Fp16, "as-written")
    );
    assert_eq!(only(&written).thresholds.min_psnr, 65.0);
    let found = only(&written).outputs[0].errors.worst.as_ref().unwrap().package;
    assert_eq!(found, half::f16::from_f32(1.0 / 3.0).to_f32());
    request.arithmetic = Arithmetic::F32;
    let single = request.verify().unwrap();
    assert_eq!(
        only(&single).outputs[0].errors.worst.as_ref().unwrap().package,
        1.0 / 3.0
    );
}

#[test]
fn batches_that_are_not_full_drop_what_was_added() {
    let whole = judged(&Toy {
        spoiled: &[(6, 1, -9.0)],
        ..Toy::PLAIN
    });
    for batch in [2, 3, 4, 8] {
        let report = judged(&Toy {
            batch,
            spoiled: &[(6, 1, -9.0)],
            ..Toy::PLAIN
        });
        assert_eq!(only(&report).outputs, only(&whole).outputs, "batch {batch}");
    }
}

#[test]
fn foreign_names_pair_up_or_say_why_not() {
    let bench = Bench::new();
    let toy = Toy {
        output: "var_42",
        ..Toy::PLAIN
    };
    let report = request(&bench, &toy).verify().unwrap();
    assert_eq!(only(&report).outputs[0].paired_by, PairedBy::Order);
    assert!(report.verdict.passed);
    let mut asked = request(&bench, &toy);
    asked.pairs = vec![("var_42".into(), "last_hidden_state".into())];
    assert_eq!(
        only(&asked.verify().unwrap()).outputs[0].paired_by,
        PairedBy::Request
    );
    asked.pairs = vec![("var_42".into(), "pooler_output".into())];
    let error = asked.verify().unwrap_err();
    assert!(matches!(error, VerifyError::Pairing { .. }), "{error}");
    assert!(error.to_string().contains("var_42 (n, 4, 2)"), "{error}");
}

#[test]
fn classifiers_are_held_against_the_softmax_of_logits() {
    let bench = Bench::new();
    let file = || bench.recording("logits", &[WIDTH], |ids| vector(ids[0]).to_vec());
    let judge = |package| {
        let request = Case::new(package, Against::Recording(file()));
        request.verify().unwrap()
    };
    let report = judge(bench.classifier(["low", "high"], &[]));
    assert!(report.verdict.passed, "{report}");
    let [label, probabilities] = &only(&report).outputs[..] else {
        panic!("{report}")
    };
    assert_eq!(
        (label.reference.as_str(), label.paired_by),
        ("logits", PairedBy::Classifier)
    );
    assert_eq!(label.errors.top1.unwrap().total, 5);
    assert_eq!(probabilities.errors.elements, 10);
    // Row 1 begins with id 5: logits (5.5, −3.25). Exchanged, its class is the other one.
    let report = judge(bench.classifier(["low", "high"], &[(5, 0, -3.25), (5, 1, 5.5)]));
    assert!(measures(&report).contains(&"top-1 agreement"), "{report}");
    assert_eq!(only(&report).outputs[0].errors.top1.unwrap().agree, 4);
}

#[test]
fn inputs_must_belong_to_the_reference() {
    let bench = Bench::new();
    let mut texts = request(&bench, &Toy::PLAIN);
    texts.inputs = Inputs::Tokens { seed: 0, rows: 3 };
    let error = texts.verify().unwrap_err();
    assert!(
        matches!(error, VerifyError::Inputs(InputError::Request(_))),
        "{error}"
    );
    let checkpoint = Against::Checkpoint(crate::fixtures().join("fill-mask"));
    let mut recorded = Case::new(bench.package(&Toy::PLAIN), checkpoint);
    recorded.inputs = Inputs::Recorded;
    let error = recorded.verify().unwrap_err();
    assert!(
        matches!(error, VerifyError::Inputs(InputError::Request(_))),
        "{error}"
    );
    let other_length = Against::Recording(crate::fixtures().join("fill-mask/expected.safetensors"));
    let error = Case::new(bench.package(&Toy::PLAIN), other_length)
        .verify()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("recorded at 32 positions, the package takes 4"),
        "{error}"
    );
}

#[test]
fn what_is_no_package_or_no_function_is_an_error() {
    let bench = Bench::new();
    let mut missing = request(&bench, &Toy::PLAIN);
    missing.package = missing.package.join("absent");
    assert!(matches!(missing.verify().unwrap_err(), VerifyError::Package(_)));
    let mut function = request(&bench, &Toy::PLAIN);
    function.function = Some("predict".into());
    let error = function.verify().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has no function `predict`; it has: main"),
        "{error}"
    );
}

#[test]
fn the_report_is_the_same_every_time_and_says_its_schema() {
    let bench = Bench::new();
    let json = || {
        let toy = Toy {
            spoiled: &[(6, 1, -9.0)],
            ..Toy::PLAIN
        };
        let report = request(&bench, &toy).verify().unwrap();
        serde_json::to_value(report).unwrap()
    };
    let report = json();
    assert_eq!(report, json());
    assert_eq!(report["schema"], 3);
    assert_eq!(report["verdict"]["passed"], false);
    assert_eq!(report["buckets"][0]["outputs"][0]["kind"], "token-vectors");
    assert_eq!(
        report["buckets"][0]["outputs"][0]["worst"]["position"],
        serde_json::json!([1, 1])
    );
    assert_eq!(report["reference"]["files"][0]["name"], "recorded.safetensors");
    let exact = serde_json::to_value(judged(&Toy::PLAIN)).unwrap();
    assert_eq!(exact["buckets"][0]["outputs"][0]["psnr"], "inf");
}

/// Wants to stop once some rows are done.
struct StopsAfter(AtomicU64);

impl Progress for StopsAfter {
    fn advance(&self, rows: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).saturating_sub(rows),
            Ordering::Relaxed,
        );
    }

    fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn an_interruption_leaves_a_report_of_a_part_which_is_no_pass() {
    let bench = Bench::new();
    let request = request(&bench, &Toy::PLAIN);
    let report = request.watched(&StopsAfter(AtomicU64::new(4))).unwrap();
    assert!(report.interrupted);
    assert_eq!(measures(&report), ["comparison"]);
    assert_eq!(
        (only(&report).inputs.rows, only(&report).outputs[0].errors.rows),
        (4, 4)
    );
    assert!(report.to_string().contains("comparison interrupted"), "{report}");
    // Nothing is wrong with an interest in stopping after the last row.
    let report = request.watched(&StopsAfter(AtomicU64::new(1000))).unwrap();
    assert!(!report.interrupted && report.verdict.passed);
}
