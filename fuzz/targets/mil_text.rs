//! MIL as text: no panic in parsing, and what parses prints to a text that parses to the same program.

#![no_main]

use std::sync::LazyLock;

use corer_mil::text::Text;
use corer_mil::{difference, text};
use libfuzzer_sys::fuzz_target;

/// A converted model as text; its weights are there for whatever refers to them.
static SOUND: LazyLock<Text> = LazyLock::new(|| {
    let models = corer_fuzz::converted();
    text::print(&models[0].program)
});

fn seeds() -> Vec<Vec<u8>> {
    vec![
        SOUND.text.clone().into_bytes(),
        text::print(&corer_fuzz::every_dtype().program).text.into_bytes(),
    ]
}

fuzz_target!(
    init: corer_fuzz::write_seeds(seeds),
    |data: &[u8]| {
        let Ok(source) = std::str::from_utf8(data) else { return };
        let Ok(program) = text::parse(source, &SOUND.weights) else { return };
        let printed = text::print(&program);
        let again = text::parse(&printed.text, &printed.weights).expect("what is printed parses");
        if let Some(found) = difference(&program, &again) {
            panic!("printed and parsed, it is another program: {found}");
        }
    }
);
