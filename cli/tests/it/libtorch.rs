//! `corer trace`, and traced modules as references, in builds with libtorch; in others, what the user is told.

#[cfg(not(feature = "libtorch"))]
#[test]
fn without_libtorch_says_how_to_get_it() {
    use crate::harness::{Scratch, fixture};

    let scratch = Scratch::new();
    let source = fixture("sentence-mean");
    let trace = ["trace", &source, "-o", "Out.pt"];
    let trace_file = ["verify", "Out.mlpackage", "--reference", "model.pt"];
    let verify = [&trace_file[..], &["--reference-engine", "libtorch"]].concat();
    for arguments in [&trace[..], &verify] {
        let output = scratch.output(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("--features libtorch"), "{told}");
    }
    assert!(!scratch.path().join("Out.pt").exists());
}

#[cfg(feature = "libtorch")]
mod traced {
    use std::fs;
    use std::path::{Path, PathBuf};

    use crate::exports::{judge, saved};
    use crate::families::{checkpoints, length};
    use crate::harness::{Scratch, copy_directory, fixture, fixtures};
    use crate::traces::{converted, histogram};

    /// Families whose positions corer's own trace spells in a way no pass lifts yet: right, in plain operations.
    const SPELLED_OUT: [&str; 3] = ["deberta", "modernbert", "nomic-bert"];

