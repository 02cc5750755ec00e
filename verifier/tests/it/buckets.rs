//! Packages that take several sizes: each is judged, the worst decides, and what can't be judged is told.

use corer_proto::Flexibility;
use corer_verifier::{VerifyError, VerifyReport};

use crate::case::{Against, Case};
use crate::toy::{Bench, LENGTH, Toy};

fn request(bench: &Bench, package: std::path::PathBuf) -> Case {
    let file = bench.plain_recording();
    Case::new(package, Against::Recording(file))
}

fn batch(batch: usize) -> Toy<'static> {
    Toy { batch, ..Toy::PLAIN }
}

/// Name, whether it passed, whether it is the default.
fn verdicts(report: &VerifyReport) -> Vec<(&str, bool, bool)> {
    let buckets = report.buckets.iter();
    buckets
        .map(|bucket| (bucket.name.as_str(), bucket.verdict.passed, bucket.default))
        .collect()
}

#[test]
fn every_function_is_judged_and_the_worst_decides() {
    let bench = Bench::new();
    let broken = Toy {
        spoiled: &[(6, 1, -9.0)],
        ..batch(2)
    };
    let package = bench.functions(&[
        ("one", LENGTH as u64, batch(1)),
        ("two", LENGTH as u64, broken),
        ("three", LENGTH as u64, batch(3)),
    ]);
    let request = request(&bench, package);
    let report = request.verify().unwrap();
    assert_eq!(
        verdicts(&report),
        [("one", true, true), ("two", false, false), ("three", true, false)]
    );
    assert!(!report.verdict.passed);
    assert!(!report.verdict.reasons.is_empty());
    for reason in &report.verdict.reasons {
        assert_eq!(reason.bucket.as_deref(), Some("two"), "{reason}");
    }
    let text = report.to_string();
    assert!(
        text.contains("3 buckets") && text.contains("two: last_hidden_state: PSNR"),
        "{text}"
    );

    // Asked for by name, only that one counts.
    for (name, passed) in [("one", true), ("two", false)] {
        let mut request = request.clone();
        request.function = Some(name.into());
        let report = request.verify().unwrap();
        assert_eq!(verdicts(&report), [(name, passed, name == "one")]);
        assert_eq!(report.verdict.passed, passed);
    }
    let mut missing = request;
    missing.function = Some("four".into());
    let error = missing.verify().unwrap_err();
    assert!(matches!(error, VerifyError::Interface { .. }), "{error}");
    assert!(error.to_string().contains("one, three, two"), "{error}");
}

#[test]
fn a_recording_judges_the_length_it_was_made_at() {
    let bench = Bench::new();
    let package = bench.functions(&[("long", 8, batch(1)), ("short", LENGTH as u64, batch(1))]);
    let report = request(&bench, package).verify().unwrap();
    assert_eq!(verdicts(&report), [("short", true, false)]);
    let [skipped] = &report.not_judged[..] else {
        panic!("{report}")
    };
    assert_eq!(skipped.name, "long");
    assert!(skipped.reason.contains("recorded at 4"), "{}", skipped.reason);
    assert!(report.to_string().contains("not judged: long"), "{report}");

    let package = bench.functions(&[("long", 8, batch(1)), ("longer", 16, batch(1))]);
    let error = request(&bench, package).verify().unwrap_err().to_string();
    assert!(error.contains("takes 8") && error.contains("takes 16"), "{error}");
}

#[test]
fn enumerated_sizes_are_judged_one_by_one() {
    let bench = Bench::new();
    let shapes = [[1, LENGTH as u64], [3, LENGTH as u64], [1, 8]].map(Vec::from);
    let enumerated = Flexibility::Enumerated(shapes.to_vec());
    let package = bench.flexible(&Toy::PLAIN, &enumerated);
    let report = request(&bench, package).verify().unwrap();
    assert_eq!(verdicts(&report), [("1 x 4", true, true), ("3 x 4", true, false)]);
    assert_eq!(report.buckets[0].outputs, report.buckets[1].outputs);
    assert_eq!(report.not_judged[0].name, "1 x 8");

    let broken = Toy {
        spoiled: &[(6, 1, -9.0)],
        ..Toy::PLAIN
    };
    let package = bench.flexible(&broken, &enumerated);
    let report = request(&bench, package).verify().unwrap();
    assert_eq!(
        verdicts(&report),
        [("1 x 4", false, true), ("3 x 4", false, false)]
    );
}

#[test]
fn a_range_is_judged_at_the_length_of_a_recording() {
    let bench = Bench::new();
    for most in [LENGTH as u64, 8] {
        let range = Flexibility::Range(vec![(1, Some(2)), (1, Some(most))]);
        let package = bench.flexible(&Toy::PLAIN, &range);
        let report = request(&bench, package).verify().unwrap();
        assert_eq!(verdicts(&report), [("1 x 4", true, true), ("2 x 4", true, false)]);
        assert!(report.not_judged.is_empty(), "{report}");
    }
    let range = Flexibility::Range(vec![(1, Some(1)), (1, Some(3))]);
    let package = bench.flexible(&Toy::PLAIN, &range);
    assert!(request(&bench, package).verify().is_err());
}
