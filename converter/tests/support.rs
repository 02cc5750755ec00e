//! `docs/SUPPORT.md` says what the code reads, and every cell of it has a fixture.
//!
//! `CORER_UPDATE_DOCS=1 cargo test -p corer-converter --test support` writes the page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use corer_converter::Task;
use corer_converter::frontend::checkpoint::{FAMILIES, FamilyRow};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Directories with a `config.json` at the given depth below a folder.
fn models(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a committed directory") {
        let path = entry.expect("an entry").path();
        if path.join("config.json").is_file() {
            found.push(path);
        } else if depth > 0 && path.is_dir() {
            found.extend(models(&path, depth - 1));
        }
    }
    found.sort();
    found
}

/// `(architecture, model_type)` of a checkpoint.
fn architecture(model: &Path) -> (String, String) {
    let config = fs::read(model.join("config.json")).expect("readable");
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&config["architectures"][0]), text(&config["model_type"]))
}

fn fixtures() -> Vec<PathBuf> {
    let fixtures = root().join("fixtures");
    [
        models(&fixtures.join("bert-tiny"), 0),
        models(&fixtures.join("families"), 1),
    ]
    .concat()
}

/// Tasks in the order of the table, with what they are called there.
const TASKS: [(Task, &str); 5] = [
    (Task::FeatureExtraction, "vectors"),
    (Task::SequenceClassification, "sequence classification, reranking"),
    (Task::TokenClassification, "token classification"),
    (Task::QuestionAnswering, "question answering"),
    (Task::FillMask, "masked language model"),
];

fn class(row: &FamilyRow, task: Task) -> Option<String> {
    let head = row.heads.iter().find(|head| head.task == task)?;
    Some(format!("{}{}", row.prefix, head.suffix))
}

/// Traces and exports recorded for a family: file names without their ending, each once.
fn recorded(model_type: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for model in fixtures() {
        if architecture(&model).1 != model_type {
            continue;
        }
        for entry in fs::read_dir(&model).expect("a directory") {
            let path = entry.expect("an entry").path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            if let (Some("pt" | "pt2"), Some(stem)) = (ending, path.file_stem()) {
                let stem = stem.to_string_lossy().into_owned();
                found.insert(stem.replacen("torch", "", 1).replace('-', " "));
            }
        }
    }
    found
}

fn page() -> String {
    let mut page = String::from(
        "<!-- Generated from the code: CORER_UPDATE_DOCS=1 cargo test -p corer-converter --test support -->\n\n\
         # What corer reads\n\n\
         ## Checkpoints\n\n\
         A directory with `config.json` and the weights (`model.safetensors`, sharded or not, or `pytorch_model.bin`). The class named\n\
         first in `architectures` decides; every class here has a fixture that is compared with PyTorch's own outputs in both layouts,\n\
         in f32 and in fp16.\n\n\
         | family | `model_type` |",
    );
    for (_, name) in TASKS {
        let _ = write!(page, " {name} |");
    }
    page.push_str("\n|---|---|---|---|---|---|---|\n");
    for row in FAMILIES {
        let _ = write!(page, "| {} | `{}` |", row.name, row.model_type);
        for (task, _) in TASKS {
            match class(row, task) {
                Some(class) => {
                    let _ = write!(page, " `{class}` |");
                }
                None => page.push_str(" – |"),
            }
        }
        page.push('\n');
    }
    page.push_str(
        "\nBGE, GTE, E5 and other sentence models are encoders of these families in a\n\
         sentence-transformers directory (`modules.json`): pooling, dense layers and Normalize follow the encoder. Classes named\n\
         `…ForPreTraining` are read without the heads that only training needs.\n\n\
         ## Traces and exports\n\n\
         A model saved by `torch.jit.save` or `torch.export.save`. What is read is a matter of operators, not of classes; these stand in\n\
         `fixtures/families`, saved by the versions of PyTorch named, and are converted and compared like the checkpoints.\n\n\
         | family | recorded |\n|---|---|\n",
    );
    for row in FAMILIES {
        let recorded: Vec<String> = recorded(row.model_type).into_iter().collect();
        let _ = writeln!(page, "| {} | {} |", row.name, recorded.join(", "));
    }
    page
}

#[test]
fn every_class_the_code_reads_has_a_fixture() {
    let classes: BTreeSet<String> = fixtures().iter().map(|model| architecture(model).0).collect();
    for row in FAMILIES {
        for (task, _) in TASKS {
            if let Some(class) = class(row, task) {
                assert!(classes.contains(&class), "no fixture of {class}");
            }
        }
    }
}

#[test]
fn the_page_says_what_the_code_reads() {
    let path = root().join("docs/SUPPORT.md");
    if std::env::var_os("CORER_UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().expect("docs")).expect("a directory");
        fs::write(&path, page()).expect("writable");
    }
    let written = fs::read_to_string(&path).expect("docs/SUPPORT.md");
    assert!(
        written == page(),
        "docs/SUPPORT.md is not what the code says; CORER_UPDATE_DOCS=1 writes it anew"
    );
}
