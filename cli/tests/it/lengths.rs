//! Packages of several sizes: each form converts, every bucket of it computes what the checkpoint does, and sizes that
//! go in no form are refused.

use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::harness::{Scratch, assert_conversion, assert_run, fixture, fixtures};

const CONVERT: [&str; 4] = ["convert", "model", "-o", "Out.mlpackage"];

fn convert_with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&CONVERT[..], more].concat()
}

const HEADS: [&str; 8] = [
    "feature-extraction",
    "sequence-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "sentence-mean",
    "sentence-cls-dense",
    "sentence-max",
];

/// Flags, and the buckets they make with the default marked.
const FORMS: [(&[&str], &[&str]); 9] = [
    (
        &["--sequence-length", "64,16,128", "--target", "ios18"],
        &["seq16", "seq64", "*seq128"],
    ),
    (
        &[
            "--sequence-length",
            "16,64",
            "--batch-size",
            "3,1",
            "--target",
            "ios26",
        ],
        &["batch1_seq16", "batch3_seq16", "*batch1_seq64", "batch3_seq64"],
    ),
    (
        &[
            "--sequence-length",
            "16,64",
            "--target",
            "ios18",
            "--attention",
            "split",
        ],
        &["seq16", "*seq64"],
    ),
    (
        &[
            "--sequence-length",
            "16,64,128",
            "--target",
            "ios18",
            "--buckets",
            "enumerated",
        ],
        &["1 x 16", "1 x 64", "*1 x 128"],
    ),
    (
        &[
            "--sequence-length",
            "64",
            "--batch-size",
            "1,3",
            "--target",
            "ios26",
            "--buckets",
            "enumerated",
        ],
        &["*1 x 64", "3 x 64"],
    ),
    (&["--sequence-length", "1..128"], &["1 x 1", "1 x 11", "*1 x 128"]),
    (
        &["--sequence-length", "1..128", "--target", "ios18"],
        &["1 x 1", "1 x 11", "*1 x 128"],
    ),
    (
        &[
            "--sequence-length",
            "5..64",
            "--batch-size",
            "1..3",
            "--target",
            "ios17",
            "--no-token-types",
        ],
        &["1 x 5", "1 x 17", "*1 x 64", "3 x 64"],
    ),
    (
        &[
            "--sequence-length",
            "32",
            "--batch-size",
            "2..4",
            "--precision",
            "fp32",
        ],
        &["*2 x 32", "4 x 32"],
    ),
];

fn json(scratch: &Scratch, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = scratch.output(arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), value)
}

/// Names of the buckets of a report, the default marked; all must have passed.
fn passed(report: &Value) -> Vec<String> {
    let buckets = report["buckets"].as_array().expect("buckets");
    let name = |bucket: &Value| {
        assert_eq!(bucket["verdict"]["passed"], true, "{bucket:#}");
        let mark = if bucket["default"] == true { "*" } else { "" };
        format!("{mark}{}", bucket["name"].as_str().expect("a name"))
    };
    buckets.iter().map(name).collect()
}

#[test]
fn every_bucket_of_every_form_computes_what_the_checkpoint_does() {
    for (index, head) in HEADS.into_iter().enumerate() {
        // One head goes through every form, the others through two or three each.
        let forms = FORMS.iter().enumerate();
        let taken = forms.filter(|(form, _)| head == "sentence-mean" || form % 4 == index % 4);
        for (flags, buckets) in taken.map(|(_, form)| *form) {
            for layout in ["ane", "standard"] {
                let scratch = Scratch::new();
                let source = fixture(head);
                let convert = ["convert", &source, "-o", "Out.mlpackage", "--layout", layout];
                let (code, report) = json(&scratch, &[&convert[..], flags, &["--verify", "--json"]].concat());
                let what = format!("{head} {layout} {flags:?}");
                assert_eq!(code, Some(0), "{what}: {report:#}");
                assert_eq!(passed(&report["verification"]), buckets, "{what}");
                let check = scratch.output(&["inspect", "--check", "Out.mlpackage"]);
                assert_eq!(
                    check.status.code(),
                    Some(0),
                    "{what}: {}",
                    String::from_utf8_lossy(&check.stdout)
                );
            }
        }
    }
}

#[test]
fn every_bucket_computes_what_pytorch_recorded_at_its_length() {
    let forms: [(&[&str], usize); 3] = [
        (&["--sequence-length", "16,64,128"], 2),
        (&["--sequence-length", "16,64,128", "--buckets", "enumerated"], 2),
        // A range takes any length, so that no other is left to judge.
        (&["--sequence-length", "1..128"], 0),
    ];
    for head in ["feature-extraction", "sentence-mean"] {
        for (layout, precision) in [("ane", "fp16"), ("ane", "fp32"), ("standard", "fp32")] {
            for (flags, others) in forms {
                let scratch = Scratch::new();
                let source = fixture(head);
                let convert = ["convert", &source, "-o", "Out.mlpackage", "--target", "ios18"];
                let form = ["--layout", layout, "--precision", precision];
                let output = scratch.output(&[&convert[..], &form, flags].concat());
                assert_eq!(output.status.code(), Some(0));
                for (recording, length) in [("expected-16", 16), ("expected", 64), ("expected-128", 128)] {
                    let recording = format!("{source}/{recording}.safetensors");
                    let golden = ["verify", "Out.mlpackage", "--golden", &recording, "--json"];
                    let limits = match precision {
                        "fp32" => ["--max-abs", "1e-5"],
                        _ => ["--min-psnr", "70"],
                    };
                    let (code, report) = json(&scratch, &[&golden[..], &limits].concat());
                    assert_eq!(code, Some(0), "{head} {layout} {flags:?}: {report:#}");
                    assert_eq!(passed(&report).len(), 1);
                    assert_eq!(report["buckets"][0]["length"], length);
                    assert_eq!(report["not_judged"].as_array().map(Vec::len), Some(others));
                }
            }
        }
    }
}

