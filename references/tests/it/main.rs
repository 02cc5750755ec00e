//! The source graph, computed op by op, against what PyTorch recorded of the same model.

mod against_pytorch;
mod agreement;
mod places;

use std::path::{Path, PathBuf};

use corer_converter::Task;
use corer_references::GraphReference;
use corer_verifier::inputs::{InputSet, InputType, Values};
use corer_verifier::reference::Feed;
use corer_verifier::{GoldenReference, Reference};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Every path below `folder` that holds what is asked, in name order.
fn below(folder: &Path, wanted: impl Fn(&Path) -> bool + Copy) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if wanted(&path) {
            found.push(path.clone());
        }
        if path.is_dir() {
            found.extend(below(&path, wanted));
        }
    }
    found.sort();
    found
}

/// What a package of this model would take, `batch` rows at a time, by what was recorded.
fn feed(recorded: &InputSet, batch: usize) -> Feed {
    let of_tokens = ["input_ids", "attention_mask", "token_type_ids"].map(|name| InputType {
        name: name.to_owned(),
        float: false,
        shape: vec![batch, recorded.length],
    });
    let more = recorded.rows[0].extra.iter().map(|(name, extra)| InputType {
        name: name.clone(),
        float: matches!(extra.values, Values::Floats(_)),
        shape: match extra.shared {
            true => extra.shape.clone(),
            false => std::iter::once(batch)
                .chain(extra.shape.iter().copied())
                .collect(),
        },
    });
    Feed {
        batch,
        length: recorded.length,
        inputs: of_tokens.into_iter().chain(more).collect(),
    }
}

/// The model, sized for the recording.
fn opened(model: &Path, golden: &GoldenReference, batch: usize) -> GraphReference {
    let mut reference = GraphReference::open(model, Task::Auto).unwrap();
    reference
        .prepare(&feed(golden.inputs(), batch))
        .unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    reference
}
