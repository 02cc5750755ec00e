//! TorchScript's code: whatever the text, a tree or an error at a place in it, never a panic or a stack that runs out.

#![no_main]

use corer_converter::frontend::torchscript::check_syntax;
use corer_converter::source::zip::Archive;
use corer_converter::source::SourceFile;
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for trace in corer_fuzz::files("fixtures/own-model", ".pt") {
        let archive = Archive::open(SourceFile::memory("trace.pt", trace)).expect("a trace");
        let code = archive.entries().filter(|(name, _)| name.ends_with(".py"));
        texts.extend(code.map(|(name, _)| archive.read(name, 1 << 20).expect("its code")));
    }
    texts
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        if let Ok(text) = std::str::from_utf8(data) {
            let _ = check_syntax(text);
        }
    }
);
