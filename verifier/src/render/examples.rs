//! Small results to render, made the way real ones are.

use std::collections::BTreeMap;

use corer_runtime::{ACCUMULATOR_LIMIT, AneRules, HALF_MAX};

use crate::inputs::InputRow;
use crate::metrics::{LabelledReport, OutputComparison, OutputKind, ScoreReport};
use crate::report::Decibels;
use crate::report::drift::{BlockDrift, DepartedBy, Departure, DriftErrors, DriftReport};
use crate::report::numerics::{
    HeadroomReport, LossReport, ModeReport, NumericsReport, RuleReport, SumsReport,
};
use crate::report::{
    BucketReport, ExecutionReport, FileDigest, InputReport, OutputReport, PackageReport, PairedBy, Precision,
    ProbeReport, ReferenceReport, SCHEMA, VerifyReport,
};
use crate::verdict::{Thresholds, Verdict};

/// A package that computes what it should, to fp16's rounding.
pub(crate) fn passed() -> VerifyReport {
    report([[0.5, -1.25], [2.0, 0.75]], [[0.500_1, -1.25], [2.0, 0.750_1]])
}

/// One that is far off in input 1.
pub(crate) fn failed() -> VerifyReport {
    report([[0.5, -1.25], [2.0, 0.75]], [[0.5, -1.25], [1.75, 0.75]])
}

/// The good one with everything that can be asked for: labels, other arithmetics, headroom and losses, with a warning.
pub(crate) fn looked_into() -> VerifyReport {
    let mut report = passed();
    let bucket = &mut report.buckets[0];
    bucket.outputs[0].labelled = Some(LabelledReport {
        labels: 1200,
        scores: vec![ScoreReport {
            score: "accuracy".into(),
            reference: 0.75,
            package: 0.7375,
            difference: -0.0125,
            interval: [-0.03, 0.01],
        }],
    });
    let headroom = |operation: &str, largest: f32, reached: Option<f32>| HeadroomReport {
        operation: operation.into(),
        op: if reached.is_some() { "linear" } else { "gelu" }.into(),
        headroom: reached.map_or(HALF_MAX / largest, |reached| ACCUMULATOR_LIMIT / reached),
        largest,
        result_headroom: Some(HALF_MAX / largest),
        sums: reached.map(|reached| SumsReport {
            last: largest,
            reached,
            bound: 2.0 * reached,
            headroom: ACCUMULATOR_LIMIT / reached,
            certain_headroom: ACCUMULATOR_LIMIT / (2.0 * reached),
        }),
    };
    let headroom = vec![
        headroom("layer <1> linear", 30_000.0, Some(40_000.0)),
        headroom("layer_0_gelu", 12.5, None),
    ];
    bucket.numerics = Some(NumericsReport {
        rows: 2,
        modes: vec![ModeReport {
            arithmetic: "ane".into(),
            rules: RuleReport::all(AneRules::default()),
            verdict: bucket.verdict.clone(),
            outputs: bucket.outputs.clone(),
        }],
        warnings: headroom.iter().filter_map(HeadroomReport::warning).collect(),
        headroom,
        losses: vec![LossReport {
            operation: "layer_0_gelu".into(),
            op: "gelu".into(),
            sqnr: 61.25,
        }],
    });
    report
}

fn report(reference: [[f32; 2]; 2], package: [[f32; 2]; 2]) -> VerifyReport {
    let precision = Precision::Fp16;
    let mut comparison = OutputComparison::new(OutputKind::Logits, &[2], precision.step());
    for (index, (reference, package)) in reference.iter().zip(&package).enumerate() {
        let row = InputRow {
            input_ids: vec![1],
            attention_mask: vec![1],
            token_type_ids: vec![0],
            extra: Default::default(),
            excerpt: Some(format!("text {index} with <b>markup</b> & \u{1}control")),
        };
        comparison.add_row(index, &row, reference, package);
    }
    let outputs = vec![OutputReport {
        package: "logits".into(),
        reference: "logits".into(),
        paired_by: PairedBy::Name,
        row_shape: vec![2],
        errors: comparison.report(),
        labelled: None,
    }];
    let thresholds = Thresholds::for_precision(precision);
    let probes = ProbeReport {
        nonfinite_without_tokens: Some(0),
        change_under_padding: Some(0.0),
    };
    let bucket = BucketReport {
        name: "main".into(),
        function: "main".into(),
        batch: 1,
        length: 16,
        default: true,
        verdict: Verdict::reach(&outputs, &probes, &thresholds),
        precision,
        inputs: InputReport {
            origin: "texts of corer's own".into(),
            rows: 2,
            length: 16,
            tokens: 2,
            shortest: 1,
            longest: 1,
            truncated: 0,
            not_taken: Vec::new(),
        },
        outputs,
        spans: None,
        numerics: None,
        probes,
        thresholds,
        gate: None,
    };
    VerifyReport {
        schema: SCHEMA,
        corer: "0.1.0".into(),
        tool_sha256: Some("ab".repeat(32)),
        verdict: Verdict::over(std::slice::from_ref(&bucket)),
        package: PackageReport {
            path: "Tiny.mlpackage".into(),
            digest: "01".repeat(32),
            bytes: 1 << 20,
            specification_version: 7,
            metadata: BTreeMap::from([("corer.source.sha256".into(), "23".repeat(32))]),
        },
        reference: ReferenceReport {
            kind: "candle".into(),
            path: "tiny".into(),
            task: Some("sequence-classification".into()),
            files: vec![FileDigest {
                name: "model.safetensors".into(),
                bytes: 4096,
                sha256: "45".repeat(32),
            }],
            notes: BTreeMap::new(),
        },
        execution: ExecutionReport {
            engine: "cpu".into(),
            arithmetic: "as-written".into(),
            host_cores: 2,
        },
        buckets: vec![bucket],
        not_judged: Vec::new(),
        interrupted: false,
        drift: None,
        drift_missing: None,
    }
}

/// A drift that departs at its second block.
pub(super) fn departed() -> DriftReport {
    let errors = |sqnr, max_abs| DriftErrors {
        sqnr: Decibels(sqnr),
        max_abs,
        nonfinite: 0,
    };
    let block = |place: &str, cumulative, isolated| BlockDrift {
        place: place.into(),
        operation: place.replace('.', "_"),
        cumulative,
        isolated,
    };
    DriftReport {
        bucket: "main".into(),
        reference: "the source's operations".into(),
        rows: 16,
        threshold: 35.0,
        blocks: vec![
            block("embeddings", errors(70.0, 1e-3), errors(70.0, 1e-3)),
            block("encoder.layer.0", errors(12.5, 2.0), errors(13.25, 2.0)),
        ],
        operations: Vec::new(),
        unpaired: Vec::new(),
        departure: Some(Departure {
            block: "encoder.layer.0".into(),
            operation: "encoder_layer_0_<dense>".into(),
            op: "linear".into(),
            place: "encoder.layer.0.dense".into(),
            sqnr: Decibels(13.25),
            by: DepartedBy::Itself,
            within: vec!["encoder_layer_0_<dense>".into()],
        }),
    }
}
