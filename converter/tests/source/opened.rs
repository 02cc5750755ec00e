//! What a path holds is told by its content.

use std::fs;
use std::path::{Path, PathBuf};

use corer_converter::source::{Source, SourceModel};

use crate::fixture;
use crate::zip_writer::Zip;

fn family(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/families")).join(file)
}

fn refused(path: &Path, reason: &str) {
    let error = Source::open(path).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn models_by_any_name() {
    let folder = tempfile::tempdir().unwrap();
    for (file, name) in [
        ("torch2.7-export.pt2", "model.pt"),
        ("torch2.15-export.pt2", "model.zip"),
    ] {
        let copy = folder.path().join(name);
        fs::copy(family("bert/feature-extraction").join(file), &copy).unwrap();
        let source = Source::open(&copy).unwrap();
        assert!(matches!(source.model, SourceModel::Export(_)), "{file}");
        let digest = source.digest(&mut |_| ()).unwrap();
        assert_eq!(digest.weights[0].name, name);
        assert_eq!(digest.weights[0].bytes, source.digest_bytes());
    }
    let copy = folder.path().join("model.pt2");
    fs::copy(family("bert/feature-extraction/torch2.7-eager.pt"), &copy).unwrap();
    let source = Source::open(&copy).unwrap();
    assert!(matches!(source.model, SourceModel::Script(_)));
    let source = Source::open(&fixture("feature-extraction")).unwrap();
    assert!(matches!(source.model, SourceModel::Checkpoint(_)));
}

#[test]
fn files_that_hold_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    refused(
        &fixture("formats/pickle/pytorch_model.bin"),
        "holds weights without a model",
    );
    refused(
        &fixture("feature-extraction/model.safetensors"),
        "is neither a traced",
    );
    refused(&put("empty.pt2", b""), "is neither a traced");
    refused(&put("cut.pt2", b"PK\x03\x04"), "archive");
    let zip = Zip::of(&[("word/document.xml", b"<x/>")]);
    refused(
        &put("other.pt2", &zip.bytes),
        "neither torch.jit.save nor torch.export.save wrote it",
    );
    let whole = fs::read(family("bert/feature-extraction/torch2.7-export.pt2")).unwrap();
    let path = put("truncated.pt2", &whole[..whole.len() / 2]);
    let error = Source::open(&path).unwrap_err().to_string();
    assert!(error.contains("truncated.pt2"), "{error}");
}