/// Path of a program in `fixtures/families`.
fn program(path: &str) -> String {
    let path = fixtures().join("families").join(path);
    path.display().to_string()
}

#[test]
fn traces_and_exports_take_several_sizes_as_checkpoints_do() {
    let programs = [
        "bert/feature-extraction/torch2.7-eager.pt",
        "bert/feature-extraction/torch2.15-sdpa.pt",
        "bert/feature-extraction/torch2.7-export-dynamic.pt2",
        "distilbert/feature-extraction/torch2.7-sdpa.pt",
        "albert/feature-extraction/torch2.7-sdpa.pt",
    ];
    let forms: [&[&str]; 4] = [
        &["--sequence-length", "16,32"],
        &["--sequence-length", "16,32", "--buckets", "enumerated"],
        &["--sequence-length", "8..40"],
        &["--sequence-length", "8..40", "--batch-size", "1..3"],
    ];
    for (index, path) in programs.into_iter().enumerate() {
        for (form, flags) in forms.into_iter().enumerate() {
            let scratch = Scratch::new();
            let layout = if (index + form) % 2 == 0 {
                "ane"
            } else {
                "standard"
            };
            let source = program(path);
            let convert = ["convert", &source, "-o", "Out.mlpackage", "--target", "ios18"];
            let as_asked = ["--layout", layout, "--precision", "fp32"];
            let output = scratch.output(&[&convert[..], &as_asked, flags].concat());
            let what = format!("{path} {layout} {flags:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{what}: {said}");
            let recording = std::path::Path::new(&source).with_file_name("expected.safetensors");
            let recording = recording.display().to_string();
            let golden = ["verify", "Out.mlpackage", "--golden", &recording];
            let (code, report) = json(
                &scratch,
                &[&golden[..], &["--max-abs", "1e-5", "--json"]].concat(),
            );
            assert_eq!(code, Some(0), "{what}: {report:#}");
            for bucket in report["buckets"].as_array().expect("buckets") {
                assert_eq!(bucket["length"], 32, "{what}");
            }
            let check = scratch.output(&["inspect", "--check", "Out.mlpackage"]);
            assert_eq!(check.status.code(), Some(0), "{what}");
        }
    }
}