    /// Traces a checkpoint into a scratch directory, beside its recording.
    fn trace(scratch: &Scratch, checkpoint: &Path, arguments: &[&str]) -> serde_json::Value {
        let source = checkpoint.display().to_string();
        let trace = ["trace", &source, "-o", "Model.pt", "--force", "--json"];
        let output = scratch.output(&[&trace, arguments].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{source}: {told}");
        fs::copy(
            checkpoint.join("expected.safetensors"),
            scratch.path().join("expected.safetensors"),
        )
        .expect("a recording");
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    }

    /// Small BERTs with every head, and the length they were recorded at.
    fn bert_tiny() -> Vec<(PathBuf, &'static str)> {
        let heads = [
            ("feature-extraction", "64"),
            ("fill-mask", "32"),
            ("question-answering", "64"),
            ("sentence-cls-dense", "64"),
            ("sentence-max", "64"),
            ("sentence-mean", "64"),
            ("sequence-classification", "64"),
            ("token-classification", "64"),
        ];
        let folder = |(name, length): &(&str, &'static str)| (PathBuf::from(fixture(name)), *length);
        heads.iter().map(folder).collect()
    }

    /// Every head of one family, and of every family its encoder: heads are written alike.
    fn every_family() -> Vec<(PathBuf, &'static str)> {
        let encoders = checkpoints().into_iter().filter(|path| is_encoder(path));
        let families = encoders.map(|path| {
            let length = length(&path);
            (path, length)
        });
        bert_tiny().into_iter().chain(families).collect()
    }

    fn is_encoder(checkpoint: &Path) -> bool {
        checkpoint.ends_with("feature-extraction")
    }

    /// What a package may differ by from a recording: 1e-5, and for logits up to 22.8 a millionth of that; PyTorch's own
    /// f32 is 1.1e-5 away from f64 there (see `corer-verifier`'s tests against PyTorch).
    fn largest_error(checkpoint: &Path) -> &'static str {
        match checkpoint.ends_with("bert-tiny/fill-mask") {
            true => "2.28e-5",
            false => "1e-5",
        }
    }

    #[test]
    fn what_libtorch_traces_gives_what_pytorch_recorded_with_the_operations_of_its_checkpoint() {
        let mut wrong = Vec::new();
        for (checkpoint, length) in every_family() {
            let scratch = Scratch::new();
            let arguments = ["--sequence-length", length];
            trace(&scratch, &checkpoint, &arguments);
            let model = scratch.path().join("Model.pt");
            let limits = ["--max-abs", largest_error(&checkpoint)];
            if let Err(reason) = judge(&model, &arguments, "ane", "fp32", &limits) {
                wrong.push(format!("{}: {reason}", checkpoint.display()));
            }
            if SPELLED_OUT
                .iter()
                .any(|family| checkpoint.to_string_lossy().contains(family))
            {
                continue;
            }
            converted(&scratch, &checkpoint, &arguments);
            let wanted = histogram(&scratch);
            let report = converted(&scratch, &model, &arguments);
            let found = histogram(&scratch);
            if report["left_plain"] != serde_json::json!([]) || found != wanted {
                wrong.push(format!(
                    "{}: {found:?} instead of {wanted:?}, left plain {}",
                    checkpoint.display(),
                    report["left_plain"]
                ));
            }
        }
        assert!(wrong.is_empty(), "{} fail:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn a_libtorch_trace_takes_other_lengths_and_has_its_weights_once() {
        let scratch = Scratch::new();
        let checkpoint = PathBuf::from(fixture("fill-mask"));
        let report = trace(
            &scratch,
            &checkpoint,
            &["--sequence-length", "7", "--batch-size", "3"],
        );
        assert_eq!(report["any_length"], true);
        assert_eq!(report["class"], "BertForMaskedLM");
        assert_eq!(report["outputs"], serde_json::json!(["logits"]));
        let weights = fs::metadata(checkpoint.join("model.safetensors"))
            .expect("weights")
            .len();
        let bytes = fs::metadata(scratch.path().join("Model.pt"))
            .expect("a trace")
            .len();
        // Its decoder is the word table. Code, records and alignment take what they take.
        assert!(bytes < weights + 200_000, "{bytes} for weights of {weights}");
        let verdict = judge(
            &scratch.path().join("Model.pt"),
            &["--sequence-length", "32"],
            "ane",
            "fp32",
            &["--max-abs", largest_error(&checkpoint)],
        );
        assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn libtorch_traces_are_the_same_every_time_and_replace_nothing_unasked() {
        let scratch = Scratch::new();
        let checkpoint = PathBuf::from(fixture("sentence-mean"));
        trace(&scratch, &checkpoint, &[]);
        let first = fs::read(scratch.path().join("Model.pt")).expect("a trace");
        trace(&scratch, &checkpoint, &[]);
        assert!(first == fs::read(scratch.path().join("Model.pt")).expect("a trace"));
        let source = checkpoint.display().to_string();
        let output = scratch.output(&["trace", &source, "-o", "Model.pt"]);
        assert_eq!(output.status.code(), Some(2));
        let mut left: Vec<_> = fs::read_dir(scratch.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["Model.pt", "expected.safetensors"]);
    }

    #[test]
    fn libtorch_traces_no_trace_and_no_broken_checkpoint() {
        let scratch = Scratch::new();
        let trace = fixtures().join("families/bert/feature-extraction/torch2.7-sdpa.pt");
        for source in [trace.display().to_string(), "nothing-here".to_owned()] {
            let output = scratch.output(&["trace", &source, "-o", "Out.pt"]);
            assert_eq!(output.status.code(), Some(3), "{source}");
            assert!(!scratch.path().join("Out.pt").exists());
        }
    }

    #[test]
    fn libtorch_runs_what_python_traced_beside_the_package() {
        let scratch = Scratch::new();
        let mut wrong = Vec::new();
        for trace in saved("pt") {
            let source = trace.display().to_string();
            let checkpoint = trace.parent().expect("a checkpoint");
            if !is_encoder(checkpoint) {
                continue;
            }
            let convert = [
                "convert",
                &source,
                "-o",
                "Out.mlpackage",
                "--force",
                "--precision",
                "fp32",
                "--sequence-length",
                length(checkpoint),
            ];
            let output = scratch.output(&convert);
            assert!(output.status.success(), "{source}");
            let verify = [
                "verify",
                "Out.mlpackage",
                "--reference",
                &source,
                "--reference-engine",
                "libtorch",
                "--random-tokens",
                "6",
                "--max-abs",
                "1e-5",
                "--json",
            ];
            let output = scratch.output(&verify);
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let kind = &report["reference"]["kind"];
            if output.status.code() != Some(0) || *kind != "libtorch, the module itself" {
                let told = String::from_utf8_lossy(&output.stderr);
                wrong.push(format!("{source}: {kind} {} {told}", report["verdict"]));
            }
        }
        assert!(wrong.is_empty(), "{} fail:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn a_package_that_is_another_model_fails_against_libtorch() {
        let scratch = Scratch::new();
        let checkpoint = fixture("feature-extraction");
        trace(&scratch, Path::new(&checkpoint), &[]);
        // The same model with the end of its last parameter, the pooler's, lost.
        let other = scratch.path().join("other");
        copy_directory(Path::new(&checkpoint), &other);
        let weights = other.join("model.safetensors");
        let mut bytes = fs::read(&weights).expect("weights");
        let end = bytes.len();
        bytes[end - 4096..].fill(0);
        fs::write(&weights, bytes).expect("weights");
        let convert = [
            "convert",
            "other",
            "-o",
            "Out.mlpackage",
            "--sequence-length",
            "64",
        ];
        assert!(scratch.output(&convert).status.success());
        let engine = ["--reference", "Model.pt", "--reference-engine", "libtorch"];
        let verify = ["verify", "Out.mlpackage", "--random-tokens", "6"];
        let output = scratch.output(&[&verify[..], &engine].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{told}");
    }

    #[test]
    fn convert_verifies_a_trace_by_libtorch_in_one_command() {
        let scratch = Scratch::new();
        trace(&scratch, Path::new(&fixture("question-answering")), &[]);
        let engine = ["--verify", "--reference-engine", "libtorch"];
        let report = converted(&scratch, &scratch.path().join("Model.pt"), &engine);
        assert_eq!(report["verification"]["verdict"]["passed"], true, "{report:#}");
        let outputs = report["verification"]["buckets"][0]["outputs"]
            .as_array()
            .expect("outputs");
        assert_eq!(outputs.len(), 2);
    }
}
