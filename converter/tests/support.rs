//! `docs/SUPPORT.md` and the table in the README say what the code reads, and every cell of them has a fixture.
//!
//! `CORER_UPDATE_DOCS=1 cargo test -p corer-converter --test support` writes both.

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

/// How a trace or an export is saved: what its table's column is called, and how its file's name ends after the version.
const SAVED: [(&str, &[&str]); 3] = [
    ("trace, eager", &["eager.pt"]),
    ("trace, sdpa", &["sdpa.pt"]),
    ("export", &["export.pt2", "export-core.pt2", "export-dynamic.pt2"]),
];

/// Families whose classes have no fused attention in any transformers there is: nothing to record.
const NO_FUSED_ATTENTION: [&str; 2] = ["mpnet", "deberta-v2"];

/// Major and minor version of PyTorch.
type Version = (u32, u32);

/// The versions that each cell must have been saved by: the one most fixtures are made with, and the newest.
const RECORDED_BY: [Version; 2] = [(2, 7), (2, 15)];

/// The versions of PyTorch a family was saved by, for each row of [`SAVED`].
fn recorded(model_type: &str) -> [BTreeSet<Version>; SAVED.len()] {
    let mut found = [const { BTreeSet::new() }; SAVED.len()];
    for model in fixtures() {
        if architecture(&model).1 != model_type {
            continue;
        }
        for entry in fs::read_dir(&model).expect("a directory") {
            let name = entry.expect("an entry").file_name().into_string().expect("text");
            let Some(((major, minor), how)) = name
                .strip_prefix("torch")
                .and_then(|name| name.split_once('-'))
                .and_then(|(version, how)| Some((version.split_once('.')?, how)))
            else {
                continue;
            };
            let number = |text: &str| text.parse().expect("a version");
            let column = SAVED.iter().position(|(_, endings)| endings.contains(&how));
            let column = column.unwrap_or_else(|| panic!("{name} belongs to no column"));
            found[column].insert((number(major), number(minor)));
        }
    }
    found
}

/// The last cells of a family's row: versions, oldest first.
fn recorded_cells(model_type: &str) -> String {
    let mut cells = String::new();
    for ((how, _), versions) in SAVED.iter().zip(recorded(model_type)) {
        let versions: Vec<String> = versions
            .iter()
            .map(|(major, minor)| format!("{major}.{minor}"))
            .collect();
        let cell = match how.ends_with("sdpa") && NO_FUSED_ATTENTION.contains(&model_type) {
            true => "no sdpa in transformers".to_owned(),
            false => versions.join(", "),
        };
        let _ = write!(cells, " {cell} |");
    }
    cells
}

/// `| name | name |` and the line below it.
fn heading(columns: &[&str]) -> String {
    format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
}

/// The page on what is read.
fn page() -> String {
    let mut page = String::from(
        "<!-- Generated from the code: CORER_UPDATE_DOCS=1 cargo test -p corer-converter --test support -->\n\n\
         # What corer reads\n\n\
         ## Checkpoints\n\n\
         A directory with `config.json` and the weights (`model.safetensors`, sharded or not, or `pytorch_model.bin`). The class named\n\
         first in `architectures` decides; every class here has a fixture that is compared with PyTorch's own outputs in both layouts,\n\
         in f32 and in fp16.\n\n",
    );
    let tasks = TASKS.map(|(_, name)| name);
    page.push_str(&heading(&[&["family", "`model_type`"][..], &tasks].concat()));
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
         `fixtures/families`, saved by the versions of PyTorch named, and are converted and compared like the checkpoints. BERT's exports\n\
         are there with symbols for batch and length and decomposed to Core ATen, too.\n\n",
    );
    page.push_str(&heading(&[&["family"][..], &SAVED.map(|(how, _)| how)].concat()));
    for row in FAMILIES {
        let _ = writeln!(page, "| {} |{}", row.name, recorded_cells(row.model_type));
    }
    page
}

const BEGIN: &str = "<!-- From here to the end of the table: CORER_UPDATE_DOCS=1 cargo test -p corer-converter --test support -->\n";
const END: &str = "<!-- The end of the table. -->\n";

/// The README with the short table between its marks.
fn readme(written: &str) -> String {
    let (before, rest) = written.split_once(BEGIN).expect("the mark before the table");
    let (_, after) = rest.split_once(END).expect("the mark after the table");
    let columns = SAVED.map(|(how, _)| how);
    let mut table = heading(&[&["", "checkpoint"][..], &columns].concat());
    for row in FAMILIES {
        let missing: Vec<&str> = TASKS
            .iter()
            .filter(|(task, _)| class(row, *task).is_none())
            .map(|(_, name)| *name)
            .collect();
        let heads = match missing.is_empty() {
            true => "every head".to_owned(),
            false => format!("all but {}", missing.join(", ")),
        };
        let _ = writeln!(
            table,
            "| {} | {heads} |{}",
            row.name,
            recorded_cells(row.model_type)
        );
    }
    format!("{before}{BEGIN}{table}{END}{after}")
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
fn every_way_to_save_every_family_is_recorded() {
    for row in FAMILIES {
        for ((how, _), versions) in SAVED.iter().zip(recorded(row.model_type)) {
            let nothing = how.ends_with("sdpa") && NO_FUSED_ATTENTION.contains(&row.model_type);
            for version in RECORDED_BY {
                assert_eq!(
                    versions.contains(&version),
                    !nothing,
                    "{}, {how}, {version:?}: {versions:?}",
                    row.name
                );
            }
        }
    }
}

/// Holds a page against what the code says, or writes it so.
fn holds(name: &str, wanted: impl Fn(&str) -> String) {
    let path = root().join(name);
    let read = || fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("CORER_UPDATE_DOCS").is_some() {
        fs::write(&path, wanted(&read())).expect("writable");
    }
    let written = read();
    assert!(
        written == wanted(&written),
        "{name} is not what the code says; CORER_UPDATE_DOCS=1 writes it anew"
    );
}

#[test]
fn the_pages_say_what_the_code_reads() {
    holds("docs/SUPPORT.md", |_| page());
    holds("README.md", readme);
}
