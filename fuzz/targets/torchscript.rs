//! A whole TorchScript archive: opened, its code inlined; a program whose calls take only what came before, or an error.

#![no_main]

use corer_converter::frontend::torchscript;
use corer_converter::source::{ScriptArchive, SourceFile};
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = corer_fuzz::files("fixtures/aten", "known.pt");
    seeds.extend(corer_fuzz::files("fixtures/families/bert/feature-extraction", "eager.pt"));
    seeds
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        let file = SourceFile::memory("trace.pt", data.to_vec());
        let Ok(archive) = ScriptArchive::open(&file) else { return };
        if let Ok(program) = torchscript::read(&archive) {
            assert!(!program.outputs.is_empty() || program.nodes.len() < 1 << 16);
        }
    }
);
