//! Protobuf models with their weights: no panic in decoding, checking or printing, and what is printed parses back to
//! the same program.

#![no_main]

use corer_mil::{check, difference, text};
use corer_proto::decode_model;
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    corer_fuzz::packages()
        .iter()
        .map(corer_fuzz::Parts::join)
        .collect()
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        let Some((model, weights)) = corer_fuzz::split(data) else { return };
        let Ok(model) = decode_model(model, weights) else { return };
        let faults = check(&model.program);
        let printed = text::print(&model.program);
        if faults.is_empty() {
            let parsed = text::parse(&printed.text, &printed.weights).expect("what is printed parses");
            if let Some(found) = difference(&model.program, &parsed) {
                panic!("printed and parsed, it is another program: {found}");
            }
        }
    }
);
