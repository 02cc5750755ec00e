//! Packages that coremltools wrote: they open, have no fault, and survive being written again.
//!
//! Looks in `conformance/foreign`, in `conformance/foreign-bert` and in the directory named by
//! `CORER_FOREIGN_PACKAGES`.

mod common;

use std::path::{Path, PathBuf};

use common::assert_same;
use coreml_proto::proto::mil_spec::{Block, Value, argument, value};
use coreml_proto::proto::{self, model};
use corer_proto::{Package, WriteOptions, check, write};
use prost::Message;

fn packages() -> Vec<PathBuf> {
    fn gather(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "mlpackage") {
                found.push(path);
            } else if path.is_dir() {
                gather(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    let conformance = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance");
    gather(&conformance.join("foreign"), &mut found);
    gather(&conformance.join("foreign-bert"), &mut found);
    assert!(
        found.len() >= 20,
        "only {} packages in {}",
        found.len(),
        conformance.display()
    );
    if let Some(directory) = std::env::var_os("CORER_FOREIGN_PACKAGES") {
        gather(Path::new(&directory), &mut found);
    }
    found.sort();
    found
}

/// The model message with blob offsets (which depend on the order of weights) cleared.
fn message(package: &Path) -> proto::Model {
    let entries = std::fs::read_to_string(package.join("Manifest.json")).unwrap();
    assert!(entries.contains("com.apple.CoreML/model.mlmodel"));
    let bytes = std::fs::read(package.join("Data/com.apple.CoreML/model.mlmodel")).unwrap();
    let mut message = proto::Model::decode(bytes.as_slice()).unwrap();
    let Some(model::Type::MlProgram(program)) = &mut message.r#type else {
        panic!("no program")
    };
    for function in program.functions.values_mut() {
        function.block_specializations.values_mut().for_each(clear_block);
    }
    message
}

fn clear_block(block: &mut Block) {
    for operation in &mut block.operations {
        operation.blocks.iter_mut().for_each(clear_block);
        operation.attributes.values_mut().for_each(clear);
        for argument in operation.inputs.values_mut() {
            for binding in &mut argument.arguments {
                if let Some(argument::binding::Binding::Value(value)) = &mut binding.binding {
                    clear(value);
                }
            }
        }
    }
}

fn clear(value: &mut Value) {
    if let Some(value::Value::BlobFileValue(blob)) = &mut value.value {
        blob.offset = 0;
    }
}

#[test]
fn packages_of_coremltools_open_and_survive_rewriting() {
    let directory = tempfile::tempdir().unwrap();
    for path in packages() {
        let package = Package::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let faults = check(&package);
        assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
        let target = directory.path().join(path.file_name().unwrap());
        let options = WriteOptions {
            overwrite: true,
            durable: false,
            ..WriteOptions::default()
        };
        write(&target, &package.model, &options).unwrap();
        let again = Package::open(&target).unwrap();
        assert_same(&package.model, &again.model);
        // Not only as we understand it: nothing of the message got lost.
        assert!(
            message(&path) == message(&target),
            "{}: the message changed",
            path.display()
        );
        let before: u64 = package.blobs.iter().map(|blob| blob.bytes).sum();
        let after: u64 = again.blobs.iter().map(|blob| blob.bytes).sum();
        assert!(
            after <= before,
            "{}: weights grew from {before} to {after}",
            path.display()
        );
    }
}