#[test]
fn families_with_tables_of_positions_have_functions_and_no_open_length() {
    let families = ["deberta-v2", "deberta-v3", "modernbert", "mpnet", "nomic-bert"];
    // As a checkpoint, and traced by either PyTorch.
    let saved = ["", "/torch2.7-eager.pt", "/torch2.15-eager.pt"];
    for (family, saved) in families
        .iter()
        .flat_map(|family| saved.iter().map(move |saved| (family, saved)))
    {
        let scratch = Scratch::new();
        let folder = program(&format!("{family}/feature-extraction"));
        let source = format!("{folder}{saved}");
        let convert = ["convert", &source, "-o", "Out.mlpackage", "--target", "ios18"];
        let form = ["--precision", "fp32", "--sequence-length", "16,32"];
        let output = scratch.output(&[&convert[..], &form].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{source}: {said}");
        let recording = format!("{folder}/expected.safetensors");
        let golden = ["verify", "Out.mlpackage", "--golden", &recording];
        let (code, report) = json(
            &scratch,
            &[&golden[..], &["--max-abs", "1e-5", "--json"]].concat(),
        );
        assert_eq!(code, Some(0), "{source}: {report:#}");
        assert_eq!(passed(&report), ["*seq32"]);
        let open = ["--force", "--sequence-length", "16..32"];
        let output = scratch.output(&[&convert[..], &open].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{source}: {said}");
        assert!(said.contains("a function for each"), "{source}: {said}");
    }
}

#[test]
fn a_trace_whose_constants_follow_the_length_keeps_no_length_open() {
    let scratch = Scratch::new();
    let source = program("mpnet/feature-extraction/torch2.7-eager.pt");
    std::fs::copy(source, scratch.path().join("model.pt")).expect("a copy");
    let open = ["--sequence-length", "8..32"];
    assert_run!(
        scratch,
        [&["convert", "model.pt", "-o", "Out.mlpackage"][..], &open].concat()
    );
}

#[test]
fn functions_share_one_copy_of_the_weights() {
    let scratch = Scratch::new();
    let source = fixture("feature-extraction");
    let convert = |lengths: &str, out: &str| {
        let flags = ["--target", "ios18", "--sequence-length", lengths, "--json"];
        let (code, report) = json(&scratch, &[&["convert", &source, "-o", out][..], &flags].concat());
        assert_eq!(code, Some(0), "{report:#}");
        report["weights_stored"].as_u64().expect("a number")
    };
    // Rows of the position table too: the short functions cut the long one's.
    assert_eq!(
        convert("128", "One.mlpackage"),
        convert("32,64,128", "Three.mlpackage")
    );
}

#[test]
fn functions_that_take_heads_together_and_apart_share_weights_too() {
    let scratch = Scratch::new();
    let checkpoint = Checkpoint::copy(&scratch, "sentence-mean");
    checkpoint.configure("max_position_embeddings", Value::from(800));
    checkpoint.edit_tensors(|tensors| {
        let positions = tensors
            .iter_mut()
            .find(|tensor| tensor.name.ends_with("position_embeddings.weight"));
        positions.expect("a position table").repeat_rows(800);
    });
    // Scores of two heads pass 2 MiB beyond 724 tokens.
    let lengths = ["--sequence-length", "64,800", "--target", "ios18", "--json"];
    let (code, report) = json(&scratch, &convert_with(&[&lengths[..], &["--verify"]].concat()));
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(passed(&report["verification"]), ["seq64", "*seq800"]);
    let stored = report["weights_stored"].clone();
    let (_, summary) = json(&scratch, &["inspect", "Out.mlpackage", "--json"]);
    let cuts: Vec<bool> = summary["functions"]
        .as_array()
        .expect("functions")
        .iter()
        .map(|function| function["operations"]["split"].is_number())
        .collect();
    assert_eq!(cuts, [false, true], "{summary:#}");
    let alone = ["--force", "--sequence-length", "64", "--json"];
    let (_, report) = json(&scratch, &convert_with(&alone));
    assert_eq!(report["weights_stored"], stored);
}

#[test]
fn convert_with_several_lengths_and_inspect() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    assert_conversion!(
        scratch,
        convert_with(&["--sequence-length", "32,64", "--target", "ios18"])
    );
    let inspected = scratch.transcript(&["inspect", "Out.mlpackage"]);
    let shown: Vec<&str> = inspected
        .lines()
        .filter(|line| line.contains("function") || line.contains("corer.buckets"))
        .map(str::trim)
        .collect();
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("inspect_functions", shown.join("\n"));
    });
}

#[test]
fn convert_with_a_range_says_what_it_costs() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    assert_conversion!(scratch, convert_with(&["--sequence-length", "1..64"]));
}

#[test]
fn sizes_that_go_in_no_form() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "feature-extraction");
    let too_many: Vec<String> = (1..=129).map(|length| length.to_string()).collect();
    let too_many = too_many.join(",");
    let cases: [(&str, &[&str]); 14] = [
        ("zero", &["--sequence-length", "0"]),
        ("zero_among_others", &["--sequence-length", "0,32"]),
        ("twice", &["--sequence-length", "64,32,64"]),
        ("no_number", &["--sequence-length", "32,long"]),
        (
            "beyond_the_table",
            &["--sequence-length", "32,256", "--target", "ios18"],
        ),
        ("range_beyond_the_table", &["--sequence-length", "1..256"]),
        ("range_upside_down", &["--sequence-length", "64..32"]),
        ("range_without_bounds", &["--sequence-length", "1.."]),
        (
            "enumerated_too_early",
            &["--sequence-length", "32,64", "--target", "ios17"],
        ),
        (
            "functions_too_early",
            &[
                "--sequence-length",
                "32,64",
                "--buckets",
                "functions",
                "--target",
                "ios17",
            ],
        ),
        ("too_many", &["--sequence-length", &too_many, "--target", "ios18"]),
        ("buckets_of_one", &["--buckets", "functions", "--target", "ios18"]),
        (
            "buckets_of_a_range",
            &["--sequence-length", "1..64", "--buckets", "enumerated"],
        ),
        (
            "list_and_range",
            &["--sequence-length", "32,64", "--batch-size", "1..4"],
        ),
    ];
    for (name, flags) in cases {
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_suffix => name,
        }, {
            insta::assert_snapshot!("sizes", scratch.transcript(&convert_with(flags)));
        });
        assert!(!scratch.path().join("Out.mlpackage").exists(), "{name}");
    }
}

#[test]
fn a_classifier_may_have_several_lengths_but_one_row() {
    let scratch = Scratch::new();
    Checkpoint::copy(&scratch, "sequence-classification");
    let lengths = ["--classifier", "--sequence-length", "16,64", "--target", "ios18"];
    let (code, report) = json(
        &scratch,
        &convert_with(&[&lengths[..], &["--verify", "--json"]].concat()),
    );
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(passed(&report["verification"]), ["seq16", "*seq64"]);
    assert_run!(
        scratch,
        convert_with(&["--force", "--classifier", "--batch-size", "1..4"])
    );
}
