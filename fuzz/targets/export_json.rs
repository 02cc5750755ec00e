//! The JSON of exports inside a sound archive: no panic, and what is read holds together.

#![no_main]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use corer_converter::frontend::aten::{Arg, ValueId};
use corer_converter::frontend::export;
use corer_converter::source::SourceFile;
use corer_converter::source::pt2::Pt2;
use corer_converter::source::zip::Archive;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)] // its tests bend more of it
#[path = "../../converter/tests/source/zip_writer.rs"]
mod zip_writer;

const PROGRAM: &str = "serialized_exported_program.json";

/// The entries of an archive.
type Archived = Vec<(String, Vec<u8>)>;

/// Every export small enough to bend.
fn archives() -> Vec<Archived> {
    let entries = |bytes: Vec<u8>| {
        let archive = Archive::open(SourceFile::memory("m.pt2", bytes)).expect("a fixture is an archive");
        let read = |name: &str| (name.to_owned(), archive.read(name, 1 << 20).expect("its entries are small"));
        archive.entries().map(|(name, _)| read(name)).collect()
    };
    corer_fuzz::files("converter/tests/export/written_by_torch", ".pt2")
        .into_iter()
        .map(entries)
        .collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let json = |(name, bytes): (String, Vec<u8>)| name.ends_with(".json").then_some(bytes);
    archives().into_iter().flatten().filter_map(json).collect()
}

/// Notes the values an argument mentions.
fn mention(arg: &Arg, values: &mut Vec<ValueId>) {
    match arg {
        Arg::Value(value) => values.push(*value),
        Arg::List(items) => items.iter().for_each(|item| mention(item, values)),
        _ => {}
    }
}

/// Every value is defined once, before it is used.
fn holds_together(bytes: Vec<u8>) {
    let Ok(pt2) = Pt2::open(&SourceFile::memory("m.pt2", bytes)) else { return };
    let Ok(program) = export::read(&pt2) else { return };
    let mut defined: BTreeSet<ValueId> = program.inputs.iter().map(|input| input.value).collect();
    defined.extend(program.parameters.keys());
    let mut mentioned = Vec::new();
    for node in &program.nodes {
        node.args
            .iter()
            .chain(node.kwargs.iter().map(|(_, arg)| arg))
            .for_each(|arg| mention(arg, &mut mentioned));
        assert!(mentioned.drain(..).all(|value| defined.contains(&value)));
        assert!(node.outputs.iter().all(|output| defined.insert(*output)));
    }
    program.outputs.iter().for_each(|output| mention(&output.value, &mut mentioned));
    assert!(!mentioned.is_empty() && mentioned.into_iter().all(|value| defined.contains(&value)));
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        static ARCHIVES: OnceLock<Vec<Archived>> = OnceLock::new();
        let whole = ARCHIVES.get_or_init(archives);
        // In the place of the program in one container, and of what says where tensors lie in the other.
        for end in [PROGRAM, "_weights_config.json"] {
            let has = |archive: &&Archived| archive.iter().any(|(name, _)| name.ends_with(end));
            let archive = whole.iter().find(has).expect("there is a fixture of either kind");
            let entries: Vec<(&str, &[u8])> = archive
                .iter()
                .map(|(name, bytes)| (name.as_str(), if name.ends_with(end) { data } else { bytes }))
                .collect();
            holds_together(zip_writer::Zip::of(&entries).bytes);
        }
    }
);
