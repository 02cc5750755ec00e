//! Traces and exports that are damaged, hostile or of no use: each is refused with the documented exit code, told where
//! and what to do, and leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bent::Bent;
use crate::harness::{Scratch, fixtures};

const TRACE: &str = "torch2.7-sdpa.pt";
const EXPORT: &str = "torch2.7-export.pt2";
const NEWEST: &str = "torch2.15-export.pt2";
const DYNAMIC: &str = "torch2.7-export-dynamic.pt2";

fn saved(name: &str) -> PathBuf {
    fixtures().join("families/bert/feature-extraction").join(name)
}

impl Bent {
    /// What a conversion says that must end with `code`.
    fn refused(&self, flags: &[&str], code: i32) -> String {
        let scratch = Scratch::new();
        let path = scratch.path().join(&self.name);
        self.write(&path);
        refused(&scratch, &path, flags, code)
    }
}

fn refused(scratch: &Scratch, source: &Path, flags: &[&str], code: i32) -> String {
    let source = source.display().to_string();
    let convert = ["convert", &source, "-o", "Out.mlpackage"];
    let output = scratch.output(&[&convert[..], flags].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{source}: {said}");
    assert!(!scratch.path().join("Out.mlpackage").exists());
    said
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

const LENGTH: [&str; 2] = ["--sequence-length", "32"];

#[test]
fn put_together_unchanged_they_convert() {
    for name in [TRACE, EXPORT] {
        let scratch = Scratch::new();
        Bent::open(&saved(name)).write(&scratch.path().join(name));
        let output = scratch.output(&[&["convert", name, "-o", "Out.mlpackage"][..], &LENGTH].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
    }
}

#[test]
fn a_pickle_that_would_run_something() {
    let scratch = Scratch::new();
    let witness = scratch.path().join("it-ran");
    let command = format!("touch {}", witness.display());
    // `posix.system(command)`, as a pickle of protocol 2.
    let mut pickle = b"\x80\x02cposix\nsystem\nX".to_vec();
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.as_bytes());
    pickle.extend(b"\x85R.");
    for entry in ["data.pkl", "constants.pkl"] {
        let said = Bent::open(&saved(TRACE)).with(entry, &pickle).refused(&LENGTH, 3);
        says(&said, &[TRACE, entry, "byte 2", "`posix.system`"]);
    }
    assert!(!witness.exists());
}

#[test]
fn archives_cut_short_anywhere() {
    for name in [TRACE, EXPORT, NEWEST] {
        let whole = fs::read(saved(name)).expect("a fixture");
        for part in [1, 3, 5, 7] {
            let scratch = Scratch::new();
            let path = scratch.path().join(name);
            fs::write(&path, &whole[..whole.len() * part / 8]).expect("a part");
            says(&refused(&scratch, &path, &[], 3), &[name]);
        }
        let scratch = Scratch::new();
        let path = scratch.path().join(name);
        fs::write(&path, &whole[..whole.len() - 1]).expect("a part");
        says(&refused(&scratch, &path, &[], 3), &[name]);
    }
}

#[test]
fn operators_nobody_knows_are_listed_at_once() {
    let said = Bent::open(&saved(TRACE))
        .replaced(".py", "torch.gelu(", "torch.special_smelu(")
        .replaced(".py", "torch.tanh(", "torch.fft_rfft(")
        .refused(&LENGTH, 3);
    says(
        &said,
        &[
            "2 of its operators can't be converted yet",
            "aten::special_smelu (2×): encoder.layer.0.intermediate.intermediate_act_fn \
             (code/__torch__/transformers/activations/___torch_mangle_47.py:8:12), \
             encoder.layer.1.intermediate.intermediate_act_fn",
            "aten::fft_rfft (1×): pooler.activation",
        ],
    );
    let said = Bent::open(&saved(EXPORT))
        .replaced(
            "exported_program.json",
            "torch.ops.aten.gelu.default",
            "torch.ops.mine.smelu.default",
        )
        .refused(&[], 3);
    says(&said, &["mine::smelu (2×): encoder.layer.0.intermediate"]);
}

#[test]
fn what_torch_save_pickled_is_no_model() {
    let scratch = Scratch::new();
    let path = scratch.path().join("model.pt");
    let state_dict = fixtures().join("bert-tiny/formats/pickle/pytorch_model.bin");
    fs::copy(state_dict, &path).expect("a copy");
    let said = refused(&scratch, &path, &[], 3);
    says(
        &said,
        &[
            "model.pt",
            "torch.save",
            "config.json",
            "torch.jit.trace",
            "torch.export.save",
        ],
    );
}

#[test]
fn scripted_control_flow_is_refused_by_name() {
    let gelu = "    return torch.gelu(argument_1)\n";
    let cases = [
        (
            "    while True:\n      argument_1 = torch.gelu(argument_1)\n    return argument_1\n",
            "`while` is control flow",
        ),
        (
            "    for _0 in range(3):\n      argument_1 = torch.gelu(argument_1)\n    return argument_1\n",
            "`for` is control flow",
        ),
        (
            "    if bool(torch.gt(torch.sum(argument_1), 0)):\n      _0 = torch.gelu(argument_1)\n    else:\n      _0 = \
             torch.relu(argument_1)\n    return _0\n",
            "aten::Bool at encoder.layer.0.intermediate.intermediate_act_fn",
        ),
    ];
    for (code, reason) in cases {
        let said = Bent::open(&saved(TRACE))
            .replaced(".py", gelu, code)
            .refused(&LENGTH, 3);
        says(
            &said,
            &[reason, "scripted, not traced", "torch.jit.trace", ".py:"],
        );
    }
}

#[test]
fn code_that_is_none() {
    let said = Bent::open(&saved(TRACE))
        .replaced(
            ".py",
            "return torch.gelu(argument_1)",
            "return torch.gelu(argument_1",
        )
        .refused(&LENGTH, 3);
    says(
        &said,
        &[TRACE, "___torch_mangle_47.py:9:1", "`)` is expected here"],
    );
}

#[test]
fn formats_of_another_version() {
    let said = Bent::open(&saved(TRACE))
        .with("/version", b"11\n")
        .refused(&LENGTH, 3);
    says(&said, &["/version", "format version `11`", "3 to 10 are read"]);
    let said = Bent::open(&saved(EXPORT))
        .program(|program| program["schema_version"]["major"] = 9.into())
        .refused(&[], 3);
    says(
        &said,
        &["schema_version", "is version 9.", "versions 7 and 8 are read"],
    );
    let said = Bent::open(&saved(NEWEST))
        .with("archive_version", b"1")
        .refused(&[], 3);
    says(&said, &["archive_version", "read: 0 (it says `1`)"]);
}

#[test]
fn open_sizes_without_bounds() {
    let unbounded = Bent::open(&saved(DYNAMIC)).program(|program| {
        for (_, range) in program["range_constraints"].as_object_mut().expect("ranges") {
            range["max_val"] = Value::Null;
        }
    });
    let range = ["--sequence-length", "2..40"];
    says(
        &unbounded.refused(&range, 2),
        &[
            "--sequence-length",
            "nothing bounds `s",
            "torch.export.Dim(…, min=2, max=40)",
        ],
    );
}

#[test]
fn lengths_beyond_a_trace_s_positions() {
    // Positions kept as a buffer; counted from the ids; and a position table whose first rows no token has.
    for (family, parts) in [
        ("bert", &["the 48 positions of `embeddings.position_ids`"][..]),
        ("distilbert", &["the 48 positions of `embeddings."]),
        ("albert", &["the 48 positions of `embeddings."]),
        ("electra", &["the 48 positions of `embeddings."]),
        ("roberta", &["the 50 positions of `embeddings."]),
        (
            "mpnet",
            &[
                "position_embeddings.weight` has 50 rows",
                "64 tokens are more than the 48",
            ],
        ),
    ] {
        let scratch = Scratch::new();
        let trace = fixtures()
            .join("families")
            .join(family)
            .join("feature-extraction/torch2.7-eager.pt");
        let said = refused(&scratch, &trace, &["--sequence-length", "64"], 2);
        says(&said, &["--sequence-length", "64"]);
        says(&said, parts);
    }
    // Two positions of RoBERTa's table come before the first token's, which no buffer tells.
    let scratch = Scratch::new();
    let trace = fixtures().join("families/roberta/feature-extraction/torch2.7-eager.pt");
    let said = refused(&scratch, &trace, &["--sequence-length", "49"], 2);
    says(
        &said,
        &[
            "has 50 rows, of which 2 come before",
            "49 tokens are more than the 48",
        ],
    );
}

#[test]
fn outputs_that_can_not_be_called_so() {
    for (name, part) in [
        ("func", "`func_` would do"),
        ("a b", "`a_b` would do"),
        ("pooled", "another output"),
        ("input_ids", "the name of an input"),
    ] {
        let scratch = Scratch::new();
        let names = ["--output-name", "pooled", "--output-name", name];
        let said = refused(&scratch, &saved(TRACE), &[&LENGTH[..], &names].concat(), 2);
        says(&said, &["--output-name", part]);
    }
    // A name an export brings is made one that can be.
    let scratch = Scratch::new();
    let bent = Bent::open(&saved(EXPORT)).replaced("exported_program.json", "pooler_output", "func");
    bent.write(&scratch.path().join("model.pt2"));
    let output = scratch.output(&["convert", "model.pt2", "-o", "Out.mlpackage", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let package = corer_proto::Package::open(&scratch.path().join("Out.mlpackage")).expect("a package");
    let outputs = &package.model.program.functions["main"]
        .body()
        .expect("a body")
        .outputs;
    assert!(outputs.iter().any(|name| name == "func_"), "{outputs:?}");
}
