//! `corer convert model.pt`: every family's trace, in every spelling of attention and by every version of PyTorch, a model
//! of somebody's own, and every operator by itself, give what PyTorch recorded; what is no trace is told what to do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use corer_runtime::{Executable, Options, Tensor as Value};

use crate::bent::Bent;
use crate::checkpoint::{Tensor, read_safetensors, write_safetensors};
use crate::exports::{judge, saved};
use crate::harness::{Scratch, fixtures};

fn all_pass(precision: &str, limits: &[&str]) {
    let mut wrong = Vec::new();
    for trace in saved("pt") {
        for layout in ["ane", "standard"] {
            if let Err(reason) = judge(&trace, &["--sequence-length", "32"], layout, precision, limits) {
                wrong.push(format!("{} {layout}: {reason}", trace.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} fail:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_family_gives_what_pytorch_recorded_in_f32() {
    all_pass("fp32", &["--max-abs", "1e-5"]);
}

#[test]
fn every_family_gives_what_pytorch_recorded_in_half_precision() {
    all_pass("fp16", &["--min-psnr", "60"]);
}

/// The `--json` document of a conversion.
pub(crate) fn converted(scratch: &Scratch, source: &Path, arguments: &[&str]) -> serde_json::Value {
    let source = source.display().to_string();
    let convert = ["convert", &source, "-o", "Out.mlpackage", "--force", "--json"];
    let output = scratch.output(&[&convert, arguments].concat());
    assert!(
        output.status.success(),
        "{source}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// How often a package has each operation, constants aside.
pub(crate) fn histogram(scratch: &Scratch) -> BTreeMap<String, usize> {
    let package = corer_proto::Package::open(&scratch.path().join("Out.mlpackage")).expect("a package");
    let mut counts = BTreeMap::new();
    for function in package.model.program.functions.values() {
        for operation in function.body().into_iter().flat_map(|block| &block.operations) {
            if operation.op != "const" {
                *counts.entry(operation.op.clone()).or_default() += 1;
            }
        }
    }
    counts
}

#[test]
fn every_trace_is_lifted_whole() {
    for trace in saved("pt") {
        let scratch = Scratch::new();
        let report = converted(&scratch, &trace, &["--sequence-length", "32"]);
        assert_eq!(report["left_plain"], serde_json::json!([]), "{}", trace.display());
    }
}

#[test]
fn a_trace_gets_the_operations_its_checkpoint_gets() {
    for layout in ["ane", "standard"] {
        let scratch = Scratch::new();
        let arguments = ["--sequence-length", "32", "--layout", layout];
        let mut wanted = BTreeMap::new();
        let mut checkpoint = PathBuf::new();
        let mut compared = 0;
        for trace in saved("pt") {
            let folder = trace.parent().expect("a folder").to_owned();
            if folder != checkpoint {
                converted(&scratch, &folder, &arguments);
                wanted = histogram(&scratch);
                assert!(wanted.len() > 8, "{wanted:?}");
                checkpoint = folder;
            }
            converted(&scratch, &trace, &arguments);
            assert_eq!(histogram(&scratch), wanted, "{} {layout}", trace.display());
            compared += 1;
        }
        assert!(compared > 20);
    }
}

fn value(tensor: &Tensor) -> Value {
    let words = tensor
        .bytes
        .chunks_exact(4)
        .map(|word| word.try_into().expect("four bytes"));
    let shape: Vec<usize> = tensor.shape.iter().map(|size| *size as usize).collect();
    match tensor.dtype.as_str() {
        "F32" => Value::f32(shape, words.map(f32::from_le_bytes).collect()),
        "I32" => Value::i32(shape, words.map(i32::from_le_bytes).collect()),
        other => panic!("{other}"),
    }
    .expect("values fill the shape")
}

/// Runs the package on recorded inputs, `rows` at a time, and holds every output against the recording.
fn agrees(scratch: &Scratch, recording: &Path, rows: usize, tolerance: f32) {
    let package = corer_proto::Package::open(&scratch.path().join("Out.mlpackage")).expect("a package");
    let executable = Executable::compile(&package.model.program, "main", &Options::default()).expect("runs");
    let tensors = read_safetensors(recording);
    let row = |tensor: &Tensor, first: usize| {
        let each = tensor.bytes.len() / tensor.shape[0] as usize * rows;
        Tensor {
            name: tensor.name.clone(),
            dtype: tensor.dtype.clone(),
            shape: [&[rows as u64], &tensor.shape[1..]].concat(),
            bytes: tensor.bytes[first / rows * each..][..each].to_vec(),
        }
    };
    let total = tensors
        .iter()
        .find(|tensor| tensor.name.starts_with("input."))
        .expect("inputs")
        .shape[0] as usize;
    let mut compared = 0;
    for first in (0..total).step_by(rows) {
        let inputs = tensors.iter().filter_map(|tensor| {
            Some((
                tensor.name.strip_prefix("input.")?.to_owned(),
                value(&row(tensor, first)),
            ))
        });
        let outputs = executable.run(&inputs.collect()).expect("runs");
        for tensor in tensors.iter().filter(|tensor| tensor.name.starts_with("output.")) {
            let name = tensor.name.trim_start_matches("output.");
            let whole = rows == total;
            let wanted = match whole {
                true => value(tensor),
                false => value(&row(tensor, first)),
            }
            .to_f32();
            let found = outputs
                .get(name)
                .unwrap_or_else(|| panic!("no output `{name}`"))
                .to_f32();
            assert_eq!(found.len(), wanted.len(), "{name}");
            for (found, wanted) in found.iter().zip(&wanted) {
                let difference = (found - wanted).abs();
                assert!(
                    difference <= tolerance * wanted.abs().max(1.0),
                    "{name}: {found} for {wanted}"
                );
            }
            compared += 1;
        }
    }
    assert!(compared > 0);
}

#[test]
fn every_operator_gives_what_pytorch_recorded() {
    let folder = fixtures().join("aten");
    for layout in ["ane", "standard"] {
        let scratch = Scratch::new();
        let plain = ["--precision", "fp32", "--layout", layout];
        let sizes = ["--batch-size", "2", "--sequence-length", "6"];
        let floats = ["--input", "x=float32:B,S,8", "--input", "y=float32:B,8"];
        let arguments = [&plain[..], &sizes, &floats].concat();
        converted(&scratch, &folder.join("computed.pt"), &arguments);
        agrees(&scratch, &folder.join("computed.safetensors"), 2, 1e-5);
        let arguments = [&plain[..], &["--input", "zero=float32:1"]].concat();
        converted(&scratch, &folder.join("known.pt"), &arguments);
        agrees(&scratch, &folder.join("known.safetensors"), 1, 1e-6);
    }
}

#[test]
fn a_model_of_somebodys_own_with_two_heads_and_an_input_more() {
    let folder = fixtures().join("own-model");
    for layout in ["ane", "standard"] {
        let scratch = Scratch::new();
        let arguments = [
            "--precision",
            "fp32",
            "--layout",
            layout,
            "--sequence-length",
            "24",
            "--input",
            "customer=float32:B,5",
        ];
        let report = converted(&scratch, &folder.join("model.pt"), &arguments);
        assert_eq!(report["left_plain"], serde_json::json!([]), "{layout}");
        assert_eq!(report["task"], "custom");
        agrees(&scratch, &folder.join("expected.safetensors"), 1, 1e-5);
    }
}

/// DeBERTa lets padding attend to nothing, which is left out where nothing reads it. A mean over padding too does.
#[test]
fn what_is_computed_for_padding_stays_where_it_is_read() {
    let folder = fixtures().join("families/deberta-v3/feature-extraction");
    let scratch = Scratch::new();
    let model = scratch.path().join("model.pt");
    let pooled = "return (torch.mean(_1, [1]),)";
    Bent::open(&folder.join("torch2.7-eager.pt"))
        .replaced(".py", "return (_1,)", pooled)
        .write(&model);
    let plain = [
        "--precision",
        "fp32",
        "--sequence-length",
        "32",
        "--output-name",
        "pooled",
    ];
    let report = converted(&scratch, &model, &plain);
    assert_ne!(report["left_plain"], serde_json::json!([]));

    // PyTorch's vectors of every token, padding or not, and their mean.
    let mut tensors = read_safetensors(&folder.join("expected.safetensors"));
    tensors.retain(|tensor| tensor.name.starts_with("input.") || tensor.name == "output.last_hidden_state");
    tensors.retain(|tensor| tensor.name != "input.token_type_ids");
    let vectors = tensors
        .iter_mut()
        .find(|tensor| tensor.name.starts_with("output."))
        .expect("recorded");
    let [rows, tokens, width] = [0, 1, 2].map(|axis| vectors.shape[axis] as usize);
    let values = value(vectors).to_f32();
    let mean = |row: usize, channel: usize| {
        let sum: f32 = (0..tokens)
            .map(|token| values[(row * tokens + token) * width + channel])
            .sum();
        sum / tokens as f32
    };
    let means = (0..rows).flat_map(|row| (0..width).map(move |channel| mean(row, channel)));
    vectors.bytes = means.flat_map(f32::to_le_bytes).collect();
    vectors.name = "output.pooled".into();
    vectors.shape = vec![rows as u64, width as u64];
    let recording = scratch.path().join("means.safetensors");
    write_safetensors(&recording, &tensors);
    agrees(&scratch, &recording, 1, 1e-5);
}

/// A refused conversion's stderr; nothing may be left behind.
fn refused(scratch: &Scratch, source: &Path, arguments: &[&str], code: i32) -> String {
    let source = source.display().to_string();
    let convert = ["convert", &source, "-o", "Out.mlpackage"];
    let output = scratch.output(&[&convert, arguments].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{source}: {stderr}");
    assert!(!scratch.path().join("Out.mlpackage").exists());
    stderr
}

#[test]
fn what_is_no_trace_is_told_what_to_do() {
    let scratch = Scratch::new();
    let state_dict = fixtures().join("bert-tiny/formats/pickle/pytorch_model.bin");
    let said = refused(&scratch, &state_dict, &[], 3);
    assert!(said.contains("torch.jit.trace"), "{said}");

    let trace = fixtures().join("families/bert/feature-extraction/torch2.7-sdpa.pt");
    let whole = fs::read(&trace).expect("a trace");
    let cut = scratch.path().join("cut.pt");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("half a trace");
    refused(&scratch, &cut, &[], 3);

    let fits = ["--sequence-length", "32"];
    let said = refused(
        &scratch,
        &trace,
        &[&fits[..], &["--input", "nobody=int32:B,S"]].concat(),
        2,
    );
    assert!(
        said.contains("`nobody`") && said.contains("attention_mask"),
        "{said}"
    );
    let said = refused(
        &scratch,
        &trace,
        &[&fits[..], &["--output-name", "a"]].concat(),
        2,
    );
    assert!(said.contains("1 names for 2"), "{said}");
}
